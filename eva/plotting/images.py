"""Figures of images, maps and filters."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor, nn

from eva.plotting.style import BLUE, GREY, ORANGE, finished, shortened
from eva.receptive_field import EffectiveField, ReceptiveField


def image_grid(images: Tensor, titles: Sequence[str] = (), *, columns: int = 10, suptitle: str = "") -> Figure:
    """Draw images in rows of `columns`, each enlarged with its pixels visible.

    images: (N, 3, H, W), uint8, or floats from 0 to 1; titles: one per image, or none. Raises ValueError for another
    number of titles.
    """
    if titles and len(titles) != len(images):
        raise ValueError(f"{len(images)} images need as many titles, or none, got {len(titles)}")
    titles = ["\n".join(shortened(line) for line in title.split("\n")) for title in titles]
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
    return finished(figure, suptitle)


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
    return finished(figure, suptitle)


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
    return finished(figure, title)


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
