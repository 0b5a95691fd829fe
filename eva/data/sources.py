"""CIFAR-10, found where it is and split; or what stands in for it.

The images are those of Krizhevsky (2009). `load` looks in a folder, the cache and the mirrors, in this order.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import extract_archive

from eva.budget import budget
from eva.data import download, image_folder, shapes
from eva.data.batches import DataError, Split, Splits

log = logging.getLogger(__name__)

# These names, in a folder with as many images, are how a copy of CIFAR-10 is known, and named in every report.
_CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def load(folder: str | os.PathLike[str] | None = None) -> Splits:
    """CIFAR-10, from the first place that has it, or Shapes-10, loudly, where none does.

    The places, in order: `folder` or `EVA_DATA` (torchvision's layout, or an image folder {train,test}/<class>/*, whose
    images are made RGB and 32x32 where they are not); the cache (`EVA_CACHE`, by default ~/.cache/eva); a verified
    download, except at EVA_BUDGET=smoke; Shapes-10. A tenth of each class's training images is held out for
    validation, the same ones each time.
    Raises DataError where the folder that was named is missing or damaged: then nothing else stands in for it. Raises
    OSError where there is a network, but the cache cannot hold the download.
    """
    chosen = folder or os.environ.get("EVA_DATA")
    if chosen:
        return _from_folder(Path(chosen).expanduser())
    cache = _cache_folder()
    if (cache / CIFAR10.base_folder).is_dir():
        return _from_batches(cache)
    if budget() == "smoke":
        return _shapes("at the smoke budget nothing is downloaded")
    try:
        archive = download.fetch(download.CIFAR10, cache)
    except download.DownloadError as error:
        return _shapes(str(error))
    _unpack(archive, cache)
    return _from_batches(cache)


def _cache_folder() -> Path:
    """Where downloads and decoded images are kept: `EVA_CACHE`, or `eva` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(os.environ.get("EVA_CACHE") or Path(base) / "eva").expanduser()
    except RuntimeError:  # nobody knows where this user is at home, as in some containers
        return Path(tempfile.gettempdir()) / "eva-cache"


def export_jpeg(splits: Splits, folder: str | os.PathLike[str]) -> None:
    """Write every image to `folder`/{train,test}/<class>/<index>.jpg (quality 75, 4:2:0), validation under train.

    A folder whose files are named by different numbers has these for indices: `load` reads back the same splits, and
    of CIFAR-10 the very images that our figures were measured on, after the same losses.
    Raises FileExistsError where `folder` holds anything: mixing two data sets would go unnoticed.
    """
    kept, held_out, test = splits.train, splits.validation, splits.test
    training = (
        torch.cat([kept.images, held_out.images]),
        torch.cat([kept.labels, held_out.labels]),
        torch.cat([kept.indices, held_out.indices]),
    )
    parts = {"train": training, "test": (test.images, test.labels, test.indices)}
    image_folder.write(Path(folder), splits.classes, parts)


def _shapes(why: str) -> Splits:
    log.warning("*** CIFAR-10 is not here: this runs on Shapes-10, rendered images, instead. *** %s", why)
    train, test = (Split.numbered(*shapes.render(count, seed)) for count, seed in ((10_000, 0), (2_000, 1)))
    return _assembled("Shapes-10", "built in", shapes.CLASSES, train, test)


def _assembled(
    name: str, source: str, classes: Sequence[str], train: Split, test: Split, names: Sequence[str] | None = None
) -> Splits:
    """Hold a tenth of each class out of `train`, the same images each time, and check the whole.

    Which ones a digest of their names says, or of their indices where `names` is None: so a corrected label, an image
    more or one less leave nearly all the others where they were.
    """
    names = [str(index) for index in train.indices.tolist()] if names is None else names
    order = torch.tensor(sorted(range(len(train)), key=lambda place: hashlib.sha256(names[place].encode()).digest()))
    held_out = torch.zeros(len(train), dtype=torch.bool)
    for label in range(len(classes)):
        members = order[train.labels[order] == label]
        share = max(1, len(members) // 10) if len(members) > 1 else 0
        held_out[members[:share]] = True
    return Splits(name, source, tuple(classes), train.take(~held_out), train.take(held_out), test)


def _from_folder(folder: Path) -> Splits:
    if not folder.is_dir():
        raise DataError(f"EVA_DATA or --data names {folder}, which is not a folder: correct it, or leave it out")
    root = folder.parent if folder.name == CIFAR10.base_folder else folder
    if (root / CIFAR10.base_folder).is_dir():
        return _from_batches(root)
    if not all((folder / part).is_dir() for part in ("train", "test")):
        archive = folder / download.CIFAR10.name
        hint = f"; to use {archive.name} set EVA_MIRROR={archive.resolve().as_uri()}" if archive.exists() else ""
        raise DataError(
            f"{folder} holds neither {CIFAR10.base_folder}/ (torchvision's layout) nor train/ and test/ "
            f"with a folder of images for each class{hint}"
        )
    found = image_folder.read(folder, _cache_folder())
    stems = {part: [Path(file).stem for file in found.files[part]] for part in image_folder.PARTS}
    numbered = all(_are_numbers(stems[part]) for part in image_folder.PARTS)
    indices = {part: [int(stem) for stem in stems[part]] if numbered else range(len(stems[part])) for part in stems}
    train, test = (
        Split(found.images[part], found.labels[part], torch.tensor(indices[part])) for part in image_folder.PARTS
    )
    name = f"{folder.resolve().name} (image folder)"
    if (found.classes, len(train), len(test)) == (_CIFAR10_CLASSES, 50_000, 10_000):
        jpeg = Path(found.files["test"][0]).suffix.lower() in (".jpg", ".jpeg")
        name = "CIFAR-10 (JPEG copy)" if jpeg else "CIFAR-10 (image folder)"
    return _assembled(name, str(folder), found.classes, train, test, None if numbered else stems["train"])


def _are_numbers(names: Sequence[str]) -> bool:
    """Are these different whole numbers, as in a copy of CIFAR-10 whose files are named by their places in it?"""
    return len({int(name) for name in names if name.isdecimal() and len(name) < 19}) == len(names)


def _from_batches(root: Path) -> Splits:
    """Torchvision's layout, read by torchvision, which compares checksums before it unpickles anything."""
    parts = []
    for train in (True, False):
        try:
            found = CIFAR10(root, train=train, download=False)
        except RuntimeError as error:
            raise DataError(
                f"{root / CIFAR10.base_folder} is incomplete or its checksums are not CIFAR-10's, so it was not read: "
                + (
                    "remove it to have it downloaded again"
                    if root == _cache_folder()
                    else "replace it with the original"
                )
            ) from error
        images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        parts.append(Split.numbered(images, torch.tensor(found.targets)))
    return _assembled("CIFAR-10", str(root), found.classes, parts[0], parts[1])


def _unpack(archive: Path, cache: Path) -> None:
    """Unpack beside the cache's own folder and rename, so that a half-unpacked archive is never taken for a whole."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".unpacking-") as temporary:
        extract_archive(str(archive), temporary)
        try:
            (Path(temporary) / CIFAR10.base_folder).rename(cache / CIFAR10.base_folder)
        except OSError:
            if not (cache / CIFAR10.base_folder).is_dir():  # else another process was first, with the same files
                raise
