"""The arithmetic of receptive fields (Araujo et al. 2019): what kernels, strides, dilation and padding do to one.

Along each axis, output i of a tensor sees the input pixels from lo + i * jump to hi + i * jump; the input itself has
(0, 0, 1). Windows widen and stride, padding and slices shift, and tensors that meet take the hull of what they see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Pair = tuple[int, int]


class ReceptiveFieldError(ValueError):
    """The receptive field of this model cannot be given exactly. The message names the operation and its module."""


@dataclass(frozen=True)
class Span:
    """What the outputs along one axis see: output i sees input pixels lo + i * jump to hi + i * jump."""

    lo: int = 0
    hi: int = 0
    jump: int = 1

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> "Span":
        lo = self.lo - padding * self.jump
        return Span(lo, self.hi + (dilation * (kernel - 1) - padding) * self.jump, self.jump * stride)

    def sliced(self, start: int, step: int) -> "Span":
        return Span(self.lo + start * self.jump, self.hi + start * self.jump, self.jump * step)

    def hull(self, other: "Span") -> "Span":
        return Span(min(self.lo, other.lo), max(self.hi, other.hi), self.jump)


@dataclass(frozen=True)
class Seen:
    """What is known of a tensor. `dims` are its spatial dimensions (rows, columns); None where they are gone."""

    spans: tuple[Span, Span]  # of the tensor, or of the last spatial one before it
    dims: Pair | None
    whole: bool = False  # something on the way here saw all of the input
    packed: tuple[int, ...] | None = None  # the shape before rows and columns were merged with the batch

    @property
    def size(self) -> Pair:
        return both(span.hi - span.lo + 1 for span in self.spans)


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
    jump: Pair
    start: Pair


def both(values: Any) -> Pair:
    rows, columns = values
    return int(rows), int(columns)


def shown(values: Sequence[int]) -> str:
    return f"{values[0]}x{values[1]}" if values[0] != values[1] else str(values[0])
