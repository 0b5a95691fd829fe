"""Seconds of training to 70 % and 80 % validation accuracy: our recipe, and the course's own style, in one run.

    python benchmarks/time_to_accuracy.py --seeds 3 --minutes 40

Both train the same Net on the same images of `eva.data.load()`, and both are measured on the validation split after
each epoch; measuring, loading and starting are not counted. The course's style is what a first PyTorch tutorial does:
PyTorch's default memory layout, SGD 0.01 with momentum 0.9 and no schedule, batches of 128, RandomCrop and
RandomHorizontalFlip from torchvision in a DataLoader with two workers. It runs with the first seed only, and is given
up after `--minutes` of training. The test split is measured once a run of ours, at the end.

Writes results/time_to_accuracy.json and, from it, results/time_to_accuracy.md and the table in README.md; with --table
only the latter two, from the former as it is.
"""

import argparse
import json
import statistics
from datetime import date
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from eva.data import BatchLoader, Split, Splits, load, loaders
from eva.device import hardware
from eva.files import replace_section, replacing
from eva.measure import count_macs, count_parameters
from eva.model import Net
from eva.recipes import RECIPES
from eva.training import fit, test, train

ROOT = Path(__file__).parent.parent
REPORT, README = ROOT / "results" / "time_to_accuracy.json", ROOT / "README.md"
TARGETS = (0.70, 0.80)


class Transformed(Dataset):
    """A split as torchvision's own CIFAR10 would give it: a PIL image at a time, through transforms."""

    def __init__(self, split: Split, mean: list[float], std: list[float]) -> None:
        self.arrays, self.labels = split.images.permute(0, 2, 3, 1).numpy(), split.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.arrays[index]), self.labels[index]


def ours(splits: Splits, seed: int, device: torch.device) -> dict:
    recipe = RECIPES["cpu"]
    torch.manual_seed(seed)
    model = Net(width=recipe.width, classes=len(splits.classes))
    rows = fit(model, splits, recipe, device=device, seed=seed).rows
    tested = test(model, device, loaders(splits, device=device)[2])
    passed, seconds = [], 0.0
    for row in rows:
        seconds += row["seconds"]
        passed.append([round(seconds, 1), row["validation_accuracy"]])
    return {"style": "eva, recipe cpu", "seed": seed, "passed": passed, "test_accuracy": tested.accuracy}


def courses_own(splits: Splits, seed: int, device: torch.device, minutes: float) -> dict:
    torch.manual_seed(seed)
    model = Net(width=RECIPES["cpu"].width, classes=len(splits.classes)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    mean, std = splits.normalisation
    data = Transformed(splits.train, mean.tolist(), std.tolist())
    loader = DataLoader(data, batch_size=128, shuffle=True, num_workers=2)
    validation = BatchLoader(splits.validation, (mean, std), batch_size=500, device=device)
    passed, seconds, epoch = [], 0.0, 0
    while seconds < 60 * minutes and not (passed and passed[-1][1] >= max(TARGETS)):
        epoch += 1
        seconds += train(model, device, loader, optimizer, epoch).seconds
        passed.append([round(seconds, 1), test(model, device, validation).accuracy])
    return {"style": "the course's own", "seed": seed, "passed": passed, "given_up_after": 60 * minutes}


def seconds_to(target: float, run: dict) -> float | None:
    """Seconds of training after which `run` was first seen at `target`, or None."""
    return next((seconds for seconds, accuracy in run["passed"] if accuracy >= target), None)


def table(report: dict) -> str:
    """The report as Markdown."""
    lines = [
        f"# Time to accuracy: {report['data']}",
        "",
        f"Seconds of training until the validation split ({report['validation']:,} images) was first seen at the "
        "accuracy, measured after each epoch. "
        f"{report['network']}, {report['hardware']}, PyTorch {report['torch']}, {report['date']}. "
        "Made by `benchmarks/time_to_accuracy.py`, which says how.",
        "",
        "| style | seed | to 70 % | to 80 % | seconds in all | last validation accuracy | test accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in report["runs"]:
        last_seconds, last_accuracy = run["passed"][-1]
        reached = [seconds_to(target, run) for target in TARGETS]
        shown = " | ".join(f"> {last_seconds:.0f}" if seconds is None else f"{seconds:.0f}" for seconds in reached)
        tested = f"{run['test_accuracy']:.2%}" if "test_accuracy" in run else "-"
        lines.append(
            f"| {run['style']} | {run['seed']} | {shown} | {last_seconds:.0f} | {last_accuracy:.2%} | {tested} |"
        )
    mine = [run for run in report["runs"] if "test_accuracy" in run]
    theirs = [run for run in report["runs"] if "test_accuracy" not in run]
    accuracies = [run["test_accuracy"] for run in mine]
    spread = f", standard deviation {statistics.stdev(accuracies):.2%}" if len(accuracies) > 1 else ""
    lines += ["", f"- Mean test accuracy of {len(mine)} seeds: {statistics.mean(accuracies):.2%}{spread}."]
    for target in TARGETS:
        times = [seconds_to(target, run) for run in mine]
        if theirs and all(times):
            other = seconds_to(target, theirs[0])
            ratio = (other or theirs[0]["passed"][-1][0]) / statistics.median(times)
            lines.append(
                f"- To {target:.0%}: {'' if other else 'more than '}{ratio:.1f} times as fast (median of seeds)."
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=40, help="after which the course's style is given up")
    parser.add_argument("--table", action="store_true", help="measure nothing; write the tables anew")
    asked = parser.parse_args()
    if asked.table:
        write_tables(json.loads(REPORT.read_text()))
        return
    device = torch.device("cpu")
    splits = load()
    net = Net(width=RECIPES["cpu"].width, classes=len(splits.classes))
    report = {
        "data": splits.name,
        "validation": len(splits.validation),
        "network": f"Net(width={RECIPES['cpu'].width}), {count_parameters(net):,} parameters, {count_macs(net):,} MACs",
        "hardware": hardware(device),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "runs": [ours(splits, seed, device) for seed in range(asked.seeds)],
    }
    report["runs"].append(courses_own(splits, 0, device, asked.minutes))
    with replacing(REPORT, "w") as file:
        json.dump(report, file, indent=1)
    write_tables(report)


def write_tables(report: dict) -> None:
    """Write what people read: the page in results/, and its table into README.md."""
    page = table(report)
    print(page)
    with replacing(REPORT.with_suffix(".md"), "w") as file:
        file.write(page)
    replace_section(README, "time-to-accuracy", untitled(report))


def untitled(report: dict) -> str:
    """The page without its title, as README.md has it."""
    return table(report).split("\n", 2)[2].strip()


if __name__ == "__main__":
    main()
