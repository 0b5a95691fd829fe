"""Net in three widths against published networks of fewer than a million parameters, at the same price.

    python -m benchmarks.accuracy_per_parameter --pace         # first, on a quiet machine: what an epoch of each takes
    python -m benchmarks.accuracy_per_parameter                # hours on two cores; it goes on where it was stopped
    python -m benchmarks.accuracy_per_parameter --minutes 9    # ends in time; call it until it says that all is done
    python -m benchmarks.accuracy_per_parameter --smoke        # seconds

The price is SECONDS of training. Each network is trained by our recipe and by its paper's way (benchmarks/ways.py), for
as many epochs as its price buys; the learning rate is chosen among half, once and twice the way's own, by validation
accuracy after a third of the price; then come the runs that count, one for each seed. The validation split decides
nothing in these, and the test split is measured once a run, at its end.

What an epoch takes is measured once, on one machine, and kept: epochs follow from it. Accuracies do not depend on what
else a machine does, nor much on which it is, so the runs may be made wherever there is time, several at once with
`--only` and a `--folder` each. Each line says where it was made, and the page where the price was measured.

Finished runs are lines of results/accuracy_per_parameter.jsonl (of a GPU: accuracy_per_parameter_gpu.jsonl), and the
page beside it is made of them; the run in hand is a checkpoint in FOLDER/running.
"""

import json
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, Deadline, Line, arguments, device_here, few, origin, spread
from benchmarks.networks import NETWORKS
from benchmarks.tta import accuracies
from benchmarks.ways import Way, ways
from eva.course.runs import Runs
from eva.data import Splits, load, loaders
from eva.files import replacing
from eva.measure import count_macs, count_parameters, latency, peak_memory
from eva.modules import placed
from eva.recipes import Recipe
from eva.table import Table
from eva.training import METRICS_FILE, MODEL_FILE, TrainingError, fit

REPORT, GPU_REPORT = (RESULTS / f"accuracy_per_parameter{where}.jsonl" for where in ("", "_gpu"))
SECONDS = {"cpu": 600, "cuda": 120}
COMPARED = [name for name in NETWORKS if name != "ResNet-18"]  # which has eleven million parameters
FASTER = (0.5, 1.0, 2.0)  # than the way's own learning rate
CHOOSING = 100  # the seed of the runs that choose it
SMOKE = ("Net, 0.1 M", "small airbench")


def network(name: str, splits: Splits) -> torch.nn.Module:
    return NETWORKS[name](classes=len(splits.classes))


def pace(name: str, way: Way, splits: Splits, device: torch.device, steps: int) -> Line:
    """Seconds that an epoch takes at each size of the recipe, from `steps` steps, with what a prediction costs."""
    recipe = way.recipe
    part = replace(few(splits), train=splits.train.take(slice(steps * recipe.batch_size)))
    epochs = {}
    for size in sorted(set(recipe.sizes)):
        short = replace(recipe, epochs=4, sizes=(size,))
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
        "macs": count_macs(model),
        "latency_1": latency(model, one, seconds=0.5),
        "latency_256": latency(model, many, seconds=2.0),
        "peak_memory": peak_memory(predict, device),
        **origin(splits, device),
        "threads": torch.get_num_threads(),
    }


def bought(recipe: Recipe, epoch_seconds: dict[str, float], seconds: float) -> int:
    """The most epochs of `recipe` that take at most `seconds`; one where even that takes longer."""

    def price(epochs: int) -> float:
        asked = replace(recipe, epochs=epochs)
        return sum(epoch_seconds[str(asked.size(epoch))] for epoch in range(epochs))

    epochs = 1
    while price(epochs + 1) <= seconds:
        epochs += 1
    return epochs


def trained(name: str, way: Way, recipe: Recipe, splits: Splits, seed: int, device: torch.device, folder: Path,
            deadline: Deadline) -> Line | None:  # fmt: skip
    """One run, measured; None where the time was over before it ended, and a checkpoint in `folder` goes on."""
    torch.manual_seed(seed)
    model = network(name, splits)
    try:
        rows = fit(model, splits, recipe, device=device, seed=seed, out=folder, resume=True,
                   on_epoch=_stopping(deadline, recipe), make_optimizer=way.make_optimizer).rows  # fmt: skip
    except TrainingError as error:
        return {"failed": str(error)}
    if len(rows) < recipe.epochs:
        return None
    measured = {"validation_accuracy": rows[-1]["validation_accuracy"]}
    if seed != CHOOSING:
        measured["test_accuracy"] = accuracies(model, loaders(splits, device=device)[2])
    return measured


def _stopping(deadline: Deadline, recipe: Recipe) -> Callable[[list[dict[str, Any]]], None]:
    """What `fit` calls after each epoch: stops it, as Ctrl-C does, where the next epoch would end too late."""

    def check(rows: list[dict[str, Any]]) -> None:
        if len(rows) < recipe.epochs and not deadline.allows(1.5 * rows[-1]["seconds"] + 5):
            raise KeyboardInterrupt

    return check


