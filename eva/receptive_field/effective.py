"""How much does each pixel that a unit sees really count? Measured by the gradient (Luo et al. 2016)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eva.modules import evaluating
from eva.receptive_field.arithmetic import ReceptiveFieldError


@dataclass(frozen=True)
class EffectiveField:
    """How much each input pixel moves the unit in the middle, measured by the gradient. Distances are in pixels."""

    heat: Tensor  # (H, W), not negative, with sum 1
    centre: tuple[float, float]  # its mean, row and column
    std: tuple[float, float]  # standard deviation along rows and columns
    radius_50: float  # of the circle around the heat's centre that holds half of it
    radius_95: float


def effective_receptive_field(model: nn.Module, images: Tensor, layer: nn.Module | None = None) -> EffectiveField:
    """What the unit in the middle of `layer`'s maps is in fact sensitive to (Luo et al. 2016).

    images: normalised floats (N, C, H, W), on the model's device. The unit is summed over its channels, and the
    absolute gradient averaged over images and summed over colours, in evaluation mode. `layer` is by default the last
    convolution or batch norm that gives a map: before the last activation, since a ReLU that is off lets no gradient
    through.
    The model stays as it is, its gradients too. Raises ReceptiveFieldError where `layer` gives no map, or where no
    gradient comes back.
    """
    maps: list[Tensor] = []

    def keep(module: nn.Module, arguments: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            maps.append(output.clone())  # an activation in place would change it

    chosen = [layer] if layer else [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    handles = [module.register_forward_hook(keep) for module in chosen]
    try:
        with evaluating(model), torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            model(leaf)
    finally:
        for handle in handles:
            handle.remove()
    if not maps:
        raise ReceptiveFieldError(f"{type(layer or model).__name__} gives no map of more than one pixel: name a layer")
    rows, columns = maps[-1].shape[2:]
    (gradient,) = torch.autograd.grad(maps[-1][:, :, rows // 2, columns // 2].sum(), leaf)
    heat = gradient.abs().mean(0).sum(0).cpu().double()
    if not heat.sum() > 0:
        raise ReceptiveFieldError("no gradient comes back to the images: name a layer before the last activation")
    return _measured(heat / heat.sum())


def _measured(heat: Tensor) -> EffectiveField:
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=heat.dtype) for n in heat.shape), indexing="ij")
    centre = float((heat * rows).sum()), float((heat * columns).sum())
    dy, dx = rows - centre[0], columns - centre[1]
    distance, order = torch.hypot(dy, dx).flatten().sort()
    held = heat.flatten()[order].cumsum(0)
    radii = [float(distance[(held < share).sum().clamp(max=len(held) - 1)]) for share in (0.5, 0.95)]
    std = (float((heat * dy**2).sum().sqrt()), float((heat * dx**2).sum().sqrt()))
    return EffectiveField(heat, centre, std, *radii)
