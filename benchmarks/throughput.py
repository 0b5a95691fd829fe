"""Images per second in training and inference, peak memory, and what they are held back by.

    python -m benchmarks.throughput             # under two minutes on a CPU, under ten on a GPU; quiet machine, please
    python -m benchmarks.throughput --smoke     # seconds

For Net at each batch size, and for the published networks at one: images per second, the most memory that tensors took,
and the share of the measured roofline (benchmarks/roofline.py): the time that the convolutions and the linear layer
would take at the device's measured rates of matrix products and of memory, over the time that was measured. A backward
pass counts as two forward ones. Then our BatchLoader against a DataLoader with torchvision's transforms; how the cost
grows with images, width and batch; and what the training loop costs beside the bare steps.

Precision, memory format and optimizer are those that `fit` has by the recipe for the device. Writes
results/throughput.json (of a GPU: throughput_gpu.json) and the .md beside it.
"""

import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import RESULTS, Line, arguments, device_here, few, origin, write_report
from benchmarks.networks import NETWORKS
from benchmarks.roofline import Machine, layers, measure_machine, memory_bound, seconds_of, shortest
from benchmarks.throughput_page import page
from benchmarks.tutorial import tutorial_loader
from eva.data import Splits, load, loaders
from eva.device import memory_format
from eva.measure import count_macs, count_parameters, peak_memory
from eva.model import Net
from eva.modules import placed
from eva.optimizers import optimizer_for
from eva.precision import Precision, mixed_precision
from eva.recipes import RECIPES, WIDTHS, Recipe
from eva.training import train

REPORT, GPU_REPORT = RESULTS / "throughput.json", RESULTS / "throughput_gpu.json"
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Plan:
    """How much is measured: `seconds` for each figure; sizes of the probes of the machine; what else stands here."""

    seconds: float
    matrix: int
    megabytes: int
    width: float  # of the Net that is measured at each batch size
    batches: tuple[int, ...]
    batch: int  # for all the rest
    networks: tuple[str, ...]
    widths: tuple[float, ...]
    images: tuple[int, ...]
    workers: tuple[int, ...]
    loop: int  # steps in each turn of the measurement of the loop
    compiled: bool = False


CPU = Plan(seconds=1.0, matrix=2048, megabytes=256, width=WIDTHS["cpu"], batches=(64, 256, 512), batch=64,
           networks=("Net, 0.1 M", "ResNet-20"), widths=(0.25, 0.5, 1.0), images=(512, 1024, 2048),
           workers=(0, 2), loop=10)  # fmt: skip
GPU = Plan(seconds=1.0, matrix=8192, megabytes=2048, width=WIDTHS["gpu"],
           batches=(64, 128, 256, 512, 1024, 2048, 4096), batch=512, networks=tuple(NETWORKS),
           widths=(0.25, 0.5, 1.0, 1.22), images=(5_625, 11_250, 22_500, 45_000),
           workers=(0, 2, min(16, os.cpu_count() or 2)), loop=60, compiled=True)  # fmt: skip
SMOKE = replace(CPU, seconds=0.001, matrix=64, megabytes=1, width=0.125, batches=(4, 8), batch=8,
                networks=("Net, 0.1 M",), widths=(0.125, 0.25), images=(16, 32), workers=(0,), loop=2)  # fmt: skip


def recipe_for(device: torch.device) -> Recipe:
    return RECIPES["gpu" if device.type == "cuda" else "cpu"]


def precision_on(device: torch.device) -> Precision:
    return mixed_precision(device, on_cpu=recipe_for(device).cpu_bfloat16)


