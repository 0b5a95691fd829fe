import math

import pytest

from eva.exercises import check_widest
from eva.exercises.the_network import _sizes

AT_ONE = _sizes()[1.0]


def widest(limit, fits=lambda size, limit: size <= limit, further=0):
    """The largest width that fits, or one that is `further` steps wider."""
    widths = [width for width, size in _sizes().items() if fits(size, limit)]
    return round(max(widths) + 0.05 * further, 2)


def estimate(limit, rounded, at_one=AT_ONE):
    return rounded((limit / at_one) ** 0.5 / 0.05) * 0.05


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda limit: estimate(limit, math.floor),
            "At most 73,097 parameters the widest is 0.25 (54,394), not 0.3: that is an",
        ),
        (lambda limit: estimate(limit, round), "that is an estimate"),
        (lambda limit: estimate(limit, lambda steps: steps), "that is an estimate"),
        (lambda limit: estimate(limit, lambda steps: steps, 635_050), "that is an estimate"),
        (lambda limit: estimate(limit, math.floor, 635_050), "that is an estimate"),
        (lambda limit: estimate(limit, math.ceil), "that one has 95,258. Go back"),
        (lambda limit: widest(limit, lambda size, limit: size < limit), "the limit itself will do: compare with <="),
        (lambda limit: widest(limit, further=1), "that one has 95,258. Go back"),
        (lambda limit: widest(limit, further=-2), "a wider one fits: 0.3 has 73,098"),
        (lambda limit: round(20 * widest(limit)), "that counts the steps"),
        (lambda limit: _sizes()[widest(limit)], "return the width"),
    ],
)
def test_wrong_widths_are_met_with_the_right_words(function, words, refused):
    refused(check_widest, function, words.replace("At most", "at most"))


def test_the_widest_is_right(verdict):
    assert verdict(check_widest, widest).startswith("Right, ")