class Comparison:
    """The lines that there are, and those that are made when they are asked for and there is time."""

    def __init__(
        self, splits: Splits, device: torch.device, runs: Runs, folder: Path, seconds: float, deadline: Deadline
    ) -> None:
        self.splits, self.device, self.runs, self.folder = splits, device, runs, folder
        self.seconds, self.deadline = seconds, deadline

    def base(self, name: str, way_name: str) -> Line:
        """What a line is of. A network or a way that was changed makes its runs anew."""
        way = ways(name)[way_name]
        recipe = {"kind": type(way.recipe).__name__, **asdict(way.recipe)}
        del recipe["epochs"]
        images = [len(part) for part in (self.splits.train, self.splits.validation, self.splits.test)]
        parameters = count_parameters(network(name, self.splits))
        return {"network": name, "parameters": parameters, "way": way_name, "recipe": recipe, "images": images,
                "data": self.splits.name}  # fmt: skip

    def pace(self, name: str, way_name: str, steps: int = 40) -> Line:
        """The pace of a network and way, measured now where no line has it."""
        key = {"what": "pace", **self.base(name, way_name)}
        found = self.runs.find(key)
        if found is None:
            print(f"pace of {name}, {way_name}", flush=True)
            found = self.runs.add(key, pace(name, ways(name)[way_name], self.splits, self.device, steps))
        return found

    def run(self, name: str, way_name: str, seconds: float, faster: float, seed: int) -> Line | None:
        """The run of that price, rate and seed; None where there was no time for it."""
        way, paced = ways(name)[way_name], self.pace(name, way_name)
        recipe = way.at(bought(way.recipe, paced["epoch_seconds"], seconds), faster)
        key = {"what": "run", **self.base(name, way_name), "epochs": recipe.epochs, "faster": faster, "seed": seed}
        found = self.runs.find(key)
        if found is None and self.deadline.allows(20):
            print(f"{name}, {way_name}, {recipe.epochs} epochs, {faster} times its rate, seed {seed}", flush=True)
            running = prepared(self.folder / "running", key)
            measured = trained(name, way, recipe, self.splits, seed, self.device, running, self.deadline)
            if measured is not None:
                found = self.runs.add(key, {**measured, **origin(self.splits, self.device)})
                shutil.rmtree(running)
        return found

    def chosen(self, name: str, way_name: str) -> float | None:
        """The rate that a third of the price chose, as a multiple of the way's own; None where runs are missing."""
        tried = {faster: self.run(name, way_name, self.seconds / 3, faster, CHOOSING) for faster in FASTER}
        if any(run is None for run in tried.values()):
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


def prepared(folder: Path, key: Line) -> Path:
    """`folder`, emptied where it holds the checkpoint of another run."""
    note = folder / "key.json"
    if note.exists() and json.loads(note.read_text()) != json.loads(json.dumps(key)):
        for name in (MODEL_FILE, METRICS_FILE):
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(key))
    return folder


def page(lines: list[Line], seconds: float) -> str:
    """The lines as Markdown: a row for each network and way that has a run, in the order of test accuracy."""
    titles = ("network", "trained by", "parameters", "million MACs", "epochs", "rate", "validation (%)", "test (%)",
              "test, mirror (%)", "latency, 1 image (ms)", "256 images (ms)", "memory, 256 images (MB)",
              "seeds")  # fmt: skip
    paces = {_of(line): line for line in lines if line["key"]["what"] == "pace"}
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line["key"]["what"] == "run" and line["key"]["seed"] != CHOOSING and "failed" not in line:
            groups.setdefault(_of(line), []).append(line)
    rows = []
    for pair in sorted(groups, key=lambda pair: -statistics.mean(run["test_accuracy"]["none"] for run in groups[pair])):
        runs, paced = groups[pair], paces[pair]
        key = runs[0]["key"]
        tested = [spread([run["test_accuracy"][level] for run in runs]) for level in ("none", "mirror")]
        costs = (f"{1000 * paced['latency_1']:.1f}", f"{1000 * paced['latency_256']:.0f}",
                 f"{paced['peak_memory'] / 1e6:.0f}")  # fmt: skip
        rows.append(
            (*pair, f"{key['parameters']:,}", f"{paced['macs'] / 1e6:.1f}", str(key["epochs"]), f"x {key['faster']:g}",
             spread([run["validation_accuracy"] for run in runs]), *tested, *costs,
             ", ".join(str(run["key"]["seed"]) for run in runs))
        )  # fmt: skip
    return f"# Accuracy at the same price\n\n{Table(titles, rows, _note(lines, seconds))}\n"


def _of(line: Line) -> tuple[str, str]:
    return line["key"]["network"], line["key"]["way"]


def _note(lines: list[Line], seconds: float) -> str:
    def told(what: str, field: str) -> str:
        return ", ".join(sorted({line[field] for line in lines if line["key"]["what"] == what}))

    failed = "".join(
        f" {' '.join(_of(line))}, seed {line['key']['seed']}, did not train: {line['failed']}."
        for line in lines
        if "failed" in line
    )
    return (
        f"{told('pace', 'data')}. Each for {seconds} seconds of training on {told('pace', 'hardware')}, by the pace "
        f"measured there, with latencies and memory; the runs were made on {told('run', 'hardware') or 'nothing yet'}. "
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
        for name in names:
            for way_name in ways(name):
                comparison.pace(name, way_name, steps=1 if asked.smoke else 40)
        if not asked.pace:
            missing = sum(left for *_, left in comparison.all(names, asked.seeds))
            print(f"{missing} runs are still to be made: call this again" if missing else "all runs are done")
    text = page(runs.lines, seconds)
    print(text)
    with replacing(path.with_suffix(".md"), "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
