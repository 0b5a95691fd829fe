import math

import pytest
import torch

from eva.exercises import check_momentum_step, check_one_cycle


def sgd(weight, gradient, velocity, rate, momentum, **options):
    """A step of torch.optim.SGD."""
    parameter = torch.nn.Parameter(weight)
    parameter.grad = gradient
    optimizer = torch.optim.SGD([parameter], lr=rate, momentum=momentum, **options)
    optimizer.state[parameter]["momentum_buffer"] = velocity
    optimizer.step()
    return parameter.detach(), velocity


def rate_inside(weight, gradient, velocity, rate, momentum):
    velocity = momentum * velocity - rate * gradient
    return weight + velocity, velocity


def two_parts(step, steps, warmup, fall):
    """The rise as it should be, and a fall after it."""
    rising = warmup * steps
    return (step + 1) / rising if step < rising else fall(step - rising, steps - rising)


def cosine(over, left):
    return (1 + math.cos(math.pi * over / left)) / 2


def one_cycle(step, steps, warmup, first=1, last=0):
    """The schedule, with the mistakes that a learner makes on the way to it."""
    rising = warmup * steps
    return min((step + first) / rising, (steps - last - step) / (steps - rising), 1)


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_momentum_step, lambda *given: sgd(*given, nesterov=True), "that is Nesterov's variant"),
        (check_momentum_step, lambda *given: sgd(*given, dampening=given[4]), "weighed by 1 - momentum"),
        (check_momentum_step, lambda *given: sgd(*given, maximize=True), "subtracted from the velocity"),
        (check_momentum_step, lambda *given: sgd(*given)[::-1], "the wrong way round"),
        (check_momentum_step, lambda *given: sgd(*given[:3], 1.0, given[4]), "multiply it by the rate"),
        (check_momentum_step, rate_inside, "the rate is in the velocity there, as in some books"),
        (check_momentum_step, lambda w, g, v, r, m: (w - r * (g + (1 - m) * v), g + (1 - m) * v), "not 1 - momentum"),
        (check_momentum_step, lambda w, g, v, r, m: (w, 3 * v), "differ from those of torch.optim.SGD"),
        (
            check_one_cycle,
            lambda *given: one_cycle(*given, first=0),
            "step 0 of 10, warmup 0.2: the share is 0.5000, not 0.0000: steps",
        ),
        (check_one_cycle, lambda *given: one_cycle(*given, last=1), "the last step must still move"),
        (check_one_cycle, lambda s, n, w: (s + 1) / n, "not all of them"),
        (check_one_cycle, lambda s, n, w: (n - s) / n, "falls from the first step on"),
        (check_one_cycle, lambda s, n, w: min((s + 1) / (w * n), 1), "after the peak the rate falls"),
        (check_one_cycle, lambda s, n, w: min((s + 1) / (w * n), (n - s) / n), "divide by the steps that are left"),
        (check_one_cycle, lambda s, n, w: (s + 1) / (w * n), "is never above 1"),
        (check_one_cycle, lambda s, n, w: (s + 1) / (w * n) if s <= w * n else (n - s) / (n - w * n), "not for <="),
        (check_one_cycle, lambda *given: two_parts(*given, lambda over, left: over / left), "that rises again"),
        (check_one_cycle, lambda *given: two_parts(*given, cosine), "that is half a cosine"),
        (
            check_one_cycle,
            lambda *given: two_parts(*given, lambda over, left: 1 - over / (left - 1)),
            "must still move",
        ),
        (
            check_one_cycle,
            lambda *given: two_parts(*given, lambda over, left: 1 - (over + 1) / left),
            "must still move",
        ),
        (check_one_cycle, lambda *given: two_parts(*given, lambda over, left: 1), "after the peak the rate falls"),
        (
            check_one_cycle,
            lambda *given: two_parts(*given, lambda over, left: (left - over) / (left + 1)),
            "step 2 still",
        ),
        (check_one_cycle, lambda s, n, w: min((s + 1) / (w * n + 1), 1), "that rise has 1 already"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(check, function, words, refused):
    refused(check, function, words)


def test_other_right_code_is_right(verdict):
    def with_if(step, steps, warmup):
        rising = warmup * steps
        if step + 1 < rising:
            return (step + 1) / rising
        return min(1, (steps - step) / (steps - rising))

    assert verdict(check_one_cycle, with_if).startswith("Right, ")
    assert verdict(check_momentum_step, sgd).startswith("Right, ")
