"""A table of a network's layers in the look of torchsummary: output, parameters, MACs, and what each layer sees.

print(summary(model))                               # a row for each layer, in the order in which they ran
summary(model, depth=1)                             # a tree of the modules, as far down as that
summary(model, (3, 64, 64)).total_macs
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from eva.dry_run import Operation, dry_run, images_like
from eva.macs import macs_of
from eva.measure import count_parameters
from eva.modules import unwrapped
from eva.receptive_field import ReceptiveField, ReceptiveFieldError, receptive_field, shown
from eva.table import Table

_COLUMNS = {  # a column's title, and how wide it is at least
    "layer": ("Layer (type)", 28),
    "name": ("Name", 28),
    "output": ("Output Shape", 26),
    "params": ("Param #", 16),
    "macs": ("MACs", 16),
    "field": ("Field", 10),
}
DEFAULT = ("layer", "output", "params", "macs", "field")


@dataclass(frozen=True)
class Row:
    """A layer as it ran once, or a module with all that is inside of it."""

    layer: str  # its type, and its number in the order of running
    name: str
    output: tuple[int, ...]  # the shape of its (first) output, without the batch
    params: int  # its own, at its first run; inside of it too, in a tree
    macs: int  # of one image
    field: str  # pixels of the trunk that a unit sees; "all" after global pooling; * where a gate saw all
    level: int = 0  # in the tree


@dataclass(frozen=True, repr=False)
class Summary:
    """What `summary` found. `print` shows torchsummary's table, a notebook one in HTML."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    total_params: int
    trainable_params: int
    total_macs: int  # of one image
    megabytes: tuple[float, float, float]  # 2**20 bytes of the input, of all outputs and their gradients, of parameters
    notes: tuple[str, ...]  # what could not be told, and why

    def _cells(self, row: Row) -> list[str]:
        texts = {
            "layer": "  " * row.level + row.layer,
            "name": row.name,
            "output": str([-1, *row.output]),
            "params": f"{row.params:,}",
            "macs": f"{row.macs:,}",
            "field": row.field,
        }
        return [texts[column] for column in self.columns]

    def _below(self) -> list[list[str]]:
        """Lines of the totals, of the bytes, and of what is to be said besides."""
        names = ("Input size", "Forward/backward pass size", "Params size")
        sizes = [f"{name} (MB): {size:.2f}" for name, size in zip(names, self.megabytes, strict=True)]
        totals = [
            f"Total params: {self.total_params:,}",
            f"Trainable params: {self.trainable_params:,}",
            f"Non-trainable params: {self.total_params - self.trainable_params:,}",
            f"MACs of one image: {self.total_macs:,}",
        ]
        return [totals, [*sizes, f"Estimated Total Size (MB): {sum(self.megabytes):.2f}"], [*self.notes]]

    def __repr__(self) -> str:
        table = [self._titles(), *map(self._cells, self.rows)]
        tree = any(row.level for row in self.rows)
        lines = [""] * len(table)
        for column, *texts in zip(self.columns, *table, strict=True):
            width = max(_COLUMNS[column][1], 2 + max(map(len, texts)))
            aligned = str.ljust if tree and column in ("layer", "name") else str.rjust
            lines = [line + aligned(text, width) for line, text in zip(lines, texts, strict=True)]
        rule, double = "-" * len(lines[0]), "=" * len(lines[0])
        totals, sizes, notes = self._below()
        return "\n".join([rule, lines[0], double, *lines[1:], double, *totals, rule, *sizes, *notes, rule])

    def _repr_html_(self) -> str:
        note = "; ".join(line for lines in self._below() for line in lines)
        return Table(self._titles(), [*map(self._cells, self.rows)], note)._repr_html_()

    def _titles(self) -> list[str]:
        return [_COLUMNS[column][0] for column in self.columns]


