"""The exercises of notebook 07. PyTorch's convolutions and the receptive-field calculator are the truth."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, nn

from eva.exercises.grading import Question, Trial, Wrong, exercise, from_numpy, integer, name_of, something
from eva.receptive_field import receptive_field


@exercise(40, "on 40 random kernels, dilations and sizes")
def check_same_padding(rng: Generator) -> Trial:
    kernel, dilation, size = 2 * integer(rng, 1, 3) + 1, integer(rng, 1, 5), integer(rng, 31, 48)
    image = torch.zeros(1, 1, size, size, device="meta")  # only shapes are asked for: nothing is computed
    weight = torch.zeros(1, 1, kernel, kernel, device="meta")

    def size_with(padding: int) -> int:
        return F.conv2d(F.pad(image, [padding] * 4), weight, dilation=dilation).shape[-1]

    def opening(padding: int) -> str:
        setting = f"a {kernel}x{kernel} kernel with dilation {dilation} spans {dilation * (kernel - 1) + 1} pixels"
        came_out = size_with(padding)
        return f"{setting}: with padding {padding} a map of {size}x{size} came out {came_out}x{came_out}"

    truth = next(padding for padding in range(size) if size_with(padding) == size)
    whole = "padding is a whole number of pixels, 0 or more. Use //."
    yield Question((kernel, dilation), truth, [], opening, whole=whole)


@exercise(1, "27 pixels without a hole")
def check_dilations(rng: Generator) -> Trial:
    yield _judge_dilations


def _judge_dilations(function: Callable) -> None:
    dilations = function()
    something(name_of(function), dilations)
    if isinstance(dilations, tuple | list):
        dilations = type(dilations)(map(from_numpy, dilations))
    three = isinstance(dilations, tuple | list) and len(dilations) == 3
    if not three or not all(isinstance(dilation, int) and dilation > 0 for dilation in dilations):
        raise Wrong(f"`{name_of(function)}` must return three whole numbers from 1 up, and returned {dilations!r}.")
    layers = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation) for dilation in dilations))
    size = receptive_field(layers, (1, 64, 64)).size[0]
    image = torch.zeros(1, 1, 2 * size + 1, 1, requires_grad=True)
    for parameter in layers.parameters():
        nn.init.ones_(parameter)  # so that no two paths cancel
    (gradient,) = torch.autograd.grad(layers(image)[0, 0, size, 0], image)
    read = int((gradient != 0).sum())
    if read < size:
        raise Wrong(f"with {dilations} the field is {size} pixels wide, but only {read} of each row of them are read.")
    if size < 27:
        raise Wrong(f"{dilations} leaves no hole, and the field is {size} pixels: 27 can be had.")
