"""The runs behind the course's comparisons: made once, kept in results/evidence.jsonl, read by notebooks and README.

make(...)                  # makes the runs that are missing; hours, and it goes on where it was stopped
answers("dilation")        # of each network: was it right, seed by seed and image by image
results("dilation")        # the table: price, accuracy, and the difference with its interval
"""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eva.course.comparison import Difference, differences, packed, unpacked
from eva.course.runs import Runs
from eva.course.studies import STUDIES, Study
from eva.data import BatchLoader, Splits
from eva.device import hardware, seeded
from eva.files import read_json
from eva.measure import count_macs, count_parameters
from eva.modules import evaluating
from eva.receptive_field import receptive_field
from eva.recipes import Recipe
from eva.table import Table
from eva.training import TrainingError, fit

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent.parent
_INSTALLED = _PACKAGE / "results" / "evidence.jsonl"
EVIDENCE = _INSTALLED if _INSTALLED.exists() else _PACKAGE.parent / "results" / "evidence.jsonl"
CHOOSING = 100  # the seed of the runs that choose a rate
CHOOSING_IMAGES = 10_000
Line = dict[str, Any]


class EvidenceError(ValueError):
    """What was asked for is not measured, or not so that it compares. The message says what to do."""


def make(splits: Splits, device: torch.device, studies: Iterable[str] = tuple(STUDIES), path: Path = EVIDENCE) -> int:
    """Train every network of `studies` at each of its rates and then with each seed; returns how many runs were made.

    All are trained with one seed before any is with the next, so that what was stopped compares as far as it came.
    Finished runs are lines of `path`, and are not made again. Raises KeyboardInterrupt when it is stopped.
    """
    runs = Runs(path)
    before, best = len(runs.lines), {}
    for name in studies:
        for network in STUDIES[name].networks:
            rates = STUDIES[name].rates
            tried = {rate: _run(runs, splits, device, name, network, rate, CHOOSING) for rate in rates}
            best[name, network] = max(rates, key=lambda rate: tried[rate].get("validation_accuracy", 0.0))
    for seed in range(max(STUDIES[name].seeds for name in studies)):
        for (name, network), rate in best.items():
            if seed < STUDIES[name].seeds:
                _run(runs, splits, device, name, network, rate, seed)
    return len(runs.lines) - before


def _key(study: Study, name: str, network: str, rate: float, seed: int, splits: Splits) -> Line:
    """What two runs must share to be the same. A network that was changed has other costs, and makes its runs anew."""
    with seeded(0, torch.device("cpu")):
        model = study.networks[network](classes=len(splits.classes))
    return {
        "study": name,
        "network": network,
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "recipe": replace(study.recipe, learning_rate=rate).choices,
        "images": min(study.images if seed != CHOOSING else CHOOSING_IMAGES, study.images, len(splits.train)),
        "seed": seed,
        "data": splits.name,
        "contents": splits.digest,
    }


def _run(runs: Runs, splits: Splits, device: torch.device, name: str, network: str, rate: float, seed: int) -> Line:
    study = STUDIES[name]
    key = _key(study, name, network, rate, seed, splits)
    found = runs.find(key)
    if found is not None:
        return found
    log.info("%s: %s, rate %g, seed %d", name, network, rate, seed)
    with seeded(seed, torch.device("cpu")):
        model = study.networks[network](classes=len(splits.classes))
        chosen = torch.randperm(len(splits.train))[: key["images"]]  # other images with each seed, where not all
    some = replace(splits, train=splits.train.take(chosen))
    recipe = replace(study.recipe, learning_rate=rate)
    try:
        history = fit(model, some, recipe, device=device, seed=seed)
    except TrainingError as error:
        return runs.add(key, {"failed": str(error)})
    if history.interrupted:
        raise KeyboardInterrupt  # half a run says nothing; those that are done are kept
    right = {which: _right(model, splits, which, device) for which in ("validation", "test")}
    measured = {
        "validation_accuracy": right["validation"].double().mean().item(),
        "training_accuracy": history.rows[-1]["train_accuracy"],
        "field": receptive_field(model).size[0],
        "hardware": hardware(device),
        "torch": torch.__version__,
    }
    if seed != CHOOSING:
        measured["test_accuracy"] = right["test"].double().mean().item()
        measured |= {"right": packed(right["validation"]), "validation_images": len(right["validation"])}
    return runs.add(key, measured)


@torch.no_grad()
def _right(model: nn.Module, splits: Splits, which: str, device: torch.device) -> Tensor:
    """Of each image of a split: was the network right? Bool (images,)."""
    loader = BatchLoader(getattr(splits, which), splits.normalisation, batch_size=500, device=device)
    with evaluating(model):
        return torch.cat([(model(images).argmax(1) == labels).cpu() for images, labels in loader])


def rate_of(line: Line) -> float:
    rate: float = line["key"]["recipe"].get("learning_rate", Recipe.learning_rate)
    return rate


def _lines() -> list[Line]:
    return read_json(EVIDENCE)


@cache
def _parameters(study: str, network: str) -> int:
    with seeded(0, torch.device("cpu")):
        return count_parameters(STUDIES[study].networks[network]())


