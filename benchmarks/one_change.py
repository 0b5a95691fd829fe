"""What helps? Our recipe with one thing changed, beside the recipe as it is; same seeds, same images, one machine.

    python -m benchmarks.one_change --seeds 2                      # every change, from the recipe that suits the device
    python -m benchmarks.one_change --only "Muon inside" "no label smoothing"

Judged on the validation split; the test split is not touched. A call goes on where the last one stopped: finished runs
are lines of FOLDER/one_change.jsonl. Writes results/one_change.json and .md: what did not help has its row too.
"""

import json
from dataclasses import asdict, replace
from itertools import product

import torch

from benchmarks.common import RESULTS, Deadline, Line, Runs, arguments, device_here, few, origin, spread, write_report
from eva.data import Splits, load
from eva.ledger import difference
from eva.model import Net
from eva.recipes import RECIPES, Recipe, default_recipe
from eva.table import Table
from eva.training import TrainingError, fit

REPORT = RESULTS / "one_change.json"
AS_IS = "the recipe"


def changes(recipe: Recipe) -> dict[str, Recipe]:
    """What was tried, by what is said of it. Where the idea comes from: results/README.md and notebook 11."""
    flip, more = ("flip",), (*recipe.augmentations, "cutout")
    tried = {
        AS_IS: {},
        "SGD alone" if recipe.matrix_rate else "Muon inside": {"matrix_rate": None if recipe.matrix_rate else 0.05},
        "half the learning rate": {"learning_rate": recipe.learning_rate / 2},
        "no label smoothing": {"label_smoothing": 0.0},
        "label smoothing 0.2": {"label_smoothing": 0.2},
        "half a cosine": {"decay": "cosine"},
        "averaged weights (0.99)": {"ema": 0.99},
        "no translation": {"augmentations": flip},
        "cutout": {"augmentations": more},
        "batches twice as large": {"batch_size": 2 * recipe.batch_size},
    }
    if len(recipe.sizes) > 1:
        # As many pixels in all: full size from the start, in fewer epochs.
        pixels = sum(recipe.size(epoch) ** 2 for epoch in range(recipe.epochs))
        tried["full size throughout"] = {"sizes": (32,), "epochs": max(1, round(pixels / 32**2))}
    return {name: replace(recipe, **values) for name, values in tried.items()}


def run(recipe: Recipe, splits: Splits, seed: int, device: torch.device) -> Line:
    torch.manual_seed(seed)
    model = Net(width=recipe.width, classes=len(splits.classes))
    try:
        rows = fit(model, splits, recipe, device=device, seed=seed).rows
    except TrainingError as error:
        return {"failed": str(error)}
    seconds = sum(row["seconds"] for row in rows)
    return {"validation_accuracy": rows[-1]["validation_accuracy"], "seconds": round(seconds, 1)}


def page(report: Line) -> str:
    """A row a change: its accuracy, and the difference to the recipe as it is, paired by seed."""
    found: dict[str, list[Line]] = {}
    for line in report["runs"]:
        found.setdefault(line["key"]["change"], []).append(line)
    rows = []
    for name, runs in found.items():
        good = [line for line in runs if "failed" not in line]
        if not good:
            rows.append((name, "did not train", "", "", str(len(runs))))
            continue
        change = "" if name == AS_IS else _change(good, found[AS_IS])
        seconds = sum(line["seconds"] for line in good) / len(good)
        rows.append((name, spread([line["validation_accuracy"] for line in good]), change, f"{seconds:.0f}",
                     ", ".join(str(line["key"]["seed"]) for line in good)))  # fmt: skip
    titles = ("changed", "validation accuracy (%)", "difference (points, 95 % interval)", "training (s)", "seeds")
    note = (
        f"{report['data']}, {report['hardware']}, PyTorch {report['torch']}, {report['date']}; "
        f"recipe {report['recipe_name']!r}: {report['recipe']['epochs']} epochs of "
        f"Net(width={report['recipe']['width']}). Chosen on validation: one accuracy of 5,000 images carries half "
        "a point of sampling error. Seconds: other work may have gone on."
    )
    return f"# One change at a time\n\n{Table(titles, rows, note)}\n"


def _change(runs: list[Line], before: list[Line]) -> str:
    """The difference over the seeds that both have."""
    both = [{line["key"]["seed"]: line["validation_accuracy"] for line in lines if "failed" not in line}
            for lines in (runs, before)]  # fmt: skip
    seeds = sorted(set(both[0]) & set(both[1]))
    if not seeds:
        return "no seed in common"
    mean, low, high = difference(*({"seeds": seeds, "accuracies": [of[seed] for seed in seeds]} for of in both))
    return f"{100 * mean:+.2f}" + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if len(seeds) > 1 else "")


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], minutes=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="CHANGE", help=f"some of them; {AS_IS!r} comes along")
    asked = parser.parse_args(argv)
    if asked.table:
        report = json.loads(REPORT.read_text())
        write_report(REPORT, report, page(report))
        return
    device, splits = device_here(), load()
    name = "smoke" if asked.smoke else default_recipe(device)
    recipe, path, folder = RECIPES[name], REPORT, asked.folder
    if asked.smoke:
        splits, folder = few(splits), folder / "smoke"
        path = folder / "one_change.report.json"
    tried = changes(recipe)
    unknown = [change for change in asked.only or () if change not in tried]
    if unknown:
        parser.error(f"there is no change {unknown[0]!r}: choose from {', '.join(map(repr, tried))}")
    chosen = [change for change in tried if change == AS_IS or not asked.only or change in asked.only]
    runs, deadline, longest = Runs(folder / "one_change.jsonl", asked.fresh), Deadline(asked.minutes), 0.0
    for seed, change in product(range(asked.seeds), chosen):
        key = {"change": change, "seed": seed, "recipe": asdict(tried[change]), **origin(splits, device)}
        if runs.find(key) is None and deadline.allows(1.2 * longest):
            print(f"{change}, seed {seed}")
            line = runs.add(key, run(tried[change], splits, seed, device))
            longest = max(longest, line.get("seconds", 0.0))
    plain = json.loads(json.dumps([{**origin(splits, device), "recipe": asdict(one)} for one in tried.values()]))
    done = [line for line in runs.lines if {k: line["key"][k] for k in plain[0]} in plain]
    if any(line["key"]["change"] == AS_IS for line in done):
        report = {**origin(splits, device), "recipe_name": name, "recipe": asdict(recipe), "runs": done,
                  "date": max(line["date"] for line in done)}  # fmt: skip
        write_report(path, report, page(report))


if __name__ == "__main__":
    main()
