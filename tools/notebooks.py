"""Keep the notebooks and their outputs in step: `python tools/notebooks.py refresh [NB]` and `... badges`.

refresh executes notebooks, all of them or those whose names begin with NB, at EVA_BUDGET (default: cpu), and keeps
their outputs together with a hash of their code and the minutes that they took. The hash is of the syntax tree, so that
prose and comments may change without a new run; a test compares it.
badges writes each notebook's Colab link and set-up cell from the repository that pyproject.toml names. Both write
README's table of the notebooks.
"""

import ast
import hashlib
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from eva.files import replace_section, replacing

ROOT = Path(__file__).parent.parent
TIMING = re.compile(r"<!--minutes-->.*?<!--/minutes-->")
BADGE = re.compile(r"\[!\[Open in Colab\].*?\]\(.*?\)(?=\n|$)")


def notebooks(prefix: str = "") -> list[Path]:
    """The notebooks of the series whose names begin with `prefix`, in reading order."""
    return sorted((ROOT / "notebooks").glob(f"{prefix}*.ipynb"))


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """A hash of what the code cells do: of their syntax trees, without comments and formatting."""
    transform = TransformerManager().transform_cell  # turns %pip and the like into Python
    trees = [_shape(ast.parse(transform(cell.source))) for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(repr(trees).encode()).hexdigest()[:16]


def _shape(node: object) -> object:
    """A syntax tree as plain lists, without its empty fields: each version of Python has others of those."""
    if isinstance(node, ast.AST):
        filled = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return [type(node).__name__, [(name, _shape(value)) for name, value in filled]]
    return [_shape(item) for item in node] if isinstance(node, list) else repr(node)


def refresh(path: Path) -> None:
    """Execute one notebook and keep its outputs. Raises CellExecutionError where a cell fails; the old ones stay."""
    notebook = nbformat.read(path, as_version=4)
    budget = os.environ["EVA_BUDGET"]
    began = time.perf_counter()
    NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    seconds = time.perf_counter() - began
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times at which it ran
        for output in cell.get("outputs", []):  # a widget without its kernel is dead: what stands in for it stays
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata.pop("widgets", None)  # GitHub shows an error in place of a notebook that has it
    notebook.metadata["eva"] = {"code": code_hash(notebook), "budget": budget}
    minutes = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{max(10, round(seconds, -1)):.0f} seconds"
    measured = f"Runs in about {minutes} on {cores()} CPU cores (measured); on a GPU: not measured yet."
    said = f"<!--minutes-->{measured}<!--/minutes-->"
    if budget == "cpu":
        notebook.cells[0].source = TIMING.sub(said, notebook.cells[0].source)
    write(notebook, path)
    print(f"{path.name}: {seconds:.0f} s at the {budget} budget")


def cores() -> int:
    """How many processor cores a notebook may use here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def repository() -> str:
    """OWNER/NAME, from the one place that names the repository."""
    line = re.search(r'^Repository = "https://github.com/(.+?)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    if line is None:
        raise SystemExit('pyproject.toml needs a line: Repository = "https://github.com/OWNER/NAME"')
    return line[1]


def badge(path: Path) -> str:
    """The Markdown of a notebook's Colab link."""
    link = f"https://colab.research.google.com/github/{repository()}/blob/main/notebooks/{path.name}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"


def setup_cell() -> str:
    """The first code cell of every notebook. Colab has torch and the rest: reinstalling them there breaks things."""
    return (
        "import sys\n\n"
        'if "google.colab" in sys.modules:  # On Colab, install eva; anywhere else, do nothing.\n'
        f"    %pip install --quiet --no-deps git+https://github.com/{repository()} torchsummary"
    )


def write_badges(path: Path) -> None:
    """Put the link into the first cell and the set-up into the first code cell."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = BADGE.sub(badge(path), notebook.cells[0].source)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = setup_cell()
    write(notebook, path)


def index() -> str:
    """README's table of the notebooks, from what each says of itself in its first cell."""
    firsts = {path: nbformat.read(path, as_version=4).cells[0].source for path in notebooks()}
    measured = {path: re.search(r"Runs in about ([\d.]+) (minutes|seconds) on (\d+) CPU cores", first)
                for path, first in firsts.items()}  # fmt: skip
    machines = {found[3] for found in measured.values() if found}
    alike = f" on {machines.pop()} CPU cores" if len(machines) == 1 else ""
    lines = [f"| notebook | its promise | minutes{alike} |", "|---|---|---|"]
    for path, first in firsts.items():
        number, title = re.match(r"# (\d\d) · (.+)", first).groups()
        promise = re.search(r"^\*([^*].+?)\*$", first, re.MULTILINE)[1]
        found = measured[path]
        minutes = "-" if found is None else found[1] if found[2] == "minutes" else "under 1"
        machine = "" if alike or found is None else f" on {found[3]} CPU cores"
        lines.append(f"| {number} [{title}](notebooks/{path.name}) | {promise} | {minutes}{machine} |")
    return "\n".join(lines)


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write it with what reveals an answer folded: JupyterLab opens such an output when its cell is run."""
    for cell in notebook.cells:
        if ".reveal(" in cell.source:
            cell.metadata.setdefault("jupyter", {})["outputs_hidden"] = True
    with replacing(path, "w") as file:
        nbformat.write(notebook, file)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["badges"]:
        for path in notebooks():
            write_badges(path)
        replace_section(ROOT / "README.md", "notebooks", index())
        return 0
    if arguments[:1] != ["refresh"] or len(arguments) > 2:
        print(__doc__, file=sys.stderr)
        return 2
    chosen = notebooks(*arguments[1:])
    if not chosen:
        print(f"no notebook in notebooks/ begins with {arguments[1]!r}", file=sys.stderr)
        return 1
    os.environ.setdefault("EVA_BUDGET", "cpu")
    os.environ["TQDM_DISABLE"] = "1"  # a finished bar is a dead widget in a stored notebook
    for path in chosen:
        refresh(path)
    replace_section(ROOT / "README.md", "notebooks", index())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
