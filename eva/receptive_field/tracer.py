"""What each value of each tensor sees, followed as a network runs, from operation to operation."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from eva.dry_run import Operation, memory_of
from eva.receptive_field.arithmetic import HI, LO, NOTHING, SOURCES, Field, Layer, Seen, hull, image, unseeing
from eva.receptive_field.call import Call, Rule, compact

EACH = {"add", "sub", "mul", "div", "addcmul", "addcdiv", "lerp", "pow", "maximum", "minimum", "clamp_max", "clamp_min",
        "abs", "neg", "exp", "log", "sqrt", "copy", "zero"}  # fmt: skip  # operations on lists that go value by value
DECIDING = ("_local_scalar_dense", "is_nonzero", "equal")  # operations that tell a value to Python


class Tracer:
    """Follows what each tensor sees, by `rules`. Tensors that share their memory see what was written through any."""

    def __init__(self, rules: Callable[[Operation], Rule | None], input_size: tuple[int, int, int]) -> None:
        self.rules, self.input_size, self.layers = rules, input_size, list[Layer]()
        self.sources: list[Tensor] = []  # (H, W): which pixels each global source saw
        self._known: dict[int, tuple[Tensor, int, Seen | None]] = {}  # by the id of a tensor, which is kept for it
        self._sharing: dict[int, list[Tensor]] = {}  # tensors by their memory

    def begin(self, images: Tensor) -> None:
        self._note(images, image(tuple(images.shape)))

    def tell(self, operation: Operation) -> None:
        """What the results of an operation see, by its rule."""
        if not self._known:
            return self.begin(operation.results[0])
        for tensor in operation.inputs:
            if id(tensor) not in self._known:
                self._note(tensor, self.of(tensor))
        inputs = [tensor for tensor in operation.inputs if self.of(tensor)]
        if not inputs:
            for result in operation.results:
                if id(result) not in self._known or self.of(result) is None:
                    self._note(result, None)
            return None
        call = Call(operation, self)
        if operation.name.startswith("_foreach_"):
            return self._tell_each(operation, call)
        if not operation.results:
            if operation.name in DECIDING or any(a.alias_info for a in operation.func._schema.arguments):
                raise call.refusal("how the network runs depends on the values of pixels")
            return None
        rule = self.rules(operation)
        if rule is None:
            raise call.refusal("it is not known how it changes what is seen")
        planes = rule(call)
        missed = [tensor for tensor in inputs if id(tensor) not in call.used]
        if missed:
            raise call.refusal("one of its arguments depends on the image, and it is not known how that counts")
        trunk = self._trunk(inputs)
        each = planes if isinstance(planes, list) else [planes] * len(operation.results)
        for result, its in zip(operation.results, each, strict=True):
            if its.ndim != 1 + result.ndim or any(
                n not in (1, m) for n, m in zip(its.shape[1:], result.shape, strict=True)
            ):
                its = its.flatten(1).amax(1).view(-1, *[1] * result.ndim)  # statistics, say: together they see it all
            self._write(result, Seen(its, tuple(result.shape), trunk))
        self.layers += call.layers
        return None

    def _tell_each(self, operation: Operation, call: Call) -> None:
        """An operation on lists of tensors: on the first of each list, on the second, ..."""
        kind = operation.name.removeprefix("_foreach_").rstrip("_")
        if kind not in EACH:
            raise call.refusal("it is not known how it changes what is seen")
        lists = [value for value in operation.args if isinstance(value, list | tuple)]
        alone = [value for value in (*operation.args, *operation.kwargs.values()) if isinstance(value, Tensor)]
        counted = {"copy": lists[1:], "zero": []}.get(kind, lists)
        for place, result in enumerate(operation.results or lists[0]):
            tensors = [each[place] for each in counted if isinstance(each[place], Tensor)] + alone
            shape = tuple(result.shape)
            planes = hull([unseeing(shape).planes, *(seen.planes for tensor in tensors if (seen := self.of(tensor)))])
            self._write(result, Seen(planes, shape, self._trunk(tensors)))

    def seen(self, output: object) -> list[Seen]:
        """What each tensor of a module's output sees, where it depends on the image."""
        if dataclasses.is_dataclass(output) and not isinstance(output, type):
            output = vars(output)
        each = [self.of(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        return [seen for seen in each if seen is not None]

    def of(self, tensor: Tensor) -> Seen | None:
        """What a tensor sees; None where it does not depend on the image."""
        kept, memory, seen = self._known.get(id(tensor), (None, 0, None))
        if kept is not None and memory == memory_of(tensor):
            return seen
        for other in self._sharing.get(memory_of(tensor), []):
            _, then, its = self._known[id(other)]
            if its and then == memory_of(other) == memory_of(tensor) and _geometry(other) == _geometry(tensor):
                return its
        return None

    def pixels(self, planes: Tensor) -> Tensor:
        """(H, W): what these values see together, in windows and by way of sources; planes: (8 + sources, values)."""
        rows, columns = (_covered(planes, axis, n) for axis, n in enumerate(self.input_size[1:]))
        mask = rows[:, None] & columns
        for earlier, plane in zip(self.sources, planes[SOURCES:], strict=False):
            if bool((plane > NOTHING).any()):
                mask |= earlier
        return mask

    def source(self, mask: Tensor) -> int:
        """The plane of the global source that saw these pixels (H, W)."""
        for number, earlier in enumerate(self.sources):
            if torch.equal(mask, earlier):
                return SOURCES + number
        self.sources.append(mask)
        return SOURCES + len(self.sources) - 1

    def whole(self, seen: Seen) -> bool:
        """Whether one of these values sees all of the image: in its window, by way of global sources, or both."""
        values = seen.planes.flatten(1)
        sorts, sort = _sorts(values[SOURCES:] == 0)
        for number, sources in enumerate(sorts.T):
            missing = torch.ones(self.input_size[1:], dtype=torch.bool)
            for source in sources.nonzero().flatten().tolist():
                missing &= ~self.sources[source]
            if not missing.any():
                return True
            some = values[:, sort == number]
            holds = torch.ones(some.shape[1], dtype=torch.bool)
            for axis in (0, 1):
                places = missing.any(1 - axis).nonzero()
                holds &= (-some[LO[axis]] <= places.min()) & (some[HI[axis]] >= places.max())
            if holds.any():
                return True
        return False

    def field(self, seen: Seen) -> Field:
        """Of a tensor's units, or of the last map's on the way to it."""
        trunk = seen if seen.local or seen.trunk is None else seen.trunk
        gated = seen.local and bool((seen.planes[SOURCES:] > NOTHING).any())
        return replace(trunk.field(), whole=self.whole(seen), windows=seen.local, gated=gated)

    def _trunk(self, inputs: Sequence[Tensor]) -> Seen | None:
        candidates = []
        for tensor in inputs:
            seen = self.of(tensor)
            if seen is not None:
                candidates.append(seen if seen.local and _is_map(seen) else seen.trunk)
        known = [seen for seen in candidates if seen is not None]
        return max(known, key=lambda seen: float(seen.planes[list(HI)].max()), default=None)

    def _note(self, tensor: Tensor, seen: Seen | None) -> None:
        memory = memory_of(tensor)
        seen = seen if seen and bool((seen.planes > NOTHING).any()) else None
        if id(tensor) not in self._known or self._known[id(tensor)][1] != memory:
            self._sharing.setdefault(memory, []).append(tensor)
        self._known[id(tensor)] = (tensor, memory, seen)

    def _write(self, tensor: Tensor, seen: Seen) -> None:
        """Note what a tensor sees, and with it all that share its memory and can see it."""
        memory = memory_of(tensor)
        others = [t for t in self._sharing.get(memory, []) if t is not tensor and memory_of(t) == memory]
        written = id(tensor) in self._known
        self._note(tensor, seen)
        if not written:
            return
        for other in others:
            if _geometry(other) == _geometry(tensor):
                self._note(other, seen)
            else:
                self._note(other, self._through_memory(other, tensor, seen))

    def _through_memory(self, other: Tensor, tensor: Tensor, seen: Seen) -> Seen:
        """What `other` sees after `tensor`, which shares its memory, was written to."""
        before = self.of(other)
        count = max(len(seen.planes), len(before.planes) if before else 0)
        size = max(_reach(other), _reach(tensor))
        planes = []
        for number in range(count):
            memory = torch.full((size,), NOTHING)
            for alias, its in ((other, before), (tensor, seen)):
                if its is not None:
                    memory.as_strided(*_geometry(alias)).copy_(its.plane(number))
            planes.append(memory.as_strided(*_geometry(other)).clone())
        trunk = seen.trunk or (before.trunk if before else None)
        return Seen(compact(torch.stack(planes)), tuple(other.shape), trunk)


def _sorts(sources: Tensor) -> tuple[Tensor, Tensor]:
    """The different columns of a bool matrix, and which of these each column is. (`unique(dim=1)` takes long.)"""
    code = torch.zeros(sources.shape[1], dtype=torch.int64)
    for row in sources:
        code = (2 * code + row).unique(return_inverse=True)[1]
    first = [int((code == number).int().argmax()) for number in range(int(code.max()) + 1 if len(code) else 0)]
    return sources[:, first], code


def _is_map(seen: Seen) -> bool:
    return len(seen.shape) >= 3 and seen.dims[0] != seen.dims[1]


def _geometry(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset()


def _reach(tensor: Tensor) -> int:
    """How many values of its memory a tensor reaches."""
    steps = ((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.storage_offset()) + sum(steps) + 1 if tensor.numel() else 0


def _covered(planes: Tensor, axis: int, length: int) -> Tensor:
    """Which of the image's rows, or columns, some of the windows hold."""
    ends = torch.stack([-planes[LO[axis]], planes[HI[axis]]]).flatten(1).unique(dim=1)
    mask = torch.zeros(length, dtype=torch.bool)
    for low, high in ends.T.tolist():
        if high > NOTHING:
            mask[max(0, int(low)) : max(0, int(high) + 1)] = True
    return mask
