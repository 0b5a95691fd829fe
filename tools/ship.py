"""Make a run's network the one that ships with the package: `python tools/ship.py runs/NAME`.

What using it needs is kept, with the run's report and the measurements of its epochs; the state of training, as large
again, is left out. What it reaches, and at what price, is said in README.md's first lines.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from eva import checkpoint
from eva.__main__ import REPORT_FILE
from eva.files import replace_section
from eva.training import METRICS_FILE, MODEL_FILE

ROOT = Path(__file__).parent.parent
TARGET, README = ROOT / "eva" / "pretrained.pt", ROOT / "README.md"
LARGEST = 4_000_000  # bytes


def promise(card: checkpoint.Checkpoint) -> str:
    """One sentence: what the shipped network is, reaches and took."""
    run = card.results
    asked = f"--recipe {run['recipe']['name']} --epochs {run['epochs']} --seed {run['seed']}"
    return (
        f"**{run['parameters']:,} parameters, {100 * run['test_accuracy']:.1f} % of the test images right, after "
        f"{run['seconds'] / 60:.0f} minutes of training**: the network that ships with `eva`, by "
        f"`python -m eva train {asked}` on {card.data}; {run['device']}."
    )


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    run = Path(arguments[0])
    saved = checkpoint.load(run / MODEL_FILE)
    if not (run / REPORT_FILE).exists():
        print(f"{run} has no report: let `python -m eva train` finish it first", file=sys.stderr)
        return 1
    report = json.loads((run / REPORT_FILE).read_text("utf-8"))
    rows = [json.loads(line) for line in (run / METRICS_FILE).read_text("utf-8").splitlines()]
    card = replace(saved, results={**report, "rows": rows}, training=None)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(card, Path(folder) / TARGET.name)
        size = (Path(folder) / TARGET.name).stat().st_size
    if size > LARGEST:
        print(f"{run} would take {size:,} bytes, and {LARGEST:,} may be shipped: train a narrower Net", file=sys.stderr)
        return 1
    checkpoint.save(card, TARGET)
    replace_section(README, "promise", promise(card))
    print(f"{TARGET.name}: {size:,} bytes, {report['test_accuracy']:.2%} on {saved.data}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
