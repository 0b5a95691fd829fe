"""What a notebook says with a number in it, checked each time that it runs."""

import os
from pathlib import Path
from typing import Any

from eva.budget import BUDGETS, budget


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
