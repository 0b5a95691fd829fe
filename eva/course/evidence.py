"""The runs behind the course's comparisons: made once, kept in results/evidence.jsonl, read by notebooks and README.

make(...)                  # makes the runs that are missing; hours, and it goes on where it was stopped
answers("dilation")        # of each network: was it right, seed by seed and image by image
results("dilation")        # the table: price, accuracy, and the difference with its interval
"""

import hashlib
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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


def make(splits: Splits, device: torch.device, studies: Sequence[str] = tuple(STUDIES), path: Path = EVIDENCE) -> int:
    """Train every network of `studies` at each of its rates and then with each seed; returns how many runs were made.

    All are trained with one seed before any is with the next, so that what was stopped compares as far as it came.
    Finished runs are lines of `path`, and are not made again. Raises KeyboardInterrupt when it is stopped.
    """
    runs = Runs(path)
    before, best = len(runs.lines), {}
    for name in studies:
        for network in STUDIES[name].networks:
            each = {rate: _run(runs, splits, device, name, network, rate, CHOOSING) for rate in STUDIES[name].rates}
            best[name, network] = _best({rate: _accuracy(run) for rate, run in each.items()})
    for seed in range(max(STUDIES[name].seeds for name in studies)):
        for (name, network), rate in best.items():
            if seed < STUDIES[name].seeds:
                _run(runs, splits, device, name, network, rate, seed)
    return len(runs.lines) - before


def _key(study: Study, name: str, network: str, rate: float, seed: int, splits: Splits) -> Line:
    """What two runs must share to be the same: a network that was changed makes its runs anew."""
    with seeded(0, torch.device("cpu")):
        model = study.networks[network](classes=len(splits.classes))
    return {
        "study": name,
        "network": network,
        "plan": plan(model),
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "recipe": replace(study.recipe, learning_rate=rate).choices,
        "images": min(study.images if seed != CHOOSING else choosing_images(study), len(splits.train)),
        "seed": seed,
        "data": splits.name,
        "contents": splits.digest,
    }


def choosing_images(study: Study) -> int:
    return min(CHOOSING_IMAGES, study.images)


def plan(model: nn.Module) -> str:
    """A digest of a network's layers, by which one that was changed is known."""
    return hashlib.sha256(repr(model).encode()).hexdigest()[:12]


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
    """The peak learning rate of a run."""
    rate: float = line["key"]["recipe"].get("learning_rate", Recipe.learning_rate)  # where it is the default, left out
    return rate


def _accuracy(line: Line) -> float:
    accuracy: float = line.get("validation_accuracy", 0.0)  # it did not train
    return accuracy


def _best(tried: Mapping[float, float]) -> float:
    return max(tried, key=tried.__getitem__)


def _lines() -> list[Line]:
    return read_json(EVIDENCE)


@cache
def _plan(study: str, network: str) -> str:
    with seeded(0, torch.device("cpu")):
        return plan(STUDIES[study].networks[network]())


def _of_study(study: str, lines: Sequence[Line]) -> list[Line]:
    """The runs of a study on CIFAR-10, its networks, recipe and rates being what they are today; of one data set.

    Where there are runs on several (CIFAR-10 and a JPEG copy of it), those on the one with the most.
    """
    chosen, found = STUDIES[study], defaultdict[str, list[Line]](list)
    for line in lines:
        key = line["key"]
        if key["study"] == study and key["network"] in chosen.networks and key["data"].startswith("CIFAR-10"):
            recipe = replace(chosen.recipe, learning_rate=rate_of(line)).choices
            same = json.loads(json.dumps(recipe)) == key["recipe"] and key["plan"] == _plan(study, key["network"])
            same = same and rate_of(line) in chosen.rates
            if same and key["images"] == (chosen.images if key["seed"] != CHOOSING else choosing_images(chosen)):
                found[key["contents"]].append(line)
    return max(found.values(), key=len, default=[])


