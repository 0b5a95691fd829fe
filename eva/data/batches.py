"""Images and labels as tensors: a split, the three splits of a data set, and loaders that serve them in batches.

The images of CIFAR-10 fit in memory as bytes, 184 MB, so they are kept there, on the device that trains, and whole
batches are augmented and normalised at once. No worker processes, and nothing waits for a disk.
"""

import hashlib
import logging
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from eva import augment
from eva.device import derived_seed, memory_format

SIZE = 32  # pixels, height and width of every image

log = logging.getLogger(__name__)

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class DataError(ValueError):
    """The data that was asked for is missing, incomplete or damaged. The message says where and what to do."""


@dataclass(frozen=True)
class Split:
    """images: uint8 (N, 3, 32, 32); labels: int64 (N,), each from 0 to the number of classes less one.

    indices: int64 (N,), where each image stood in the training or test images that it came from, or its file's number.
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
        for text in (self.name, *self.classes):
            if any(unicodedata.category(character) == "Cc" for character in text):
                raise DataError(f"{text!r} holds characters that steer a terminal: rename that folder")
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
    def digest(self) -> str:
        """What is in all three splits, in 16 hexadecimal digits: labels, indices and pixels, and the classes' names."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for split in (self.train, self.validation, self.test):
            for tensor in (split.labels, split.indices, split.images):
                digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    @cached_property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the training images, as fractions of full scale, (3,) each.

        Over the training images alone: the others stand for images that we have not seen yet. A channel that is
        the same everywhere has 1 for standard deviation, with a warning: one cannot divide by 0.
        """
        channels = self.train.images.transpose(0, 1).reshape(3, -1)
        counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double()
        levels = torch.arange(256).double() / 255
        share = counts / counts.sum(1, keepdim=True)
        mean = share @ levels
        std = (share @ levels**2 - mean**2).clamp(min=0).sqrt()
        for channel, spread in enumerate(std.tolist()):
            if spread < 1e-6:  # of full scale: there is one value, and rounding
                log.warning("%s: channel %d is %.3g in every pixel of the training images, so it tells nothing",
                            self.name, channel, 255 * mean[channel])  # fmt: skip
                std[channel] = 1.0
        return mean.float(), std.float()


class BatchLoader:
    """An iterable of (images, labels): images float32 (N, 3, H, W), normalised, channels last; labels int64 (N,).

    The split is kept on `device` and every step happens there, batch by batch. Passes are counted in `epoch`, and the
    order and augmentation of a pass depend on (`seed`, `epoch`) alone: set `epoch` to repeat one. `size`, when set,
    shrinks or enlarges the images to that many pixels (progressive resizing: Howard 2018). Where shuffling would leave
    a single image for the last batch, it joins the batch before.
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
        mean, std = normalisation
        self.normalisation = mean.to(self.device), std.to(self.device)
        self.batch_size, self.shuffle, self.augmentations, self.seed = batch_size, shuffle, tuple(augmentations), seed
        self.epoch = 0
        self.size: int | None = None

    def __len__(self) -> int:
        batches = -(-len(self.labels) // self.batch_size)
        return batches - 1 if self._joins_the_last() else batches

    def _joins_the_last(self) -> bool:
        """Would the last batch of training have a single image? Batch norm over vectors needs two to have a spread."""
        return self.shuffle and len(self.labels) > self.batch_size > 1 and len(self.labels) % self.batch_size == 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator(self.device).manual_seed(derived_seed("images", self.seed, self.epoch))
        self.epoch += 1
        count = len(self.labels)
        order = torch.randperm(count, generator=rng, device=self.device) if self.shuffle else None
        for batch in range(len(self)):
            start, end = batch * self.batch_size, (batch + 1) * self.batch_size if batch < len(self) - 1 else count
            chosen = slice(start, end) if order is None else order[start:end]
            images, labels = self.images[chosen], self.labels[chosen]
            for augmentation in self.augmentations:
                images = augmentation(images, rng)
            yield _resized(normalised(images, self.normalisation), self.size), labels


def normalised(images: Tensor, normalisation: tuple[Tensor, Tensor]) -> Tensor:
    """Bytes as a network wants them: uint8 (N, 3, H, W) to float32 of mean 0 and spread 1, in the device's format.

    normalisation: `Splits.normalisation`, or any mean and standard deviation of each channel, as fractions, (3,) each.
    """
    mean, std = (255 * value.to(images.device).view(1, 3, 1, 1) for value in normalisation)
    return images.to(torch.float32, memory_format=memory_format(images.device)).sub_(mean).div_(std)


def _resized(images: Tensor, size: int | None) -> Tensor:
    """Floats (N, C, H, W) to (N, C, size, size); as they are where `size` is None."""
    if size in (None, images.shape[-1]):
        return images
    mps = images.device.type == "mps"  # which cannot antialias in every version of torch
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=not mps)


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
