"""Every row of every table: whoever holds a wrong idea is met with the words for it, and not with others."""

import re

import pytest

import eva.exercises
from eva.exercises.grading import Question, SuchAs, Wrong

WITHOUT = {"check_dilations", "check_separable"}  # no table: they have tests of their own
each_check = pytest.mark.parametrize("check", eva.exercises.__all__)


def questions(name):
    """All that a check asks, as it asks a learner."""
    trials = getattr(eva.exercises, name).questions()
    return [question for question in trials if isinstance(question, Question)]


def rows(question):
    """Of each wrong idea what it gives and the words for it, by the words without numbers and the place beside them."""
    table = {}
    for *ideas, words in question.wrong_ideas:
        for idea in ideas:
            kind = re.sub(r"[\d.,]+", "#", words)
            table[kind, sum(other == kind for other, _ in table)] = idea, words
    return table


def an_answer(idea):
    if isinstance(idea, SuchAs):
        return idea.example
    return tuple(map(an_answer, idea)) if isinstance(idea, tuple) else idea


def complaint(question, answer):
    """What is said to `answer`; None where it is right."""
    try:
        question(lambda *_: answer)
    except Wrong as wrong:
        return str(wrong)
    return None


@each_check
def test_who_holds_a_wrong_idea_is_told_so_at_the_first_question_that_shows_it(check):
    reached = {}
    for question in questions(check):
        for kind, (idea, words) in rows(question).items():
            complained = complaint(question, an_answer(idea))
            if complained is not None and not reached.get(kind):
                assert complained.endswith(words), f"{words!r}\nbut told: {complained!r}"
            reached[kind] = reached.get(kind) or complained
    assert all(reached.values()), [kind for kind, complained in reached.items() if not complained]
    assert bool(reached) == (check not in WITHOUT)


@each_check
def test_the_truth_is_right_and_nonsense_is_not(check):
    for question in questions(check):
        truth = an_answer(question.truth)
        assert complaint(question, truth) is None
        assert complaint(question, None) == "`<lambda>` returned nothing."
        nonsense = tuple(part + 7 for part in truth) if isinstance(truth, tuple) else truth + 7
        assert complaint(question, nonsense).endswith(".")
