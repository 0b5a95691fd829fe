"""The table of what each of torch's operations does to the field: RULES, by its name. Each rule is a function below."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from eva.receptive_field.arithmetic import Layer, Seen, both, shown
from eva.receptive_field.tracer import Call, Rule

RULES: dict[str, Rule] = {}


def _rule(operations: str) -> Callable[[Rule], Rule]:
    """Enter a rule for some of torch's operations, by their names, into the table."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations.split(), function))
        return function

    return enter


@_rule("""
relu relu_ relu6 hardtanh hardtanh_ sigmoid sigmoid_ tanh tanh_ silu silu_ gelu hardswish hardswish_ hardsigmoid
hardsigmoid_ leaky_relu leaky_relu_ elu elu_ softplus mish threshold abs neg exp log sqrt rsqrt pow square clamp clamp_
mul mul_ add add_ sub sub_ div div_ rsub maximum minimum where clone detach alias _to_copy contiguous lift_fresh
dropout native_dropout _native_batch_norm_legit_no_training cudnn_batch_norm
""")  # fmt: skip
def _elementwise(call: Call) -> Seen:
    """Tensors that meet, pixel by pixel, see the hull of what each of them sees."""
    whole = any(seen.whole for seen in call.fields)
    spatial = [(s, tensor) for s, tensor in zip(call.fields, call.inputs, strict=True) if s.dims or s.packed]
    if not spatial:
        widest = max(call.fields, key=lambda seen: seen.spans[0].hi - seen.spans[0].lo)
        return replace(widest, whole=whole)
    joined, first = spatial[0]
    for seen, tensor in spatial[1:]:
        if (
            seen.dims != joined.dims
            or seen.packed != joined.packed
            or [span.jump for span in seen.spans] != [span.jump for span in joined.spans]
            or any(tensor.shape[d] != first.shape[d] for d in (joined.dims or ()) if d < first.ndim)
        ):
            raise call.refusal("maps of different sizes or jumps meet in it")
        spans = (joined.spans[0].hull(seen.spans[0]), joined.spans[1].hull(seen.spans[1]))
        joined = replace(joined, spans=spans)
    return replace(joined, whole=whole)


@_rule("cat stack")
def _side_by_side(call: Call) -> Seen:
    """Along the channels: each of them sees what it saw, and together they see the hull."""
    spatial = next((seen.dims for seen in call.fields if seen.dims), ())
    met = any(seen.dims or seen.packed for seen in call.fields)
    if met and (call.name == "stack" or call.arguments.get("dim", 0) % call.result.ndim in spatial):
        raise call.refusal("it sets maps side by side in space")
    return _elementwise(call)


@_rule("native_batch_norm")
def _batch_norm(call: Call) -> Seen:
    return _whole_image(call) if call.arguments.get("training") else _elementwise(call)


@_rule("native_group_norm")
def _whole_image(call: Call) -> Seen:
    """Statistics of all of the image."""
    return replace(call.seen, whole=True)


@_rule("native_layer_norm")
def _layer_norm(call: Call) -> Seen:
    seen, ndim = call.seen, call.tensor.ndim
    normalised = set(range(ndim - len(call.arguments["normalized_shape"]), ndim))
    mixed = not seen.packed and (seen.dims is None or bool(set(seen.dims) & normalised))
    return replace(seen, whole=seen.whole or mixed)


@_rule("mean sum amax max amin var var_mean std linalg_vector_norm")
def _reduced(call: Call) -> Seen:
    """Over channels what is seen stays; over rows and columns together it is the whole image."""
    seen, given, ndim = call.seen, call.arguments.get("dim"), call.tensor.ndim
    dims = {d % ndim for d in ([given] if isinstance(given, int) else given or range(ndim))}
    if seen.packed:
        raise call.refusal("it comes where maps are merged with the batch", "a reduction")
    if seen.dims is None:
        return replace(seen, whole=seen.whole or ndim - 1 in dims)
    if set(seen.dims) <= dims:
        return replace(seen, dims=None, whole=True)
    if set(seen.dims) & dims:
        raise call.refusal("it averages along one axis only", "mean")
    if call.arguments.get("keepdim"):
        return seen
    return replace(seen, dims=both(d - sum(r < d for r in dims) for d in seen.dims))


@_rule("addmm mm bmm baddbmm linear matmul _softmax _log_softmax")
def _product(call: Call) -> Seen:
    """A linear layer of each pixel, or of what has no pixels any more."""
    seen, arguments = call.seen, call.arguments
    if seen.packed and arguments.get("mat1", arguments.get("self")) is call.tensor and len(call.inputs) == 1:
        return seen
    if seen.dims is None:
        return replace(seen, whole=True)
    raise call.refusal("it mixes the pixels of a map")


@_rule("convolution")
def _convolved(call: Call) -> Seen:
    arguments = call.arguments
    if call.seen.dims is None:
        return call.seen
    if arguments["transposed"]:
        raise call.refusal("it is not known how it changes what is seen")
    kernel = tuple(arguments["weight"].shape[2:])
    return _windowed(call, kernel, arguments["stride"], arguments["padding"], arguments["dilation"])


@_rule("max_pool2d_with_indices avg_pool2d")
def _pooled(call: Call) -> Seen:
    arguments, kernel = call.arguments, call.arguments["kernel_size"]
    if call.seen.dims is None:
        return call.seen
    padding, dilation = arguments.get("padding", [0, 0]), arguments.get("dilation", [1, 1])
    return _windowed(call, kernel, arguments.get("stride") or kernel, padding, dilation)


