import pytest

from eva.exercises import check_dilations, check_same_padding


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_same_padding, lambda kernel, dilation: kernel // 2, "spans 31 pixels: with padding 3 a map of"),
        (check_same_padding, lambda kernel, dilation: dilation, "spans"),
        (check_same_padding, lambda kernel, dilation: -1, "with padding -1 a map of"),
        (check_same_padding, lambda kernel, dilation: dilation * (kernel - 1) / 2, "a whole number of pixels"),
        (check_dilations, lambda: (2, 2, 2), "the field is 13 pixels wide, but only 7"),
        (check_dilations, lambda: (1, 2, 4), "leaves no hole, and the field is 15 pixels"),
        (check_dilations, lambda: (1, 3, 10), "but only 27 of each row"),
        (check_dilations, lambda: (1, 3, 9.0), "must return three whole numbers"),
        (check_dilations, lambda: 9, "must return three whole numbers"),
    ],
)
def test_wrong_paddings_and_dilations_are_told_what_they_do(check, function, words, refused):
    refused(check, function, words)


@pytest.mark.parametrize("dilations", [(9, 3, 1), [3, 1, 9]])
def test_the_dilations_may_come_in_any_order(dilations, verdict):
    assert verdict(check_dilations, lambda: dilations) == "Right, 27 pixels without a hole.\n"
