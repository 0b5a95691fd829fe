"""The exercise of notebook 11. Holm's own definition (1979) is the truth."""

import torch
from torch import Generator, Tensor

from eva.exercises.grading import Question, Trial, exercise, integer


@exercise(40, "on 40 random lists of p-values")
def check_holm(rng: Generator) -> Trial:
    count = integer(rng, 2, 8)
    p_values = 0.15 * torch.rand(count, generator=rng).double() ** 2  # many near to what decides
    order = p_values.argsort()
    wrong_ideas = [
        (p_values < 0.05, "that is each by itself. With many comparisons chance alone will find one: correct for it."),
        (p_values < 0.05 / count, "that is one bar for all (Bonferroni's). The second smallest has one rival less."),
        (_found(p_values, order, stops=False), "once one has failed, all that are larger have failed with it: stop."),
        (_found(p_values, torch.arange(count)), _found(p_values, order.flip(0)), "begin with the smallest."),
        (_found(p_values, order, later=1), "the smallest of m must be below 0.05 / m, the next below 0.05 / (m - 1)."),
        (~_found(p_values, order), "that is the wrong way round: True is for a difference that was found."),
    ]
    otherwise = "compare the smallest with 0.05 / m, the next with 0.05 / (m - 1), and stop at the first that fails."
    yield Question((p_values,), _found(p_values, order), wrong_ideas, otherwise=otherwise)


def _found(p_values: Tensor, order: Tensor, *, stops: bool = True, later: int = 0) -> Tensor:
    found = torch.zeros(len(p_values), dtype=torch.bool)
    for place, index in enumerate(order.tolist()):
        below = bool(p_values[index] < 0.05 / max(1, len(order) - place - later))
        if stops and not below:
            break
        found[index] = below
    return found
