"""What a network costs: parameters, multiply-accumulates, seconds and bytes."""

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from eva.dry_run import Operation, dry_run, images_like
from eva.macs import macs_of
from eva.modules import evaluating, unwrapped


def count_parameters(model: nn.Module) -> int:
    """Trainable and frozen parameters together, each shared one once. Buffers are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32)) -> int:
    """Multiply-accumulates of one image (C, H, W) through convolutions and matrix products.

    Nothing is computed, and the model stays as it is. Warns of operations that multiply and cannot be counted, by
    their names. Raises eva.dry_run.DryRunError for a model that cannot be followed.
    """
    network, total, uncounted = unwrapped(model), 0, dict[str, None]()

    def count(operation: Operation) -> None:
        nonlocal total
        macs = macs_of(operation)
        total += macs or 0
        if macs is None:
            uncounted[f"{operation.name} in {operation.module or 'the model itself'}"] = None

    dry_run(network, images_like(network, input_size), count)
    if uncounted:
        warnings.warn(f"not counted among the MACs: {', '.join(uncounted)}", stacklevel=2)
    return total


def latency(model: nn.Module, images: Tensor, seconds: float = 1.0) -> float:
    """Seconds that `model` takes for the batch `images`, in evaluation mode: the median of many runs.

    After a warm-up, runs are timed by torch's own benchmark timer for about `seconds`; it waits for a GPU to finish.
    Compare two networks in one session on a quiet machine: the same code can take twice as long an hour later.
    """
    from torch.utils.benchmark import Timer

    with evaluating(model), torch.no_grad():
        for _ in range(3):  # the first runs choose algorithms, and compile
            model(images)
        timer = Timer("model(images)", globals={"model": model, "images": images}, num_threads=torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=seconds).median


def peak_memory(work: Callable[[], object], device: torch.device | str) -> int:
    """The most bytes that tensors on `device` held at one time during `work()`, beyond those there before it.

    On a CPU torch's profiler reports each allocation: give it one training step and not an epoch. What libraries take
    without torch's allocator is not in it. Raises ValueError for a device that is neither a CUDA GPU nor a CPU.
    """
    device = torch.device(device)
    if device.type not in ("cuda", "cpu"):
        raise ValueError(f"memory can be counted on cuda and cpu, not on {device}: run the work on the CPU")
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler tells when it starts, and that there is no GPU
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["name"] == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak
