"""What README shows of the studies: what each idea brought, where, and for what price; and the tables one by one."""

from dataclasses import dataclass

from eva.course.comparison import differences
from eva.course.evidence import EvidenceError, answers, of, results, said
from eva.course.studies import STUDIES
from eva.table import Table

NOTHING = "Nothing is measured yet: python -m eva evidence"


@dataclass(frozen=True)
class Row:
    """An idea at a place: `network` has it there and `against` has not, in one study."""

    idea: str
    where: str
    study: str
    network: str
    against: str


_DILATION, _SEPARABLE, _HEAD = "dilation", "separable", "batch norm and head"
ROWS = (
    Row("batch norm", "seven layers", _HEAD, "batch norm, flat", "flat"),
    Row("global average pooling", "without batch norm", _HEAD, "average", "flat"),
    Row("global average pooling", "with it", _HEAD, "batch norm, average", "batch norm, flat"),
    Row("dilation", "in the last three of five layers", _DILATION, "late: 1 1 | 2 2 3", "rates 1 1 | 1 1 1"),
    Row("dilation", "in the second and third", _DILATION, "early: 1 2 | 2 1 1", "rates 1 1 | 1 1 1"),
    Row("a second pooling", "in place of dilation", _DILATION, "a second pooling", "rates 1 1 | 1 1 1"),
    Row("depthwise separable", "the same width", _SEPARABLE, "separable, 32 maps", "standard, 32 maps"),
    Row("depthwise separable", "as long a step of training", _SEPARABLE, "separable, 64 maps", "standard, 32 maps"),
    Row("depthwise separable", "as many parameters", _SEPARABLE, "separable, 96 maps", "standard, 32 maps"),
)


def worth() -> Table:
    """A row for each idea and place that was measured: points, their interval, and what it costs.

    The interval counts seeds and images; what was not found is said so. Prices are relative to the network without
    the idea.
    """
    cells = [(row.idea, row.where, *_found(row)) for row in ROWS if _measured(row.study)]
    titles = ("idea", "where", "points (95 % interval)", "parameters", "MACs")
    data = ", ".join(sorted({of(row.study)[row.network][0]["key"]["data"] for row in ROWS if _measured(row.study)}))
    note = f"Small networks on {data}; the tables of each experiment say which, and how."
    return Table(titles, cells, note if cells else NOTHING)


def page() -> str:
    """The tables of all studies of which there are runs to compare, as Markdown."""
    parts = [f"### {study.capitalize()}\n\n{results(study)}" for study in STUDIES if _measured(study)]
    return "\n\n".join(parts) or NOTHING


def _measured(study: str) -> bool:
    """Is there a seed with which every network of the study was trained?"""
    try:
        return bool(of(study))
    except EvidenceError:
        return False


def _found(row: Row) -> tuple[str, str, str]:
    apart = differences(answers(row.study), row.against)[row.network]
    keys = {name: runs[0]["key"] for name, runs in of(row.study).items()}
    parameters, macs = (keys[row.network][price] / keys[row.against][price] - 1 for price in ("parameters", "macs"))
    return said(apart), _change(parameters), _change(macs)


def _change(share: float) -> str:
    return "the same" if abs(share) < 0.005 else f"{100 * share:+.0f} %"
