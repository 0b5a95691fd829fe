"""The exercises of notebook 13. PyTorch's SGD and `Recipe` are the truth."""

import torch
from torch import Generator, Tensor

from eva.exercises.grading import Question, SuchAs, Table, Trial, exercise, integer
from eva.recipes import Recipe


@exercise(20, "on 20 random weights, three steps each")
def check_momentum_step(rng: Generator) -> Trial:
    shape = (integer(rng, 2, 4), integer(rng, 2, 4))
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


@exercise(30, "on 30 random schedules, five steps of each")
def check_one_cycle(rng: Generator) -> Trial:
    steps, warmup = 10 * integer(rng, 4, 40), integer(rng, 1, 5) / 10
    peak = round(warmup * steps) - 1  # the step that is the first at the full rate
    for step in (peak // 2, 0, peak, peak + (steps - peak) // 2, steps - 1):
        yield _share_at(step, steps, warmup, climbs=step < peak)


def _share_at(step: int, steps: int, warmup: float, climbs: bool) -> Question:
    truth, rising = Recipe(epochs=1, warmup=warmup).rate(step, steps), warmup * steps
    from_the_start = (steps - step) / steps
    wrong_ideas: Table
    if climbs:
        wrong_ideas = [
            (step / rising, "steps count from 0, and the first one must move too. Count from 1 as they rise."),
            ((step + 1) / steps, "the rise takes warmup * steps steps, not all of them."),
            (from_the_start, "that falls from the first step on."),
        ]
    else:
        too_soon = (steps - 1 - step) / (steps - rising)
        wrong_ideas = [
            (from_the_start, "the fall begins at the peak, so divide by the steps that are left there."),
            (1.0, "after the peak the rate falls."),
            (too_soon, "the last step must still move: the line reaches 0 one step after it."),
        ]
    wrong_ideas += [
        (SuchAs(2.0, lambda share: share > 1), "a share of the peak is never above 1."),
        (SuchAs(-1.0, lambda share: share < 0), "a negative rate would climb uphill."),
    ]
    setting = f"step {step} of {steps}, warmup {warmup}: the share is {truth:.4f}"
    return Question((step, steps, warmup), truth, wrong_ideas, lambda share: f"{setting}, not {share:.4f}")
