"""How fast a network could be on this device: its convolutions at the measured rate of matrix products, or its maps at
the measured rate of memory, whichever takes longer, layer by layer (the roofline of Williams et al. 2009).

Fused or cached layers need not go through memory, and can be faster than this says.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.benchmark import Timer


def seconds_of(work: Callable[[], Any], seconds: float) -> float:
    """Seconds that `work` takes: the median of runs for about `seconds`, after two that are not counted.

    torch's timer waits for a GPU to finish.
    """
    for _ in range(2):  # the first runs choose algorithms
        work()
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=seconds).median


@dataclass(frozen=True)
class Machine:
    """What was measured of a device: `flops` of a large matrix product and `bandwidth` of a large copy, a second.

    The copy counts bytes read and bytes written. `dtype` is that of the matrices.
    """

    flops: float
    bandwidth: float
    dtype: torch.dtype


def measure_machine(device: torch.device, dtype: torch.dtype, seconds: float, size: int, megabytes: int) -> Machine:
    """The rates of `device`: a product of (size, size) matrices of `dtype`, and a copy of so many megabytes."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = seconds_of(lambda: left @ right, seconds)
    source = torch.ones(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = seconds_of(lambda: target.copy_(source), seconds)
    return Machine(2 * size**3 / product, 2 * source.numel() / copied, dtype)


@dataclass(frozen=True)
class Layer:
    """What one call of a convolution or linear layer takes: operations (two per multiply-accumulate), bytes."""

    flops: int
    bytes: int


def layers(model: nn.Module, batch: int, itemsize: int, size: int = 32) -> list[Layer]:
    """The convolutions and linear layers of one forward pass of (batch, 3, size, size), with inputs and outputs moved
    through memory once, as numbers of `itemsize` bytes. Nothing is computed."""
    probe = copy.deepcopy(model).to("meta").eval()
    found = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        numbers = inputs[0].numel() + output.numel() + module.weight.numel()
        found.append(Layer(2 * output.numel() * module.weight[0].numel(), itemsize * numbers))

    for module in probe.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note)
    with torch.no_grad():
        probe(torch.empty(batch, 3, size, size, device="meta"))
    return found


def shortest(found: list[Layer], machine: Machine) -> float:
    """Seconds that these layers take at the least on `machine`."""
    return sum(max(layer.flops / machine.flops, layer.bytes / machine.bandwidth) for layer in found)


def memory_bound(found: list[Layer], machine: Machine) -> float:
    """The share of that time in layers that wait for memory and not for arithmetic."""
    waiting = sum(x.bytes / machine.bandwidth for x in found if x.bytes / machine.bandwidth > x.flops / machine.flops)
    return waiting / shortest(found, machine)
