"""The learner's short version of a study: its networks, each trained once on few images, in a minute or two."""

from dataclasses import replace

import torch

from eva.budget import budget
from eva.course.evidence import rates
from eva.course.studies import STUDIES
from eva.data import Splits
from eva.device import seeded
from eva.training import fit

IMAGES = {"smoke": 128, "cpu": 8_000, "gpu": 45_000}
EPOCHS = {"smoke": 1, "cpu": 2, "gpu": 6}


def duel(study: str, splits: Splits, device: torch.device, *, seed: int = 0) -> dict[str, float]:
    """Train each network of a study once, at the rate that its reference runs chose; returns validation accuracies.

    On a part of the images and for fewer epochs than these, as the budget says.
    """
    best, found = rates(study), {}
    images = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))[: IMAGES[budget()]]
    few = replace(splits, train=splits.train.take(images))
    for network, make in STUDIES[study].networks.items():
        print(network)
        recipe = replace(STUDIES[study].recipe, epochs=EPOCHS[budget()], learning_rate=best[network])
        with seeded(seed, torch.device("cpu")):
            model = make(classes=len(splits.classes))
        rows = fit(model, few, recipe, device=device, seed=seed).rows
        found[network] = rows[-1]["validation_accuracy"]
    return found
