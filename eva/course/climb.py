"""Climb the ladder: train every step alike, by seed, and record what came of it. Goes on where it was stopped."""

import logging
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from eva.course import ledger
from eva.course.runs import Runs
from eva.data import Splits, loaders
from eva.device import hardware, memory_format, seeded
from eva.measure import count_macs, count_parameters, peak_memory
from eva.model import LADDER
from eva.modules import placed
from eva.precision import mixed_precision
from eva.receptive_field import receptive_field
from eva.recipes import Recipe
from eva.training import fit, test

log = logging.getLogger(__name__)

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Plan:
    """How much of a climb a budget affords."""

    recipe: Recipe
    images: int  # of the training split, at most
    seeds: int


# One rate for all steps, or they would not compare. On a quarter of the images (CIFAR-10, JPEG copy; 2 epochs, seed 0)
# plain convolutions were best at 0.02 and those with batch norm at 0.1: this lies between.
_RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=0.03, label_smoothing=0.0)
PLANS = {
    "smoke": Plan(replace(_RECIPE, epochs=1, learning_rate=0.003), images=500, seeds=2),
    "cpu": Plan(_RECIPE, images=45_000, seeds=3),
    "gpu": Plan(replace(_RECIPE, epochs=20), images=45_000, seeds=5),
}


def climb(
    splits: Splits,
    budget: str,
    device: torch.device,
    *,
    seeds: int | None = None,
    runs: Path,
    path: Path = ledger.LEDGER,
) -> dict[str, ledger.Line]:
    """Train every step of the LADDER at `budget` with seeds 0, 1, ... and record each in the ledger at `path`.

    `seeds` is how many, by default the budget's own. Each finished run is kept in the file `runs`, and is not made
    again; nor is a step that the ledger has, measured alike. Returns the ledger's line of each step.
    Raises what `fit` raises.
    """
    plan, revision = PLANS[budget], ledger.revision()
    numbers = list(range(seeds or plan.seeds))
    some = replace(splits, train=_every(splits, plan.images))
    kept = Runs(runs)
    for step in LADDER:
        known = ledger.latest(ledger.read(path), budget, splits.name).get(step)
        conditions = _conditions(step, some, budget, plan.recipe, device)
        if known and known["seeds"] == numbers and _alike(known, conditions):
            continue
        done = [_run(step, some, conditions, plan.recipe, device, seed, kept) for seed in numbers]
        ledger.record(
            path,
            **conditions,
            revision=revision,
            seeds=numbers,
            accuracies=[run["validation_accuracy"] for run in done],
            test_accuracies=[run["test_accuracy"] for run in done],
            seconds=statistics.median(run["seconds"] for run in done),
            peak_memory=_step_memory(step, plan.recipe.batch_size, device if device.type == "cuda" else _CPU),
        )
    return ledger.latest(ledger.read(path), budget, splits.name)


def _step_memory(step: str, batch_size: int, device: torch.device) -> int:
    """Bytes that one training step on a batch of 32x32 images takes at its peak, beyond the model's own.

    On a CUDA device or a CPU, where bytes can be counted; in the precision and memory format of `fit`, and with
    libraries' workspaces there before.
    """
    precision = mixed_precision(device)
    with seeded(0, device):
        model = placed(LADDER[step](), device)
    images = torch.zeros(batch_size, 3, 32, 32, device=device).to(memory_format=memory_format(device))
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)

    def work() -> None:
        with precision.autocast(device):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()

    with seeded(0, device):  # dropout draws
        work()
        model.zero_grad()
        return peak_memory(work, device)


def _every(splits: Splits, images: int) -> Any:
    """At most `images` of the training split, evenly spread: image folders are sorted by class."""
    step = -(-len(splits.train) // images)
    return splits.train.take(slice(None, None, step))


def _alike(line: ledger.Line, conditions: dict[str, Any]) -> bool:
    """Was this line measured under these conditions? Early lines do not say what was in the data."""
    splits = {"contents": conditions["splits"]["contents"], **line["splits"]}
    return all({**line, "splits": splits}[name] == value for name, value in conditions.items())


def _conditions(step: str, splits: Splits, budget: str, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """What must be alike for two lines, or two runs, to be of the same thing; and what follows from the step alone."""
    with seeded(0, device):
        model = LADDER[step](classes=len(splits.classes))
    described = {name: [*value] if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}
    return {
        "step": step,
        "data": splits.name,
        "splits": {
            **{name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
            "contents": splits.digest,
        },
        "budget": budget,
        "recipe": described,
        "hardware": hardware(device),
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "receptive_field": list(receptive_field(model).size),
    }


def _run(
    step: str, splits: Splits, conditions: dict[str, Any], recipe: Recipe, device: torch.device, seed: int, runs: Runs
) -> dict[str, Any]:
    """One training run, or what is kept of it."""
    key = {**conditions, "seed": seed}
    kept = runs.find(key)
    if kept is not None:
        return kept
    log.info("%s, seed %d", step, seed)
    with seeded(seed, device):
        model = LADDER[step](classes=len(splits.classes))
    history = fit(model, splits, recipe, device=device, seed=seed)
    if history.interrupted:
        raise KeyboardInterrupt  # half a run says nothing; those that are done are kept
    _, _, test_loader = loaders(splits, device=device)
    measured = {
        "validation_accuracy": history.rows[-1]["validation_accuracy"],
        "test_accuracy": test(model, device, test_loader, quiet=True).accuracy,
        "seconds": history.seconds,
    }
    return runs.add(key, measured)
