"""What each value of a network's output sees, found by changing the image: the truth that the calculator is held to."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from eva.dry_run import dry_run, images_like
from eva.receptive_field.arithmetic import HI, LO, NOTHING, SOURCES
from eva.receptive_field.rules import rule_for
from eva.receptive_field.tracer import Tracer


class Calls(nn.Module):
    """A network whose forward pass is a function of its layers and its input."""

    def __init__(self, forward, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = forward

    def forward(self, x):
        return self.function(self.layers, x)


def outputs_of(model: nn.Module, image: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [leaf for leaf in tree_leaves(model(image.clone())) if isinstance(leaf, Tensor)]


def reached(model: nn.Module, size: tuple[int, int, int], which: int = 0, images: int = 1) -> tuple[Tensor, Tensor]:
    """(H, *output) and (W, *output): whether a value of the output changes with a row, or a column, of the image.

    By NaN, and by other random values, since a comparison hides the one and a rounding the other. Of several images,
    where the path through a network depends on the values.
    """
    rng = torch.Generator().manual_seed(1)
    model = model.eval().double()
    hits: list[list[Tensor]] = [[], []]
    for _ in range(images):
        image = torch.randn(1, *size, generator=rng, dtype=torch.float64)
        before = outputs_of(model, image)[which]
        for axis in (0, 1):
            changed = torch.zeros(size[1 + axis], *before.shape, dtype=torch.bool)
            for place in range(size[1 + axis]):
                for scale in (float("nan"), 1, 2, 5):
                    other = image.clone()
                    line = other.select(2 + axis, place)
                    line.copy_(scale * torch.randn(line.shape, generator=rng).double())
                    after = outputs_of(model, other)[which]
                    changed[place] |= (after != before) | after.isnan()
            hits[axis].append(changed)
    rows, columns = (torch.stack(each).any(0) for each in hits)
    return rows, columns


def told(model: nn.Module, size: tuple[int, int, int], which: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The same as the calculator has it, and (*output): which values have no window that reaches over the border.

    Along each axis the hull of a value's window, and what the global sources on its way saw.
    """
    tracer = Tracer(rule_for, size)
    seen = tracer.seen(dry_run(model.eval(), images_like(model, size), tracer.tell))[which]
    planes = seen.planes.expand(len(seen.planes), *seen.shape)
    inside = torch.ones(seen.shape, dtype=torch.bool)
    both = []
    for axis in (0, 1):
        n = size[1 + axis]
        low, high = -planes[LO[axis]], planes[HI[axis]]
        places = torch.arange(n).view(-1, *[1] * len(seen.shape))
        hit = (places >= low) & (places <= high)
        inside &= ((low >= 0) & (high < n)) | (high == NOTHING)
        for number, source in enumerate(tracer.sources[: len(planes) - SOURCES]):
            seen_there = source.any(1 - axis).view(-1, *[1] * len(seen.shape))
            hit |= seen_there & (planes[SOURCES + number] == 0)
        both.append(hit)
    return both[0], both[1], inside


def hull(hit: Tensor) -> Tensor:
    """The first and the last place along dimension 0 that is hit, and all between."""
    return (hit.int().cummax(0).values * hit.flip(0).int().cummax(0).values.flip(0)).bool()


def held_to_the_truth(
    model: nn.Module, size: tuple[int, int, int] = (3, 24, 20), which: int = 0, images: int = 1
) -> int:
    """Assert that the calculator is right about each value of the output; returns how many were away from the border.

    There it must be exact. At the border a window's hull may begin in the padding, and hold more than is read.
    """
    rows, columns, inside = told(model, size, which)
    for axis, (claimed, true) in enumerate(zip((rows, columns), reached(model, size, which, images), strict=True)):
        assert claimed.shape == true.shape
        missed = (true & ~claimed).any(0)
        assert not missed.any(), f"axis {axis}: {int(missed.sum())} of {missed.numel()} values see more than was told"
        over = (claimed & ~hull(true)).any(0) & inside
        assert not over.any(), f"axis {axis}: {int(over.sum())} of {int(inside.sum())} values see less than was told"
    return int(inside.sum())
