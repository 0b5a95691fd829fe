"""What Colab installs is what works: the wheel, unpacked into an empty folder, away from the clone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder in which the wheel was unpacked."""
    built, unpacked = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("unpacked")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(built)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    return unpacked


def test_every_module_is_in_the_wheel_and_can_be_imported_from_there(installed, tmp_path):
    files = sorted(path.relative_to(ROOT).with_suffix("") for path in (ROOT / "eva").rglob("*.py"))
    modules = [".".join(path.parts).removesuffix(".__init__") for path in files]
    assert "eva.training.loop" in modules
    script = f"import importlib\nfor name in {modules}:\n    print(importlib.import_module(name).__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert [str(Path(line).relative_to(installed)) for line in done.stdout.splitlines()] == [
        f"{path}.py" for path in files
    ]


def test_a_notebook_runs_with_what_is_installed(installed, tmp_path, monkeypatch):
    (path,) = (ROOT / "notebooks").glob("*_a_convolution_by_hand.ipynb")
    notebook = nbformat.read(path, as_version=4)
    look = "from eva import course\nprint(course.__file__, len(course.reference()))"
    notebook.cells.append(nbformat.v4.new_code_cell(look))
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    file, steps = notebook.cells[-1].outputs[0].text.split()
    assert Path(file).is_relative_to(installed)
    assert int(steps) == 8, "the ledger came along"
