"""Net in three widths against published networks: one recipe, one budget, the same images.

    python -m benchmarks.accuracy_per_parameter --minutes 9      # on a GPU; call it until it says that all is done
    python -m benchmarks.accuracy_per_parameter --smoke          # seconds on a CPU

Every network trains by our recipe `gpu`, shortened or stretched to `--epochs`, with each seed; the validation split is
looked at after each epoch and decides nothing, and the test split is measured once per run, at its end, without and
with test-time augmentation. The recipe was chosen for Net: the others may do better by one of their own.

A call goes on where the last one stopped, in the middle of a run too: finished runs are lines of
FOLDER/accuracy_per_parameter.jsonl, and the run in hand is a checkpoint in FOLDER/running. Writes
results/accuracy_per_parameter.json and .md.
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, Deadline, Line, arguments, device_here, few, origin, spread, write_report
from benchmarks.networks import NETWORKS
from benchmarks.tta import LEVELS, accuracies
from eva.course.runs import Runs
from eva.data import Splits, load, loaders
from eva.measure import count_macs, count_parameters
from eva.recipes import RECIPES, Recipe
from eva.table import Table
from eva.training import METRICS_FILE, MODEL_FILE, TrainingError, fit

REPORT = RESULTS / "accuracy_per_parameter.json"
SMOKE = ("Net, 0.1 M", "ResNet-20")


def trained(network: str, splits: Splits, recipe: Recipe, seed: int, device: torch.device, folder: Path,
            deadline: Deadline) -> Line | None:  # fmt: skip
    """One run, measured; None where the time was over before it ended, and a checkpoint in `folder` goes on."""
    torch.manual_seed(seed)
    model = NETWORKS[network](classes=len(splits.classes))
    costs = {"parameters": count_parameters(model), "macs": count_macs(model)}
    rows = fit(model, splits, recipe, device=device, seed=seed, out=folder, resume=True,
               on_epoch=_stopping(deadline, recipe)).rows  # fmt: skip
    if len(rows) < recipe.epochs:
        return None
    return {
        **costs,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "validation_accuracy": rows[-1]["validation_accuracy"],
        "test_accuracy": accuracies(model, loaders(splits, device=device)[2]),
    }


def _stopping(deadline: Deadline, recipe: Recipe) -> Callable[[list[dict[str, Any]]], None]:
    """What `fit` calls after each epoch: stops it, as Ctrl-C does, where the next epoch would end too late."""

    def check(rows: list[dict[str, Any]]) -> None:
        if len(rows) < recipe.epochs and not deadline.allows(1.5 * rows[-1]["seconds"] + 5):
            raise KeyboardInterrupt

    return check


def key_of(network: str, seed: int, recipe: Recipe, splits: Splits, device: torch.device) -> Line:
    """What two runs must share to be the same. A network that was changed has another number of parameters."""
    parameters = count_parameters(NETWORKS[network](classes=len(splits.classes)))
    images = [len(part) for part in (splits.train, splits.validation, splits.test)]
    return {"network": network, "parameters": parameters, "seed": seed, "recipe": asdict(recipe), "images": images,
            **origin(splits, device)}  # fmt: skip


def measure(splits: Splits, recipe: Recipe, networks: list[str], seeds: int, device: torch.device, runs: Runs,
            deadline: Deadline) -> tuple[list[Line], int]:  # fmt: skip
    """All runs that are finished, and how many are not. The first seed of every network comes before the second."""
    done, missing = [], 0
    for seed, network in product(range(seeds), networks):
        key = key_of(network, seed, recipe, splits, device)
        line = runs.find(key)
        if line is None and deadline.allows(20):
            print(f"{network}, seed {seed}")
            folder = prepared(runs.path.parent / "running", key)
            try:
                measured = trained(network, splits, recipe, seed, device, folder, deadline)
            except TrainingError as error:
                measured = {"parameters": key["parameters"], "failed": str(error)}
            if measured is not None:
                line = runs.add(key, measured)
                shutil.rmtree(folder)
        if line is None:
            missing += 1
        else:
            done.append(line)
    return done, missing


def prepared(folder: Path, key: Line) -> Path:
    """`folder`, emptied where it holds the checkpoint of another run."""
    note = folder / "key.json"
    if note.exists() and json.loads(note.read_text()) != json.loads(json.dumps(key)):
        for name in (MODEL_FILE, METRICS_FILE):
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(key))
    return folder


def page(report: Line) -> str:
    """The report as Markdown: a row for each network, in the order of parameters."""
    titles = ("network", "parameters", "million MACs", "validation", "test", "test, mirror", "test, mirror and shifts",
              "training (s)", "seeds", "data", "hardware")  # fmt: skip
    groups: dict[str, list[Line]] = {}
    for run in sorted(report["runs"], key=lambda run: run["parameters"]):
        groups.setdefault(run["key"]["network"], []).append(run)
    rows = []
    for network, found in groups.items():
        runs = [run for run in found if "failed" not in run]
        if not runs:
            continue
        tested = [spread([run["test_accuracy"][level] for run in runs]) for level in LEVELS]
        seconds = sum(run["seconds"] for run in runs) / len(runs)
        rows.append(
            (network, f"{runs[0]['parameters']:,}", f"{runs[0]['macs'] / 1e6:.1f}",
             spread([run["validation_accuracy"] for run in runs]), *tested, f"{seconds:.0f}",
             ", ".join(str(run["key"]["seed"]) for run in runs), runs[0]["key"]["data"], runs[0]["key"]["hardware"])
        )  # fmt: skip
    table = Table(titles, rows, _note(report))
    return f"# Accuracy per parameter\n\n{table}\n"


def _note(report: Line) -> str:
    recipe = report["recipe"]
    missing = f" {report['missing']} runs are still to be made." if report["missing"] else ""
    for run in report["runs"]:
        if "failed" in run:
            missing += f" {run['key']['network']}, seed {run['key']['seed']}, did not train: {run['failed']}."
    return (
        f"Accuracies in %, mean ± standard deviation of the seeds; the test split was measured once per run, without "
        f"and with test-time augmentation. All by the recipe {report['recipe_name']!r} with {recipe['epochs']} epochs, "
        f"which was chosen for Net: the others may do better by one of their own. PyTorch {report['torch']}, "
        f"{report['date']}. Made by `benchmarks/accuracy_per_parameter.py`, which says how.{missing}"
    )


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], minutes=9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=16, help="the budget, the same for all")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, metavar="NETWORK", help="some of them")
    asked = parser.parse_args(argv)
    if asked.table:
        report = json.loads(REPORT.read_text())
        write_report(REPORT, report, page(report))
        return
    device, splits = device_here(), load()
    name, path, folder = "gpu", REPORT, asked.folder
    recipe = replace(RECIPES[name], epochs=asked.epochs)
    networks = asked.only or list(NETWORKS)
    if asked.smoke:
        name, recipe, splits, networks = "smoke", RECIPES["smoke"], few(splits), list(SMOKE)
        folder = folder / "smoke"
        path = folder / "report.json"
    elif device.type == "cpu":
        sys.exit("this takes a GPU: on a CPU it would be days. --smoke shows that it works")
    if asked.fresh:
        shutil.rmtree(folder / "running", ignore_errors=True)
    runs = Runs(folder / f"{REPORT.stem}.jsonl", asked.fresh)
    done, missing = measure(splits, recipe, networks, asked.seeds, device, runs, Deadline(asked.minutes))
    if done:
        report = {**origin(splits, device), "recipe_name": name, "recipe": asdict(recipe), "runs": done,
                  "missing": missing, "date": max(run["date"] for run in done)}  # fmt: skip
        write_report(path, report, page(report))
    print(f"{missing} runs are still to be made: call this again" if missing else "all runs are done")


if __name__ == "__main__":
    main()
