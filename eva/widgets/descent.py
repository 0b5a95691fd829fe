"""Down the slope of a loss, with one weight or two: the plain functions of the descent explorer.

Problem    targets guessed by a weighted sum: its loss and its slopes
descend    a path of steps
verdict    what the last step did, in words
draw       the curve or the valley, and the path on it
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from torch import Tensor

from eva.plotting import BLUE, GREY, ORANGE

Weights = tuple[float, ...]
START: dict[int, Weights] = {1: (0.0,), 2: (1.0, -1.0)}  # where the explorer begins, with so many weights
FAR = 1e6  # a loss so many times that of all weights 0 ends a path


@dataclass(frozen=True)
class Problem:
    """Guess `targets` (N,) by a weighted sum of the columns of `inputs` (N, weights). Loss: the mean squared error.

    Raises ValueError for other shapes, for no rows, and for what is not finite.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        shapes = tuple(self.inputs.shape), tuple(self.targets.shape)
        if self.inputs.ndim != 2 or self.targets.shape != self.inputs.shape[:1] or not self.inputs.numel():
            advice = "take torch.stack([left, right], 1) of what the weights belong to"
            raise ValueError(f"inputs must be (N, weights) and targets (N,), got {shapes[0]} and {shapes[1]}: {advice}")
        if not (self.inputs.isfinite().all() and self.targets.isfinite().all()):
            raise ValueError("inputs and targets must be finite: there is an inf or a nan in them")

    def first(self, count: int) -> "Problem":
        """The same with the first `count` inputs alone."""
        return Problem(self.inputs[:, :count], self.targets)

    def loss(self, weights: Sequence[float] | Sequence[Weights] | Tensor) -> Tensor:
        """The loss at weights (weights,), or at each of many (..., weights); float64 (...)."""
        squares, products, rest = self._moments()
        at = torch.as_tensor(weights, dtype=torch.float64)
        return ((at @ squares) * at).sum(-1) - 2 * at @ products + rest

    def slope(self, weights: Sequence[float] | Tensor) -> Weights:
        """How the loss rises with each weight: its gradient."""
        squares, products, _ = self._moments()
        at = torch.as_tensor(weights, dtype=torch.float64)
        return tuple((2 * (squares @ at - products)).tolist())

    def lowest(self) -> Weights:
        """The weights with the lowest loss."""
        squares, products, _ = self._moments()
        return tuple((torch.linalg.pinv(squares, hermitian=True) @ products).tolist())

    def rate_limit(self) -> float:
        """The learning rate from which on steps lead away in the steepest direction: 2 over the loss's bend there."""
        return float(1 / torch.linalg.eigvalsh(self._moments()[0])[-1])

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is left of the images in the loss: it is weights @ squares @ weights - 2 weights @ products + rest."""
        inputs, targets = self.inputs.double(), self.targets.double()
        return inputs.T @ inputs / len(inputs), inputs.T @ targets / len(inputs), (targets**2).mean()


def stepped(problem: Problem, weights: Weights, rate: float) -> Weights:
    """The weights after one step against the slope."""
    return tuple(weight - rate * slope for weight, slope in zip(weights, problem.slope(weights), strict=True))


def descend(problem: Problem, start: Weights, rate: float, steps: int) -> list[Weights]:
    """The path of `steps` steps from `start`, which is its first point."""
    path = [start]
    for _ in range(steps):
        path.append(stepped(problem, path[-1], rate))
    return path


def verdict(problem: Problem, path: Sequence[Weights]) -> str:
    """What the last step of a path did, in a sentence for a learner."""
    if len(path) < 2:
        return "No step yet."
    (before, after), lowest = problem.loss(path[-2:]).tolist(), float(problem.loss(problem.lowest()))
    slopes = problem.slope(path[-2]), problem.slope(path[-1])
    across = sum(one * other for one, other in zip(*slopes, strict=True)) < 0
    if after - lowest < 1e-3 * float(problem.loss([0.0] * len(path[0])) - lowest):
        return "There is hardly any slope left: this is the bottom."
    if after > before:
        return "The step jumped over the bottom and landed higher than it began: the learning rate is too large."
    if across:
        return "The step jumped over the bottom, and landed a little lower on the other side."
    if before - after < 0.05 * (before - lowest):
        return "The loss fell by little: the bottom is still many such steps away."
    return "The loss fell."


def draw(axis: Axes, problem: Problem, path: Sequence[Weights], title: str = "") -> None:
    """The loss over one weight or two, and on it the path: its last point is orange, with the slope there."""
    {1: _curve, 2: _valley}[len(path[0])](axis, problem, path)
    axis.set_title(title, fontsize=9)


def _curve(axis: Axes, problem: Problem, path: Sequence[Weights]) -> None:
    places = [weight for (weight,) in path]
    (bottom,) = problem.lowest()
    low, high = min(*places, bottom - 2), max(*places, bottom + 2)
    across = torch.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), 201, dtype=torch.float64)
    axis.plot(across, problem.loss(across[:, None]), color=GREY, lw=1.5)
    losses = problem.loss(path).tolist()
    axis.plot(places, losses, "o:", color=BLUE, markersize=4, lw=0.8)
    (slope,), reach = problem.slope(path[-1]), 0.12 * (high - low)
    ends = places[-1] - reach, places[-1] + reach
    axis.plot(ends, [losses[-1] + slope * (end - places[-1]) for end in ends], "--", color=ORANGE, label="slope")
    axis.plot(places[-1:], losses[-1:], "o", color=ORANGE, mec="black", markersize=8, label="now")
    axis.set(xlabel="weight", ylabel="loss", xlim=(float(across[0]), float(across[-1])))
    axis.set_ylim(bottom=min(0.0, -0.04 * axis.get_ylim()[1]))
    axis.legend(loc="upper center", fontsize=8)
    axis.grid(alpha=0.3)


def _valley(axis: Axes, problem: Problem, path: Sequence[Weights]) -> None:
    bottom = problem.lowest()
    # As far to each side of the bottom as the path goes: a square, so that slopes stand at right angles to the lines.
    reach = 1.1 * max([1.6, *(abs(at - low) for point in path for at, low in zip(point, bottom, strict=True))])
    sides = [torch.linspace(low - reach, low + reach, 81, dtype=torch.float64) for low in bottom]
    grid = torch.stack(torch.meshgrid(*sides, indexing="xy"), -1)
    losses, lowest = problem.loss(grid), float(problem.loss(bottom))
    levels = [lowest + (float(losses.max()) - lowest) * share**3 for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)]
    axis.contour(*sides, losses, levels=levels, colors=GREY, linewidths=0.7)
    axis.plot(*bottom, "+", color="black", markersize=9, label="bottom")
    axis.plot(*zip(*path, strict=True), "o-", color=BLUE, markersize=3, lw=0.8)
    (x, y), (first, second) = path[-1], problem.slope(path[-1])
    length = (first**2 + second**2) ** 0.5
    if length > 1e-9:
        tip = x - 0.2 * reach * first / length, y - 0.2 * reach * second / length
        axis.annotate("", tip, (x, y), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "ls": "--"})
    axis.plot(x, y, "o", color=ORANGE, mec="black", markersize=8, label="now")
    axis.set(xlabel="first weight", ylabel="second weight", aspect="equal")
    axis.legend(loc="upper right", fontsize=8)