@_rule("_adaptive_avg_pool2d adaptive_max_pool2d")
def _pooled_to_a_size(call: Call) -> Seen:
    """To one pixel: the whole image. To others: windows, where they divide evenly."""
    before, after = call.tensor.shape[-2:], call.result.shape[-2:]
    if call.seen.dims is None and call.name == "_adaptive_avg_pool2d":
        return call.seen
    if tuple(after) == (1, 1):
        return replace(call.seen, dims=None, whole=True)
    if any(b % a for b, a in zip(before, after, strict=True)):
        raise call.refusal(f"{shown(before)} pixels do not divide evenly into {shown(after)}")
    step = [b // a for b, a in zip(before, after, strict=True)]
    return _windowed(call, step, step, [0, 0], [1, 1])


def _windowed(
    call: Call, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Seen:
    """A window widens what is seen, by Araujo's arithmetic, and is a layer of the table."""
    seen, ndim = call.seen, call.result.ndim
    if len(kernel) > 2:
        raise call.refusal("only two-dimensional maps are followed", call.name.strip("_"))
    if seen.dims not in ((ndim - 2, ndim - 1), (ndim - 1, ndim - 2)):
        raise call.refusal("it does not run over rows and columns", call.name.strip("_"))
    along = (0, 1) if seen.dims[0] < seen.dims[1] else (1, 0)  # which part of the kernel lies along rows, columns
    k, s, p, d = (both(value if len(value) == 2 else [value[0]] * 2) for value in (kernel, stride, padding, dilation))
    rows, columns = (seen.spans[axis].window(k[i], s[i], p[i], d[i]) for axis, i in enumerate(along))
    spans, name = (rows, columns), call.name.removesuffix("_with_indices").strip("_")
    size, jump, start = (both(values) for values in zip(*((x.hi - x.lo + 1, x.jump, x.lo) for x in spans), strict=True))
    call.layers.append(Layer(call.module, name, tuple(call.result.shape), k, s, d, size, jump, start))
    return replace(seen, spans=spans)


def _where_there_are_maps(function: Rule) -> Rule:
    """Nothing moves where rows and columns are gone; where they are merged with the batch, nobody follows."""

    def checked(call: Call) -> Seen:
        if call.seen.packed:
            raise call.refusal("it comes where maps are merged with the batch")
        return call.seen if call.seen.dims is None else function(call)

    return checked


@_rule("constant_pad_nd")
@_where_there_are_maps
def _padded(call: Call) -> Seen:
    seen, dims = call.seen, call.seen.dims or ()
    for pair, before in enumerate(call.arguments["pad"][::2]):
        if (dim := call.tensor.ndim - 1 - pair) in dims:
            seen = _shifted(seen, dims.index(dim), -before, 1)
    return seen


@_rule("slice")
@_where_there_are_maps
def _sliced(call: Call) -> Seen:
    seen, dims, arguments = call.seen, call.seen.dims or (), call.arguments
    dim = arguments.get("dim", 0) % call.tensor.ndim
    if dim not in dims:
        return seen
    length, start = call.tensor.shape[dim], arguments.get("start") or 0
    start = min(max(start + length if start < 0 else start, 0), length)
    return _shifted(seen, dims.index(dim), start, arguments.get("step", 1))


@_rule("permute transpose t")
@_where_there_are_maps
def _permuted(call: Call) -> Seen:
    ndim, arguments, order = call.tensor.ndim, call.arguments, list(range(call.tensor.ndim))
    if call.name == "permute":
        order = [d % ndim for d in arguments["dims"]]
    else:
        a, b = (arguments["dim0"] % ndim, arguments["dim1"] % ndim) if call.name == "transpose" else (0, 1)
        order[a], order[b] = order[b], order[a]
    return replace(call.seen, dims=both(order.index(dim) for dim in call.seen.dims or ()))


@_rule("split split_with_sizes chunk select")
@_where_there_are_maps
def _taken_apart(call: Call) -> Seen:
    dims, dim = call.seen.dims or (), call.arguments.get("dim", 0) % call.tensor.ndim
    if dim in dims:
        raise call.refusal("it takes space apart")
    return replace(call.seen, dims=both(d - (dim < d) for d in dims)) if call.name == "select" else call.seen


@_rule("view _unsafe_view reshape expand unsqueeze squeeze flatten")
def _reshaped(call: Call) -> Seen:
    seen, before, after = call.seen, tuple(call.tensor.shape), tuple(call.result.shape)
    if seen.packed:
        if after[:-1] == seen.packed[:-1]:
            return replace(seen, packed=None)
        raise call.refusal("it takes maps apart that were merged with the batch")
    if seen.dims is None or before == after:
        return seen
    if seen.dims == (len(before) - 2, len(before) - 1) and len(after) >= 3 and before[-2:] == after[-2:]:
        return replace(seen, dims=(len(after) - 2, len(after) - 1))  # channels shuffled, space untouched
    if seen.dims == (1, 2) and len(before) == 4 and len(after) == 2 and after[1] == before[3]:
        return replace(seen, packed=before)  # a linear layer at each pixel
    kept = len(after) - 1
    if before[:kept] == after[:kept] and math.prod(before[kept:]) == after[-1] and min(seen.dims) >= kept:
        return replace(seen, dims=None)  # flattened: what comes next decides whether space is mixed
    raise call.refusal(f"it takes {before} to {after}, which takes space apart")


@_rule("as_strided_")
def _as_strided(call: Call) -> Seen:
    """How torch lays out what global pooling leaves."""
    if call.seen.dims is None:
        return call.seen
    raise call.refusal("it is not known how it changes what is seen")


def _shifted(seen: Seen, axis: int, start: int, step: int) -> Seen:
    spans = list(seen.spans)
    spans[axis] = spans[axis].sliced(start, step)
    return replace(seen, spans=(spans[0], spans[1]))
