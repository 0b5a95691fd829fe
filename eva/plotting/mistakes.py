"""Figures of what a model gets wrong: the images, the confusion, the calibration."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from eva.data import Split
from eva.mistakes import Calibration, Predictions
from eva.plotting.images import image_grid
from eva.plotting.style import BLUE, GREY, ORANGE, finished


def mistakes_grid(
    split: Split,
    predictions: Predictions,
    classes: Sequence[str],
    positions: Tensor | Sequence[int],
    *,
    columns: int = 6,
    title: str = "",
) -> Figure:
    """The images of `split` at `positions`, integers (N,), each with its label, the prediction and its confidence.

    positions: of a ranking, for one: `ranked(predictions)[:24]`. An image that the model is right about has a tick.
    Raises ValueError where `predictions` are not of this split, a class has no name, or a position has no image.
    """
    chosen = torch.as_tensor(positions).cpu()
    if not chosen.numel():
        figure = plt.figure(figsize=(6, 1.6), layout="constrained")
        figure.text(0.5, 0.4, "Nothing to show: no image was chosen.", ha="center", va="center", color=GREY)
        return finished(figure, title)
    if not torch.equal(split.indices.cpu(), predictions.indices):
        sizes = f"of {len(predictions.labels):,} images, are not of this split, of {len(split):,}"
        raise ValueError(f"these predictions, {sizes}: make them with find_mistakes(model, split, normalisation)")
    if len(classes) != predictions.logits.shape[1]:
        raise ValueError(f"{predictions.logits.shape[1]} classes need as many names, got {len(classes)}")
    if chosen.dtype == torch.bool or chosen.is_floating_point() or chosen.ndim != 1:
        got = f"{chosen.dtype} {tuple(chosen.shape)}"
        raise ValueError(f"positions must be integers (N,), got {got}: of a mask, take mask.nonzero()[:, 0]")
    low, high = int(chosen.min()), int(chosen.max())
    if low < 0 or high >= len(split):
        advice = "they count the images of the split, and are not Split.indices"
        raise ValueError(f"positions must be from 0 to {len(split) - 1}, got {low} to {high}: {advice}")
    titles = []
    for position in chosen.tolist():
        label, predicted = (classes[int(of[position])] for of in (predictions.labels, predictions.predicted))
        percent = f"{100 * predictions.confidence[position]:.0f} %"
        titles.append(f"{label}\n→ {predicted}, {percent}" if predictions.wrong[position] else f"{label} ✓\n{percent}")
    return image_grid(split.images[chosen.to(split.images.device)], titles, columns=columns, suptitle=title)


def confusion_matrix(counts: Tensor, classes: Sequence[str], title: str = "") -> Figure:
    """How often each class was taken for each: `counts` of `confusion`, int64 (classes, classes), rows are labels.

    Only mistakes are shaded, by their share of the row: the diagonal, framed, would drown them. Up to 20 classes, each
    cell says its count. Raises ValueError where the shape is not that of `classes`, or for shares in place of counts.
    """
    size = len(classes)
    if counts.shape != (size, size) or counts.is_floating_point():
        got = f"{counts.dtype} {tuple(counts.shape)}"
        raise ValueError(f"counts must be integers ({size}, {size}), got {got}: take confusion(predictions)")
    counts = counts.cpu()
    shares = (100 * counts / counts.sum(1, keepdim=True).clamp(min=1)).fill_diagonal_(0)
    side = min(8, max(2.4, 0.5 * size))  # inches
    figure, axis = plt.subplots(figsize=(side + 2.6, side + 1.6), layout="constrained")
    largest = max(1.0, float(shares.max()))
    picture = axis.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=largest)
    for row in range(size):
        axis.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, ec=GREY, lw=0.8))
        for column in range(size if size <= 20 else 0):
            colour = "white" if shares[row, column] > 0.715 * largest else "black"  # the one that stands out more
            axis.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8 if size <= 12 else 7,
                      color=colour, weight="bold" if row == column else "normal")  # fmt: skip
    ticks = range(0, size, -(-size // 60))  # of more than 60, every second, third...
    names = [classes[number] for number in ticks]
    angle = 45 if size <= 20 else 90
    axis.set_xticks(ticks, names, rotation=angle, rotation_mode="anchor", ha="right", va="center_baseline")
    axis.set_yticks(ticks, names)
    axis.tick_params(labelsize=9 if size <= 20 else 7)
    axis.set(title=title, xlabel="predicted", ylabel="label")
    figure.colorbar(picture, label="mistakes (% of the row)")
    return finished(figure)


def reliability(calibration: Calibration, title: str = "") -> Figure:
    """Is the model right as often as it claims? Accuracy against confidence per bin; below, how many images it has.

    Bins without images are left out. The expected calibration error stands in the title.
    """
    filled = calibration.count > 0
    claimed, achieved = (100 * part[filled].numpy() for part in (calibration.confidence, calibration.accuracy))
    figure, (axis, below) = plt.subplots(2, 1, figsize=(5, 6), sharex=True, height_ratios=(3, 1), layout="constrained")
    axis.plot([0, 100], [0, 100], "--", color=GREY, lw=1, label="perfectly calibrated")
    axis.vlines(claimed, achieved, claimed, ORANGE, lw=4, alpha=0.5, label="gap")
    axis.plot(claimed, achieved, "o-", color=BLUE, markersize=5, lw=1, clip_on=False, zorder=3, label="the model")
    axis.set(xlim=(0, 100), ylim=(0, 105), ylabel="accuracy (%)")
    axis.set_title(f"{title}\nexpected calibration error {100 * calibration.error:.1f} %".strip())
    axis.legend(loc="upper left")
    left, right = (100 * edges[filled].numpy() for edges in (calibration.edges[:-1], calibration.edges[1:]))
    below.bar(left, calibration.count[filled].numpy(), right - left, align="edge", color=BLUE, ec="white")
    below.set(xlabel="confidence (%)", ylabel="images", axisbelow=True)
    return finished(figure, ruled=True)
