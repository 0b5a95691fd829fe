import pytest

from eva.exercises import check_field


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
    ],
)
def test_wrong_code_is_met_with_the_right_words(function, words, refused):
    refused(check_field, function, words)
