"""Images in folders, {train,test}/<class>/*: read into memory once, then kept decoded; and written."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from eva.data.batches import SIZE, DataError
from eva.files import replacing

log = logging.getLogger(__name__)

PARTS = ("train", "test")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read(folder: Path, cache: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str]]:
    """Images, uint8 (N, 3, 32, 32), and labels, int64 (N,), of each part, and the class names, sorted.

    Images that are not RGB or not 32x32 are made so, with a warning that counts them. The decoded images are kept in
    `cache` under a name made of every file's name, size and time of change, so that a changed folder is read anew.
    Raises DataError for missing or empty class folders, classes that differ between the parts, and damaged images.
    """
    classes = {part: _classes(folder / part) for part in PARTS}
    if classes["train"] != classes["test"]:
        different = sorted(set(classes["train"]) ^ set(classes["test"]))
        raise DataError(f"{folder}: train and test must have the same classes; only one of them has {different}")
    names = classes["train"]
    if len(names) < 2:
        raise DataError(f"{folder / 'train'} has {len(names)} class folders: two or more are needed")

    listing = {part: [_listed(folder / part / name) for name in names] for part in PARTS}
    key = hashlib.sha256(repr((str(folder.resolve()), names, listing)).encode()).hexdigest()[:16]
    cached = cache / f"decoded-{key}.pt"
    if cached.exists():
        try:
            return torch.load(cached, weights_only=True, mmap=True), names
        except Exception as error:  # whatever a damaged file makes torch raise: the images themselves are there
            log.warning("%s is damaged (%s): decoding the images again", cached, error)
    tensors = {}
    for part in PARTS:
        files = [(folder / part / name / entry[0], label)
                 for label, name in enumerate(names) for entry in listing[part][label]]  # fmt: skip
        tensors[part] = _decoded([path for path, _ in files]), torch.tensor([label for _, label in files])
    try:
        with replacing(cached) as file:
            torch.save(tensors, file)
    except OSError as error:
        log.warning("decoded images are not kept (%s): the next start decodes them again", error)
    return tensors, names


def write(folder: Path, classes: Sequence[str], parts: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> None:
    """Write each part's (images, labels, indices) as <part>/<class>/<index>.jpg, quality 75, 4:2:0: all or nothing.

    Raises FileExistsError where `folder` holds anything.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        whole = Path(temporary) / "whole"
        for part, (images, labels, indices) in parts.items():
            for name in classes:
                (whole / part / name).mkdir(parents=True)
            for image, label, index in zip(images.permute(0, 2, 3, 1).numpy(), labels, indices, strict=True):
                path = whole / part / classes[int(label)] / f"{int(index):05d}.jpg"
                Image.fromarray(image).save(path, quality=75, subsampling="4:2:0")
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)


def read_image(path: str | os.PathLike[str]) -> tuple[np.ndarray, bool]:
    """One image file as uint8 (32, 32, 3), and whether it had to be made RGB or resized to be so.

    Raises DataError where the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            changed = image.mode != "RGB" or image.size != (SIZE, SIZE)
            return np.asarray(_converted(image) if changed else image), changed
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises on damaged files
        raise DataError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def _converted(image: Image.Image) -> Image.Image:
    """RGB and 32x32, the right way up as the camera noted it. Grey of 16 bits keeps its upper 8."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    return ImageOps.exif_transpose(image).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)


def _classes(folder: Path) -> list[str]:
    """The folders in `folder`, sorted, without hidden ones (Jupyter leaves .ipynb_checkpoints behind)."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _listed(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each image in a class's folder, by name."""
    found = []
    for entry in os.scandir(folder):
        if entry.name.lower().endswith(_SUFFIXES):
            status = entry.stat()
            found.append((entry.name, status.st_size, status.st_mtime_ns))
    if not found:
        raise DataError(f"{folder} has no images ({', '.join(_SUFFIXES)}): add some or remove the folder")
    return sorted(found)


def _decoded(paths: list[Path]) -> Tensor:
    """The images at `paths`, uint8 (N, 3, 32, 32)."""
    images = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)

    def decode(index: int) -> bool:
        images[index], changed = read_image(paths[index])
        return changed

    with ThreadPoolExecutor() as pool:
        converted = sum(pool.map(decode, range(len(paths))))
    if converted:
        log.warning("%d of %d images were not RGB and 32x32: they were converted", converted, len(paths))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
