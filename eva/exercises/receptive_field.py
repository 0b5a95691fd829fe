"""The exercises of notebook 05. The receptive-field calculator is the truth."""

from torch import Generator, nn

from eva.exercises.grading import Question, Trial, exercise, integer
from eva.receptive_field import receptive_field


@exercise(40, "on 40 random chains of convolutions")
def check_field(rng: Generator) -> Trial:
    count = integer(rng, 1, 5)
    layers = [(2 * integer(rng, 0, 3) + 1, integer(rng, 1, 2), integer(rng, 1, 3)) for _ in range(count)]
    chain = (nn.Conv2d(1, 1, k, stride, padding=d * (k // 2), dilation=d) for k, stride, d in layers)
    truth = receptive_field(nn.Sequential(*chain), (1, 64, 64)).size[0]
    unjumped = undilated = early = jump = 1
    for kernel, stride, dilation in layers:
        unjumped += dilation * (kernel - 1)
        undilated += (kernel - 1) * jump
        jump *= stride
        early += dilation * (kernel - 1) * jump
    wrong_ideas = [
        (unjumped, "after a stride, one step in the map is a larger step in the image. Multiply by the jump."),
        (undilated, "a kernel with dilation d reaches over d * (kernel - 1) + 1 pixels."),
        (early, "a layer's own stride counts from the next layer on. Add first, then change the jump."),
        (truth - 1, "before any layer a unit is one pixel, and sees one."),
    ]
    setting = f"The layers {layers} see {truth} pixels"
    yield Question((layers,), truth, wrong_ideas, lambda size: f"{setting}, not {size}")


@exercise(20, "for 20 random sizes")
def check_corner_field(rng: Generator) -> Trial:
    side = integer(rng, 4, 40)
    truth = next(field for field in range(1, 4 * side, 2) if field // 2 >= side - 1)  # it reaches field // 2 to a side
    wrong_ideas = [
        (side, "the field is centred on the corner, and half of it lies beyond the border."),
        (2 * side, 2 * side + 1, "the corner pixel itself is the middle, and counts once."),
    ]
    setting = f"In an image of {side} pixels, the unit in the corner needs a field of {truth}"
    yield Question((side,), truth, wrong_ideas, lambda field: f"{setting}, not {field}")
