"""The page of benchmarks/throughput.py, from its report."""

from typing import Any

from eva.table import Table

Line = dict[str, Any]
SPEED_TITLES = ("network", "parameters", "million MACs", "batch", "inference (images/s)", "of roofline", "peak (MB)",
                "training (images/s)", "of roofline", "peak (MB)", "waits for memory")  # fmt: skip

GROWTH_TITLES = ("against", "sizes", "milliseconds", "grows with the power")


def page(report: Line) -> str:
    """The report as Markdown."""
    machine = report["machine"]
    parts = [
        f"# Throughput: {report['hardware']}",
        f"Data: {report['data']}; PyTorch {report['torch']}, {report['date']}. A large matrix product in "
        f"{machine['dtype']} ran at {machine['flops'] / 1e9:,.0f} GFLOP/s, a large copy at "
        f"{machine['bandwidth'] / 1e9:,.1f} GB/s (read and written). Made by "
        "`benchmarks/throughput.py`, which says how.",
        "## Steps",
        str(Table(SPEED_TITLES, [speed_row(line) for line in report["speeds"]], _explained())),
        "## Loading",
        str(Table(("loader", "images/s", "as a multiple of the training step's"), loader_rows(report))),
        "## How the cost grows",
        str(Table(GROWTH_TITLES, [growth_row(line) for line in report["growth"]],
                  "Against images: a training pass, loading included; against width and batch: a training step.")),
        "## The loop",
        loop(report["loop"]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _explained() -> str:
    return (
        "*Of roofline*: the time that the convolutions and the linear layer would take at the rates above, over the "
        "time measured. *Waits for memory*: the share of that ideal time in layers whose bytes take longer than their "
        "arithmetic. *Peak*: tensors held at one time beyond weights, the batch and the optimizer's state."
    )


def speed_row(line: Line) -> list[str]:
    """One network at one batch size."""
    name = line["network"] + (", compiled" if line["compiled"] else "")
    row = [name, f"{line['parameters']:,}", f"{line['macs'] / 1e6:.1f}", str(line["batch"])]
    for kind in ("inference", "training"):
        if kind in line:
            found = line[kind]
            row += [f"{found['images_per_second']:,.0f}", f"{found['roofline']:.0%}",
                    f"{found['peak_memory'] / 1e6:,.0f}"]  # fmt: skip
        else:
            row += [line["failed"], "-", "-"]
    return [*row, f"{line['memory_bound']:.0%}"]


def loader_rows(report: Line) -> list[list[str]]:
    """Each loader, beside what a training step of Net takes in at the same batch size."""
    at = (line for line in report["speeds"] if line["batch"] == report["batch"] and "training" in line)
    taken = next((line["training"]["images_per_second"] for line in at), None)
    return [
        [line["loader"], f"{line['images_per_second']:,.0f}",
         f"{line['images_per_second'] / taken:.1f}" if taken else "-"]
        for line in report["loaders"]
    ]  # fmt: skip


def growth_row(line: Line) -> list[str]:
    sizes = ", ".join(f"{size:,}" for size, _ in line["seconds"])
    return [line["against"], sizes, ", ".join(f"{1e3 * took:,.1f}" for _, took in line["seconds"]),
            f"{line['exponent']:.2f}"]  # fmt: skip


def loop(line: Line) -> str:
    """What the training loop costs."""
    return (
        f"`eva.training.train` took {1e3 * line['train']:.2f} ms a step on batches that were on the device already, "
        f"the bare steps {1e3 * line['bare']:.2f} ms: {line['overhead']:+.1%} (medians of {line['repeats']} turns of "
        f"{line['steps']} steps each)."
    )
