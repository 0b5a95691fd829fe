"""CIFAR-10 as tensors: found, checked, split and served in batches.

    splits = load()                                              # uint8 images in memory
    train_loader, validation_loader, test_loader = loaders(splits, batch_size=128, device="cpu")

The images of CIFAR-10 (Krizhevsky 2009) fit in memory as bytes, 184 MB, so they are kept there, on the device that
trains, and whole batches are augmented and normalised at once. No worker processes, and nothing waits for a disk.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import extract_archive

from eva import augment, download, image_folder, shapes
from eva.device import memory_format
from eva.image_folder import SIZE, DataError

log = logging.getLogger(__name__)

# These names, in a folder with as many images, are how a copy of CIFAR-10 is known, and named in every report.
CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Split:
    """images: uint8 (N, 3, 32, 32); labels: int64 (N,), each from 0 to the number of classes less one.

    indices: int64 (N,), where each image stood in the training or test images that it came from.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1:] != (3, SIZE, SIZE):
            raise DataError(f"images must be uint8 (N, 3, {SIZE}, {SIZE}), got {images.dtype} {tuple(images.shape)}")
        if labels.dtype != torch.int64 or labels.shape != (len(images),):
            raise DataError(f"labels must be int64 ({len(images)},), got {labels.dtype} {tuple(labels.shape)}")
        if self.indices.shape != labels.shape:
            raise DataError(f"indices must be ({len(images)},), got {tuple(self.indices.shape)}")

    @classmethod
    def numbered(cls, images: Tensor, labels: Tensor) -> "Split":
        """A split of images that are all there is: their indices count from 0."""
        return cls(images, labels, torch.arange(len(labels)))

    def take(self, chosen: Tensor | slice) -> "Split":
        """The images and labels at `chosen`, as a split of its own."""
        return Split(self.images[chosen], self.labels[chosen], self.indices[chosen])


@dataclass(frozen=True)
class Splits:
    """What `load` returns. `name` is what every figure measured on this data must carry."""

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    def __post_init__(self) -> None:
        for which in ("train", "validation", "test"):
            labels = getattr(self, which).labels
            if len(labels) == 0:
                raise DataError(f"{self.source}: the {which} split is empty")
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"{self.source}: labels of the {which} split run from {low} to {high}, "
                    f"but {len(self.classes)} classes need 0 to {len(self.classes) - 1}"
                )

    @cached_property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the training images, as fractions of full scale, (3,) each.

        Over the training images alone: the others stand for images that we have not seen yet.
        """
        channels = self.train.images.transpose(0, 1).reshape(3, -1)
        counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double()
        levels = torch.arange(256).double() / 255
        share = counts / counts.sum(1, keepdim=True)
        mean = share @ levels
        std = (share @ levels**2 - mean**2).sqrt()
        return mean.float(), std.float()


class BatchLoader:
    """An iterable of (images, labels): images float32 (N, 3, H, W), normalised, channels last; labels int64 (N,).

    The split is kept on `device` and every step happens there, batch by batch. Passes are counted in `epoch`, and the
    order and augmentation of a pass depend on (`seed`, `epoch`) alone: set `epoch` to repeat one. `size`, when set,
    shrinks or enlarges the images to that many pixels (progressive resizing: Howard 2018).
    Any other iterable of such pairs, a `torch.utils.data.DataLoader` for one, can stand in its place.
    """

    def __init__(
        self,
        split: Split,
        normalisation: tuple[Tensor, Tensor],
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        augmentations: Sequence[Augmentation] = (),
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if len(split) == 0:
            raise DataError("this split has no images: a loader needs at least one")
        self.device = torch.device(device)
        self.images, self.labels = split.images.to(self.device), split.labels.to(self.device)
        # Read here, once: no step has to wait for the device to learn whether a label fits the network.
        self.label_range = (int(split.labels.min()), int(split.labels.max()))
        self.mean, self.std = (255 * value.to(self.device).view(1, 3, 1, 1) for value in normalisation)
        self.batch_size, self.shuffle, self.augmentations, self.seed = batch_size, shuffle, tuple(augmentations), seed
        self.epoch = 0
        self.size: int | None = None

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator(self.device).manual_seed(1_000_003 * self.seed + self.epoch)
        self.epoch += 1
        count = len(self.labels)
        order = torch.randperm(count, generator=rng, device=self.device) if self.shuffle else None
        for start in range(0, count, self.batch_size):
            chosen = slice(start, start + self.batch_size) if order is None else order[start : start + self.batch_size]
            images, labels = self.images[chosen], self.labels[chosen]
            for augmentation in self.augmentations:
                images = augmentation(images, rng)
            yield self._prepared(images), labels

    def _prepared(self, images: Tensor) -> Tensor:
        images = images.to(torch.float32, memory_format=memory_format(self.device))
        images = images.sub_(self.mean).div_(self.std)
        mps = self.device.type == "mps"  # which cannot antialias in every version of torch
        if self.size is not None and self.size != images.shape[-1]:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=not mps)
        return images


FLIP_AND_SHIFT: tuple[Augmentation, ...] = augment.named(("flip", "translate"))


def loaders(
    splits: Splits,
    *,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    augmentations: Sequence[Augmentation] = FLIP_AND_SHIFT,
    seed: int = 0,
) -> tuple[BatchLoader, BatchLoader, BatchLoader]:
    """Loaders of the train, validation and test splits. Only the first one shuffles and augments.

    All three normalise with the training images' statistics. The last two use batches of at least 500: larger is
    faster where nothing is learned.
    """
    make = partial(BatchLoader, normalisation=splits.normalisation, device=device, seed=seed)
    return (
        make(splits.train, batch_size=batch_size, shuffle=True, augmentations=augmentations),
        make(splits.validation, batch_size=max(batch_size, 500)),
        make(splits.test, batch_size=max(batch_size, 500)),
    )


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
    cache = cache_folder()
    if (cache / CIFAR10.base_folder).is_dir():
        return _from_batches(cache)
    if os.environ.get("EVA_BUDGET") == "smoke":
        return _shapes("at the smoke budget nothing is downloaded")
    try:
        archive = download.fetch(download.CIFAR10, cache)
    except download.DownloadError as error:
        return _shapes(str(error))
    _unpack(archive, cache)
    return _from_batches(cache)


def cache_folder() -> Path:
    """Where downloads and decoded images are kept: `EVA_CACHE`, or `eva` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("EVA_CACHE") or Path(base) / "eva").expanduser()


