"""The exercises of notebook 09. PyTorch, and the paths through eva's `Residual`, are the truth."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Size, Tensor, nn

from eva.exercises.grading import Question, Trial, Wrong, exercise, integer, name_of
from eva.model import Residual


@exercise(20, "on 20 random blocks, and as many that change the shape")
def check_add_shortcut(rng: Generator) -> Trial:
    shape = count, maps, height, width = tuple(integer(rng, 2, 9) for _ in range(4))
    x = torch.randn(shape, generator=rng)
    inputs: list[Tensor] = []  # of f, each time it runs

    def f(maps: Tensor) -> Tensor:
        inputs.append(maps)
        return torch.tanh(2 * maps + 1)

    once, twice = f(x), f(f(x))
    inputs.clear()
    wrong_ideas = [
        (once, "that is f(x) alone: the shortcut adds the block's input to it."),
        (x + twice, "that is x + f(f(x)): the block runs once, and its input is added to what comes out."),
        (once + twice, "that adds f(x), not x: the shortcut goes around the block."),
    ]
    yield Question((x, f), x + once, wrong_ideas, otherwise="the values differ from x + f(x).")
    if inputs and not torch.equal(inputs[0], x):
        raise Wrong("x itself was changed: write the sum into a new tensor, another layer may still need x.")
    if len(inputs) > 1:
        times = len(inputs)
        raise Wrong(f"f ran {times} times, at {times} times the cost: keep what it returned in a variable.")
    shapes = [(count, 1, height, width), (count, maps, 1, 1), (count, maps, 1, width), (1, maps, height, width)]
    small = shapes[integer(rng, 0, 3)]
    into, out_of = (shape, small) if integer(rng, 0, 3) else (small, shape)
    yield partial(_judge_refusal, torch.randn(into, generator=rng), torch.Size(out_of))


def _judge_refusal(x: Tensor, output: Size, function: Callable) -> None:
    """Raise Wrong unless `function` raises ValueError for a block of another shape, which PyTorch would add to `x`."""
    into, out_of = tuple(x.shape), tuple(output)
    try:
        value = function(x, lambda _: torch.ones(output))
    except ValueError:
        return
    except Exception as error:
        stopped = f"for a block that makes {out_of} of {into} it stopped with {type(error).__name__}"
        raise Wrong(f"{stopped}: raise ValueError there.") from error
    if value is None:
        raise Wrong(f"`{name_of(function)}` returned nothing where the shapes differ: raise ValueError there.")
    raise Wrong(
        f"it added a {out_of} to a {into}, silently: compare the shapes before you add, "
        "and raise ValueError where they differ."
    )


@exercise(20, "for 20 random numbers of blocks")
def check_count_paths(rng: Generator) -> Trial:
    blocks = integer(rng, 5, 20)
    chain = nn.Sequential(*(Residual(nn.Identity()) for _ in range(blocks)))  # every path brings a 1 to the end
    truth = int(chain(torch.ones(())))
    wrong_ideas = [
        (blocks + 1, "a path may skip several blocks. At each one it has the choice again."),
        (2 * blocks, "a second block does not add two paths, each path so far goes on in two ways."),
        (blocks**2, "it is 2 that is multiplied by itself, once per block."),
        (2 ** (blocks - 1), 2**blocks - 1, "one block alone has two paths, through it and around it."),
    ]
    setting = f"Through {blocks} blocks lead {truth:,} paths"
    yield Question((blocks,), truth, wrong_ideas, lambda paths: f"{setting}, not {paths:,}")
