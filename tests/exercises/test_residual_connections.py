import pytest
import torch

from eva.exercises import check_add_shortcut, check_count_paths


def add_in_place(x, f):
    x += f(x)
    return x


def add_and_compare_the_sum(x, f):
    out = x + f(x)
    if out.shape != x.shape:
        raise ValueError
    return out


def add_where(x, f, alike, message=None):
    out = f(x)
    if not alike(out):
        raise ValueError(message if message is not None else f"{x.shape} and {out.shape}")
    return x + out


def add_or_return_the_error(x, f, error=None):
    out = f(x)
    return x + out if out.shape == x.shape else error or ValueError(f"{x.shape}, {out.shape}")


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
        (lambda x, f: x + f(x), "silently: compare the shapes, all of their numbers"),
        (add_and_compare_the_sum, "silently: compare the shapes, all of their numbers"),
        (lambda x, f: x + 2 * f(x), "the values differ from x + f(x)"),
        (lambda x, f: x - f(x), "it does not subtract"),
        (lambda x, f: x, "that is x alone"),
        (lambda x, f: torch.cat((x, f(x)), 1), "the two stand side by side there"),
        (
            lambda x, f: add_where(x, f, lambda out: out.numel() == x.numel()),
            "added a (1, 2, 3, 2) to a (2, 1, 3, 2), sil",
        ),
        (lambda x, f: add_where(x, f, lambda out: out.shape[1] == x.shape[1]), "silently: compare the shapes, all of"),
        (
            lambda x, f: add_where(x, f, lambda out: out.shape[2:] == x.shape[2:]),
            "silently: compare the shapes, all of",
        ),
        (
            lambda x, f: add_where(x, f, lambda out: out.shape[1:] == x.shape[1:]),
            "silently: compare the shapes, all of",
        ),
        (lambda x, f: add_where(x, f, lambda out: out.ndim == x.ndim), "silently: compare the shapes, all of"),
        (
            lambda x, f: add_where(x, f, lambda out: out.shape == x.shape, ""),
            "and says nothing: let it say both shapes",
        ),
        (lambda x, f: add_where(x, f, lambda out: out.shape == x.shape, "no"), "and says 'no': let it say both shapes"),
        (lambda x, f: add_where(x, f, lambda out: out.shape == x.shape, f"{x.shape}"), "let it say both shapes"),
        (
            lambda x, f: add_where(x, f, lambda out: out.shape is x.shape),
            "stopped in the line `raise ValueError(message",
        ),
        (add_or_return_the_error, "write `raise` for `return`"),
        (lambda x, f: add_or_return_the_error(x, f, ValueError), "write `raise` for `return`"),
        (lambda x, f: add_or_return_the_error(x, f, "no"), "returned a str where the shapes differ: raise ValueError"),
        (lambda x, f: f(x).sum(1), "must return the shape"),
        (add_in_place, "x itself was changed"),
        (add_and_run_twice, "f ran 2 times"),
        (
            add_and_assert,
            "with AssertionError. It was called with a tensor of shape (2, 2, 2, 2) and a function. f made (2",
        ),
        (add_or_nothing, "returned nothing where the shapes differ"),
    ],
)
def test_wrong_shortcuts_are_told_what_is_wrong_with_them(function, words, refused):
    refused(check_add_shortcut, function, words)


@pytest.mark.parametrize("shapes", ["{1} of {0}", "{0} -> {1}", "x: {0}, out: {1}"])
def test_the_shapes_may_be_said_in_any_way(shapes, verdict):
    def add_shortcut(x, f):
        out = f(x)
        if out.shape != x.shape:
            raise ValueError(shapes.format(x.shape, list(out.shape)))
        return x + out

    assert verdict(check_add_shortcut, add_shortcut).startswith("Right, ")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda blocks: blocks,
            "Through 1 block lead 2 paths, not 1: there is the path through it, and the one around",
        ),
        (lambda blocks: 2 ** (2 * blocks), "not 4: there are two ways, through it and around it"),
        (lambda blocks: 2**blocks - 1, "Through 1 block lead 2 paths, not 1"),
        (lambda blocks: blocks**2, "Through 1 block lead 2 paths, not 1"),
        (lambda blocks: blocks + 1, "Through 2 blocks lead 4 paths, not 3: a path may skip several"),
        (lambda blocks: 2 * blocks, "Through 3 blocks lead 8 paths, not 6: a further block does not add two"),
        (lambda blocks: 3**blocks, "Through 1 block lead 2 paths, not 3: one through it, and one around it."),
    ],
)
def test_wrong_numbers_of_paths_are_met_with_the_right_words(function, words, refused):
    refused(check_count_paths, function, words)
