import pytest
import torch
import torch.nn.functional as F

from eva.augment import flip
from eva.exercises import (
    check_corner_field,
    check_count_weights,
    check_cross_entropy,
    check_dilations,
    check_field,
    check_normalise,
    check_output_size,
    check_prepare,
    check_same_padding,
)
from tests.exercises import answers_blocks


@pytest.fixture
def told(capsys):
    return lambda: capsys.readouterr().out


# Each check is tried on its solution and on wrong answers that it must reject with the right words.


def stub(*_):
    return ...


def field(layers, jumped=True, dilated=True, early=False, size=1):
    """A chain's receptive field, with the mistakes that a learner makes on the way to it."""
    jump = 1
    for kernel, stride, dilation in layers:
        step = jump * stride if early else jump
        size += (dilation if dilated else 1) * (kernel - 1) * (step if jumped else 1)
        jump *= stride
    return size


SOLUTIONS = [
    (check_prepare, lambda images, part, rng: flip(images, rng) if part == "train" else images),
    (check_field, field),
    (check_corner_field, lambda side: 2 * side - 1),
    (check_same_padding, lambda kernel, dilation=1: dilation * (kernel // 2)),
    (check_dilations, lambda: (1, 3, 9)),
    (check_normalise, lambda images, mean, std: (images / 255 - mean[:, None, None]) / std[:, None, None]),
    (check_output_size, lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride + 1),
    (check_count_weights, lambda inputs, outputs, kernel: outputs * (inputs * kernel * kernel + 1)),
    (check_cross_entropy, lambda logits, labels: -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()),
]


@pytest.mark.parametrize(("check", "solution"), [*SOLUTIONS, *answers_blocks.SOLUTIONS])
def test_each_check_takes_the_solution_and_greets_the_stub(check, solution, told):
    check(solution)
    assert told().startswith("Right, ")
    check(stub)
    assert "Not yet: `stub` returned nothing." in told()


def raises(*_):
    raise RuntimeError("oh")


WRONG = [
    (check_prepare, lambda images, part, rng: flip(images, rng), "came back changed"),
    (check_prepare, lambda images, part, rng: images, "came back as they were"),
    (check_prepare, lambda i, part, rng: i.flip(3) if part == "train" else i, "with the generator that was given"),
    (check_field, lambda layers: field(layers, jumped=False), "Multiply by the jump"),
    (check_field, lambda layers: field(layers, dilated=False), "a kernel with dilation d reaches"),
    (check_field, lambda layers: field(layers, early=True), "Add first, then change the jump"),
    (check_field, lambda layers: field(layers, size=0), "a unit is one pixel, and sees one"),
    (check_field, lambda layers: 99, "pixels, not 99."),
    (check_field, lambda layers: "7", "must return a number, and returned str"),
    (check_corner_field, lambda side: side, "half of it lies beyond the border"),
    (check_corner_field, lambda side: 2 * side, "the corner pixel itself"),
    (check_corner_field, lambda side: 7, "needs a field of"),
    (check_same_padding, lambda kernel, dilation: kernel // 2, "spans 31 pixels: with padding 3 a map of"),
    (check_same_padding, lambda kernel, dilation: dilation, "spans"),
    (check_same_padding, lambda kernel, dilation: dilation * (kernel - 1) / 2, "whole number"),
    (check_dilations, lambda: (2, 2, 2), "the field is 13 pixels wide, but only 7"),
    (check_dilations, lambda: (1, 2, 4), "leaves no hole, and the field is 15 pixels"),
    (check_dilations, lambda: (1, 3, 10), "but only 27 of each row"),
    (check_dilations, lambda: 9, "must return three whole numbers"),
    (check_normalise, raises, "stopped with RuntimeError: oh"),
    (check_normalise, lambda images, mean, std: (images - mean[:, None, None]) / std[:, None, None], "by 255 first"),
    (check_normalise, lambda images, mean, std: images / 255 - mean[:, None, None], "the spread is not 1 yet"),
    (check_normalise, lambda i, mean, std: (i / 255 - mean[:, None, None]) / std[:, None, None] ** 2, "the variance"),
    (check_normalise, lambda images, mean, std: (images / 255 - mean) / std, "Error: The size of tensor"),
    (check_normalise, lambda images, mean, std: images.numpy(), "must return a tensor, and returned ndarray"),
    (check_normalise, lambda images, mean, std: images[0] / 255, "must return the shape"),
    (check_normalise, lambda i, mean, std: (i / 255 - mean.mean()) / std.mean(), "each pixel's own channel"),
    (check_output_size, lambda size, kernel, stride, padding: (size + padding - kernel) // stride + 1, "both sides"),
    (check_output_size, lambda size, kernel, stride, padding: (size + 2 * padding - kernel) / stride + 1, "round down"),
    (
        check_output_size,
        lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride,
        "first position",
    ),
    (check_output_size, lambda size, kernel, stride, padding: size, "A "),
    (check_output_size, lambda *_: "5", "must return a number, and returned str"),
    (check_count_weights, lambda inputs, outputs, kernel: outputs * inputs * kernel**2, "has a bias too"),
    (check_count_weights, lambda inputs, outputs, kernel: outputs * kernel**2 + outputs, "for each of the"),
    (check_count_weights, lambda inputs, outputs, kernel: inputs * outputs * kernel, "the kernel is a square"),
    (check_count_weights, lambda inputs, outputs, kernel: 7, "parameters, not 7"),
    (check_cross_entropy, lambda logits, labels: F.cross_entropy(logits.softmax(1), labels), "softmax twice"),
    (check_cross_entropy, lambda logits, labels: -F.cross_entropy(logits, labels), "the sign is wrong"),
    (check_cross_entropy, lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"), "is the sum over"),
    (check_cross_entropy, lambda logits, labels: F.cross_entropy(logits, labels) + 1, "came out as"),
    (check_cross_entropy, lambda logits, labels: logits, "must return a number, and returned Tensor"),
]


@pytest.mark.parametrize(("check", "answer", "message"), [*WRONG, *answers_blocks.WRONG])
def test_wrong_answers_are_rejected_with_the_right_words(check, answer, message, told):
    check(answer)
    out = told()
    assert out.startswith("Not yet: ")
    assert message in out
