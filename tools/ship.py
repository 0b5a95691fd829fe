"""Make a run's network the one that ships with the package: `python tools/ship.py runs/NAME`.

Only what using it needs is kept; the state of training, as large again, is left out.
"""

import sys
from dataclasses import replace
from pathlib import Path

from eva import checkpoint
from eva.training import MODEL_FILE

TARGET = Path(__file__).parent.parent / "eva" / "pretrained.pt"
LARGEST = 4_000_000  # bytes


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    saved = checkpoint.load(Path(arguments[0]) / MODEL_FILE)
    if "test_accuracy" not in saved.results:
        print(f"{arguments[0]} has no test accuracy: let `python -m eva train` finish it first", file=sys.stderr)
        return 1
    checkpoint.save(replace(saved, training=None), TARGET)
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes, {saved.results['test_accuracy']:.2%} on {saved.data}")
    return 0 if TARGET.stat().st_size <= LARGEST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
