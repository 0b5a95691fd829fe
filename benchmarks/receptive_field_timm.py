"""How many of timm's architectures does the receptive-field calculator answer, and does the NaN probe agree?

    pip install timm
    python -m benchmarks.receptive_field_timm            # a quarter of an hour; writes results/receptive_field_timm.*
    python -m benchmarks.receptive_field_timm resnet26d  # some of them, printed only

From each of timm's model files one of the smallest architectures, without weights, at its own input size.
Where the field is small enough and nothing on the way sees the whole image, the NaN probe of benchmarks/receptive_field
is run on the trunk too. A run that was stopped goes on where it was.
"""

import json
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.receptive_field import probe
from eva.files import append_json, read_json, replacing
from eva.measure import count_parameters
from eva.receptive_field import ReceptiveFieldError, receptive_field, shown

PAGE = Path(__file__).parent.parent / "results" / "receptive_field_timm.md"
RECORD = PAGE.with_suffix(".jsonl")
PROBED = 500  # pixels: the largest field that is probed


def chosen() -> list[tuple[str, str]]:
    """(file, architecture): of each file's four shortest names the one with the fewest parameters."""
    import timm

    files = defaultdict[str, list[str]](list)
    for name in timm.list_models():
        files[timm.models._registry._model_to_module[name]].append(name)
    shortest = {file: sorted(names, key=lambda name: (len(name), name))[:4] for file, names in files.items()}
    return [(file, min(names, key=lambda name: count_parameters(made(name)))) for file, names in shortest.items()]


def made(name: str) -> nn.Module:
    """Without weights where that can be done, which takes no memory."""
    import timm

    try:
        with torch.device("meta"):
            return timm.create_model(name)
    except (RuntimeError, NotImplementedError):  # it computes with numbers while it is built
        return timm.create_model(name)


class Trunk(nn.Module):
    """An architecture without its head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.forward_features(images)


def measured(file: str, name: str) -> dict[str, Any]:
    """One architecture: its field, or why there is none."""
    import timm

    model = made(name)
    size = tuple(model.default_cfg["input_size"])
    row: dict[str, Any] = {
        "file": file,
        "name": name,
        "input": size,
        "timm": timm.__version__,
        "torch": torch.__version__,
    }
    began = time.perf_counter()
    try:
        field = receptive_field(model, size)
    except ReceptiveFieldError as error:
        return row | {"refused": str(error)}
    except Exception as error:
        return row | {"crashed": repr(error)[:200]}
    row |= {
        "seconds": round(time.perf_counter() - began, 2),
        "size": field.size,
        "least": field.least,
        "jump": field.jump,
    }
    row |= {"whole": field.whole_image, "everywhere": field.everywhere}
    gated = any(each.gated for runs in field.modules.values() for each in runs)
    translated = field.everywhere and not gated and field.size != size[1:]  # not what runs over all rows of any image
    if translated and max(field.size) <= PROBED and hasattr(model, "forward_features"):
        try:
            trunk = Trunk(timm.create_model(name)).eval().double()
            field = receptive_field(trunk, size)  # which a head of windows would widen
            row["agrees"] = all(probe(model, field, trunk, axis, short=96) for axis in (0, 1))
        except Exception as error:  # an architecture that takes one input size only
            row["probe"] = repr(error)[:100]
    return row


def page(rows: list[dict[str, Any]]) -> str:
    answered = [row for row in rows if "size" in row]
    agreed = [row["agrees"] for row in answered if "agrees" in row]
    refused, crashed = (sum(key in row for row in rows) for key in ("refused", "crashed"))
    lines = [
        "# Receptive fields of timm's architectures",
        "",
        f"Of {len(rows)} architectures, each of another of timm's model files, {len(answered)} are answered, {refused} "
        f"refused, and {crashed} stop with an error. Of the {len(agreed)} that could be probed, the NaN probe agrees "
        f"with {sum(agreed)}. timm {rows[0]['timm']}, torch {rows[0]['torch']}; made by",
        "`benchmarks/receptive_field_timm.py`, which says how.",
        "",
        "| architecture | input | size | jump | output sees all | agrees | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "size" not in row:
            why = row.get("refused", row.get("crashed"))
            lines.append(f"| {row['name']} | {row['input'][1]} | {why} | | | | |")
            continue
        size = shown(row["size"]) if row["size"] == row["least"] else f"{shown(row['least'])} to {shown(row['size'])}"
        agrees = {True: "yes", False: "NO", None: ""}[row.get("agrees")]
        cells = [row["name"], row["input"][1], size, shown(row["jump"]), "yes" if row["whole"] else "no", agrees]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['seconds']} |")
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    rows = read_json(RECORD) if RECORD.exists() and not names else []
    done = {row["name"] for row in rows}
    for file, name in chosen():
        if (names and name not in names) or name in done:
            continue
        row = json.loads(json.dumps(measured(file, name)))
        print(row, flush=True)
        rows.append(row)
        if not names:
            append_json(RECORD, row)
    if not names:
        with replacing(PAGE, "w") as file:
            file.write(page(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
