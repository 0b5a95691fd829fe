"""The exercises of notebook 02. PyTorch's convolutions are the truth."""

import torch
import torch.nn.functional as F
from torch import Generator, nn

from eva.exercises.grading import Question, Trial, exercise, integer


@exercise(40, "on 40 random kernels, strides, paddings and sizes")
def check_output_size(rng: Generator) -> Trial:
    kernel, stride, size = integer(rng, 1, 5), integer(rng, 1, 3), integer(rng, 6, 40)
    padding = 6 * integer(rng, 0, 1)  # with less, some wrong ideas agree by chance, and the words would be wrong ones
    truth = F.conv2d(torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel), None, stride, padding).shape[-1]
    wrong_ideas = [
        ((size + 2 * padding - kernel) // stride, "the first position counts too, before any step."),
        ((size + padding - kernel) // stride + 1, "padding goes on both sides."),
    ]
    setting = f"A {kernel}x{kernel} kernel with stride {stride} and padding {padding} makes {truth} of {size} pixels"
    whole = "a step that does not fit is left out, so round down, with //."
    arguments = size, kernel, stride, padding
    yield Question(arguments, truth, wrong_ideas, lambda pixels: f"{setting}, not {pixels}", whole=whole)


@exercise(40, "on 40 random layers")
def check_count_weights(rng: Generator) -> Trial:
    inputs, outputs, kernel = integer(rng, 2, 64), integer(rng, 2, 64), integer(rng, 2, 7)
    truth = sum(parameter.numel() for parameter in nn.Conv2d(inputs, outputs, kernel).parameters())
    one_map, one_row = outputs * kernel**2, inputs * outputs * kernel
    wrong_ideas = [
        (truth - outputs, "each output map has a bias too."),
        (one_map, one_map + outputs, f"each output map has a kernel for each of the {inputs} input maps."),
        (one_row, one_row + outputs, "the kernel is a square."),
    ]
    layer = f"nn.Conv2d({inputs}, {outputs}, {kernel}) has {truth:,} parameters"
    yield Question((inputs, outputs, kernel), truth, wrong_ideas, lambda count: f"{layer}, not {count:,}")
