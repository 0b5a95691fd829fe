"""What a network costs: parameters, multiply-accumulates, seconds, bytes, and a table of its layers."""

import contextlib
import copy
import io
import json
import os
import tempfile
from collections.abc import Callable
from itertools import pairwise, zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eva.modules import evaluating, unwrapped
from eva.receptive_field import receptive_field, shown


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


def latency(model: nn.Module, images: Tensor, seconds: float = 1.0) -> float:
    """Seconds that `model` takes for the batch `images`, in evaluation mode: the median of many runs.

    After a warm-up, runs are timed by torch's own benchmark timer for about `seconds`; it waits for a GPU to finish.
    Compare two networks in one session on a quiet machine: the same code can take twice as long an hour later.
    """
    from torch.utils.benchmark import Timer

    with evaluating(model), torch.inference_mode():
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


def summary(model: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32)) -> str:
    """torchsummary's table of the layers, with their multiply-accumulates and receptive fields beside it.

    torchsummary runs the model in the mode it is in, which moves the statistics of batch norm and torch's random state:
    it gets a copy in evaluation mode here. It counts a shared layer each time that it runs, and misses parameters that
    are not named weight or bias: a line says so where its total is not the true one.
    Raises what `receptive_field` raises, and the model's own error where it fails.
    """
    import torchsummary

    field = receptive_field(model, input_size)
    probe = copy.deepcopy(unwrapped(model)).cpu().float().eval()
    names = {module: name for name, module in probe.named_modules()}
    counter = FlopCounterMode(display=False)
    macs, sees = [0], list[str]()  # until each row, from 0 on; what its output sees

    def watch(module: nn.Module) -> None:
        if module is probe or isinstance(module, nn.Sequential | nn.ModuleList):
            return
        outputs = iter(field.modules.get(names[module], []))

        def note(*_: object) -> None:
            macs.append(counter.get_total_flops() // 4)  # a batch of two, two operations per MAC
            output = next(outputs, None)
            sees.append("" if output is None else "all" if output.whole else shown(output.size))

        module.register_forward_hook(note)

    probe.apply(watch)  # as torchsummary does: a hook, and so a row, for each place that a module has in the model
    printed = io.StringIO()
    with torch.random.fork_rng(devices=[]), torch.no_grad(), counter, contextlib.redirect_stdout(printed):
        torchsummary.summary(probe, input_size, device="cpu")
    cells = [(f"{after - before:,}", size) for (before, after), size in zip(pairwise(macs), sees, strict=True)]
    return _beside(printed.getvalue(), cells, macs[-1], count_parameters(model))


def _beside(printed: str, cells: list[tuple[str, str]], macs: int, parameters: int) -> str:
    """torchsummary's table with two columns more, and below it the model's MACs, and its parameters if they differ."""
    _, *table, bottom = printed.splitlines()
    columns = [f"{count:>15}{size:>9}" for count, size in [("MACs", "Field"), *cells]]
    columns = [columns[0], "=" * 24, *columns[1:], "=" * 24]
    lines = [left + right for left, right in zip_longest(table, columns, fillvalue="")]
    total = int(table[len(columns)].split()[-1].replace(",", ""))
    if total != parameters:
        lines.append(f"torchsummary counts {total:,} parameters; the model has {parameters:,}.")
    return "\n".join([*lines, f"MACs of one image: {macs:,}", bottom])
