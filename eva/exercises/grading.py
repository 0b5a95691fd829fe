"""How an exercise is checked: a question, its truth, and a table of the wrong ideas that a learner may have of it.

A row of the table has what a wrong idea gives, one value or several, and the words for it:
`(2 * side, 2 * side + 1, "the corner pixel itself is the middle, and counts once.")`. The first turns of a check ask
the smallest cases in which the ideas show, so that the case a learner reads about can be followed by hand.
"""

import inspect
import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils._pytree import tree_map_only

Trial = Iterator[Callable[[Callable], None]]  # questions, or functions that try a learner's function and raise Wrong
Table = list[tuple[Any, ...]]  # rows: what a wrong idea gives, one value or several, and the words for it

# Folders of code that is not the learner's: eva, the standard library, and where torch and numpy are installed.
LIBRARIES = (
    Path(__file__).parents[1],
    Path(inspect.__file__).parent,
    Path(torch.__file__).parents[1],
    Path(np.__file__).parents[1],
)
NOT_A_NUMBER = (
    'there is a nan in it, "not a number": 0 was divided by 0, or the root or the logarithm of a number below 0 taken.'
)


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
    whole: str = ""  # words for a number that is not an int, where it must be
    within: float = 1e-6  # by how much a float may differ

    def __call__(self, function: Callable) -> None:
        answer = self._read(name_of(function), ask(function, *self.arguments), self.truth)
        if self._fits(answer, self.truth):
            return
        words = NOT_A_NUMBER if _has_nan(answer) else self._words_for(answer)
        words = words or (self.otherwise(function) if callable(self.otherwise) else self.otherwise)
        opening = self.opening(answer) if self.opening else ""
        raise Wrong(f"{opening}: {words}" if opening and words else words or f"{opening}.")

    def _words_for(self, answer: Any) -> str:
        rows = (words for *ideas, words in self.wrong_ideas if any(self._fits(answer, idea) for idea in ideas))
        return next(rows, "")

    def _fits(self, answer: Any, idea: Any) -> bool:
        like = idea.example if isinstance(idea, SuchAs) else idea
        if isinstance(answer, Tensor) != isinstance(like, Tensor):
            return False
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
        kind, value = kind_of(value), from_numpy(value)
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
            words = self._words_for(value) if isinstance(value, Tensor) else ""
            raise Wrong(f"`{name}` must return a number, and returned {kind}{f': {words}' if words else '.'}")
        if self.whole and not isinstance(value, int):
            raise Wrong(f"`{name}` returned {value!r}: {self.whole}")
        return value


@dataclass(frozen=True)
class Check:
    """Tries a learner's function in small cases, then in random ones; prints what is wrong, or that it is right."""

    trial: Callable[[Generator, int], Trial]
    trials: int
    right: str

    def questions(self) -> Trial:
        rng = Generator().manual_seed(0)
        for turn in range(self.trials):
            yield from self.trial(rng, turn)

    def __call__(self, function: Callable) -> None:
        if not callable(function):
            print("Not yet: give the check the function itself, its name alone, without calling it.")
            return
        try:
            for question in self.questions():
                question(function)
        except Wrong as wrong:
            print(f"Not yet: {wrong}")
        except Exception as error:  # what the learner's answer did to our code: theirs to mend all the same
            print(f"Not yet: {stopped(function, error)}")
        else:
            print(f"Right, {self.right}.")


def exercise(trials: int, right: str) -> Callable[[Callable[[Generator, int], Trial]], Check]:
    """Make a check of a function that draws a trial; it gets the number of its turn, which counts from 0.

    What stands in it after a `yield` runs after a right answer.
    """
    return lambda trial: Check(trial, trials, right)


def ask(function: Callable, *arguments: Any) -> Any:
    """What a learner's function returns; raises Wrong where it stops. It gets copies of the tensors and lists."""
    copies = tree_map_only(Tensor, Tensor.clone, arguments)  # a new list, too, for each list in them
    try:
        return function(*copies)
    except Exception as error:
        raise Wrong(stopped(function, error, arguments)) from error


def stopped(function: Callable, error: Exception, arguments: tuple[Any, ...] = ()) -> str:
    """Says where a learner's function stopped, why, and what it had been given."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.line and _by_learner(frame.filename)
    ]
    line = f" in the line `{frames[-1].line}`" if frames else ""
    message = str(error).strip()
    reason = type(error).__name__ + (f": {message}" if message else "")
    called = f"{'' if reason.endswith('.') else '.'} It was called with {_listed(arguments)}." if arguments else ""
    return f"`{name_of(function)}` stopped{line} with {reason}{called}"


def _by_learner(filename: str) -> bool:
    return not any(Path(filename).is_relative_to(library) for library in LIBRARIES)


def _listed(arguments: tuple[Any, ...]) -> str:
    *firsts, last = map(described, arguments)
    return f"{', '.join(firsts)} and {last}" if firsts else last


def described(value: Any) -> str:
    """An argument as a learner would name it: a tensor by its shape, a number as itself."""
    if isinstance(value, list | tuple):
        inside = ", ".join(map(described, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, Tensor | Generator):
        return kind_of(value)
    if isinstance(value, float):
        return repr(float(f"{value:.6g}"))
    return "a function" if callable(value) else repr(value)


def kind_of(value: Any) -> str:
    """What a value is, with the shape of what has one."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{'a tensor' if isinstance(value, Tensor) else 'an array'} of shape {tuple(value.shape)}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def name_of(function: Callable) -> str:
    return getattr(function, "__name__", type(function).__name__)


def something(name: str, value: Any) -> None:
    """Raise Wrong where a learner's function, so named, returned what a stub does."""
    if value is None or value is Ellipsis:
        raise Wrong(f"`{name}` returned nothing.")


def integer(rng: Generator, low: int, high: int) -> int:
    """A random integer from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def growing(rng: Generator, turn: int, low: int, high: int) -> int:
    """A random integer from `low` to `high`, near to `low` in the first turns, and `low` itself in turn 0."""
    return integer(rng, low, min(high, low + turn))


def from_numpy(value: Any) -> Any:
    """A number of numpy's as Python's, an array as a tensor; anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.ascontiguousarray(value)) if value.ndim else value.item()
    return value.item() if isinstance(value, np.generic) else value


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-4)


def _has_nan(answer: Any) -> bool:
    if isinstance(answer, tuple):
        return any(map(_has_nan, answer))
    return bool(torch.as_tensor(answer).isnan().any()) if isinstance(answer, float | Tensor) else False
