import pytest

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


@pytest.mark.parametrize("value", ["7", True, [1]])
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
