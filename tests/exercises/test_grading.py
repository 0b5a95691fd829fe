import pytest
import torch

from eva.exercises import (
    check_cam,
    check_count_paths,
    check_cross_entropy,
    check_mixup,
    check_momentum_step,
    check_normalise,
    check_output_size,
    check_training_bytes,
    check_widest,
)


def stub(*_):
    return ...


def stops(*_):
    raise RuntimeError("oh")


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_normalise, stub, "`stub` returned nothing."),
        (check_normalise, stops, "`stops` stopped with RuntimeError: oh"),
        (check_normalise, lambda images, mean, std: (images / 255 - mean) / std, "Error: The size of tensor"),
        (check_normalise, lambda images, mean, std: images.tolist(), "must return a tensor, and returned list"),
        (
            check_normalise,
            lambda images, mean, std: images[0] / 255,
            "must return the shape (6, 3, 9, 7) here, and returned (3, 9, 7).",
        ),
        (check_cam, lambda maps, weight, classes: maps.sum((1, 2, 3)), "here, and returned ("),
        (check_cam, lambda maps, weight, classes: torch.einsum("nchw,kc->nkhw", maps, weight), "here: that has a map"),
        (check_count_paths, lambda blocks: "7", "must return a number, and returned str"),
        (check_count_paths, lambda blocks: True, "must return a number, and returned bool"),
        (check_count_paths, lambda blocks: 7, "paths, not 7."),
        (check_count_paths, lambda blocks: 2**blocks + 1, "paths, not "),
        (check_widest, lambda limit: 3, "not 3."),
        (check_cross_entropy, lambda logits, labels: logits, "must return a number, and returned Tensor"),
        (
            check_output_size,
            lambda size, kernel, stride, padding: (size + 2 * padding - kernel) / stride + 1,
            "with //",
        ),
        (check_mixup, lambda images, *_: images, "must return two things, images and labels, and returned Tensor"),
        (
            check_mixup,
            lambda images, *_: (images,) * 3,
            "must return two things, images and labels, and returned tuple",
        ),
        (check_mixup, lambda images, *_: (images, None), "nothing for one of two things, images and labels"),
        (check_momentum_step, lambda weight, *_: (weight.sum(), weight), "must return the shape"),
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
