"""Net in three widths against published networks of fewer than a million parameters, at the same price.

    python -m benchmarks.accuracy_per_parameter --pace         # first, on a quiet machine: what an epoch of each takes
    python -m benchmarks.accuracy_per_parameter                # hours on two cores; it goes on where it was stopped
    python -m benchmarks.accuracy_per_parameter --minutes 9    # ends in time; call it until it says that all is done
    python -m benchmarks.accuracy_per_parameter --smoke        # seconds

The price is SECONDS of training. Each network is trained by our recipe and by its paper's way (benchmarks/ways.py), for
as many epochs as its price buys, one at least; the learning rate is chosen among half, once and twice the way's own, by
validation accuracy after a third of the price; then come the runs that count, one for each seed. The validation split
decides nothing in these, and the test split is measured once a run, at its end.

What an epoch takes is measured once, on one quiet machine, and kept: epochs follow from it. Accuracies do not depend on
what else a machine does, nor much on which it is, so the runs may be made wherever there is time, several at once with
`--only` and a `--folder` each. Each line says where it was made, and the page where the price was measured.

Finished runs are lines of results/accuracy_per_parameter.jsonl (of a GPU: accuracy_per_parameter_gpu.jsonl), and the
page beside it is made of them; a run that was stopped is a checkpoint in FOLDER/running, and goes on from there.
"""

import hashlib
import json
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, Deadline, Line, arguments, device_here, few, origin, spread
from benchmarks.networks import NETWORKS
from benchmarks.tta import accuracies
from benchmarks.ways import Way, ways
from eva.course.runs import Runs
from eva.data import Splits, load, loaders
from eva.files import read_json, replacing
from eva.measure import count_macs, count_parameters, latency, peak_memory
from eva.modules import placed
from eva.recipes import Recipe
from eva.table import Table
from eva.training import TrainingError, fit

REPORT, GPU_REPORT = (RESULTS / f"accuracy_per_parameter{where}.jsonl" for where in ("", "_gpu"))
SECONDS = {"cpu": 600, "cuda": 120}
COMPARED = [name for name in NETWORKS if name != "ResNet-18"]  # which has eleven million parameters
FASTER = (0.5, 1.0, 2.0)  # than the way's own learning rate
CHOOSING = 100  # the seed of the runs that choose it
SMOKE = ("Net, 0.1 M", "small airbench")


def network(name: str, splits: Splits) -> torch.nn.Module:
    return NETWORKS[name](classes=len(splits.classes))


def measured_pace(name: str, way: Way, splits: Splits, device: torch.device, steps: int) -> Line:
    """Seconds that an epoch takes at each size of the recipe, from `steps` steps, with what a prediction costs."""
    recipe = way.recipe
    part = replace(few(splits), train=splits.train.take(slice(steps * recipe.batch_size)))
    epochs = {}
    for size in sorted(set(recipe.sizes)):
        short = replace(recipe, epochs=3, sizes=(size,))
        rows = fit(network(name, splits), part, short, device=device, make_optimizer=way.make_optimizer).rows
        took = statistics.median(row["seconds"] for row in rows[1:])  # the first one warms up
        epochs[str(size)] = round(took * len(splits.train) / len(part.train), 2)
    model = placed(network(name, splits).eval(), device)
    one, many = (torch.rand(count, 3, 32, 32, device=device) for count in (1, 256))

    @torch.inference_mode()
    def predict() -> None:
        model(many)

    return {
        "epoch_seconds": epochs,
        "latency_1": latency(model, one, seconds=0.5),
        "latency_256": latency(model, many, seconds=2.0),
        "peak_memory": peak_memory(predict, device),
        **origin(splits, device),
        "threads": torch.get_num_threads(),
    }


def price(recipe: Recipe, epoch_seconds: dict[str, float]) -> float:
    """Seconds that all epochs of `recipe` take, where one takes `epoch_seconds` at each size."""
    return sum(epoch_seconds[str(recipe.size(epoch))] for epoch in range(recipe.epochs))


def bought(recipe: Recipe, epoch_seconds: dict[str, float], seconds: float) -> int:
    """The most epochs of `recipe` that take at most `seconds`; one where even that takes longer."""
    epochs = 1
    while price(replace(recipe, epochs=epochs + 1), epoch_seconds) <= seconds:
        epochs += 1
    return epochs


class OutOfTime(Exception):
    """The next epoch would end after the call's time: the checkpoint goes on in the next one."""


