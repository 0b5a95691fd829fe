"""In how many bits to compute: mixed precision where the hardware is made for it, float32 anywhere else."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Precision:
    """Most of the forward pass in `dtype`; where that is float16, `scaler` scales gradients up, else it does nothing.

    A gradient scaler is used as torch's documentation has it: scale(loss).backward(), step(optimizer), update().
    """

    dtype: torch.dtype
    scaler: torch.amp.GradScaler

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """The context to compute the forward pass on `device` in."""
        return contextlib.nullcontext() if self.dtype == torch.float32 else torch.autocast(device.type, self.dtype)


def full_precision() -> Precision:
    """float32 throughout."""
    return Precision(torch.float32, torch.amp.GradScaler("cpu", enabled=False))


def mixed_precision(device: torch.device | str, on_cpu: bool = False) -> Precision:
    """bfloat16 on a CUDA device made for it, float16 on an older one, float32 anywhere else.

    With `on_cpu`, bfloat16 on a processor too that has instructions for it: without them it is slower than float32.
    """
    device = torch.device(device)
    if on_cpu and device.type == "cpu" and bfloat16_units():
        return Precision(torch.bfloat16, torch.amp.GradScaler("cpu", enabled=False))
    if device.type != "cuda":
        return full_precision()
    with torch.cuda.device(device):
        # Without the argument, a T4 says yes through emulation, which is slow.
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return Precision(dtype, torch.amp.GradScaler("cuda", enabled=dtype is torch.float16))


def bfloat16_units() -> bool:
    """Does this processor multiply in bfloat16 itself? (AVX-512 BF16 or AMX; since about 2020 in servers.)"""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
