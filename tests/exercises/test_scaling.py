import math

import numpy
import pytest

from eva.exercises import check_predict_error, check_training_bytes
from tests.exercises.test_first import stub, told  # noqa: F401 - a fixture


def training_bytes(parameters, activations, batch, size=4, copies=3):
    """The bytes of a step, with the mistakes that a learner makes on the way to it."""
    return size * (copies * parameters + batch * activations)


def predict_error(amounts, errors, at, x=numpy.log, y=numpy.log, back=numpy.exp):
    """The prediction, with the mistakes that a learner makes on the way to it."""
    slope, height = numpy.polyfit(x(amounts), y(errors), 1)
    return back(height + slope * x(at))


def by_hand(amounts, errors, at):
    x, y = numpy.log(amounts), numpy.log(errors)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float(numpy.exp(y.mean() + slope * (math.log(at) - x.mean())))


def through(first, last):
    """A line through two of the points."""

    def answer(amounts, errors, at):
        return predict_error([amounts[i] for i in (first, last)], [errors[i] for i in (first, last)], at)

    return answer


def plain(values):
    return values


def parts(wanted):
    """An answer from the slope, the height and `at`, for what is made of them wrongly."""

    def answer(amounts, errors, at):
        slope, height = numpy.polyfit(numpy.log(amounts), numpy.log(errors), 1)
        return wanted(slope, height, at)

    return answer


@pytest.mark.parametrize(
    ("check", "solution"),
    [
        (check_training_bytes, training_bytes),
        (check_training_bytes, lambda p, a, b: 12.0 * p + 4.0 * a * b),
        (check_predict_error, predict_error),
        (check_predict_error, by_hand),
        (check_predict_error, lambda a, e, at: predict_error(a, e, at, numpy.log10, numpy.log10, lambda x: 10**x)),
    ],
)
def test_each_check_takes_the_solution_and_greets_the_stub(check, solution, told):  # noqa: F811
    check(solution)
    assert told().startswith("Right, ")
    check(stub)
    assert "Not yet: `stub` returned nothing." in told()


WRONG = [
    (check_training_bytes, lambda p, a, b: training_bytes(p, a, b, size=1), "that counts numbers"),
    (check_training_bytes, lambda p, a, b: training_bytes(p, a, b, size=8), "a float32 has 4 bytes"),
    (check_training_bytes, lambda p, a, b: training_bytes(p, a, 1), "for each image of the batch"),
    (check_training_bytes, lambda p, a, b: b * training_bytes(p, a, 1), "once, whatever the batch"),
    (check_training_bytes, lambda p, a, b: training_bytes(p, a, b, copies=1), "a gradient and a velocity beside"),
    (check_training_bytes, lambda p, a, b: training_bytes(p, a, b, copies=2), "and there are three"),
    (check_training_bytes, lambda p, a, b: training_bytes(p, a, b, copies=4), "would be Adam's"),
    (check_training_bytes, lambda p, a, b: training_bytes(p, 0, b), "the activations are missing"),
    (check_training_bytes, lambda p, a, b: training_bytes(0, a, b), "gradients and velocities are missing"),
    (check_training_bytes, lambda p, a, b: training_bytes(p, 3 * a, b), "an activation has no velocity"),
    (check_training_bytes, lambda p, a, b: 7, "bytes, not 7."),
    (check_training_bytes, lambda p, a, b: "7", "must return a number, and returned str"),
    (check_predict_error, lambda a, e, at: predict_error(a, e, at, back=plain), "still the logarithm"),
    (check_predict_error, lambda a, e, at: predict_error(a, e, at, plain, plain, plain), "of both first"),
    (check_predict_error, lambda a, e, at: predict_error(a, e, at, numpy.log, plain, plain), "the errors need"),
    (check_predict_error, lambda a, e, at: predict_error(a, e, at, plain), "the amounts need"),
    (check_predict_error, lambda a, e, at: predict_error(a, e, at, back=lambda x: 10**x), "the natural logarithm"),
    (check_predict_error, through(-2, -1), "the last two points alone"),
    (check_predict_error, through(0, -1), "the first and the last point"),
    (check_predict_error, parts(lambda slope, height, at: numpy.exp(height + slope * at)), "the logarithm of `at`"),
    (check_predict_error, parts(lambda slope, height, at: numpy.exp(slope + height * numpy.log(at))), "slope first"),
    (check_predict_error, parts(lambda slope, height, at: at**slope), "the height of the line is missing"),
    (check_predict_error, lambda a, e, at: e[-1], "the last error again"),
    (check_predict_error, lambda a, e, at: 0.123, "not 0.1230."),
    (check_predict_error, lambda a, e, at: numpy.polyfit(a, e, 1), "must return a number, and returned ndarray"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_wrong_answers_are_rejected_with_the_right_words(check, answer, message, told):  # noqa: F811
    check(answer)
    out = told()
    assert out.startswith("Not yet: ")
    assert message in out
