"""Multiply-accumulates of an operation: torch's own formulas, and those for what it does not count.

Products that are added up count: convolutions, products of matrices and vectors. What goes value by value does not.
"""

import math
from collections.abc import Callable

from torch.utils.flop_counter import flop_registry

from eva.dry_run import Operation

# What multiplies, and has no formula here: to be named where it runs.
_UNCOUNTED = ("fft", "grid_sampler", "rnn", "lstm", "gru", "linalg", "grouped_mm", "int_mm")


def macs_of(operation: Operation) -> int | None:
    """Multiply-accumulates of one operation: 0 for what has no products of its own, None for what cannot be counted."""
    counted = flop_registry.get(operation.func._overloadpacket)
    if counted is not None:  # torch takes a multiplication and an addition for two
        return counted(*operation.args, **operation.kwargs, out_val=operation.output) // 2
    formula = _FORMULAS.get(operation.name)
    if formula is not None:
        return formula(operation)
    named = any(part in operation.name for part in _UNCOUNTED) or operation.func.namespace not in (
        "aten", "prim", "torchvision",
    )  # fmt: skip
    return None if named else 0


def _shape(operation: Operation, name: str) -> list[int]:
    return list(operation.arguments[name].shape)


def _matrix_by_vector(operation: Operation) -> int:
    name = "mat" if "mat" in operation.arguments else "self"
    return math.prod(_shape(operation, name))


def _sum_of_products(operation: Operation) -> int:
    return math.prod(_shape(operation, "batch1")) * _shape(operation, "batch2")[2]


def _attention(operation: Operation) -> int:
    """Queries by keys, then weights by values."""
    *batch, queries, size = _shape(operation, "query")
    *_, keys, values = _shape(operation, "value")
    return math.prod(batch) * queries * keys * (size + values)


def _bilinear(operation: Operation) -> int:
    """A product with each weight of `nn.Bilinear` for each sample."""
    return math.prod(_shape(operation, "i1")[:-1]) * math.prod(_shape(operation, "i2"))


def _distances(operation: Operation) -> int:
    """Each point of one set from each of the other, coordinate by coordinate."""
    return math.prod(_shape(operation, "x1")) * _shape(operation, "x2")[-2]


def _deformable(operation: Operation) -> int:
    return operation.results[0].numel() * math.prod(_shape(operation, "weight")[1:])


def _linear(operation: Operation) -> int:
    return math.prod(_shape(operation, "input")) * _shape(operation, "weight")[0]


def _length(operation: Operation) -> int:
    return _shape(operation, "self")[0]


_FORMULAS: dict[str, Callable[[Operation], int]] = {
    **dict.fromkeys(("mv", "addmv", "addmv_"), _matrix_by_vector),
    **dict.fromkeys(("dot", "vdot"), _length),
    **dict.fromkeys(("addbmm", "addbmm_"), _sum_of_products),
    **dict.fromkeys(("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math"), _attention),
    **dict.fromkeys(("_cdist_forward", "_euclidean_dist"), _distances),
    "_trilinear": _bilinear,
    "linear": _linear,
    "deform_conv2d": _deformable,
}
