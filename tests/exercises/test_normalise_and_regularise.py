import pytest
import torch.nn.functional as F

from eva.exercises import check_batch_norm, check_dropout


def normalised(x, scale, shift, eps=1e-5, **correction):
    axes = (0, 2, 3)
    normal = (x - x.mean(axes, keepdim=True)) / (x.std(axes, keepdim=True, **correction) ** 2 + eps) ** 0.5
    return normal * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def dropped(x, keep, p, training, evaluated=lambda x: x):
    return x * keep / (1 - p) if training else evaluated(x)


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_batch_norm, normalised, "unless you say `correction=0`"),
        (check_batch_norm, lambda x, *_: F.batch_norm(x, None, None, training=True), "are still to come"),
        (check_batch_norm, lambda x, scale, _: F.batch_norm(x, None, None, scale, training=True), "shift is missing"),
        (check_batch_norm, lambda x, a, b: F.instance_norm(x, None, None, a, b), "each image by itself"),
        (check_batch_norm, lambda x, *_: F.layer_norm(x, x.shape[1:]), "each image by itself"),
        (check_batch_norm, lambda x, *_: (x - x.mean((0, 2, 3))) / x.std((0, 2, 3)), "Error: The size of tensor"),
        (check_batch_norm, lambda x, *_: x, "differ from F.batch_norm"),
        (check_dropout, lambda x, keep, p, training: F.dropout(x, p, training), "what F.dropout makes of them"),
        (
            check_dropout,
            lambda x, keep, p, training: dropped(x, keep, p, True),
            "in evaluation mode nothing is dropped",
        ),
        (check_dropout, lambda *given: dropped(*given, lambda x: x + 1), "x must come back as it was"),
        (check_dropout, lambda *given: dropped(*given, lambda x: None), "returned nothing"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(check, function, words, refused):
    refused(check, function, words)


def test_the_small_term_beside_the_variance_does_not_show(verdict):
    assert verdict(check_batch_norm, lambda *given: normalised(*given, eps=0, correction=0)).startswith("Right, ")
