"""How the networks of benchmarks/networks.py are trained: by our recipe, and by their papers' ways.

A way is a recipe whose epochs are still open: they are as many as its price buys. Of a paper's way we take optimizer,
the shape of the schedule, stretched over the run, weight decay and label smoothing. Otherwise than in the papers,
images are flipped and shifted by two pixels, with TrivialAugment where theirs is RandAugment; batches have 64 to 256
images, or a run this short would have few steps; the separable ResNet, which has no paper, is trained as He et al.
train theirs. The learning rate is chosen for each (benchmarks/accuracy_per_parameter.py): the papers' own are where the
choice begins.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn
from torch.optim import AdamW, Optimizer, RMSprop

from eva.optimizers import optimizer_for
from eva.recipes import Recipe

OURS = "our recipe"
PAPER = "its paper's way"


class InSteps(Recipe):
    """The rate falls to a tenth after half of the steps and to a hundredth after three quarters (He et al. 2015)."""

    def rate(self, step: int, steps: int) -> float:
        return 1.0 if step < steps / 2 else 0.1 if step < 3 * steps / 4 else 0.01


class Geometric(Recipe):
    """The rate falls by the same factor each step, to a 500th: 0.98 an epoch, for 300 (Sandler et al. 2018)."""

    def rate(self, step: int, steps: int) -> float:
        return 500.0 ** -(step / steps)


@dataclass(frozen=True)
class Way:
    """A recipe, its epochs open, and what makes the optimizer of the model and it."""

    recipe: Recipe
    make_optimizer: Callable[[nn.Module, Recipe], Optimizer] = optimizer_for

    def at(self, epochs: int, faster: float) -> Recipe:
        """The recipe with so many epochs, and its learning rates times `faster`."""
        matrix_rate = self.recipe.matrix_rate
        return replace(
            self.recipe,
            epochs=epochs,
            learning_rate=faster * self.recipe.learning_rate,
            matrix_rate=None if matrix_rate is None else faster * matrix_rate,
        )


def adamw(model: nn.Module, recipe: Recipe) -> Optimizer:
    return AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def rmsprop(model: nn.Module, recipe: Recipe) -> Optimizer:
    return RMSprop(model.parameters(), recipe.learning_rate, alpha=0.9, eps=0.0316, momentum=recipe.momentum,
                   weight_decay=recipe.weight_decay)  # fmt: skip


def ours() -> Way:
    return Way(Recipe(epochs=1, batch_size=64, matrix_rate=0.05, sizes=(20, 24, 28, 32), cpu_bfloat16=True))


def he(batch_size: int = 128) -> Way:
    """He et al. (2015), section 4.2; DenseNet (Huang et al. 2017) takes it over, with batches of 64."""
    return Way(InSteps(epochs=1, batch_size=batch_size, weight_decay=1e-4, label_smoothing=0.0, cpu_bfloat16=True))


_CONVMIXER = Way(
    Recipe(epochs=1, batch_size=128, learning_rate=0.01, warmup=0.4, weight_decay=0.005, label_smoothing=0.1,
           augmentations=("flip", "translate", "trivial"), cpu_bfloat16=True),
    adamw,
)  # fmt: skip
_MOBILENET = Way(
    Geometric(epochs=1, batch_size=96, learning_rate=0.045, weight_decay=4e-5, label_smoothing=0.1, cpu_bfloat16=True),
    rmsprop,
)
_AIRBENCH = Way(
    Recipe(epochs=1, batch_size=256, learning_rate=0.4, momentum=0.85, label_smoothing=0.2, cpu_bfloat16=True)
)


def ways(network: str) -> dict[str, Way]:
    """By name, the ways in which `network`, one of benchmarks.networks.NETWORKS, is trained. Net's own is ours."""
    papers = {
        "ConvMixer-256/8": _CONVMIXER,
        "DenseNet-BC-100-12": he(batch_size=64),
        "MobileNetV2, 3x3 stem": _MOBILENET,
        "small airbench": _AIRBENCH,
    }
    if network.startswith("Net"):
        return {OURS: ours()}
    return {OURS: ours(), PAPER: papers.get(network, he())}