class Steps:
    """Bare steps of one network on one batch: what a training loop is built around."""

    def __init__(self, model: nn.Module, device: torch.device, batch: int, classes: int = 10) -> None:
        self.model = placed(model, device)
        self.precision, self.device = precision_on(device), device
        self.images = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=memory_format(device))
        self.labels = torch.randint(classes, (batch,), device=device)
        recipe = recipe_for(device)  # at rates that keep the weights where they are
        recipe = replace(recipe, learning_rate=1e-4, matrix_rate=recipe.matrix_rate and 1e-4)
        self.optimizer = optimizer_for(self.model, recipe)
        self.forward: Callable[[Tensor], Tensor] = self.model

    def training(self, batch: Batch | None = None) -> None:
        images, labels = batch or (self.images, self.labels)
        with self.precision.autocast(self.device):
            loss = F.cross_entropy(self.forward(images).float(), labels)
        self.optimizer.zero_grad()
        self.precision.scaler.scale(loss).backward()
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()

    def inference(self) -> None:
        with torch.inference_mode(), self.precision.autocast(self.device):
            self.forward(self.images)


def speed(model: nn.Module, batch: int, machine: Machine, device: torch.device, seconds: float,
          compiled: bool = False) -> Line:  # fmt: skip
    """Images per second, peak bytes and share of the roofline of both kinds of step; says so where memory ran out."""
    line: Line = {"batch": batch, "compiled": compiled, "parameters": count_parameters(model),
                  "macs": count_macs(model)}  # fmt: skip
    costs = layers(model, batch, machine.dtype.itemsize)
    try:
        steps = Steps(model, device, batch)
        if compiled:
            steps.forward = torch.compile(steps.model, dynamic=False)
        for kind, work, passes in (("inference", steps.inference, 1), ("training", steps.training, 3)):
            steps.model.train(kind == "training")
            took = seconds_of(work, seconds)
            steps.optimizer.zero_grad()  # gradients count as part of a step
            line[kind] = {
                "images_per_second": batch / took,
                "peak_memory": peak_memory(work, device),
                "roofline": passes * shortest(costs, machine) / took,
            }
    except torch.OutOfMemoryError:
        line["failed"] = "out of memory"
    except Exception as error:  # a compiler that is missing or fails costs this row only
        if not compiled:
            raise
        line["failed"] = f"torch.compile: {type(error).__name__}"
    return {**line, "memory_bound": memory_bound(costs, machine)}


def speeds(plan: Plan, machine: Machine, device: torch.device) -> list[Line]:
    """A line for Net at each batch size, compiled at one of them, and for each of the other networks."""
    jobs = [(f"Net(width={plan.width})", partial(Net, plan.width), batch, False) for batch in plan.batches]
    if plan.compiled:
        jobs.append((*jobs[0][:2], plan.batch, True))
    jobs += [(name, NETWORKS[name], plan.batch, False) for name in plan.networks]
    return [_said({"network": name, **speed(make(), batch, machine, device, plan.seconds, compiled)})
            for name, make, batch, compiled in jobs]  # fmt: skip


def _said(line: Line) -> Line:
    rate = line["training"]["images_per_second"] if "training" in line else 0
    print(f"{line['network']}, batch {line['batch']}: {line.get('failed') or f'{rate:,.0f} images/s in training'}")
    return line


def endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader


def loading(splits: Splits, plan: Plan, device: torch.device) -> list[Line]:
    """Training images per second that reach `device`, augmented and normalised: ours, and DataLoaders."""
    ours = loaders(splits, batch_size=plan.batch, device=device)[0]
    lines = [{"loader": "eva.data.BatchLoader", **_served(ours, plan, device)}]
    for workers in plan.workers:
        theirs = tutorial_loader(splits, plan.batch, workers, tuned=True)
        name = f"DataLoader, torchvision transforms, {workers} workers"
        lines.append({"loader": name, **_served(theirs, plan, device)})
    return lines


def _served(loader: Iterable[Batch], plan: Plan, device: torch.device) -> Line:
    batches = endless(loader)

    def serve() -> None:
        for images, labels in islice(batches, 4):
            images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    return {"images_per_second": 4 * plan.batch / seconds_of(serve, plan.seconds)}


