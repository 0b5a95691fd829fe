"""Ideas that others train by and that no recipe of ours uses: tried in benchmarks/one_change.py, one at a time.

Networks are made by functions of (width, splits); batches by loaders that stand in for `BatchLoader`; and optimizers by
functions that stand in for `optimizer_for`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from eva.data import BatchLoader, Splits, normalised
from eva.device import derived_seed
from eva.measure import count_parameters
from eva.model import Net, residual_pair
from eva.precision import mixed_precision
from eva.recipes import Recipe

Mix = Callable[[Tensor, Tensor, torch.Generator, int], tuple[Tensor, Tensor]]

# Networks


def as_it_is(width: float, splits: Splits) -> Net:
    return Net(width, len(splits.classes))


def whitened_stem(width: float, splits: Splits) -> Net:
    """The first convolution is set, and never trained: its maps are patches' first principal components, of equal
    variance, and the same with the sign turned (Page 2019, How to Train Your ResNet 8; airbench, Jordan 2024)."""
    model = as_it_is(width, splits)
    weight = model.stem.weight
    rng = torch.Generator().manual_seed(0)  # an image folder is sorted by class: not the first ones
    chosen = torch.randperm(len(splits.train), generator=rng)[:5000]
    images = normalised(splits.train.images[chosen], splits.normalisation)
    patches = F.unfold(images, kernel_size=weight.shape[-1]).transpose(0, 1).flatten(1)
    variances, directions = torch.linalg.eigh(patches.cov())  # the smallest first
    count = len(weight) // 2
    filters = (directions / (variances + 5e-4).sqrt()).T.flip(0)[:count].view(count, *weight.shape[1:])
    with torch.no_grad():
        weight.copy_(torch.cat([filters, -filters]))
    weight.requires_grad_(False)
    return model


def with_residuals(width: float, splits: Splits, count: int) -> Net:
    """`count` residual pairs behind the middle's pooling in place of three, as wide as keeps the parameters nearest."""
    wanted = count_parameters(as_it_is(width, splits))
    widths = [width * percent / 100 for percent in range(50, 151, 2)]
    built = [_deepened(as_it_is(each, splits), count) for each in widths]
    return min(built, key=lambda model: abs(count_parameters(model) - wanted))


def _deepened(model: Net, count: int) -> Net:
    before, early, pool, *pairs, dropout = model.middle
    maps = early[-1][-1].out_channels
    while len(pairs) < count:
        pairs.append(residual_pair(type(early[-1]), maps))
    model.middle = nn.Sequential(before, early, pool, *pairs[:count], dropout)
    return model


def late_pooling(width: float, splits: Splits) -> Net:
    """The second pooling after the middle block and not in it: the same parameters, maps of twice the side there."""
    model = as_it_is(width, splits)
    before, early, pool, *rest = model.middle
    model.middle = nn.Sequential(before, early, *rest, pool)
    return model


# Batches


class AlternatingFlip(BatchLoader):
    """Every other epoch shows the mirror image of what the one before showed; chance decides the first (Jordan 2024).

    So that in two epochs an image is seen both ways, where independent coin tosses show half of them one way only.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images = self.images
        toss = torch.rand(len(images), generator=torch.Generator().manual_seed(self.seed)) < 0.5
        mirrored = (toss ^ (self.epoch % 2 == 1)).to(self.device)
        self.images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        try:
            yield from super().__iter__()
        finally:
            self.images = images


class Mixed(BatchLoader):
    """Images and labels mixed by `mix`, eva.augment's mixup or cutmix, in the first `until` epochs."""

    def __init__(self, *args: Any, mix: Mix, classes: int, until: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.mix, self.classes, self.until = mix, classes, until

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator(self.device).manual_seed(derived_seed("mix", self.seed, self.epoch))
        mixing = self.epoch < self.until
        for images, labels in super().__iter__():
            yield self.mix(images, labels, rng, self.classes) if mixing else (images, labels)


class Distilled(BatchLoader):
    """Labels of which `share` is what `teacher` says of the same augmented image: distillation (Hinton et al. 2015)."""

    def __init__(self, *args: Any, teacher: nn.Module, share: float = 0.5, **options: Any) -> None:
        super().__init__(*args, **options)
        self.teacher, self.share = teacher.eval(), share
        self.precision = mixed_precision(self.device, on_cpu=True)  # nothing is learned here: the fastest will do

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in super().__iter__():
            with torch.no_grad(), self.precision.autocast(self.device):
                answers = self.teacher(images).float().softmax(1)
            yield images, F.one_hot(labels, answers.shape[1]).to(answers.dtype).lerp(answers, self.share)


# Optimizers


def adamw(model: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019) at the recipe's learning rate, for all parameters, with a decay of 0.05."""
    return AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.05)
