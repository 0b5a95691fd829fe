"""Every figure of the course. Each function takes plain results and returns a matplotlib Figure."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from eva.data import Split
from eva.mistakes import Calibration, Predictions
from eva.receptive_field import EffectiveField, ReceptiveField

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # from Okabe and Ito's colour-blind-safe palette
# Of up to four lines, which differ in dash and marker and not in colour alone: a figure can be read in grey.
_COLOURS, _DASHES = (BLUE, ORANGE, GREY, "#009e73"), ("o-", "s--", "^:", "d-.")


def image_grid(images: Tensor, titles: Sequence[str] = (), *, columns: int = 10, suptitle: str = "") -> Figure:
    """Draw images in rows of `columns`, each enlarged with its pixels visible.

    images: (N, 3, H, W), uint8, or floats from 0 to 1; titles: one per image, or none.
    """
    rows = max(1, -(-len(images) // columns))
    width = max([1.1, *(0.072 * len(line) for title in titles for line in title.split("\n"))])  # inches; room for words
    height = 1.15 + 0.15 * max([1, *(len(title.split("\n")) for title in titles)])
    size = width * columns, height * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, image in zip(axes.flat, images.cpu().permute(0, 2, 3, 1), strict=False):
        axis.imshow(image.numpy(), interpolation="nearest")
    for axis, title in zip(axes.flat, titles, strict=False):
        axis.set_title(title, fontsize=8)
    return _finished(figure, suptitle)


def curves(rows: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Loss and accuracy of training and validation by epoch: the rows of a `History`, or of metrics.jsonl."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, name, scale, label in ((axes[0], "loss", 1, "cross-entropy"), (axes[1], "accuracy", 100, "accuracy (%)")):
        for split, colour, dash in (("train", BLUE, "o--"), ("validation", ORANGE, "s-")):
            values = [scale * row[f"{split}_{name}"] for row in rows]
            axis.plot([row["epoch"] for row in rows], values, dash, color=colour, label=split, markersize=4)
        axis.set(xlabel="epoch", ylabel=label, title=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finished(figure, title, ruled=True)


def live_curves(title: str = "") -> Callable[[Sequence[dict[str, Any]]], None]:
    """A hook for `fit(on_epoch=...)` that redraws one figure in the notebook after each epoch."""
    from IPython.display import DisplayHandle

    handle, draw = DisplayHandle(), None

    def update(rows: Sequence[dict[str, Any]]) -> None:
        nonlocal draw
        draw = handle.update if draw else handle.display
        draw(curves(rows, title))

    return update


def lines(
    x: Sequence[float],
    series: dict[str, Sequence[float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log_y: bool = False,
    colors: Sequence[str] = _COLOURS,
) -> Figure:
    """Up to four series over the same x, told apart by dash and marker as well as by colour."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for (name, values), color, dash in zip(series.items(), colors, _DASHES, strict=False):
        axis.plot(x, values, dash, color=color, markersize=3, markevery=max(1, len(x) // 12), label=name)
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale="log" if log_y else "linear")
    return _finished(figure, ruled=True)


def maps(values: Sequence[Tensor], titles: Sequence[str], *, suptitle: str = "", numbers: bool = False) -> Figure:
    """Maps (H, W) side by side, each from its lowest value (black) to its highest (white), written in if `numbers`."""
    widths = [each.shape[1] for each in values]  # so that a pixel is as large in one map as in another
    figure = plt.figure(figsize=(2.6 * len(values), 2.9), layout="constrained")
    axes = figure.subplots(1, len(values), squeeze=False, width_ratios=widths)[0]
    for axis, each, title in zip(axes, values, titles, strict=True):
        pixels = each.detach().cpu()
        axis.imshow(pixels.numpy(), cmap="gray")
        axis.set_title(title, fontsize=9)
        axis.set(xticks=[], yticks=[])
        if not numbers:
            continue
        height, width = pixels.shape  # the maps are small: show where one pixel ends
        axis.hlines([row + 0.5 for row in range(height - 1)], -0.5, width - 0.5, GREY, lw=0.5)
        axis.vlines([column + 0.5 for column in range(width - 1)], -0.5, height - 0.5, GREY, lw=0.5)
        middle = float(pixels.min() + pixels.max()) / 2
        for (row, column), value in np.ndenumerate(pixels.numpy()):
            shade = "black" if value >= middle else "white"
            axis.text(column, row, f"{value:g}", ha="center", va="center", color=shade, fontsize=8)
    return _finished(figure, suptitle)


def field_growth(fields: dict[str, ReceptiveField], title: str = "") -> Figure:
    """How the receptive field grows, layer by layer, of up to four networks. Rows; a layer is one operation traced."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for (name, field), colour, dash in zip(fields.items(), _COLOURS, _DASHES, strict=False):
        sizes = [1, *(layer.size[0] for layer in field.layers)]
        label = f"{name}: {sizes[-1]} pixels"
        axis.step(range(len(sizes)), sizes, dash, where="post", color=colour, markersize=4, label=label)
    for side in {field.input_size[1] for field in fields.values()}:
        axis.axhline(side, color="black", lw=0.8)
        axis.text(0, side, f" the image: {side} pixels", va="bottom", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(title=title, xlabel="layer (0 is the image)", ylabel="receptive field (pixels)")
    return _finished(figure, ruled=True)


def trade_offs(lines: dict[str, dict[str, Any]], title: str = "") -> Figure:
    """Accuracy of each step of the ladder against its parameters and against its MACs: lines of the ledger, by step."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    accuracies, spreads = ([100 * line[name] for line in lines.values()] for name in ("accuracy", "accuracy_sd"))
    for axis, name, unit in ((axes[0], "parameters", 1e3), (axes[1], "macs", 1e6)):
        costs = [line[name] / unit for line in lines.values()]
        axis.plot(costs, accuracies, ":", color=GREY, lw=1)  # the order of the steps
        axis.errorbar(costs, accuracies, spreads, fmt="o", color=BLUE, markersize=4, capsize=4)
        for number, (cost, accuracy) in enumerate(zip(costs, accuracies, strict=True), start=1):
            aside = (8 if number % 2 else -8, 0)  # steps that cost the same stand above each other
            axis.annotate(f"{number}", (cost, accuracy), aside, textcoords="offset points", ha="center", va="center",
                          fontsize=9, weight="bold")  # fmt: skip
        axis.set_xlim(0, 1.1 * max(costs))
    axes[0].set(xlabel="parameters (thousands)", ylabel="validation accuracy (%)")
    axes[1].set(xlabel="MACs of one image (millions)")
    steps = "   ".join(f"{number} {step}" for number, step in enumerate(lines, start=1))
    return _finished(figure, f"{title}\n{steps}", ruled=True, fontsize=9)


def field_over(image: Tensor, field: ReceptiveField, heats: dict[str, EffectiveField], title: str = "") -> Figure:
    """What the trunk's unit in the middle could see (dashed box), and what moves it (shade), drawn over an image.

    image: (3, H, W), uint8. `heats` are drawn side by side, each with the circles that hold half and 95 % of it.
    """
    figure, grid = plt.subplots(1, len(heats), figsize=(4 * len(heats), 4.6), squeeze=False, layout="constrained")
    rows, columns = field.layers[-1].shape[-2:]
    left, top, right, bottom = (edge - 0.5 for edge in field.box((rows // 2, columns // 2)))
    size = right - left, bottom - top
    grey = image.cpu().float().mean(0).numpy() / 255
    for axis, (name, effective) in zip(grid[0], heats.items(), strict=True):
        axis.imshow(0.35 + 0.6 * grey, cmap="gray", vmin=0, vmax=1)
        shade = (effective.heat / effective.heat.max()).numpy()
        axis.imshow(shade * 0, cmap=ListedColormap([ORANGE]), alpha=0.85 * shade)
        label = f"could see: {field.size[1]} px wide"
        axis.add_patch(Rectangle((left, top), *size, fill=False, ls="--", lw=1.5, ec=BLUE, label=label))
        for share, radius, dash in (("half", effective.radius_50, ":"), ("95 %", effective.radius_95, "-")):
            label = f"{share} of it: {2 * radius:.0f} px wide"
            axis.add_patch(Circle(effective.centre[::-1], radius, fill=False, ls=dash, lw=1.5, label=label))
        height, width = grey.shape
        axis.set(xlim=(min(left, 0) - 2, max(right, width) + 2), title=name, xlabel="column (pixels)",
                 ylim=(max(bottom, height) + 2, min(top, 0) - 2), ylabel="row (pixels)")  # fmt: skip
        axis.legend(loc="lower right", fontsize=8)
    return _finished(figure, title)


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
        return _finished(figure, title)
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
    return _finished(figure)


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
    return _finished(figure, ruled=True)


def first_filters(model: nn.Module, title: str = "") -> Figure:
    """The weights of the first convolution that looks at three channels, as colour images, numbered by output channel.

    Each is scaled to its own largest weight: a weight of zero is mid-grey, and a channel is bright where the
    filter wants it bright. Raises ValueError for a model without such a convolution.
    """
    colour = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3 and m.groups == 1]
    if not colour:
        advice = "only such filters can be seen as colours: give a network for RGB images, or draw its feature_maps"
        raise ValueError(f"{type(model).__name__} has no convolution of 3 input channels, and {advice}")
    weights = colour[0].weight.detach().float().cpu()
    images = 0.5 + 0.5 * weights / weights.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    line = f"{len(weights)} filters of {weights.shape[2]}x{weights.shape[3]}, zero is mid-grey"
    return image_grid(images, [*map(str, range(len(images)))], columns=8, suptitle=f"{title}\n{line}".strip())


def feature_maps(maps: Tensor, title: str = "", columns: int = 8) -> Figure:
    """The first 32 maps, numbered, of what a layer makes of one image, (C, H, W), each from its lowest to its highest.

    The lowest value is black and the highest white. Raises ValueError for another shape.
    """
    if maps.ndim != 3 or not maps.numel():
        raise ValueError(f"maps must be (C, H, W), of one image, got {tuple(maps.shape)}: of a batch, take maps[0]")
    shown = maps[:32].detach().float().cpu()
    low, high = shown.amin((1, 2), keepdim=True), shown.amax((1, 2), keepdim=True)
    grey = ((shown - low) / (high - low).clamp(min=1e-12))[:, None].expand(-1, 3, -1, -1)
    line = f"{len(shown)} of {len(maps)} maps, each from its lowest (black) to its highest (white)"
    return image_grid(grey, [*map(str, range(len(grey)))], columns=columns, suptitle=f"{title}\n{line}".strip())


def _finished(figure: Figure, suptitle: str = "", *, ruled: bool = False, **font: Any) -> Figure:
    """The figure under its title; if `ruled`, each of its axes has a grid, and a legend where lines have names."""
    for axis in figure.axes if ruled else ():
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0] and not axis.get_legend():
            axis.legend()
    figure.suptitle(suptitle, **font)
    plt.close(figure)  # else a notebook draws it a second time, and never lets it go
    return figure
