"""The exercises of notebook 15. A loop over maps and weights, and Wilson's formula, are the truth."""

from collections.abc import Callable
from functools import cache, partial

import numpy
import torch
from torch import Generator, Tensor

from eva.exercises.grading import (
    Question,
    SuchAs,
    Table,
    Trial,
    Wrong,
    ask,
    exercise,
    growing,
    integer,
    name_of,
    something,
)

Interval = tuple[float, float]
Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations of its mean
MARKED, SETS = 20, 4000  # images in a simulated set, and how many sets


@exercise(20, "on 20 random maps, weights and classes")
def check_cam(rng: Generator, turn: int) -> Trial:
    height, count, channels = growing(rng, turn, 1, 2), growing(rng, turn, 4, 5), growing(rng, turn, 6, 8)
    width, known = height + 1, growing(rng, turn, 9, 12)  # all lengths differ
    maps = torch.randn(count, channels, height, width, generator=rng) + 1
    weight = torch.randn(known, channels, generator=rng)
    classes = torch.randperm(known, generator=rng)[:count]
    every = torch.stack([torch.stack([_weighted(image, row) for row in weight]) for image in maps])
    truth = torch.stack([every[image, label] for image, label in enumerate(classes.tolist())])
    own_row = torch.stack([every[image, image] for image in range(count)])
    weighted = maps * weight[classes][:, :, None, None]
    wrong_ideas = [
        (every, "that has a map for each class: pick each image's own row of `weight`, weight[classes]."),
        (truth.mean((1, 2)), "the average over the places is taken: it gives a logit. A map keeps them apart."),
        (truth.sum((1, 2)), "the sum over the places is taken: a map keeps them apart."),
        (truth.sum(0), "the images are added up: each has a map of its own."),
        (truth.mean(0), "the images are averaged: each has a map of its own."),
        (truth.transpose(1, 2), "rows and columns are exchanged: h comes first."),
        (truth.permute(1, 2, 0), "the images come last: N comes first."),
        (truth[:, None], "there is an axis too many: (N, h, w), without one of length 1."),
        (weighted, "the maps are weighted, but not added up yet."),
        (maps.sum(1), maps.mean(1), "every map counts the same there: weigh each by the class's weight for it."),
        (
            truth / truth[0].numel(),
            "that is divided by the number of places, as Grad-CAM's is: here the mean of a map is the logit.",
        ),
        (truth / channels, "that is the mean over the maps: a linear layer adds them up."),
        (truth.clamp(min=0), "what speaks against the class is cut off: a class activation map keeps its sign."),
        (own_row, "image n has row n of `weight`, and should have row classes[n]."),
        (*every.unbind(1), "all images have one row of `weight` there: image n has the row classes[n]."),
    ]
    otherwise = "the values differ from the sum over all maps of map times weight[classes]."
    yield Question((maps, weight, classes), truth, wrong_ideas, otherwise=otherwise)


def _weighted(maps: Tensor, row: Tensor) -> Tensor:
    """One image's maps (C, h, w), each times its weight in `row` (C,), added up one by one."""
    total = torch.zeros(maps.shape[1:])
    for channel, weight in zip(maps, row.tolist(), strict=True):
        total += weight * channel
    return total


def wilson(count: int, total: int, z: float = Z) -> Interval:
    """Wilson's interval (1927): every share from which the one that was found is at most `z` standard errors away."""
    share, room = count / total, z**2 / total
    middle = (share + room / 2) / (1 + room)
    half = z * (share * (1 - share) / total + room / (4 * total)) ** 0.5 / (1 + room)
    return middle - half, middle + half


def around(count: int, total: int, half: float) -> tuple[Interval, Interval]:
    """The share that was found, give or take `half`: as it is, and cut to what a share can be."""
    low, high = count / total - half, count / total + half
    return (low, high), (max(0.0, low), min(1.0, high))


def wald(count: int, total: int, z: float = Z) -> tuple[Interval, Interval]:
    """The interval of the first textbooks, whose standard error is taken at the share that was found."""
    share = count / total
    return around(count, total, z * (share * (1 - share) / total) ** 0.5)


def coverage(interval: Callable[[int, int], Interval]) -> float:
    """How often `interval`, of a count out of MARKED, holds the true share, over SETS sets of all kinds of shares."""
    pairs = [ask(interval, count, MARKED) for count in range(MARKED + 1)]
    for pair in pairs:
        something(name_of(interval), pair)
    ends = numpy.array([[*map(float, pair)] for pair in pairs])
    shares, counts = _simulated()
    return float(((ends[counts, 0] <= shares) & (shares <= ends[counts, 1])).mean())


