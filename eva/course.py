"""What only the notebooks use: the budget, claims that are checked, and guesses that are scored."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from eva.device import default_device
from eva.recipes import BUDGETS, default_recipe


def budget() -> str:
    """How much to run: EVA_BUDGET, or "gpu" where there is one and "cpu" otherwise. It changes amounts, never code."""
    return default_recipe(default_device())


def claim(text: str, holds: Any, needs: str = "smoke") -> None:
    """State in a notebook what its prose says, and check it.

    `holds` is a bool, or a 0-d boolean array or tensor. `needs` is the smallest budget at which it can be checked;
    below that it shows as not checked, never as passed. Raises AssertionError where it does not hold, TypeError where
    `holds` is not a truth value (a forgotten comparison), ValueError for a budget that does not exist.
    """
    if needs not in BUDGETS:
        raise ValueError(f"needs must be one of {', '.join(BUDGETS)}, got {needs!r}")
    if getattr(holds, "shape", None) == () and str(getattr(holds, "dtype", "")).endswith("bool"):
        holds = bool(holds)
    if not isinstance(holds, bool):
        raise TypeError(f"a claim holds or does not: expected a bool, got {type(holds).__name__} {holds!r}")
    if BUDGETS.index(budget()) < BUDGETS.index(needs):
        _count("unchecked")
        print(f"–  not checked here (needs the {needs} budget): {text}")
        return
    _count("checked" if holds else "failed")
    if not holds:  # no assert: python -O would pass over it
        raise AssertionError(f"this claim does not hold: {text}")
    print(f"✓  {text}")


def _count(outcome: str) -> None:
    """Tell the test run that this notebook is part of, if it is: conftest.py counts."""
    if "EVA_CLAIMS" in os.environ:
        with Path(os.environ["EVA_CLAIMS"]).open("a") as file:
            file.write(f"{outcome}\n")


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
        said = "Write your guess in place of None." if value is None else f"Your guess: {self._told(value)}."
        print(f"{question}{options} {said}")

    def reveal(self, truth: float | str) -> None:
        """Show the truth beside the guess. A number within a tenth of the truth is close; a choice is right or not."""
        if self.value is None:
            print(f"{self.question} {self._told(truth)}. (no guess)")
            return
        if isinstance(truth, str) or isinstance(self.value, str):
            right = self.value == truth
            verdict = "right." if right else "not this time."
        else:
            difference = abs(self.value - truth)
            right = difference <= 0.1 * abs(truth)
            verdict = f"{self._told(difference)} off" + (": close enough." if right else ".")
        Guess.scores[self.question] = right
        print(f"{self.question} {self._told(truth)}; you said {self._told(self.value)}, {verdict}")

    @classmethod
    def summary(cls) -> None:
        """The last cell of a notebook: how many of its guesses were close."""
        if not cls.scores:
            print("No guesses here yet. Write one in place of a None above, and run again: that is how they teach.")
            return
        near = sum(cls.scores.values())
        print(f"{near} of your {len(cls.scores)} guesses were close: within a tenth, or the right choice.")

    def _told(self, value: float | str) -> str:
        if isinstance(value, str):
            return value
        return f"{value:,.4g} {self.unit}".strip() if abs(value) < 1e4 else f"{value:,.0f} {self.unit}".strip()
