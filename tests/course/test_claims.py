import numpy as np
import pytest
import torch

from eva import course
from eva.course import Guess, claim


@pytest.fixture
def told(capsys):
    return lambda: capsys.readouterr().out


@pytest.mark.parametrize("holds", [True, np.bool_(True), np.array(True), torch.tensor(True)])
def test_a_claim_that_holds(told, holds):
    claim("it holds", holds)
    assert told() == "✓  it holds\n"


@pytest.mark.parametrize("holds", [False, np.bool_(False), torch.tensor(False)])
def test_a_claim_that_does_not_hold(holds):
    with pytest.raises(AssertionError, match="does not hold: water is dry"):
        claim("water is dry", holds)


@pytest.mark.parametrize("holds", [1, 0.5, "yes", None, torch.tensor([True]), np.array([True, True]), torch.tensor(1)])
def test_a_claim_of_something_that_is_no_truth_value(holds):
    with pytest.raises(TypeError, match=r"expected a bool"):
        claim("x", holds)


def test_a_claim_that_needs_more_than_this_budget_never_passes(told, monkeypatch):
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    claim("accurate", False, needs="cpu")
    assert told() == "–  not checked here (needs the cpu budget): accurate\n"
    monkeypatch.setenv("EVA_BUDGET", "gpu")
    with pytest.raises(AssertionError):
        claim("accurate", False, needs="cpu")
    with pytest.raises(ValueError, match=r"needs must be one of smoke, cpu, gpu, got 'lots'"):
        claim("x", True, needs="lots")


def test_the_budget_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("EVA_BUDGET", "cpu")
    assert course.budget() == "cpu"
    monkeypatch.setenv("EVA_BUDGET", "huge")
    with pytest.raises(ValueError, match=r"EVA_BUDGET must be one of .*got 'huge'"):
        course.budget()
    monkeypatch.delenv("EVA_BUDGET")
    assert course.budget() == ("cpu" if course.default_device().type == "cpu" else "gpu")


def test_a_guess_is_kept_and_scored(told):
    guess = Guess("How many?", unit="pixels", value=900)
    assert "Your guess: 900 pixels" in told()
    guess.reveal(961)
    assert told() == "How many? 961 pixels; you said 900 pixels, 61 pixels off: close enough.\n"
    guess.reveal(2000)
    assert "1,100 pixels off." in told()
    empty = Guess("How many?", value=None)
    assert "Write your guess in place of None" in told()
    empty.reveal(12345)
    assert "How many? 12,345." in told()


@pytest.mark.parametrize("value", ["7", True, [1]])
def test_a_guess_that_is_no_number(value):
    with pytest.raises(TypeError, match="must be a number"):
        Guess("How many?", value=value)


def test_a_guess_among_choices(told):
    Guess("Which is faster?", choices=("a", "b"), value=None)
    assert "One of 'a', 'b'. Write your guess" in told()
    guess = Guess("Which is faster?", choices=("a", "b"), value="a")
    guess.reveal("b")
    assert "Which is faster? b; you said a, not this time." in told()
    guess.reveal("a")
    assert "right." in told()
    with pytest.raises(ValueError, match="one of 'a', 'b', got 'c'"):
        Guess("Which is faster?", choices=("a", "b"), value="c")


def test_the_guesses_of_a_notebook_are_summed_up(told, monkeypatch):
    monkeypatch.setattr(Guess, "scores", {})
    Guess("None?", value=None).reveal(3)
    told()
    Guess.summary()
    assert told().startswith("No guesses here yet.")
    for question, value in (("One?", 1.05), ("Two?", 1.2), ("One?", 1.05)):  # a cell that is run again counts once
        Guess(question, value=value).reveal(1)
    told()
    Guess.summary()
    assert told() == "1 of your 2 guesses were close: within a tenth, or the right choice.\n"


def test_claims_are_counted_for_the_test_run(told, monkeypatch, tmp_path):
    monkeypatch.setenv("EVA_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    claim("one", True)
    claim("two", True, needs="cpu")
    with pytest.raises(AssertionError):
        claim("three", False)
    assert (tmp_path / "claims").read_text().split() == ["checked", "unchecked", "failed"]
