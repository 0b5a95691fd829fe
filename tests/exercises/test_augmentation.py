import pytest
import torch

from eva.exercises import check_mixup


def mixup(images, onehot, partner, share):
    by_image, by_row = share[:, None, None, None], share[:, None]
    return torch.lerp(images[partner], images, by_image), torch.lerp(onehot[partner], onehot, by_row)


def over_what_was_given(images, onehot, partner, share):
    for given in (images, onehot):
        for n, part in enumerate(share):
            given[n] = part * given[n] + (1 - part) * given[partner[n]]
    return images, onehot


def all_over_what_was_given(images, onehot, partner, share):
    images *= share[:, None, None, None]
    images += (1 - share[:, None, None, None]) * images[partner]
    return images, onehot


def in_place(images, onehot, partner, share):
    for given in (images, onehot):
        before = given.clone()
        for n, part in enumerate(share):
            given[n] = part * before[n] + (1 - part) * before[partner[n]]
    return [images, onehot]


@pytest.mark.parametrize("solution", [mixup, in_place])
def test_other_right_code_is_right(solution, verdict):
    assert verdict(check_mixup, solution).startswith("Right, ")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda i, o, p, s: (mixup(i, o, p, s)[0], o), "the labels came back as they were"),
        (lambda i, o, p, s: mixup(i, o, p, 1 - s), "the images are mixed the wrong way round"),
        (lambda i, o, p, s: (mixup(i, o, p, s)[0], mixup(i, o, p, 1 - s)[1]), "the labels are mixed the wrong way"),
        (lambda i, o, p, s: (s * i + (1 - s) * i[p], o), "the shares lie along the columns"),
        (lambda i, o, p, s: (mixup(i, o, p, s)[0], s * o + (1 - s) * o[p]), "The size of tensor"),
        (lambda i, o, p, s: mixup(i, o, p.flip(0).sort(descending=True)[0], s), "with the batch turned round"),
        (lambda i, o, p, s: mixup(i + 1, o, p, s), "the images differ from share"),
        (lambda i, o, p, s: mixup(i, o + 1, p, s), "the labels differ from share"),
        (lambda i, o, p, s: (i, o.tolist()), "must return a tensor, and returned a list"),
        (over_what_was_given, "some of the images were mixed with partners that had been changed before"),
        (all_over_what_was_given, "some of the images were mixed with partners that had been changed before"),
        (
            lambda i, o, p, s: (mixup(i, o, p, s)[0], over_what_was_given(i, o, p, s)[1]),
            "some of the labels were mixed",
        ),
    ],
)
def test_wrong_code_is_met_with_the_right_words(function, words, refused):
    refused(check_mixup, function, words)
