import pytest

from eva.exercises import check_add_shortcut


def add_in_place(x, f):
    x += f(x)
    return x


def add_and_compare_the_sum(x, f):
    out = x + f(x)
    if out.shape != x.shape:
        raise ValueError
    return out


def add_and_assert(x, f):
    out = f(x)
    if out.shape != x.shape:
        raise AssertionError
    return x + out


def add_or_nothing(x, f):
    out = f(x)
    return x + out if out.shape == x.shape else None


def add_and_run_twice(x, f):
    if f(x).shape != x.shape:
        raise ValueError
    return x + f(x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, f: x + f(x), "silently: compare the shapes before you add"),
        (add_and_compare_the_sum, "silently: compare the shapes before you add"),
        (lambda x, f: x - f(x), "the values differ from x + f(x)"),
        (lambda x, f: x, "the values differ from x + f(x)"),
        (lambda x, f: f(x).sum(1), "must return the shape"),
        (add_in_place, "x itself was changed"),
        (add_and_run_twice, "f ran 2 times"),
        (add_and_assert, "it stopped with AssertionError: raise ValueError there"),
        (add_or_nothing, "returned nothing where the shapes differ"),
    ],
)
def test_wrong_shortcuts_are_told_what_is_wrong_with_them(function, words, refused):
    refused(check_add_shortcut, function, words)