def _of_study(study: str, lines: Sequence[Line]) -> Iterator[Line]:
    """The lines of a study's networks, as they and its recipe are today."""
    chosen = STUDIES[study]
    for line in lines:
        key = line["key"]
        if key["study"] == study and key["network"] in chosen.networks and key["data"].startswith("CIFAR-10"):
            recipe = replace(chosen.recipe, learning_rate=rate_of(line)).choices
            same = json.loads(json.dumps(recipe)) == key["recipe"]
            if same and key["parameters"] == _parameters(study, key["network"]):
                yield line


def of(study: str, lines: Sequence[Line] | None = None) -> dict[str, list[Line]]:
    """The runs on CIFAR-10 that count, of each network of a study in the order of their seeds.

    Of these networks and this recipe: what an earlier version measured stays in the file, and does not mix. A seed
    counts where every network has a run of it: no network may be measured on easier seeds than another. Raises
    EvidenceError where no seed does.
    """
    found: dict[str, list[Line]] = {network: [] for network in STUDIES[study].networks}
    for line in _of_study(study, _lines() if lines is None else lines):
        if line["key"]["seed"] != CHOOSING and "failed" not in line:
            found[line["key"]["network"]].append(line)
    common = set.intersection(*({run["key"]["seed"] for run in runs} for runs in found.values()))
    if not common:
        told = ", ".join(f"{network!r} {len(runs)}" for network, runs in found.items())
        raise EvidenceError(f"{study!r} has no seed that all share, runs of each: {told}. "
                            f"Go on with: python -m eva evidence --only {study!r}")  # fmt: skip
    return {network: sorted((run for run in runs if run["key"]["seed"] in common), key=lambda run: run["key"]["seed"])
            for network, runs in found.items()}  # fmt: skip


def rates(study: str) -> dict[str, float]:
    """The learning rate that was chosen for each network of a study."""
    return {network: rate_of(runs[0]) for network, runs in of(study).items()}


def tried(study: str) -> dict[str, dict[float, float]]:
    """How accurate each network of a study was at each rate tried, on a part of the images; 0 where it failed."""
    found: dict[str, dict[float, float]] = {network: {} for network in STUDIES[study].networks}
    for line in _of_study(study, _lines()):
        if line["key"]["seed"] == CHOOSING:
            found[line["key"]["network"]][rate_of(line)] = line.get("validation_accuracy", 0.0)
    return {network: dict(sorted(rates.items())) for network, rates in found.items()}


def accuracies(study: str) -> dict[str, list[float]]:
    """The validation accuracies of each network of a study, in the order of the seeds."""
    return {network: [run["validation_accuracy"] for run in runs] for network, runs in of(study).items()}


def prices(study: str) -> dict[str, str]:
    """What each network of a study costs, in words."""
    found = {network: runs[0]["key"] for network, runs in of(study).items()}
    return {network: f"{key['macs'] / 1e6:.1f} million MACs, {key['parameters']:,} parameters"
            for network, key in found.items()}  # fmt: skip


def answers(study: str) -> dict[str, Tensor]:
    """Of each network of a study: was it right? Bool (seeds, validation images)."""
    return {network: torch.stack([unpacked(run["right"], run["validation_images"]) for run in runs])
            for network, runs in of(study).items()}  # fmt: skip


def compared(study: str) -> dict[str, Difference]:
    """Each network of a study less the one that it compares with."""
    return differences(answers(study), STUDIES[study].against)


def results(study: str) -> Table:
    """One row per network: price, rate, accuracy, and the difference with its interval."""
    found, apart = of(study), compared(study)
    rows = []
    for network, runs in found.items():
        key, accuracies = runs[0]["key"], torch.tensor([run["validation_accuracy"] for run in runs])
        spread = f" ± {100 * accuracies.std():.1f}" if len(runs) > 1 else ""
        accuracy = f"{100 * accuracies.mean():.1f}{spread}"
        rows.append((network, f"{key['parameters']:,}", f"{key['macs'] / 1e6:.1f}", str(runs[0]["field"]),
                     f"{rate_of(runs[0]):g}", accuracy, said(apart.get(network))))  # fmt: skip
    first = next(iter(found.values()))
    titles = ("network", "parameters", "million MACs", "field (pixels)", "rate", "validation accuracy (%)",
              f"less {STUDIES[study].against!r} (points, 95 % interval)")  # fmt: skip
    key = first[0]["key"]
    note = (
        f"{key['data']}, {key['images']:,} training images, {key['recipe']['epochs']} epochs, seeds "
        f"{', '.join(str(run['key']['seed']) for run in first)}; mean ± standard deviation. Each at the best of three "
        f"rates. {', '.join(sorted({run['hardware'] for runs in found.values() for run in runs}))}."
    )
    return Table(titles, rows, note)


def page() -> str:
    """The tables of all studies that have runs to compare, as Markdown."""
    parts = []
    for study in STUDIES:
        try:
            parts.append(f"### {study.capitalize()}\n\n{results(study)}")
        except EvidenceError:  # not begun
            continue
    return "\n\n".join(parts) or "Nothing is measured yet: python -m eva evidence"


def said(difference: Difference | None) -> str:
    """A difference in words: what was found, or what is excluded."""
    if difference is None:
        return ""
    mean, low, high = (100 * value for value in (difference.mean, difference.low, difference.high))
    if math.isnan(difference.low):
        return f"{mean:+.1f} (one seed: no interval, no verdict)"
    told = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
    if difference.p < 0.05:
        return told
    return f"{told}: none found; more than {100 * difference.excluded:.1f} is excluded"
