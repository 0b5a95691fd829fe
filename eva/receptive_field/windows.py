"""Operations that put together what lies in a window: convolutions, pooling, resizing, and the border around a map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eva.receptive_field.arithmetic import JUMP, NOTHING, Layer, Seen, both, extended, hull, rearranged, windowed
from eva.receptive_field.call import Call, compact, rule
from eva.receptive_field.mixing import grouped, merged


@rule("constant_pad_nd")
def _padded(call: Call) -> Tensor:
    """Zeros along rows and columns are the border of an image that goes on; elsewhere they see nothing."""
    return _framed(call, call.argument("pad"))


@rule("reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d")
def _mirrored(call: Call) -> Tensor:
    """As if the image went on: exact away from the border."""
    return _framed(call, call.argument("padding"))


def _framed(call: Call, pad: Sequence[int]) -> Tensor:
    seen = call.seen()
    planes, dims, ndim = seen.planes, seen.dims, len(seen.shape)
    for pair in range(len(pad) // 2):
        dim, before, after = ndim - 1 - pair, pad[2 * pair], pad[2 * pair + 1]
        if before or after:
            n = seen.shape[dim]
            full = planes.expand(*planes.shape[: 1 + dim], n, *planes.shape[2 + dim :])
            planes = extended(full, dim, dims.index(dim) if dim in dims else None, before, after)
    return planes


@rule("im2col")
def _unfolded(call: Call) -> list[Tensor]:
    """Windows side by side: what they hold moves, once the border is there."""
    rows, columns = call.argument("padding")
    names = ("kernel_size", "dilation", "stride")
    kernel, dilation, stride = (call.argument(name) for name in names)
    planes = _framed(call, (columns, columns, rows, rows))
    shape = (call.seen().shape[0], call.seen().shape[1], *planes.shape[3:])
    full = planes.expand(len(planes), *shape)
    return [torch.stack([F.unfold(plane, kernel, dilation, 0, stride) for plane in full])]


@rule("col2im")
def _folded(call: Call) -> Tensor:
    """Windows laid over each other: a place sees what all that cover it see."""
    seen, size = call.seen(), call.argument("output_size")
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (
        call.argument(name) for name in ("kernel_size", "dilation", "padding", "stride")
    )
    rows, columns = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in ((size[0], ph, dh, kh, sh), (size[1], pw, dw, kw, sw))
    )
    channels = seen.shape[-2] // (kh * kw)
    pieces = seen.planes.expand(len(seen.planes), *seen.shape).reshape(
        len(seen.planes), -1, channels, kh, kw, rows, columns
    )
    whole = pieces.new_full((*pieces.shape[:3], size[0] + 2 * ph, size[1] + 2 * pw), NOTHING)
    for i in range(kh):
        for j in range(kw):
            part = whole[..., i * dh :: sh, j * dw :: sw][..., :rows, :columns]
            part.copy_(torch.maximum(part, pieces[..., i, j, :, :]))
    folded = whole[..., ph : ph + size[0], pw : pw + size[1]]
    return rearranged(compact(folded.reshape(len(folded), *call.result.shape)), tuple(call.result.shape))


@rule("convolution mkldnn_convolution")
def _convolved(call: Call) -> Tensor:
    seen, weight, ndim = call.seen("input"), call.seen("weight"), len(call.result.shape)
    groups, channels = call.argument("groups", 1), call.argument("input").shape[1]
    apart = grouped(seen.planes, groups, channels).amax(3)
    within = Seen(apart, (seen.shape[0], groups, *seen.shape[2:]), seen.trunk)
    kernel, outputs = weight.shape[2:], call.result.shape[2:]
    stride, padding, dilation = (call.argument(name) for name in ("stride", "padding", "dilation"))
    if call.argument("transposed"):
        planes = _stretched(within, kernel, stride, padding, dilation, outputs)
    else:
        planes = windowed(within, range(2, ndim), kernel, stride, padding, dilation, outputs)
    if planes.shape[2] > 1:
        planes = planes.repeat_interleave(call.result.shape[1] // groups, 2)
    parts = [planes]
    if call.tracer.of(call.argument("weight")):  # made of the image: then what it saw counts everywhere
        parts.append(weight.planes.flatten(1).amax(1).view(-1, *[1] * ndim))
    return _entered(call, hull(parts), within.dims, kernel, stride, dilation)


def _stretched(
    seen: Seen, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    outputs: Sequence[int],
) -> Tensor:  # fmt: skip
    """A transposed convolution: a stride sets its inputs apart, then windows run over them."""
    planes, spatial = seen.planes, seen.dims
    for place, (k, s, p, d, n) in enumerate(zip(kernel, stride, padding, dilation, outputs, strict=True)):
        dim = 2 + place
        axis = spatial.index(dim) if dim in spatial else None
        if planes.shape[1 + dim] > 1 or seen.shape[dim] == 1:
            margin = -(-d * (k - 1) // s) + 1
            more = extended(planes, dim, axis, margin, margin + -(-n // s))
            length = (more.shape[1 + dim] - 1) * s + 1
            shape = (*more.shape[: 1 + dim], length, *more.shape[2 + dim :])
            apart = more.new_full(shape, NOTHING).index_copy(1 + dim, torch.arange(0, length, s), more)
            first = margin * s + p - d * (k - 1)
            planes = (
                apart.narrow(1 + dim, first, n + d * (k - 1)).unfold(1 + dim, d * (k - 1) + 1, 1)[..., ::d].amax(-1)
            )
        if axis is not None and s != 1:
            planes = planes.clone()
            planes[JUMP[axis]] /= s
    return planes


@rule("max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d")
def _pooled(call: Call) -> Tensor:
    seen, given = call.seen(), call.argument("kernel_size")
    count = int(call.name.split("pool")[1][0])
    kernel, dims = _each(given, count), range(len(seen.shape) - count, len(seen.shape))
    if "avg" in call.name and kernel == [seen.shape[d] for d in dims] and min(kernel) > 3:
        return merged(call, seen, dims)  # a head, however it is spelled; smaller ones are the last of many layers
    stride = _each(call.argument("stride") or given, count)
    padding, dilation = (
        _each(call.argument(name, default), count) for name, default in (("padding", 0), ("dilation", 1))
    )
    planes = windowed(seen, dims, kernel, stride, padding, dilation, call.result.shape[-count:])
    return _entered(call, planes, seen.dims, kernel, stride, dilation)


def _each(value: int | Sequence[int], count: int) -> list[int]:
    values = [value] if isinstance(value, int) else [*value]
    return values * count if len(values) == 1 else values


@rule("adaptive_avg_pool2d adaptive_max_pool2d adaptive_avg_pool1d adaptive_avg_pool3d")
def _pooled_to_a_size(call: Call) -> Tensor:
    """To windows that differ with the place, where they do not divide evenly; to one: all of the map."""
    seen, count = call.seen(), int(call.name[-2])
    dims = range(len(seen.shape) - count, len(seen.shape))
    before, after = [seen.shape[d] for d in dims], call.result.shape[-count:]
    if all(n == 1 for n in after):
        return merged(call, seen, dims)
    if all(b % a == 0 for b, a in zip(before, after, strict=True)):
        step = [b // a for b, a in zip(before, after, strict=True)]
        planes = windowed(seen, dims, step, step, [0] * count, [1] * count, after)
        return _entered(call, planes, seen.dims, step, step, [1] * count)
    planes = seen.planes
    for d, b, a in zip(dims, before, after, strict=True):
        if planes.shape[1 + d] > 1:
            windows = [(i * b // a, -(-(i + 1) * b // a)) for i in range(a)]
            parts = [planes.narrow(1 + d, low, high - low).amax(1 + d, keepdim=True) for low, high in windows]
            planes = torch.cat(parts, 1 + d)
    return planes


@rule("upsample_nearest2d upsample_bilinear2d upsample_bicubic2d upsample_nearest1d upsample_linear1d "
       "upsample_bilinear2d_aa upsample_bicubic2d_aa upsample_nearest_exact2d")  # fmt: skip
def _resized(call: Call) -> Tensor:
    """Each place sees those that it is interpolated from: which these are, interpolating a diagonal tells."""
    seen, operation = call.seen(), call.operation
    count = int(call.name.removesuffix("_aa")[-2])
    planes, spatial = seen.planes, seen.dims
    corners = [call.argument("align_corners")] if "align_corners" in operation.arguments else []
    factors = call.argument("scale_factors")
    for place, d in enumerate(range(len(seen.shape) - count, len(seen.shape))):
        n, m = seen.shape[d], call.result.shape[d]
        scale = (
            factors[place] if factors else call.argument(("scales_h", "scales_w")[place] if count == 2 else "scales")
        )
        if planes.shape[1 + d] == 1 or (n == m and scale in (None, 1.0)):
            continue
        function = getattr(torch.ops.aten, operation.name).default
        if count == 2:
            diagonal = torch.eye(n).view(n, 1, n, 1).expand(n, 1, n, 2).contiguous()
            weights = function(diagonal, [m, 2], *corners, scale, None)[:, 0, :, 0] != 0  # (n, m)
        else:
            weights = function(torch.eye(n).view(n, 1, n), [m], *corners, scale)[:, 0] != 0
        first = weights.int().argmax(0)
        widest = int(weights.sum(0).max())
        parts = [
            planes.index_select(1 + d, (first + step).clamp(max=n - 1)).masked_fill(
                ~weights[(first + step).clamp(max=n - 1), torch.arange(m)].view(-1, *[1] * (planes.ndim - 2 - d)),
                NOTHING,
            )
            for step in range(widest)
        ]
        planes = hull(parts)
        if d in spatial:
            planes[JUMP[spatial.index(d)]] *= n / m
    return planes


def _entered(
    call: Call,
    planes: Tensor,
    dims: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """These planes, with a row for the table of layers."""
    seen = Seen(planes, tuple(call.result.shape))
    if len(kernel) == 2 and seen.local:
        first = len(seen.shape) - 2
        along = [d - first if d >= first else place for place, d in enumerate(dims)]  # rows may lie along columns
        k, s, d = (both(values[place] for place in along) for values in (kernel, stride, dilation))
        field = seen.field()
        name = call.name.removesuffix("_with_indices")
        call.layers.append(Layer(call.operation.module, name, seen.shape, k, s, d, field.size, field.jump, field.start))
    return planes
