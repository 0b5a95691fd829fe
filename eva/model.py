"""The network of this course, and the blocks that it is made of.

Conv              3x3 convolution, batch norm, ReLU; with dilation=2 it spans 5x5 pixels at the same cost
SeparableConv     each map by itself, then a 1x1 convolution across maps; batch norm, ReLU
PreConv           the same layers in the order that suits shortcuts: batch norm, ReLU, convolution
PreSeparableConv  likewise
Residual          adds a block's input to its output
residual_pair     two convolutions and a shortcut round both
Rung              a small network with those of the course's ideas that are named
Net               all of them at their final sizes: dilated first, separable in the middle, standard at the end
LADDER          from plain convolutions to Net, one idea more at each step
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

_STEM = 32  # feature maps that the first convolution makes of the three colours, at every width
_DROPOUT = 0.03


class Conv(nn.Sequential):
    """3x3 convolution, batch norm (Ioffe and Szegedy 2015), ReLU: (N, inputs, H, W) to (N, outputs, H, W).

    With `dilation` the nine weights are spread over (2 * dilation + 1)^2 pixels (Yu and Koltun 2016). The convolution
    has no bias: batch norm subtracts the mean, and a bias with it.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class PlainConv(nn.Sequential):
    """3x3 convolution and ReLU, no batch norm. The weights start as He et al. (2015) say, or the signal would fade."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        window = nn.Conv2d(inputs, outputs, kernel_size=3, padding=dilation, dilation=dilation)
        nn.init.kaiming_normal_(window.weight, nonlinearity="relu")
        super().__init__(window, nn.ReLU(inplace=True))


class SeparableConv(nn.Sequential):
    """Depthwise separable convolution, batch norm, ReLU: (N, inputs, H, W) to (N, outputs, H, W).

    A 3x3 convolution within each map, then a 1x1 across maps: 9 * inputs + inputs * outputs weights in place of
    9 * inputs * outputs. Nothing stands between the two, as in Xception (Chollet 2017), which found it better so.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, kernel_size=3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, kernel_size=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class PreConv(nn.Sequential):
    """Batch norm, ReLU, then the convolution, `kernel` x `kernel`: (N, inputs, H, W) to (N, outputs, H, W).

    He et al. (Identity Mappings in Deep Residual Networks, 2016) put the layers in this order within shortcuts: what
    the convolution says is added as it is, and may be negative.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, kernel: int = 3) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        )


class PreSeparableConv(nn.Sequential):
    """Batch norm, ReLU, then the two convolutions of `SeparableConv`: (N, inputs, H, W) to (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, inputs, kernel_size=3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, kernel_size=1, bias=False),
        )


