"""The exercises of notebook 07. PyTorch's convolutions and the receptive-field calculator are the truth."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from eva.exercises.grading import (
    Question,
    SuchAs,
    Table,
    Trial,
    Wrong,
    ask,
    described,
    exercise,
    from_numpy,
    integer,
    name_of,
    something,
)
from eva.receptive_field import receptive_field

SMALL = ((3, 1), (3, 2), (5, 1), (5, 2))  # kernel and dilation
WIDEST = 100  # the largest dilation that is tried: holes are to be seen long before


@exercise(44, "on 4 small settings, and 40 random kernels, dilations and sizes")
def check_same_padding(rng: Generator, turn: int) -> Trial:
    small = turn < len(SMALL)
    kernel, dilation = SMALL[turn] if small else (2 * integer(rng, 0, 3) + 1, integer(rng, 1, 5))
    span = dilation * (kernel - 1) + 1
    size = span if small else integer(rng, 31, 48)
    weight = torch.zeros(1, 1, kernel, kernel, device="meta")  # only shapes are asked for: nothing is computed

    def size_with(padding: int) -> int:
        padded = size + 2 * padding
        return F.conv2d(torch.zeros(1, 1, padded, padded, device="meta"), weight, dilation=dilation).shape[-1]

    def opening(padding: int) -> str:
        came_out = size_with(padding) if size + 2 * padding >= span else 0
        setting = f"a {kernel}x{kernel} kernel with dilation {dilation} spans {span} pixels"
        return f"{setting}, and with padding {padding} a map of {size}x{size} came out {came_out}x{came_out}"

    truth = next(padding for padding in range(size) if size_with(padding) == size)
    half = kernel // 2
    wrong_ideas: Table = [
        (SuchAs(-1, lambda padding: padding < 0), "padding is 0 or more."),
        (half, "dilation moves the kernel's rows apart, so that it reaches further: take it in."),
        (dilation, f"without dilation this kernel reaches {half} to each side already: take its size in."),
        (2 * truth, kernel - 1, "that is what is missing on both sides together: padding goes on each."),
        (dilation * kernel // 2, "multiply what the kernel reaches to one side, kernel // 2, and not the kernel."),
        (half + dilation - 1, "each of the steps from the middle is `dilation` wide, not only the first: multiply."),
    ]
    whole = "padding is a whole number of pixels, 0 or more, and PyTorch takes no float for it. Use //."
    yield Question((kernel, dilation), truth, wrong_ideas, opening, whole=whole)


@exercise(1, "27 pixels without a hole")
def check_dilations(rng: Generator, turn: int) -> Trial:
    yield _judge_dilations


def _judge_dilations(function: Callable) -> None:
    answer, name = from_numpy(ask(function)), name_of(function)
    something(name, answer)
    if isinstance(answer, Tensor):
        answer = answer.tolist()
    three = isinstance(answer, tuple | list) and len(answer) == 3
    dilations: list[Any] = [d.item() if isinstance(d, Tensor) else from_numpy(d) for d in answer] if three else []
    if not three or not all(isinstance(dilation, int) and dilation > 0 for dilation in dilations):
        raise Wrong(
            f"`{name}` must return three whole numbers from 1 up, as (1, 2, 3), and returned {described(answer)}."
        )
    shown = described(tuple(dilations))
    if max(dilations) > WIDEST:
        wide = 1 + 2 * sum(dilations)
        raise Wrong(f"with {shown} the field is {wide} pixels wide, but three layers of three weights read far fewer.")
    layers = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation) for dilation in dilations))
    size = receptive_field(layers, (1, 64, 64)).size[0]
    image = torch.zeros(1, 1, 2 * size + 1, 1, requires_grad=True)
    for parameter in layers.parameters():
        nn.init.ones_(parameter)  # so that no two paths cancel
    (gradient,) = torch.autograd.grad(layers(image)[0, 0, size, 0], image)
    read = int((gradient != 0).sum())
    if read < size:
        raise Wrong(f"with {shown} the field is {size} pixels wide, but only {read} of each row of them are read.")
    if size < 27:
        raise Wrong(
            f"{shown} leaves no hole, and the field is {size} pixels, but some pixels are read on more than one path: "
            "a larger field can be had."
        )
