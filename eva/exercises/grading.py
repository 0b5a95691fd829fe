"""How an exercise is checked: random questions to a learner's function, and words for what a wrong answer forgot."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Wrong(Exception):
    """What is wrong with a learner's answer, in words for the learner."""


def exercise(trial: Callable[[Callable, torch.Generator], None], trials: int, right: str) -> Callable[[Callable], None]:
    """Make a check of `trial`, which asks a learner's function one random question and raises Wrong."""

    def check(answer: Callable) -> None:
        rng = torch.Generator().manual_seed(0)
        try:
            for _ in range(trials):
                trial(answer, rng)
        except Wrong as wrong:
            print(f"Not yet: {wrong}")
        except Exception as error:  # the learner's code, or what it did to ours: either way theirs to mend
            print(f"Not yet: `{named(answer)}` stopped with {type(error).__name__}: {error}")
        else:
            print(f"Right, {right}.")

    check.__doc__ = f"Try a learner's function {right}; print what is wrong with it, or that it is right."
    return check


def named(answer: object) -> str:
    return getattr(answer, "__name__", repr(answer))


def a_tensor(answer: Callable, value: Any, shape: tuple[int, ...]) -> Tensor:
    name = named(answer)
    if value is None or value is Ellipsis:
        raise Wrong(f"`{name}` returned nothing.")
    if not isinstance(value, Tensor):
        raise Wrong(f"`{name}` must return a tensor, and returned {type(value).__name__}.")
    if tuple(value.shape) != shape:
        raise Wrong(f"`{name}` must return the shape {shape} here, and returned {tuple(value.shape)}.")
    return value


def a_number(answer: Callable, value: Any) -> float:
    if value is None or value is Ellipsis:
        raise Wrong(f"`{named(answer)}` returned nothing.")
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"`{named(answer)}` must return a number, and returned {type(value).__name__}.")
    return value


def a_random(rng: torch.Generator, low: int, high: int) -> int:
    """An integer from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-4)
