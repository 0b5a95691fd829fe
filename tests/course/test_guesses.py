import numpy as np
import pytest
import torch

from eva.course import Guess


@pytest.fixture
def printed(capsys):
    return lambda: capsys.readouterr().out


def test_a_guess_is_kept_and_scored(printed):
    guess = Guess("How many?", unit="pixels", value=900)
    assert "Your guess: 900 pixels" in printed()
    guess.reveal(961)
    assert printed() == "How many? 961 pixels; you said 900 pixels, 61 pixels off: close enough.\n"
    guess.reveal(2000)
    assert "1,100 pixels off." in printed()
    empty = Guess("How many?", value=None)
    assert "Write your guess in place of None" in printed()
    empty.reveal(12345)
    assert "How many? 12,345." in printed()


@pytest.mark.parametrize("value", ["7", True, [1], 1j])
def test_a_guess_that_is_no_number(value):
    with pytest.raises(TypeError, match="must be a number"):
        Guess("How many?", value=value)


def test_a_guess_among_choices(printed):
    Guess("Which is faster?", choices=("a", "b"), value=None)
    assert "One of 'a', 'b'. Write your guess" in printed()
    guess = Guess("Which is faster?", choices=("a", "b"), value="a")
    guess.reveal("b")
    assert "Which is faster? b; you said a, not this time." in printed()
    guess.reveal("a")
    assert "right." in printed()
    with pytest.raises(ValueError, match="one of 'a', 'b', got 'c'"):
        Guess("Which is faster?", choices=("a", "b"), value="c")


def test_the_guesses_of_a_notebook_are_summed_up(printed, monkeypatch):
    monkeypatch.setattr(Guess, "scores", {})
    Guess("None?", value=None).reveal(3)
    printed()
    Guess.summary()
    assert printed().startswith("No guesses here yet.")
    for question, value in (("One?", 1.05), ("Two?", 1.2), ("One?", 1.05)):  # a cell that is run again counts once
        Guess(question, value=value).reveal(1)
    printed()
    Guess.summary()
    assert printed() == "1 of your 2 guesses were close: within a tenth, or the right choice.\n"


@pytest.mark.parametrize("value", [0.1, np.float64(0.1), np.float32(0.1), "0.1"])
def test_a_choice_may_be_written_as_the_number_that_it_looks_like(value, printed):
    guess = Guess("Which rate?", choices=("0.03", "0.1", "none"), value=value)
    guess.reveal("0.1")
    assert printed().endswith("0.1; you said 0.1, right.\n")


@pytest.mark.parametrize("value", [0.2, True, None])
def test_what_looks_like_no_choice_is_none(value):
    if value is None:
        assert Guess("Which rate?", choices=("0.1",), value=None).value is None
        return
    with pytest.raises(ValueError, match=r"one of '0.1', got"):
        Guess("Which rate?", choices=("0.1",), value=value)


@pytest.mark.parametrize("value", [np.int64(3), np.float32(3), torch.tensor(3.0).item()])
def test_numpy_s_numbers_are_numbers(value, printed):
    Guess("How many?", value=value).reveal(np.float64(3))
    assert printed().endswith("How many? 3; you said 3, 0 off: close enough.\n")


@pytest.mark.parametrize(("value", "factor"), [(2, "2"), (8, "2"), (4.3, "1.1"), (1, "4")])
def test_a_ratio_is_judged_as_a_ratio(value, factor, printed):
    Guess("How many times?", unit="times", value=value).reveal(4)
    close = ": close enough" if factor == "1.1" else ""
    assert printed().endswith(f"4 times; you said {value} times, off by a factor of {factor}{close}.\n")


@pytest.mark.parametrize("value", [0, -2])
def test_a_ratio_is_more_than_nothing(value):
    with pytest.raises(ValueError, match=r"more than 0 times, got .*: for half of it write 0\.5"):
        Guess("How many times?", unit="times", value=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_guess_is_finite(value):
    with pytest.raises(ValueError, match="finite number, got"):
        Guess("How many?", value=value)


def test_the_right_size_with_the_wrong_sign(printed):
    guess = Guess("What does it bring?", unit="points", value=5)
    guess.reveal(-4.94)
    assert printed().endswith("-4.94 points; you said 5 points, the right size, with the other sign.\n")
    assert Guess.scores["What does it bring?"] is False
    guess.reveal(-2)
    assert "7 points off." in printed()


def test_a_guess_that_was_withdrawn_is_forgotten(monkeypatch):
    monkeypatch.setattr(Guess, "scores", {})
    Guess("One?", value=1).reveal(1)
    Guess("One?", value=None).reveal(1)
    assert Guess.scores == {}


@pytest.mark.parametrize(
    ("number", "text"),
    [(9999.6, "10,000"), (9999.4, "9,999"), (12345.6, "12,346"), (-9999.9, "-10,000"), (0.12345, "0.1235"), (0, "0"),
     (1e-6, "1e-06"), (3e9, "3,000,000,000")],
)  # fmt: skip
def test_numbers_as_a_person_writes_them(number, text, printed):
    Guess("How many?", value=None).reveal(number)
    assert printed().endswith(f"How many? {text}. (no guess)\n")
