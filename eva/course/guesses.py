"""Guesses: written down before the truth is run, kept and scored."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

TIMES = "times"  # the unit of a ratio, which is judged as one: half of it and twice it are as far off
CLOSE = 0.1  # by which share of the truth a close guess may differ


class Guess:
    """A prediction, written down before the truth is run: a number, or one of `choices`. Run All never waits for it.

    A choice may be written as what it looks like: 0.1 for "0.1". Raises TypeError where `value` is not a number,
    ValueError where it is not one of `choices`, is not finite, or is a ratio (unit="times") of zero or less.
    """

    scores: ClassVar[dict[str, bool]] = {}  # of each question that was revealed: was the guess close?

    def __init__(
        self, question: str, unit: str = "", value: float | str | None = None, choices: Sequence[str] = ()
    ) -> None:
        self.question, self.unit, self.choices = question, unit, choices
        self.value = None if value is None else self._chosen(value) if choices else self._number(value)
        options = f" One of {', '.join(map(repr, choices))}." if choices else ""
        state = "Write your guess in place of None." if value is None else f"Your guess: {self._with_unit(self.value)}."
        print(f"{question}{options} {state}")

    def reveal(self, truth: float | str) -> None:
        """Show the truth beside the guess. A number within a tenth of the truth is close; a choice is right or not."""
        if self.value is None:
            Guess.scores.pop(self.question, None)  # one that was withdrawn does not count
            print(f"{self.question} {self._with_unit(truth)}. (no guess)")
            return
        if isinstance(truth, str) or isinstance(self.value, str):
            right = self.value == truth
            verdict = "right." if right else "not this time."
        else:
            right, verdict = self._judged(self.value, float(truth))
        Guess.scores[self.question] = right
        print(f"{self.question} {self._with_unit(truth)}; you said {self._with_unit(self.value)}, {verdict}")

    def _judged(self, value: float, truth: float) -> tuple[bool, str]:
        """Is a number close, and in words how far off it is?"""
        if self.unit == TIMES and truth > 0:
            factor = max(value / truth, truth / value)
            return factor <= 1 + CLOSE, f"off by a factor of {factor:.2g}" + _end(factor <= 1 + CLOSE)
        right = abs(value - truth) <= CLOSE * abs(truth)
        if truth and abs(value + truth) <= CLOSE * abs(truth):
            return False, "the right size, with the other sign."
        return right, f"{self._with_unit(abs(value - truth))} off" + _end(right)

    @classmethod
    def summary(cls) -> None:
        """The last cell of a notebook: how many of its guesses were close."""
        if not cls.scores:
            print("No guesses here yet. Write one in place of a None above, and run again: that is how they teach.")
            return
        near = sum(cls.scores.values())
        print(f"{near} of your {len(cls.scores)} guesses were close: within a tenth, or the right choice.")

    def _chosen(self, value: Any) -> str:
        for choice in self.choices:
            if value == choice or (_is_number(value) and math.isclose(_as_number(choice), value, rel_tol=1e-6)):
                return choice
        raise ValueError(f"value must be one of {', '.join(map(repr, self.choices))}, got {value!r}")

    def _number(self, value: Any) -> float:
        if not _is_number(value):
            raise TypeError(f"value must be a number, got {value!r}: write it without its unit")
        if not math.isfinite(value):
            raise ValueError(f"value must be a finite number, got {value!r}")
        if self.unit == TIMES and value <= 0:
            raise ValueError(f"value must be more than 0 times, got {value!r}: for half of it write 0.5")
        return float(value)

    def _with_unit(self, value: Any) -> str:
        return value if isinstance(value, str) else f"{_shown(float(value))} {self.unit}".strip()


def _shown(value: float) -> str:
    """A number as a person would write it, to four digits, and larger ones whole."""
    text = f"{value:,.4g}"
    return f"{value:,.0f}" if "e+" in text or abs(value) >= 1e4 else text


def _end(right: bool) -> str:
    return ": close enough." if right else "."


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_number(text: str) -> float:
    """What a text says, NaN where it is no number: that is close to none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
