"""The exercises of notebook 08. PyTorch's convolutions are the truth."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from eva.exercises.grading import (
    Question,
    Table,
    Trial,
    Wrong,
    ask,
    close,
    exercise,
    growing,
    kind_of,
    name_of,
    something,
)
from eva.measure import count_parameters


@exercise(20, "on 20 random numbers of maps")
def check_separable(rng: Generator, turn: int) -> Trial:
    inputs = growing(rng, turn, 3, 9)
    # The multiple comes first: grouping the 1x1 convolution stops with an error of PyTorch's at any other number.
    for outputs in (2 * inputs, growing(rng, turn, 2, 30)):
        maps = torch.randn(2, inputs, growing(rng, turn, 3, 9), growing(rng, turn, 10, 14), generator=rng)
        yield partial(_judge_separable, inputs, outputs, maps)


def _judge_separable(inputs: int, outputs: int, maps: Tensor, function: Callable) -> None:
    layer, name = ask(function, inputs, outputs), name_of(function)
    call = f"`{name}({inputs}, {outputs})`"
    something(name, layer)
    if not isinstance(layer, nn.Module):
        raise Wrong(f"`{name}` must return a layer, an nn.Sequential for one, not {kind_of(layer)}.")
    convolutions = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
    if len(convolutions) != 2:
        raise Wrong(f"{call} has {len(convolutions)} convolutions: a depthwise and a pointwise one make two.")
    depthwise, pointwise = convolutions
    parameters, expected = count_parameters(layer), 9 * inputs + inputs * outputs
    if depthwise.kernel_size == (1, 1) and pointwise.kernel_size == (3, 3):
        raise Wrong("the 1x1 convolution comes first here: look at each map first, then mix what was found.")
    if (depthwise.kernel_size, pointwise.kernel_size) != ((3, 3), (1, 1)):
        sizes = " and ".join(f"{conv.kernel_size[0]}x{conv.kernel_size[1]}" for conv in convolutions)
        raise Wrong(f"the kernels of {call} are {sizes}: the first should be 3x3, the second 1x1.")
    if depthwise.groups == 1:
        raise Wrong(f"the 3x3 convolution of {call} mixes all maps, as a standard one does: it needs groups={inputs}.")
    if pointwise.groups != 1:
        raise Wrong(f"the 1x1 convolution has {pointwise.groups} groups: its task is to mix all maps, so it has none.")
    if depthwise.groups != inputs:
        raise Wrong(f"the 3x3 convolution of {call} has {depthwise.groups} groups: a map by itself needs {inputs}.")
    if depthwise.out_channels != inputs:
        raise Wrong(
            f"the 3x3 convolution of {call} makes {depthwise.out_channels} maps: it has one kernel per map, "
            f"and makes {inputs} of {inputs}. The 1x1 convolution changes their number."
        )
    for convolution, kernel in ((depthwise, "3x3"), (pointwise, "1x1")):
        _judge_placing(convolution, kernel)
    if any(conv.bias is not None for conv in convolutions):
        raise Wrong("there is a bias: batch norm comes next and subtracts the mean, and a bias with it. bias=False.")
    if parameters != expected:
        raise Wrong(f"{call} has {parameters:,} parameters, and two convolutions alone have {expected:,}.")
    with torch.no_grad():
        output = ask(layer, maps)
        truth = F.conv2d(F.conv2d(maps, depthwise.weight, padding=1, groups=inputs), pointwise.weight)
    if not isinstance(output, Tensor):
        raise Wrong(f"the layer of {call} must make maps of maps, and returned {kind_of(output)}.")
    if output.shape[1:2] != truth.shape[1:2]:
        raise Wrong(f"{call} makes {output.shape[1]} maps, and should make {outputs}.")
    if output.shape != truth.shape:
        before, after = ("x".join(map(str, tensor.shape[2:])) for tensor in (maps, output))
        raise Wrong(f"maps of {before} came out {after}: a 3x3 kernel needs padding=1, a 1x1 kernel none.")
    if not close(output, truth):
        known = (nn.Conv2d, nn.Sequential, type(layer))
        others = [type(module).__name__ for module in layer.modules() if not isinstance(module, known)]
        why = f"there is more between input and output, {others[0]}: leave it out" if others else "it must be just that"
        raise Wrong(f"the output of {call} is not that of its two convolutions, one after the other: {why}.")


def _judge_placing(convolution: nn.Conv2d, kernel: str) -> None:
    """Raise Wrong where a kernel is laid down otherwise than everywhere, whole, with zeros around."""
    if convolution.dilation != (1, 1):
        rate = max(convolution.dilation)
        raise Wrong(
            f"the {kernel} convolution has dilation {rate}: it keeps the size, but reads other pixels. Leave it at 1."
        )
    if convolution.stride != (1, 1):
        rate = max(convolution.stride)
        raise Wrong(
            f"the {kernel} convolution has a stride of {rate}, and makes the maps smaller: the size is to be kept."
        )
    if convolution.padding_mode != "zeros":
        mode = convolution.padding_mode
        raise Wrong(
            f'the {kernel} convolution pads in the mode "{mode}": leave it at zeros, as everywhere in the course.'
        )


@exercise(40, "on 40 random layers")
def check_count_separable(rng: Generator, turn: int) -> Trial:
    inputs, outputs = growing(rng, turn, 2, 64), growing(rng, turn, 5, 64)
    kernel = 2 * growing(rng, turn, 1, 3) + 1
    depthwise = nn.Conv2d(inputs, inputs, kernel, groups=inputs, bias=False).weight.numel()
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False).weight.numel()
    truth, standard = depthwise + pointwise, inputs * outputs * kernel**2
    biased = (truth + outputs, truth + inputs, truth + inputs + outputs)
    by_output, mixing = outputs * kernel**2, inputs * inputs * kernel**2
    wrong_ideas: Table = [
        (standard, "that is the standard convolution. The depthwise one has a single kernel per map."),
        (
            mixing + pointwise,
            f"that first convolution mixes all maps: with {inputs} groups each map has one kernel to itself.",
        ),
        (
            depthwise + standard,
            "the pointwise convolution is 1x1: one weight for each pair of maps, whatever the kernel.",
        ),
        (depthwise, "the 1x1 convolution has weights too, one for each pair of maps."),
        (depthwise + outputs, "the 1x1 convolution has one weight for each *pair* of maps, inputs times outputs."),
        (pointwise, "the depthwise convolution has weights too, a kernel for each input map."),
        (depthwise * pointwise, "the two convolutions come one after the other: their weights are added."),
        (*biased, "there are no biases here."),
        (kernel**2 + pointwise, f"each of the {inputs} input maps has a kernel of its own."),
        (by_output + pointwise, by_output, "the depthwise convolution comes first: a kernel for each *input* map."),
        (inputs * kernel + pointwise, "the kernel is a square."),
    ]
    layer = f"{inputs} to {outputs} maps with a {kernel}x{kernel} kernel take {truth:,} weights"
    yield Question((inputs, outputs, kernel), truth, wrong_ideas, lambda count: f"{layer}, not {count:,}")
