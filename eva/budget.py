"""How much to run: the one place that reads EVA_BUDGET. A budget changes amounts, never code."""

import os

import torch

from eva.device import default_device

BUDGETS = ("smoke", "cpu", "gpu")  # from seconds per notebook to the real run


def budget(device: torch.device | None = None) -> str:
    """EVA_BUDGET where it is set; else "gpu" where `device`, by default the best there is, is one, and "cpu" otherwise.

    Raises ValueError where EVA_BUDGET is something else than a budget's name.
    """
    device = device or default_device()
    name = os.environ.get("EVA_BUDGET") or ("cpu" if device.type == "cpu" else "gpu")
    if name not in BUDGETS:
        raise ValueError(f"EVA_BUDGET must be one of {', '.join(BUDGETS)}, got {name!r}")
    return name
