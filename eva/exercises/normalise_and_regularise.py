"""The exercises of notebook 06. PyTorch's batch norm and dropout are the truth."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from eva.exercises.grading import Question, Table, Trial, exercise, integer


@exercise(20, "on 20 random batches")
def check_batch_norm(rng: Generator) -> Trial:
    count, maps, height = integer(rng, 3, 5), integer(rng, 2, 4), integer(rng, 2, 4)
    width = maps + integer(rng, 1, 2)  # were it as many as maps, (maps,) would fit the columns and nobody would notice
    x = torch.randn(count, maps, height, width, generator=rng) * 3
    x += torch.randn(count, maps, 1, 1, generator=rng) * 2  # so that images differ as a whole, and their maps too
    scale, shift = torch.rand(maps, generator=rng) + 1.5, torch.randn(maps, generator=rng) + 3
    truth = F.batch_norm(x, None, None, scale, shift, training=True)
    factor, term = scale.view(-1, 1, 1), shift.view(-1, 1, 1)

    def over(*axes: int, correction: int = 0, root: float = 0.5) -> Tensor:
        variance, mean = torch.var_mean(x, axes, correction=correction, keepdim=True)
        return (x - mean) / (variance + 1e-5) ** root

    def both(normal: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled and shifted, and not."""
        return normal * factor + term, normal

    normal, unbiased = over(0, 2, 3), over(0, 2, 3, correction=1)
    centred, by_variance = over(0, 2, 3, root=0), over(0, 2, 3, root=1)
    by_image = (*both(over(2, 3)), *both(over(1, 2, 3)))
    wrong_ideas: Table = [
        (normal, "each map has mean 0 and variance 1 now: its scale and its shift are still to come."),
        (normal * factor, "the shift is missing: add it after the scale."),
        ((normal + term) * factor, "that scales the shift too: multiply by the scale first, then add the shift."),
        (
            *both(unbiased),
            "PyTorch's `var` and `std` divide by n - 1 unless you say `correction=0`: batch norm divides by n.",
        ),
        (*both(centred), "the mean is gone, but the spread is not 1 yet: divide by the root of the variance."),
        (*both(by_variance), "that divides by the variance: take its square root."),
        (*both(over(0)), "that has a mean for each position: it goes over the rows and columns too, axes 0, 2 and 3."),
        (*by_image, "that normalises each image by itself: a mean goes over all images of the batch, axis 0 too."),
        (*both(over(0, 1, 2, 3)), "that has one mean for everything: each map has its own, so leave axis 1 out."),
    ]
    otherwise = "the values differ from F.batch_norm(x, None, None, scale, shift, training=True)."
    yield Question((x, scale, shift), truth, wrong_ideas, otherwise=otherwise)


@exercise(20, "on 20 random tensors, in both modes")
def check_dropout(rng: Generator) -> Trial:
    p = integer(rng, 1, 4) / 10
    x = torch.randn(integer(rng, 3, 6), integer(rng, 10, 20), generator=rng) * 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer(rng, 0, 10_000))
        factor = F.dropout(torch.ones_like(x), p, training=True)  # PyTorch's dropout, seen through ones
    keep = (factor > 0).float()
    wrong_ideas: Table = [
        (x, "in training mode a value goes where `keep` is 0, and nothing went."),
        (x * keep, "the right values are gone, but those that stay must make up for them: divide them by 1 - p."),
        (x * keep / p, "that divides by p, the share that goes: the share that stays is 1 - p."),
        (x * keep * (1 - p), "that makes the values smaller still: divide by 1 - p."),
        (x * (1 - keep) / (1 - p), "that is the wrong way round: `keep` is 1 where a value stays."),
    ]
    otherwise = f"in training mode with p = {p} the values differ from what F.dropout makes of them."
    yield Question((x, keep, p, True), x * factor, wrong_ideas, otherwise=otherwise)
    dropped = "that is right in training mode, but in evaluation mode nothing is dropped."
    scaled = "in evaluation mode nothing is scaled: the division in training has made up for it already."
    wrong_ideas = [(x * keep, x * factor, dropped), (x * (1 - p), x / (1 - p), scaled)]
    otherwise = "that is right in training mode, but in evaluation mode x must come back as it was."
    yield Question((x, keep, p, False), x, wrong_ideas, otherwise=otherwise)
