import pytest
from torchvision.transforms.functional import normalize

from eva.augment import flip
from eva.exercises import check_normalise, check_prepare


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_normalise, lambda images, mean, std: normalize(images.float(), mean, std), "by 255 first"),
        (check_normalise, lambda i, mean, std: normalize(i / 255, [mean.mean()], [std.mean()]), "own channel"),
        (check_prepare, lambda images, part, rng: flip(images, rng), "came back changed"),
        (check_prepare, lambda images, part, rng: images, "came back as they were"),
        (check_prepare, lambda i, part, rng: i.flip(3) if part == "train" else i, "with the generator that was given"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(check, function, words, refused):
    refused(check, function, words)


def test_other_right_code_is_right(verdict):
    assert verdict(check_normalise, lambda i, mean, std: normalize(i / 255, mean, std)).startswith("Right, ")
