"""A network as a strip of boxes, drawn from what it did in a dry run, and not from the names of its layers."""

from dataclasses import dataclass, field
from itertools import groupby

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from torch import Tensor, nn

from eva.dry_run import Operation, dry_run, images_like
from eva.modules import unwrapped
from eva.plotting.style import finished

# Of each kind, its colour and its hatching, since a figure is read in grey too.
KINDS = {
    "convolution": ("#56b4e9", ""),
    "dilated": ("#0072b2", ".."),
    "depthwise": ("#f0e442", "--"),
    "1x1": ("#e69f00", ""),
    "pooling": ("#bbbbbb", "////"),
    "linear": ("#d55e00", ""),
}
_POOLING = ("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "mean")
_JOINING = ("add", "add_", "cat", "mul")


@dataclass
class Box:
    """One layer that convolves, pools or multiplies by a matrix."""

    kind: str
    maps: int
    size: int  # of the maps, in pixels: the larger side
    block: str  # the part of the network that it is in: the first word of its module's name


@dataclass
class Strip:
    """The boxes in the order in which they ran, and the arcs: (from, to) where something goes past other boxes."""

    boxes: list[Box] = field(default_factory=list)
    arcs: list[tuple[int, int]] = field(default_factory=list)


class _Follower:
    """Hears of each operation, and keeps of each tensor which box it came out of; -1 is the image."""

    def __init__(self) -> None:
        self.strip = Strip()
        self._from = dict[int, tuple[int, Tensor]]()  # by the id of a tensor, which is kept so that it stays its own

    def tell(self, operation: Operation) -> None:
        sources = sorted({self._from[id(tensor)][0] for tensor in operation.inputs if id(tensor) in self._from})
        if not self._from:
            sources = [-1]  # the first operation hands over the images
        if not sources:
            return  # of weights alone
        place, boxes = sources[-1], self.strip.boxes
        kind = _kind(operation)
        if kind:
            boxes.append(_box(kind, operation))
            if place < len(boxes) - 2:
                self._arc(place, len(boxes) - 1)
            place = len(boxes) - 1
        elif operation.name in _JOINING:
            for source in sources[:-1]:
                self._arc(source, place)
        for result in operation.results:
            self._from[id(result)] = (place, result)

    def _arc(self, start: int, end: int) -> None:
        if (start, end) not in self.strip.arcs:
            self.strip.arcs.append((start, end))


def _kind(operation: Operation) -> str:
    if operation.name == "convolution":
        weight, groups = operation.arguments["weight"], operation.arguments["groups"]
        if groups > 1 and weight.shape[1] == 1:
            return "depthwise"
        if max(weight.shape[2:]) == 1:
            return "1x1"
        return "dilated" if max(operation.arguments["dilation"]) > 1 else "convolution"
    if operation.name in _POOLING:
        return "pooling" if operation.results[0].ndim >= 2 else ""
    return "linear" if operation.name in ("addmm", "mm") else ""


def _box(kind: str, operation: Operation) -> Box:
    shape = operation.results[0].shape
    return Box(kind, shape[1], max(shape[2:], default=1), operation.module.split(".")[0])


def strip_of(network: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32)) -> Strip:
    """What `draw` draws. Raises what `dry_run` raises, and ValueError for a network without a layer to draw."""
    network = unwrapped(network)
    follower = _Follower()
    dry_run(network, images_like(network, input_size), follower.tell)
    if not follower.strip.boxes:
        raise ValueError(f"{type(network).__name__} has no convolution, pooling or linear layer: nothing to draw")
    return follower.strip


