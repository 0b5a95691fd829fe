"""What each tensor of a network sees of the image, followed from operation to operation.

Along each axis, output i of a tensor sees the input pixels from lo + i * jump to hi + i * jump; the input itself has
(0, 0, 1). Windows widen and stride, padding and slices shift, and tensors that meet take the hull of what they see
(Araujo et al. 2019). `tracing_rules.py` has the table of torch's operations, and `receptive_field.py` asks for both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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


@dataclass(frozen=True)
class Call:
    """One operation as it ran, and what is known of the tensors that went into it."""

    name: str
    module: str  # that it ran in
    arguments: dict[str, Any]
    inputs: list[Tensor]  # those that see something of the image
    fields: list[Seen]  # of the inputs
    result: Tensor
    layers: list[Layer]  # so far; an operation that widens what is seen adds itself

    @property
    def tensor(self) -> Tensor:
        return self.inputs[0]

    @property
    def seen(self) -> Seen:
        return self.fields[0]

    def refusal(self, why: str, name: str | None = None) -> ReceptiveFieldError:
        place = self.module or "the model itself"
        return ReceptiveFieldError(
            f"the operation {name or self.name} in {place}: {why}, so no exact field can be given"
        )


Rule = Callable[[Call], Seen]  # what the result of an operation sees


class Tracer(TorchDispatchMode):
    """Follows what each tensor sees from operation to operation, by `rules`, of which each operation has one.

    names: a stack of the modules that are running.
    """

    def __init__(self, images: Tensor, names: list[str], rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self.names, self.rules, self.layers = names, rules, list[Layer]()
        self.seen = {id(images): Seen((Span(), Span()), (2, 3))}
        self.alive: list[Tensor] = [images]  # an id must not be used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and id(leaf) in self.seen]
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if inputs and results:
            name = func.__name__.split(".")[0]
            arguments = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)}
            fields = [self.seen[id(tensor)] for tensor in inputs]
            call = Call(name, self.names[-1], arguments | (kwargs or {}), inputs, fields, results[0], self.layers)
            if name not in self.rules:
                raise call.refusal("it is not known how it changes what is seen")
            after = self.rules[name](call)
            self.alive += results
            self.seen |= {id(result): after for result in results}  # several outputs, of a split say, see the same
        return output


def both(values: Any) -> Pair:
    rows, columns = values
    return int(rows), int(columns)


def shown(values: Sequence[int]) -> str:
    return f"{values[0]}x{values[1]}" if values[0] != values[1] else str(values[0])
