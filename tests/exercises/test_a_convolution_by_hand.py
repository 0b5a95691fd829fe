import math

import numpy
import pytest

from eva.exercises import check_count_weights, check_output_size


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda n, k, s, p: (n - k) // s + 1,
            "A 3x3 kernel with stride 1 and padding 1 makes 3 of 3 pixels, not 1: the padd",
        ),
        (lambda n, k, s, p: (n + p - k) // s + 1, "padding goes on both sides"),
        (lambda n, k, s, p: n + 2 * p - k + 1, "of 5 pixels, not 3: a stride larger than 1 leaves positions out"),
        (lambda n, k, s, p: n - k + 1, "a stride larger than 1 leaves positions out"),
        (lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "of 6 pixels, not 3: a step that does not fit"),
        (lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1, "a step that does not fit is left out"),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "of 6 pixels, not 2.5: a step that does not fit is left out"),
        (
            lambda n, k, s, p: (n + 2 * p - 2 * (k // 2) - 1) // s + 1,
            "A 2x2 kernel with stride 1 and padding 0 makes 3 of",
        ),
        (lambda n, k, s, p: (n + 2 * p - 2 * (k // 2) - 1) // s + 1, "is kernel - 1 for odd kernels only"),
        (lambda n, k, s, p: (n + 2 * p - 2 * (k // 2)) // s + 1, "kernel - 1 pixels are lost"),
        (lambda n, k, s, p: (n + 2 * p - k) // s, "1 of 3 pixels, not 0: the first position counts too"),
        (lambda n, k, s, p: (n + 2 * p - k + 1) // s, "the first position needs no step"),
        (lambda n, k, s, p: (n + 2 * p) // s, "the kernel must fit in whole"),
    ],
)
def test_wrong_sizes_are_met_with_the_right_words(function, words, refused):
    refused(check_output_size, function, words)


def test_a_whole_number_may_be_a_float(verdict):
    assert verdict(check_output_size, lambda n, k, s, p: numpy.floor((n + 2 * p - k) / s) + 1).startswith("Right, ")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda i, o, k: i * o * k * k, "nn.Conv2d(2, 4, 3) has 76 parameters, not 72: each output map has a bias too"),
        (lambda i, o, k: i * o * k * k + 1, "one bias in all"),
        (lambda i, o, k: i * o * (k * k + 1), "a bias belongs to an output map"),
        (lambda i, o, k: o * (k * k + 1), "for each of the 2 input maps"),
        (lambda i, o, k: i * o * k + o, "the kernel is a square"),
        (lambda i, o, k: i * o * 2 * k + o, "not kernel times 2"),
        (lambda i, o, k: (i + o) * k * k + o, "inputs and outputs multiply"),
    ],
)
def test_wrong_counts_are_met_with_the_right_words(function, words, refused):
    refused(check_count_weights, function, words)
