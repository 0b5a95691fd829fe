"""Augmentations: functions from a batch to a batch, on the batch's own device.

Each draws its randomness per image from the `torch.Generator` it is given, which lives on that device, so that a seed
fixes what happens. One call serves the whole batch: on a CPU a Python loop over images costs more than the network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    top = torch.randint(0, height, (count, 1), generator=rng, device=images.device) - size // 2
    left = torch.randint(0, width, (count, 1), generator=rng, device=images.device) - size // 2
    row, column = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside_rows = (row >= top) & (row < top + size)
    inside_columns = (column >= left) & (column < left + size)
    covered = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return images.masked_fill(covered, fill)


def mixup(
    images: Tensor, labels: Tensor, rng: torch.Generator, classes: int, alpha: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Blend each image with another one of the batch, and their labels likewise (Zhang et al. 2018).

    images: (N, C, H, W) floats; labels: (N,) integers. Returns the blends and labels as float (N, classes), which
    `torch.nn.functional.cross_entropy` takes as they are. Each image's share is drawn from Beta(alpha, alpha).
    Raises ValueError where alpha is not positive or the images are not floats.
    """
    if alpha <= 0:
        raise ValueError(f"alpha must be positive, got {alpha}: leave mixup out to have none")
    if not images.is_floating_point():
        raise ValueError(f"mixup blends floats, got {images.dtype}: normalise the images first")
    # Beta(a, a) as X / (X + Y) with X, Y from Gamma(a); torch.distributions takes no generator.
    gammas = torch._standard_gamma(torch.full((2, len(images)), alpha, device=images.device), generator=rng)
    share = (gammas[0] / gammas.sum(0)).nan_to_num(0.5)
    partner = torch.randperm(len(images), generator=rng, device=images.device)
    onehot = F.one_hot(labels, classes).to(images.dtype)
    blend = share.to(images.dtype)
    mixed = images.lerp(images[partner], 1 - blend[:, None, None, None])
    return mixed, onehot.lerp(onehot[partner], 1 - blend[:, None])


def _reflected(index: Tensor, length: int) -> Tensor:
    """Indices past either end, folded back: -1 becomes 1, length becomes length - 2."""
    return (length - 1) - ((length - 1) - index.abs()).abs()
