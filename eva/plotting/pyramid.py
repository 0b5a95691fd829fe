"""A receptive field as a pyramid: rows of units over one row of an image, and the links between them.

A chain is a sequence of (kernel, stride, dilation), as in notebook 05; a pooling is a kernel with a stride. Nothing is
padded, so that each row is shorter than the one below: every link leads to a pixel. Row 0 is the image.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from eva.plotting.style import BLUE, ORANGE, finished

Layer = tuple[int, int, int]  # kernel, stride, dilation
Counts = list[list[int]]  # of each row, a number for each unit
Link = list[tuple[float, float]]  # two ends

MOST_LAYERS, MOST_PIXELS = 5, 32  # of which a figure 700 pixels wide can be read


def row_lengths(layers: Sequence[Layer], pixels: int) -> list[int]:
    """How many units stand in each row over `pixels` pixels, which are the first.

    Raises ValueError where there is no layer, or more than MOST_LAYERS, for numbers that are not positive and whole,
    for more than MOST_PIXELS, and where a kernel is wider than the row that it should read.
    """
    if not 1 <= len(layers) <= MOST_LAYERS:
        raise ValueError(f"a pyramid has 1 to {MOST_LAYERS} layers, got {len(layers)}: leave some out, or draw two")
    if not _is_whole(pixels) or pixels > MOST_PIXELS:
        raise ValueError(f"pixels must be a whole number from 1 to {MOST_PIXELS}, got {pixels!r}")
    lengths = [pixels]
    for number, layer in enumerate(layers, start=1):
        if not isinstance(layer, Sequence) or len(layer) != 3 or not all(map(_is_whole, layer)):
            wanted = "(kernel, stride, dilation), three whole numbers from 1"
            raise ValueError(f"layer {number} must be {wanted}, got {layer!r}: write (3, 1, 1) for a plain 3x3")
        kernel, stride, dilation = layer
        span = dilation * (kernel - 1) + 1
        if span > lengths[-1]:
            advice = "take more pixels, or a smaller kernel, stride or dilation up to here"
            raise ValueError(f"layer {number} spans {span} units, and the row below has {lengths[-1]}: {advice}")
        lengths.append((lengths[-1] - span) // stride + 1)
    return lengths


def paths_down(layers: Sequence[Layer], unit: tuple[int, int], pixels: int) -> Counts:
    """How many paths lead from a unit, (layer, place), down to each unit of its row and of the rows below, by row.

    Row 0 says how often each pixel is read. Raises ValueError as `row_lengths` does, and for a unit that is not there.
    """
    lengths = row_lengths(layers, pixels)
    row, place = unit
    _require(lengths, row, place, lowest=1)
    counts = [[0] * length for length in lengths[: row + 1]]
    counts[row][place] = 1
    for number in range(row, 0, -1):
        kernel, stride, dilation = layers[number - 1]
        for above, paths in enumerate(counts[number]):
            for tap in range(kernel):
                counts[number - 1][above * stride + tap * dilation] += paths
    return counts


def paths_up(layers: Sequence[Layer], pixel: int, pixels: int) -> Counts:
    """How many paths lead from each unit down to one pixel, by row: the units that are not 0 see it.

    Raises ValueError as `row_lengths` does, and for a pixel that is not there.
    """
    lengths = row_lengths(layers, pixels)
    _require(lengths, 0, pixel)
    counts = [[int(place == pixel) for place in range(pixels)]]
    for (kernel, stride, dilation), length in zip(layers, lengths[1:], strict=True):
        read = [[unit * stride + tap * dilation for tap in range(kernel)] for unit in range(length)]
        counts.append([sum(counts[-1][place] for place in places) for places in read])
    return counts


def field_of(counts: Counts) -> tuple[int, int]:
    """The first and the last pixel that a unit reads, from its `paths_down`."""
    read = [pixel for pixel, paths in enumerate(counts[0]) if paths]
    return read[0], read[-1]


def places(layers: Sequence[Layer], pixels: int) -> list[list[float]]:
    """Of each row, where its units stand, in pixels: each over the middle of what it sees."""
    stand = [[float(pixel) for pixel in range(pixels)]]
    for (kernel, stride, dilation), length in zip(layers, row_lengths(layers, pixels)[1:], strict=True):
        below = stand[-1]
        last = dilation * (kernel - 1)
        stand.append([(below[unit * stride] + below[unit * stride + last]) / 2 for unit in range(length)])
    return stand


def middle_unit(layers: Sequence[Layer], pixels: int) -> tuple[int, int]:
    """The unit in the middle of the highest row, as (layer, place)."""
    return len(layers), (row_lengths(layers, pixels)[-1] - 1) // 2


def told(layers: Sequence[Layer], unit: tuple[int, int] | None, pixel: int | None, pixels: int) -> str:
    """In words, what a pyramid with this unit, or this pixel, shows; with neither, that of the unit in the middle."""
    if pixel is not None:
        rows = paths_up(layers, pixel, pixels)[1:]
        seen = [f"{sum(map(bool, row))} of layer {number}" for number, row in enumerate(rows, start=1)]
        return f"pixel {pixel} is seen by so many units: {', '.join(seen)}"
    unit = unit or middle_unit(layers, pixels)
    counts = paths_down(layers, unit, pixels)
    first, last = field_of(counts)
    size, read = last - first + 1, sum(map(bool, counts[0]))
    which = "and reads each of them" if read == size else f"and reads only {read} of them"
    return (
        f"unit {unit[1]} of layer {unit[0]} sees {size} pixels, {first} to {last}, {which}, by {sum(counts[0])} paths"
    )


def pyramid(
    layers: Sequence[Layer],
    *,
    unit: tuple[int, int] | None = None,
    pixel: int | None = None,
    pixels: int = 28,
    title: str | None = None,
) -> Figure:
    """Draw a chain over one row of an image, and light up what `unit` sees, or what sees `pixel`.

    layers: (kernel, stride, dilation) of each, from the image on, MOST_LAYERS at most. unit: (layer, place), layers
    counted from 1 and places from 0; by default the one in the middle on top. pixel: a place in the image. In what is
    lit stands the number of paths: from the unit down to each pixel, or from each unit down to the pixel. The title is
    by default what is seen, in words. Raises ValueError for a unit or a pixel that is not there, for both at once, and
    for a chain that does not fit (`row_lengths`).
    """
    if unit is not None and pixel is not None:
        raise ValueError(f"choose a unit or a pixel, got both: unit {unit!r} and pixel {pixel!r}; leave one out")
    if pixel is None:
        chosen = unit or middle_unit(layers, pixels)
        counts, numbered = paths_down(layers, chosen, pixels), range(1)
    else:
        chosen = 0, pixel
        counts, numbered = paths_up(layers, pixel, pixels), range(1, 1 + len(layers))
    below, rows, above = 0.44, 0.25 + 0.72 * len(layers), 0.0 if title == "" else 0.36  # inches
    height = below + rows + above
    figure = plt.figure(figsize=(7, height))  # once all is known to fit: a figure that is not finished stays
    axis = figure.add_axes((0.18, below / height, 0.81, rows / height))
    stand = places(layers, pixels)
    _links(axis, layers, stand, counts)
    _units(axis, stand, counts, chosen, numbered)
    if pixel is None:
        left, right = field_of(counts)[0] - 0.45, field_of(counts)[1] + 0.45
        axis.plot([left, left, right, right], [-0.25, -0.34, -0.34, -0.25], color="black", lw=1)
    _words(axis, layers, pixels)
    return finished(figure, told(layers, unit, pixel, pixels) if title is None else title, fontsize=10)


def _links(axis: Axes, layers: Sequence[Layer], stand: list[list[float]], counts: Counts) -> None:
    """A line for each weight: dark where it is part of a path."""
    light, dark = list[Link](), list[Link]()
    for number, (kernel, stride, dilation) in enumerate(layers, start=1):
        for unit, at in enumerate(stand[number]):
            for below in (unit * stride + tap * dilation for tap in range(kernel)):
                on_path = number < len(counts) and counts[number][unit] and counts[number - 1][below]
                (dark if on_path else light).append([(at, number), (stand[number - 1][below], number - 1)])
    axis.add_collection(LineCollection(light, colors="#d0d0d0", linewidths=0.6, zorder=1))
    axis.add_collection(LineCollection(dark, colors="black", linewidths=1.1, zorder=2))


def _units(
    axis: Axes, stand: list[list[float]], counts: Counts, chosen: tuple[int, int], numbered: Sequence[int]
) -> None:
    """Squares for pixels and circles for units: white, or blue where lit, the chosen one orange with a thick edge."""
    area = 145 * min(1, 28 / len(stand[0])) ** 2  # of a marker, so that neighbours do not touch
    for row, at in enumerate(stand):
        lit = counts[row] if row < len(counts) else [0] * len(at)
        shown = [(ORANGE, 2.0) if (row, place) == chosen else (BLUE if paths else "white", 0.6)
                 for place, paths in enumerate(lit)]  # fmt: skip
        colours, widths = zip(*shown, strict=True)
        marker = "o" if row else "s"
        axis.scatter(at, [row] * len(at), area, colours, marker=marker, edgecolors="black", linewidths=widths, zorder=3)
        for x, paths in zip(at, lit, strict=True):
            if paths and row in numbered:
                size = 8 if paths < 100 else 6 if paths < 1000 else 4.5
                axis.text(x, row - 0.01, f"{paths}", color="white", fontsize=size, ha="center", va="center")


def _words(axis: Axes, layers: Sequence[Layer], pixels: int) -> None:
    """What each row is, at its left, and the pixels counted below."""
    named, size, jump = ["the image"], 1, 1
    for number, (kernel, stride, dilation) in enumerate(layers, start=1):
        size, jump = size + dilation * (kernel - 1) * jump, jump * stride
        extras = [f"stride {stride}"] * (stride > 1) + [f"dilation {dilation}"] * (dilation > 1)  # 1 needs no word
        named.append(f"layer {number}\n{', '.join([f'kernel {kernel}', *extras])}\nsize {size}, jump {jump}")
    axis.set_yticks(range(len(named)), named, fontsize=8)
    axis.set_xticks(range(0, pixels, 4))
    axis.tick_params(length=0, labelsize=8)
    axis.set_xlabel("pixel, of one row of the image", fontsize=8)
    axis.set(xlim=(-0.8, pixels - 0.2), ylim=(-0.4, len(layers) + 0.4))
    axis.spines[:].set_visible(False)


def _require(lengths: Sequence[int], row: int, place: int, lowest: int = 0) -> None:
    """Raises ValueError where there is no such row from `lowest` on, or no such place in it."""
    if not isinstance(row, int) or not lowest <= row < len(lengths):
        raise ValueError(f"there is no layer {row!r}: this chain has layers {lowest} to {len(lengths) - 1}")
    if not isinstance(place, int) or not 0 <= place < lengths[row]:
        kind = f"unit {place!r} in layer {row}" if row else f"pixel {place!r}"
        raise ValueError(f"there is no {kind}: choose one from 0 to {lengths[row] - 1}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
