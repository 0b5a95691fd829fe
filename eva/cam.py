"""Where in an image is the evidence for a class?

class_activation_map   exact, for a network that ends in global average pooling and one linear layer: one product
grad_cam               for any network with a feature map, by one backward pass; on the first kind they are the same

Look at the maps of a network with random weights too (Adebayo et al. 2018): what they share with those of a trained one
comes from the image and the architecture, and not from anything that was learned.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from eva.modules import evaluating, unwrapped
from eva.training import check_logits

_Target = Tensor | Sequence[int] | int | None


class NoMapError(ValueError):
    """The network has no map of places for these images. The message says why."""


@torch.no_grad()
def class_activation_map(model: nn.Module, images: Tensor, target: _Target = None) -> Tensor:
    """How much each place of the last feature map adds to the logit of a class, (N, h, w) (Zhou et al. 2016).

    images: normalised floats (N, C, H, W). target: a class per image, or one for all; the predicted ones by
    default. Global average pooling and a linear layer are both sums, so their order does not matter: each pixel of the
    map has a logit of its own, and the mean of these logits, plus the bias, is what the network answers. Negative
    values speak against the class. The maps are as small as the feature map: `torch.nn.functional.interpolate` enlarges
    them. The model stays as it is. Raises ValueError where it does not end in these two, and for images or a target
    that do not fit; NoMapError where it makes no map.
    """
    model = unwrapped(model)
    with _undisturbed(model), _Watcher() as watcher:
        logits = _logits(model, images)
    classes, maps = _classes(target, logits), watcher.last_map(model, images)
    if watcher.linear is None or not _is_mean_and_linear(maps, watcher.linear, logits):
        raise ValueError(
            f"{type(model).__name__} does not end in global average pooling and one linear layer after its last map of "
            f"more than one pixel, {tuple(maps.shape[1:])}: use grad_cam, which works without"
        )
    return _weighted(maps, watcher.linear[0][classes]).to(images.device)


def grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: nn.Module | None = None,
    target: _Target = None,
    *,
    rectified: bool = True,
) -> Tensor:
    """Where `layer`'s maps speak for a class, (N, h, w) (Selvaraju et al. 2017).

    Each map is weighted by the mean gradient of the class's logit with respect to its pixels, and the sum is cut off at
    0, unless `rectified` is False: then what speaks against the class is negative. images and target: as for
    `class_activation_map`, which this is h * w times smaller than, under global average pooling and a linear layer.
    `layer` is by default whatever makes the last feature map of more than one pixel; of a layer that runs more than
    once, the last run counts.
    The model stays as it is: mode, hooks, gradients, random state. Raises NoMapError where there is no such map, and
    ValueError where no gradient comes back to it, and for images or a target that do not fit.
    """
    model = unwrapped(model)
    outputs: list[Any] = []

    def keep(module: nn.Module, arguments: object, output: Any) -> Any:
        outputs.append(output)
        return output.clone() if isinstance(output, Tensor) else output  # an activation in place would change it

    handles = [] if layer is None else [layer.register_forward_hook(keep)]
    try:
        with _undisturbed(model), torch.inference_mode(False), torch.enable_grad(), _Watcher() as watcher:
            logits = _logits(model, images.detach().clone().requires_grad_(images.is_floating_point()))
            classes = _classes(target, logits)
            score = logits.gather(1, classes[:, None]).sum()  # no image has a part in another's logits
    finally:
        for handle in handles:
            handle.remove()
    maps = watcher.last_map(model, images) if layer is None else _output_of(layer, outputs)
    gradient = None
    if maps.requires_grad and score.requires_grad:
        (gradient,) = torch.autograd.grad(score, maps, allow_unused=True)
    if gradient is None:
        place = "the last feature map" if layer is None else type(layer).__name__
        raise ValueError(f"no gradient comes back from the logits to {place}: name a layer that they depend on")
    weighted = _weighted(maps.detach(), gradient.mean((2, 3)))
    return (weighted.clamp(min=0) if rectified else weighted).to(images.device)


# What hands a tensor on as it is. A hook that keeps `output.detach()` makes no map by it.
_COPIES = {Tensor.detach, Tensor.clone, torch.clone, Tensor.cpu, Tensor.to, Tensor.contiguous, Tensor.numpy}
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.einsum, F.linear,
             F.scaled_dot_product_attention}  # fmt: skip
_RESHAPES = {torch.reshape, Tensor.reshape, Tensor.view, torch.flatten, Tensor.flatten, torch.unflatten,
             Tensor.unflatten}  # fmt: skip


class _Watcher(TorchFunctionMode):
    """Keeps the last feature map and the last linear layer's weights, of layers and of functional calls alike.

    A feature map comes from a convolution, by operations that leave its last two dimensions rows and columns: attention
    has tensors of four dimensions too, heads by tokens, and so have maps with the channels last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spatial: dict[int, Tensor] = {}  # what has rows and columns, by id
        self.map: Tensor | None = None
        self.linear: tuple[Tensor, Tensor | None] | None = None

    def __torch_function__(
        self, function: Callable, types: Iterable[type], arguments: Any = (), options: Any = None
    ) -> Any:
        output = function(*arguments, **(options or {}))
        if function is F.linear:
            self.linear = _weights(*arguments, **(options or {}))
        sources = [leaf for leaf in tree_leaves((arguments, options)) if id(leaf) in self.spatial]
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor) and (
                function in (F.conv2d, F.conv_transpose2d) or _is_spatial(function, sources, tensor)
            ):
                self.spatial[id(tensor)] = tensor
                if tensor.ndim == 4 and tensor.shape[2] * tensor.shape[3] > 1 and function not in _COPIES:
                    self.map = tensor
        return output

    def last_map(self, model: nn.Module, images: Tensor) -> Tensor:
        name = type(model).__name__
        if not self.spatial:
            raise NoMapError(f"{name} has no convolution, so it makes no feature map: there is no *where* to show")
        if self.map is None:
            size = "x".join(map(str, images.shape[2:]))
            raise NoMapError(
                f"{name} makes no feature map of more than one pixel from images of {size}: there is no *where* to "
                "show; use larger images, or pool less"
            )
        return self.map


