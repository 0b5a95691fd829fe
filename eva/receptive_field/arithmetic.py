"""The arithmetic of receptive fields (Araujo et al. 2019), on what each value of a tensor sees.

Each value of a tensor sees the rows lo to hi of the image, and the columns lo to hi. `Seen` keeps these numbers as
tensors, in planes: a network's operations can be done to them. A layer of kernel k, stride s, padding p and dilation d
gives its output i the hull of what the k inputs i * s - p + d * 0, ..., i * s - p + d * (k - 1) see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Pair = tuple[int, int]
NOTHING = float("-inf")
# The planes: what values that meet see together is the maximum of each, since lo is kept with its sign turned.
# Of rows and columns: the ends, the jump between places, and the image's last pixel, which tells a border from a crop.
LO, HI, JUMP, LAST = (0, 2), (1, 3), (4, 5), (6, 7)
SOURCES = 8  # from here on a plane for each global source


class ReceptiveFieldError(ValueError):
    """The receptive field of this model cannot be given exactly. The message names the operation and its module."""


@dataclass(frozen=True)
class Field:
    """What the units of a map see. Pairs are (rows, columns)."""

    size: Pair  # pixels, unclipped: what lies beyond the border counts; where it varies with the place, the most
    jump: tuple[float, float]  # pixels between what neighbouring units see
    start: Pair  # the lowest pixel that unit 0 sees; negative inside the padding
    least: Pair  # the smallest size: another than `size` where that varies
    everywhere: bool  # all units see alike; else those near the border, or at every other place, see another size
    whole: bool  # one of its values sees all of the image, in its window or by way of what saw all of a map
    windows: bool = True  # False: its values see no window, but all of a map: the field is that of the trunk before
    gated: bool = False  # some of them see all of a map besides their window


@dataclass(frozen=True)
class Layer:
    """One operation that changed what is seen. Pairs are (rows, columns)."""

    module: str
    operation: str
    shape: tuple[int, ...]
    kernel: Pair
    stride: Pair
    dilation: Pair
    size: Pair
    jump: tuple[float, float]
    start: Pair


@dataclass(frozen=True)
class Seen:
    """What each value of a tensor of `shape` sees.

    planes: (8 + sources, *shape), where a dimension along which they are all alike may have the length 1. The local
    planes are empty (NOTHING) for what saw all of its map; which part of the image that was is a source's.
    """

    planes: Tensor
    shape: tuple[int, ...]
    trunk: "Seen | None" = None  # the last map on the way here, where this is none

    @cached_property
    def local(self) -> bool:
        """Whether any value sees a window."""
        return bool((self.planes[HI[0]] > NOTHING).any())

    def plane(self, number: int) -> Tensor:
        """One of the planes, in the tensor's shape; empty where it has not so many."""
        empty = number >= len(self.planes)
        return (torch.full((), NOTHING) if empty else self.planes[number]).expand(self.shape)

    @cached_property
    def dims(self) -> Pair:
        """Along which of the dimensions rows lie, and along which columns."""
        ndim, middles = len(self.shape), [self._middles(axis) for axis in (0, 1)]
        usual = max(ndim - 2, 0), ndim - 1
        if all(self.shape[d] == 1 or self._varies(middles[axis], d) > 0 for axis, d in enumerate(usual)):
            return usual
        rows, columns = ([self._varies(middle, d) for d in range(ndim)] for middle in middles)
        best = [
            values.index(max(values)) if max(values) > 0 else d
            for values, d in zip((rows, columns), usual, strict=True)
        ]
        return best[0], best[1]

    def _middles(self, axis: int) -> Tensor:
        return (self.planes[HI[axis]] - self.planes[LO[axis]]).nan_to_num(0.0, 0.0, 0.0)

    @staticmethod
    def _varies(middle: Tensor, dim: int) -> float:
        return float((middle.amax(dim) - middle.amin(dim)).max()) if middle.shape[dim] > 1 else 0.0

    def field(self) -> Field:
        """Of the units, over all channels: a map's values at one place."""
        parts = [_along(self, axis, dim) for axis, dim in enumerate(self.dims)]
        sizes, least, starts, jumps, alike = zip(*parts, strict=True)
        return Field(both(sizes), (jumps[0], jumps[1]), both(starts), both(least), all(alike), whole=False)


