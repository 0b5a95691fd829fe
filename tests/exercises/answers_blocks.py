"""Right and wrong answers to the exercises of notebooks 06 to 09; test_exercises.py tries them."""

import torch
import torch.nn.functional as F
from torch import nn

from eva.exercises import (
    check_add_shortcut,
    check_batch_norm,
    check_count_paths,
    check_count_separable,
    check_dropout,
    check_separable,
    check_widest,
)
from eva.measure import count_parameters
from eva.model import Net


def normalised(x, scale, shift, axes=(0, 2, 3), correction=0, root=0.5, eps=1e-5):
    """Batch norm, with the mistakes that a learner makes on the way to it."""
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=correction, keepdim=True)
    return (x - mean) / (variance + eps) ** root * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def dropped(x, keep, p, training):
    return x * keep / (1 - p) if training else x


def separable(inputs, outputs, groups=None, padding=1, bias=False, made=None, mixed=1):
    """The two convolutions, with the mistakes that a learner makes on the way to them."""
    made = made or inputs
    return nn.Sequential(
        nn.Conv2d(inputs, made, 3, padding=padding, groups=groups or inputs, bias=bias),
        nn.Conv2d(made, outputs, 1, groups=mixed, bias=bias),
    )


def turned_round(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False),
    )


def add_shortcut(x, f):
    out = f(x)
    if out.shape != x.shape:
        raise ValueError(f"{tuple(out.shape)} does not fit {tuple(x.shape)}")
    return x + out


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


with torch.device("meta"):
    SIZES = {step: count_parameters(Net(0.05 * step)) for step in range(1, 33)}


def widest(limit, beyond=0):
    return round(0.05 * (max(step for step, size in SIZES.items() if size <= limit) + beyond), 2)


SOLUTIONS = [
    (check_batch_norm, normalised),
    (check_batch_norm, lambda x, scale, shift: normalised(x, scale, shift, eps=0)),  # harmless on these
    (check_dropout, dropped),
    (check_separable, separable),
    (check_count_separable, lambda inputs, outputs, kernel: inputs * kernel**2 + inputs * outputs),
    (check_add_shortcut, add_shortcut),
    (check_count_paths, lambda blocks: 2**blocks),
    (check_widest, widest),
]

