import pytest

from eva.exercises import check_corner_field, check_field


def field(layers, jumped=True, dilated=True, early=False, size=1):
    """A chain's receptive field, with the mistakes that a learner makes on the way to it."""
    jump = 1
    for kernel, stride, dilation in layers:
        step = jump * stride if early else jump
        size += (dilation if dilated else 1) * (kernel - 1) * (step if jumped else 1)
        jump *= stride
    return size


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda layers: field(layers, jumped=False), "Multiply by the jump"),
        (lambda layers: field(layers, dilated=False), "a kernel with dilation d reaches"),
        (lambda layers: field(layers, early=True), "Add first, then change the jump"),
        (lambda layers: field(layers, size=0), "a unit is one pixel, and sees one"),
        (lambda layers: sum(kernel - 1 for kernel, *_ in layers), "[(3, 1, 1)] see 3 pixels, not 2: before any layer"),
        (lambda layers: 1 + sum(kernel - 1 for kernel, *_ in layers), "[(3, 1, 2)] see 5 pixels, not 3: a kernel with"),
        (lambda layers: sum(kernel for kernel, *_ in layers), "see 5 pixels, not 3: a kernel with dilation d reaches"),
        (lambda layers: 1 + sum(kernel for kernel, *_ in layers), "one pixel of its kernel lies on what was seen"),
        (lambda layers: field([(d * (k - 1) + 2, s, 1) for k, s, d in layers]), "one pixel of its kernel lies on"),
        (lambda layers: field([(d * k, s, 1) for k, s, d in layers]), "not over d * kernel"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(function, words, refused):
    refused(check_field, function, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda side: side, "In an image of 2 pixels, the unit in the corner needs a field of 3, not 2: the field is"),
        (lambda side: 2 * side, "the corner pixel itself is the middle"),
        (lambda side: 2 * (side - 1), "In an image of 1 pixel, the unit in the corner needs a field of 1, not 0"),
        (lambda side: side**2, "not by its number of pixels"),
    ],
)
def test_wrong_corners_are_met_with_the_right_words(function, words, refused):
    refused(check_corner_field, function, words)