def summary(
    model: nn.Module,
    input_size: tuple[int, int, int] = (3, 32, 32),
    *,
    input_data: Sequence[Any] | None = None,
    depth: int | None = None,
    columns: Sequence[str] = DEFAULT,
) -> Summary:
    """The layers of `model`, with their outputs, parameters, multiply-accumulates and receptive fields.

    input_data: what the model is called with, where that is not one batch of images; MACs are then of all of it.
    depth: a tree of the modules down to so many levels, each with all that is inside, in place of a row per layer.
    columns: some of "layer", "name", "output", "params", "macs" and "field".
    Nothing is computed, and the model stays as it is. What cannot be told is left blank, and a line says why. A layer
    that runs twice has two rows, and parameters at its first run only.
    Raises ValueError for a column that there is none of, DryRunError for a model that cannot be followed, and the
    model's own error where it fails.
    """
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown:
        raise ValueError(f"there is no column {unknown[0]!r}: choose some of {', '.join(_COLUMNS)}")
    network = unwrapped(model)
    given = (images_like(network, input_size),) if input_data is None else tuple(input_data)
    runs = _Runs(network)
    dry_run(network, given[0], runs.tell, runs.note, given[1:])
    notes = [f"MACs not counted: {', '.join(runs.uncounted)}."] if runs.uncounted else []
    field: ReceptiveField | None = None
    if "field" in columns:
        try:
            field = receptive_field(network, input_size if input_data is None else tuple(given[0].shape[1:]))
        except (ReceptiveFieldError, ValueError, TypeError) as error:
            notes.append(f"Fields not told: {error}.")
    rows = runs.tree(depth, field) if depth is not None else runs.layers(field)
    if "field" in columns and any("*" in row.field for row in rows):
        notes.append("* A gate, attention or statistics saw the whole image as well.")
    outputs = sum(math.prod(row.output) for row in runs.layers(None))
    inputs = sum(leaf.numel() for leaf in tree_leaves(given) if isinstance(leaf, Tensor))
    parameters, trainable = count_parameters(network), sum(p.numel() for p in network.parameters() if p.requires_grad)
    megabytes = (4 * inputs / 2**20, 8 * outputs / 2**20, 4 * parameters / 2**20)
    return Summary(tuple(rows), tuple(columns), parameters, trainable, sum(runs.macs.values()), megabytes, tuple(notes))


class _Runs:
    """What ran, as a dry run tells of it."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.names = model, dict(model.named_modules())
        self.macs: dict[tuple[str, int], int] = defaultdict(int)  # by a module's name, and which of its runs it was
        self.uncounted = dict[str, None]()
        self.ended: list[tuple[str, int, tuple[int, ...]]] = []  # name, run, output's shape
        self._finished = Counter[str]()

    def tell(self, operation: Operation) -> None:
        name, macs = operation.module, macs_of(operation)
        if macs is None:
            self.uncounted[f"{operation.name} in {name or 'the model itself'}"] = None
        self.macs[name, self._finished[name]] += macs or 0

    def note(self, name: str, output: object) -> None:
        leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.ended.append((name, self._finished[name], tuple(leaves[0].shape[1:]) if leaves else ()))
        self._finished[name] += 1

    def layers(self, field: ReceptiveField | None) -> list[Row]:
        """A row for each run of a layer: of modules that are more than a list of others, and do or hold something."""
        rows = list[Row]()
        for name, run, output in self.ended:
            module = self.names[name]
            own = self._own(name, run)
            listed = not isinstance(module, nn.Sequential | nn.ModuleList) and name != ""
            if listed or own or self.macs.get((name, run)):
                kind = type(module).__name__ if name or not [*module.children()] else f"{type(module).__name__} itself"
                rows.append(Row(f"{kind}-{len(rows) + 1}", name, output, own, self.macs.get((name, run), 0),
                                _field(field, name, run)))  # fmt: skip
        return rows

    def tree(self, depth: int, field: ReceptiveField | None) -> list[Row]:
        """A row for each module that ran, down to `depth`, with all that is inside of it."""
        last = {name: (run, output) for name, run, output in self.ended}
        rows = list[Row]()
        for name, module in self.names.items():
            level = name.count(".") + 1 if name else 0
            if level <= depth and name in last:
                run, output = last[name]
                inside = f"{name}." if name else ""
                macs = sum(macs for (other, _), macs in self.macs.items() if f"{other}.".startswith(inside))
                kind = type(module).__name__
                label = f"{name.split('.')[-1]} ({kind})" if name else kind
                rows.append(Row(label, name, output, count_parameters(module), macs, _field(field, name, run), level))
        return rows

    def _own(self, name: str, run: int) -> int:
        """Parameters that this module itself holds, where no module before it does."""
        if run:
            return 0
        earlier = itertools.takewhile(lambda other: other != name, self.names)
        counted = {id(p) for other in earlier for p in self.names[other].parameters(recurse=False)}
        return sum(p.numel() for p in self.names[name].parameters(recurse=False) if id(p) not in counted)


def _field(field: ReceptiveField | None, name: str, run: int) -> str:
    """What a module's output sees, in pixels."""
    each = field.modules.get(name, []) if field else []
    if run >= len(each):
        return ""
    seen = each[run]
    return "all" if not seen.windows else f"{shown(seen.size)}*" if seen.gated else shown(seen.size)