def _is_spatial(function: Callable, sources: list[Tensor], output: Tensor) -> bool:
    """Are the last two dimensions of `output` still rows and columns, as those of the `sources` it was made of are?"""
    if not sources or output.ndim < 4 or function in _PRODUCTS:
        return False
    source, sizes = sources[0], output.shape[-2:]
    if function in _RESHAPES:
        return sizes == source.shape[-2:]  # row by row: then the others alone were taken apart or put together
    if output._is_view():
        return output.stride()[-2:] == source.stride()[-2:] and sizes == source.shape[-2:]
    return True


def _weights(images: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    return weight, bias


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    device = _device(model)
    with evaluating(model), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters(), torch.empty(0)).device


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        raise ValueError(
            f"images must be normalised floats (N, C, H, W), got {images.dtype} {tuple(images.shape)}: "
            "eva.data.BatchLoader makes such batches; a single image needs images[None]"
        )
    return check_logits(model(images.to(_device(model))), len(images), model, at_least=1)


def _classes(target: _Target, logits: Tensor) -> Tensor:
    if target is None:
        return logits.argmax(1)
    count, last = len(logits), logits.shape[1] - 1
    classes = torch.as_tensor(target, device=logits.device)
    if classes.dtype != torch.int64 or classes.shape not in ((), (count,)):
        got = f"{classes.dtype} {tuple(classes.shape)}"
        raise ValueError(f"target must be one class, or int64 ({count},), a class per image; got {got}")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high > last:
        raise ValueError(f"target must be from 0 to {last}, the classes of this model, got {low} to {high}")
    return classes.expand(count)


def _output_of(layer: nn.Module, outputs: list[Any]) -> Tensor:
    name = type(layer).__name__
    if not outputs:
        raise ValueError(f"this {name} did not run: name a layer of the model itself, and not of a copy")
    if not isinstance(outputs[-1], Tensor) or outputs[-1].ndim != 4:
        raise ValueError(f"{name} gives no feature map (N, C, h, w): name a layer before pooling and flattening")
    return outputs[-1]


def _is_mean_and_linear(maps: Tensor, linear: tuple[Tensor, Tensor | None], logits: Tensor) -> bool:
    """Would global average pooling of `maps` and this linear layer give the logits that the model gave?"""
    weight, bias = linear
    if weight.shape != (logits.shape[1], maps.shape[1]):
        return False
    expected = F.linear(maps.mean((2, 3)), weight, bias)
    return torch.allclose(expected, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max()))


def _weighted(maps: Tensor, weights: Tensor) -> Tensor:
    """The sum of an image's maps (N, C, h, w), each times its weight (N, C): (N, h, w)."""
    return torch.einsum("nchw,nc->nhw", maps, weights)
