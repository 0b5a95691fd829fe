"""Operations that put values together from all along some dimensions: sums, products, norms, attention."""

from collections.abc import Sequence

from torch import Tensor

from eva.receptive_field.arithmetic import Seen, hull
from eva.receptive_field.call import Call, rule


@rule("""
mean sum prod amax max amin min var var_mean std std_mean linalg_vector_norm norm logsumexp argmax argmin any all
median nanmean count_nonzero aminmax
""")
def _reduced(call: Call) -> Tensor:
    """Values that are put together see the hull of what each sees."""
    seen, given = call.seen(), call.argument("dim")
    ndim = len(seen.shape)
    dims = [d % ndim for d in ([given] if isinstance(given, int) else given or range(ndim))]
    planes = merged(call, seen, dims)
    if call.argument("keepdim"):
        return planes
    return planes.reshape(len(planes), *(n for d, n in enumerate(planes.shape[1:]) if d not in dims))


def merged(call: Call, seen: Seen, dims: Sequence[int]) -> Tensor:
    """What those along `dims` see together, with the length 1 along these."""
    along = [1 + d for d in dims]
    return call.mixed(seen, seen.planes.amax(along, keepdim=True), dims) if along else seen.planes


@rule("softmax log_softmax safe_softmax cumsum cumprod logcumsumexp sort topk kthvalue fft_r2c fft_c2c fft_c2r")
def _mixed(call: Call) -> Tensor:
    """Each value along some dimensions depends on all others there."""
    seen, given = call.seen(), call.argument("dim", -1)
    dims = [d % len(seen.shape) for d in (given if isinstance(given, Sequence) else [given])]
    together = merged(call, seen, dims)
    return (
        together if call.name in ("sort", "topk", "kthvalue") or "fft" in call.name else hull([seen.planes, together])
    )


@rule("native_batch_norm native_batch_norm_legit native_batch_norm_legit_no_training cudnn_batch_norm")
def _batch_norm(call: Call) -> Tensor:
    seen = call.seen("input")
    if not call.argument("training") or "no_training" in call.name:
        return seen.planes
    return hull([seen.planes, merged(call, seen, [d for d in range(len(seen.shape)) if d != 1])])


@rule("native_group_norm")
def _group_norm(call: Call) -> Tensor:
    """Statistics of a group of channels, over all of the map."""
    seen, groups = call.seen("input"), call.argument("group")
    n, c, *spatial = seen.shape
    apart = Seen(grouped(seen.planes, groups, c), (n, groups, c // groups, *spatial), seen.trunk)
    planes = hull([apart.planes, merged(call, apart, range(2, len(apart.shape)))])
    return _together(planes, c)


def grouped(planes: Tensor, groups: int, channels: int) -> Tensor:
    """Channels, dimension 1, in groups: two dimensions."""
    if planes.shape[2] == 1:
        return planes.unsqueeze(3)
    return planes.reshape(*planes.shape[:2], groups, channels // groups, *planes.shape[3:])


def _together(planes: Tensor, channels: int) -> Tensor:
    """Groups, dimension 1, and channels within, dimension 2, as channels."""
    if planes.shape[2] == planes.shape[3] == 1:
        return planes.squeeze(3)
    groups = max(planes.shape[2], 1)
    within = channels // groups if planes.shape[2] > 1 else planes.shape[3]
    full = planes.expand(*planes.shape[:2], groups, within, *planes.shape[4:])
    return full.reshape(*planes.shape[:2], groups * within, *planes.shape[4:])


@rule("native_layer_norm rms_norm fused_rms_norm")
def _layer_norm(call: Call) -> Tensor:
    seen = call.seen("input")
    last = len(call.argument("normalized_shape"))
    return hull([seen.planes, merged(call, seen, range(len(seen.shape) - last, len(seen.shape)))])


@rule("mm bmm addmm baddbmm mv addmv dot")
def _product(call: Call) -> Tensor:
    """A row of one with a column of the other: what both see."""
    *added, one, other = map(call.of, call.operation.inputs)
    rows, columns = merged(call, one, [len(one.shape) - 1]), merged(call, other, [max(0, len(other.shape) - 2)])
    if call.result.ndim < len(one.shape):  # by a vector
        rows, columns = rows.squeeze(-1), columns.squeeze(-1)
    return hull([*(seen.planes for seen in added), rows, columns])


@rule("scaled_dot_product_flash_attention_for_cpu scaled_dot_product_flash_attention scaled_dot_product_attention_math "
       "scaled_dot_product_efficient_attention scaled_dot_product_cudnn_attention")  # fmt: skip
def _attention(call: Call) -> list[Tensor]:
    """Each query sees its own token, and all those of keys and values."""
    query = call.seen("query")
    parts = [merged(call, query, [len(query.shape) - 1])]
    for name in ("key", "value"):
        tokens = call.seen(name)
        parts.append(merged(call, tokens, [len(tokens.shape) - 2, len(tokens.shape) - 1]))
    mask = call.argument("attn_mask")
    if mask is not None:
        parts.append(merged(call, call.of(mask), [mask.ndim - 1]))
    planes = hull(parts)
    return [planes] * len(call.operation.results)


@rule("glu")
def _gated(call: Call) -> Tensor:
    """One half of the channels, gated by the other."""
    seen = call.seen()
    d = 1 + call.argument("dim", -1) % len(seen.shape)
    return seen.planes if seen.planes.shape[d] == 1 else hull(seen.planes.chunk(2, d))


@rule("mkldnn_rnn_layer")
def _recurrent(call: Call) -> list[Tensor]:
    """Each step of (steps, N, features) sees all steps before it, or after it where the layer runs backwards."""
    seen, states = call.seen("input"), hull([call.seen(name).planes.flatten(1).amax(1) for name in ("hx_", "cx_")])
    steps = seen.planes.amax(3, keepdim=True)
    backwards = call.argument("reverse")
    steps = (steps.flip(1) if backwards else steps).cummax(1).values
    steps = steps.flip(1) if backwards else steps
    planes = hull([steps, states.view(-1, 1, 1, 1)])
    return [planes, *[planes.amax(1)] * (len(call.operation.results) - 1)]