def export_jpeg(splits: Splits, folder: str | os.PathLike[str]) -> None:
    """Write every image to `folder`/{train,test}/<class>/<index>.jpg (quality 75, 4:2:0), validation under train.

    The indices are the original ones, so that `load` reads back the same splits: of CIFAR-10, the very images that our
    figures were measured on, after the same losses.
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


def _assembled(name: str, source: str, classes: Sequence[str], train: Split, test: Split) -> Splits:
    """Hold a tenth of each class out of `train`, drawn with a fixed seed, and check the whole."""
    rng = torch.Generator().manual_seed(0)
    held_out = torch.zeros(len(train), dtype=torch.bool)
    for label in range(len(classes)):
        members = (train.labels == label).nonzero()[:, 0]
        share = max(1, len(members) // 10) if len(members) > 1 else 0
        held_out[members[torch.randperm(len(members), generator=rng)[:share]]] = True
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
    tensors, classes = image_folder.read(folder, cache_folder())
    name = f"{folder.resolve().name} (image folder)"
    if (classes, len(tensors["train"][1]), len(tensors["test"][1])) == (CIFAR10_CLASSES, 50_000, 10_000):
        jpeg = next((folder / "test" / classes[0]).glob("*.jp*g"), None)
        name = "CIFAR-10 (JPEG copy)" if jpeg else "CIFAR-10 (image folder)"
    return _assembled(name, str(folder), classes, *(Split.numbered(*tensors[part]) for part in image_folder.PARTS))


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
                    if root == cache_folder()
                    else "replace it with the original"
                )
            ) from error
        images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        parts.append(Split.numbered(images, torch.tensor(found.targets)))
    return _assembled("CIFAR-10", str(root), found.classes, *parts)


def _unpack(archive: Path, cache: Path) -> None:
    """Unpack beside the cache's own folder and rename, so that a half-unpacked archive is never taken for a whole."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".unpacking-") as temporary:
        extract_archive(str(archive), temporary)
        try:
            (Path(temporary) / CIFAR10.base_folder).rename(cache / CIFAR10.base_folder)
        except OSError:
            if not (cache / CIFAR10.base_folder).is_dir():  # else another process was first, with the same files
                raise
