"""How an exercise is checked: a question, its truth, and a table of the wrong ideas that a learner may have of it.

A row of the table has what a wrong idea gives, one value or several, and the words for it:
`(2 * side, 2 * side + 1, "the corner pixel itself is the middle, and counts once.")`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils._pytree import tree_map_only

Trial = Iterator[Callable[[Callable], None]]  # questions, or functions that try a learner's function and raise Wrong
Table = list[tuple[Any, ...]]  # rows: what a wrong idea gives, one value or several, and the words for it


class Wrong(Exception):
    """What is wrong with a learner's answer, in words for the learner."""


@dataclass(frozen=True)
class SuchAs:
    """Stands in a table, or in a truth, for any answer, like its example, for which `holds` is true."""

    example: Any
    holds: Callable[[Any], bool] = lambda answer: True


@dataclass(frozen=True)
class Question:
    """Called with a learner's function, it asks once, and raises Wrong unless the answer is the truth.

    A truth is a tensor, a whole number (which must be met exactly), a float, or a tuple of them; an answer may be
    numpy's.
    """

    arguments: tuple[Any, ...]  # of the learner's function, which gets copies of the tensors and lists
    truth: Any
    wrong_ideas: Table  # the first row that fits the answer counts
    opening: Callable[[Any], str] | None = None  # what stands before the words, made of the answer
    otherwise: str | Callable[[Callable], str] = ""  # words for any other answer, or how to find them for a function
    returns: str = ""  # what a tuple is, in words
    whole: str = ""  # words for a number that is not whole, where it must be
    within: float = 1e-6  # by how much a float may differ

    def __call__(self, function: Callable) -> None:
        arguments = tree_map_only(Tensor, Tensor.clone, self.arguments)  # a new list, too, for each list in them
        answer = self._read(name_of(function), function(*arguments), self.truth)
        if self._fits(answer, self.truth):
            return
        words = self._words_for(answer) or (self.otherwise(function) if callable(self.otherwise) else self.otherwise)
        opening = self.opening(answer) if self.opening else ""
        raise Wrong(f"{opening}: {words}" if opening and words else words or f"{opening}.")

    def _words_for(self, answer: Any) -> str:
        rows = (words for *ideas, words in self.wrong_ideas if any(self._fits(answer, idea) for idea in ideas))
        return next(rows, "")

    def _fits(self, answer: Any, idea: Any) -> bool:
        if isinstance(idea, SuchAs):
            return idea.holds(answer)
        if isinstance(idea, tuple):
            return isinstance(answer, tuple) and all(map(self._fits, answer, idea))
        if isinstance(idea, Tensor):
            return answer.shape == idea.shape and close(answer, idea)
        if isinstance(idea, float):
            return math.isclose(answer, idea, rel_tol=1e-4, abs_tol=self.within)
        return answer == idea

    def _read(self, name: str, value: Any, like: Any) -> Any:
        """The learner's `value` as what `like` is: a tensor of its shape, a number, or a tuple of them."""
        like = like.example if isinstance(like, SuchAs) else like
        something(name, value)
        kind, value = type(value).__name__, from_numpy(value)
        if isinstance(like, tuple):
            if isinstance(value, Tensor) and value.ndim == 1:
                value = value.tolist()
            if not isinstance(value, tuple | list) or len(value) != len(like):
                raise Wrong(f"`{name}` must return {self.returns}, and returned {kind}.")
            if any(part is None or part is Ellipsis for part in value):
                raise Wrong(f"`{name}` returned nothing for one of {self.returns}.")
            return tuple(self._read(name, *pair) for pair in zip(value, like, strict=True))
        if isinstance(like, Tensor):
            if not isinstance(value, Tensor):
                raise Wrong(f"`{name}` must return a tensor, and returned {kind}.")
            if value.shape != like.shape:
                words = self._words_for(value)  # the wrong idea may be one of shape
                reason = f": {words}" if words else f", and returned {tuple(value.shape)}."
                raise Wrong(f"`{name}` must return the shape {tuple(like.shape)} here{reason}")
            return value
        if isinstance(value, Tensor) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong(f"`{name}` must return a number, and returned {kind}.")
        if self.whole and not isinstance(value, int):
            raise Wrong(f"`{name}` returned {value!r}: {self.whole}")
        return value


@dataclass(frozen=True)
class Check:
    """Tries a learner's function on random questions; prints what is wrong with it, or that it is right."""

    trial: Callable[[Generator], Trial]
    trials: int
    right: str

    def __call__(self, function: Callable) -> None:
        rng = Generator().manual_seed(0)
        try:
            for _ in range(self.trials):
                for question in self.trial(rng):
                    question(function)
        except Wrong as wrong:
            print(f"Not yet: {wrong}")
        except Exception as error:  # the learner's code, or what it did to ours: either way theirs to mend
            print(f"Not yet: `{name_of(function)}` stopped with {type(error).__name__}: {error}")
        else:
            print(f"Right, {self.right}.")


def exercise(trials: int, right: str) -> Callable[[Callable[[Generator], Trial]], Check]:
    """Make a check of a function that draws a trial. What stands in it after a `yield` runs after a right answer."""
    return lambda trial: Check(trial, trials, right)


def name_of(function: Callable) -> str:
    return getattr(function, "__name__", repr(function))


def something(name: str, value: Any) -> None:
    """Raise Wrong where a learner's function, so named, returned what a stub does."""
    if value is None or value is Ellipsis:
        raise Wrong(f"`{name}` returned nothing.")


def integer(rng: Generator, low: int, high: int) -> int:
    """A random integer from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def from_numpy(value: Any) -> Any:
    """A number of numpy's as Python's, an array as a tensor; anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.ascontiguousarray(value)) if value.ndim else value.item()
    return value.item() if isinstance(value, np.generic) else value


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-4)
