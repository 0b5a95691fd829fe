"""Augmentations: functions from a batch to a batch, on the batch's own device.

Each draws its randomness per image from the `torch.Generator` it is given, which lives on that device, so that a seed
fixes what happens. One call serves the whole batch: on a CPU a Python loop over images costs more than the network.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eva.policies import trivial_augment


def flip(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half. images: (N, C, H, W), any dtype."""
    chosen = torch.rand(len(images), generator=rng, device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def translate(images: Tensor, rng: torch.Generator, pixels: int = 2) -> Tensor:
    """Move each image by up to `pixels` in both directions, filling with the image's own reflection.

    images: (N, C, H, W), any dtype. Raises ValueError where `pixels` is negative or reaches past the reflection.
    Reflecting instead of filling with zeros keeps black frames, which no test image has, out of training.
    """
    count, _, height, width = images.shape
    if not 0 <= pixels < min(height, width):
        raise ValueError(f"pixels must be from 0 to {min(height, width) - 1} for {height}x{width} images, got {pixels}")
    shifts = torch.randint(-pixels, pixels + 1, (2, count, 1), generator=rng, device=images.device)
    rows = _reflected(torch.arange(height, device=images.device) - shifts[0], height)
    columns = _reflected(torch.arange(width, device=images.device) - shifts[1], width)
    # With the channels last, one index reads whole pixels: three times as fast as channels first on a CPU.
    pixels_last = images.permute(0, 2, 3, 1).contiguous()
    image = torch.arange(count, device=images.device)[:, None, None]
    return pixels_last[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: Tensor, rng: torch.Generator, size: int = 8, fill: float = 0.0) -> Tensor:
    """Cover one square of `size` pixels in each image with `fill` (DeVries and Taylor 2017).

    images: (N, C, H, W). The square's centre is anywhere in the image, so that it may stick out over the border.
    Raises ValueError where `size` is not from 0 to the smaller side.
    """
    count, _, height, width = images.shape
    if not 0 <= size <= min(height, width):
        raise ValueError(f"size must be from 0 to {min(height, width)} for {height}x{width} images, got {size}")
    sides = torch.full((count, 1), size, device=images.device)
    return images.masked_fill(_boxes(images, rng, sides, sides), fill)


def mixup(
    images: Tensor, labels: Tensor, rng: torch.Generator, classes: int, alpha: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Blend each image with another one of the batch, and their labels likewise (Zhang et al. 2018).

    images: (N, C, H, W) floats; labels: (N,) integers. Returns the blends and labels as float (N, classes), which
    `torch.nn.functional.cross_entropy` takes as they are. Each image's share is drawn from Beta(alpha, alpha).
    Raises ValueError where alpha is not positive or the images are not floats.
    """
    if not images.is_floating_point():
        raise ValueError(f"mixup blends floats, got {images.dtype}: normalise the images first")
    share = _beta(len(images), alpha, rng)
    partner = torch.randperm(len(images), generator=rng, device=images.device)
    mixed = images.lerp(images[partner], 1 - share.to(images.dtype)[:, None, None, None])
    return mixed, _mixed_labels(labels, partner, share, classes)


def cutmix(
    images: Tensor, labels: Tensor, rng: torch.Generator, classes: int, alpha: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Paste a box of another image of the batch into each image, and share the label out by area (Yun et al. 2019).

    images: (N, C, H, W), any dtype; labels: (N,) integers. Returns images and labels as `mixup` does. The box is to
    cover 1 - Beta(alpha, alpha) of the image. Its centre is anywhere, so that it may stick out over the border: an
    image's share in its label is the exact share of its pixels that are left. Raises ValueError where alpha is not
    positive.
    """
    count, _, height, width = images.shape
    side = (1 - _beta(count, alpha, rng)).sqrt()[:, None]
    box = _boxes(images, rng, (side * height).long(), (side * width).long())
    partner = torch.randperm(count, generator=rng, device=images.device)
    share = 1 - box.float().mean((1, 2, 3))
    return images[partner].where(box, images), _mixed_labels(labels, partner, share, classes)


def _boxes(images: Tensor, rng: torch.Generator, rows: Tensor, columns: Tensor) -> Tensor:
    """Bool (N, 1, H, W): true in a box of `rows` x `columns`, (N, 1) each, whose centre is anywhere in the image."""
    count, _, height, width = images.shape
    top = torch.randint(0, height, (count, 1), generator=rng, device=images.device) - rows // 2
    left = torch.randint(0, width, (count, 1), generator=rng, device=images.device) - columns // 2
    row, column = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside_rows = (row >= top) & (row < top + rows)
    inside_columns = (column >= left) & (column < left + columns)
    return inside_rows[:, None, :, None] & inside_columns[:, None, None, :]


def _beta(count: int, alpha: float, rng: torch.Generator) -> Tensor:
    """Draws from Beta(alpha, alpha), (count,), by Bailey's formula (1994); torch.distributions takes no generator.

    Raises ValueError where alpha is not positive.
    """
    if alpha <= 0:
        raise ValueError(f"alpha must be positive, got {alpha}: to mix nothing, leave mixing out")
    radius, turn = torch.rand(2, count, generator=rng, device=rng.device)
    across = (2 * math.pi * turn).cos()
    return 0.5 + 0.5 * across.sign() / (1 + 1 / ((radius ** (-1 / alpha) - 1) * across**2)).sqrt()


def _mixed_labels(labels: Tensor, partner: Tensor, share: Tensor, classes: int) -> Tensor:
    """Each label's one-hot row times its share, and its partner's times the rest: float (N, classes)."""
    onehot = F.one_hot(labels, classes).to(share.dtype)
    return onehot.lerp(onehot[partner], 1 - share[:, None])


def _reflected(index: Tensor, length: int) -> Tensor:
    """Indices past either end, folded back: -1 becomes 1, length becomes length - 2."""
    return (length - 1) - ((length - 1) - index.abs()).abs()


NAMED: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {  # what a recipe can ask for: of images alone
    "flip": flip,
    "translate": translate,
    "cutout": cutout,
    "trivial": trivial_augment,
}


def named(names: Sequence[str]) -> tuple[Callable[[Tensor, torch.Generator], Tensor], ...]:
    """The augmentations of these names, in order. Raises ValueError for a name that is none of NAMED."""
    for name in names:
        if name not in NAMED:
            raise ValueError(f"there is no augmentation {name!r}: choose from {', '.join(map(repr, NAMED))}")
    return tuple(NAMED[name] for name in names)
