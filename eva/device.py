"""Which device to run on, and what is particular to it: its memory format, its random state, its name."""

import contextlib
import hashlib
import platform
from collections.abc import Iterator
from pathlib import Path

import torch


def default_device() -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last, which convolutions are faster in, but for MPS, where batch norm's backward pass fails in it."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for a while, then put its random state back."""
    every_gpu = range(torch.cuda.device_count()) if torch.cuda.is_initialized() or device.type == "cuda" else []
    with torch.random.fork_rng(every_gpu):  # manual_seed seeds them all
        torch.manual_seed(seed)
        yield


def derived_seed(*parts: object) -> int:
    """A seed for one use of randomness, named by `parts`, say ("images", seed, epoch).

    Two uses that took the same number would draw the same stream, and dropout would know what augmentation does.
    """
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


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
