"""What the course compares: networks that differ in one thing, trained alike, each at its own best rate.

STUDIES has them by name. Most are duels, the last sections of their notebooks; "the price of plain" is the comparison
of notebook 10, in which all networks cost what plain convolutions do; "one left out" takes `Net` apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from eva.model import Conv, Net, PlainConv, PreConv, PreSeparableConv, Residual, Rung, SeparableConv, residual_pair
from eva.recipes import Recipe

Make = Callable[..., nn.Module]  # called with `classes`
POOL = "|"  # in a list of maps: 2x2 max pooling here
RATES = (0.03, 0.1, 0.3, 1.0)
RECIPE = Recipe(epochs=6, batch_size=64, label_smoothing=0.0, cpu_bfloat16=True)


@dataclass(frozen=True)
class Study:
    """Networks to be trained by RECIPE with `seeds` seeds, after a seed of its own has chosen the rate of each."""

    networks: Mapping[str, Make]
    against: str  # the network that the others are compared with
    recipe: Recipe = RECIPE
    images: int = 45_000
    seeds: int = 3
    rates: Sequence[float] = field(default=RATES)


def head(maps: int, classes: int, flat: int = 0) -> list[nn.Module]:
    """Global average pooling and a linear layer; with `flat`, a linear layer over so many places of each map."""
    if flat:
        return [nn.Flatten(), nn.Linear(maps * flat, classes)]
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, classes)]


def stack(
    maps: Sequence[int | str],
    *,
    classes: int = 10,
    conv: Make = Conv,
    later: Make | None = None,
    rates: Sequence[int] = (),
    flat: int = 0,
    dropout: float = 0.0,
) -> nn.Sequential:
    """3x3 convolutions to so many maps, one after the other, with poolings in between, and a head.

    `conv` makes them, and `later` those from the third on; `rates` are their dilations, one for each.
    """
    layers: list[nn.Module] = []
    inputs, place = 3, 0
    for outputs in maps:
        if isinstance(outputs, str):
            layers.append(nn.MaxPool2d(2))
            continue
        make = later if later and place >= 2 else conv
        layers.append(make(inputs, outputs, rates[place]) if rates else make(inputs, outputs))
        inputs, place = outputs, place + 1
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, *head(inputs, classes, flat))


# Notebook 06: batch norm, and what stands at the end

_HEAD = partial(stack, [16, 24, POOL, 24, 48, POOL, 48, 48, 48])
NORM_AND_HEAD = Study(
    {
        "flat": partial(_HEAD, conv=PlainConv, flat=64),
        "average": partial(_HEAD, conv=PlainConv),
        "batch norm, flat": partial(_HEAD, flat=64),
        "batch norm, average": _HEAD,
    },
    against="flat",
    rates=(0.01, 0.03, 0.1, 0.3),  # 0.1 is too much already for those without batch norm
)

_DROPOUT = partial(stack, [24, 32, POOL, 48, 64, POOL, 64, 64])
DOSES = {f"p = {p:g}": partial(_DROPOUT, dropout=p) for p in (0.0, 0.03, 0.1, 0.3)}
DROPOUT = Study(DOSES, against="p = 0")
DROPOUT_FEW_IMAGES = Study(  # and often: they are learned by heart
    DOSES,
    against="p = 0",
    recipe=Recipe(epochs=20, batch_size=64, label_smoothing=0.0, augmentations=(), cpu_bfloat16=True),
    images=2_000,
    rates=RATES[:3],
)

# Notebook 07: where to dilate, and when to pool instead

_SEEN = partial(stack, [16, 24, POOL, 40, 40, 40])
DILATION = Study(
    {
        "rates 1 1 | 1 1 1": partial(_SEEN, rates=(1, 1, 1, 1, 1)),
        "early: 1 2 | 2 1 1": partial(_SEEN, rates=(1, 2, 2, 1, 1)),
        "late: 1 1 | 2 2 3": partial(_SEEN, rates=(1, 1, 2, 2, 3)),
        "a second pooling": partial(stack, [16, 24, POOL, 40, POOL, 40, 40]),
    },
    against="rates 1 1 | 1 1 1",
)

# Notebook 08: spend what is saved


def _middle(maps: int, later: Make) -> Make:
    return partial(stack, [16, 32, POOL, maps, POOL, *[maps] * 4], later=later)


SEPARABLE = Study(
    {
        "standard, 32 maps": _middle(32, Conv),
        "separable, 32 maps": _middle(32, SeparableConv),
        "separable, 64 maps": _middle(64, SeparableConv),  # a step of training takes about as long
        "separable, 96 maps": _middle(96, SeparableConv),  # as many parameters
        "standard, 64 maps": _middle(64, Conv),
    },
    against="standard, 32 maps",
)

# Notebook 09: depth, and the way round


def deep(pairs: int, block: Make, classes: int = 10) -> nn.Sequential:
    """Three stages of 8, 16 and 32 maps: one convolution and `pairs` blocks of two in each."""
    layers: list[nn.Module] = []
    inputs = 3
    for maps in (8, 16, 32):
        layers += [nn.Conv2d(3, maps, 3, padding=1, bias=False)] if inputs == 3 else [PreConv(inputs, maps)]
        layers += [*(block(maps) for _ in range(pairs)), *([nn.MaxPool2d(2)] if maps < 32 else [])]
        inputs = maps
    return nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU(), *head(inputs, classes))


def _no_shortcut(maps: int) -> nn.Module:
    return nn.Sequential(PreConv(maps, maps), PreConv(maps, maps))


def _round_each(maps: int) -> nn.Module:
    return nn.Sequential(Residual(Conv(maps, maps)), Residual(Conv(maps, maps)))


def _round_two(maps: int) -> nn.Module:
    return residual_pair(PreConv, maps)


DEPTH = Study(
    {
        **{f"{3 + 6 * pairs} layers": partial(deep, pairs, _no_shortcut) for pairs in (1, 3, 5)},
        **{f"{3 + 6 * pairs} layers, shortcuts": partial(deep, pairs, _round_two) for pairs in (1, 3, 5)},
        "21 layers, shortcuts round one each": partial(deep, 3, _round_each),
    },
    against="21 layers",
)

# Notebook 10: a network at the price of plain convolutions, 24.5 million MACs


def paired(
    maps: Sequence[int], middle: Make, *, dilation: int = 1, early: int = 1, late: int = 2, classes: int = 10
) -> nn.Sequential:
    """As `Net` is built: stem, pool, middle of `early` pairs, pool, `late` pairs, and a standard pair at the end."""
    stem, first, inner, last = maps
    dilated = partial(PreConv, dilation=dilation)
    return nn.Sequential(
        nn.Conv2d(3, stem, 3, padding=1, bias=False),
        *(dilated(stem, first), nn.MaxPool2d(2), residual_pair(dilated, first)),
        *(middle(first, inner), *(residual_pair(middle, inner) for _ in range(early)), nn.MaxPool2d(2)),
        *(residual_pair(middle, inner) for _ in range(late)),
        *(PreConv(inner, last, kernel=1), residual_pair(PreConv, last), nn.BatchNorm2d(last), nn.ReLU()),
        *head(last, classes),
    )


PRICE = Study(
    {
        "plain": Rung,
        "batch norm": partial(Rung, "batch norm"),
        "global average pooling": partial(Rung, "batch norm", "global average pooling"),
        "deeper, in pairs with shortcuts": partial(paired, (32, 24, 40, 48), PreConv),
        "separable, and wider": partial(paired, (32, 24, 96, 64), PreSeparableConv, late=3),
        "dilated in front": partial(paired, (32, 24, 96, 64), PreSeparableConv, dilation=2, late=3),
        "Net(0.5)": partial(Net, 0.5),
    },
    against="plain",
)

# Notebook 10, too: Net with one thing left out, or done otherwise


def _replaced(model: nn.Module, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> nn.Module:
    """`model` with `make(layer)` in place of each `layer` of that kind, however deep inside."""
    for name, layer in model.named_children():
        setattr(model, name, make(layer) if isinstance(layer, kind) else _replaced(layer, kind, make))
    return model


def without_norm(classes: int = 10) -> nn.Module:
    """No batch norm. Pairs begin as the identity all the same, and that keeps the signal's size (Zhang et al. 2019)."""
    return _replaced(Net(0.5, classes), nn.BatchNorm2d, lambda norm: nn.Identity())


