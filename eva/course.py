"""What only the notebooks use: the budget, claims that are checked, and guesses that are scored."""

from typing import Any

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
        print(f"–  not checked here (needs the {needs} budget): {text}")
        return
    if not holds:  # no assert: python -O would pass over it
        raise AssertionError(f"this claim does not hold: {text}")
    print(f"✓  {text}")


class Guess:
    """A prediction, written down before the truth is run. Run All never waits for one."""

    def __init__(self, question: str, unit: str = "", value: float | None = None) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"value must be a number, got {value!r}: write it without its unit")
        self.question, self.unit, self.value = question, unit, value
        said = "Write your guess in place of None." if value is None else f"Your guess: {self._told(value)}."
        print(f"{question} {said}")

    def reveal(self, truth: float) -> None:
        """Show the truth beside the guess, and by how much they differ."""
        if self.value is None:
            print(f"{self.question} {self._told(truth)}. (no guess)")
            return
        difference = abs(self.value - truth)
        print(
            f"{self.question} {self._told(truth)}; you said {self._told(self.value)}, {self._told(difference)} "
            + ("off: close enough." if difference <= 0.1 * abs(truth) else "off.")
        )

    def _told(self, value: float) -> str:
        return f"{value:,.4g} {self.unit}".strip() if abs(value) < 1e4 else f"{value:,.0f} {self.unit}".strip()
