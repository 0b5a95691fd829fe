"""Images in folders, {train,test}/<class>/*: read into memory once, then kept decoded; and written."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from eva.data.batches import SIZE, DataError
from eva.files import save_tensors

log = logging.getLogger(__name__)

PARTS = ("train", "test")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_DECODER = 2  # raised whenever images are decoded otherwise: what was kept before is decoded again


@dataclass(frozen=True)
class Folder:
    """What a folder holds, each by part: images uint8 (N, 3, 32, 32), labels int64 (N,), and the files' paths in it."""

    classes: list[str]
    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    files: dict[str, list[str]]


def read(folder: Path, cache: Path) -> Folder:
    """The images of a folder, those in folders within a class's folder too; the classes are sorted.

    Images that are not RGB or not 32x32 are made so, with a warning that counts them; another one counts the files that
    are no images by their names. The decoded images are kept in `cache` under a name made of every file's name, size
    and time of change, so that a changed folder is read anew.
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
    files = {part: [str(Path(name, entry[0])) for name, entries in zip(names, listing[part], strict=True)
                    for entry in entries] for part in PARTS}  # fmt: skip
    labels = {part: torch.arange(len(names)).repeat_interleave(torch.tensor([*map(len, listing[part])]))
              for part in PARTS}  # fmt: skip
    key = hashlib.sha256(repr((_DECODER, str(folder.resolve()), names, listing)).encode()).hexdigest()[:16]
    cached = cache / f"decoded-{key}.pt"
    if cached.exists():
        try:
            return Folder(names, torch.load(cached, weights_only=True, mmap=True), labels, files)
        except Exception as error:  # whatever a damaged file makes torch raise: the images themselves are there
            log.warning("%s is damaged (%s): decoding the images again", cached, error)
    images = {part: _decoded([folder / part / file for file in files[part]]) for part in PARTS}
    try:
        save_tensors(images, cached)
    except OSError as error:
        log.warning("decoded images are not kept (%s): the next start decodes them again", error)
    return Folder(names, images, labels, files)


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
    """One image file as uint8 (32, 32, 3), and whether it had to be turned, made RGB or resized to be so.

    Raises DataError where the file is missing, not an image, or has values whose range nobody can tell.
    """
    try:
        with Image.open(path) as image:
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            changed = image.mode != "RGB" or image.size != (SIZE, SIZE) or not upright
            return np.asarray(_converted(image) if changed else image), changed
    except Exception as error:  # Pillow raises nearly anything on a damaged file: OSError, ValueError, SyntaxError ...
        raise DataError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def _converted(image: Image.Image) -> Image.Image:
    """RGB and 32x32, the right way up as the camera noted it."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F" or upright.mode.startswith("I"):
        upright = Image.fromarray(_bytes(np.asarray(upright), sixteen_bits=upright.mode != "F" and _is_16_bit(image)))
    return upright.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)


def _is_16_bit(image: Image.Image) -> bool:
    """Grey of 16 bits: of the mode I;16, or of a PNG, which some versions of Pillow open as I, of 32 bits."""
    return image.mode.startswith("I;16") or image.format == "PNG"


def _bytes(grey: np.ndarray, sixteen_bits: bool) -> np.ndarray:
    """Grey of more than 8 bits, (H, W), to uint8. The full scale is 65535, or what the values themselves tell.

    Fractions have 1 for full scale, and other values 255 or 65535, the smaller one that holds them all.
    """
    low, high = float(grey.min()), float(grey.max())
    scales = [65535] if sixteen_bits else [1, 255, 65535] if grey.dtype.kind == "f" else [255, 65535]
    scale = next((scale for scale in scales if high <= scale), None)
    if scale is None or not low >= 0:  # NaN is not, either
        raise ValueError(f"its values run from {low:g} to {high:g}, and no full scale of 1, 255 or 65535 holds them")
    return np.round(grey.astype(np.float64) * (255 / scale)).astype(np.uint8)


def _classes(folder: Path) -> list[str]:
    """The folders in `folder`, sorted, without hidden ones (Jupyter leaves .ipynb_checkpoints behind)."""
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    _report_left_out(folder, [entry.name for entry in entries if not entry.is_dir()], "lie outside of a class's folder")
    return sorted(entry.name for entry in entries if entry.is_dir())


def _listed(folder: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of change of each image in a class's folder and in folders within, by path."""
    images, others = [], []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() in _SUFFIXES:
                status = path.stat()
                images.append((path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
            else:
                others.append(path.name)
    _report_left_out(folder, others, "are no images by their names")
    if not images:
        raise DataError(f"{folder} has no images ({', '.join(_SUFFIXES)}): add some or remove the folder")
    return sorted(images)


def _report_left_out(folder: Path, names: list[str], why: str) -> None:
    if names:
        log.warning("%s: %d files are left out, which %s (%s)", folder, len(names), why, ", ".join(sorted(names)[:3]))


def _decoded(paths: list[Path]) -> Tensor:
    """The images at `paths`, uint8 (N, 3, 32, 32). Raises DataError naming all that are damaged."""
    images = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)

    def decode(index: int) -> bool | DataError:
        try:
            images[index], changed = read_image(paths[index])
        except DataError as error:
            return error
        return changed

    with ThreadPoolExecutor() as pool:
        outcomes = [*pool.map(decode, range(len(paths)))]
    damaged = [outcome for outcome in outcomes if isinstance(outcome, DataError)]
    if damaged:
        more = f"\n  and {len(damaged) - 10} more" if len(damaged) > 10 else ""
        raise DataError(
            f"{len(damaged)} of {len(paths)} files are damaged; move them away to go on without them:\n"
            + "\n".join(f"  {error}" for error in damaged[:10])
            + more
        )
    converted = sum(outcome is True for outcome in outcomes)
    if converted:
        log.warning("%d of %d images were not upright, RGB and 32x32: they were converted", converted, len(paths))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
