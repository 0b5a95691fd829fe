import math

import numpy
import pytest

from eva.exercises import check_predict_error, check_training_bytes


def predict_error(amounts, errors, at, x=numpy.log, y=numpy.log, back=numpy.exp):
    """The prediction, with the mistakes that a learner makes on the way to it."""
    slope, height = numpy.polyfit(x(amounts), y(errors), 1)
    return back(height + slope * x(at))


def by_hand(amounts, errors, at):
    x, y = numpy.log(amounts), numpy.log(errors)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float(numpy.exp(y.mean() + slope * (math.log(at) - x.mean())))


def plain(values):
    return values


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_training_bytes, lambda p, a, batch: 3 * p + batch * a, "that counts numbers"),
        (
            check_training_bytes,
            lambda p, a, batch: 12 * p + batch * a,
            "188 bytes, not 128: an activation is a float32",
        ),
        (check_training_bytes, lambda p, a, batch: 3 * p + 4 * batch * a, "and velocities are float32 too"),
        (check_training_bytes, lambda p, a, batch: 4 * (3 * p + 2 * batch * a), "is there for a moment only"),
        (check_training_bytes, lambda p, a, batch: batch * 4 * (3 * p + a), "once, whatever the batch"),
        (check_predict_error, lambda *given: predict_error(*given, back=plain), "still the logarithm"),
        (check_predict_error, lambda *given: predict_error(*given, plain, plain, plain), "of both first"),
        (check_predict_error, lambda *given: predict_error(*given, numpy.log, plain, plain), "the errors need"),
        (check_predict_error, lambda *given: predict_error(*given, plain), "the amounts need"),
        (check_predict_error, lambda *given: predict_error(*given, back=lambda x: 10**x), "the natural logarithm"),
        (check_predict_error, lambda a, e, at: predict_error(a[-2:], e[-2:], at), "the last two points alone"),
        (check_predict_error, lambda a, e, at: predict_error(a[:: len(a) - 1], e[:: len(a) - 1], at), "first and the"),
        (check_predict_error, lambda a, e, at: numpy.polyfit(a, e, 1), "a number, and returned an array of shape (2,)"),
        (check_predict_error, lambda a, e, at: predict_error(e, a, at), "the amounts stand for the errors there"),
        (check_predict_error, lambda *given: 100 * predict_error(*given), "those are per cent"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(check, function, words, refused):
    refused(check, function, words)


def test_other_right_code_is_right(verdict):
    assert verdict(check_predict_error, by_hand).startswith("Right, ")
    assert verdict(
        check_predict_error, lambda *given: predict_error(*given, numpy.log10, numpy.log10, lambda x: 10**x)
    ).startswith("Right, ")