def trained(name: str, way: Way, recipe: Recipe, splits: Splits, seed: int, device: torch.device, folder: Path,
            deadline: Deadline) -> Line | None:  # fmt: skip
    """One run, measured; None where the time was over before it ended, and a checkpoint in `folder` goes on."""
    torch.manual_seed(seed)
    model = network(name, splits)
    try:
        history = fit(model, splits, recipe, device=device, seed=seed, out=folder, resume=True,
                      on_epoch=_stopping(deadline, recipe), make_optimizer=way.make_optimizer)  # fmt: skip
    except TrainingError as error:
        return {"failed": str(error)}
    except OutOfTime:
        return None
    if history.interrupted:
        raise KeyboardInterrupt
    measured: Line = {"validation_accuracy": history.rows[-1]["validation_accuracy"]}
    if seed != CHOOSING:
        measured["test_accuracy"] = accuracies(model, loaders(splits, device=device)[2])
    return measured


def _stopping(deadline: Deadline, recipe: Recipe) -> Callable[[list[dict[str, Any]]], None]:
    """What `fit` calls after each epoch: raises OutOfTime where the next epoch would end too late."""

    def check(rows: list[dict[str, Any]]) -> None:
        if len(rows) < recipe.epochs and not deadline.allows(1.5 * rows[-1]["seconds"] + 5):
            raise OutOfTime

    return check


class Comparison:
    """The lines that there are, and those that are made when they are asked for and there is time."""

    def __init__(
        self, splits: Splits, device: torch.device, runs: Runs, folder: Path, seconds: float, deadline: Deadline
    ) -> None:
        self.splits, self.device, self.runs, self.folder = splits, device, runs, folder
        self.seconds, self.deadline, self.over = seconds, deadline, False

    def base(self, name: str, way_name: str) -> Line:
        """What a line is of. A network or a way that was changed makes its runs anew."""
        way = ways(name)[way_name]
        recipe = {"kind": type(way.recipe).__name__, **way.recipe.choices}
        del recipe["epochs"]
        images = [len(part) for part in (self.splits.train, self.splits.validation, self.splits.test)]
        model = network(name, self.splits)
        return {"network": name, "parameters": count_parameters(model), "macs": count_macs(model), "way": way_name,
                "recipe": recipe, "optimizer": way.make_optimizer.__name__, "images": images,
                "data": self.splits.name}  # fmt: skip

    def pace(self, name: str, way_name: str, steps: int = 0) -> Line:
        """The pace of a network and way; where no line has it, `steps` steps measure it now, if there are any."""
        key = {"what": "pace", **self.base(name, way_name)}
        found = self.runs.find(key)
        if found is None and not steps:
            sys.exit(f"nobody has measured what an epoch of {name}, {way_name}, takes: call with --pace first")
        if found is None:
            print(f"pace of {name}, {way_name}", flush=True)
            found = self.runs.add(key, measured_pace(name, ways(name)[way_name], self.splits, self.device, steps))
        return found

    def run(self, name: str, way_name: str, seconds: float, faster: float, seed: int) -> Line | None:
        """The run of that price, rate and seed; None where there was no time for it."""
        way, paced = ways(name)[way_name], self.pace(name, way_name)
        recipe = way.at(bought(way.recipe, paced["epoch_seconds"], seconds), faster)
        key = {"what": "run", **self.base(name, way_name), "epochs": recipe.epochs, "faster": faster, "seed": seed}
        found = self.runs.find(key)
        if found is None and not self.over:
            if not self.deadline.allows(1.5 * max(paced["epoch_seconds"].values()) + 20):
                self.over = True
                return None
            print(f"{name}, {way_name}, {recipe.epochs} epochs, {faster} times its rate, seed {seed}", flush=True)
            running = self.folder / "running" / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
            measured = trained(name, way, recipe, self.splits, seed, self.device, running, self.deadline)
            if measured is None:
                self.over = True
                return None
            cost = {"price": round(price(recipe, paced["epoch_seconds"]), 1)}
            found = self.runs.add(key, {**measured, **cost, **origin(self.splits, self.device)})
            shutil.rmtree(running, ignore_errors=True)
        return found

    def chosen(self, name: str, way_name: str) -> float | None:
        """The rate that a third of the price chose, times the way's own; None where one is missing, or none trained."""
        tried = {faster: self.run(name, way_name, self.seconds / 3, faster, CHOOSING) for faster in FASTER}
        if any(run is None for run in tried.values()) or all("failed" in (run or {}) for run in tried.values()):
            return None
        return max(FASTER, key=lambda faster: (tried[faster] or {}).get("validation_accuracy", 0.0))

    def all(self, names: list[str], seeds: int) -> Iterator[tuple[str, str, list[Line], int]]:
        """Network, way, its finished runs and how many are missing. All first seeds come before the second ones."""
        pairs = [(name, way_name) for name in names for way_name in ways(name)]
        rates = {pair: self.chosen(*pair) for pair in pairs}
        found: dict[tuple[str, str], list[Line | None]] = {pair: [] for pair in pairs}
        for seed in range(seeds):
            for pair, faster in rates.items():
                found[pair].append(None if faster is None else self.run(*pair, self.seconds, faster, seed))
        for (name, way_name), runs in found.items():
            done = [run for run in runs if run is not None]
            yield name, way_name, done, len(runs) - len(done)


