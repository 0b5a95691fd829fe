"""Published networks to compare `Net` with, written here from their papers: images (N, 3, H, W) to logits (N, classes).

ResNet-20, ResNet-56    He et al. 2015, section 4.2: shortcuts without parameters (option A)
ResNet-18               the same paper's ImageNet network as CIFAR users run it: 3x3 stem of stride 1, no max pooling
ConvMixer-256/8         Trockman and Kolter 2022: patches of 2 pixels, kernel 5
DenseNet-BC-100-12      Huang et al. 2017: bottlenecks of four times the growth rate, half the maps kept in between
separable ResNet        a residual network of depthwise 5x5 and 1x1 convolutions; the sizes are our own choice
MobileNetV2, 3x3 stem   Sandler et al. 2018: inverted residuals, sixfold, strides as suit CIFAR; cut to half a million
small airbench          six plain 3x3 convolutions with pooling, as in airbench94 (Jordan 2024), at half its widths; the
                        stem of 2x2 pixels is learned, where airbench computes it from the images
Net, three widths       the course's network with about 0.1, 0.4 and 0.95 million parameters
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva.model import Net

WIDTHS = {"Net, 0.1 M": 0.375, "Net, 0.4 M": 0.75, "Net, 0.95 M": 1.15}


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size (but for `stride`), without bias, and batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def head(maps: int, classes: int) -> nn.Sequential:
    """Global average pooling and one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, classes))


def he(model: nn.Module) -> nn.Module:
    """`model` with the initial weights that He et al. (2015, rectifiers) derive, which both papers use."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model


class Subsampled(nn.Module):
    """Option A of He et al.: every `stride`-th pixel, and maps of zeros for those that the input lacks."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class Block(nn.Module):
    """relu(layers(x) + shortcut(x))."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.shortcut(x))


class Plus(nn.Sequential):
    """layers(x) + x."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


def basic_block(inputs: int, outputs: int, stride: int, *, projected: bool) -> Block:
    """Two 3x3 convolutions; where the shape changes the shortcut is a 1x1 convolution, or option A."""
    layers = nn.Sequential(*conv_bn(inputs, outputs, stride=stride), nn.ReLU(), *conv_bn(outputs, outputs))
    if (inputs, stride) == (outputs, 1):
        return Block(layers, nn.Identity())
    return Block(layers, conv_bn(inputs, outputs, 1, stride) if projected else Subsampled(outputs - inputs, stride))


def separable_block(inputs: int, outputs: int, stride: int) -> Block:
    """Two separable convolutions, each a depthwise 5x5 and a 1x1; shortcut as option A."""
    layers = nn.Sequential(
        *conv_bn(inputs, inputs, 5, stride, groups=inputs),
        *(*conv_bn(inputs, outputs, 1), nn.ReLU()),
        *(*conv_bn(outputs, outputs, 5, groups=outputs), *conv_bn(outputs, outputs, 1)),
    )
    return Block(layers, Subsampled(outputs - inputs, stride))


def residual_network(
    block: Callable[[int, int, int], nn.Module], maps: list[int], each: int, classes: int
) -> nn.Module:
    """A 3x3 stem, then stages of `each` blocks; every stage but the first begins by halving the size."""
    stages = [block(maps[0], maps[0], 1) for _ in range(each)]
    for inputs, outputs in pairwise(maps):
        stages += [block(inputs, outputs, 2), *(block(outputs, outputs, 1) for _ in range(each - 1))]
    return he(nn.Sequential(*conv_bn(3, maps[0]), nn.ReLU(), *stages, head(maps[-1], classes)))


