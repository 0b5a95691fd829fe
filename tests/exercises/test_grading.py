import linecache

import pytest
import torch

import eva.exercises
from eva.exercises import (
    check_batch_norm,
    check_cam,
    check_corner_field,
    check_count_paths,
    check_count_separable,
    check_count_weights,
    check_cross_entropy,
    check_field,
    check_mixup,
    check_momentum_step,
    check_normalise,
    check_one_cycle,
    check_output_size,
    check_same_padding,
    check_share_interval,
    check_training_bytes,
    check_widest,
)
from eva.exercises.grading import described


def stub(*_):
    return ...


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_normalise, stub, "`stub` returned nothing."),
        (check_normalise, lambda images, mean, std: images.tolist(), "must return a tensor, and returned a list"),
        (
            check_normalise,
            lambda images, mean, std: images[0] / 255,
            "must return the shape (2, 3, 1, 1) here, and returned (3, 1, 1).",
        ),
        (check_cam, lambda maps, weight, classes: maps.sum((1, 2, 3)), "here, and returned ("),
        (check_cam, lambda maps, weight, classes: torch.einsum("nchw,kc->nkhw", maps, weight), "here: that has a map"),
        (check_count_paths, lambda blocks: "7", "must return a number, and returned a str"),
        (check_count_paths, lambda blocks: True, "must return a number, and returned a bool"),
        (check_count_paths, lambda blocks: 7 if blocks == 2 else 2**blocks, "Through 2 blocks lead 4 paths, not 7."),
        (check_count_paths, lambda blocks: 2**blocks + 1, "paths, not "),
        (check_widest, lambda limit: 3, "not 3."),
        (check_cross_entropy, lambda logits, labels: logits, "a number, and returned a tensor of shape (2, 3)."),
        (
            check_output_size,
            lambda size, kernel, stride, padding: (size + 2 * padding - kernel) / stride + 1,
            "with //",
        ),
        (
            check_mixup,
            lambda images, *_: images,
            "two things, images and labels, and returned a tensor of shape (3, 1, ",
        ),
        (
            check_mixup,
            lambda images, *_: (images,) * 3,
            "must return two things, images and labels, and returned a tuple",
        ),
        (check_mixup, lambda images, *_: (images, None), "nothing for one of two things, images and labels"),
        (check_momentum_step, lambda weight, *_: (weight.sum(), weight), "must return the shape"),
        (check_normalise, None, "give the check the function itself"),
    ],
)
def test_what_no_answer_can_be_is_refused(check, function, words, refused):
    refused(check, function, words)


def test_a_number_may_be_a_tensor_and_a_whole_one_a_float(verdict):
    assert verdict(check_count_paths, lambda blocks: torch.tensor(2**blocks)).startswith("Right, ")
    assert verdict(check_training_bytes, lambda p, a, batch: 12.0 * p + 4.0 * batch * a).startswith("Right, ")


def test_a_function_may_change_what_it_was_given(verdict):
    def in_place(weight, gradient, velocity, rate, momentum):
        velocity.mul_(momentum).add_(gradient)
        return weight.sub_(rate * velocity), velocity

    assert verdict(check_momentum_step, in_place).startswith("Right, ")


def stops(*_):
    raise RuntimeError("oh.")


def stops_in_torch(images, mean, std):
    return torch.cat((images, mean))


def stops_in_a_helper(*given):
    return stops(*given)


def takes_one(images):
    return images


class Stopping:
    def __call__(self, *_):
        raise KeyError


def in_a_cell(source, name="<a cell>"):
    """The `f` of a notebook's cell, whose lines IPython hands to linecache."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), scope := {})
    return scope["f"]


GIVEN = "It was called with a tensor of shape (2, 3, 1, 1), a tensor of shape (3,) and a tensor of shape (3,).\n"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (stops, f'`stops` stopped in the line `raise RuntimeError("oh.")` with RuntimeError: oh. {GIVEN}'),
        (
            stops_in_a_helper,
            f'`stops_in_a_helper` stopped in the line `raise RuntimeError("oh.")` with RuntimeError: oh. {GIVEN}',
        ),
        (stops_in_torch, "`stops_in_torch` stopped in the line `return torch.cat((images, mean))` with RuntimeError: "),
        (
            takes_one,
            f"`takes_one` stopped with TypeError: takes_one() takes 1 positional argument but 3 were given. {GIVEN}",
        ),
        (Stopping(), f"`Stopping` stopped in the line `raise KeyError` with KeyError. {GIVEN}"),
        (in_a_cell("def f(*_):\n    x = 1\n    return x / 0\n"), "`f` stopped in the line `return x / 0` with ZeroDiv"),
        (eval("lambda *_: 1 / 0"), f"`<lambda>` stopped with ZeroDivisionError: division by zero. {GIVEN}"),
    ],
)
def test_an_error_is_shown_with_its_line_and_what_was_given(function, words, verdict):
    assert verdict(check_normalise, function).startswith(f"Not yet: {words}")


@pytest.mark.parametrize("check", eva.exercises.__all__)
def test_every_check_shows_where_a_function_stops(check, verdict):
    called = "" if check == "check_dilations" else ". It was called with "
    words = f"Not yet: `f` stopped in the line `oh()` with NameError: name 'oh' is not defined{called}"
    assert verdict(getattr(eva.exercises, check), in_a_cell("def f(*_):\n    oh()\n")).startswith(words)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (3, "3"),
        (0.1 + 0.2, "0.3"),
        (9.0, "9.0"),
        ("train", "'train'"),
        ([(3, 1, 2)], "[(3, 1, 2)]"),
        (torch.zeros(2, 3), "a tensor of shape (2, 3)"),
        (torch.Generator(), "a Generator"),
        (stub, "a function"),
    ],
)
def test_arguments_are_described_as_a_learner_would(argument, words):
    assert described(argument) == words


@pytest.mark.parametrize(
    ("check", "small"),
    [
        (check_count_paths, (1,)),
        (check_corner_field, (1,)),
        (check_field, ([(3, 1, 1)],)),
        (check_output_size, (3, 3, 1, 0)),
        (check_same_padding, (3, 1)),
        (check_count_weights, (2, 4, 3)),
        (check_count_separable, (2, 5, 3)),
        (check_training_bytes, (9, 10, 2)),
        (check_one_cycle, (0, 10, 0.2)),
        (check_share_interval, (3, 20)),
        (check_cross_entropy, ((2, 3), (2,))),
        (check_normalise, ((2, 3, 1, 1), (3,), (3,))),
        (check_batch_norm, ((3, 2, 1, 1), (2,), (2,))),
        (check_mixup, ((3, 1, 1, 3), (3, 4), (3,), (3,))),
        (check_momentum_step, ((1, 1), (1, 1), (1, 1), 0.2, 0.6)),
        (check_cam, ((4, 6, 1, 2), (9, 6), (4,))),
    ],
)
def test_the_first_question_is_a_small_one(check, small):
    arguments = next(check.questions()).arguments
    assert len(arguments) == len(small)
    for argument, expected in zip(arguments, small, strict=True):
        assert (tuple(argument.shape) if isinstance(argument, torch.Tensor) else argument) == expected
