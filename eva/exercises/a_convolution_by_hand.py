"""The exercises of notebook 02. PyTorch's convolutions are the truth."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, nn

from eva.exercises.grading import Question, SuchAs, Table, Trial, exercise, growing, integer

# A place; an even kernel; a stride; a stride that does not fit; padding. As size, kernel, stride, padding.
SMALL = ((3, 3, 1, 0), (4, 2, 1, 0), (5, 3, 2, 0), (6, 3, 2, 0), (3, 3, 1, 1))


@exercise(45, "on 5 small settings, and 40 random kernels, strides, paddings and sizes")
def check_output_size(rng: Generator, turn: int) -> Trial:
    if turn < len(SMALL):
        size, kernel, stride, padding = SMALL[turn]
    else:
        kernel, stride, size = integer(rng, 1, 5), integer(rng, 1, 3), integer(rng, 6, 40)
        padding = integer(rng, 0, 6)
    truth = F.conv2d(torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel), None, stride, padding).shape[-1]
    padded, around = size + 2 * padding, 2 * (kernel // 2)
    room = padded - kernel
    round_down = "a step that does not fit is left out, so round down, with //."
    wrong_ideas: Table = [  # the order counts: small settings show some ideas before others that give the same number
        (round(room / stride) + 1, math.ceil(room / stride) + 1, round_down),
        (SuchAs(2.5, lambda pixels: pixels % 1 != 0), round_down),
        ((padded - around - 1) // stride + 1, "2 * (kernel // 2) is kernel - 1 for odd kernels only."),
        ((padded - around) // stride + 1, "the first position has been counted already: kernel - 1 pixels are lost."),
        ((room + 1) // stride, "the first position needs no step: divide the room for steps, then add 1."),
        ((size - kernel) // stride + 1, "the padding makes the image wider first, on both sides."),
        ((size + padding - kernel) // stride + 1, "padding goes on both sides."),
        (room + 1, "a stride larger than 1 leaves positions out: divide by it."),
        (
            padded // stride,
            -(-padded // stride),
            "the kernel must fit in whole, its last pixel on the last of the image.",
        ),
        (room // stride, "the first position counts too, before any step."),
    ]
    setting = f"A {kernel}x{kernel} kernel with stride {stride} and padding {padding} makes {truth} of {size} pixels"
    yield Question((size, kernel, stride, padding), truth, wrong_ideas, lambda pixels: f"{setting}, not {pixels:g}")


@exercise(40, "on 40 random layers")
def check_count_weights(rng: Generator, turn: int) -> Trial:
    inputs, outputs, kernel = growing(rng, turn, 2, 64), growing(rng, turn, 4, 64), growing(rng, turn, 3, 7)
    truth = sum(parameter.numel() for parameter in nn.Conv2d(inputs, outputs, kernel).parameters())
    weights, one_map, one_row = truth - outputs, outputs * kernel**2, inputs * outputs * kernel
    added = (inputs + outputs) * kernel**2
    wrong_ideas: Table = [
        (weights, "each output map has a bias too."),
        (weights + 1, "that is one bias in all: each output map has its own."),
        (
            weights + inputs,
            weights + inputs * outputs,
            "a bias belongs to an output map, and is added once at a place.",
        ),
        (one_map, one_map + outputs, f"each output map has a kernel for each of the {inputs} input maps."),
        (inputs * kernel**2, inputs * kernel**2 + 1, f"that is one output map, and there are {outputs}."),
        (one_row, one_row + outputs, "the kernel is a square."),
        (2 * one_row, 2 * one_row + outputs, "the kernel is a square: kernel times kernel, not kernel times 2."),
        (added, added + outputs, "inputs and outputs multiply: there is a kernel for each pair of maps."),
        (inputs * outputs, inputs * outputs + outputs, "a kernel has kernel times kernel weights."),
    ]
    layer = f"nn.Conv2d({inputs}, {outputs}, {kernel}) has {truth:,} parameters"
    yield Question((inputs, outputs, kernel), truth, wrong_ideas, lambda count: f"{layer}, not {count:,}")
