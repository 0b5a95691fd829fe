"""The exercises of notebook 11. Each check says what a wrong answer forgot. PyTorch and `Recipe` are the truth."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eva.exercises.grading import Wrong, a_number, a_random, a_tensor, close, exercise, named
from eva.recipes import Recipe


def _try_momentum_step(answer: Callable, rng: torch.Generator) -> None:
    shape = (a_random(rng, 2, 4), a_random(rng, 2, 4))
    rate, momentum = a_random(rng, 1, 4) / 10, a_random(rng, 6, 9) / 10
    weight, velocity = (torch.randn(shape, generator=rng) for _ in range(2))
    gradients = [torch.randn(shape, generator=rng) for _ in range(3)]
    weights, velocities = _by_pytorch(weight, velocity, gradients, rate, momentum)
    w, v = weight.clone(), velocity.clone()
    for step, gradient in enumerate(gradients):
        before = v.clone()
        after_w, after_v = _a_pair(answer, answer(w.clone(), gradient.clone(), v.clone(), rate, momentum), shape)
        if not (close(after_w, weights[step]) and close(after_v, velocities[step])):
            raise Wrong(_what_is_wrong_with(after_w, after_v, w, gradient, before, rate, momentum))
        w, v = after_w, after_v


def _by_pytorch(
    weight: Tensor, velocity: Tensor, gradients: list[Tensor], rate: float, momentum: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and velocities after each step of torch.optim.SGD."""
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.SGD([parameter], lr=rate, momentum=momentum)
    optimizer.state[parameter]["momentum_buffer"] = velocity.clone()
    weights, velocities = [], []
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
        weights.append(parameter.detach().clone())
        velocities.append(optimizer.state[parameter]["momentum_buffer"].clone())
    return weights, velocities


def _a_pair(answer: Callable, value: Any, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    if value is None or value is Ellipsis:
        raise Wrong(f"`{named(answer)}` returned nothing.")
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"`{named(answer)}` must return two things, the new weight and the new velocity.")
    weight, velocity = (a_tensor(answer, one, shape) for one in value)
    return weight, velocity


def _what_is_wrong_with(
    new_w: Tensor, new_v: Tensor, w: Tensor, gradient: Tensor, v: Tensor, rate: float, momentum: float
) -> str:
    velocity = momentum * v + gradient
    if close(new_v, w - rate * velocity) and close(new_w, velocity):
        return "the two come the wrong way round: the weight first, then the velocity."
    if close(new_w, w - rate * gradient):
        return "the weight moved along this step's gradient alone: it must move along the velocity."
    if close(new_w, w + rate * velocity):
        return "the weight moved uphill: subtract rate times the velocity."
    if close(new_w, w - velocity):
        return "the weight moved by the whole velocity: multiply it by the rate."
    if close(new_v, velocity) and close(new_w, w - rate * v):
        return "the weight moved along the velocity from before this step: renew the velocity first."
    if close(new_v, velocity) and close(new_w, w - rate * (gradient + momentum * velocity)):
        return "that is Nesterov's variant, which looks one step further along: here the weight follows the velocity."
    if close(new_w, w - rate * velocity):
        if close(new_v, v):
            return "the weight is right, but the velocity that came back is the old one: return the new one."
        if close(new_v, rate * velocity):
            return "the weight is right, but the velocity has the rate in it: at the next step it would count twice."
        return "the weight is right, the velocity is not: it is momentum times the old one, plus the gradient."
    if close(new_v, momentum * v + (1 - momentum) * gradient):
        return "the gradient is weighed by 1 - momentum there: PyTorch's SGD adds all of it."
    if close(new_v, v + momentum * gradient):
        return "momentum must multiply the old velocity, not the gradient."
    if close(new_v, v + gradient):
        return "all of the old velocity was kept: keep the share `momentum` of it."
    if close(new_v, momentum * v - gradient):
        return "the gradient is subtracted from the velocity: add it here, and subtract when the weight moves."
    if close(new_v, velocity):
        return "the velocity is right, the weight is not: subtract rate times the velocity."
    if close(new_v, momentum * v + rate * gradient):
        return "the rate is in the velocity there: it comes in only when the weight moves."
    return "weight and velocity differ from those of torch.optim.SGD(lr=rate, momentum=momentum)."


check_momentum_step = exercise(_try_momentum_step, 20, "on 20 random weights, three steps each")


def _try_one_cycle(answer: Callable, rng: torch.Generator) -> None:
    steps, warmup = 10 * a_random(rng, 4, 40), a_random(rng, 1, 5) / 10
    recipe = Recipe(epochs=1, warmup=warmup)
    rising = warmup * steps
    peak = round(rising) - 1  # the step that is the first at the full rate
    for step in (peak // 2, 0, peak, peak + (steps - peak) // 2, steps - 1):
        said = a_number(answer, answer(step, steps, warmup))
        truth = recipe.rate(step, steps)
        if abs(said - truth) < 1e-6:
            continue
        setting = f"step {step} of {steps}, warmup {warmup}: the share is {truth:.4f}, not {said:.4f}"
        climbs = step < peak
        if abs(said - step / rising) < 1e-6 and climbs:
            raise Wrong(f"{setting}: steps count from 0, and the first one must move too. Count from 1 as they rise.")
        if abs(said - (step + 1) / steps) < 1e-6 and climbs:
            raise Wrong(f"{setting}: the rise takes warmup * steps steps, not all of them.")
        if abs(said - (steps - step) / steps) < 1e-6:
            raise Wrong(
                f"{setting}: that falls from the first step on." if climbs
                else f"{setting}: the fall begins at the peak, so divide by the steps that are left there."
            )  # fmt: skip
        if said == 1 and step > peak:
            raise Wrong(f"{setting}: after the peak the rate falls.")
        if said > 1:
            raise Wrong(f"{setting}: a share of the peak is never above 1.")
        if said < 0:
            raise Wrong(f"{setting}: a negative rate would climb uphill.")
        if abs(said - (steps - 1 - step) / (steps - rising)) < 1e-6 and not climbs:
            raise Wrong(f"{setting}: the last step must still move: the line reaches 0 one step after it.")
        raise Wrong(f"{setting}.")


check_one_cycle = exercise(_try_one_cycle, 30, "on 30 random schedules, five steps of each")