class Residual(nn.Sequential):
    """Layers whose input is added to their output (He et al. 2016). The two must have the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def residual_pair(conv: Callable[[int, int], nn.Module], maps: int) -> Residual:
    """Two convolutions, each made by `conv(maps, maps)` and ending in its weights, and a shortcut round both.

    The second one starts at zero, so that the pair begins as the identity (Goyal et al. 2017 start the scale so).
    """
    first, second = conv(maps, maps), conv(maps, maps)
    *_, last = second.parameters()
    nn.init.zeros_(last)
    return Residual(first, second)


IDEAS = ("global average pooling", "batch norm", "dropout", "dilated", "depthwise separable", "residual")


class Rung(nn.Module):
    """Seven 3x3 convolutions with those of the course's IDEAS that are named: `Rung()` has none, `Rung(*IDEAS)` all.

    Images (N, 3, 32, 32), normalised, to logits (N, classes). Leave one idea out to see what it does (the separable
    convolutions keep their batch norm). Raises ValueError for an idea that is none of them.
    """

    def __init__(self, *ideas: str, classes: int = 10) -> None:
        super().__init__()
        unknown = [idea for idea in ideas if idea not in IDEAS]
        if unknown:
            raise ValueError(f"there is no idea {unknown[0]!r}: name some of {', '.join(IDEAS)}")
        conv: Callable[..., nn.Module] = Conv if "batch norm" in ideas else PlainConv
        middle_conv = SeparableConv if "depthwise separable" in ideas else conv
        rate = 2 if "dilated" in ideas else 1
        residual = Residual if "residual" in ideas else nn.Sequential
        dropout = partial(nn.Dropout, _DROPOUT) if "dropout" in ideas else nn.Identity
        pooled = "global average pooling" in ideas

        self.stem = conv(3, _STEM)
        self.initial = nn.Sequential(conv(_STEM, 32, rate), nn.MaxPool2d(2), residual(conv(32, 32, rate)), dropout())
        self.middle = nn.Sequential(middle_conv(32, 64), nn.MaxPool2d(2), residual(middle_conv(64, 64)), dropout())
        self.final = nn.Sequential(conv(64, 64), residual(conv(64, 64)), dropout())
        self.pool = nn.AdaptiveAvgPool2d(1) if pooled else nn.Identity()
        self.classifier = nn.Linear(64 if pooled else 64 * 8 * 8, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.final(self.middle(self.initial(self.stem(images))))
        return self.classifier(self.pool(maps).flatten(1))


class Net(nn.Module):
    """The course's classifier: images (N, 3, H, W), normalised, to logits (N, classes).

    An initial block of dilated convolutions (rate 2), a middle block of nine depthwise separable ones, a final block of
    standard ones; residual connections round pairs of them and 3 % dropout in each block, max pooling in the first two,
    then global average pooling and one linear layer. Batch norm and ReLU stand before each convolution but the first.
    Images of 32x32 pixels become maps of 16x16, then 8x8. Other sizes work, from 4 up.
    `width` scales all maps but the first 32, in steps of 8. `conv="standard"` puts standard convolutions in place of
    the separable ones: the twin to compare with.
    Raises ValueError where `width` is not positive or `conv` is unknown.
    """

    def __init__(self, width: float = 1.0, classes: int = 10, conv: str = "separable") -> None:
        super().__init__()
        if conv not in ("separable", "standard"):
            raise ValueError(f'conv must be "separable" or "standard", got {conv!r}')
        if not width > 0:
            raise ValueError(f"width must be positive, got {width}: 1.0 is the full network, 0.5 suits a CPU")
        self.arguments: dict[str, Any] = {"width": width, "classes": classes, "conv": conv}
        middle_conv: Callable[[int, int], nn.Module] = PreSeparableConv if conv == "separable" else PreConv
        first, middle, last = (max(8, 8 * round(maps * width / 8)) for maps in (48, 192, 128))
        dilated_conv = partial(PreConv, dilation=2)

        self.stem = nn.Conv2d(3, _STEM, kernel_size=3, padding=1, bias=False)
        self.initial = nn.Sequential(
            dilated_conv(_STEM, first),
            nn.MaxPool2d(2),
            residual_pair(dilated_conv, first),
            nn.Dropout(_DROPOUT),
        )
        self.middle = nn.Sequential(
            middle_conv(first, middle),
            residual_pair(middle_conv, middle),
            nn.MaxPool2d(2),
            residual_pair(middle_conv, middle),
            residual_pair(middle_conv, middle),
            residual_pair(middle_conv, middle),
            nn.Dropout(_DROPOUT),
        )
        self.final = nn.Sequential(
            PreConv(middle, last, kernel=1),
            residual_pair(PreConv, last),
            nn.Dropout(_DROPOUT),
            nn.BatchNorm2d(last),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.final(self.middle(self.initial(self.stem(images))))
        return self.classifier(self.pool(maps).flatten(1))


LADDER: dict[str, Callable[..., nn.Module]] = {
    "plain": Rung,
    **{idea: partial(Rung, *IDEAS[: place + 1]) for place, idea in enumerate(IDEAS)},
    "Net": Net,
}
