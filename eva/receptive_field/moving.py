"""Operations in which values stay apart: they are moved, made anew, or each is changed by itself."""

import torch
from torch import Tensor

from eva.receptive_field.arithmetic import JUMP, NOTHING, hull, rearranged, unseeing
from eva.receptive_field.call import Call, rule


@rule("""
to_copy clone detach alias lift_fresh dropout native_dropout prelu_kernel log_sigmoid_forward masked_fill fill_diagonal
special_erf floor_divide polar complex hardswish
""")  # fmt: skip
def elementwise(call: Call) -> Tensor:
    """Values that meet, each with the one at its place, see the hull of what each of them sees."""
    return hull([call.of(tensor).planes for tensor in call.operation.inputs])


@rule("fill")
def _filled(call: Call) -> Tensor:
    """All see what the value sees, if that is a tensor."""
    call.seen("self")
    value = call.argument("value")
    shape = tuple(call.result.shape)
    return hull([unseeing(shape).planes, *([call.of(value).planes] if isinstance(value, Tensor) else [])])


@rule("tril triu")
def _triangle(call: Call) -> Tensor:
    """One side of a diagonal stays; the other one is zero, and sees nothing."""
    seen = call.seen()
    kept = call.operation.func(torch.ones(seen.shape[-2:]), call.argument("diagonal", 0)) > 0
    return seen.planes.masked_fill(~kept, NOTHING)


@rule("copy")
def _copied(call: Call) -> Tensor:
    return hull([call.seen("src").planes, unseeing(call.seen("self").shape).planes])


@rule("""
zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty
new_empty_strided zero
""")  # fmt: skip
def _nothing(call: Call) -> Tensor:
    """What is made anew, in the shape of another tensor, sees nothing."""
    for tensor in call.operation.inputs:
        call.of(tensor)
    return unseeing(tuple(call.result.shape)).planes


@rule("""
view unsafe_view reshape permute transpose t expand unsqueeze squeeze slice select split split_with_sizes
unsafe_split chunk unbind narrow diagonal unfold cat stack flip roll repeat index index_select gather take
pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle movedim swapaxes repeat_interleave rot90
slice_scatter select_scatter
""")  # fmt: skip
def _moved(call: Call) -> list[Tensor]:
    """Values that move take along what they see."""
    if call.argument("dtype") and call.argument("dtype").itemsize != call.argument("self").dtype.itemsize:
        raise call.refusal("it takes numbers apart")
    planes = call.moved(torch.ops.aten.alias.default if call.argument("dtype") else None)
    step = call.argument("step", 1)
    if call.name == "slice" and step != 1:
        seen, dim = call.seen(), call.argument("dim", 0) % call.result.ndim
        if dim in seen.dims:
            planes[0][JUMP[seen.dims.index(dim)]] *= step
    return [rearranged(its, tuple(result.shape)) for its, result in zip(planes, call.operation.results, strict=True)]


@rule("as_strided")
def _laid_out(call: Call) -> Tensor:
    """How torch lays out what global pooling leaves: in place, and of one dimension in fact."""
    seen = call.seen()
    several = sum(n > 1 for n in call.result.shape) > 1 or call.argument("storage_offset")
    if several or seen.shape != tuple(call.result.shape) or not call.operation.name.endswith("_"):
        raise call.refusal("it reads its memory in another shape")
    return seen.planes


@rule("index_put")
def _put(call: Call) -> list[Tensor]:
    """Values are written to some places, over what was there."""
    if call.argument("accumulate"):
        raise call.refusal("it adds up what lies at the same place")
    return call.moved(torch.ops.aten.index_put.default)
