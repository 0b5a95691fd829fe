"""The exercises of notebooks 06 to 09. Each check says what a wrong answer forgot. PyTorch is the truth."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva.exercises.grading import Wrong, a_number, a_random, a_tensor, close, exercise, named
from eva.measure import count_parameters
from eva.model import Net, Residual


def _try_batch_norm(answer: Callable, rng: torch.Generator) -> None:
    count, maps, height = a_random(rng, 3, 5), a_random(rng, 2, 4), a_random(rng, 2, 4)
    width = maps + a_random(rng, 1, 2)  # were it as many as maps, (maps,) would fit the columns and nobody would notice
    x = torch.randn(count, maps, height, width, generator=rng) * 3
    x += torch.randn(count, maps, 1, 1, generator=rng) * 2  # so that images differ as a whole, and their maps too
    scale, shift = torch.rand(maps, generator=rng) + 1.5, torch.randn(maps, generator=rng) + 3
    out = a_tensor(answer, answer(x.clone(), scale, shift), tuple(x.shape))
    truth = F.batch_norm(x, None, None, scale, shift, training=True)
    if close(out, truth):
        return

    def scaled(normal: torch.Tensor) -> torch.Tensor:
        return normal * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)

    def over(*axes: int, correction: int = 0) -> torch.Tensor:
        variance = x.var(axes, correction=correction, keepdim=True)
        return (x - x.mean(axes, keepdim=True)) / (variance + 1e-5).sqrt()

    def came_out_as(normal: torch.Tensor) -> bool:
        return close(out, scaled(normal)) or close(out, normal)

    centred = x - x.mean((0, 2, 3), keepdim=True)
    if close(out, over(0, 2, 3)):
        raise Wrong("each map has mean 0 and variance 1 now: its scale and its shift are still to come.")
    if close(out, over(0, 2, 3) * scale.view(-1, 1, 1)):
        raise Wrong("the shift is missing: add it after the scale.")
    if close(out, (over(0, 2, 3) + shift.view(-1, 1, 1)) * scale.view(-1, 1, 1)):
        raise Wrong("that scales the shift too: multiply by the scale first, then add the shift.")
    if came_out_as(over(0, 2, 3, correction=1)):
        raise Wrong("PyTorch's `var` and `std` divide by n - 1 unless you say `correction=0`: batch norm divides by n.")
    if came_out_as(centred):
        raise Wrong("the mean is gone, but the spread is not 1 yet: divide by the root of the variance.")
    if came_out_as(centred / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5)):
        raise Wrong("that divides by the variance: take its square root.")
    if came_out_as(over(0)):
        raise Wrong("that has a mean for each position: it goes over the rows and columns too, axes 0, 2 and 3.")
    if came_out_as(over(2, 3)) or came_out_as(over(1, 2, 3)):
        raise Wrong("that normalises each image by itself: a mean goes over all images of the batch, axis 0 too.")
    if came_out_as(over(0, 1, 2, 3)):
        raise Wrong("that has one mean for everything: each map has its own, so leave axis 1 out.")
    raise Wrong("the values differ from F.batch_norm(x, None, None, scale, shift, training=True).")


check_batch_norm = exercise(_try_batch_norm, 20, "on 20 random batches")


def _try_dropout(answer: Callable, rng: torch.Generator) -> None:
    p = a_random(rng, 1, 4) / 10
    x = torch.randn(a_random(rng, 3, 6), a_random(rng, 10, 20), generator=rng) * 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(a_random(rng, 0, 10_000))
        factor = F.dropout(torch.ones_like(x), p, training=True)  # PyTorch's dropout, seen through ones
    keep = (factor > 0).float()
    in_training = a_tensor(answer, answer(x.clone(), keep.clone(), p, True), tuple(x.shape))
    if close(in_training, x):
        raise Wrong("in training mode a value goes where `keep` is 0, and nothing went.")
    if close(in_training, x * keep):
        raise Wrong("the right values are gone, but those that stay must make up for them: divide them by 1 - p.")
    if close(in_training, x * keep / p):
        raise Wrong("that divides by p, the share that goes: the share that stays is 1 - p.")
    if close(in_training, x * keep * (1 - p)):
        raise Wrong("that makes the values smaller still: divide by 1 - p.")
    if close(in_training, x * (1 - keep) / (1 - p)):
        raise Wrong("that is the wrong way round: `keep` is 1 where a value stays.")
    if not close(in_training, x * factor):
        raise Wrong(f"in training mode with p = {p} the values differ from what F.dropout makes of them.")
    in_evaluation = a_tensor(answer, answer(x.clone(), keep.clone(), p, False), tuple(x.shape))
    if close(in_evaluation, x):
        return
    if close(in_evaluation, x * keep) or close(in_evaluation, x * keep / (1 - p)):
        raise Wrong("that is right in training mode, but in evaluation mode nothing is dropped.")
    if close(in_evaluation, x * (1 - p)) or close(in_evaluation, x / (1 - p)):
        raise Wrong("in evaluation mode nothing is scaled: the division in training has made up for it already.")
    raise Wrong("that is right in training mode, but in evaluation mode x must come back as it was.")


check_dropout = exercise(_try_dropout, 20, "on 20 random tensors, in both modes")


def _try_separable(answer: Callable, rng: torch.Generator) -> None:
    inputs = a_random(rng, 3, 9)
    # The multiple comes first: grouping the 1x1 convolution stops with an error of PyTorch's at any other number.
    for outputs in (2 * inputs, a_random(rng, 2, 30)):
        _try_layer(answer, inputs, outputs, rng)


def _try_layer(answer: Callable, inputs: int, outputs: int, rng: torch.Generator) -> None:
    layer, call = answer(inputs, outputs), f"`{named(answer)}({inputs}, {outputs})`"
    if layer is None or layer is Ellipsis:
        raise Wrong(f"`{named(answer)}` returned nothing.")
    if not isinstance(layer, nn.Module):
        raise Wrong(f"`{named(answer)}` must return a layer, an nn.Sequential for one, not {type(layer).__name__}.")
    convs = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
    if len(convs) != 2:
        raise Wrong(f"{call} has {len(convs)} convolutions: a depthwise and a pointwise one make two.")
    depthwise, pointwise = convs
    if depthwise.kernel_size == (1, 1) and pointwise.kernel_size == (3, 3):
        raise Wrong("the 1x1 convolution comes first here: look at each map first, then mix what was found.")
    if (depthwise.kernel_size, pointwise.kernel_size) != ((3, 3), (1, 1)):
        sizes = " and ".join(f"{conv.kernel_size[0]}x{conv.kernel_size[1]}" for conv in convs)
        raise Wrong(f"the kernels of {call} are {sizes}: the first should be 3x3, the second 1x1.")
    if depthwise.groups == 1:
        raise Wrong(f"the 3x3 convolution of {call} mixes all maps, as a standard one does: it needs groups={inputs}.")
    if pointwise.groups != 1:
        raise Wrong(f"the 1x1 convolution has {pointwise.groups} groups: its task is to mix all maps, so it has none.")
    if depthwise.groups != inputs:
        raise Wrong(f"the 3x3 convolution of {call} has {depthwise.groups} groups: a map by itself needs {inputs}.")
    if depthwise.out_channels != inputs:
        raise Wrong(
            f"the 3x3 convolution of {call} makes {depthwise.out_channels} maps: it has one kernel a map, "
            f"and makes {inputs} of {inputs}. The 1x1 convolution changes their number."
        )
    if any(conv.bias is not None for conv in convs):
        raise Wrong("there is a bias: batch norm comes next and subtracts the mean, and a bias with it. bias=False.")
    truth = 9 * inputs + inputs * outputs
    parameters = sum(parameter.numel() for parameter in layer.parameters())
    if parameters != truth:
        raise Wrong(f"{call} has {parameters:,} parameters, and two convolutions alone have {truth:,}.")
    height, width = a_random(rng, 5, 9), a_random(rng, 10, 14)
    maps = torch.randn(2, inputs, height, width, generator=rng)
    with torch.no_grad():
        out = layer(maps)
        expected = F.conv2d(maps, depthwise.weight, padding=1, groups=inputs)
        expected = F.conv2d(expected, pointwise.weight)
    if out.shape[1:2] != expected.shape[1:2]:
        raise Wrong(f"{call} makes {out.shape[1]} maps, and should make {outputs}.")
    if out.shape != expected.shape:
        came = "x".join(map(str, out.shape[2:]))
        raise Wrong(f"maps of {height}x{width} came out {came}: a 3x3 kernel needs padding=1, a 1x1 kernel none.")
    if not close(out, expected):
        raise Wrong("both convolutions are right, but the output is not what the two give, one after the other.")


check_separable = exercise(_try_separable, 20, "on 20 random numbers of maps")


def _try_count_separable(answer: Callable, rng: torch.Generator) -> None:
    inputs, outputs, kernel = a_random(rng, 2, 64), a_random(rng, 2, 64), 2 * a_random(rng, 1, 3) + 1
    depthwise = nn.Conv2d(inputs, inputs, kernel, groups=inputs, bias=False)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
    truth = depthwise.weight.numel() + pointwise.weight.numel()
    said = a_number(answer, answer(inputs, outputs, kernel))
    setting = f"{inputs} to {outputs} maps with a {kernel}x{kernel} kernel take {truth:,} weights, not {said:,}"
    if said == inputs * outputs * kernel**2:
        raise Wrong(f"{setting}: that is the standard convolution. The depthwise one has a single kernel a map.")
    if said == depthwise.weight.numel():
        raise Wrong(f"{setting}: the 1x1 convolution has weights too, one for each pair of maps.")
    if said == pointwise.weight.numel():
        raise Wrong(f"{setting}: the depthwise convolution has weights too, a kernel for each input map.")
    if said in (truth + outputs, truth + inputs, truth + inputs + outputs):
        raise Wrong(f"{setting}: there are no biases here.")
    if said == kernel**2 + inputs * outputs:
        raise Wrong(f"{setting}: each of the {inputs} input maps has a kernel of its own.")
    if said == outputs * kernel**2 + inputs * outputs:
        raise Wrong(f"{setting}: the depthwise convolution comes first, and has a kernel for each *input* map.")
    if said == inputs * kernel + inputs * outputs:
        raise Wrong(f"{setting}: the kernel is a square.")
    if said != truth:
        raise Wrong(f"{setting}.")


check_count_separable = exercise(_try_count_separable, 40, "on 40 random layers")


def _try_add_shortcut(answer: Callable, rng: torch.Generator) -> None:
    shape = tuple(a_random(rng, 2, 9) for _ in range(4))
    x = torch.randn(shape, generator=rng)
    before, runs = x.clone(), 0

    def f(maps: Tensor) -> Tensor:
        nonlocal runs
        runs += 1
        return torch.tanh(2 * maps + 1)

    value = answer(x, f)
    times = runs
    out = a_tensor(answer, value, shape)
    if not torch.equal(x, before):
        raise Wrong("x itself was changed: write the sum into a new tensor, another layer may still need x.")
    if close(out, f(x)):
        raise Wrong("that is f(x) alone: the shortcut adds the block's input to it.")
    if close(out, x + f(f(x))):
        raise Wrong("that is x + f(f(x)): the block runs once, and its input is added to what comes out.")
    if close(out, f(x) + f(f(x))):
        raise Wrong("that adds f(x), not x: the shortcut goes around the block.")
    if not close(out, x + f(x)):
        raise Wrong("the values differ from x + f(x).")
    if times > 1:
        raise Wrong(f"f ran {times} times, at {times} times the cost: keep what it returned in a variable.")
    _refuses(answer, before, rng)


def _refuses(answer: Callable, x: Tensor, rng: torch.Generator) -> None:
    """`answer` must raise ValueError for a block whose output PyTorch would add to an input of another shape."""
    count, maps, height, width = x.shape
    small = [(count, 1, height, width), (count, maps, 1, 1), (count, maps, 1, width), (1, maps, height, width)]
    wrong = small[a_random(rng, 0, 3)]
    into, out_of = (x.shape, wrong) if a_random(rng, 0, 3) else (wrong, x.shape)
    try:
        value = answer(x[tuple(slice(side) for side in into)], lambda _: torch.ones(out_of))
    except ValueError:
        return
    except Exception as error:
        raise Wrong(
            f"for a block that makes {tuple(out_of)} of {tuple(into)} it stopped with {type(error).__name__}: "
            "raise ValueError there."
        ) from error
    if value is None:
        raise Wrong(f"`{named(answer)}` returned nothing where the shapes differ: raise ValueError there.")
    raise Wrong(
        f"it added a {tuple(out_of)} to a {tuple(into)}, silently: compare the shapes before you add, "
        "and raise ValueError where they differ."
    )


check_add_shortcut = exercise(_try_add_shortcut, 20, "on 20 random blocks, and as many that change the shape")


def _try_count_paths(answer: Callable, rng: torch.Generator) -> None:
    blocks = a_random(rng, 5, 20)
    chain = nn.Sequential(*(Residual(nn.Identity()) for _ in range(blocks)))  # every path brings a 1 to the end
    truth = int(chain(torch.ones(())))
    said = a_number(answer, answer(blocks))
    setting = f"Through {blocks} blocks lead {truth:,} paths, not {said:,}"
    if said == blocks + 1:
        raise Wrong(f"{setting}: a path may skip several blocks. At each one it has the choice again.")
    if said == 2 * blocks:
        raise Wrong(f"{setting}: a second block does not add two paths, each path so far goes on in two ways.")
    if said == blocks**2:
        raise Wrong(f"{setting}: it is 2 that is multiplied by itself, once a block.")
    if said in (2 ** (blocks - 1), 2**blocks - 1):
        raise Wrong(f"{setting}: one block alone has two paths, through it and around it.")
    if said != truth:
        raise Wrong(f"{setting}.")


check_count_paths = exercise(_try_count_paths, 20, "for 20 random numbers of blocks")


@cache
def _sizes() -> dict[float, int]:
    with torch.device("meta"):  # counts only: nothing is drawn
        return {width: count_parameters(Net(width)) for width in (round(0.05 * step, 2) for step in range(1, 33))}


def _try_widest(answer: Callable, rng: torch.Generator) -> None:
    limit = a_random(rng, 30_000, 1_400_000)
    said, sizes = a_number(answer, answer(limit)), _sizes()
    truth = max(width for width, size in sizes.items() if size <= limit)
    if abs(said - truth) < 1e-6:
        return
    setting = f"With at most {limit:,} parameters the widest is {truth} ({sizes[truth]:,}), not {said:g}"
    if abs(said - truth - 0.05) < 1e-6:
        raise Wrong(f"{setting}, which has {sizes[round(truth + 0.05, 2)]:,}: go back to the last one that fits.")
    if abs(said - (limit / sizes[1.0]) ** 0.5) < 0.05:
        raise Wrong(f"{setting}: that is an estimate. Count the parameters of real networks.")
    raise Wrong(f"{setting}.")


check_widest = exercise(_try_widest, 6, "for 6 random limits")
