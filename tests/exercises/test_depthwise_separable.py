import pytest
from torch import nn

from eva.exercises import check_count_separable, check_separable


def separable(inputs, outputs, groups=None, padding=1, bias=False, made=None, mixed=1, **depthwise):
    """The two convolutions, with the mistakes that a learner makes on the way to them."""
    made = made or inputs
    return nn.Sequential(
        nn.Conv2d(inputs, made, 3, padding=padding, groups=groups or inputs, bias=bias, **depthwise),
        nn.Conv2d(made, outputs, 1, groups=mixed, bias=bias),
    )


def turned_round(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False),
    )


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda i, o: separable(i, o, groups=1), "as a standard one does: it needs groups="),
        (lambda i, o: separable(i, o, mixed=i), "its task is to mix all maps"),
        (lambda i, o: separable(i, o, padding=0), "a 3x3 kernel needs padding=1"),
        (turned_round, "the 1x1 convolution comes first here"),
        (lambda i, o: separable(i, o, bias=True), "there is a bias"),
        (lambda i, o: separable(i, o, made=2 * i), "The 1x1 convolution changes their number"),
        (lambda i, o: separable(i, o, groups=1 if i % 2 else i // 2), "it needs"),
        (lambda i, o: separable(i, o, groups=i if i % 2 else i // 2), "a map by itself needs"),
        (lambda i, o: separable(i, o)[0], "has 1 convolutions"),
        (lambda i, o: separable(i, i), "and two convolutions alone have"),
        (lambda i, o: separable(i, o).append(nn.BatchNorm2d(o)), "and two convolutions alone have"),
        (lambda i, o: separable(i, o).append(nn.ReLU()), "there is more between input and output, ReLU"),
        (lambda i, o: separable(i, o).insert(0, nn.ReLU(inplace=True)), "there is more between input and output, ReLU"),
        (lambda i, o: separable(i, o, padding=2, dilation=2), "the 3x3 convolution has dilation 2"),
        (lambda i, o: separable(i, o, stride=2), "the 3x3 convolution has a stride of 2"),
        (lambda i, o: separable(i, o, padding_mode="reflect"), 'pads in the mode "reflect"'),
        (
            lambda i, o: nn.Sequential(separable(i, o)[0], nn.Conv2d(o, i, 1, bias=False)),
            "`Sequential` stopped with Run",
        ),
        (lambda i, o: separable(i, o).append(nn.PixelShuffle(1)).append(nn.Flatten(0, 1)), "maps, and should make"),
        (lambda i, o: nn.Sequential(separable(i, o)[0], nn.Conv2d(i, o, 3, padding=1)), "are 3x3 and 3x3"),
        (lambda i, o: i * o, "must return a layer, an nn.Sequential for one, not an int"),
        (lambda i, o: None, "returned nothing"),
    ],
)
def test_wrong_layers_are_told_what_is_wrong_with_them(function, words, refused):
    refused(check_separable, function, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda i, o, k: i * i * k * k + i * o,
            "2 to 5 maps with a 3x3 kernel take 28 weights, not 46: that first conv",
        ),
        (lambda i, o, k: i * o * k * k, "that is the standard convolution"),
        (lambda i, o, k: i * k * k + i * o * k * k, "the pointwise convolution is 1x1"),
        (lambda i, o, k: i * k * k * i * o, "their weights are added"),
        (lambda i, o, k: i * k * k + o, "for each *pair* of maps"),
        (lambda i, o, k: o * k * k + i * o, "a kernel for each *input* map"),
        (lambda i, o, k: i * k * k + i * o + o, "there are no biases"),
    ],
)
def test_wrong_counts_are_met_with_the_right_words(function, words, refused):
    refused(check_count_separable, function, words)
