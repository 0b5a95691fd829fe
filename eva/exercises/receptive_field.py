"""The exercises of notebook 05. The receptive-field calculator is the truth."""

from collections.abc import Callable

from torch import Generator, nn

from eva.exercises.grading import Question, Table, Trial, exercise, integer
from eva.receptive_field import receptive_field

Rule = Callable[[int, int, int], int]
Layer = tuple[int, int, int]  # kernel, stride, dilation
SMALL: tuple[list[Layer], ...] = (
    [(3, 1, 1)],
    [(3, 1, 2)],
    [(3, 2, 1)],
    [(3, 2, 1), (3, 1, 1)],
    [(3, 1, 2), (3, 1, 1)],
    [(3, 2, 1), (3, 2, 1), (3, 1, 1)],
)


@exercise(46, "on 6 small chains of convolutions, and 40 random ones")
def check_field(rng: Generator, turn: int) -> Trial:
    if turn < len(SMALL):
        layers = SMALL[turn]
    else:
        count = min(5, 1 + turn // len(SMALL))
        layers = [(2 * integer(rng, 0, 3) + 1, integer(rng, 1, 2), integer(rng, 1, 3)) for _ in range(count)]
    chain = (nn.Conv2d(1, 1, k, stride, padding=d * (k // 2), dilation=d) for k, stride, d in layers)
    truth = receptive_field(nn.Sequential(*chain), (1, 64, 64)).size[0]
    whole = _field(layers, reach=lambda kernel, stride, dilation: dilation * kernel)
    wrong_ideas: Table = [  # the order counts: small chains show some ideas before others that give the same number
        (
            _field(layers, reach=lambda kernel, stride, dilation: kernel - 1),
            "a kernel with dilation d reaches over d * (kernel - 1) + 1 pixels.",
        ),
        (
            _field(layers, jumped=lambda jump, stride, dilation: jump * stride * dilation),
            "a dilation does not move the units of the map apart: the jump is multiplied by the stride alone.",
        ),
        (
            _field(layers, jumped=lambda jump, stride, dilation: jump + stride),
            "the jump is multiplied by each stride: two strides of 2 make steps of 4, and a stride of 1 changes none.",
        ),
        (
            _field(layers, reach=lambda kernel, stride, dilation: dilation * kernel - 1),
            whole - 1,
            "with dilation d a kernel reaches over d * (kernel - 1) + 1 pixels, not over d * kernel.",
        ),
        (whole, "a layer adds d * (kernel - 1), since one pixel of its kernel lies on what was seen already."),
        (
            _field(layers, jumped=lambda jump, stride, dilation: 1),
            "after a stride, one step in the map is a larger step in the image. Multiply by the jump.",
        ),
        (
            _field(layers, jumped=lambda jump, stride, dilation: stride),
            "the jump is the product of all strides so far, not the last one.",
        ),
        (
            _field(layers, reach=lambda kernel, stride, dilation: dilation * (kernel - 1) * stride),
            "a layer's own stride counts from the next layer on. Add first, then change the jump.",
        ),
        (truth - 1, "before any layer a unit is one pixel, and sees one."),
    ]
    setting = f"The layers {layers} see {truth} pixels"
    yield Question((layers,), truth, wrong_ideas, lambda size: f"{setting}, not {size}")


def _field(
    layers: list[Layer],
    reach: Rule = lambda kernel, stride, dilation: dilation * (kernel - 1),
    jumped: Rule = lambda jump, stride, dilation: jump * stride,
) -> int:
    """What a chain sees where a layer adds `reach` times the jump, and then changes the jump by `jumped`."""
    size = jump = 1
    for kernel, stride, dilation in layers:
        size += reach(kernel, stride, dilation) * jump
        jump = jumped(jump, stride, dilation)
    return size


@exercise(23, "for sides of 1, 2 and 3 pixels, and 20 random ones")
def check_corner_field(rng: Generator, turn: int) -> Trial:
    side = turn + 1 if turn < 3 else integer(rng, 4, 40)
    truth = next(field for field in range(1, 4 * side, 2) if field // 2 >= side - 1)  # it reaches field // 2 to a side
    wrong_ideas: Table = [
        (side, "the field is centred on the corner, and half of it lies beyond the border."),
        (side**2, truth**2, "a field is given by its width, not by its number of pixels."),
        (2 * side, 2 * side + 1, "the corner pixel itself is the middle, and counts once."),
        (2 * (side - 1), "side - 1 pixels to either side, and the corner pixel itself."),
    ]
    pixels = "1 pixel" if side == 1 else f"{side} pixels"
    setting = f"In an image of {pixels}, the unit in the corner needs a field of {truth}"
    yield Question((side,), truth, wrong_ideas, lambda field: f"{setting}, not {field}")
