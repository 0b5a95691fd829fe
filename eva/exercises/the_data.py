"""The exercises of notebook 01. Arithmetic by channel and `eva.augment.flip` are the truth."""

import torch
from torch import Generator

from eva.augment import flip
from eva.exercises.grading import Question, Trial, exercise, integer


@exercise(10, "on 10 random batches")
def check_normalise(rng: Generator) -> Trial:
    count, height, width = (integer(rng, 2, 9) for _ in range(3))
    images = torch.randint(0, 256, (count, 3, height, width), generator=rng, dtype=torch.uint8)
    mean, std = torch.rand(3, generator=rng) * 0.4 + 0.3, torch.rand(3, generator=rng) * 0.2 + 0.1
    by_channel, spread = mean.view(3, 1, 1), std.view(3, 1, 1)
    centred = images / 255 - by_channel
    bytes_, squared = (images - by_channel) / spread, centred / spread**2
    wrong_ideas = [
        (bytes_, "the bytes go up to 255 and the mean is a fraction: divide the images by 255 first."),
        (centred, "the mean is gone, but the spread is not 1 yet: divide by the standard deviation."),
        (squared, "that divides by the variance: the standard deviation is its root, and is what you were given."),
    ]
    otherwise = "the values differ from (image / 255 - mean) / std of each pixel's own channel."
    yield Question((images, mean, std), centred / spread, wrong_ideas, otherwise=otherwise)


@exercise(20, "on 20 random batches of all three parts")
def check_prepare(rng: Generator) -> Trial:
    part = ("train", "validation", "test")[integer(rng, 0, 2)]
    seed, shape = integer(rng, 0, 10**6), (integer(rng, 8, 16), 3, integer(rng, 4, 9), integer(rng, 4, 9))
    images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    truth = flip(images, Generator().manual_seed(seed)) if part == "train" else images
    if part == "train":
        unchanged = 'the images of the part "train" came back as they were: flip(images, rng) mirrors half of them.'
        wrong_ideas = [(images, unchanged)]
        otherwise = (
            f'the images of the part "{part}" are not those of flip(images, rng), with the generator that was given.'
        )
    else:
        wrong_ideas = []
        otherwise = (
            f'some images of the part "{part}" came back changed: an accuracy on them would be another each time.'
        )
    yield Question((images, part, Generator().manual_seed(seed)), truth, wrong_ideas, otherwise=otherwise)
