"""The exercise of notebook 12. A loop over the images is the truth."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from eva.exercises.grading import Question, SuchAs, Table, Trial, exercise, growing, integer


@exercise(20, "on 20 random batches, partners and shares")
def check_mixup(rng: Generator, turn: int) -> Trial:
    count, maps, classes = growing(rng, turn, 3, 7), growing(rng, turn, 1, 3), growing(rng, turn, 4, 11)
    classes = max(classes, count + 1)
    height, width = (
        growing(rng, turn, 1, 15),
        count,
    )  # as wide as the batch is long: shares that lie along rows would fit
    images = torch.randn(count, maps, height, width, generator=rng)
    labels = torch.randperm(classes, generator=rng)[:count]  # all differ, so that a label of its own image shows
    onehot = torch.eye(classes)[labels]
    partner = torch.arange(count).roll(integer(rng, 1, count - 1))  # nobody's partner is itself
    partner = partner[torch.randperm(count, generator=rng)] if turn and integer(rng, 0, 1) else partner
    share = torch.rand(count, generator=rng) * 0.3 + 0.6  # never a half: then either way round would do
    arguments = images, onehot, partner, share
    yield _of_one_part("images", images, arguments, lambda blend: (blend, SuchAs(onehot)))
    yield _of_one_part("labels", onehot, arguments, lambda blend: (SuchAs(images), blend))


def _of_one_part(what: str, own: Tensor, arguments: tuple[Tensor, ...], pair: Callable[[Tensor], tuple]) -> Question:
    """Of the two that are to be mixed, ask for the images, or for the labels; `pair` makes an answer of a blend."""
    *_, partner, share = arguments
    truth, reverse = _blend(own, partner, share), _blend(own, partner, 1 - share)
    others, column = own[partner], share.view(-1, *[1] * (own.ndim - 1))
    in_full, flipped = own * column + others, _blend(own, torch.arange(len(own)).flip(0), share)
    alike = [own * part + others * (1 - part) for part in (share.mean(), *share)]
    wrong_ideas: Table = [
        (own, f"the {what} came back as they were: images and labels must be mixed alike."),
        (others, f"those are the partners' {what} alone: keep `share` of each image's own."),
        (
            reverse,
            f"the {what} are mixed the wrong way round: `share` is what an image keeps, its partner has the rest.",
        ),
        (in_full, f"the partners' {what} count in full: take 1 - share of them, so that both parts make one."),
        (
            own + others,
            (own + others) / 2,
            f"every one of the {what} has the same part of both: each has a share of its own.",
        ),
        (*alike, f"all {what} have one share: `share` has a number for each."),
        (flipped, f"the {what} are mixed with the batch turned round: image n's partner is image partner[n]."),
        (
            _in_place(own, partner, share),
            own * column + (own * column)[partner] * (1 - column),
            f"some of the {what} were mixed with partners that had been changed before. Write into a new tensor: a "
            "partner gives of what it was.",
        ),
    ]
    if what == "images":
        along_columns = (
            "the shares lie along the columns of the images, not along the batch: nothing stopped you, since there "
            "are as many columns as images here. Give `share` the shape (N, 1, 1, 1)."
        )
        wrong_ideas.append((own * share + others * (1 - share), along_columns))
    return Question(
        arguments,
        pair(truth),
        [(*map(pair, ideas), words) for *ideas, words in wrong_ideas],
        otherwise=f"the {what} differ from share * own + (1 - share) * partner's, image by image.",
        returns="two things, images and labels",
    )


def _blend(given: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Each of `given` times its share, and its partner times the rest, one by one."""
    pairs = zip(given, partner.tolist(), share.tolist(), strict=True)
    return torch.stack([part * own + (1 - part) * given[other] for own, other, part in pairs])


def _in_place(given: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """The same, one by one, each written over what was given before the next is mixed."""
    mixed = given.clone()
    for image, (other, part) in enumerate(zip(partner.tolist(), share.tolist(), strict=True)):
        mixed[image] = part * mixed[image] + (1 - part) * mixed[other]
    return mixed
