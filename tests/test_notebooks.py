"""What can be checked of the stored notebooks without running them; `pytest --nbmake notebooks` runs them."""

import re

import nbformat
import pytest

from eva.course import ladder
from tools.notebooks import badge, code_hash, index, notebooks, setup_cell

NOTEBOOKS = notebooks()
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_the_series_is_numbered_in_reading_order():
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02}_" for number in range(1, 16)]


@every_notebook
def test_outputs_are_of_this_code(path):
    notebook = read(path)
    assert notebook.metadata["eva"]["code"] == code_hash(notebook), f"code changed: make refresh NB={path.name[:2]}"
    assert notebook.metadata["eva"]["budget"] in ("cpu", "gpu")
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "the cells were run in order, all of them"


def test_the_hash_sees_code_and_not_comments():
    def hashed(source):
        return code_hash(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]))

    assert hashed("x = 1  # one\n%pip install y") == hashed("x  =  1\n%pip install y")
    assert hashed("x = 1") != hashed("x = 2")
    assert hashed("%pip install x") != hashed("%pip install y")


@every_notebook
def test_it_reads_well_on_github(path):
    assert path.stat().st_size < 1_500_000
    assert "widgets" not in read(path).metadata
    for cell in code_cells(path):
        assert "execution" not in cell.metadata
        assert cell.source.count("\n") < 30
        for output in cell.outputs:
            assert output.output_type != "error"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {}), "a dead widget"
    absolute = re.search(r"(?<![\w.:/])/(home|root|work|tmp|Users|mnt|content)/\w+", path.read_text())
    assert absolute is None, f"a path of somebody's machine: {absolute}"


@every_notebook
def test_its_first_cells_are_as_everywhere(path):
    notebook = read(path)
    first = notebook.cells[0].source
    assert first.startswith(f"# {path.name[:2]} · ")
    assert badge(path) in first, "make badges"
    assert "<!--minutes-->" in first
    assert code_cells(path)[0].source == setup_cell(), "make badges"
    assert notebook.metadata.kernelspec.name == "python3"


@every_notebook
def test_tables_of_the_ladder_are_of_the_present_ledger(path):
    for cell in code_cells(path):
        called = re.search(r'^ladder\((?:upto="(.+)")?\)$', cell.source, re.MULTILINE)
        if called:
            shown = cell.outputs[-1]["data"]["text/plain"]
            assert shown == repr(ladder(called[1])), f"the ledger changed: make refresh NB={path.name[:2]}"


def test_there_are_at_least_fourteen_exercises():
    checks = {
        name
        for path in NOTEBOOKS
        for cell in code_cells(path)
        for name in re.findall(r"^(check_\w+)\(", cell.source, re.MULTILINE)
    }
    assert len(checks) >= 14


@every_notebook
def test_an_answer_is_folded_until_its_cell_is_run(path):
    revealing = [cell for cell in code_cells(path) if ".reveal(" in cell.source]
    assert revealing
    assert all(cell.metadata.get("jupyter", {}).get("outputs_hidden") for cell in revealing), "make badges"


@every_notebook
def test_it_teaches_by_prediction_and_exercise(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    assert 2 <= len(re.findall(r"\bGuess\(", source)) == source.count(".reveal(")
    assert "claim(" in source
    assert code_cells(path)[-1].source == "Guess.summary()"
    prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    exercises = len(re.findall(r"\*\*Exercise ·", prose))
    assert exercises >= 1
    assert prose.count("<summary>Solution</summary>") == exercises, "each exercise has its solution folded"
    assert len(re.findall(r"^check_\w+\(", source, re.MULTILINE)) == exercises


@pytest.mark.parametrize(
    ("measured", "header", "cells"),
    [
        (("2 CPU", "2 CPU"), "minutes on 2 CPU cores |", ("| 3.1 |", "| under 1 |")),
        (("8 CPU", "8 CPU"), "minutes on 8 CPU cores |", ("| 3.1 |", "| under 1 |")),
        (("2 CPU", "8 CPU"), "minutes |", ("| 3.1 on 2 CPU cores |", "| under 1 on 8 CPU cores |")),
    ],
)
def test_the_index_names_the_machine_that_was_measured_on(tmp_path, monkeypatch, measured, header, cells):
    for number, (machine, time) in enumerate(zip(measured, ("3.1 minutes", "40 seconds"), strict=True), start=1):
        first = f"# 0{number} · Title\n\n*Promise.*\n\nRuns in about {time} on {machine} cores (measured)"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(first)])
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        nbformat.write(notebook, tmp_path / "notebooks" / f"0{number}_x.ipynb")
    monkeypatch.setattr("tools.notebooks.ROOT", tmp_path)
    head, _, *rows = index().splitlines()
    assert head.endswith(header)
    assert all(row.endswith(cell) for row, cell in zip(rows, cells, strict=True))


@every_notebook
def test_it_runs_where_batch_norm_wants_something_added_to_the_variance(path):
    """torch 2.11, which Colab had, refuses an eps of 0."""
    source = "\n".join(cell.source for cell in code_cells(path))
    assert re.search(r"\beps\s*=\s*\(?\s*0(\.0*)?\b(?!\.?\d|e)", source) is None
