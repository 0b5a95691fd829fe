import pytest
import torch.nn.functional as F

from eva.exercises import check_cross_entropy


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"), "is the sum over"),
        (lambda logits, labels: F.nll_loss(-logits.log_softmax(1), labels), "the sign is wrong"),
        (lambda logits, labels: F.cross_entropy(logits, labels) + 1, "came out as"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(function, words, refused):
    refused(check_cross_entropy, function, words)
