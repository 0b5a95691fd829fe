"""The exercise of notebook 12. The check says what a wrong answer forgot; torch's least squares are the truth."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eva.grading import Wrong, a_number, a_random, exercise, named

Line = tuple[float, float]  # slope and intercept


def _try_line(answer: Callable, rng: torch.Generator) -> None:
    count = a_random(rng, 4, 9)
    x = 3 + 2 * torch.rand(count, generator=rng)
    slope, intercept = (1.5 + torch.rand(2, generator=rng)) * torch.tensor([-1, 2])
    y = slope * x + intercept + 0.5 * torch.randn(count, generator=rng)  # off the line, or every method would agree
    found = _a_line(answer, answer(x.clone(), y.clone()))
    true = _least_squares(x, y)
    if _near(found, true):
        return
    came = f"For {count} points you have a slope of {found[0]:.3f} and an intercept of {found[1]:.3f}"
    for given, words in _mistakes(x, y, true):
        if _near(found, given):
            raise Wrong(f"{came}: {words}")
    off, best = (float(((line[0] * x + line[1] - y).double() ** 2).sum()) for line in (found, true))
    raise Wrong(f"{came}. Its squared distances add up to {off:.4g}, those of the least-squares line to {best:.4g}.")


def _mistakes(x: Tensor, y: Tensor, true: Line) -> list[tuple[Line, str]]:
    slope, intercept = true
    mean_x, mean_y, count = float(x.mean()), float(y.mean()), len(x)
    other, rest = _least_squares(y, x)  # x = other * y + rest
    through_zero = float(x @ y / (x @ x))
    ends = float((y[-1] - y[0]) / (x[-1] - x[0]))
    correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    mixed = "the sum over the products is divided by n and that over the squares by n - 1, or the other way round."
    wrong = [
        ((intercept, slope), "the two are swapped: the slope comes first."),
        ((other, rest), "that line predicts x from y. Divide by the spread of x, not of y."),
        ((1 / other, -rest / other), "that is x fitted to y and turned round: it adds up distances along x."),
        ((through_zero, 0.0), "the intercept is forgotten: that line goes through (0, 0). Subtract the means first."),
        ((slope, 0.0), "the slope is right; the intercept is mean(y) - slope * mean(x)."),
        ((slope, mean_y), "the slope is right; mean(y) is the height at mean(x). Go back to x = 0."),
        ((slope, mean_y + slope * mean_x), "the slope is right; to go back to x = 0 subtract slope * mean(x)."),
        ((through_zero, mean_y - through_zero * mean_x), "the slope is that of a line through (0, 0): subtract means."),
        ((ends, float(y[0]) - ends * float(x[0])), "that goes through the first point and the last. All count alike."),
        ((-slope, mean_y + slope * mean_x), "the slope has the wrong sign."),
        ((correlation, mean_y - correlation * mean_x), "that slope is the correlation: it has no unit, a slope has."),
    ]
    for factor in (count / (count - 1), (count - 1) / count):
        wrong.append(((slope * factor, mean_y - slope * factor * mean_x), mixed))
    return wrong


def _least_squares(x: Tensor, y: Tensor) -> Line:
    columns = torch.stack([x, torch.ones_like(x)], dim=1).double()
    slope, intercept = torch.linalg.lstsq(columns, y.double()).solution.tolist()
    return slope, intercept


def _near(one: Line, other: Line) -> bool:
    return all(abs(a - b) <= 1e-3 * max(1.0, abs(b)) for a, b in zip(one, other, strict=True))


def _a_line(answer: Callable, value: Any) -> Line:
    if value is None or value is Ellipsis:
        raise Wrong(f"`{named(answer)}` returned nothing.")
    if isinstance(value, Tensor) and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"`{named(answer)}` must return two numbers, (slope, intercept), and returned {value!r}.")
    slope, intercept = (a_number(answer, one) for one in value)
    return slope, intercept


check_straight_line = exercise(_try_line, 20, "on 20 random sets of points, as torch.linalg.lstsq has it")
