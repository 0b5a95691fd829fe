"""Guesses: written down before the truth is run, kept and scored."""

from collections.abc import Sequence
from typing import ClassVar


class Guess:
    """A prediction, written down before the truth is run: a number, or one of `choices`. Run All never waits for it.

    Raises TypeError where `value` is not a number, ValueError where it is not one of `choices`.
    """

    scores: ClassVar[dict[str, bool]] = {}  # of each question that was revealed: was the guess close?

    def __init__(
        self, question: str, unit: str = "", value: float | str | None = None, choices: Sequence[str] = ()
    ) -> None:
        if choices and value is not None and value not in choices:
            raise ValueError(f"value must be one of {', '.join(map(repr, choices))}, got {value!r}")
        if not choices and value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"value must be a number, got {value!r}: write it without its unit")
        self.question, self.unit, self.value, self.choices = question, unit, value, choices
        options = f" One of {', '.join(map(repr, choices))}." if choices else ""
        state = "Write your guess in place of None." if value is None else f"Your guess: {self._with_unit(value)}."
        print(f"{question}{options} {state}")

    def reveal(self, truth: float | str) -> None:
        """Show the truth beside the guess. A number within a tenth of the truth is close; a choice is right or not."""
        if self.value is None:
            print(f"{self.question} {self._with_unit(truth)}. (no guess)")
            return
        if isinstance(truth, str) or isinstance(self.value, str):
            right = self.value == truth
            verdict = "right." if right else "not this time."
        else:
            difference = abs(self.value - truth)
            right = difference <= 0.1 * abs(truth)
            verdict = f"{self._with_unit(difference)} off" + (": close enough." if right else ".")
        Guess.scores[self.question] = right
        print(f"{self.question} {self._with_unit(truth)}; you said {self._with_unit(self.value)}, {verdict}")

    @classmethod
    def summary(cls) -> None:
        """The last cell of a notebook: how many of its guesses were close."""
        if not cls.scores:
            print("No guesses here yet. Write one in place of a None above, and run again: that is how they teach.")
            return
        near = sum(cls.scores.values())
        print(f"{near} of your {len(cls.scores)} guesses were close: within a tenth, or the right choice.")

    def _with_unit(self, value: float | str) -> str:
        if isinstance(value, str):
            return value
        return f"{value:,.4g} {self.unit}".strip() if abs(value) < 1e4 else f"{value:,.0f} {self.unit}".strip()