def of(study: str, lines: Sequence[Line] | None = None) -> dict[str, list[Line]]:
    """The runs that count of each network of a study, at its own best rate, in the order of their seeds.

    What an earlier version measured stays in the file, and does not mix. A seed counts where every network has a run of
    it: no network may be measured on easier seeds than another. Raises EvidenceError where no seed does.
    """
    every = _of_study(study, _lines() if lines is None else lines)
    best = _rates(study, every)
    found: dict[str, list[Line]] = {network: [] for network in STUDIES[study].networks}
    for line in every:
        network, seed = line["key"]["network"], line["key"]["seed"]
        if seed != CHOOSING and "failed" not in line and rate_of(line) == best.get(network):
            found[network].append(line)
    common = set.intersection(*({run["key"]["seed"] for run in runs} for runs in found.values()))
    if not common:
        told = ", ".join(f"{network!r} {len(runs)}" for network, runs in found.items())
        raise EvidenceError(f"{study!r} has no seed that all share, runs of each: {told}{_failed(every)}. "
                            f"Go on with: python -m eva evidence --only {study!r}")  # fmt: skip
    return {network: sorted((run for run in runs if run["key"]["seed"] in common), key=lambda run: run["key"]["seed"])
            for network, runs in found.items()}  # fmt: skip


def _failed(lines: Sequence[Line]) -> str:
    """Which networks did not train with some seed, in words: what is left out must be said."""
    counts = Counter(line["key"]["network"] for line in lines if "failed" in line and line["key"]["seed"] != CHOOSING)
    told = ", ".join(f"{network!r} {count}" for network, count in counts.items())
    return f"; runs that did not train: {told}" if told else ""


def _tried(study: str, every: Sequence[Line]) -> dict[str, dict[float, float]]:
    found: dict[str, dict[float, float]] = {network: {} for network in STUDIES[study].networks}
    for line in every:
        if line["key"]["seed"] == CHOOSING:
            found[line["key"]["network"]][rate_of(line)] = _accuracy(line)
    return {network: dict(sorted(rates.items())) for network, rates in found.items()}


def _rates(study: str, every: Sequence[Line]) -> dict[str, float]:
    return {network: _best(rates) for network, rates in _tried(study, every).items() if rates}


def tried(study: str) -> dict[str, dict[float, float]]:
    """How accurate each network of a study was at each rate tried, on a part of the images; 0 where it failed."""
    return _tried(study, _of_study(study, _lines()))


def rates(study: str) -> dict[str, float]:
    """The learning rate that was best for each network of a study. Raises EvidenceError where none was tried."""
    found = _rates(study, _of_study(study, _lines()))
    missing = [network for network in STUDIES[study].networks if network not in found]
    if missing:
        raise EvidenceError(f"no rate was tried for {missing[0]!r} of {study!r}: python -m eva evidence")
    return found


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
    machines = ", ".join(sorted({run["hardware"] for runs in found.values() for run in runs}))
    note = (
        f"{key['data']}, {key['images']:,} training images, {key['recipe']['epochs']} epochs, seeds "
        f"{', '.join(str(run['key']['seed']) for run in first)}; mean ± standard deviation. Each at the best of "
        f"{len(STUDIES[study].rates)} rates{_failed(_of_study(study, _lines()))}. {machines}."
    )
    return Table(titles, rows, note)


def said(difference: Difference | None) -> str:
    """A difference in words: what was found, or what is excluded."""
    if difference is None:
        return ""
    mean, low, high = (round(100 * value, 1) + 0.0 for value in (difference.mean, difference.low, difference.high))
    if math.isnan(difference.low):
        return f"{mean:+.1f} (one seed: no interval, no verdict)"
    told = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
    if difference.p < 0.05:
        return told
    corrected = "" if difference.low <= 0 <= difference.high else " after Holm's correction"
    return f"{told}: none found{corrected}; more than {100 * difference.excluded:.1f} is excluded"
