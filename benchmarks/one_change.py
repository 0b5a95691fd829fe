"""What helps? Our recipe with one thing changed, beside the recipe as it is; same seeds, same images, one machine.

    python -m benchmarks.one_change --seeds 2                      # every change, from the recipe that suits the device
    python -m benchmarks.one_change --only "Muon inside" "no label smoothing"

Judged on the validation split; the test split is not touched. A call goes on where the last one stopped: finished runs
are lines of FOLDER/one_change.jsonl, and the first seed of every change comes before the second. Writes
results/one_change.json (of a GPU: one_change_gpu.json) and the .md beside it: what did not help has its row too.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from benchmarks import ideas
from benchmarks.common import RESULTS, Deadline, Line, arguments, device_here, few, origin, spread, write_report
from eva.augment import cutmix, mixup
from eva.budget import budget
from eva.course import difference
from eva.course.runs import Runs
from eva.data import BatchLoader, Splits, load
from eva.measure import count_macs, count_parameters
from eva.model import Net
from eva.optimizers import optimizer_for
from eva.recipes import RECIPES, WIDTHS, Recipe
from eva.table import Table
from eva.training import TrainingError, fit

REPORT, GPU_REPORT = RESULTS / "one_change.json", RESULTS / "one_change_gpu.json"
AS_IS = "the recipe"


@dataclass(frozen=True)
class Change:
    """One thing changed: in the recipe, in the network that it trains, or in how the batches are made."""

    recipe: Recipe
    network: Callable[[float, Splits], nn.Module] = ideas.as_it_is
    make_loader: Callable[..., BatchLoader] = BatchLoader
    make_optimizer: Callable[[nn.Module, Recipe], Optimizer] = optimizer_for


def changes(recipe: Recipe, splits: Splits, teacher: Callable[[], nn.Module]) -> dict[str, Change]:
    """What was tried, by what is said of it. Where an idea comes from: eva's docstrings, and those of ideas.py."""
    without_muon = replace(recipe, matrix_rate=None)
    classes, epochs = len(splits.classes), recipe.epochs

    def mixed(mix: ideas.Mix, until: int) -> Callable[..., BatchLoader]:
        return partial(ideas.Mixed, mix=mix, classes=classes, until=until)

    def without_or_with(name: str) -> dict[str, Any]:
        rest = tuple(other for other in recipe.augmentations if other != name)
        return {"augmentations": rest if name in recipe.augmentations else (*rest, name)}

    straight, averaged, cut = recipe.decay == "linear", recipe.ema is not None, "cutout" in recipe.augmentations
    values: dict[str, dict[str, Any]] = {
        AS_IS: {},
        "SGD alone" if recipe.matrix_rate else "Muon inside": {"matrix_rate": None if recipe.matrix_rate else 0.05},
        "half of SGD's learning rate": {"learning_rate": recipe.learning_rate / 2},
        "cosine decay" if straight else "linear decay": {"decay": "cosine" if straight else "linear"},
        "batches twice as large": {"batch_size": 2 * recipe.batch_size},
        "no label smoothing": {"label_smoothing": 0.0},
        "label smoothing 0.2": {"label_smoothing": 0.2},
        "no EMA of the weights" if averaged else "EMA of the weights (0.99)": {"ema": None if averaged else 0.99},
        "no translation": without_or_with("translate"),
        "no cutout" if cut else "cutout": without_or_with("cutout"),
        "TrivialAugment": without_or_with("trivial"),
    }  # fmt: skip
    if len(recipe.sizes) > 1:
        # As many pixels in all: full size from the start, in fewer epochs.
        pixels = sum(recipe.size(epoch) ** 2 for epoch in range(epochs))
        values["full size throughout"] = {"sizes": (32,), "epochs": max(1, round(pixels / 32**2))}
    return {
        **{name: Change(replace(recipe, **value)) for name, value in values.items()},
        "AdamW at 0.003": Change(replace(without_muon, learning_rate=0.003), make_optimizer=ideas.adamw),
        "AdamW at 0.01": Change(replace(without_muon, learning_rate=0.01), make_optimizer=ideas.adamw),
        "alternating flips": Change(replace(recipe, **without_or_with("flip")), make_loader=ideas.AlternatingFlip),
        "mixup": Change(recipe, make_loader=mixed(mixup, epochs)),
        "cutmix": Change(recipe, make_loader=mixed(cutmix, epochs)),
        "cutmix, not in the last third": Change(recipe, make_loader=mixed(cutmix, 2 * epochs // 3)),
        "whitened stem": Change(recipe, ideas.whitened_stem),
        "deeper and narrower": Change(recipe, partial(ideas.with_residuals, count=5)),
        "shallower and wider": Change(recipe, partial(ideas.with_residuals, count=1)),
        "second pooling after the middle": Change(recipe, ideas.late_pooling),
        "distillation from Net of twice the width": Change(recipe, make_loader=lambda *args, **options: ideas.Distilled(
            *args, teacher=teacher(), **options)),
    }  # fmt: skip


def teacher_of(recipe: Recipe, width: float, splits: Splits, device: torch.device) -> Callable[[], nn.Module]:
    """What trains Net of twice the width by the same recipe (seed 0) when it is first asked for, and keeps it."""

    @cache
    def trained() -> nn.Module:
        print("the teacher")
        torch.manual_seed(0)
        model = Net(2 * width, len(splits.classes))
        fit(model, splits, recipe, device=device)
        return model

    return trained


def run(change: Change, width: float, splits: Splits, seed: int, device: torch.device) -> Line:
    torch.manual_seed(seed)
    model = change.network(width, splits)
    costs = {"parameters": count_parameters(model), "macs": count_macs(model)}
    try:
        rows = fit(model, splits, change.recipe, device=device, seed=seed, make_loader=change.make_loader,
                   make_optimizer=change.make_optimizer).rows  # fmt: skip
    except TrainingError as error:
        return {**costs, "failed": str(error)}
    seconds = sum(row["seconds"] for row in rows)
    return {**costs, "validation_accuracy": rows[-1]["validation_accuracy"], "seconds": round(seconds, 1)}


def page(report: Line) -> str:
    """A row for each change: its accuracy, and the difference to the recipe as it is, paired by seed."""
    found: dict[str, list[Line]] = {}
    for line in report["runs"]:
        found.setdefault(line["key"]["change"], []).append(line)
    rows = []
    for name, runs in found.items():
        good = [line for line in runs if "failed" not in line]
        seeds = ", ".join(str(line["key"]["seed"]) for line in good or runs)
        costs = (f"{runs[0]['parameters']:,}", f"{runs[0]['macs'] / 1e6:.1f}")
        if good:
            accuracy = spread([line["validation_accuracy"] for line in good])
            change = "" if name == AS_IS else _change(good, found[AS_IS])
            rows.append((name, accuracy, change, *costs, f"{mean(line['seconds'] for line in good):.0f}", seeds))
        else:
            rows.append((name, "did not train", "", *costs, "", seeds))
    titles = ("changed", "validation accuracy (%)", "difference (points, 95 % interval)", "parameters",
              "million MACs", "training (s)", "seeds")  # fmt: skip
    note = (
        f"{report['data']}, {report['hardware']}, PyTorch {report['torch']}, {report['date']}; "
        f"recipe {report['recipe_name']!r}: {report['recipe']['epochs']} epochs of "
        f"Net(width={report['recipe']['width']}). Judged on validation, where one accuracy of 5,000 images carries "
        "half a point of sampling error. Differences are paired by seed; one seed has no interval. Seconds: other work "
        "may have gone on; a teacher's own training is not in them. Made by `benchmarks/one_change.py`; what each "
        "change is: there, and in `ideas.py` beside it."
    )
    return f"# One change at a time\n\n{Table(titles, rows, note)}\n"


def _change(runs: list[Line], before: list[Line]) -> str:
    """The difference over the seeds that both have."""
    both = [{line["key"]["seed"]: line["validation_accuracy"] for line in lines if "failed" not in line}
            for lines in (runs, before)]  # fmt: skip
    seeds = sorted(set(both[0]) & set(both[1]))
    if not seeds:
        return "no seed in common"
    gain, low, high = difference(*({"seeds": seeds, "accuracies": [of[seed] for seed in seeds]} for of in both))
    return f"{100 * gain:+.2f}" + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if len(seeds) > 1 else "")


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], minutes=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="CHANGE", help=f"some of them; {AS_IS!r} comes along")
    asked = parser.parse_args(argv)
    if asked.table:
        for path in filter(Path.exists, (REPORT, GPU_REPORT)):
            report = json.loads(path.read_text())
            write_report(path, report, page(report))
        return
    device, splits = device_here(), load()
    name = "smoke" if asked.smoke else budget(device)
    path, folder = GPU_REPORT if device.type == "cuda" else REPORT, asked.folder
    recipe, width = RECIPES[name], WIDTHS[name]
    if asked.smoke:
        splits, folder = few(splits), folder / "smoke"
        path = folder / "one_change.report.json"
    tried = changes(recipe, splits, teacher_of(recipe, width, splits, device))
    unknown = [change for change in asked.only or () if change not in tried]
    if unknown:
        parser.error(f"there is no change {unknown[0]!r}: choose from {', '.join(map(repr, tried))}")
    chosen = [change for change in tried if change == AS_IS or not asked.only or change in asked.only]
    keys = {name: {"recipe": {**asdict(change.recipe), "width": width}, **origin(splits, device)}
            for name, change in tried.items()}  # fmt: skip
    runs, deadline, longest = Runs(folder / "one_change.jsonl", asked.fresh), Deadline(asked.minutes), 0.0
    for seed, change in product(range(asked.seeds), chosen):
        key = {"change": change, "seed": seed, **keys[change]}
        if runs.find(key) is None and deadline.allows(1.2 * longest):
            print(f"{change}, seed {seed}")
            line = runs.add(key, run(tried[change], width, splits, seed, device))
            longest = max(longest, line.get("seconds", 0.0))
    order = json.loads(json.dumps([{"change": name, **key} for name, key in keys.items()]))  # as tuples are in a file
    by_seed = sorted(runs.lines, key=lambda line: line["key"]["seed"])
    done = [line for key in order for line in by_seed if {name: line["key"][name] for name in key} == key]
    if any(line["key"]["change"] == AS_IS for line in done):
        report = {**origin(splits, device), "recipe_name": name, "recipe": {**asdict(recipe), "width": width},
                  "runs": done, "date": max(line["date"] for line in done)}  # fmt: skip
        write_report(path, report, page(report))


if __name__ == "__main__":
    main()