def without_shortcuts(classes: int = 10) -> nn.Module:
    """No shortcuts; the convolutions that would start at zero, and let nothing through, start as the others do."""

    def plain(pair: Residual) -> nn.Module:
        *_, last = (layer for layer in pair.modules() if isinstance(layer, nn.Conv2d))
        last.reset_parameters()
        return nn.Sequential(*pair)

    return _replaced(Net(0.5, classes), Residual, plain)


def without_dilation(classes: int = 10) -> nn.Module:
    model = Net(0.5, classes)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.dilation == (2, 2):
            layer.dilation = layer.padding = (1, 1)
    return model


def without_dropout(classes: int = 10) -> nn.Module:
    return _replaced(Net(0.5, classes), nn.Dropout, lambda dropout: nn.Identity())


def pooled_late(classes: int = 10) -> nn.Module:
    """The second pooling behind the middle block: the same parameters, and three pairs at 16x16 in place of 8x8."""
    model = Net(0.5, classes)
    before, early, pool, *rest = model.middle
    model.middle = nn.Sequential(before, early, *rest, pool)
    return model


LEFT_OUT = Study(
    {
        "Net(0.5)": partial(Net, 0.5),
        "no batch norm": without_norm,
        "no shortcuts": without_shortcuts,
        "no dilation": without_dilation,
        "no dropout": without_dropout,
        "standard, as many parameters": partial(Net, 0.22, conv="standard"),
        "standard, as wide: the twin": partial(Net, 0.5, conv="standard"),
        "second pooling later": pooled_late,
    },
    against="Net(0.5)",
)

STUDIES = {
    "batch norm and head": NORM_AND_HEAD,
    "dropout": DROPOUT,
    "dropout, few images": DROPOUT_FEW_IMAGES,
    "dilation": DILATION,
    "separable": SEPARABLE,
    "depth": DEPTH,
    "the price of plain": PRICE,
    "one left out": LEFT_OUT,
}
