"""The exercise of notebook 10. The parameters of real networks are the truth."""

from functools import cache

import torch
from torch import Generator

from eva.exercises.grading import Question, SuchAs, Trial, exercise, integer
from eva.measure import count_parameters
from eva.model import Net


@cache
def _sizes() -> dict[float, int]:
    """The parameters of `Net` at each width."""
    with torch.device("meta"):  # counts only: nothing is drawn
        return {width: count_parameters(Net(width)) for width in (round(0.05 * step, 2) for step in range(1, 33))}


@exercise(6, "for 6 random limits")
def check_widest(rng: Generator) -> Trial:
    limit, sizes = integer(rng, 30_000, 1_400_000), _sizes()
    truth = max(width for width, size in sizes.items() if size <= limit)
    wider, estimate = round(truth + 0.05, 2), (limit / sizes[1.0]) ** 0.5
    estimated = SuchAs(estimate, lambda width: abs(width - estimate) < 0.05)
    wrong_ideas = [
        (wider, f"that one has {sizes[wider]:,}. Go back to the last one that fits."),
        (estimated, "that is an estimate. Count the parameters of real networks."),
    ]
    setting = f"With at most {limit:,} parameters the widest is {truth} ({sizes[truth]:,})"
    yield Question((limit,), truth, wrong_ideas, lambda width: f"{setting}, not {width:g}")
