import pytest
import torch
import torch.nn.functional as F

from eva.exercises import check_cross_entropy, check_descend


def own(table, labels):
    """From each row the column of its label."""
    return table[torch.arange(len(labels)), labels]


def by_exp(logits, labels):
    likely = logits.exp_().div_(logits.sum(1, keepdim=True))
    return -own(likely, labels).log().mean()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"), "for each image, or their sum"),
        (lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"), "a tensor of shape (2,): that is a"),
        (lambda logits, labels: F.nll_loss(-logits.log_softmax(1), labels), "the sign is wrong"),
        (lambda logits, labels: F.cross_entropy(logits.softmax(1), labels), "applies softmax twice"),
        (lambda logits, labels: F.nll_loss(logits, labels), "those are the raw logits"),
        (lambda logits, labels: -logits.log_softmax(1)[:, labels].mean(), "`[:, labels]` takes the columns"),
        (lambda logits, labels: -logits.log_softmax(1)[:, labels], "shape (2, 2): `[:, labels]` takes the columns"),
        (lambda logits, labels: -logits.log_softmax(1)[labels].mean(), "takes all classes of a row"),
        (lambda logits, labels: -logits.log_softmax(1).mean(), "takes all classes of a row"),
        (lambda logits, labels: -own(logits.softmax(1), labels).mean(), "those are probabilities"),
        (lambda logits, labels: -own(logits.softmax(1), labels).mean().log(), "the logarithm comes first"),
        (lambda logits, labels: -own(logits.softmax(1), labels).log2().mean(), "the natural one"),
        (lambda logits, labels: -own(logits.log_softmax(0), labels).mean(), "goes down the columns"),
        (lambda logits, labels: -(torch.eye(3)[labels] * logits.log_softmax(1)).mean(), "not by that of classes"),
        (lambda logits, labels: F.cross_entropy(logits, labels) + 1, "came out as"),
        (lambda logits, labels: F.cross_entropy(logits, labels) * torch.nan, 'there is a nan in it, "not a number"'),
    ],
)
def test_wrong_code_is_met_with_the_right_words(function, words, refused):
    refused(check_cross_entropy, function, words)


def test_logits_may_be_worked_on_in_place(verdict):
    assert verdict(check_cross_entropy, by_exp).startswith("Right, ")


def walk(slope, weight, rate, steps):
    for _ in range(steps):
        weight = weight - rate * slope(weight)
    return weight


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda slope, weight, rate, steps: walk(slope, weight, -rate, steps), "that walks uphill"),
        (lambda slope, weight, rate, steps: weight, "that is where it began"),
        (lambda slope, weight, rate, steps: walk(slope, weight, rate, 1), "is the `return` inside of the loop?"),
        (lambda slope, weight, rate, steps: walk(slope, weight, rate, steps - 1), "count the steps"),
        (lambda slope, weight, rate, steps: walk(slope, weight, rate, steps + 1), "count the steps"),
        (lambda slope, weight, rate, steps: weight - steps * rate * slope(weight), "asked once, at the start"),
        (lambda slope, weight, rate, steps: walk(slope, weight, 1, steps), "the learning rate is missing"),
        (lambda slope, weight, rate, steps: walk(slope, weight, 1 / rate, steps), "divided by the rate"),
        (lambda slope, weight, rate, steps: weight - steps * rate, "each step is as long as the last"),
        (lambda slope, weight, rate, steps: slope(walk(slope, weight, rate, steps)), "the slope at the end"),
        (lambda slope, weight, rate, steps: weight - rate * slope, "stopped in the line"),
        (lambda slope, weight, rate, steps: 7.25, "3 steps from the weight 1 at a rate of 0.25, where the slope is 2"),
    ],
)
def test_a_wrong_way_down_is_met_with_the_right_words(function, words, refused):
    refused(check_descend, function, words)


def test_the_smallest_case_can_be_followed_by_hand(verdict):
    """From 1 to the lowest point at 5, each step half of what is left: 3, 4, 4.5."""
    assert "should end at 4.5000, not 7.0000" in verdict(check_descend, lambda *_: 7.0)
    assert verdict(check_descend, walk).startswith("Right, ")
