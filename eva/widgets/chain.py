"""A chain of layers that a learner puts together, and a picture of what the unit in its middle sees.

LayerChoice   one layer; PRESETS has chains of them
chain         the network
analyse       what it sees and costs
picture       the field drawn on an image
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from eva.measure import count_macs, count_parameters
from eva.plotting import BLUE, ORANGE
from eva.receptive_field import Pair, ReceptiveField, receptive_field
from eva.widgets.pictures import enlarged

# An even kernel has no middle pixel: no padding, the same on both sides, would keep the size of a map.
OFFERED = {"kernel": range(1, 8, 2), "stride": range(1, 3), "dilation": range(1, 9), "maps": range(1, 513)}


@dataclass(frozen=True)
class LayerChoice:
    """A convolution of `kernel` x `kernel` weights to `maps` feature maps, and 2x2 max pooling after it if `pool`.

    Raises ValueError for a number that is not OFFERED.
    """

    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    pool: bool = False
    separable: bool = False  # depthwise separable: each map by itself, then a 1x1 convolution across maps
    maps: int = 32

    def __post_init__(self) -> None:
        for name, offered in OFFERED.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value not in offered:
                kind = "an odd" if offered.step == 2 else "a whole"
                raise ValueError(f"{name} must be {kind} number from {offered[0]} to {offered[-1]}, got {value!r}")


_NARROW, _WIDE, _SEPARABLE = LayerChoice(), LayerChoice(maps=128), LayerChoice(maps=192, separable=True)
_DILATED = LayerChoice(dilation=2, maps=48)
PRESETS: dict[str, tuple[LayerChoice, ...]] = {
    # The 1x1 in front widens nothing: with it, 3x3 and 7x7 both go from 32 maps to 32, and their costs compare.
    "three 3x3": (LayerChoice(1), _NARROW, _NARROW, _NARROW),
    "one 7x7": (LayerChoice(1), LayerChoice(7)),
    "dilations 1 2 4 8": tuple(LayerChoice(dilation=rate) for rate in (1, 2, 4, 8)),
    "VGG-like with pooling": tuple(LayerChoice(maps=m, pool=p) for m in (32, 64, 128) for p in (False, True)),
    **{
        f"the ladder's step {step!r}": (
            *(_NARROW, LayerChoice(dilation=rate, pool=True), LayerChoice(dilation=rate)),
            *(LayerChoice(maps=64, pool=True, separable=split), LayerChoice(maps=64, separable=split)),
            *[LayerChoice(maps=64)] * 2,
        )
        for step, rate, split in (("batch norm", 1, False), ("dilated", 2, False), ("depthwise separable", 2, True))
    },
    "the trunk of Net": (  # without its shortcuts, which cost nothing and widen nothing
        *(_NARROW, replace(_DILATED, pool=True), _DILATED, _DILATED),
        *(*[_SEPARABLE] * 2, replace(_SEPARABLE, pool=True), *[_SEPARABLE] * 6),
        *(replace(_WIDE, kernel=1), _WIDE, _WIDE),
    ),
}
HEADS = ("layer", "output", "field", "jump")


def chain(layers: Sequence[LayerChoice]) -> nn.Sequential:
    """The network, from images (N, 3, H, W) to maps; child i is layer i, with batch norm and ReLU as in `eva.model`.

    Padding keeps the size of a map at stride 1.
    """
    inputs = [3, *(layer.maps for layer in layers)]
    return nn.Sequential(*(_block(maps, layer) for maps, layer in zip(inputs, layers, strict=False)))


def _block(inputs: int, layer: LayerChoice) -> nn.Sequential:
    outputs, groups = (inputs, inputs) if layer.separable else (layer.maps, 1)
    padding = layer.dilation * (layer.kernel - 1) // 2
    window = nn.Conv2d(inputs, outputs, layer.kernel, layer.stride, padding, layer.dilation, groups, bias=False)
    across = [nn.Conv2d(inputs, layer.maps, 1, bias=False)] if layer.separable else []
    pooling = [nn.MaxPool2d(2)] if layer.pool else []
    return nn.Sequential(window, *across, nn.BatchNorm2d(layer.maps), nn.ReLU(), *pooling)


@dataclass(frozen=True)
class Analysis:
    """What a chain sees and costs. A unit is a (row, column) of the last map."""

    field: ReceptiveField
    parameters: int
    macs: int  # per image

    @property
    def map_size(self) -> tuple[int, ...]:
        return self.field.layers[-1].shape[-2:]

    @property
    def units(self) -> list[Pair]:
        """The unit in the middle and, unless it is alone, its neighbour up and to the left."""
        rows, columns = (n // 2 for n in self.map_size)
        return list(dict.fromkeys([(rows, columns), (max(0, rows - 1), max(0, columns - 1))]))

    def rows(self) -> list[tuple[str, ...]]:
        """A row of text per layer, below HEADS; the output is maps x rows x columns."""
        last = {layer.module.split(".")[0]: layer for layer in self.field.layers}  # of its operations the last counts
        return [
            (index, "x".join(map(str, layer.shape[1:])), str(layer.size[0]), str(layer.jump[0]))
            for index, layer in last.items()
        ]


def analyse(layers: Sequence[LayerChoice], image_size: Pair) -> Analysis:
    """What `chain(layers)` sees and costs on images of `image_size` (H, W). No pixel is computed.

    Raises ValueError where there is no layer, or where the maps shrink to nothing.
    """
    if not layers:
        raise ValueError("a chain needs at least one layer, got none")
    rows, columns = image_size
    for index, layer in enumerate(layers):
        rows, columns = -(-rows // layer.stride), -(-columns // layer.stride)
        if layer.pool and min(rows, columns) < 2:
            advice = "take out this pooling, or a stride or a pooling before it"
            raise ValueError(f"layer {index} cannot pool 2x2: the maps have shrunk to {rows} x {columns}; {advice}")
        rows, columns = (rows // 2, columns // 2) if layer.pool else (rows, columns)
    with torch.device("meta"):  # draws no weights: a slider must not move the notebook's random state
        network = chain(layers)
    size = (3, *image_size)
    return Analysis(receptive_field(network, size), count_parameters(network), count_macs(network, size))


CANVAS = 400  # side of the picture, in pixels of the screen


def picture(image: Tensor, analysis: Analysis | None = None) -> Image.Image:
    """`image`, enlarged, with what the middle unit sees (solid, orange) and what its neighbour sees (dashed, blue).

    image: uint8 (3, H, W). Padding is hatched, as far as the boxes reach but no wider than the image: what reaches
    further runs out of the picture. Returns a square in RGB, CANVAS pixels wide or, for a large image, wider.
    """
    height, width = image.shape[1:]
    boxes = [analysis.field.box(unit) for unit in analysis.units] if analysis else []
    reach = [max(-left, -top, right - width, bottom - height, 0) for left, top, right, bottom in boxes]
    pixels = max(height, width) + 2 * min(max(reach, default=0) + 2, max(height, width))
    scale = max(1, CANVAS // pixels)
    side = max(CANVAS, scale * pixels)
    x, y = (side - scale * width) // 2, (side - scale * height) // 2
    canvas = Image.new("RGB", (side, side), "#f4f4f4")
    draw = ImageDraw.Draw(canvas)
    for offset in range(0, 2 * side, 8):
        draw.line((offset, 0, 0, offset), fill="#cccccc")
    canvas.paste(enlarged(image, scale), (x, y))
    for (left, top, right, bottom), colour, gap in reversed([*zip(boxes, (ORANGE, BLUE), (0, 6), strict=False)]):
        _outline(draw, (x + scale * left, y + scale * top, x + scale * right, y + scale * bottom), colour, gap)
    return canvas


def _outline(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str, gap: int) -> None:
    """A line in dashes with `gap` between them, on a wider one in white: it stands out from any image."""
    left, top, right, bottom = box
    draw.rectangle((left - 1, top - 1, right, bottom), outline="white", width=5)
    across = [(x, y, min(x + 7, right - 1), y + 2) for x in range(left, right, 8 + gap) for y in (top, bottom - 3)]
    down = [(x, y, x + 2, min(y + 7, bottom - 1)) for y in range(top, bottom, 8 + gap) for x in (left, right - 3)]
    for dash in across + down:
        draw.rectangle(dash, fill=colour)
