import pytest
import torch
import torch.nn.functional as F

from eva.exercises import check_cross_entropy


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
