"""The exercises of notebook 13. PyTorch's SGD and `Recipe` are the truth."""

import math

import torch
from torch import Generator, Tensor

from eva.exercises.grading import Question, SuchAs, Table, Trial, exercise, growing, integer
from eva.recipes import Recipe


@exercise(20, "on 20 random weights, the first a single number, three steps each")
def check_momentum_step(rng: Generator, turn: int) -> Trial:
    shape = (growing(rng, turn, 1, 4), growing(rng, turn, 1, 4))
    rate, momentum = integer(rng, 1, 4) / 10, integer(rng, 6, 9) / 10
    weight, velocity = (torch.randn(shape, generator=rng) for _ in range(2))
    for _ in range(3):
        gradient = torch.randn(shape, generator=rng)
        question = _step(weight, gradient, velocity, rate, momentum)
        yield question
        weight, velocity = question.truth


def _step(w: Tensor, g: Tensor, v: Tensor, rate: float, momentum: float) -> Question:
    """A step from the weight `w` along the gradient `g`, with the velocity `v` so far."""
    weight, velocity = truth = _by_pytorch(w, g, v, rate, momentum)
    any_ = SuchAs(torch.full_like(w, 9.0))
    late, weighed = w - rate * v, momentum * v + (1 - momentum) * g
    nesterov = w - rate * (g + momentum * velocity)
    wrong_ideas = [
        ((velocity, weight), "the two come the wrong way round: the weight first, then the velocity."),
        ((w - rate * g, any_), "the weight moved along this step's gradient alone: it must move along the velocity."),
        ((w + rate * velocity, any_), "the weight moved uphill: subtract rate times the velocity."),
        ((w - velocity, any_), "the weight moved by the whole velocity: multiply it by the rate."),
        (
            (w + momentum * v - rate * g, any_),
            (any_, momentum * v - rate * g),
            "the rate is in the velocity there, as in some books: PyTorch adds the gradient as it is, and multiplies "
            "by the rate when the weight moves.",
        ),
        ((late, velocity), "the weight moved along the velocity from before this step: renew the velocity first."),
        (
            (nesterov, velocity),
            "that is Nesterov's variant, which looks one step further along: here the weight follows the velocity.",
        ),
        ((weight, v), "the weight is right, but the velocity that came back is the old one: return the new one."),
        (
            (weight, rate * velocity),
            "the weight is right, but the velocity has the rate in it: at the next step it would count twice.",
        ),
        (
            (weight, any_),
            "the weight is right, the velocity is not: it is momentum times the old one, plus the gradient.",
        ),
        ((any_, weighed), "the gradient is weighed by 1 - momentum there: PyTorch's SGD adds all of it."),
        (
            (any_, momentum * g + (1 - momentum) * v),
            (any_, g + (1 - momentum) * v),
            "the old velocity is kept by the share `momentum`, not 1 - momentum.",
        ),
        ((any_, v + momentum * g), "momentum must multiply the old velocity, not the gradient."),
        ((any_, v + g), "all of the old velocity was kept: keep the share `momentum` of it."),
        (
            (any_, momentum * v - g),
            "the gradient is subtracted from the velocity: add it here, and subtract when the weight moves.",
        ),
        ((any_, velocity), "the velocity is right, the weight is not: subtract rate times the velocity."),
        ((any_, momentum * v + rate * g), "the rate is in the velocity there: it comes in only when the weight moves."),
    ]
    otherwise = "weight and velocity differ from those of torch.optim.SGD(lr=rate, momentum=momentum)."
    returns = "two things, the new weight and the new velocity"
    return Question((w, g, v, rate, momentum), truth, wrong_ideas, otherwise=otherwise, returns=returns)


def _by_pytorch(w: Tensor, g: Tensor, v: Tensor, rate: float, momentum: float) -> tuple[Tensor, Tensor]:
    """The weight and the velocity after a step of torch.optim.SGD."""
    parameter = torch.nn.Parameter(w.clone())
    parameter.grad = g
    optimizer = torch.optim.SGD([parameter], lr=rate, momentum=momentum)
    optimizer.state[parameter]["momentum_buffer"] = v.clone()
    optimizer.step()
    return parameter.detach(), optimizer.state[parameter]["momentum_buffer"]


@exercise(31, "on each step of a short schedule, and on six steps each of 30 random ones")
def check_one_cycle(rng: Generator, turn: int) -> Trial:
    steps, warmup = (10 * integer(rng, 4, 40), integer(rng, 1, 5) / 10) if turn else (10, 0.2)
    peak = round(warmup * steps) - 1  # the step that is the first at the full rate
    some = (0, peak // 2, peak, peak + 1, peak + (steps - peak) // 2, steps - 1)
    for step in some if turn else range(steps):
        yield _share_at(step, steps, warmup, peak)


def _share_at(step: int, steps: int, warmup: float, peak: int) -> Question:
    truth, rising = Recipe(epochs=1, warmup=warmup).rate(step, steps), peak + 1
    from_the_start, falling = (steps - step) / steps, steps - rising
    wrong_ideas: Table
    if step < peak:
        wrong_ideas = [
            (step / rising, step / peak, "steps count from 0, and the first must move too. Count from 1 as they rise."),
            ((step + 1) / steps, "the rise takes warmup * steps steps, not all of them."),
            ((step + 1) / (rising + 1), "the last of the warmup * steps steps that rise has 1 already."),
            ((1 - math.cos(math.pi * (step + 1) / rising)) / 2, "that rises in a curve: the amounts are to be equal."),
            (from_the_start, "that falls from the first step on."),
        ]
    else:
        over, down = step - rising, "the last step must still move: the line reaches 0 one step after it."
        wrong_ideas = [
            (from_the_start, "the fall begins at the peak, so divide by the steps that are left there."),
            ((falling - 1 - over) / falling, (falling - 1 - over) / (falling - 1), down),
            ((falling - over) / (falling + 1), f"step {rising} still has 1: the fall begins with the step after it."),
        ]
        if over == 0:
            too_long = (
                f"a share of the peak is never above 1. The rise ends with step {peak}, since steps count from 0: it "
                "is for step < warmup * steps, not for <=."
            )
            wrong_ideas.insert(0, ((step + 1) / rising, too_long))
        if over >= 0:
            cosine = (1 + math.cos(math.pi * over / falling)) / 2
            wrong_ideas[:0] = [
                (
                    over / falling,
                    (over + 1) / falling,
                    "that rises again: count the steps that are left, steps - step.",
                ),
                (cosine, "that is half a cosine: the fall is a straight line."),
                *([(1.0, "after the peak the rate falls.")] if over else []),
            ]
    wrong_ideas += [
        (SuchAs(2.0, lambda share: share > 1), "a share of the peak is never above 1."),
        (SuchAs(-1.0, lambda share: share < 0), "a negative rate would climb uphill."),
    ]
    setting = f"step {step} of {steps}, warmup {warmup}: the share is {truth:.4f}"
    return Question((step, steps, warmup), truth, wrong_ideas, lambda share: f"{setting}, not {share:.4f}")
