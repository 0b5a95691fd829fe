import pytest
import torch

from eva.exercises_scaling import check_straight_line
from tests.test_exercises import stub, told  # noqa: F401 - a fixture


def line(x, y):
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return slope, y.mean() - slope * x.mean()


def by_lstsq(x, y):
    return torch.linalg.lstsq(torch.stack([x, torch.ones_like(x)], 1), y[:, None]).solution[:, 0]


def through_zero(x, y):
    return (x * y).sum() / (x * x).sum()


def through_the_means(x, y, slope):
    return slope, y.mean() - slope * x.mean()


def turned(x, y):
    slope, intercept = line(y, x)
    return 1 / slope, -intercept / slope


def ends(x, y):
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    return slope, y[0] - slope * x[0]


def mixed(x, y):
    products = ((x - x.mean()) * (y - y.mean())).mean()
    return through_the_means(x, y, products / x.var())


def correlation(x, y):
    return through_the_means(x, y, torch.corrcoef(torch.stack([x, y]))[0, 1])


@pytest.mark.parametrize("solution", [line, by_lstsq, lambda x, y: [float(one) for one in line(x, y)]])
def test_the_check_takes_the_solution(solution, told):  # noqa: F811
    check_straight_line(solution)
    assert told().startswith("Right, ")


def test_the_check_greets_the_stub(told):  # noqa: F811
    check_straight_line(stub)
    assert "Not yet: `stub` returned nothing." in told()


WRONG = [
    (lambda x, y: line(x, y)[::-1], "the slope comes first"),
    (lambda x, y: line(y, x), "predicts x from y"),
    (turned, "turned round"),
    (lambda x, y: (through_zero(x, y), 0.0), "the intercept is forgotten"),
    (lambda x, y: through_the_means(x, y, through_zero(x, y)), "that of a line through (0, 0)"),
    (lambda x, y: (line(x, y)[0], 0.0), "the slope is right; the intercept is"),
    (lambda x, y: (line(x, y)[0], y.mean()), "the height at mean(x)"),
    (lambda x, y: (line(x, y)[0], y.mean() + line(x, y)[0] * x.mean()), "subtract slope * mean(x)"),
    (ends, "the first point and the last"),
    (lambda x, y: (-line(x, y)[0], y.mean() + line(x, y)[0] * x.mean()), "the wrong sign"),
    (mixed, "the other way round"),
    (correlation, "that slope is the correlation"),
    (lambda x, y: (0.0, y.mean()), "squared distances"),
    (lambda x, y: line(x, y)[0], "must return two numbers"),
    (lambda x, y: (*line(x, y), 0.0), "must return two numbers"),
    (lambda x, y: ("1", "2"), "must return a number, and returned str"),
    (lambda x, y: (x, y), "must return a number, and returned Tensor"),
    (lambda x, y: line(x, y)[2], "stopped with IndexError"),
]


@pytest.mark.parametrize(("answer", "message"), WRONG)
def test_wrong_answers_are_rejected_with_the_right_words(answer, message, told):  # noqa: F811
    check_straight_line(answer)
    out = told()
    assert out.startswith("Not yet: ")
    assert message in out
