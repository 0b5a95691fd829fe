"""Which device to train on, and what is particular to it."""

import contextlib
import logging
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Precision:
    """Mixed precision: most of the forward pass in `dtype`; where that is float16, gradients are scaled up."""

    dtype: torch.dtype
    scaler: torch.amp.GradScaler


def mixed_precision(device: torch.device | str, on_cpu: bool = False) -> Precision | None:
    """bfloat16 on a CUDA device made for it, float16 on an older one, None (stay with float32) anywhere else.

    With `on_cpu`, bfloat16 on a processor too that has instructions for it: without them it is slower than float32.
    """
    if on_cpu and torch.device(device).type == "cpu" and bfloat16_units():
        return Precision(torch.bfloat16, torch.amp.GradScaler("cpu", enabled=False))
    if torch.device(device).type != "cuda":
        return None
    with torch.cuda.device(device):
        # Without the argument, a T4 says yes through emulation, which is slow.
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return Precision(dtype, torch.amp.GradScaler("cuda", enabled=dtype is torch.float16))


def autocast(device: torch.device, amp: Precision | None) -> contextlib.AbstractContextManager[Any]:
    """The context to compute in on `device`: torch.autocast's in the precision `amp`, or one that changes nothing."""
    return contextlib.nullcontext() if amp is None else torch.autocast(device.type, amp.dtype)


def bfloat16_units() -> bool:
    """Does this processor multiply in bfloat16 itself? (AVX-512 BF16 or AMX; since about 2020 in servers.)"""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


class Compiled(nn.Module):
    """`model`, through `torch.compile`; or as it is, after one warning, where it cannot be compiled.

    The weights stay those of `model`. Compiling happens at the first batch of each size, an epoch's last one too, and
    takes half a minute or so.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # In a list, or its weights would be listed a second time. Not dynamic: once there are two sizes of batch, torch
        # would go on with kernels that suit any size, slower for all.
        self._fast: list = [torch.compile(model, dynamic=False)]

    def forward(self, images: Tensor) -> Tensor:
        if self._fast:
            try:
                return self._fast[0](images)
            except TorchDynamoException as error:
                cause = getattr(error, "inner_exception", error)
                reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
                log.warning("this network cannot be compiled here (%s): it trains as it is, slower", reason)
                self._fast.clear()
        return self.model(images)


def default_device() -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last, which convolutions are faster in, but for MPS, where batch norm's backward pass fails in it."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def placed(model: Model, device: torch.device) -> Model:
    """`model`, which has been moved to `device`, in the memory format that suits it."""
    return model.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]  # torch's stubs lack it


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for a while, then put its random state back."""
    every_gpu = range(torch.cuda.device_count()) if torch.cuda.is_initialized() or device.type == "cuda" else []
    with torch.random.fork_rng(every_gpu):  # manual_seed seeds them all
        torch.manual_seed(seed)
        yield


def hardware(device: torch.device) -> str:
    """What a measurement on `device` must name: the GPU, or the processor, its vector instructions and the threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # Linux, where the standard library knows no name
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {device.type}, {torch.get_num_threads()} threads"
