"""The exercises of notebook 13. Each check says what a wrong answer forgot; loops and simulation are the truth."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from eva.exercises.grading import Wrong, a_number, a_random, a_tensor, close, exercise, named

Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations of its mean
MARKED, SETS = 20, 4000  # images in a simulated set, and how many sets


def _try_cam(answer: Callable, rng: torch.Generator) -> None:
    count, maps, height = a_random(rng, 3, 5), a_random(rng, 6, 9), a_random(rng, 2, 4)
    width, known = height + a_random(rng, 1, 3), a_random(rng, 10, 12)  # all lengths differ
    features = torch.randn(count, maps, height, width, generator=rng) + 1
    weight = torch.randn(known, maps, generator=rng)
    classes = torch.randperm(known, generator=rng)[:count]
    value = answer(features.clone(), weight.clone(), classes.clone())
    every = torch.stack([torch.stack([_weighted(one, row) for row in weight]) for one in features])
    truth = torch.stack([every[image, one] for image, one in enumerate(classes.tolist())])
    asked = f"`{named(answer)}` must return (N, h, w), {tuple(truth.shape)} here"
    if isinstance(value, Tensor):
        for given, words in (
            (every, "that has a map for each class: pick each image's own row of `weight`, weight[classes]."),
            (truth.mean((1, 2)), "the average over the places is taken: it gives a logit. A map keeps them apart."),
            (truth.sum((1, 2)), "the sum over the places is taken: a map keeps them apart."),
            (truth.sum(0), "the images are added up: each has a map of its own."),
            (truth.mean(0), "the images are averaged: each has a map of its own."),
            (truth.transpose(1, 2), "rows and columns are exchanged: h comes first."),
            (truth.permute(1, 2, 0), "the images come last: N comes first."),
            (features * weight[classes][:, :, None, None], "the maps are weighted, but not added up yet."),
        ):
            if value.shape == given.shape and close(value, given):
                raise Wrong(f"{asked}: {words}")
    out = a_tensor(answer, value, tuple(truth.shape))
    if close(out, truth):
        return
    if close(out, features.sum(1)) or close(out, features.mean(1)):
        raise Wrong("every map counts the same there: weigh each by the class's weight for it.")
    if close(out, truth / truth[0].numel()):
        raise Wrong("that is divided by the number of places, as Grad-CAM's is: here the mean of a map is the logit.")
    if close(out, truth / maps):
        raise Wrong("that is the mean over the maps: a linear layer adds them up.")
    if close(out, truth.clamp(min=0)):
        raise Wrong("what speaks against the class is cut off: a class activation map keeps its sign.")
    if close(out, every[:, :count].diagonal().permute(2, 0, 1)):
        raise Wrong("image n has row n of `weight`, and should have row classes[n].")
    if any(close(out, every[:, one]) for one in range(known)):
        raise Wrong("all images have one row of `weight` there: image n has the row classes[n].")
    raise Wrong("the values differ from the sum over all maps of map times weight[classes].")


def _weighted(maps: Tensor, row: Tensor) -> Tensor:
    """One image's maps (C, h, w), each times its weight in `row` (C,), added up one by one."""
    total = torch.zeros(maps.shape[1:])
    for one, weight in zip(maps, row.tolist(), strict=True):
        total += weight * one
    return total


check_cam = exercise(_try_cam, 20, "on 20 random maps, weights and classes")


def wilson(count: int, total: int, z: float = Z) -> tuple[float, float]:
    """Wilson's interval (1927): every share from which the one that was found is at most `z` standard errors away."""
    share, room = count / total, z**2 / total
    middle = (share + room / 2) / (1 + room)
    half = z * (share * (1 - share) / total + room / (4 * total)) ** 0.5 / (1 + room)
    return middle - half, middle + half


def _wald(count: int, total: int, z: float = Z) -> tuple[float, float]:
    """The interval of the first textbooks, whose standard error is taken at the share that was found."""
    share = count / total
    half = z * (share * (1 - share) / total) ** 0.5
    return share - half, share + half


