"""The tables that are made from the ledger: what each step of the ladder costs and brings."""

import math

from eva.course.ledger import ALIKE, LedgerError, Line, difference, reference
from eva.table import Table


def ladder(upto: str | None = None) -> Table:
    """The table of the reference runs, to and with the step `upto`."""
    return table(reference(), upto)


def table(lines: dict[str, Line], upto: str | None = None) -> Table:
    """One row per step: what it costs, how accurate it is, and how that differs from the step before.

    `lines` are what `latest` gives; with `upto`, the steps after that one are left out. The difference is paired by
    seed, with its 95 % interval; where that spans zero the row says so.
    Raises LedgerError where the lines are of different data, hardware or recipe: those do not compare.
    """
    if not lines:
        return Table(["step"], [], "Nothing is measured yet: python -m eva ledger")
    steps = list(lines)
    if upto not in (None, *steps):
        raise LedgerError(f"{upto!r} is not measured: the ledger has {', '.join(map(repr, steps))}")
    steps = steps[: steps.index(upto) + 1] if upto else steps
    first = lines[steps[0]]
    for name in ALIKE:
        unlike = next((step for step in steps if lines[step][name] != first[name]), None)
        if unlike:
            raise LedgerError(
                f"{name} of {unlike!r} is {lines[unlike][name]!r} and of {steps[0]!r} {first[name]!r}: "
                "measure both alike"
            )
    rows = []
    for step, before in zip(steps, [None, *steps], strict=False):
        line = lines[step]
        change = _change(*difference(line, lines[before])) if before else ""
        spread = f" ± {100 * line['accuracy_sd']:.1f}" if len(line["seeds"]) > 1 else ""
        field, parameters, macs = line["receptive_field"][0], line["parameters"], line["macs"]
        cells = (step, f"{parameters:,}", f"{macs / 1e6:.1f}", f"{field}", f"{line['seconds']:.0f}")
        rows.append((*cells, f"{100 * line['accuracy']:.1f}{spread}", change))
    titles = ("step", "parameters", "million MACs", "field (pixels)", "training (s)", "validation accuracy (%)",
              "change (points, 95 % interval)")  # fmt: skip
    recipe, splits = first["recipe"], first["splits"]
    versions = " and ".join(sorted({lines[step]["versions"]["torch"] for step in steps}))
    note = (
        f"{first['data']}, {splits['train']:,} training and {splits['validation']:,} validation images, "
        f"{recipe['epochs']} epochs, seeds {', '.join(map(str, first['seeds']))}; mean ± standard deviation. "
        f"{first['hardware']}, PyTorch {versions}, {max(line['date'] for line in lines.values())}."
    )
    return Table(titles, rows, note)


def _change(mean: float, low: float, high: float) -> str:
    if math.isnan(low):
        return f"{100 * mean:+.1f} (one seed)"
    verdict = ", no difference that could be measured" if low <= 0 <= high else ""
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}{verdict})"
