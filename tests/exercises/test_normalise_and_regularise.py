import pytest
import torch
import torch.nn.functional as F

from eva.exercises import check_batch_norm, check_dropout


def normalised(x, scale, shift, eps=1e-5, **correction):
    axes = (0, 2, 3)
    normal = (x - x.mean(axes, keepdim=True)) / (x.std(axes, keepdim=True, **correction) ** 2 + eps) ** 0.5
    return normal * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def root_first(x, scale, shift):
    deviation, mean = torch.std_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (deviation + 1e-5) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def by_own_draw(x, keep, p, training):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return F.dropout(x, p, training)


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
        (
            check_batch_norm,
            lambda x, *_: (x - x.mean((0, 2, 3))) / x.std((0, 2, 3)),
            "must return the shape (3, 2, 1, 1) here: what",
        ),
        (check_batch_norm, lambda *given: normalised(*given, eps=0, correction=0), "it shows that 1e-5 is missing"),
        (check_batch_norm, root_first, "add it to the variance, under the root"),
        (check_batch_norm, lambda *given: normalised(*given, eps=1.1e-5, correction=0), "it adds 1e-5 to the variance"),
        (check_batch_norm, lambda x, a, b: normalised(x, b, a, correction=0), "scale and shift are exchanged"),
        (check_batch_norm, lambda x, a, b: x * a.view(1, -1, 1, 1) + b.view(1, -1, 1, 1), "x itself was scaled"),
        (check_batch_norm, lambda x, *_: x, "differ from F.batch_norm"),
        (
            check_dropout,
            lambda x, keep, p, training: x[keep.bool()],
            "must return the shape (2, 4) here, and returned (",
        ),
        (check_dropout, by_own_draw, "The draw has been made already: use `keep`"),
        (check_dropout, lambda x, keep, p, training: x * keep.roll(1), "The draw has been made already"),
        (check_dropout, lambda x, keep, p, training: x * keep / keep.mean(), "the share that stays on average"),
        (check_dropout, lambda x, keep, p, training: x * keep + 1, "the values differ from x * keep / (1 - p)"),
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


def test_other_right_code_is_right(verdict):
    assert verdict(check_batch_norm, lambda *given: normalised(*given, correction=0)).startswith("Right, ")
