"""How each operation of a network changes which input pixels its outputs see.

Along each axis, output i of a tensor sees the input pixels from lo + i * jump to hi + i * jump; the input itself has
(0, 0, 1). Windows widen and stride, padding and slices shift, and tensors that meet take the hull of what they see.
`receptive_field.py` asks for this file's `Tracer`, which torch's dispatcher tells of each operation as it runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


_ELEMENTWISE = """
relu relu_ relu6 hardtanh hardtanh_ sigmoid sigmoid_ tanh tanh_ silu silu_ gelu hardswish hardswish_ hardsigmoid
hardsigmoid_ leaky_relu leaky_relu_ elu elu_ softplus mish threshold abs neg exp log sqrt rsqrt pow square clamp clamp_
mul mul_ add add_ sub sub_ div div_ rsub maximum minimum where clone detach alias _to_copy contiguous lift_fresh
dropout native_dropout native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm
"""
ELEMENTWISE = set(_ELEMENTWISE.split())
WINDOWS = {"max_pool2d_with_indices": 2, "avg_pool2d": None}  # the position of the dilation among the parameters
REDUCTIONS = {"mean", "sum", "amax", "max", "amin", "var", "var_mean", "std", "linalg_vector_norm"}
PRODUCTS = {"addmm", "mm", "bmm", "baddbmm", "linear", "matmul", "_softmax", "_log_softmax"}


class Tracer(TorchDispatchMode):
    """Follows what each tensor sees from operation to operation."""

    def __init__(self, images: Tensor, names: list[str]) -> None:
        super().__init__()
        self.names, self.layers = names, list[Layer]()
        self.seen = {id(images): Seen((Span(), Span()), (2, 3))}
        self.alive: list[Tensor] = [images]  # an id must not be used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and id(leaf) in self.seen]
        if not inputs:
            return output
        name = func.__name__.split(".")[0]
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        bound = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)} | (kwargs or {})
        if results:
            after = self._after(name, bound, inputs, results[0])  # several outputs, of a split say, see the same
            self.alive += results
            self.seen |= {id(result): after for result in results}
        return output

    def _after(self, name: str, bound: dict[str, Any], inputs: list[Tensor], result: Tensor) -> Seen:
        """What the output of the operation sees."""
        first = inputs[0]
        seen = self.seen[id(first)]
        if name == "native_group_norm" or (name == "native_batch_norm" and bound.get("training")):
            return replace(seen, whole=True)  # their statistics are of all of the image
        if name in ELEMENTWISE or name in ("cat", "stack"):
            return self._joined(name, bound, inputs, result)
        if name == "native_layer_norm":
            reduced = range(first.ndim - len(bound["normalized_shape"]), first.ndim)
            mixed = not seen.packed and (seen.dims is None or bool(set(seen.dims) & set(reduced)))
            return replace(seen, whole=seen.whole or mixed)
        if name in REDUCTIONS:
            return self._reduced(bound, first, seen)
        if name in PRODUCTS:
            if seen.packed and bound.get("mat1", bound.get("self")) is first and len(inputs) == 1:
                return seen
            if seen.dims is None:
                return replace(seen, whole=True)
            raise self._refusal(name, "it mixes the pixels of a map")
        if seen.dims is None and name in (
            "convolution",
            "max_pool2d_with_indices",
            "avg_pool2d",
            "_adaptive_avg_pool2d",
        ):
            return seen
        if name == "convolution" and not bound["transposed"]:
            kernel = tuple(bound["weight"].shape[2:])
            return self._windowed(name, seen, result, kernel, bound["stride"], bound["padding"], bound["dilation"])
        if name in WINDOWS:
            stride = bound.get("stride") or bound["kernel_size"]
            dilation = bound.get("dilation", [1, 1])
            return self._windowed(
                name, seen, result, bound["kernel_size"], stride, bound.get("padding", [0, 0]), dilation
            )
        if name in ("_adaptive_avg_pool2d", "adaptive_max_pool2d"):
            return self._adaptive(name, seen, first, result)
        if name in (
            "constant_pad_nd",
            "slice",
            "permute",
            "transpose",
            "t",
            "split",
            "split_with_sizes",
            "chunk",
            "select",
        ):
            return self._moved(name, bound, seen, first, result)
        if name in ("view", "_unsafe_view", "reshape", "expand", "unsqueeze", "squeeze", "flatten"):
            return self._reshaped(name, seen, first, result)
        if name == "as_strided_" and seen.dims is None:  # how torch lays out what global pooling leaves
            return seen
        raise self._refusal(name, "it is not known how it changes what is seen")

    def _refusal(self, name: str, why: str) -> ReceptiveFieldError:
        where = self.names[-1] or "the model itself"
        return ReceptiveFieldError(f"the operation {name} in {where}: {why}, so no exact field can be given")

    def _joined(self, name: str, bound: dict[str, Any], inputs: list[Tensor], result: Tensor) -> Seen:
        all_seen = [self.seen[id(tensor)] for tensor in inputs]
        whole = any(seen.whole for seen in all_seen)
        spatial = [(seen, tensor) for seen, tensor in zip(all_seen, inputs, strict=True) if seen.dims or seen.packed]
        if not spatial:
            widest = max(all_seen, key=lambda seen: seen.spans[0].hi - seen.spans[0].lo)
            return replace(widest, whole=whole)
        joined, tensor = spatial[0]
        if name in ("cat", "stack") and (name == "stack" or bound.get("dim", 0) % result.ndim in (joined.dims or ())):
            raise self._refusal(name, "it sets maps side by side in space")
        for seen, other in spatial[1:]:
            if (
                seen.dims != joined.dims
                or seen.packed != joined.packed
                or [s.jump for s in seen.spans] != [s.jump for s in joined.spans]
                or any(other.shape[d] != tensor.shape[d] for d in (joined.dims or ()) if d < tensor.ndim)
            ):
                raise self._refusal(name, "maps of different sizes or jumps meet in it")
            spans = (joined.spans[0].hull(seen.spans[0]), joined.spans[1].hull(seen.spans[1]))
            joined = replace(joined, spans=spans)
        return replace(joined, whole=whole)

    def _reduced(self, bound: dict[str, Any], first: Tensor, seen: Seen) -> Seen:
        given = bound.get("dim")
        reduced = {d % first.ndim for d in ([given] if isinstance(given, int) else given or range(first.ndim))}
        if seen.packed:
            raise self._refusal("a reduction", "it comes where maps are merged with the batch")
        if seen.dims is None:
            return replace(seen, whole=seen.whole or first.ndim - 1 in reduced)
        if set(seen.dims) <= reduced:
            return replace(seen, dims=None, whole=True)
        if set(seen.dims) & reduced:
            raise self._refusal("mean", "it averages along one axis only")
        if bound.get("keepdim"):
            return seen
        rows, columns = (d - sum(r < d for r in reduced) for d in seen.dims)
        return replace(seen, dims=(rows, columns))

    def _windowed(
        self,
        name: str,
        seen: Seen,
        result: Tensor,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> Seen:
        if len(kernel) > 2:
            raise self._refusal(name, "only two-dimensional maps are followed")
        if seen.dims not in ((result.ndim - 2, result.ndim - 1), (result.ndim - 1, result.ndim - 2)):
            raise self._refusal(name, "it does not run over rows and columns")
        along = (0, 1) if seen.dims[0] < seen.dims[1] else (1, 0)  # which part of the kernel lies along rows, columns
        k, s, p, d = (
            both(value if len(value) == 2 else [value[0]] * 2) for value in (kernel, stride, padding, dilation)
        )
        rows, columns = (seen.spans[a].window(k[i], s[i], p[i], d[i]) for a, i in enumerate(along))
        spans = (rows, columns)
        self.layers.append(
            Layer(self.names[-1], name.removesuffix("_with_indices"), tuple(result.shape), k, s, d,
                  both(span.hi - span.lo + 1 for span in spans), both(span.jump for span in spans),
                  both(span.lo for span in spans))
        )  # fmt: skip
        return replace(seen, spans=spans)

    def _adaptive(self, name: str, seen: Seen, first: Tensor, result: Tensor) -> Seen:
        before, after = first.shape[-2:], result.shape[-2:]
        if tuple(after) == (1, 1):
            return replace(seen, dims=None, whole=True)
        if any(b % a for b, a in zip(before, after, strict=True)):
            raise self._refusal(name, f"{shown(before)} pixels do not divide evenly into {shown(after)}")
        step = [b // a for b, a in zip(before, after, strict=True)]
        return self._windowed(name.strip("_"), seen, result, step, step, [0, 0], [1, 1])

    def _moved(self, name: str, bound: dict[str, Any], seen: Seen, first: Tensor, result: Tensor) -> Seen:
        if seen.packed:
            raise self._refusal(name, "it comes where maps are merged with the batch")
        if seen.dims is None:
            return seen
        spans = list(seen.spans)
        if name == "constant_pad_nd":
            for pair, before in enumerate(bound["pad"][::2]):
                if (dim := first.ndim - 1 - pair) in seen.dims:
                    axis = seen.dims.index(dim)
                    spans[axis] = spans[axis].sliced(-before, 1)
            return replace(seen, spans=(spans[0], spans[1]))
        if name in ("permute", "transpose", "t"):
            order = list(range(first.ndim))
            if name == "permute":
                order = [d % first.ndim for d in bound["dims"]]
            else:
                a, b = (bound["dim0"] % first.ndim, bound["dim1"] % first.ndim) if name == "transpose" else (0, 1)
                order[a], order[b] = order[b], order[a]
            return replace(seen, dims=(order.index(seen.dims[0]), order.index(seen.dims[1])))
        dim = bound.get("dim", 0) % first.ndim
        if dim in seen.dims:
            if name != "slice":
                raise self._refusal(name, "it takes space apart")
            axis, start = seen.dims.index(dim), bound.get("start") or 0
            length = first.shape[dim]
            start = min(max(start + length if start < 0 else start, 0), length)
            spans[axis] = spans[axis].sliced(start, bound.get("step", 1))
            return replace(seen, spans=(spans[0], spans[1]))
        if name == "select":
            return replace(seen, dims=both(d - (dim < d) for d in seen.dims))
        return seen

    def _reshaped(self, name: str, seen: Seen, first: Tensor, result: Tensor) -> Seen:
        before, after = tuple(first.shape), tuple(result.shape)
        if seen.packed:
            if after[:-1] == seen.packed[:-1]:
                return replace(seen, packed=None)
            raise self._refusal(name, "it takes maps apart that were merged with the batch")
        if seen.dims is None or before == after:
            return seen
        if seen.dims == (len(before) - 2, len(before) - 1) and len(after) >= 3 and before[-2:] == after[-2:]:
            return replace(seen, dims=(len(after) - 2, len(after) - 1))  # channels shuffled, space untouched
        if seen.dims == (1, 2) and len(before) == 4 and len(after) == 2 and after[1] == before[3]:
            return replace(seen, packed=before)  # a linear layer at each pixel
        kept = len(after) - 1
        if before[:kept] == after[:kept] and math.prod(before[kept:]) == after[-1] and min(seen.dims) >= kept:
            return replace(seen, dims=None)  # flattened: what comes next decides whether space is mixed
        raise self._refusal(name, f"it takes {before} to {after}, which takes space apart")


def both(values: Any) -> Pair:
    rows, columns = values
    return int(rows), int(columns)


def shown(values: Sequence[int]) -> str:
    return f"{values[0]}x{values[1]}" if values[0] != values[1] else str(values[0])
