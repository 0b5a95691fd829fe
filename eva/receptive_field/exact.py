"""Which input pixels does a unit of a network see? Exact, for any network that runs.

The operations are followed as they run, not the modules, so that functional calls and shortcuts count: the model runs
on "meta" tensors, which have shapes and no values.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from eva.modules import evaluating, unwrapped
from eva.receptive_field.arithmetic import Layer, Pair, ReceptiveFieldError, Seen, both, shown
from eva.receptive_field.rules import RULES
from eva.receptive_field.tracer import Tracer
from eva.table import Table


@dataclass(frozen=True, repr=False)
class ReceptiveField:
    """What a unit of the trunk sees: of the last spatial tensor before global pooling. Pairs are (rows, columns)."""

    size: Pair  # pixels, unclipped: what lies beyond the border counts
    jump: Pair  # pixels between what neighbouring units see
    start: Pair  # the lowest pixel that unit 0 sees; negative inside the padding
    whole_image: bool  # the output sees all of the input
    layers: tuple[Layer, ...]
    modules: dict[str, list[Seen]]  # what each module's output sees, by its name, for each time that it ran
    input_size: tuple[int, int, int]

    @property
    def clipped(self) -> Pair:
        """`size`, cut to the image."""
        return min(self.size[0], self.input_size[1]), min(self.size[1], self.input_size[2])

    def box(self, unit: Pair) -> tuple[int, int, int, int]:
        """The pixels that the trunk's unit at (row, column) sees: left, top, right, bottom, the last two one past.

        Unclipped: negative, or past the image, inside the padding.
        """
        top, left = (self.start[axis] + unit[axis] * self.jump[axis] for axis in (0, 1))
        return left, top, left + self.size[1], top + self.size[0]

    def rows(self) -> list[tuple[str, ...]]:
        """The table that `print` shows: a title row, then a row per layer."""
        titles = ("module", "operation", "output", "kernel", "stride", "dilation", "size", "jump", "start")
        return [titles] + [
            (
                layer.module,
                layer.operation,
                "x".join(map(str, layer.shape[1:])),
                *(shown(getattr(layer, name)) for name in titles[3:]),
            )
            for layer in self.layers
        ]

    def _repr_html_(self) -> str:
        titles, *rows = self.rows()
        return Table(titles, rows, self._conclusion())._repr_html_()

    def _conclusion(self) -> str:
        whole = ", and the output sees the whole image" if self.whole_image else ""
        return f"A unit of the trunk sees {shown(self.size)} pixels{whole}."

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self._conclusion()])


def receptive_field(model: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32)) -> ReceptiveField:
    """The receptive field of `model` for images of `input_size` (C, H, W), in evaluation mode.

    Nothing is computed or allocated, and the model stays as it is: its parameters, buffers, mode and hooks, and torch's
    random state. Raises ReceptiveFieldError where the field depends on the position (interpolation, transposed
    convolution, adaptive pooling that does not divide evenly), where an operation is unknown, or where the model has no
    spatial one; ValueError for an input size that is not (C, H, W); and the model's own error where it fails.
    """
    if len(input_size) != 3 or not all(isinstance(n, int) and n > 0 for n in input_size):
        raise ValueError(f"input_size must be (C, H, W), three positive whole numbers, got {input_size!r}")
    tracer, modules, output = _run_on_meta(unwrapped(model), input_size)
    ends = [tracer.seen[id(leaf)] for leaf in tree_leaves(output) if id(leaf) in tracer.seen]
    if not ends or not tracer.layers:
        name = type(unwrapped(model)).__name__
        raise ReceptiveFieldError(f"{name} has no spatial operation: its output sees no window of pixels")
    jump, start = both(span.jump for span in ends[0].spans), both(span.lo for span in ends[0].spans)
    whole = any(end.whole for end in ends)
    return ReceptiveField(ends[0].size, jump, start, whole, tuple(tracer.layers), modules, input_size)


def _run_on_meta(model: nn.Module, input_size: tuple[int, int, int]) -> tuple[Tracer, dict[str, list[Seen]], object]:
    """Run `model` on tensors without values. Returns the tracer, what each module's outputs see, and the output."""
    state = {
        f"{prefix}.{name}".lstrip("."): value
        for prefix, module in model.named_modules()  # a shared one once, or functional_call leaves it changed
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    }
    lazy = [name for name, value in state.items() if is_lazy(value)]
    if lazy:
        raise ReceptiveFieldError(f"{lazy[0]} has no shape yet: run the model once on a batch before measuring it")
    meta = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    dtype = next((value.dtype for value in state.values() if value.is_floating_point()), torch.float32)
    images = torch.empty(1, *input_size, dtype=dtype, device="meta")
    running, modules = [""], defaultdict[str, list[Seen]](list)
    tracer = Tracer(images, running, RULES)

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and id(output) in tracer.seen:
            modules[name].append(tracer.seen[id(output)])

    with evaluating(model), _watching(model, running, note), torch.no_grad(), tracer:
        try:
            output = functional_call(model, meta, (images,), tie_weights=False)
        except ReceptiveFieldError:
            raise
        except Exception as error:
            if hasattr(error, "add_note"):  # Python 3.11 and later
                error.add_note(f"(in receptive_field, at input_size={input_size})")
            raise
    return tracer, dict(modules), output


@contextmanager
def _watching(model: nn.Module, running: list[str], note: Callable[[str, object], None]) -> Iterator[None]:
    """Keep the names of the modules that are running on the stack `running`, and tell `note` of each one's output.

    Global hooks do it: the model's own stay as they are. They heed this model in this thread alone: another one may be
    training meanwhile.
    """
    names, thread = {module: name for name, module in model.named_modules()}, threading.get_ident()

    def ours(module: nn.Module) -> bool:
        return module in names and threading.get_ident() == thread

    def entered(module: nn.Module, inputs: object) -> None:
        if ours(module):
            running.append(names[module])

    def left(module: nn.Module, inputs: object, output: object) -> None:
        if ours(module):
            note(running.pop(), output)

    before = nn.modules.module.register_module_forward_pre_hook(entered)
    after = nn.modules.module.register_module_forward_hook(left, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()