def growth(splits: Splits, plan: Plan, machine: Machine, device: torch.device, measured: list[Line]) -> list[Line]:
    """Seconds against the number of images (one training pass, data included), width (a step) and batch (a step).

    Each with the exponent of the power law that fits best: 1 where twice as much takes twice as long.
    """
    by_images, by_width = {}, {}
    steps = Steps(Net(plan.width, len(splits.classes)), device, plan.batch, len(splits.classes))
    for images in (count for count in plan.images if count <= len(splits.train)):
        part = loaders(replace_train(splits, images), batch_size=plan.batch, device=device)[0]
        by_images[images] = seconds_of(lambda part=part: [steps.training(batch) for batch in part], plan.seconds)
    for width in plan.widths:
        line = speed(Net(width), plan.batch, machine, device, plan.seconds)
        by_width[width] = plan.batch / line["training"]["images_per_second"]
    alike = [line for line in measured if line["network"].startswith("Net(") and not line["compiled"]]
    by_batch = {line["batch"]: line["batch"] / line["training"]["images_per_second"]
                for line in alike if "training" in line}  # fmt: skip
    found_by = {"images": by_images, "width": by_width, "batch": by_batch}
    return [{"against": name, "seconds": list(map(list, found.items())), "exponent": exponent(found)}
            for name, found in found_by.items() if len(found) > 1]  # fmt: skip


def replace_train(splits: Splits, images: int) -> Splits:
    """`splits` with the first `images` of the training split."""
    return Splits(splits.name, splits.source, splits.classes, splits.train.take(slice(images)), splits.validation,
                  splits.test)  # fmt: skip


def exponent(found: dict[float, float]) -> float:
    """The slope of log seconds over log size, by least squares."""
    return statistics.linear_regression([math.log(x) for x in found], [math.log(y) for y in found.values()]).slope


def overhead(plan: Plan, device: torch.device, repeats: int = 5) -> Line:
    """What `eva.training.train` takes beyond the bare steps on the same batches, which are on the device already.

    The two take turns; each side's figure is the median of its turns, so that a machine that slows down in between
    does not look like a loop that costs something.
    """
    steps = Steps(Net(plan.width), device, plan.batch)
    batches = [(steps.images, steps.labels)] * plan.loop

    def bare() -> None:
        for batch in batches:
            steps.training(batch)

    def whole() -> None:
        train(steps.model, device, batches, steps.optimizer, 1, precision=steps.precision, quiet=True)

    turns: dict[str, list[float]] = {"bare": [], "train": []}
    for _ in range(repeats):
        turns["bare"].append(seconds_of(bare, 0) / plan.loop)
        turns["train"].append(seconds_of(whole, 0) / plan.loop)
    times = {name: statistics.median(found) for name, found in turns.items()}
    return {"steps": plan.loop, "repeats": repeats, **times, "overhead": times["train"] / times["bare"] - 1}


def measure(splits: Splits, plan: Plan, device: torch.device) -> Line:
    """The whole report."""
    dtype = precision_on(device).dtype
    machine = measure_machine(device, dtype, plan.seconds, plan.matrix, plan.megabytes)
    print(f"{machine.flops / 1e9:,.0f} GFLOP/s in {dtype}, {machine.bandwidth / 1e9:,.1f} GB/s", flush=True)
    found = speeds(plan, machine, device)
    return {
        **origin(splits, device),
        "date": date.today().isoformat(),
        "machine": {**asdict(machine), "dtype": str(dtype).removeprefix("torch.")},
        "speeds": found,
        "loaders": loading(splits, plan, device),
        "batch": plan.batch,
        "growth": growth(splits, plan, machine, device, found),
        "loop": overhead(plan, device),
    }


def main(argv: list[str] | None = None) -> None:
    asked = arguments(__doc__.splitlines()[0]).parse_args(argv)
    if asked.table:
        for path in filter(Path.exists, (REPORT, GPU_REPORT)):
            report = json.loads(path.read_text())
            write_report(path, report, page(report))
        return
    device, splits = device_here(), load()
    path, plan = (GPU_REPORT, GPU) if device.type == "cuda" else (REPORT, CPU)
    if asked.smoke:
        splits, plan, path = few(splits, 48), SMOKE, asked.folder / "smoke" / REPORT.name
    report = measure(splits, plan, device)
    write_report(path, report, page(report))


if __name__ == "__main__":
    main()
