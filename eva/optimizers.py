"""What moves the weights: SGD with momentum, and Muon.

Muon (Jordan et al. 2024) is momentum whose step has been made orthogonal, for weights that are matrices. The momentum
of a weight matrix is mostly a few directions: some singular values are far larger than the others. Muon keeps the
directions and sets all singular values to about 1, so that a step moves the weights in all of them alike.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from eva.recipes import Recipe


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """`matrix`, (..., rows, columns), with singular values near 1 (from about 0.7 to 1.2) in place of its own.

    By Newton-Schulz: each step applies a s + b s^3 + c s^5 to every singular value s, with three matrix products and no
    singular value decomposition. Those below 0.0015 of the matrix's norm stay smaller; a zero matrix stays zero.
    """
    a, b, c = 3.4445, -4.7750, 2.0315  # Jordan's: they lift small values fast, and give up going to 1 exactly for it
    x = matrix.reshape(-1, *matrix.shape[-2:])
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)  # no singular value is above the norm
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT  # so that the products below are of the smaller size
    for _ in range(steps):
        square = x @ x.mT
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)  # b * square + c * square @ square
        x = torch.baddbmm(x, factor, x, beta=a)  # a * x + factor @ x
    return (x.mT if tall else x).reshape(matrix.shape)


class Muon(Optimizer):
    """SGD with Nesterov momentum; in groups with `matrices=True`, each step is orthogonalised.

    There a convolution's weight (O, I, kh, kw) is seen as the matrix (O, I * kh * kw), the step is scaled by
    sqrt(max(1, rows / columns)), and `weight_decay` is decoupled: it shrinks the weights by lr * weight_decay. In the
    other groups all is as in torch.optim.SGD.
    Raises ValueError where a parameter of such a group is a vector or a number.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        matrices: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "matrices": matrices})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"] if group["matrices"] else ():
            if parameter.ndim < 2:
                raise ValueError(
                    f"a group with matrices=True needs weights of 2 or more dimensions, got {tuple(parameter.shape)}: "
                    "put biases and batch norm's scales into a group without it"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            directions = [self._direction(parameter, group) for parameter in parameters]
            if group["matrices"]:
                directions = _all_orthogonalised(directions)
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=-group["lr"])
        return loss

    def _direction(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Where momentum would go. A matrix has shrunk by its decay then; other weights' decay is in the direction."""
        gradient = parameter.grad
        assert gradient is not None
        if group["matrices"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        elif group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        return gradient.add(velocity, alpha=group["momentum"])  # Nesterov: one step further along the velocity


def _all_orthogonalised(directions: list[Tensor]) -> list[Tensor]:
    """Each seen as a matrix, orthogonalised and scaled, in its own shape again.

    Matrices of one shape go together: many small products cost more than a few large ones, on a GPU by far.
    """
    matrices = [direction.flatten(1) for direction in directions]
    alike: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(place)
    done = list(directions)
    for (rows, columns), places in alike.items():
        stacked = torch.stack([matrices[place] for place in places])
        for place, matrix in zip(places, orthogonalised(stacked), strict=True):
            done[place] = matrix.reshape(directions[place].shape) * math.sqrt(max(1, rows / columns))
    return done


def optimizer_for(model: nn.Module, recipe: Recipe) -> Optimizer:
    """What moves `model`'s parameters: Muon where `recipe` has a rate for matrices, else SGD."""
    if recipe.matrix_rate is None:
        return sgd(model, recipe.learning_rate, recipe.momentum, recipe.weight_decay)
    return muon(model, recipe.learning_rate, recipe.matrix_rate, recipe.momentum, recipe.weight_decay)


def sgd(model: nn.Module, learning_rate: float = 0.1, momentum: float = 0.9, weight_decay: float = 0.0) -> SGD:
    """SGD with Nesterov momentum. `weight_decay` is for weights only: biases and batch norm's scales are left alone."""
    groups = _groups(_trainable(model))
    on_gpu = groups[0]["params"][0].is_cuda  # where the fused kernel also spares a wait for the gradient scaler
    optimizer = SGD(groups, learning_rate, momentum, weight_decay=weight_decay, nesterov=momentum > 0,
                    fused=on_gpu or None)  # fmt: skip
    if on_gpu:  # or the first velocities are whatever the memory held, where the scaler skips the first step
        for parameter in (parameter for group in groups for parameter in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def muon(
    model: nn.Module,
    learning_rate: float = 0.1,
    matrix_rate: float = 0.02,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Muon:
    """Muon at `matrix_rate` for the convolutions inside of `model`, SGD at `learning_rate` for the rest.

    Inside are the convolutions, 1x1 too, that mix more than three maps. The rest: the first convolution, which looks at
    colours, depthwise ones, linear layers, biases and batch norm's scales. `weight_decay` is for weights only.
    """
    inside = {
        id(layer.weight)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels > 3
    }
    parameters = _trainable(model)
    matrices = [parameter for parameter in parameters if id(parameter) in inside]
    groups = _groups(parameter for parameter in parameters if id(parameter) not in inside)
    if matrices:
        groups.append({"params": matrices, "lr": matrix_rate, "matrices": True})
    return Muon(groups, lr=learning_rate, momentum=momentum, weight_decay=weight_decay)


def _groups(parameters: Iterable[Tensor]) -> list[dict[str, Any]]:
    """Weights, which decay, then biases and scales, which do not. The first group's rate is the one that is told."""
    parameters = list(parameters)
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no parameter that could be trained: are all of them frozen?")
    return parameters
