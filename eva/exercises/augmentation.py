"""The exercise of notebook 10. Its check says what a wrong answer forgot. A loop over the images is the truth."""

from collections.abc import Callable

import torch
from torch import Tensor

from eva.exercises.grading import Wrong, a_random, a_tensor, close, exercise, named


def _try_mixup(answer: Callable, rng: torch.Generator) -> None:
    count, maps, classes = a_random(rng, 4, 7), a_random(rng, 2, 3), a_random(rng, 8, 11)
    height, width = a_random(rng, 12, 15), count  # as wide as the batch is long: shares that lie along rows would fit
    images = torch.randn(count, maps, height, width, generator=rng)
    labels = torch.randperm(classes, generator=rng)[:count]  # all differ, so that a label of its own image shows
    onehot = torch.eye(classes)[labels]
    partner = torch.arange(count).roll(a_random(rng, 1, count - 1))  # nobody's partner is itself
    partner = partner[torch.randperm(count, generator=rng)] if a_random(rng, 0, 1) else partner
    share = torch.rand(count, generator=rng) * 0.3 + 0.6  # never a half: then either way round would do
    value = answer(images.clone(), onehot.clone(), partner.clone(), share.clone())
    if value is None or value is Ellipsis:
        raise Wrong(f"`{named(answer)}` returned nothing.")
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(
            f"`{named(answer)}` must return two things, images and labels, and returned {type(value).__name__}."
        )
    if any(part is None or part is Ellipsis for part in value):
        raise Wrong(f"`{named(answer)}` returned nothing for the images or the labels.")
    blend = a_tensor(answer, value[0], tuple(images.shape))
    soft = a_tensor(answer, value[1], tuple(onehot.shape))
    _judge("images", blend, images, partner, share)
    _judge("labels", soft, onehot, partner, share)


def _judge(what: str, out: Tensor, given: Tensor, partner: Tensor, share: Tensor) -> None:
    """Compare the learner's images, or labels, `out` with the blend of those that were `given`."""
    if close(out, _loop(given, partner, share)):
        return
    others = given[partner]
    if close(out, given):
        raise Wrong(f"the {what} came back as they were: images and labels must be mixed alike.")
    if close(out, others):
        raise Wrong(f"those are the partners' {what} alone: keep `share` of each image's own.")
    if close(out, _loop(given, partner, 1 - share)):
        raise Wrong(
            f"the {what} are mixed the wrong way round: `share` is what an image keeps, its partner has the rest."
        )
    if close(out, given * share.view(-1, *[1] * (given.ndim - 1)) + others):
        raise Wrong(f"the partners' {what} count in full: take 1 - share of them, so that both parts make one.")
    if close(out, given + others) or close(out, (given + others) / 2):
        raise Wrong(f"every one of the {what} has the same part of both: each has a share of its own.")
    if close(out, given * share.mean() + others * (1 - share.mean())) or any(
        close(out, given * one + others * (1 - one)) for one in share
    ):
        raise Wrong(f"all {what} have one share: `share` has a number for each.")
    if given.ndim == 4 and close(out, given * share + others * (1 - share)):
        raise Wrong(
            "the shares lie along the columns of the images, not along the batch: nothing stopped you, since there "
            "are as many columns as images here. Give `share` the shape (N, 1, 1, 1)."
        )
    if close(out, _loop(given, torch.arange(len(given)).flip(0), share)):
        raise Wrong(f"the {what} are mixed with the batch turned round: image n's partner is image partner[n].")
    raise Wrong(f"the {what} differ from share * own + (1 - share) * partner's, image by image.")


def _loop(given: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Each of `given` times its share, and its partner times the rest, one by one."""
    pairs = zip(given, partner.tolist(), share.tolist(), strict=True)
    return torch.stack([part * own + (1 - part) * given[other] for own, other, part in pairs])


check_mixup = exercise(_try_mixup, 20, "on 20 random batches, partners and shares")
