"""One operation as a rule meets it: what its inputs see, and what can be done to that. The table of rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_leaves, tree_map_only

from eva.dry_run import Operation
from eva.receptive_field.arithmetic import HI, LO, NOTHING, SOURCES, Layer, ReceptiveFieldError, Seen, unseeing

Rule = Callable[["Call"], Tensor | list[Tensor]]  # the planes of an operation's result, or of each of its results
RULES: dict[str, Rule] = {}  # by torch's name of the operation, without the underscores around it


def rule(operations: str) -> Callable[[Rule], Rule]:
    """Enter a rule for some of torch's operations into the table."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations.split(), function))
        return function

    return enter


class Knowledge(Protocol):
    """What is known of all tensors so far."""

    def of(self, tensor: Tensor) -> Seen | None: ...
    def pixels(self, planes: Tensor) -> Tensor: ...
    def source(self, mask: Tensor) -> int: ...


@dataclass
class Call:
    """One operation as it ran, and what its inputs see."""

    operation: Operation
    tracer: Knowledge
    layers: list[Layer] = field(default_factory=list)
    used: set[int] = field(default_factory=set)  # the tensors that a rule has asked about

    @property
    def name(self) -> str:
        return self.operation.name.strip("_")

    @property
    def result(self) -> Tensor:
        return self.operation.results[0]

    def argument(self, name: str, default: Any = None) -> Any:
        return self.operation.arguments.get(name, default)

    def seen(self, name: str = "self") -> Seen:
        """What the tensor of that argument sees."""
        return self.of(self.argument(name))

    def of(self, tensor: Tensor | None) -> Seen:
        if tensor is None:
            return unseeing(())
        self.used.add(id(tensor))
        return self.tracer.of(tensor) or unseeing(tuple(tensor.shape))

    def refusal(self, why: str) -> ReceptiveFieldError:
        place = self.operation.module or "the model itself"
        return ReceptiveFieldError(f"the operation {self.name} in {place}: {why}, so no exact field can be given")

    def moved(self, func: Any = None) -> list[Tensor]:
        """The operation itself, done to the planes: values that move take along what they see."""
        operation = self.operation
        places = [leaf for name in ("indices", "index") for leaf in tree_leaves(self.argument(name))]
        if any(isinstance(leaf, FakeTensor) for leaf in places):
            raise self.refusal("it is not known which places it takes")
        taken = {id(leaf) for leaf in places}
        seen = {id(tensor): self.of(tensor) for tensor in operation.inputs if id(tensor) not in taken}
        count = max(len(its.planes) for its in seen.values())
        func = func or (torch.ops.aten.reshape.default if "view" in operation.name else operation.func._overloadpacket)
        kwargs = {name: value for name, value in operation.kwargs.items() if name != "out"}
        args = operation.args[:1] if func is torch.ops.aten.alias.default else operation.args
        results = []
        for number in range(count):
            plane = {key: its.plane(number) for key, its in seen.items()}
            given, named = tree_map_only(Tensor, partial(_in_place_of, plane), (args, kwargs))
            results.append([leaf for leaf in tree_leaves(func(*given, **named)) if isinstance(leaf, Tensor)])
        return [compact(torch.stack(planes)) for planes in zip(*results, strict=True)]

    def mixed(self, seen: Seen, merged: Tensor, dims: Sequence[int]) -> Tensor:
        """The hulls `merged` of what lies along `dims` of `seen`; where that is all of a map, global sources."""
        before, along, ends = seen.planes, [1 + d for d in dims], [*LO, *HI]
        spatial = {d for d in seen.dims if seen.shape[d] > 1}
        if not spatial:
            return merged
        least = before[ends].masked_fill(before[ends] == NOTHING, -NOTHING).amin(along, keepdim=True)
        whole = (least != merged[ends]).any(0) & (merged[HI[0]] > NOTHING)
        if not spatial <= set(dims):  # all of a map may lie along others too: of pairs of tokens, say
            whole &= (merged[ends] == before[ends].amax([*range(1, before.ndim)], keepdim=True)).all(0)
        if not whole.any():
            return merged
        flat = before[:, None].flatten(2).squeeze(1)
        together = merged[ends].expand(len(ends), *before.shape[1:]).flatten(1)
        result = merged.clone()
        result[:SOURCES, whole] = NOTHING
        for hulled in merged[ends][:, whole].unique(dim=1).T:  # each of them a map of its own, a group of channels, say
            pixels = self.tracer.pixels(flat[:, (together == hulled[:, None]).all(0)])
            if not spatial <= set(dims) and not torch.equal(pixels, self.tracer.pixels(flat)):
                return merged  # its ends are those of the map, and between them it is not all
            plane = self.tracer.source(pixels)
            if plane >= len(result):
                result = torch.cat([result, result.new_full((plane + 1 - len(result), *result.shape[1:]), NOTHING)])
            result[plane, whole & (merged[ends] == hulled.view(-1, *[1] * (merged.ndim - 1))).all(0)] = 0.0
        return result


def compact(planes: Tensor) -> Tensor:
    """The same with length 1 along the dimensions in which they are all alike."""
    for dim in range(1, planes.ndim):
        if planes.shape[dim] > 1:
            first = planes.narrow(dim, 0, 1)
            if planes.stride(dim) == 0 or bool((planes == first).all()):
                planes = first
    return planes.contiguous()


def _in_place_of(others: dict[int, Tensor], tensor: Tensor) -> Tensor:
    return others.get(id(tensor), tensor)
