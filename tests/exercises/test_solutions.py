"""The exercises as the notebooks have them: stubs, checks, and the solutions that are folded there."""

import ast
import itertools
import re

import nbformat
import numpy
import pytest
import torch
from torch import nn

import eva.exercises
from eva.augment import flip
from eva.measure import count_parameters
from eva.model import Net
from tools.notebooks import ROOT, notebooks

SCOPE = {"torch": torch, "nn": nn, "numpy": numpy, "flip": flip, "count_parameters": count_parameters, "Net": Net}
CALL = re.compile(r"^(check_\w+)\((\w+)\)$", re.MULTILINE)


def exercises():
    """The notebook, the name of the check, the cell with the stub, and the solution, of every exercise."""
    for path in notebooks():
        cells = nbformat.read(path, as_version=4).cells
        stubs = [cell.source for cell in cells if cell.cell_type == "code" and CALL.search(cell.source)]
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        solutions = re.findall(r"<summary>Solution</summary>\s+```python\n(.*?)```", prose, re.DOTALL)
        for stub, solution in zip(stubs, solutions, strict=True):
            yield pytest.param(path.stem, CALL.search(stub)[1], stub, solution, id=CALL.search(stub)[1])


each_exercise = pytest.mark.parametrize(("notebook", "check", "stub", "solution"), [*exercises()])


def test_every_check_has_its_exercise():
    assert sorted(parameters.values[1] for parameters in exercises()) == eva.exercises.__all__


@each_exercise
def test_the_check_stands_in_the_file_of_its_notebook(notebook, check, stub, solution):
    tree = ast.parse((ROOT / "eva/exercises" / f"{notebook[3:]}.py").read_text())
    assert check in [statement.name for statement in tree.body if isinstance(statement, ast.FunctionDef)]


@each_exercise
def test_the_stub_returns_nothing_yet(notebook, check, stub, solution, capsys):
    exec(stub, {check: getattr(eva.exercises, check)})
    assert re.fullmatch(r"Not yet: `\w+` returned nothing.\n", capsys.readouterr().out)


@each_exercise
def test_the_folded_solution_is_right(notebook, check, stub, solution, verdict):
    exec(solution, scope := dict(SCOPE))
    name = CALL.search(stub)[2]
    assert verdict(getattr(eva.exercises, check), scope[name]) == f"Right, {getattr(eva.exercises, check).right}.\n"


FORMS = (
    lambda number: numpy.asarray(number)[()],  # numpy.int64 or numpy.float64
    lambda number: (numpy.int32 if isinstance(number, int) else numpy.float32)(number),
    numpy.asarray,
    torch.tensor,
)


def in_forms(answer, forms):
    """The answer with each of its numbers in the next one of the forms, and its tensors as arrays."""
    if isinstance(answer, tuple | list):
        return type(answer)(in_forms(part, forms) for part in answer)
    if isinstance(answer, torch.Tensor):
        return answer.numpy()
    return next(forms)(answer) if isinstance(answer, int | float) else answer


@each_exercise
def test_numbers_may_be_numpys_or_tensors_and_tensors_arrays(notebook, check, stub, solution, verdict):
    exec(solution, scope := dict(SCOPE))
    solved, forms = scope[CALL.search(stub)[2]], itertools.cycle(FORMS)
    assert verdict(getattr(eva.exercises, check), lambda *given: in_forms(solved(*given), forms)).startswith("Right, ")


@each_exercise
def test_a_function_that_ruins_what_it_was_given_does_not_fool_the_check(notebook, check, stub, solution, verdict):
    exec(solution, scope := dict(SCOPE))
    solved, ruined = scope[CALL.search(stub)[2]], []

    def ruining(*given):
        for thing in given:
            if isinstance(thing, torch.Tensor):
                ruined.append(thing.zero_())
        return solved(*given)

    assert verdict(getattr(eva.exercises, check), ruining).startswith("Not yet: " if ruined else "Right, ")


@each_exercise
def test_what_a_check_hands_out_may_be_worked_on_in_place(notebook, check, stub, solution, verdict):
    exec(solution, scope := dict(SCOPE))
    solved = scope[CALL.search(stub)[2]]

    def ruining(*given):
        before = [thing.clone() if isinstance(thing, torch.Tensor) else thing for thing in given]
        answer = solved(*before)
        for thing in given:
            if isinstance(thing, torch.Tensor):
                thing.zero_()
            elif isinstance(thing, list):
                thing.clear()
        return answer

    assert verdict(getattr(eva.exercises, check), ruining).startswith("Right, ")