def draw(network: nn.Module, title: str = "", *, input_size: tuple[int, int, int] = (3, 32, 32)) -> Figure:
    """The network as a strip: a box for each layer, as high as its maps are and as wide as they are many.

    Arcs are shortcuts: what leaves one box is added to what leaves another, or goes in there. Batch norm, ReLU and
    dropout are not drawn, since they change no shape. input_size: of one image, (C, H, W). Nothing is computed.
    Raises DryRunError for a network that cannot be followed, ValueError for one without a layer to draw.
    """
    strip = strip_of(network, input_size)
    figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
    widest, highest = max(box.maps for box in strip.boxes), max(input_size[1:])
    widths = [0.35 + 1.3 * box.maps / widest for box in strip.boxes]
    lefts = [2.0 + sum(widths[:place]) + 0.3 * place for place in range(len(widths))]
    scale = (lefts[-1] + widths[-1]) / 3  # of the strip's height to its length
    heights = [scale * (0.06 + 0.94 * box.size / highest) for box in strip.boxes]
    axis.add_patch(Rectangle((0, -scale / 2), 1.2, scale, fc="white", ec="black", lw=0.8))
    axis.text(0.6, 0, "image", rotation=90, ha="center", va="center", fontsize=8)
    axis.text(0.6, -0.54 * scale, f"{input_size[0]}\n{highest}x{highest}", ha="center", va="top", fontsize=7)
    for box, left, width, height in zip(strip.boxes, lefts, widths, heights, strict=True):
        colour, hatch = KINDS[box.kind]
        axis.add_patch(Rectangle((left, -height / 2), width, height, fc=colour, ec="black", lw=0.6, hatch=hatch))
    _numbers(axis, strip, lefts, widths, heights, highest)
    _blocks(axis, strip, lefts, widths, scale)
    ends = [1.2, *(left + width for left, width in zip(lefts, widths, strict=True))]
    for start, end in strip.arcs:
        height = max([scale, *heights][start + 1 : end + 2]) / 2
        points = [(ends[start + 1] + 0.15, height), (ends[end + 1] + 0.15, height)]
        axis.add_patch(FancyArrowPatch(*points, connectionstyle="arc3,rad=-0.4", arrowstyle="-|>", mutation_scale=7))
    used = [kind for kind in KINDS if any(box.kind == kind for box in strip.boxes)]
    patches = [Patch(fc=KINDS[kind][0], hatch=KINDS[kind][1], ec="black", lw=0.6, label=kind) for kind in used]
    axis.set(xlim=(-0.5, ends[-1] + 0.5), ylim=(-0.92 * scale, 0.75 * scale))
    axis.axis("off")
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8, frameon=False)
    return finished(figure, title, fontsize=11)


def _numbers(
    axis: Axes, strip: Strip, lefts: list[float], widths: list[float], heights: list[float], highest: int
) -> None:
    """Under the boxes: how many maps, and of what size, where that changes and there is room."""
    inch = (lefts[-1] + widths[-1] + 1) / 7
    free, maps, size = 0.0, 0, highest
    for box, left, height in zip(strip.boxes, lefts, heights, strict=True):
        lines = [str(box.maps)] if box.maps != maps else []
        lines += [f"{box.size}x{box.size}"] if box.size not in (size, 1) else []
        if lines and left >= free:  # not in the middle, where it might reach into a higher box before
            axis.text(left, -height / 2 - 0.04 * max(heights), "\n".join(lines), va="top", fontsize=7)
            free = left + 0.07 * inch * max(map(len, lines))
        maps, size = box.maps, box.size


def _blocks(axis: Axes, strip: Strip, lefts: list[float], widths: list[float], scale: float) -> None:
    """The names of the blocks, the longest first; one that would stand in another's place is left out."""
    inch, place = (lefts[-1] + widths[-1] + 1) / 7, 0
    found, taken = list[tuple[float, float, str]](), list[tuple[float, float]]()
    for block, boxes in groupby(strip.boxes, key=lambda box: box.block):
        last = place + len([*boxes]) - 1
        found.append((lefts[last] + widths[last] - lefts[place], lefts[place], block))
        place = last + 1
    for length, start, block in sorted(found, reverse=True):
        middle, half = start + length / 2, 0.04 * inch * len(block)
        free = all(abs(middle - other) > half + its for other, its in taken)
        if block and not block.isdigit() and free and half < length / 2 + 0.15 * inch:
            axis.plot([start, start + length], [-0.76 * scale] * 2, color="black", lw=0.8)
            axis.text(middle, -0.78 * scale, block, ha="center", va="top", fontsize=8)
            taken.append((middle, half))
