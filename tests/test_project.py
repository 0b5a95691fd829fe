"""README, environment.yml, pyproject.toml, Makefile and the workflow say the same things."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rattler import MatchSpec

from benchmarks import time_to_accuracy
from eva.checkpoint import pretrained_card
from eva.course import ladder
from eva.course.worth import page, worth
from eva.recipes import RECIPES, Recipe
from tools.notebooks import index
from tools.ship import promise

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def requirements() -> set[str]:
    """Every requirement of pyproject.toml, as "name>=version"."""
    lists = re.findall(r"^(?:dependencies|notebooks|dev) = \[(.*?)\]", PYPROJECT, re.DOTALL | re.MULTILINE)
    assert len(lists) == 3
    return {requirement for found in lists for requirement in re.findall(r'"(.+?)"', found)}


def test_environment_and_pyproject_name_the_same_packages():
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {str(entry) for entry in packages if isinstance(entry, str)}
    pip = next(entry["pip"] for entry in packages if isinstance(entry, dict))
    named = {spec.replace("pytorch>=", "torch>=") for spec in conda} | set(pip)
    python = re.search(r'requires-python = "(.+?)"', PYPROJECT)[1]
    assert named == requirements() | {f"python{python}", "pip", "-e ."}


def test_the_match_specs_of_the_environment_parse():
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    for spec in packages:
        if isinstance(spec, str):
            assert MatchSpec(spec).name.normalized == re.split("[>=]", spec)[0]


def test_requirements_have_floors_and_no_upper_pins():
    for requirement in requirements():
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), requirement


def test_the_workflow_fits_its_schema():
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows",
         str(ROOT / ".github" / "workflows" / "ci.yml")], capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_and_workflow_call_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in ("README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml"):
        called = re.findall(
            r"^`?make (?:--no-print-directory )?([a-z]+)|`make ([a-z]+)", (ROOT / file).read_text(), re.M
        )
        assert {name for pair in called for name in pair if name} <= targets, file
    readme = (ROOT / "README.md").read_text()
    for needed in ("make train", "make test", "make lab", "python3-venv", "--nbmake notebooks"):
        assert needed in readme


def test_readme_lists_every_notebook_and_no_other():
    readme = (ROOT / "README.md").read_text()
    linked = set(re.findall(r"\(notebooks/(.+?\.ipynb)\)", readme))
    assert linked == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md", "results/README.md"])
def test_what_a_page_links_to_is_there(page):
    path = ROOT / page
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    named = re.findall(r"^\| `(\w+\.md)`", path.read_text(), re.MULTILINE)  # as results/README.md lists its own
    assert linked or named
    assert [target for target in (*linked, *named) if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "eva").rglob("*.py")), ids=lambda path: path.name)
def test_a_file_can_be_read_in_ten_minutes(path):
    assert len(path.read_text().splitlines()) <= 300


def test_training_imports_nothing_that_only_notebooks_need():
    script = (
        "import sys, eva, eva.training, eva.__main__\n"
        "print([name for name in ('matplotlib', 'ipywidgets', 'torchsummary', 'jupyterlab') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_imports_point_one_way():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def section(name: str) -> str:
    found = re.search(f"<!--{name}-->\n(.*?)\n<!--/{name}-->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"README.md has no section {name!r}"
    return found[1]


def test_the_tables_of_time_to_accuracy_are_of_what_was_measured():
    report = json.loads(time_to_accuracy.REPORT.read_text())
    assert time_to_accuracy.REPORT.with_suffix(".md").read_text() == time_to_accuracy.table(report)
    assert section("time-to-accuracy") == time_to_accuracy.untitled(report), "benchmarks/time_to_accuracy.py --table"


def test_the_readmes_list_of_notebooks_is_what_they_say_of_themselves():
    assert section("notebooks") == index(), "make badges"


def test_the_readmes_promise_is_of_the_network_that_ships():
    assert section("promise") == promise(pretrained_card())


def test_the_shipped_network_was_trained_by_the_recipe_of_its_name():
    kept = dict(pretrained_card().results["recipe"])
    recipe = RECIPES[kept.pop("name")]
    lists = {name: tuple(value) for name, value in kept.items() if isinstance(value, list)}
    assert Recipe(**{**kept, **lists}) == recipe


def test_the_readmes_comparisons_are_of_the_runs_that_were_made():
    assert section("evidence") == page(), "python -m eva evidence"
    assert section("worth") == str(worth()), "python -m eva evidence"


def test_the_readmes_ladder_is_of_the_ledger():
    assert section("ladder") == str(ladder()), "python -m eva ledger"
