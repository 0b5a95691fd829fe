"""The network of this course, and the blocks that it is made of.

Conv            3x3 convolution, batch norm, ReLU; with dilation=2 it spans 5x5 pixels at the same cost
SeparableConv   each map by itself, then a 1x1 convolution across maps, batch norm, ReLU
Residual        adds a block's input to its output
Net             all of them: dilated first, separable in the middle, standard at the end
"""

from collections.abc import Callable
from importlib import resources
from typing import Any

from torch import Tensor, nn

from eva import checkpoint

STEM = 32  # feature maps that the first convolution makes of the three colours, at every width
DROPOUT = 0.03


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


class Residual(nn.Sequential):
    """Layers whose input is added to their output (He et al. 2016). The two must have the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Net(nn.Module):
    """The course's classifier: images (N, 3, H, W), normalised, to logits (N, classes).

    An initial block of dilated convolutions (rate 2), a middle block of six depthwise separable ones, a final block of
    standard ones; residual connections and 3 % dropout in each, max pooling in the first two, then global average
    pooling and one linear layer. Images of 32x32 pixels become maps of 16x16, then 8x8. Other sizes work, from 4 up.
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
        middle_conv: Callable[[int, int], nn.Module] = SeparableConv if conv == "separable" else Conv
        first, middle, last = (max(8, 8 * round(maps * width / 8)) for maps in (64, 192, 128))

        self.stem = Conv(3, STEM)
        self.initial = nn.Sequential(
            Conv(STEM, first, dilation=2),
            nn.MaxPool2d(2),
            Residual(Conv(first, first, dilation=2)),
            nn.Dropout(DROPOUT),
        )
        self.middle = nn.Sequential(
            middle_conv(first, middle),
            nn.MaxPool2d(2),
            Residual(middle_conv(middle, middle), middle_conv(middle, middle)),
            Residual(middle_conv(middle, middle), middle_conv(middle, middle)),
            middle_conv(middle, middle),
            nn.Dropout(DROPOUT),
        )
        self.final = nn.Sequential(
            Conv(middle, last),
            Residual(Conv(last, last)),
            nn.Dropout(DROPOUT),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.final(self.middle(self.initial(self.stem(images))))
        return self.classifier(self.pool(maps).flatten(1))


def restore(saved: checkpoint.Checkpoint, origin: str = "the checkpoint") -> Net:
    """The network of a checkpoint, ready to predict. Raises CheckpointError where its weights do not fit a `Net`."""
    try:
        net = Net(**saved.arguments)
    except (TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{origin} is not of a Net of this version: {error}") from error
    checkpoint.load_weights(net, saved.weights, origin)
    return net.eval()


def pretrained_card() -> checkpoint.Checkpoint:
    """What is known of the network that ships with the package: its data's name, classes, normalisation, accuracy."""
    with resources.as_file(resources.files("eva") / "pretrained.pt") as path:
        return checkpoint.load(path)


def pretrained() -> Net:
    """The trained `Net` that ships with the package, ready to predict. `pretrained_card()` says on what it learned."""
    return restore(pretrained_card(), "the shipped pretrained.pt")
