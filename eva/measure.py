"""What a network costs."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Trainable and frozen parameters together, each shared one once. Buffers are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32)) -> int:
    """Multiply-accumulates of one image (C, H, W) through convolutions and matrix products.

    Half of what torch's FlopCounterMode counts, which takes a multiplication and an addition for two. Nothing is
    computed: a copy runs on torch's "meta" device, which knows shapes only.
    """
    probe = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        probe(torch.empty(1, *input_size, device="meta"))
    return counter.get_total_flops() // 2
