import pytest

from eva.exercises import check_epoch_to_keep


def keep(losses, patience, before=False, stop=False, anew=True, first=1):
    """Early stopping, with the mistakes that one can make of it."""
    best, bad = 0, 0
    for index in range(1, len(losses)):
        better = losses[index] < losses[index - 1 if before else best]
        bad = bad + 1 if not better else 0 if anew else bad
        if losses[index] < losses[best]:
            best = index
        if bad == patience:
            return (index if stop else best) + first
    return (len(losses) - 1 if stop else best) + first


def by_the_best(losses, patience):
    """The same in other words."""
    seen = losses[:1]
    for loss in losses[1:]:
        if len(seen) - 1 - seen.index(min(seen)) == patience:
            break
        seen.append(loss)
    return seen.index(min(seen)) + 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda losses, patience: losses.index(min(losses)) + 1, "do not look ahead"),
        (lambda losses, patience: len(losses), "do not look ahead"),
        (lambda losses, patience: keep(losses, patience, first=0), "epochs count from 1"),
        (lambda losses, patience: keep(losses, patience, stop=True), "that is where training stops"),
        (lambda losses, patience: keep(losses, patience - 1), "one epoch too impatient"),
        (lambda losses, patience: keep(losses, patience + 1), "one epoch too patient"),
        (lambda losses, patience: keep(losses, patience, anew=False), "starts the count of bad epochs again"),
        (lambda losses, patience: keep(losses, patience, before=True), "not with that of the epoch before"),
        (lambda losses, patience: min(losses), "an epoch is a whole number"),
        (lambda losses, patience: losses[99 * patience], "stopped in the line"),
    ],
)
def test_a_wrong_moment_is_met_with_the_right_words(function, words, refused):
    refused(check_epoch_to_keep, function, words)


@pytest.mark.parametrize("function", [keep, by_the_best])
def test_what_stops_at_the_right_moment_is_right(function, verdict):
    assert verdict(check_epoch_to_keep, function).startswith("Right, on 4 short runs and 36 random ones")
