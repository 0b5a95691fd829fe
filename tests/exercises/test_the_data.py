import pytest
import torch
from torchvision.transforms.functional import normalize

from eva.augment import flip
from eva.exercises import check_normalise, check_prepare


def by_own_statistics(images, *_, axes=(0, 2, 3)):
    deviation, mean = torch.std_mean(images.float(), axes, keepdim=True)
    return (images - mean) / deviation


def flip_and_forget(images, part, rng):
    if part == "train":
        flip(images, rng)
    return images


def over_what_was_given(images, mean, std):
    mean *= 255
    std *= 255
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_normalise, lambda images, mean, std: normalize(images.float(), mean, std), "by 255 first"),
        (check_normalise, lambda i, mean, std: normalize(i / 255, [mean.mean()], [std.mean()]), "a spread of its own"),
        (check_normalise, by_own_statistics, "those are the batch's own statistics"),
        (check_normalise, lambda i, *_: by_own_statistics(i / 255), "those are the batch's own statistics"),
        (
            check_normalise,
            lambda i, *_: by_own_statistics(i, axes=(0, 1, 2, 3)),
            "those are the batch's own statistics",
        ),
        (check_normalise, lambda i, m, s: i / 255 - m.view(3, 1, 1) / s.view(3, 1, 1), "only the mean was divided"),
        (
            check_normalise,
            lambda i, m, s: (i / 255 - m) / s,
            "must return the shape (2, 3, 1, 1) here: `mean` and `std`",
        ),
        (check_normalise, lambda i, m, s: normalize(i / 256, m, s), "divide by 255"),
        (check_normalise, lambda i, m, s: normalize((i // 255).float(), m, s), "// rounds down"),
        (check_normalise, lambda i, m, s: normalize(i / 255, m, s).abs(), "the values differ"),
        (check_prepare, lambda images, part, rng: flip(images, rng), 'of the part "validation" were flipped'),
        (
            check_prepare,
            lambda i, part, rng: i if part == "validation" else flip(i, rng),
            'of the part "test" were flipped',
        ),
        (
            check_prepare,
            lambda i, part, rng: flip(i, rng) if part == "train" else i + 1,
            '"validation" came back changed',
        ),
        (check_prepare, flip_and_forget, "returns a new batch, in which half are mirrored: return that one"),
        (check_prepare, lambda i, part, rng: i.flip(3) if part == "train" else i, "every image is mirrored"),
        (check_prepare, lambda i, part, rng: i.flip(2) if part == "train" else i, "stand on their heads"),
        (check_prepare, lambda images, part, rng: images, "came back as they were"),
        (check_prepare, lambda i, part, rng: i + 1, "with the generator that was given"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(check, function, words, refused):
    refused(check, function, words)


def test_other_right_code_is_right(verdict):
    assert verdict(check_normalise, lambda i, mean, std: normalize(i / 255, mean, std)).startswith("Right, ")
    assert verdict(check_normalise, over_what_was_given).startswith("Right, ")
