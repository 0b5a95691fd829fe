"""The ledger: what each step of the ladder measured.

`results/ledger.jsonl` has a line of JSON for each step, and lines are only ever added: of two for the same step,
budget and data the later one counts. Figures in README and notebooks come from here.
"""

import dataclasses
import json
import math
import statistics
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import torch
import torchvision

from eva.files import append_json, read_json
from eva.recipes import Recipe

_PACKAGE = Path(__file__).parent.parent
ROOT = _PACKAGE.parent  # of the clone
_INSTALLED = _PACKAGE / "results" / "ledger.jsonl"
LEDGER = _INSTALLED if _INSTALLED.exists() else ROOT / "results" / "ledger.jsonl"
FIELDS = ("step", "data", "splits", "budget", "recipe", "seeds", "accuracies", "accuracy", "accuracy_sd",
          "test_accuracies", "parameters", "macs", "receptive_field", "seconds", "peak_memory", "hardware", "versions",
          "date", "revision")  # fmt: skip

ALIKE = ("data", "hardware", "recipe", "seeds")  # what two lines must share to be compared

_DEFAULTS = {field.name: [*field.default] if isinstance(field.default, tuple) else field.default
             for field in dataclasses.fields(Recipe) if field.default is not dataclasses.MISSING}  # fmt: skip

Line = dict[str, Any]


class LedgerError(ValueError):
    """A line is not fit for the ledger. The message says why."""


def record(path: Path = LEDGER, **measured: Any) -> Line:
    """Append what was measured of one step as one line, and return it.

    `accuracies` and `test_accuracies` are fractions, one per seed, in the order of `seeds`; `splits` has the number of
    images in each split, and their digest; `recipe` what it was trained by; `seconds` is of training, the median of
    the seeds; `peak_memory` bytes of one training step; `revision` that of the source when it began, by default the
    present one.
    Mean, standard deviation, versions and date are added here. Raises LedgerError where a field is missing or unknown,
    or where seeds and accuracies do not match.
    """
    measured |= {
        "accuracy": statistics.mean(measured.get("accuracies") or [math.nan]),
        "accuracy_sd": _sd(measured.get("accuracies", [])),
        "versions": {package.__name__: str(package.__version__) for package in (torch, torchvision, numpy)},
        "date": date.today().isoformat(),
    }
    measured.setdefault("revision", revision())
    _check(measured)
    measured["recipe"] = {**_DEFAULTS, **measured["recipe"]}
    line = {name: measured[name] for name in FIELDS}
    append_json(path, line)
    return line


def read(path: Path = LEDGER) -> list[Line]:
    """All lines that can be read. One that cannot is left out with a warning that names it; the file stays as it is.

    A field that a recipe did not have when a line was written has its default, which is what was done then.
    """
    return [{**line, "recipe": {**_DEFAULTS, **line["recipe"]}} for line in read_json(path, _check)]


def latest(lines: Sequence[Line], budget: str, data: str) -> dict[str, Line]:
    """The last line of each step at `budget` and on the data of that name, in the order in which the steps came."""
    return {line["step"]: line for line in lines if (line["budget"], line["data"]) == (budget, data)}


def reference() -> dict[str, Line]:
    """The reference runs on CIFAR-10, by step: of those that compare, the furthest climb; of equals that on a GPU."""
    climbs: dict[str, dict[str, Line]] = {}  # a climb begun on another machine does not mix with one that is whole
    for line in read():
        if line["data"].startswith("CIFAR-10") and line["budget"] != "smoke":
            alike = json.dumps([line[name] for name in ("budget", *ALIKE)], sort_keys=True)
            climbs.setdefault(alike, {})[line["step"]] = line
    return max(
        climbs.values(), key=lambda lines: (len(lines), "gpu" in {x["budget"] for x in lines.values()}), default={}
    )


def difference(line: Line, before: Line) -> tuple[float, float, float]:
    """Accuracy of `line` less that of `before`, paired by seed: the mean and both ends of its 95 % interval.

    By Student's t; with one seed the interval is unknown, and its ends NaN. Raises LedgerError where the seeds differ.
    """
    if line["seeds"] != before["seeds"]:
        raise LedgerError(f"seeds {line['seeds']} and {before['seeds']} do not pair: measure both with the same")
    differences = [now - then for now, then in zip(line["accuracies"], before["accuracies"], strict=True)]
    mean = statistics.mean(differences)
    half = _student(len(differences) - 1) * _sd(differences) / math.sqrt(len(differences))
    return mean, mean - half, mean + half


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t; above nine degrees of freedom that of nine, a little too wide."""
    points = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    return points[min(freedom, len(points) - 1)]


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _check(line: Any) -> None:
    if not isinstance(line, dict):
        raise LedgerError(f"a line must be a JSON object, got {type(line).__name__}")
    missing, unknown = [name for name in FIELDS if name not in line], [name for name in line if name not in FIELDS]
    if missing or unknown:
        raise LedgerError("; ".join(
            f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names
        ))  # fmt: skip
    if not line["seeds"] or not len(line["seeds"]) == len(line["accuracies"]) == len(line["test_accuracies"]):
        counts = ", ".join(f"{len(line[name])} {name}" for name in ("seeds", "accuracies", "test_accuracies"))
        raise LedgerError(f"there must be one accuracy per seed, got {counts}")


def revision() -> str:
    """The commit of the source, marked where files differ from it; "unknown" outside of a clone."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "-changed" if git("status", "--porcelain", "--untracked-files=no", "--", "eva") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