def resnet(depth: int, classes: int = 10) -> nn.Module:
    """He et al.'s CIFAR network of 6n + 2 layers. Raises ValueError where `depth` is none of these."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth must be 6n + 2 (8, 14, 20, ...), got {depth}")
    return residual_network(partial(basic_block, projected=False), [16, 32, 64], (depth - 2) // 6, classes)


def resnet18(classes: int = 10) -> nn.Module:
    return residual_network(partial(basic_block, projected=True), [64, 128, 256, 512], 2, classes)


def separable_resnet(classes: int = 10) -> nn.Module:
    return residual_network(separable_block, [32, 64, 112, 224], 3, classes)


def convmixer(maps: int = 256, depth: int = 8, kernel: int = 5, patch: int = 2, classes: int = 10) -> nn.Module:
    def after(conv: nn.Module) -> tuple[nn.Module, ...]:
        return conv, nn.GELU(), nn.BatchNorm2d(maps)

    layers: list[nn.Module] = [*after(nn.Conv2d(3, maps, patch, stride=patch))]
    for _ in range(depth):
        layers.append(Plus(*after(nn.Conv2d(maps, maps, kernel, padding=kernel // 2, groups=maps))))
        layers += after(nn.Conv2d(maps, maps, 1))
    return nn.Sequential(*layers, head(maps, classes))


class Dense(nn.Sequential):
    """Appends `growth` new maps to its input: 1x1 to four times as many, then 3x3, each after batch norm and ReLU."""

    def __init__(self, inputs: int, growth: int) -> None:
        middle = 4 * growth
        super().__init__(
            *(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, middle, 1, bias=False)),
            *(nn.BatchNorm2d(middle), nn.ReLU(), nn.Conv2d(middle, growth, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


def densenet_bc(depth: int = 100, growth: int = 12, classes: int = 10) -> nn.Module:
    """Three dense blocks of (depth - 4) / 6 layers. Raises ValueError where `depth` does not divide so."""
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth must be 6n + 4 (10, 16, ...), got {depth}")
    maps = 2 * growth
    layers: list[nn.Module] = [nn.Conv2d(3, maps, 3, padding=1, bias=False)]
    for block in range(3):
        for _ in range((depth - 4) // 6):
            layers.append(Dense(maps, growth))
            maps += growth
        if block < 2:
            layers += [nn.BatchNorm2d(maps), nn.ReLU(), nn.Conv2d(maps, maps // 2, 1, bias=False), nn.AvgPool2d(2)]
            maps //= 2
    return he(nn.Sequential(*layers, nn.BatchNorm2d(maps), nn.ReLU(), head(maps, classes)))


class Inverted(nn.Sequential):
    """1x1 to six times the maps, depthwise 3x3, 1x1 back, without an activation; a shortcut where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int = 6) -> None:
        middle = expansion * inputs
        super().__init__(
            *(*conv_bn(inputs, middle, 1), nn.ReLU6()),
            *(*conv_bn(middle, middle, 3, stride, groups=middle), nn.ReLU6()),
            *conv_bn(middle, outputs, 1),
        )
        self.adds = (inputs, stride) == (outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x) if self.adds else super().forward(x)


def mobilenet_v2(classes: int = 10) -> nn.Module:
    layers: list[nn.Module] = [*conv_bn(3, 32), nn.ReLU6(), Inverted(32, 16, 1, expansion=1)]
    maps = 16
    for outputs, repeats, stride in ((24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 2, 1)):
        for place in range(repeats):
            layers.append(Inverted(maps, outputs, stride if place == 0 else 1))
            maps = outputs
    return he(nn.Sequential(*layers, *conv_bn(maps, 320, 1), nn.ReLU6(), head(320, classes)))


def small_airbench(classes: int = 10) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 2), nn.GELU()]
    for inputs, outputs in ((24, 32), (32, 128), (128, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(outputs)]
        layers += [nn.GELU(), *conv_bn(outputs, outputs), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(128, classes))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **{name: partial(Net, width) for name, width in WIDTHS.items()},
    "ResNet-20": partial(resnet, 20),
    "ResNet-56": partial(resnet, 56),
    "ConvMixer-256/8": convmixer,
    "separable ResNet": separable_resnet,
    "DenseNet-BC-100-12": densenet_bc,
    "MobileNetV2, 3x3 stem": mobilenet_v2,
    "small airbench": small_airbench,
    "ResNet-18": resnet18,
}
