"""How to train: every choice of a run in one value, and the values that we measured."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from eva import augment


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum; the learning rate rises in a line, then falls to zero in a line or half a cosine.

    With `matrix_rate`, the convolutions inside of the network are moved by Muon at that rate (eva.optimizers).
    """

    epochs: int
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
        for name, fits, must in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", self.learning_rate > 0, "positive"),
            ("matrix_rate", self.matrix_rate is None or self.matrix_rate > 0, "positive, or None"),
            ("warmup", 0 <= self.warmup <= 1, "a share of all steps, from 0 to 1"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("ema", self.ema is None or 0 < self.ema < 1, "between 0 and 1, or None"),
            ("sizes", len(self.sizes) > 0 and min(self.sizes) >= 1, "one or more numbers of pixels"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {must}, got {getattr(self, name)}")
        if self.decay not in ("linear", "cosine"):
            raise ValueError(f'decay must be "linear" or "cosine", got {self.decay!r}')
        augment.named(self.augmentations)
        if self.compiled and len(set(self.sizes)) > 3:
            raise ValueError(
                f"compiled takes 3 sizes at most, got {self.sizes}: torch keeps 8 compiled networks, and each size and "
                "validation need two, since an epoch's last batch is smaller"
            )

    def size(self, epoch: int) -> int:
        """Pixels of the training images in `epoch`, which counts from 0. The last epoch has the last size."""
        begun = -(-(epoch + 1) * len(self.sizes) // self.epochs)  # of the equal parts, by the end of this epoch
        return self.sizes[begun - 1]

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of `step`, which counts from 0, of `steps`, as a share of the peak."""
        warmup = max(1.0, self.warmup * steps)  # steps
        if step + 1 < warmup:
            return (step + 1) / warmup
        left = (steps - step) / max(1.0, steps - warmup)  # of the decay: from 1 to 0
        left = min(1.0, max(0.0, left))
        return left if self.decay == "linear" else (1 - math.cos(math.pi * left)) / 2

    @property
    def choices(self) -> dict[str, Any]:
        """By name, the values that are not the defaults. What was kept of a run stays its own as more fields come."""
        values = ((field, getattr(self, field.name)) for field in fields(self))
        return {field.name: value for field, value in values if value != field.default}

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Cross-entropy with this recipe's label smoothing."""
        return partial(F.cross_entropy, label_smoothing=self.label_smoothing)


class _Recipes(dict[str, Recipe]):
    def __missing__(self, name: str) -> Recipe:
        raise KeyError(f"there is no recipe {name!r}: choose one of {', '.join(map(repr, self))}")


RECIPES = _Recipes(
    {
        # 80 % on two cores in about two minutes (results/time_to_accuracy.md has the figures, one_change.md why).
        "cpu": Recipe(
            epochs=5,
            batch_size=64,
            matrix_rate=0.05,
            sizes=(16, 20, 24, 28, 32),
            cpu_bfloat16=True,
        ),
        # For two cores and patience: 95 minutes on one core with AVX-512 and bfloat16, longer without.
        "hour": Recipe(
            epochs=60,
            batch_size=64,
            matrix_rate=0.05,
            sizes=(20, 24, 28, 32),
            augmentations=("flip", "translate", "trivial", "cutout"),
            cpu_bfloat16=True,
        ),
        # One GPU, well under a minute. Not measured on a GPU yet.
        "gpu": Recipe(epochs=40, batch_size=512, learning_rate=0.4),
        # One GPU, minutes: stronger augmentation, averaged weights, nearly a million parameters. Not measured yet.
        "best": Recipe(
            epochs=150,
            batch_size=512,
            learning_rate=0.4,
            decay="cosine",
            ema=0.999,
            augmentations=("flip", "translate", "cutout"),
            compiled=True,
        ),
        # Seconds, to see that everything works. Its accuracy means nothing.
        "smoke": Recipe(epochs=2, learning_rate=0.05, sizes=(16,)),
    }
)

# The width of the Net that each recipe was chosen for: `Net(width=WIDTHS["cpu"])`.
WIDTHS = {"cpu": 0.5, "hour": 1.0, "gpu": 1.0, "best": 1.2, "smoke": 0.125}
