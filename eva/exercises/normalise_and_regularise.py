"""The exercises of notebook 06. PyTorch's batch norm and dropout are the truth."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from eva.exercises.grading import Question, SuchAs, Table, Trial, exercise, growing, integer


@exercise(20, "on 20 random batches, and on as many that hardly vary")
def check_batch_norm(rng: Generator, turn: int) -> Trial:
    count, maps, height = growing(rng, turn, 3, 5), growing(rng, turn, 2, 4), growing(rng, turn, 1, 4)
    # Were the width the number of maps, (maps,) would fit the columns and nobody would notice.
    width = maps + integer(rng, 1, 2) if turn else 1
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

    normal, unbiased, spread = over(0, 2, 3), over(0, 2, 3, correction=1), x.std((0, 2, 3), correction=0, keepdim=True)
    centred, by_variance = over(0, 2, 3, root=0), over(0, 2, 3, root=1)
    by_place = both(over(0)) if turn else ()  # in turn 0 there is one place
    by_image = (*both(over(2, 3)), *both(over(1, 2, 3)))
    in_columns = torch.Size([count, maps, height, maps])
    along_columns = SuchAs(torch.zeros(in_columns), lambda answer: answer.shape == in_columns)
    wrong_ideas: Table = [
        (normal, "each map has mean 0 and variance 1 now: its scale and its shift are still to come."),
        (normal * factor, "the shift is missing: add it after the scale."),
        ((normal + term) * factor, "that scales the shift too: multiply by the scale first, then add the shift."),
        (normal * term + factor, "scale and shift are exchanged: multiply by the scale, add the shift."),
        (
            *both(unbiased),
            "PyTorch's `var` and `std` divide by n - 1 unless you say `correction=0`: batch norm divides by n.",
        ),
        (*both(centred), "the mean is gone, but the spread is not 1 yet: divide by the root of the variance."),
        (*both(by_variance), "that divides by the variance: take its square root."),
        (*both(x / spread), "the spread is 1, but the mean is still there: subtract it first."),
        (x * factor + term, "x itself was scaled and shifted: first give each map mean 0 and variance 1."),
        (*by_place, "that has a mean for each position: it goes over the rows and columns too, axes 0, 2 and 3."),
        (*by_image, "that normalises each image by itself: a mean goes over all images of the batch, axis 0 too."),
        (*both(over(0, 1, 2, 3)), "that has one mean for everything: each map has its own, so leave axis 1 out."),
        (
            along_columns,
            "what has one number per map lies along the columns there: give it the shape (1, C, 1, 1), a mean by "
            "keepdim=True, a scale by view(1, -1, 1, 1).",
        ),
    ]
    otherwise = "the values differ from F.batch_norm(x, None, None, scale, shift, training=True)."
    yield Question((x, scale, shift), truth, wrong_ideas, otherwise=otherwise)
    yield _of_quiet_maps(x / 1000, scale, shift)


def _of_quiet_maps(x: Tensor, scale: Tensor, shift: Tensor) -> Question:
    """Ask for maps whose variance is about as small as the 1e-5 that is added to it."""
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    factor, term = scale.view(-1, 1, 1), shift.view(-1, 1, 1)
    truth = F.batch_norm(x, None, None, scale, shift, training=True)
    alone, outside = (((x - mean) / root) * factor + term for root in (variance.sqrt(), variance.sqrt() + 1e-5))
    wrong_ideas: Table = [
        (
            alone,
            "these maps hardly vary, and it shows that 1e-5 is missing: added to the variance, it keeps a map that "
            "says next to nothing from being blown up, and a constant one from being divided by 0.",
        ),
        (outside, "1e-5 is added to the root there: add it to the variance, under the root."),
    ]
    otherwise = "where maps hardly vary, the values differ from F.batch_norm's: it adds 1e-5 to the variance."
    return Question((x, scale, shift), truth, wrong_ideas, otherwise=otherwise)


@exercise(20, "on 20 random tensors, in both modes")
def check_dropout(rng: Generator, turn: int) -> Trial:
    p = integer(rng, 1, 4) / 10
    x = torch.randn(growing(rng, turn, 2, 6), growing(rng, turn, 4, 20), generator=rng) * 3
    keep = factor = torch.ones_like(x)
    while keep.all() or not keep.any() or abs(keep.mean().item() + p - 1) < 1e-3:  # a draw of which much can be seen
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(integer(rng, 0, 10_000))
            factor = F.dropout(torch.ones_like(x), p, training=True)  # PyTorch's dropout, seen through ones
        keep = (factor > 0).float()
    scaled = x / (1 - p)

    def drawn(answer: Tensor) -> bool:
        if answer.shape != x.shape:
            return False
        return bool(torch.stack([torch.isclose(answer, value) for value in (0 * x, x, scaled)]).any(0).all())

    by_own_draw = SuchAs(scaled * keep.view(-1).roll(1).view_as(keep), drawn)
    wrong_ideas: Table = [
        (x, scaled, "in training mode a value goes where `keep` is 0, and nothing went."),
        (x * keep, "the right values are gone, but those that stay must make up for them: divide them by 1 - p."),
        (x * keep / p, "that divides by p, the share that goes: the share that stays is 1 - p."),
        (x * keep * (1 - p), "that makes the values smaller still: divide by 1 - p."),
        (x * keep * p, "that multiplies by p: divide by 1 - p, the share that stays."),
        (
            x * keep / keep.mean(),
            "that divides by the share that stayed in this draw: divide by 1 - p, the share that stays on average.",
        ),
        (x * (1 - keep) / (1 - p), x * (1 - keep), "that is the wrong way round: `keep` is 1 where a value stays."),
        (
            by_own_draw,
            "other values went than those where `keep` is 0. The draw has been made already: use `keep`, and leave "
            "F.dropout and other draws out.",
        ),
    ]
    otherwise = f"in training mode with p = {p} the values differ from x * keep / (1 - p)."
    yield Question((x, keep, p, True), x * factor, wrong_ideas, otherwise=otherwise)
    dropped = "that is right in training mode, but in evaluation mode nothing is dropped."
    made_up = "in evaluation mode nothing is scaled: the division in training has made up for it already."
    wrong_ideas = [(x * keep, x * factor, dropped), (x * (1 - p), scaled, made_up)]
    otherwise = "that is right in training mode, but in evaluation mode x must come back as it was."
    yield Question((x, keep, p, False), x, wrong_ideas, otherwise=otherwise)