WRONG = [
    (check_batch_norm, lambda x, *_: normalised(x, torch.ones(1), torch.zeros(1)), "are still to come"),
    (check_batch_norm, lambda x, scale, _: normalised(x, scale, torch.zeros(1)), "the shift is missing"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, a * b), "that scales the shift too"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, b, correction=1), "unless you say `correction=0`"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, b, root=0), "the spread is not 1 yet"),
    (check_batch_norm, lambda x, a, b: x - x.mean((0, 2, 3), keepdim=True), "the spread is not 1 yet"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, b, root=1), "take its square root"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, b, axes=0), "a mean for each position"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, b, axes=(2, 3)), "each image by itself"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, b, axes=(1, 2, 3)), "each image by itself"),
    (check_batch_norm, lambda x, *_: F.layer_norm(x, x.shape[1:]), "each image by itself"),
    (check_batch_norm, lambda x, a, b: normalised(x, a, b, axes=(0, 1, 2, 3)), "leave axis 1 out"),
    (check_batch_norm, lambda x, a, b: (x - x.mean((0, 2, 3))) / x.std((0, 2, 3)), "Error: The size of tensor"),
    (check_batch_norm, lambda x, a, b: x, "differ from F.batch_norm"),
    (check_batch_norm, lambda x, a, b: x.mean((0, 2, 3)), "must return the shape"),
    (check_dropout, lambda x, keep, p, training: x, "nothing went"),
    (check_dropout, lambda x, keep, p, training: x * keep if training else x, "divide them by 1 - p"),
    (check_dropout, lambda x, keep, p, training: x * keep / p if training else x, "the share that stays is 1 - p"),
    (check_dropout, lambda x, keep, p, training: x * keep * (1 - p) if training else x, "smaller still"),
    (check_dropout, lambda x, keep, p, training: x * (1 - keep) / (1 - p) if training else x, "wrong way round"),
    (check_dropout, lambda x, keep, p, training: x * keep + 1, "what F.dropout makes of them"),
    (check_dropout, lambda x, keep, p, training: x * keep / (1 - p), "in evaluation mode nothing is dropped"),
    (check_dropout, lambda x, keep, p, training: x * (keep / (1 - p) if training else 1 - p), "nothing is scaled"),
    (check_dropout, lambda x, keep, p, training: x * keep / (1 - p) if training else x + 1, "come back as it was"),
    (check_dropout, lambda x, keep, p, training: x * keep / (1 - p) if training else None, "returned nothing"),
    (check_separable, lambda i, o: separable(i, o, groups=1), "as a standard one does: it needs groups="),
    (check_separable, lambda i, o: separable(i, o, mixed=i), "its task is to mix all maps"),
    (check_separable, lambda i, o: separable(i, o, padding=0), "a 3x3 kernel needs padding=1"),
    (check_separable, turned_round, "the 1x1 convolution comes first here"),
    (check_separable, lambda i, o: separable(i, o, bias=True), "there is a bias"),
    (check_separable, lambda i, o: separable(i, o, made=2 * i), "The 1x1 convolution changes their number"),
    (check_separable, lambda i, o: separable(i, o, groups=1 if i % 2 else i // 2), "it needs"),
    (check_separable, lambda i, o: separable(i, o, groups=i if i % 2 else i // 2), "a map by itself needs"),
    (check_separable, lambda i, o: separable(i, o)[0], "has 1 convolutions"),
    (check_separable, lambda i, o: separable(i, i), "and two convolutions alone have"),
    (check_separable, lambda i, o: separable(i, o).append(nn.BatchNorm2d(o)), "and two convolutions alone have"),
    (check_separable, lambda i, o: separable(i, o).append(nn.ReLU()), "not what the two give"),
    (check_separable, lambda i, o: nn.Sequential(separable(i, o)[0], nn.Conv2d(i, o, 3, padding=1)), "are 3x3 and 3x3"),
    (check_separable, lambda i, o: i * o, "must return a layer"),
    (check_count_separable, lambda i, o, k: i * o * k**2, "that is the standard convolution"),
    (check_count_separable, lambda i, o, k: i * k**2, "the 1x1 convolution has weights too"),
    (check_count_separable, lambda i, o, k: i * o, "the depthwise convolution has weights too"),
    (check_count_separable, lambda i, o, k: i * k**2 + i * o + i + o, "there are no biases here"),
    (check_count_separable, lambda i, o, k: k**2 + i * o, "has a kernel of its own"),
    (check_count_separable, lambda i, o, k: o * k**2 + i * o, "for each *input* map"),
    (check_count_separable, lambda i, o, k: i * k + i * o, "the kernel is a square"),
    (check_count_separable, lambda i, o, k: 7, "weights, not 7"),
    (check_count_separable, lambda i, o, k: "7", "must return a number, and returned str"),
    (check_add_shortcut, lambda x, f: x + f(x), "silently: compare the shapes before you add"),
    (check_add_shortcut, add_and_compare_the_sum, "silently: compare the shapes before you add"),
    (check_add_shortcut, lambda x, f: f(x), "that is f(x) alone"),
    (check_add_shortcut, lambda x, f: x + f(f(x)), "that is x + f(f(x))"),
    (check_add_shortcut, lambda x, f: f(x) + f(f(x)), "that adds f(x), not x"),
    (check_add_shortcut, lambda x, f: x - f(x), "the values differ from x + f(x)"),
    (check_add_shortcut, lambda x, f: x, "the values differ from x + f(x)"),
    (check_add_shortcut, add_in_place, "x itself was changed"),
    (check_add_shortcut, add_and_run_twice, "f ran 2 times"),
    (check_add_shortcut, add_and_assert, "it stopped with AssertionError: raise ValueError there"),
    (check_add_shortcut, add_or_nothing, "returned nothing where the shapes differ"),
    (check_add_shortcut, lambda x, f: f(x).sum(1), "must return the shape"),
    (check_add_shortcut, lambda x, f: 3.0, "must return a tensor, and returned float"),
    (check_count_paths, lambda blocks: blocks + 1, "At each one it has the choice again"),
    (check_count_paths, lambda blocks: 2 * blocks, "each path so far goes on in two ways"),
    (check_count_paths, lambda blocks: blocks**2, "once a block"),
    (check_count_paths, lambda blocks: 2 ** (blocks - 1), "through it and around it"),
    (check_count_paths, lambda blocks: 2**blocks - 1, "through it and around it"),
    (check_count_paths, lambda blocks: 7, "paths, not 7."),
    (check_count_paths, lambda blocks: "7", "must return a number, and returned str"),
    (check_widest, lambda limit: widest(limit, beyond=1), "go back to the last one that fits"),
    (check_widest, lambda limit: (limit / 635_050) ** 0.5, "that is an estimate"),
    (check_widest, lambda limit: 3, "not 3."),
    (check_widest, lambda limit: "1", "must return a number, and returned str"),
]
