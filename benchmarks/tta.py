"""Test-time augmentation: a network's answers for several views of an image, averaged.

The views and their weights are those of the `airbench` package's two levels, so that its networks and ours can be
compared like with like: the mirror image; then also both of these moved by one pixel up and left, and down and right,
which weigh half.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva.modules import evaluating

LEVELS = ("none", "mirror", "mirror and shifts")


def mirrored(model: nn.Module, images: Tensor) -> Tensor:
    """The mean of the logits of `images` (N, C, H, W) and of their mirror images."""
    return (model(images) + model(images.flip(3))) / 2


def logits(model: nn.Module, images: Tensor, level: str) -> Tensor:
    """Logits (N, classes) of `images` at one of LEVELS. Raises ValueError for another one."""
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    if level == "none":
        return model(images)
    if level == "mirror":
        return mirrored(model, images)
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    shifted = [mirrored(model, padded[:, :, by : by + height, by : by + width]) for by in (0, 2)]
    return mirrored(model, images) / 2 + (shifted[0] + shifted[1]) / 4


@torch.no_grad()
def accuracies(model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The share of `loader`'s images that `model` is right about, at each of LEVELS. Both are on the same device."""
    right = dict.fromkeys(LEVELS, 0)
    count = 0
    with evaluating(model):
        for images, labels in loader:
            count += len(labels)
            for level in LEVELS:
                right[level] += int((logits(model, images, level).argmax(1) == labels).sum())
    return {level: found / count for level, found in right.items()}