@cache
def _simulated() -> tuple[numpy.ndarray, numpy.ndarray]:
    """True shares from 0 to 1, (SETS,), and how many of MARKED images were of that kind, (SETS,)."""
    rng = numpy.random.default_rng(0)
    shares = rng.random(SETS)
    return shares, rng.binomial(MARKED, shares)


def _held(share: float) -> str:
    return f"Of {SETS:,} simulated sets of {MARKED} images it held the true share in {share:.0%}"


@exercise(21, f"for 3 of 20, 20 random shares, and on {SETS:,} simulated sets of twenty")
def check_share_interval(rng: Generator, turn: int) -> Trial:
    total = integer(rng, 15, 60) if turn else 20
    yield _interval(integer(rng, 1, total - 1) if turn else 3, total)
    yield _interval(0, MARKED)
    yield _interval(MARKED, MARKED)
    yield _judge_coverage


def _interval(count: int, total: int) -> Question:
    truth, share = wilson(count, total), count / total
    beside, variance = (0.0, share / 2) if count else (0.5, 1.0), share * (1 - share)
    at_the_share = (
        f"the standard error is taken at the share that was found. For 0 of {MARKED} it is 0, an interval "
        "without width, as if twenty images had proved that there is no other kind; for 1 of "
        f"{MARKED} the normal curve reaches below 0, which no share can be. "
        f"{_held(coverage(lambda count, total: wald(count, total)[0]))}. Take it at p, the share that is asked for."
    )
    at_a_half = (
        "the standard error is taken at p = 1/2, where it is largest, so that the interval is as wide for a rare kind "
        "as for a common one. Take it at p, the share that is asked for."
    )
    wrong_ideas: Table = [
        (SuchAs((0.6, 0.4), lambda ends: ends[0] > ends[1]), "the lower end comes first."),
        ((100 * truth[0], 100 * truth[1]), "those are per cent. Shares go from 0 to 1."),
        ((total * truth[0], total * truth[1]), "those are numbers of images: divide by the total."),
        (*wald(count, total), *wald(count, total, 2.0), at_the_share),
        (*around(count, total, Z / 2 / total**0.5), *around(count, total, 1 / total**0.5), at_a_half),
        (*around(count, total, Z * variance / total), "the standard error is a root, of p (1 - p) / total."),
        (
            *around(count, total, Z * variance**0.5),
            "that is the spread of one image: p (1 - p) is divided by the total.",
        ),
        (wilson(count, total, 2.0), "notebook 01's two standard errors are 1.96, rounded up: take 1.96 here."),
    ]
    for z in (1.0, 1.645, 2.576):
        held = _held(coverage(partial(wilson, z=z)))
        wrong_ideas.append((wilson(count, total, z), f"for 95 % go 1.96 standard errors to either side. {held}."))
    impossible = SuchAs((-0.1, 0.5), lambda ends: ends[0] < 0 or ends[1] > 1)
    no_width = SuchAs((0.5, 0.5), lambda ends: ends[0] == ends[1])
    elsewhere = SuchAs(beside, lambda ends: not ends[0] <= share <= ends[1])
    wrong_ideas += [
        (impossible, "no share is below 0 or above 1, so such an interval promises what cannot be."),
        (no_width, f"an interval without width, but {total} images never settle a share for good."),
        (elsewhere, "that leaves out the share that was found."),
    ]

    def otherwise(function: Callable) -> str:
        covered = coverage(function)
        verdict = "an interval to be trusted, but another one"
        if not 0.945 <= covered <= 0.985:
            verdict = "too seldom for 95 %" if covered < 0.945 else "wider than it need be"
        return f"Wilson's interval is {truth[0]:.3f} to {truth[1]:.3f}. {_held(covered)}: {verdict}."

    def opening(ends: Interval) -> str:
        return f"For {count} of {total} you have {ends[0]:.3f} to {ends[1]:.3f}"

    returns = "two numbers, (low, high)"
    return Question((count, total), truth, wrong_ideas, opening, otherwise, returns=returns, within=1e-3)


def _judge_coverage(function: Callable) -> None:
    covered = coverage(function)
    if not 0.93 <= covered <= 0.97:  # never of Wilson's, which has about 95 %
        raise Wrong(f"{_held(covered)}, and a 95 % interval should in about 95 %.")
