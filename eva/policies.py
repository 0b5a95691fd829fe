"""TrivialAugment: one operation, as strong as chance has it, for each image of a batch.

Its operations are functions of uint8 images (N, 3, H, W) and a strength for each, (N,) floats from -1 to 1. They change
images as torchvision's TrivialAugmentWide does.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def trivial_augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Do one of OPERATIONS, as strongly as chance has it, to each image: TrivialAugment (Müller and Hutter 2021).

    images: uint8 (N, 3, H, W). Operation, strength (of 31) and its sign are drawn uniformly for each image, from the
    paper's "wide" ranges, as torchvision's TrivialAugmentWide does. Its autocontrast and equalize, which look at
    each image's histogram, are left out. Raises ValueError for other images.
    """
    count, device = len(images), images.device
    operation = torch.randint(len(OPERATIONS), (count,), generator=rng, device=device)
    sign = 2 * torch.randint(2, (count,), generator=rng, device=device) - 1
    return operate(images, operation, sign * torch.randint(31, (count,), generator=rng, device=device) / 30)


def operate(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Do to each image the one of OPERATIONS that `operation`, (N,) int64, says. Raises ValueError for other images.

    images: uint8 (N, 3, H, W); strength: (N,) floats from -1 to 1. The images of each operation go through it together.
    How many they are has to be known, for which a GPU is waited for once per batch.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 3:
        got = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(
            f"images must be uint8 (N, 3, H, W) of 3x3 pixels or more, got {got}: augment before you normalise"
        )
    counts = F.one_hot(operation, len(OPERATIONS)).sum(0).tolist()  # on a GPU bincount would wait three times
    out = torch.empty_like(images)
    for function, chosen in zip(OPERATIONS.values(), operation.argsort().split(counts), strict=True):
        if len(chosen):
            out[chosen] = function(images[chosen], strength[chosen])
    return out


def _identity(images: Tensor, strength: Tensor) -> Tensor:
    return images


def _shear_x(images: Tensor, strength: Tensor) -> Tensor:
    """By up to 0.99, about the top left corner."""
    return _moved(images, shear_x=0.99 * strength)


def _shear_y(images: Tensor, strength: Tensor) -> Tensor:
    return _moved(images, shear_y=0.99 * strength)


def _translate_x(images: Tensor, strength: Tensor) -> Tensor:
    """By up to 32 whole pixels to the right."""
    return _moved(images, right=(32 * strength).trunc())


def _translate_y(images: Tensor, strength: Tensor) -> Tensor:
    return _moved(images, down=(32 * strength).trunc())


def _rotate(images: Tensor, strength: Tensor) -> Tensor:
    """By up to 135 degrees, counter-clockwise."""
    return _moved(images, angle=math.radians(135) * strength)


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Away from black, up to 1.99 times as bright, or towards it, 0.01 times. The next three work likewise."""
    return _blended(images, torch.zeros((), device=images.device), strength)


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Away from the image's mean grey."""
    return _blended(images, _grey(images).mean((2, 3), keepdim=True), strength)


def _colour(images: Tensor, strength: Tensor) -> Tensor:
    """Away from the image in grey."""
    return _blended(images, _grey(images), strength)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Away from the image blurred over 3x3 pixels, the one in the middle five times; the border stays as it is."""
    pixels = images.float()
    weights = torch.ones(3, 1, 3, 3, device=images.device)
    weights[:, :, 1, 1] = 5
    blurred = pixels.clone()
    blurred[:, :, 1:-1, 1:-1] = (F.conv2d(pixels, weights, groups=3) / 13).round()
    return _blended(images, blurred, strength)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Leave the upper bits of each value, 2 of the 8 at full strength."""
    lost = (6 * strength.abs()).round()
    return images & (256 - 2**lost).to(torch.uint8)[:, None, None, None]


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert what is bright: everything, at full strength."""
    threshold = (255 * (1 - strength.abs()))[:, None, None, None]
    return torch.where(images >= threshold, 255 - images, images)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": _identity,
    "shear x": _shear_x,
    "shear y": _shear_y,
    "translate x": _translate_x,
    "translate y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "contrast": _contrast,
    "colour": _colour,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
}


def _grey(images: Tensor) -> Tensor:
    """Floats (N, 1, H, W), rounded down as Pillow does."""
    red, green, blue = images.float().unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor()[:, None]


def _blended(images: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    """Away from `other`, which lies at a strength of -1 / 0.99, and as far again beyond the image."""
    pixels = images.float()
    return (pixels + 0.99 * strength.view(-1, 1, 1, 1) * (pixels - other)).clamp_(0, 255).to(torch.uint8)


def _moved(images: Tensor, **by: Tensor) -> Tensor:
    """Shear (`shear_x`, `shear_y`), translate (`right`, `down`, pixels) and rotate (`angle`, radians), (N,) each.

    Nearest pixel; black comes in behind. One matrix per image: a row of it says where a pixel comes from, in halves of
    the image's width or height from its middle.
    """
    height, width = images.shape[2:]
    none = torch.zeros(len(images), device=images.device)
    shear_x, shear_y, right, down, angle = (
        by.get(name, none) for name in ("shear_x", "shear_y", "right", "down", "angle")
    )
    cos, sin = angle.cos(), angle.sin()
    from_column = (cos, (shear_x - sin) * height / width, (shear_x * height - 2 * right) / width)
    from_row = ((shear_y + sin) * width / height, cos, (shear_y * width - 2 * down) / height)
    matrices = torch.stack([*from_column, *from_row], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)
