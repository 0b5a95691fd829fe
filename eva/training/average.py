"""The running average of a network's weights, which is steadier than the weights themselves (Polyak 1992)."""

import copy
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of `model` whose weights, and batch norm's running statistics, follow its own by an average.

    decay: the share of the past that a step leaves. Call `update` after each step. By hand, since torch's
    AveragedModel waits for a GPU at each one.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = copy.deepcopy(model), decay, 0
        self._tensors = _floats(self.model), _floats(model)

    def update(self) -> None:
        decay = self.decay if self.updates else 0.0  # before the first step there is no past
        get_ema_multi_avg_fn(decay)(*self._tensors, None)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


def _floats(model: nn.Module) -> list[Tensor]:
    """Weights, and batch norm's running statistics; not its counters."""
    return [tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_floating_point()]
