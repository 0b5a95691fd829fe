"""The command line: `python -m eva train`, `predict`, `data` and `ledger`. Each has --help."""

import argparse
import io
import json
import logging
import os
import shlex
import sys
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import numpy
import torch
import torchvision

from eva import checkpoint, data
from eva.budget import budget
from eva.course import ledger
from eva.course.climb import climb
from eva.course.evidence import EVIDENCE, make
from eva.course.studies import STUDIES
from eva.course.tables import ladder, table
from eva.course.worth import page, worth
from eva.device import default_device, hardware
from eva.files import replace_section, replacing
from eva.measure import count_macs, count_parameters
from eva.model import Net
from eva.recipes import RECIPES, WIDTHS, Recipe
from eva.training import MODEL_FILE, History, TrainingError, claimed, fit, test

RUNS = Path("runs")
REPORT_FILE = "report.json"  # written last: where it is, the run is finished


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0, 1 for an error that was explained, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names in other scripts than the terminal's: escaped, no traceback
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parsed = _parser().parse_args(arguments)
    parsed.words = sys.argv[1:] if arguments is None else arguments
    try:
        _budget()  # a misspelt EVA_BUDGET would otherwise be a silent download
        return parsed.run(parsed)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (data.DataError, checkpoint.CheckpointError, TrainingError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:  # a file that is missing or cannot be written
        print(f"error: {error}", file=sys.stderr)
    return 1


class UsageError(ValueError):
    """What was asked for on the command line cannot be done."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m eva", description="Train and use the network of the eva course.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("train", help="train Net; leave a folder with the model, its curves and a report")
    command.add_argument("--recipe", choices=sorted(RECIPES), help="default: EVA_BUDGET, else what suits the device")
    command.add_argument("--epochs", type=int, help="in place of the recipe's own number")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: the best there is")
    command.add_argument("--data", metavar="DIR", help="the images; default: EVA_DATA, the cache, a download")
    command.add_argument("--out", metavar="DIR", type=Path, help=f"default: a new folder in {RUNS}/")
    command.add_argument("--resume", action="store_true", help="go on with the run in --out, or the newest one")
    command.set_defaults(run=_train)

    command = commands.add_parser("predict", help="classify image files")
    command.add_argument("--model", metavar="FILE", help="a run's model.pt; default: the network that ships with eva")
    command.add_argument("images", nargs="+", metavar="IMAGE")
    command.set_defaults(run=_predict)

    command = commands.add_parser("data", help="find or fetch the data; say what and where")
    command.add_argument("--data", metavar="DIR", help="as for train")
    command.add_argument("--jpeg", metavar="DEST", help="write it as an image folder of JPEGs (quality 75, 4:2:0)")
    command.set_defaults(run=_data)

    command = commands.add_parser("evidence", help="make the runs behind the course's comparisons; goes on")
    command.add_argument("--only", nargs="+", choices=sorted(STUDIES), metavar="STUDY", help="some of them")
    command.add_argument("--device", help="as for train")
    command.add_argument("--data", metavar="DIR", help="as for train")
    command.set_defaults(run=_evidence)

    command = commands.add_parser("ledger", help="train every step of the ladder and record what came of it; goes on")
    command.add_argument("--seeds", type=int, help="how many; default: 3 on a CPU, 5 on a GPU")
    command.add_argument("--device", help="as for train")
    command.add_argument("--data", metavar="DIR", help="as for train")
    command.set_defaults(run=_ledger)
    return parser


def _train(asked: argparse.Namespace) -> int:
    device = _device(asked.device)
    name = asked.recipe or _budget(device)
    recipe = RECIPES[name]
    if asked.epochs is not None:
        if asked.epochs < 1:
            raise UsageError(f"--epochs must be at least 1, got {asked.epochs}")
        recipe = replace(recipe, epochs=asked.epochs)
    out = _run_folder(asked.out, asked.resume)
    with claimed(out, asked.resume):  # before the data is read: to be refused afterwards would be a waste
        return _train_in(out, asked, name, recipe, device)


def _train_in(out: Path, asked: argparse.Namespace, name: str, recipe: Recipe, device: torch.device) -> int:
    splits = data.load(asked.data)
    torch.manual_seed(asked.seed)
    model = Net(width=WIDTHS[name], classes=len(splits.classes))
    print(
        f"Net(width={WIDTHS[name]}), {count_parameters(model):,} parameters, on {splits.name} "
        f"({len(splits.train):,} training images), {device}, recipe {name!r}, {recipe.epochs} epochs"
    )
    finished = (out / MODEL_FILE).exists() and (out / REPORT_FILE).exists()
    history = fit(model, splits, recipe, device=device, seed=asked.seed, out=out, resume=asked.resume)
    if history.interrupted and not history.rows:
        print("Stopped before the first epoch was done: there is nothing to go on from.")
        return 130
    if history.interrupted:
        words = [word for word in asked.words if word != "--resume"]
        out_named = [] if any(word.startswith("--out") for word in words) else ["--out", str(out)]
        print(f"Stopped. Go on with: python -m eva {shlex.join([*words, *out_named, '--resume'])}")
        return 130
    if finished:
        _tell(json.loads((out / REPORT_FILE).read_text("utf-8")), out)
        return 0
    _, _, test_loader = data.loaders(splits, device=device)
    tested = test(model, device, test_loader, quiet=True)
    report = {
        "data": splits.name,
        "split_sizes": {which: len(getattr(splits, which)) for which in ("train", "validation", "test")},
        "network": model.arguments,
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "epochs": recipe.epochs,
        "seed": asked.seed,
        "seconds": round(history.seconds, 3),
        "validation_accuracy": history.rows[-1]["validation_accuracy"],
        "test_accuracy": tested.accuracy,
        "device": hardware(device),
        "versions": {package.__name__: str(package.__version__) for package in (torch, torchvision, numpy)},
        "recipe": {"name": name, **asdict(recipe)},
    }
    _finish(out, report, history)
    _tell(report, out)
    return 0


def _tell(report: dict, out: Path) -> None:
    print(
        f"test accuracy {report['test_accuracy']:.2%} on {report['data']} after {report['seconds']:.0f} s of training; "
        f"results in {out}/"
    )


def _finish(out: Path, report: dict, history: History) -> None:
    """Write what a reader of the run looks at first: the report, the curves, and the accuracy inside the model file."""
    saved = checkpoint.load(out / MODEL_FILE)
    accuracies = {key: report[key] for key in ("validation_accuracy", "test_accuracy")}
    checkpoint.save(replace(saved, results=accuracies), out / MODEL_FILE)
    try:
        from eva.plotting import curves
    except ModuleNotFoundError as error:
        print(f"no curves.png: {error.name} is not installed")
    else:
        with replacing(out / "curves.png") as file:
            curves(history.rows, f"{report['data']}, seed {report['seed']}").savefig(file, format="png", dpi=120)
    with replacing(out / REPORT_FILE, "w") as file:
        json.dump(report, file, indent=2)


def _predict(asked: argparse.Namespace) -> int:
    saved = checkpoint.load(asked.model) if asked.model else checkpoint.pretrained_card()
    model = checkpoint.restore(saved, asked.model or "the shipped network")
    pixels = torch.stack([torch.from_numpy(data.read_image(path)[0].copy()) for path in asked.images])
    normalisation = torch.tensor(saved.mean), torch.tensor(saved.std)
    with torch.no_grad():
        probabilities = model(data.normalised(pixels.permute(0, 3, 1, 2), normalisation)).softmax(1)
    for path, row in zip(asked.images, probabilities, strict=True):
        best = row.topk(min(3, len(row)))
        guesses = ", ".join(f"{saved.classes[i]} {p:.1%}" for p, i in zip(best.values, best.indices, strict=True))
        print(f"{path}: {guesses}")
    return 0


def _data(asked: argparse.Namespace) -> int:
    splits = data.load(asked.data)
    sizes = ", ".join(f"{which} {len(getattr(splits, which)):,}" for which in ("train", "validation", "test"))
    print(f"{splits.name} from {splits.source}: {sizes} images of {len(splits.classes)} classes")
    print(f"classes: {', '.join(splits.classes)}")
    if asked.jpeg:
        data.export_jpeg(splits, asked.jpeg)
        print(f"written as JPEGs to {asked.jpeg}: use it with EVA_DATA={asked.jpeg}")
    return 0


def _ledger(asked: argparse.Namespace) -> int:
    device = _device(asked.device)
    if asked.seeds is not None and asked.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {asked.seeds}")
    amount, runs, readme = _budget(device), RUNS / "ladder.jsonl", ledger.ROOT / "README.md"
    path = RUNS / "ladder-smoke.jsonl" if amount == "smoke" else ledger.LEDGER  # its accuracies mean nothing
    print(table(climb(data.load(asked.data), amount, device, seeds=asked.seeds, runs=runs, path=path)))
    lines = ledger.reference()
    if amount != "smoke" and readme.exists() and lines:  # a clone, where CIFAR-10 was climbed
        from eva.plotting import trade_offs

        replace_section(readme, "ladder", str(ladder()))
        with replacing(ledger.LEDGER.parent / "ladder.png") as file:
            trade_offs(lines, f"The ladder, {next(iter(lines.values()))['data']}").savefig(file, format="png", dpi=100)
    return 0


def _evidence(asked: argparse.Namespace) -> int:
    made = make(data.load(asked.data), _device(asked.device), asked.only or tuple(STUDIES), EVIDENCE)
    print(f"{made} runs made; all are in {EVIDENCE}")
    readme = EVIDENCE.parent.parent / "README.md"
    if readme.exists() and "<!--evidence-->" in readme.read_text("utf-8"):  # a clone
        replace_section(readme, "evidence", page())
        replace_section(readme, "worth", str(worth()))
    return 0


def _budget(device: torch.device | None = None) -> str:
    try:
        return budget(device)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _device(asked: str | None) -> torch.device:
    if asked is None:
        return default_device()
    try:
        device = torch.device(asked)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {asked} cannot be used here ({reason}): leave it out, or name cpu") from error
    return device


def _run_folder(out: Path | None, resume: bool) -> Path:
    """The folder that was named; or the newest run's, to resume it; or a new one that is this run's alone."""
    if out is not None:
        return out
    if resume:
        runs = sorted(RUNS.glob(f"*/{MODEL_FILE}"), key=os.path.getmtime)
        if runs:
            return runs[-1].parent
    stamp, number = f"{datetime.now():%Y-%m-%d-%H%M%S}", 1
    while True:
        folder = RUNS / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # of a run that began in the same second
            number += 1


if __name__ == "__main__":
    sys.exit(main())