def page(lines: list[Line], seconds: float) -> str:
    """The lines as Markdown: a row for each network and way that has a run, in the order of test accuracy."""
    titles = ("network", "trained by", "parameters", "million MACs", "epochs", "seconds", "rate", "validation (%)",
              "test (%)", "test, mirror (%)", "latency, 1 image (ms)", "256 images (ms)", "memory, 256 images (MB)",
              "seeds")  # fmt: skip
    paces = {_of(line): line for line in lines if line["key"]["what"] == "pace"}  # the last one of each counts
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line["key"]["what"] == "run" and line["key"]["seed"] != CHOOSING and "failed" not in line:
            of_today = paces[_of(line)]["key"]  # what was measured of an earlier version stays in the file
            if all(line["key"][name] == value for name, value in of_today.items() if name != "what"):
                groups.setdefault(_of(line), []).append(line)
    rows = []
    for pair in sorted(groups, key=lambda pair: -statistics.mean(run["test_accuracy"]["none"] for run in groups[pair])):
        runs, paced = groups[pair], paces[pair]
        key = runs[0]["key"]
        tested = [spread([run["test_accuracy"][level] for run in runs]) for level in ("none", "mirror")]
        costs = (f"{1000 * paced['latency_1']:.1f}", f"{1000 * paced['latency_256']:.0f}",
                 f"{paced['peak_memory'] / 1e6:.0f}")  # fmt: skip
        rows.append(
            (*pair, f"{key['parameters']:,}", f"{key['macs'] / 1e6:.1f}", str(key["epochs"]), f"{runs[0]['price']:.0f}",
             _rate(key["faster"]),
             spread([run["validation_accuracy"] for run in runs]), *tested, *costs,
             ", ".join(str(run["key"]["seed"]) for run in runs))
        )  # fmt: skip
    return f"# Accuracy at the same price\n\n{Table(titles, rows, _note(lines, seconds))}\n"


def _rate(faster: float) -> str:
    edge = {min(FASTER): ", the lowest tried", max(FASTER): ", the highest tried"}.get(faster, "")
    return f"x {faster:g}{edge}"


def _of(line: Line) -> tuple[str, str]:
    return line["key"]["network"], line["key"]["way"]


def _note(lines: list[Line], seconds: float) -> str:
    def told(what: str, field: str) -> str:
        return ", ".join(sorted({line[field] for line in lines if line["key"]["what"] == what}))

    failed = "".join(
        f" {' '.join(_of(line))}, rate x {line['key']['faster']:g}, seed {line['key']['seed']}, did not train: "
        f"{line['failed']}."
        for line in lines
        if "failed" in line
    )
    return (
        f"{told('pace', 'data')}. Each for at most {seconds} seconds of training, and one epoch at least, on "
        f"{told('pace', 'hardware')}, by the pace measured there, with latencies and memory; the runs were made on "
        f"{told('run', 'hardware') or 'nothing yet'}. "
        f"The rate is a multiple of the way's own, chosen among three on a third of the price. Accuracies: mean ± "
        f"standard deviation of the seeds; the test split was measured once a run. PyTorch {told('pace', 'torch')}, "
        f"{max(line['date'] for line in lines)}. Made by `benchmarks/accuracy_per_parameter.py`, which says how."
        f"{failed}"
    )


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], minutes=1e6)
    parser.add_argument("--pace", action="store_true", help="measure what an epoch of each takes, and nothing else")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=COMPARED, metavar="NETWORK", help="some of them")
    asked = parser.parse_args(argv)
    device = device_here()
    path, seconds, names = GPU_REPORT if device.type == "cuda" else REPORT, SECONDS[device.type], asked.only or COMPARED
    splits, folder = None if asked.table else load(), asked.folder
    if asked.smoke and splits:
        splits, seconds, names, folder = few(splits), 0.3, list(SMOKE), folder / "smoke"
        path = folder / REPORT.name
    runs = Runs(path, asked.fresh)
    if splits:
        comparison = Comparison(splits, device, runs, folder, seconds, Deadline(asked.minutes))
        if asked.pace or asked.smoke:
            for name in names:
                for way_name in ways(name):
                    comparison.pace(name, way_name, steps=1 if asked.smoke else 20)
        if not asked.pace:
            missing = sum(left for *_, left in comparison.all(names, asked.seeds))
            print(f"{missing} runs are still to be made: call this again" if missing else "all runs are done")
    lines = read_json(path)  # with those of calls that went on beside this one
    if not lines:
        sys.exit(f"{path} has no lines: nothing is measured yet")
    text = page(lines, seconds)
    print(text)
    with replacing(path.with_suffix(".md"), "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
