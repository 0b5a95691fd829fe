"""What the benchmarks share: where results go, what a measurement must name, and going on where a call stopped."""

import argparse
import json
import logging
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from eva.data import Splits
from eva.device import hardware
from eva.files import replacing

ROOT = Path(__file__).parent.parent
RESULTS, RUNS = ROOT / "results", ROOT / "runs" / "benchmarks"
Line = dict[str, Any]


def device_here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def origin(splits: Splits, device: torch.device) -> Line:
    """What every figure must carry: the data's name, the hardware and the version of PyTorch."""
    return {"data": splits.name, "hardware": hardware(device), "torch": torch.__version__}


def few(splits: Splits, images: int = 96) -> Splits:
    """The first images of each split, for --smoke. The name says so: nothing measured on them is a result."""
    parts = (part.take(slice(images)) for part in (splits.train, splits.validation, splits.test))
    return Splits(f"{splits.name}, {images} images", splits.source, splits.classes, *parts)


class Deadline:
    """The minutes that one call may take."""

    def __init__(self, minutes: float) -> None:
        self.ends = time.monotonic() + 60 * minutes

    def allows(self, seconds: float) -> bool:
        """Whether something that takes `seconds` would end in time."""
        return time.monotonic() + seconds <= self.ends


def write_report(path: Path, report: Line, page: str) -> None:
    """`report` as `path` (.json), and the `page` that people read beside it (.md); the page is printed too."""
    print(page)
    with replacing(path, "w") as file:
        json.dump(report, file, indent=1)
    with replacing(path.with_suffix(".md"), "w") as file:
        file.write(page)


def spread(values: Sequence[float]) -> str:
    """Fractions as a percentage: the mean, and the standard deviation where there are several."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def arguments(purpose: str, minutes: float | None = None) -> argparse.ArgumentParser:
    """The options that the benchmarks share; where one call may not be enough, `minutes` is what it may take."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # what eva tells meanwhile
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it works; into runs/, not results/")
    parser.add_argument("--table", action="store_true", help="measure nothing; write the page from the JSON as it is")
    parser.add_argument("--folder", type=Path, default=RUNS, help="where runs are kept between calls")
    if minutes is not None:
        parser.add_argument("--minutes", type=float, default=minutes, help="of one call; the next one goes on")
        parser.add_argument("--fresh", action="store_true", help="begin anew, where an earlier call left finished runs")
    return parser
