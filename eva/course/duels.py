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
EPOCHS = {"smoke": 0.0, "cpu": 1 / 3, "gpu": 1.0}  # of the study's; one at least


def duel(study: str, splits: Splits, device: torch.device, *, seed: int = 0) -> dict[str, float]:
    """Train each network of a study once, at the rate that its reference runs chose; returns validation accuracies.

    On as many images and for as many epochs as the budget says; on a GPU, as in the reference. Raises EvidenceError
    where no rate was chosen, TrainingError where a network does not train, and KeyboardInterrupt when it is stopped.
    """
    best, chosen, found = rates(study), STUDIES[study], {}
    count = min(IMAGES[budget()], chosen.images)
    images = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))[:count]
    few = replace(splits, train=splits.train.take(images))
    epochs = max(1, round(EPOCHS[budget()] * chosen.recipe.epochs))
    for network, make in chosen.networks.items():
        print(network)
        recipe = replace(chosen.recipe, epochs=epochs, learning_rate=best[network])
        with seeded(seed, torch.device("cpu")):
            model = make(classes=len(splits.classes))
        history = fit(model, few, recipe, device=device, seed=seed)
        if history.interrupted:
            raise KeyboardInterrupt  # half a run says nothing
        found[network] = history.rows[-1]["validation_accuracy"]
    return found