def _try_interval(answer: Callable, rng: torch.Generator) -> None:
    total = a_random(rng, 15, 60)
    count = a_random(rng, 1, total - 1)
    for successes, of in ((count, total), (0, MARKED), (MARKED, MARKED)):
        _try_one(answer, successes, of)
    held = _coverage(lambda successes: _an_interval(answer, successes, MARKED))
    if not 0.93 <= held <= 0.97:  # never of Wilson's, which has about 95 %
        raise Wrong(f"{_told(held)}, and a 95 % interval should in about 95 %.")


def _try_one(answer: Callable, count: int, total: int) -> None:
    low, high = _an_interval(answer, count, total)
    true_low, true_high = wilson(count, total)

    def is_near(interval: tuple[float, float]) -> bool:
        return abs(low - interval[0]) < 1e-3 and abs(high - interval[1]) < 1e-3

    if is_near((true_low, true_high)):
        return
    came = f"For {count} of {total} you have {low:.3f} to {high:.3f}"
    wald_low, wald_high = _wald(count, total)
    if is_near((true_high, true_low)):
        raise Wrong(f"{came}: the lower end comes first.")
    if is_near((100 * true_low, 100 * true_high)):
        raise Wrong(f"{came}: those are per cent. Shares go from 0 to 1.")
    if is_near((wald_low, wald_high)) or is_near((max(0.0, wald_low), min(1.0, wald_high))):
        held = _told(_coverage(lambda successes: _an_interval(answer, successes, MARKED)))
        raise Wrong(
            f"{came}: the standard error is taken at the share that was found. For 0 of {MARKED} it is 0, an interval "
            f"without width, as if twenty images had proved that there is no other kind; for 1 of {MARKED} the normal "
            f"curve reaches below 0, which no share can be. {held}. Take it at p, the share that is asked for."
        )
    if any(is_near(wilson(count, total, z)) for z in (1.0, 1.645, 2.576)):
        held = _told(_coverage(lambda successes: _an_interval(answer, successes, MARKED)))
        raise Wrong(f"{came}. {held}: for 95 % go 1.96 standard errors to either side.")
    if low < 0 or high > 1:
        raise Wrong(f"{came}: no share is below 0 or above 1, so such an interval promises what cannot be.")
    if low == high:
        raise Wrong(f"{came}, without width: {total} images never settle a share for good.")
    if low > high:
        raise Wrong(f"{came}: the lower end comes first.")
    if low > count / total or high < count / total:
        raise Wrong(f"{came}, which leaves out the share that was found.")
    covered = _coverage(lambda successes: _an_interval(answer, successes, MARKED))
    judged = "an interval to be trusted, but another one"
    if not 0.945 <= covered <= 0.985:
        judged = "too seldom for 95 %" if covered < 0.945 else "wider than it need be"
    raise Wrong(f"{came}, and Wilson's interval is {true_low:.3f} to {true_high:.3f}. {_told(covered)}: {judged}.")


def _an_interval(answer: Callable, count: int, total: int) -> tuple[float, float]:
    value: Any = answer(count, total)
    if value is None or value is Ellipsis:
        raise Wrong(f"`{named(answer)}` returned nothing.")
    if isinstance(value, Tensor) and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"`{named(answer)}` must return two numbers, (low, high), and returned {value!r}.")
    low, high = (a_number(answer, end) for end in value)
    return low, high


def _coverage(interval: Callable[[int], tuple[float, float]]) -> float:
    """How often `interval`, of a count out of MARKED, holds the true share, over SETS sets of all kinds of shares."""
    ends = torch.tensor([interval(count) for count in range(MARKED + 1)], dtype=torch.float64)
    shares, counts = _simulated()
    return float(((ends[counts, 0] <= shares) & (shares <= ends[counts, 1])).double().mean())


@cache
def _simulated() -> tuple[Tensor, Tensor]:
    """True shares from 0 to 1, (SETS,), and how many of MARKED images were of that kind, (SETS,)."""
    rng = torch.Generator().manual_seed(0)
    shares = torch.rand(SETS, generator=rng, dtype=torch.float64)
    return shares, (torch.rand(SETS, MARKED, generator=rng, dtype=torch.float64) < shares[:, None]).sum(1)


def _told(held: float) -> str:
    return f"Of {SETS:,} simulated sets of {MARKED} images it held the true share in {held:.0%}"


check_share_interval = exercise(_try_interval, 20, f"for 20 random shares, and on {SETS:,} simulated sets of twenty")
