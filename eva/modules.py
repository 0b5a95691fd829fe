"""What is done with any network: put into evaluation mode for a while, taken out of its wrapper, put on a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from eva.device import memory_format

_Model = TypeVar("_Model", bound=nn.Module)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and then each module back in its own."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of the wrappers of torch.compile, DataParallel and DistributedDataParallel."""
    if isinstance(model, nn.DataParallel | DistributedDataParallel):
        return unwrapped(model.module)
    return unwrapped(model._orig_mod) if isinstance(model, OptimizedModule) else model


def placed(model: _Model, device: torch.device) -> _Model:
    """`model`, moved to `device`, in the memory format that suits it."""
    return model.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]  # torch's stubs lack it
