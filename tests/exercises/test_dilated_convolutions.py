import numpy
import pytest
import torch

from eva.exercises import check_dilations, check_same_padding


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (
            check_same_padding,
            lambda kernel, dilation: kernel // 2,
            "spans 5 pixels, and with padding 1 a map of 5x5 came out",
        ),
        (
            check_same_padding,
            lambda kernel, dilation: kernel // 2,
            "came out 3x3: dilation moves the kernel's rows apart",
        ),
        (check_same_padding, lambda kernel, dilation: dilation, "reaches 2 to each side already"),
        (check_same_padding, lambda kernel, dilation: dilation * (kernel - 1), "padding goes on each"),
        (check_same_padding, lambda kernel, dilation: dilation * kernel // 2, "what the kernel reaches to one side"),
        (
            check_same_padding,
            lambda kernel, dilation: -1,
            "with padding -1 a map of 3x3 came out 0x0: padding is 0 or more",
        ),
        (check_same_padding, lambda kernel, dilation: dilation * (kernel - 1) / 2, "a whole number of pixels"),
        (check_dilations, lambda: (2, 2, 2), "the field is 13 pixels wide, but only 7"),
        (check_dilations, lambda: (1, 2, 4), "(1, 2, 4) leaves no hole, and the field is 15 pixels"),
        (check_dilations, lambda: (1, 2, 10**9), "three layers of three weights read far fewer"),
        (check_dilations, lambda: None, "returned nothing"),
        (check_dilations, lambda: (1, 3, 10), "but only 27 of each row"),
        (check_dilations, lambda: (1, 3, 9.0), "and returned (1, 3, 9.0)"),
        (check_dilations, lambda: 9, "must return three whole numbers"),
    ],
)
def test_wrong_paddings_and_dilations_are_told_what_they_do(check, function, words, refused):
    refused(check, function, words)


@pytest.mark.parametrize("dilations", [(9, 3, 1), [3, 1, 9], numpy.array([1, 3, 9]), torch.tensor([1, 3, 9])])
def test_the_dilations_may_come_in_any_order(dilations, verdict):
    assert verdict(check_dilations, lambda: dilations) == "Right, 27 pixels without a hole.\n"


@pytest.mark.parametrize("dilations", [(1, 2, 3), (1, 1, 1), (2, 2, 2), (1, 3, 8), (1, 2, 4)])
def test_a_wrong_answer_is_not_told_the_largest_field(dilations, verdict):
    assert "27" not in verdict(check_dilations, lambda: dilations)
