"""The exercise of notebook 11. Holm's own definition (1979) is the truth."""

import torch
from torch import Generator, Tensor

from eva.exercises.grading import Question, Table, Trial, exercise, growing

SMALL = ([0.3, 0.02, 0.001], [0.03, 0.015, 0.3, 0.6], [0.04, 0.03], [0.05])


@exercise(44, "on 4 short lists of p-values, and 40 random ones")
def check_holm(rng: Generator, turn: int) -> Trial:
    count = growing(rng, turn, 2, 8)
    drawn = 0.15 * torch.rand(count, generator=rng).double() ** 2  # many near to what decides
    p_values = torch.tensor(SMALL[turn]).double() if turn < len(SMALL) else drawn
    order = p_values.argsort()
    truth, forwards = _found(p_values, order), torch.arange(len(p_values))
    rivals = len(p_values) - forwards
    corrected = (p_values[order] * rivals).cummax(0).values.clamp(max=1)[order.argsort()]
    wrong_ideas: Table = [
        (corrected, "those are the corrected p-values: return where they are below 0.05."),
        (p_values < 0.05, "that is each by itself. With many comparisons chance alone will find one: correct for it."),
        (
            p_values < 0.05 / len(p_values),
            "that is one bar for all (Bonferroni's). The second smallest has one rival less.",
        ),
        (_found(p_values, order, stops=False), "once one has failed, all that are larger have failed with it: stop."),
        (truth[order], "that is in the order of size: each answer stands at the place of its own p-value."),
        (_found(p_values, forwards), _found(p_values, order.flip(0)), "begin with the smallest."),
        (_found(p_values, order, later=1), "the smallest of m must be below 0.05 / m, the next below 0.05 / (m - 1)."),
        (~truth, "that is the wrong way round: True is for a difference that was found."),
    ]
    if len(p_values) == 1:
        wrong_ideas = [(~truth, "0.05 is not *below* 0.05.")]
    otherwise = "compare the smallest with 0.05 / m, the next with 0.05 / (m - 1), and stop at the first that fails."

    def opening(found: Tensor) -> str:
        given, right, answer = (_listed(values) for values in (p_values, truth, found))
        return f"the p-values {given} have the answers {right}, not {answer}"

    yield Question((p_values,), truth, wrong_ideas, opening, otherwise)


def _listed(values: Tensor) -> str:
    shown = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in values.tolist())
    return f"[{', '.join(shown)}]"


def _found(p_values: Tensor, order: Tensor, *, stops: bool = True, later: int = 0) -> Tensor:
    found = torch.zeros(len(p_values), dtype=torch.bool)
    for place, index in enumerate(order.tolist()):
        below = bool(p_values[index] < 0.05 / max(1, len(order) - place - later))
        if stops and not below:
            break
        found[index] = below
    return found
