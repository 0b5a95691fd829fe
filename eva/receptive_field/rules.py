"""Which rule is an operation's: those of `moving`, `mixing` and `windows`, by torch's name of it."""

import torch

from eva.dry_run import Operation
from eva.receptive_field import mixing, moving, windows  # noqa: F401
from eva.receptive_field.call import RULES, Rule


def rule_for(operation: Operation) -> Rule | None:
    """The rule of an operation, if it has one. torch itself tags those that treat each value by itself."""
    found = RULES.get(operation.name.strip("_"))
    return found or (moving.elementwise if torch.Tag.pointwise in operation.func.tags else None)