def unseeing(shape: tuple[int, ...]) -> Seen:
    """What values see that do not depend on the image."""
    return Seen(torch.full((SOURCES, *[1] * len(shape)), NOTHING), shape)


def image(shape: tuple[int, ...]) -> Seen:
    """What the pixels of images (1, C, H, W) see: each of them itself."""
    planes = torch.full((SOURCES, 1, 1, *shape[-2:]), 1.0)
    for axis, n in enumerate(shape[-2:]):
        places = torch.arange(n).view(-1, *[1] * (1 - axis))
        planes[LO[axis]], planes[HI[axis]], planes[LAST[axis]] = -places, places, n - 1
    return Seen(planes, shape)


def hull(planes: Sequence[Tensor]) -> Tensor:
    """What values that meet see together. Their shapes are broadcast as PyTorch does it."""
    ndim, sources = max(p.ndim for p in planes), max(len(p) for p in planes)
    result: Tensor | None = None
    for p in planes:
        more = p if len(p) == sources else torch.cat([p, p.new_full((sources - len(p), *p.shape[1:]), NOTHING)])
        more = more.reshape(sources, *[1] * (ndim - p.ndim), *p.shape[1:])
        result = more if result is None else torch.maximum(result, more)
    assert result is not None
    return result


def windowed(
    seen: Seen, dims: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], outputs: Sequence[int],
) -> Tensor:  # fmt: skip
    """The planes of what windows over `dims` see; `outputs` are their numbers along these."""
    planes, spatial = seen.planes, seen.dims
    for dim, k, s, p, d, n in zip(dims, kernel, stride, padding, dilation, outputs, strict=True):
        axis = spatial.index(dim) if dim in spatial else None
        if planes.shape[1 + dim] > 1 or seen.shape[dim] == 1:
            span = d * (k - 1) + 1
            planes = extended(planes, dim, axis, p, (n - 1) * s + span - p - seen.shape[dim])
            planes = planes.unfold(1 + dim, span, s)[..., ::d].amax(-1)
        if axis is not None and s != 1:
            planes = planes.clone()
            planes[JUMP[axis]] *= s
    return planes


