"""How to train: every choice of a run in one value, and the values that we measured."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from eva import augment
from eva.optimizers import muon


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum; the learning rate rises in a line, then falls to zero in a line or half a cosine.

    With `matrix_rate`, the convolutions inside of the network are moved by Muon at that rate (eva.optimizers).
    """

    epochs: int
    width: float  # of the Net that the other values were chosen for
    batch_size: int = 128
    learning_rate: float = 0.1  # at the peak
    warmup: float = 0.2  # share of all steps in which the rate rises
    decay: str = "linear"  # or "cosine"
    matrix_rate: float | None = None  # Muon's at the peak
    momentum: float = 0.9
    weight_decay: float = 5e-4  # on weights only: batch norm's scales and all biases are left alone
    label_smoothing: float = 0.1  # Szegedy et al. 2016
    ema: float | None = None  # a step's share of the past in a running average of the weights, e.g. 0.99
    sizes: tuple[int, ...] = (32,)  # pixels; spread over the epochs in equal parts
    augmentations: tuple[str, ...] = ("flip", "translate")  # of eva.augment.NAMED, in this order
    cpu_bfloat16: bool = False  # mixed precision on a processor that is made for it; on a GPU it is always on
    compiled: bool = False  # by torch.compile, which pays when the run is much longer than half a minute

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        if self.decay not in ("linear", "cosine"):
            raise ValueError(f'decay must be "linear" or "cosine", got {self.decay!r}')
        augment.named(self.augmentations)
        if self.compiled and len(set(self.sizes)) > 4:
            raise ValueError(
                f"compiled takes 4 sizes at most, got {self.sizes}: torch keeps 8 compiled networks, and each size "
                "needs two, since an epoch's last batch is smaller"
            )

    def size(self, epoch: int) -> int:
        """Pixels of the training images in `epoch`, which counts from 0."""
        return self.sizes[epoch * len(self.sizes) // self.epochs]

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of `step`, which counts from 0, of `steps`, as a share of the peak."""
        rising = max(1.0, self.warmup * steps)
        if step + 1 < rising:
            return (step + 1) / rising
        left = min(1.0, max(0.0, (steps - step) / max(1.0, steps - rising)))
        return left if self.decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)

    def optimizer(self, model: nn.Module) -> Optimizer:
        """What moves `model`'s parameters."""
        if self.matrix_rate is not None:
            return muon(model, self.learning_rate, self.matrix_rate, self.momentum, self.weight_decay)
        weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        groups = [{"params": weights, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        on_gpu = weights[0].is_cuda  # where the fused kernel also spares a wait for the gradient scaler, each step
        optimizer = SGD(
            groups, lr=self.learning_rate, momentum=self.momentum, nesterov=self.momentum > 0, fused=on_gpu or None
        )
        if on_gpu:  # or the first velocities are whatever the memory held, where the scaler skips the first step
            for parameter in (*weights, *others):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Cross-entropy with this recipe's label smoothing."""
        return partial(F.cross_entropy, label_smoothing=self.label_smoothing)


BUDGETS = ("smoke", "cpu", "gpu")  # what EVA_BUDGET may be, from seconds a notebook to the real run


class _Recipes(dict[str, Recipe]):
    def __missing__(self, name: str) -> Recipe:
        raise KeyError(f"there is no recipe {name!r}: choose one of {', '.join(map(repr, self))}")


RECIPES = _Recipes(
    {
        # 80 % on two cores in about two minutes (results/time_to_accuracy.md has the figures, one_change.md why).
        "cpu": Recipe(
            epochs=5,
            width=0.5,
            batch_size=64,
            matrix_rate=0.05,
            sizes=(16, 20, 24, 28, 32),
            cpu_bfloat16=True,
        ),
        # One GPU, well under a minute. Not measured on a GPU yet.
        "gpu": Recipe(epochs=40, width=1.0, batch_size=512, learning_rate=0.4),
        # One GPU, minutes: as accurate as fewer than a million parameters get. Not measured on a GPU yet.
        "best": Recipe(
            epochs=150,
            width=1.25,
            batch_size=512,
            learning_rate=0.4,
            decay="cosine",
            ema=0.999,
            augmentations=("flip", "translate", "cutout"),
            compiled=True,
        ),
        # Seconds, to see that everything works. Its accuracy means nothing.
        "smoke": Recipe(epochs=2, width=0.125, learning_rate=0.05, sizes=(16,)),
    }
)


def default_recipe(device: torch.device) -> str:
    """The name of the recipe to use where none is named: EVA_BUDGET where it is set, else what suits `device`.

    Raises ValueError where EVA_BUDGET is something else than a budget's name.
    """
    budget = os.environ.get("EVA_BUDGET") or ("cpu" if device.type == "cpu" else "gpu")
    if budget not in BUDGETS:
        raise ValueError(f"EVA_BUDGET must be one of {', '.join(BUDGETS)}, got {budget!r}")
    return budget
