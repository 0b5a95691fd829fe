"""The exercise of notebook 10. The parameters of real networks are the truth."""

from functools import cache

import torch
from torch import Generator

from eva.exercises.grading import Question, SuchAs, Table, Trial, exercise, integer
from eva.measure import count_parameters
from eva.model import Net


@cache
def _sizes() -> dict[float, int]:
    """The parameters of `Net` at each width."""
    with torch.device("meta"):  # counts only: nothing is drawn
        return {width: count_parameters(Net(width)) for width in (round(0.05 * step, 2) for step in range(1, 33))}


@exercise(3, "for 6 limits: as many as 3 random networks have, and one less")
def check_widest(rng: Generator, turn: int) -> Trial:
    # At 0.3 first, where an estimate is right at the limit and wrong below it.
    width = round(0.05 * integer(rng, 2, 28), 2) if turn else 0.3
    for less in (0, 1):
        yield _at_most(_sizes()[width] - less)


def _at_most(limit: int) -> Question:
    sizes = _sizes()
    truth = max(width for width, size in sizes.items() if size <= limit)
    wider, narrower, estimate = round(truth + 0.05, 2), round(truth - 0.05, 2), (limit / sizes[1.0]) ** 0.5
    in_steps = [round(0.05 * step, 2) for step in (int(estimate / 0.05), round(estimate / 0.05))]
    no_step = SuchAs(estimate, lambda width: 0 < width < 2 and abs(20 * width - round(20 * width)) > 0.01)
    below = sizes[truth] == limit
    wrong_ideas: Table = [
        (
            *in_steps,
            no_step,
            "that is an estimate: widths go in steps of 0.05, and maps in multiples of 8. Count a real network's "
            "parameters.",
        ),
        (wider, f"that one has {sizes[wider]:,}. Go back to the last one that fits."),
        *([(narrower, '"at most" means that the limit itself will do: compare with <=.')] if below else []),
        (limit, sizes[truth], sizes[wider], "that is a number of parameters: return the width."),
        (round(20 * truth), "that counts the steps: a step of width is 0.05."),
        (SuchAs(0.05, lambda width: 0 < width < truth), f"a wider one fits: {truth} has {sizes[truth]:,}."),
    ]
    setting = f"With at most {limit:,} parameters the widest is {truth} ({sizes[truth]:,})"
    return Question((limit,), truth, wrong_ideas, lambda width: f"{setting}, not {width:g}")
