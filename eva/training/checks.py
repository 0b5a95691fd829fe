"""Is this something that a network can be trained on? Asked of every batch, and never by waiting for a GPU."""

import contextlib
import math
import traceback
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from eva.modules import unwrapped


class TrainingError(RuntimeError):
    """Training cannot go on. The message says at which step, and what to change."""


def check_batch(images: Tensor, labels: Tensor, loader: object = None) -> None:
    """Raise ValueError, saying what to do, where a batch cannot be trained on.

    Looks at shapes and types; at values only of what comes from the CPU, and not from a BatchLoader, whose bytes are
    finite.
    """
    shape = tuple(images.shape)
    if images.ndim != 4:
        raise ValueError(f"images must be (N, C, H, W), got {shape}: a single image needs images[None]")
    if shape[3] in (1, 3) and shape[1] == shape[2] > 3:
        raise ValueError(
            f"images must be (N, 3, H, W), got {shape}: the channels come last here; use images.permute(0, 3, 1, 2)"
        )
    if not images.is_floating_point():
        raise ValueError(f"images must be normalised floats, got {images.dtype}: eva.data.loaders does that")
    if images.dtype == torch.float64:
        raise ValueError("images must be float32, got float64, which numpy makes: use images.float()")
    if len(labels) != len(images):
        raise ValueError(f"there are {len(images)} images and {len(labels)} labels in one batch: they must go in pairs")
    if not (labels.dtype == torch.int64 and labels.ndim == 1) and not (labels.is_floating_point() and labels.ndim == 2):
        raise ValueError(f"labels must be int64 (N,) or float (N, classes), got {labels.dtype} {tuple(labels.shape)}")
    if not hasattr(loader, "label_range") and images.device.type == "cpu" and not math.isfinite(images.sum()):
        broken = (~images.isfinite().flatten(1).all(1)).nonzero()[:, 0].tolist()
        if broken:
            raise ValueError(
                f"image {broken[0]} of a batch holds values that are NaN or infinite ({len(broken)} of its "
                f"{len(images)} images do): mend such images or leave them out. Nothing was learned from this batch"
            )


def check_logits(logits: object, count: int, model: nn.Module, at_least: int = 2) -> Tensor:
    """Return the `logits` that `model` gave for `count` images.

    Raises ValueError where they are not (N, classes), or of fewer classes than `at_least`.
    """
    name = type(unwrapped(model)).__name__
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"{name} must give logits ({count}, classes) for {count} images, got {got}")
    if logits.shape[1] < at_least:
        raise ValueError(f"{name} has one output, and there is no choice among one: give it an output for each class")
    return logits


def check_labels(labels: Tensor, classes: int, loader: object = None) -> None:
    """Raise ValueError where a label has no output in a network of so many `classes`, or is no distribution over them.

    A BatchLoader read its labels' range once, when it was made; of other loaders, each batch that comes from the CPU
    is looked at. Labels that are on a GPU are not: that would make every step wait for it.
    """
    span = getattr(loader, "label_range", None)
    if span is None and labels.device.type == "cpu" and labels.ndim == 1:
        span = (int(labels.min()), int(labels.max()))
    if span is not None and not 0 <= span[0] <= span[1] < classes:
        raise ValueError(
            f"labels must be from 0 to {classes - 1} for a network of {classes} outputs, got {span[0]} to {span[1]}: "
            "correct the labels, or build the network with as many classes"
        )
    if labels.ndim == 2 and labels.shape[1] != classes:
        raise ValueError(f"labels are (N, {labels.shape[1]}) and the network has {classes} outputs: make them equal")
    if labels.ndim == 2 and labels.device.type == "cpu":
        sums = labels.sum(1)
        if labels.min() < 0 or (sums - 1).abs().max() > 1e-3:
            raise ValueError(
                f"labels (N, classes) must be shares that make 1 for each image, got sums from {sums.min():.3g} to "
                f"{sums.max():.3g}: to find several classes in one image is another task than this course's"
            )


@contextlib.contextmanager
def failures_explained(images: Tensor) -> Iterator[None]:
    """Say what to do where a GPU runs out of memory (TrainingError), or batch norm has one value only (ValueError)."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"batch norm got one value per channel in a batch of {len(images)}, which has no spread: leave the last, "
            "smaller batch out (DataLoader's drop_last=True), or choose a batch size that leaves no single image"
        ) from error
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # a notebook keeps the error, and with it what the layers made
        count, size = len(images), "x".join(map(str, images.shape[2:]))
        smaller = f"try a batch of {count // 2}" if count > 1 else "try a smaller network"
        raise TrainingError(f"the GPU ran out of memory at a batch of {count} images of {size}: {smaller}") from error