def extended(planes: Tensor, dim: int, axis: int | None, before: int, after: int) -> Tensor:
    """Planes with so many places more along `dim`, or less where negative, as if the image went on beyond its border.

    Where there is no pattern that could go on, or where it would go on inside of the image (the border is a crop's),
    the new places see nothing.
    """
    n = planes.shape[1 + dim]
    if before < 0 or after < 0:
        planes = planes.narrow(1 + dim, max(0, -before), n - max(0, -before) - max(0, -after))
        before, after, n = max(0, before), max(0, after), planes.shape[1 + dim]
    if not before and not after:
        return planes
    places = torch.arange(-before, n + after)
    period, jump = (0, 0.0) if axis is None else pattern(planes, dim, axis)
    if axis is None or not period:
        inside = (places >= 0) & (places < n)
        new = planes.index_select(1 + dim, places.clamp(0, n - 1))
        return new.masked_fill(~inside.view(-1, *[1] * (planes.ndim - 2 - dim)), NOTHING)
    turns = torch.where(
        places < 0, -((-places - 1) // period + 1), torch.where(places < n, 0, (places - n) // period + 1)
    )
    new = planes.index_select(1 + dim, places - turns * period)
    steps = (turns * jump).view(-1, *[1] * (planes.ndim - 2 - dim))
    new[LO[axis]] -= steps
    new[HI[axis]] += steps
    for place, added in ((before - 1, places < 0), (before + n, places >= n)):
        if added.any():
            first = new.select(1 + dim, place)
            inside = (first[LO[axis]] <= 0) & (first[HI[axis]] <= first[LAST[axis]])
            if bool((inside | (first[HI[axis]] == NOTHING)).all()):
                new = new.masked_fill(added.view(-1, *[1] * (planes.ndim - 2 - dim)), NOTHING)
    return new


def rearranged(planes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The planes of values that were moved, with the jump between the places where they came to lie."""
    if len(shape) < 3 or not bool((planes[HI[0]] > NOTHING).any()):
        return planes
    for axis, dim in enumerate(Seen(planes, shape).dims):
        n = planes.shape[1 + dim]
        if n > 2:
            period, pixels = pattern(planes, dim, axis)
            if 0 < period < n and pixels > 0:
                planes = planes.clone()
                some = planes[JUMP[axis]] > NOTHING
                planes[JUMP[axis]] = torch.where(some, pixels / period, NOTHING)
    return planes


def pattern(planes: Tensor, dim: int, axis: int) -> tuple[int, float]:
    """After how many places along `dim` what is seen repeats itself, and how many pixels further. (0, 0.0): never."""
    low, high = planes[LO[axis]], planes[HI[axis]]
    n, slope = planes.shape[1 + dim], float(planes[JUMP[axis]].max())
    if slope == NOTHING:
        return 1, 0.0
    for period in range(1, min(n, 64) + 1):
        if period == n:
            ends, jump = torch.stack([low, high]), slope * period
            alike = bool((ends == ends.narrow(1 + dim, 0, 1)).all())  # as after upsampling what was one place
            return (period, jump) if alike and jump == int(jump) else (0, 0.0)
        up = high.narrow(dim, period, n - period) - high.narrow(dim, 0, n - period)
        down = low.narrow(dim, 0, n - period) - low.narrow(dim, period, n - period)
        steps = torch.stack([up, down])
        steps = steps[~steps.isnan()]
        if len(steps) and bool((steps == steps[0]).all()) and (steps[0] != 0 or slope == 0):
            return period, float(steps[0])
    return 0, 0.0


def _along(seen: Seen, axis: int, dim: int) -> tuple[int, int, int, float, bool]:
    """Size, least size, start and jump of the units along one axis, and whether all are alike."""
    every = seen.planes[HI[axis]] + seen.planes[LO[axis]] + 1  # sizes; NOTHING where there is no window
    jump, widest = float(seen.planes[JUMP[axis]].max()), int(every.max())
    others = [1 + d for d in range(len(seen.shape)) if d != dim]
    places = seen.planes[:SOURCES].amax(others, keepdim=True) if others else seen.planes[:SOURCES]
    high, low = places[HI[axis]].flatten(), places[LO[axis]].flatten()
    along, middles = (high + low + 1)[high > NOTHING], ((high - low) / 2)[high > NOTHING]
    if int(along.max()) == widest:  # else a map's places do not lie along this dimension, each with its channels
        n = places.shape[1 + dim]
        quarter = 0 if pattern(places, dim, axis)[0] or n < 5 else n // 4  # near the border it may be another one
        period, pixels = pattern(places.narrow(1 + dim, quarter, n - 2 * quarter), dim, axis)
        inner = along[quarter : len(along) - quarter] if period and len(along) == n else along
        start = -int(low[high > NOTHING][0])
        if period:
            jump = pixels / period
        elif len(middles) > 1:
            jump = round(float(middles[-1] - middles[0]) / (len(middles) - 1), 2)  # on average
        return int(inner.max()), int(inner.min()), start, _whole(jump), bool((along == along[0]).all())
    sizes, start = every[every > NOTHING], -int(seen.planes[LO[axis]].max())
    return widest, int(sizes.min()), start, _whole(jump), bool((sizes == widest).all())


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def both(values: Any) -> Pair:
    rows, columns = values
    return int(rows), int(columns)


def shown(values: Sequence[float]) -> str:
    return f"{values[0]:g}x{values[1]:g}" if values[0] != values[1] else f"{values[0]:g}"
