"""Which input pixels does a unit of a network see? Exact, or refused, or said to vary with the place.

The operations are followed as they run, not the modules, so that functional calls and shortcuts count: the model runs
on tensors that have shapes and no values.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from eva.dry_run import DryRunError, dry_run, images_like
from eva.modules import unwrapped
from eva.receptive_field.arithmetic import Field, Layer, Pair, ReceptiveFieldError, Seen, shown
from eva.receptive_field.rules import rule_for
from eva.receptive_field.tracer import Tracer
from eva.table import Table


@dataclass(frozen=True, repr=False)
class ReceptiveField:
    """What a unit of the trunk sees: of the last map before global pooling. Pairs are (rows, columns).

    Gates, attention over all of the map and statistics of it see the whole image: they count in `whole_image`, and
    `size` is what is seen along the other paths.
    """

    size: Pair  # pixels, unclipped: what lies beyond the border counts. Where it varies with the place, the most
    jump: tuple[float, float]  # pixels between what neighbouring units see; a fraction after upsampling
    start: Pair  # the lowest pixel that unit 0 sees; negative inside the padding
    whole_image: bool  # a value of the output sees all of the input
    layers: tuple[Layer, ...]
    modules: dict[str, list[Field]]  # what each module's output sees, by its name, for each time that it ran
    input_size: tuple[int, int, int]
    least: Pair  # another than `size` where that varies with the place: after upsampling, say
    everywhere: bool  # all units see alike; False: near the border, or at every other place, they see another size
    outputs: tuple[Field, ...]  # where the model gives several

    @property
    def clipped(self) -> Pair:
        """`size`, cut to the image."""
        return min(self.size[0], self.input_size[1]), min(self.size[1], self.input_size[2])

    def box(self, unit: Pair) -> tuple[int, int, int, int]:
        """The pixels that the trunk's unit at (row, column) sees: left, top, right, bottom, the last two one past.

        Unclipped: negative, or past the image, inside the padding.
        """
        top, left = (int(self.start[axis] + unit[axis] * self.jump[axis]) for axis in (0, 1))
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
        size = shown(self.size)
        if self.least != self.size:
            size = f"{shown(self.least)} to {size}"
        varies = "" if self.everywhere else " (it varies with the place)"
        whole = ", and the output sees the whole image" if self.whole_image else ""
        return f"A unit of the trunk sees {size} pixels{varies}{whole}."

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self._conclusion()])


def receptive_field(
    model: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32), layer: str | None = None
) -> ReceptiveField:
    """The receptive field of `model` for images of `input_size` (C, H, W), in evaluation mode.

    Of several outputs the one with the largest field is reported, or the output of the module `layer`, by its name.
    Nothing is computed, and the model stays as it is: its parameters, buffers, mode, attributes and hooks, and torch's
    random state. Raises ReceptiveFieldError where the field cannot be told, with the operation's name: it is unknown,
    or pixels decide how the network runs; or where the model has no spatial one; ValueError for an input size that is
    not (C, H, W), KeyError for a layer that did not run; and the model's own error where it fails.
    """
    if len(input_size) != 3 or not all(isinstance(n, int) and n > 0 for n in input_size):
        raise ValueError(f"input_size must be (C, H, W), three positive whole numbers, got {input_size!r}")
    network, tracer, outputs = unwrapped(model), Tracer(rule_for, input_size), defaultdict[str, list[list[Seen]]](list)

    def note(name: str, output: object) -> None:
        if seen := tracer.seen(output):
            outputs[name].append(seen)

    try:
        output = dry_run(network, images_like(network, input_size), tracer.tell, note)
    except DryRunError as error:
        raise ReceptiveFieldError(str(error)) from None
    except ReceptiveFieldError:
        raise
    except Exception as error:
        if hasattr(error, "add_note"):  # Python 3.11 and later
            error.add_note(f"(in receptive_field, at input_size={input_size})")
        raise
    fields = tuple(tracer.field(seen) for seen in tracer.seen(output))
    if not fields or (not tracer.layers and all(field.size == (1, 1) for field in fields)):
        raise ReceptiveFieldError(
            f"{type(network).__name__} has no spatial operation: its output sees no window of pixels"
        )
    modules = {name: [_widest(map(tracer.field, seen)) for seen in each] for name, each in outputs.items()}
    if layer is not None and layer not in modules:
        raise KeyError(f"no module {layer!r} ran and gave a tensor: choose one of {', '.join(map(repr, modules))}")
    field = modules[layer][-1] if layer is not None else _widest(fields)
    return ReceptiveField(
        field.size, field.jump, field.start, any(end.whole for end in fields), tuple(tracer.layers), modules,
        input_size, field.least, field.everywhere, fields,
    )  # fmt: skip


def _widest(fields: Iterable[Field]) -> Field:
    return max(fields, key=lambda field: field.size)
