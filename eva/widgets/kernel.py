"""A 3x3 kernel on one channel of an image: the nine pixels that it reads, their sum, its map, and pictures of them.

Setting             stride, dilation and padding
kernel              nine weights by their name: one of NAMES
one_channel         the image as numbers in rows and columns
read, feature_map   what one unit of the map is the sum of; all units
image_picture       the image, with the pixels that a unit reads; map_picture the map, with that unit
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from eva.checkpoint import pretrained_card
from eva.plotting import ORANGE
from eva.receptive_field import Pair
from eva.widgets.pictures import enlarged

OFFERED = {"stride": (1, 2), "dilation": (1, 2, 3), "padding": (0, 1, 2, 3)}
SIDES = range(3, 65)  # pixels of an image: a kernel's width, and as many as can be told apart in the picture
CANVAS = 266  # pixels of the screen: seven for each of the 32 of an image and of the widest padding on both sides
_MARGIN = OFFERED["padding"][-1]  # pixels kept free round the image, so that it stays where it is as padding comes
_RIM = 3  # pixels of the screen round all of it, for the rings of pixels at the edge
_MID_GREY = 128

Rows = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Setting:
    """How the kernel is laid on the image. Raises ValueError for a number that is not OFFERED."""

    stride: int = 1
    dilation: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        for name, offered in OFFERED.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value not in offered:
                raise ValueError(f"{name} must be one of {', '.join(map(str, offered))}, got {value!r}")


@dataclass(frozen=True)
class Kernel:
    """Three rows of three weights, and what to say of them."""

    rows: Rows
    words: str

    @property
    def weights(self) -> Tensor:
        return torch.tensor(self.rows, dtype=torch.float32)


_NINTH = 1 / 9
_BY_HAND = {
    "vertical edges": Kernel(
        ((-1, 0, 1),) * 3, "What is right of the pixel, less what is left of it: bright right of dark is positive."
    ),
    "horizontal edges": Kernel(
        ((-1, -1, -1), (0, 0, 0), (1, 1, 1)),
        "What is below the pixel, less what is above it: bright below dark is positive.",
    ),
    "edges all round": Kernel(
        ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
        "Eight times the pixel, less its eight neighbours: zero where all nine are alike.",
    ),
    "blur": Kernel(
        ((_NINTH,) * 3,) * 3,
        "The mean of nine pixels: fine detail goes. No sum is negative, so nothing is darker than mid-grey.",
    ),
    "emboss": Kernel(
        ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
        "The pixel itself, and how much brighter it becomes towards the lower right: it looks like a relief.",
    ),
}
LEARNED = "learned"
NAMES = (*_BY_HAND, LEARNED)


def kernel(name: str) -> Kernel:
    """The kernel of that name. Raises ValueError for a name that is none of NAMES."""
    if name not in NAMES:
        raise ValueError(f"there is no preset {name!r}: choose one of {', '.join(map(repr, NAMES))}")
    return _learned() if name == LEARNED else _BY_HAND[name]


@cache
def _learned() -> Kernel:
    """Of the first layer of the network that ships with eva, the kernel with the largest weights, as one slice.

    An image in grey has one channel, and the kernel three slices: their mean is taken, and then the kernel whose nine
    means have the largest sum of squares. Hundredths are enough, and make the products that are shown the true ones.
    """
    means = pretrained_card().weights["stem.weight"].mean(1)  # (32, 3, 3)
    strongest = int(means.flatten(1).square().sum(1).argmax())
    rows = tuple((row[0], row[1], row[2]) for row in (means[strongest].double() * 100).round().div(100).tolist())
    words = (
        f"Kernel {strongest} of {len(means)} in the first layer of the network that ships with eva: found by training. "
        "It has a slice for each colour; this is the mean of the three, in hundredths."
    )
    return Kernel(rows, words)


def one_channel(image: Tensor) -> Tensor:
    """The image in grey, (H, W), whole numbers from 0 to 255 as floats: its channel, or the mean of its three.

    image: uint8 (H, W), (1, H, W) or (3, H, W), 3 to 64 pixels a side. Raises ValueError for anything else.
    """
    if not isinstance(image, Tensor) or image.dtype != torch.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise ValueError(f"image must be a uint8 tensor, got {kind}: take the image before it is normalised")
    shape = tuple(image.shape)
    channels, sides = (shape[:-2] or (1,)), shape[-2:]
    if len(shape) not in (2, 3) or channels[0] not in (1, 3) or any(side not in SIDES for side in sides):
        hint = "of a batch take images[0], and where the channels come last image.permute(2, 0, 1)"
        wanted = f"(3, H, W), (1, H, W) or (H, W), H and W from {SIDES[0]} to {SIDES[-1]}"
        raise ValueError(f"image must be {wanted}, got {shape}: {hint}")
    return image.cpu().reshape(channels[0], *sides).float().mean(0).round()


def map_size(image_size: Pair, setting: Setting) -> Pair:
    """Rows and columns of the map. Raises ValueError where the kernel does not fit into the image and its padding."""
    span = 2 * setting.dilation + 1
    rows, columns = (side + 2 * setting.padding for side in image_size)
    if min(rows, columns) < span:
        raise ValueError(
            f"a 3x3 kernel with dilation {setting.dilation} spans {span} x {span} pixels, and the image with a padding "
            f"of {setting.padding} has {rows} x {columns}: take a smaller dilation, or more padding"
        )
    return (rows - span) // setting.stride + 1, (columns - span) // setting.stride + 1


def middle_of(unit: Pair, setting: Setting) -> Pair:
    """The pixel (row, column) that the middle weight lies on; it may lie in the padding, before 0."""
    row, column = (place * setting.stride - setting.padding + setting.dilation for place in unit)
    return row, column


def nearest_unit(middle: Pair, setting: Setting, size: Pair) -> Pair:
    """The unit of a map of `size` whose kernel has its middle closest to the pixel `middle`."""
    first = middle_of((0, 0), setting)
    steps = [(2 * (m - f) + setting.stride) // (2 * setting.stride) for m, f in zip(middle, first, strict=True)]
    row, column = (min(max(0, step), most - 1) for step, most in zip(steps, size, strict=True))
    return row, column


@dataclass(frozen=True)
class Reading:
    """What one unit reads, each (3, 3): the pixels, zero in the padding; are they in the image?; the weights."""

    pixels: Tensor
    inside: Tensor
    weights: Tensor

    @property
    def products(self) -> Tensor:
        return self.pixels * self.weights

    @property
    def total(self) -> float:
        return self.products.sum().item()


def read(grey: Tensor, weights: Tensor, setting: Setting, unit: Pair) -> Reading:
    """The nine pixels of `grey`, (H, W), under the kernel of the unit (row, column), with the weights on them."""
    pixels, inside = torch.zeros(3, 3), torch.zeros(3, 3, dtype=torch.bool)
    for (i, j), (row, column) in _places(setting, unit).items():
        if 0 <= row < grey.shape[0] and 0 <= column < grey.shape[1]:
            pixels[i, j], inside[i, j] = grey[row, column], True
    return Reading(pixels, inside, weights)


def _places(setting: Setting, unit: Pair) -> dict[Pair, Pair]:
    """Of each of the nine weights the pixel (row, column) that it lies on."""
    row, column = middle_of(unit, setting)
    step = setting.dilation
    return {(i, j): (row + (i - 1) * step, column + (j - 1) * step) for i in range(3) for j in range(3)}


def feature_map(grey: Tensor, weights: Tensor, setting: Setting) -> Tensor:
    """The sums of all units, (rows, columns), of the image `grey`, (H, W), without a bias.

    Raises ValueError where the kernel does not fit.
    """
    map_size((grey.shape[0], grey.shape[1]), setting)
    return F.conv2d(grey[None, None], weights[None, None], **vars(setting))[0, 0]


def image_picture(grey: Tensor, setting: Setting, unit: Pair | None = None) -> Image.Image:
    """The image `grey`, (H, W), enlarged, its padding hatched, and the nine pixels that `unit` reads outlined.

    Returns RGBA, see-through beyond the padding, about CANVAS pixels wide for an image of 32.
    """
    height, width = grey.shape
    scale = _scale(grey)
    picture = _empty(grey)
    if setting.padding:
        frame = Image.new("RGBA", [scale * (side + 2 * setting.padding) for side in (width, height)], "black")
        draw = ImageDraw.Draw(frame)
        for offset in range(0, sum(frame.size), 6):
            draw.line((offset, 0, 0, offset), fill="#666666")
        draw.rectangle((0, 0, frame.width - 1, frame.height - 1), outline="#666666")  # its end, on a dark page
        picture.paste(frame, _corner((-setting.padding, -setting.padding), scale))
    picture.paste(_shaded(grey, scale), _corner((0, 0), scale))
    if unit is not None:
        _outline(picture, [*_places(setting, unit).values()], scale)
    return picture


def map_picture(grey: Tensor, setting: Setting, values: Tensor | None = None, unit: Pair | None = None) -> Image.Image:
    """The map `values`, (rows, columns), of the image `grey`, as large as `image_picture`, `unit` outlined.

    Zero is mid-grey, and the value furthest from it is white or black. The first unit is drawn where the middle of its
    kernel lies, and units as large as pixels: at stride 1 the map lies as the image does, at 2 it is half as large.
    Empty where there is no map.
    """
    picture = _empty(grey)
    if values is not None:
        scale, (top, left) = _scale(grey), middle_of((0, 0), setting)
        largest = values.abs().max().clamp(min=1e-12)
        shades = _MID_GREY + (255 - _MID_GREY) * values / largest
        picture.paste(_shaded(shades, scale), _corner((top, left), scale))
        if unit is not None:
            _outline(picture, [(top + unit[0], left + unit[1])], scale)
    return picture


def _scale(grey: Tensor) -> int:
    """Pixels of the screen for one of the image."""
    return max(1, CANVAS // (max(grey.shape) + 2 * _MARGIN))


def _corner(place: Pair, scale: int) -> Pair:
    """Where a pixel of the image, (row, column), begins in the picture, (x, y)."""
    row, column = place
    return _RIM + scale * (_MARGIN + column), _RIM + scale * (_MARGIN + row)


def _empty(grey: Tensor) -> Image.Image:
    height, width = (2 * _RIM + _scale(grey) * (side + 2 * _MARGIN) for side in grey.shape)
    return Image.new("RGBA", (width, height), (0, 0, 0, 0))


def _shaded(values: Tensor, scale: int) -> Image.Image:
    """Values from 0 to 255, (H, W), as an enlarged picture in grey."""
    return enlarged(values.round().to(torch.uint8).expand(3, -1, -1), scale).convert("RGBA")


def _outline(picture: Image.Image, places: list[Pair], scale: int) -> None:
    """A ring round each pixel (row, column), in white outside of the orange: it stands out from any image."""
    draw = ImageDraw.Draw(picture)
    for colour, wider in (("white", 2), (ORANGE, 1), (ORANGE, 0)):
        for x, y in (_corner(place, scale) for place in places):
            draw.rectangle((x - wider, y - wider, x + scale - 1 + wider, y + scale - 1 + wider), outline=colour)
