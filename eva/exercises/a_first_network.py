"""The exercise of notebook 04: when to stop, seen from the validation losses so far and not from those to come."""

import torch
from torch import Generator

from eva.exercises.grading import Question, Table, Trial, exercise, growing, integer

# Short runs in which the wrong ideas show: the first three in one, each of the others in one of its own.
_BY_HAND = (
    [2.0, 2.2, 1.8, 2.1, 2.3, 1.9, 1.7],
    [3.8, 3.9, 3.6, 3.7, 3.3, 3.5],
    [2.9, 3.2, 3.1, 3.0, 2.8, 2.4, 2.5, 2.7, 2.3],
    [2.8, 2.9, 3.0, 2.6, 2.2, 2.4, 2.5, 2.3, 2.1],
)


@exercise(40, "on 4 short runs and 36 random ones")
def check_epoch_to_keep(rng: Generator, turn: int) -> Trial:
    if turn < len(_BY_HAND):
        yield _stopped(_BY_HAND[turn], patience=2)
        return
    steps = torch.randn(growing(rng, turn, 3, 30), generator=rng) - 0.15  # down, more often than up
    losses = 10 + steps.cumsum(0) / 4
    yield _stopped([round(loss, 2) for loss in losses.tolist()], integer(rng, 1, 5))


def _stopped(losses: list[float], patience: int) -> Question:
    truth, end = _run(losses, patience)
    lowest_of_all = losses.index(min(losses)) + 1
    wrong_ideas: Table = [
        (
            lowest_of_all,
            len(losses),
            f"training stops after epoch {end}, so the losses after it are never seen: do not look ahead.",
        ),
        (truth - 1, "epochs count from 1: losses[0] is that of epoch 1."),
        (end, "that is where training stops: keep the best epoch until then."),
        (_run(losses, patience - 1)[0], "one epoch too impatient: a run of `patience` bad epochs ends it."),
        (_patience_used_up(losses, patience), "a new lowest loss starts the count of bad epochs again from 0."),
        (
            _run(losses, patience, against_the_one_before=True)[0],
            "compare with the lowest loss so far, not with that of the epoch before.",
        ),
        (_run(losses, patience + 1)[0], "one epoch too patient: a run of `patience` bad epochs ends it."),
    ]
    shown = ", ".join(f"{loss:g}" for loss in losses)
    setting = f"losses {shown} with a patience of {patience}: the epoch to keep is {truth}"
    whole = "an epoch is a whole number, counted from 1."
    return Question((losses, patience), truth, wrong_ideas, lambda epoch: f"{setting}, not {epoch}", whole=whole)


def _run(losses: list[float], patience: int, against_the_one_before: bool = False) -> tuple[int, int]:
    """The best epoch until training stops, and the epoch after which it does."""
    best, bad = 1, 0
    for epoch in range(2, len(losses) + 1):
        loss, before = losses[epoch - 1], losses[epoch - 2] if against_the_one_before else losses[best - 1]
        bad = 0 if loss < before else bad + 1
        best = epoch if loss < losses[best - 1] else best
        if bad == patience:
            return best, epoch
    return best, len(losses)


def _patience_used_up(losses: list[float], patience: int) -> int:
    """The best epoch, where bad epochs are counted over the whole run."""
    best, bad = 1, 0
    for epoch in range(2, len(losses) + 1):
        better = losses[epoch - 1] < losses[best - 1]
        best, bad = (epoch, bad) if better else (best, bad + 1)
        if bad == patience:
            break
    return best
