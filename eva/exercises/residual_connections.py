"""The exercises of notebook 09. PyTorch, and the paths through eva's `Residual`, are the truth."""

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Size, Tensor, nn

from eva.exercises.grading import Question, Table, Trial, Wrong, exercise, growing, integer, kind_of, name_of, stopped
from eva.model import Residual


@exercise(28, "on 28 random blocks, and as many that change the shape")
def check_add_shortcut(rng: Generator, turn: int) -> Trial:
    shape = count, maps, height, width = tuple(growing(rng, turn, 2, 9) for _ in range(4))
    x = torch.randn(shape, generator=rng)
    inputs: list[Tensor] = []  # of f, each time it runs

    def f(maps: Tensor) -> Tensor:
        inputs.append(maps)
        return torch.tanh(2 * maps + 1)

    once, twice = f(x), f(f(x))
    inputs.clear()
    wrong_ideas: Table = [
        (once, "that is f(x) alone: the shortcut adds the block's input to it."),
        (x, "that is x alone: what the block made of it is to be added."),
        (x + twice, "that is x + f(f(x)): the block runs once, and its input is added to what comes out."),
        (once + twice, "that adds f(x), not x: the shortcut goes around the block."),
        (x - once, once - x, "the shortcut adds the two, it does not subtract."),
        (x * once, "the shortcut adds the two, it does not multiply."),
        ((x + once) / 2, "that is the mean of the two: add them, and leave the sum as it is."),
        (
            torch.cat((x, once), 1),
            torch.cat((once, x), 1),
            "the two stand side by side there: add them, value by value.",
        ),
    ]
    yield Question((x, f), x + once, wrong_ideas, otherwise="the values differ from x + f(x).")
    if inputs and not torch.equal(inputs[0], x):
        raise Wrong("x itself was changed: write the sum into a new tensor, another layer may still need x.")
    if len(inputs) > 1:
        times = len(inputs)
        raise Wrong(f"f ran {times} times, at {times} times the cost: keep what it returned in a variable.")
    stretched = [  # two shapes that PyTorch adds without a word, though they differ
        (shape, (count, 1, height, width)),
        ((count, 1, height, width), (1, count, height, width)),  # of as many values
        (shape, (count, maps, 1, 1)),
        (shape, (count, maps, 1, width)),
        (shape, (count, maps, height, 1)),
        (shape, (1, maps, height, width)),
        (shape, (maps, height, width)),
    ]
    into, out_of = stretched[turn % 7] if turn < 14 else stretched[turn % 7][::-1]
    yield partial(_judge_refusal, torch.randn(into, generator=rng), torch.Size(out_of))


def _judge_refusal(x: Tensor, output: Size, function: Callable) -> None:
    """Raise Wrong unless `function` raises ValueError, with the shapes, for a block whose output PyTorch would add."""
    into, out_of = tuple(x.shape), tuple(output)

    def f(_: Tensor) -> Tensor:
        return torch.ones(output)

    try:
        value = function(x, f)
    except ValueError as error:
        if _says_both(str(error), into, out_of):
            return
        said = f"and says {str(error)!r}" if str(error) else "and says nothing"
        raise Wrong(
            f"for a block that makes {out_of} of {into} the ValueError is raised, {said}: let it say both shapes, "
            "so that whoever reads it knows what to look for."
        ) from error
    except Exception as error:
        where = f"f made {out_of} of {into} there: raise ValueError."
        raise Wrong(f"{stopped(function, error, (x, f))} {where}") from error
    if value is None:
        raise Wrong(f"`{name_of(function)}` returned nothing where the shapes differ: raise ValueError there.")
    if isinstance(value, BaseException) or value is ValueError:
        raise Wrong(
            "a ValueError came back as if it were the answer: write `raise` for `return`, so that it stops there."
        )
    if not isinstance(value, Tensor):
        raise Wrong(f"`{name_of(function)}` returned {kind_of(value)} where the shapes differ: raise ValueError there.")
    raise Wrong(
        f"it added a {out_of} to a {into}, silently: compare the shapes, all of their numbers, before you add, "
        "and raise ValueError where they differ."
    )


def _says_both(message: str, *shapes: tuple[int, ...]) -> bool:
    numbers = " ".join(re.findall(r"\d+", message))
    into, out_of = (" ".join(map(str, shape)) for shape in shapes)
    either_way = rf"\b{into} (.* )?{out_of}\b|\b{out_of} (.* )?{into}\b"
    return re.search(either_way, numbers) is not None


@exercise(24, "for 1 to 4 blocks, and 20 random numbers of them")
def check_count_paths(rng: Generator, turn: int) -> Trial:
    blocks = turn + 1 if turn < 4 else integer(rng, 5, 20)
    chain = nn.Sequential(*(Residual(nn.Identity()) for _ in range(blocks)))  # every path brings a 1 to the end
    truth = int(chain(torch.ones(())))
    if blocks == 1:
        setting = "Through 1 block lead 2 paths"
        wrong_ideas: Table = [
            (1, "there is the path through it, and the one around it."),
            (4, "there are two ways, through it and around it. Its layers are not chosen one by one."),
        ]
        otherwise = "one through it, and one around it."
    else:
        setting, otherwise = f"Through {blocks} blocks lead {truth:,} paths", ""
        wrong_ideas = [
            (blocks + 1, "a path may skip several blocks. At each one it has the choice again."),
            (2 * blocks, "a further block does not add two paths: each path so far goes on in two ways."),
            (2 * (2**blocks - 1), "only what leads to the end of the last block is a path, not what leads to each."),
        ]
    yield Question((blocks,), truth, wrong_ideas, lambda paths: f"{setting}, not {paths:,}", otherwise)
