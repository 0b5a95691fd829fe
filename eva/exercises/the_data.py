"""The exercises of notebook 01. Arithmetic by channel and `eva.augment.flip` are the truth."""

import torch
from torch import Generator, Tensor

from eva.augment import flip
from eva.exercises.grading import Question, Table, Trial, exercise, growing, integer

PARTS = ("train", "validation", "test")


@exercise(10, "on 10 random batches, of which the first has images of one pixel")
def check_normalise(rng: Generator, turn: int) -> Trial:
    count, height, width = (growing(rng, turn, low, 9) for low in (2, 1, 1))
    images = torch.randint(0, 256, (count, 3, height, width), generator=rng, dtype=torch.uint8)
    mean, std = torch.rand(3, generator=rng) * 0.4 + 0.3, torch.rand(3, generator=rng) * 0.2 + 0.1
    by_channel, spread, scaled = mean.view(3, 1, 1), std.view(3, 1, 1), images / 255
    centred = scaled - by_channel
    truth = centred / spread

    def own(*axes: int, correction: int) -> tuple[Tensor, Tensor]:
        """By the batch's own statistics: all of them, and the mean alone."""
        deviation, middle = torch.std_mean(scaled, axes, correction=correction, keepdim=True)
        return (scaled - middle) / deviation, (scaled - middle) / spread

    statistics = [
        idea for axes in ((0, 2, 3), (0, 1, 2, 3), (1, 2, 3)) for n in (0, 1) for idea in own(*axes, correction=n)
    ]
    wrong_ideas: Table = [
        (
            (images - by_channel) / spread,
            "the bytes go up to 255 and the mean is a fraction: divide images by 255 first.",
        ),
        (scaled, scaled / spread, "the mean is still to be subtracted."),
        (
            scaled - by_channel / spread,
            "only the mean was divided: subtract it first, in brackets, and divide what is left.",
        ),
        (centred, "the mean is gone, but the spread is not 1 yet: divide by the standard deviation."),
        (
            centred / spread**2,
            "that divides by the variance: the standard deviation is its root, and is what you were given.",
        ),
        (centred * spread, "divide by the standard deviation, do not multiply: a wide spread must become narrower."),
        (255 * truth, "that is 255 times too large: the standard deviation is a fraction of 255, as the mean is."),
        ((images // 255 - by_channel) / spread, "// rounds down, and leaves 0 of nearly every byte: divide with /."),
        ((images / 256 - by_channel) / spread, "a byte goes from 0 to 255: divide by 255."),
        ((scaled - mean.mean()) / std.mean(), "each channel has a mean and a spread of its own."),
        (
            *statistics,
            "those are the batch's own statistics: use the `mean` and `std` that you were given, which are of all "
            "training images. Else one image would look different in another batch.",
        ),
    ]
    if width in (1, 3):  # where PyTorch does not notice
        along_columns = "`mean` and `std` lie along the columns there, not along the channels: mean.view(3, 1, 1)."
        wrong_ideas.append(((scaled - mean) / std, along_columns))
    otherwise = "the values differ from (image / 255 - mean) / std of each pixel's own channel."
    yield Question((images, mean, std), truth, wrong_ideas, otherwise=otherwise)


@exercise(21, "on 21 random batches, seven of each part")
def check_prepare(rng: Generator, turn: int) -> Trial:
    part = PARTS[turn % 3]
    shape = growing(rng, turn, 2, 16), 3, growing(rng, turn, 2, 9), growing(rng, turn, 2, 9)
    images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    mirrored, flipped = images.flip(3), images
    while torch.equal(flipped, images) or torch.equal(flipped, mirrored):  # some, and not all
        seed = integer(rng, 0, 10**6)
        flipped = flip(images, Generator().manual_seed(seed))
    if part == "train":
        wrong_ideas: Table = [
            (
                images,
                'the images of the part "train" came back as they were. flip(images, rng) leaves `images` alone and '
                "returns a new batch, in which half are mirrored: return that one.",
            ),
            (mirrored, "every image is mirrored: flip(images, rng) mirrors about half, which it draws from `rng`."),
            (images.flip(2), "the images stand on their heads: mirror them left to right, by flip(images, rng)."),
        ]
        otherwise = (
            'the images of the part "train" are not those of flip(images, rng), with the generator that was given.'
        )
    else:
        always = f'the images of the part "{part}" were flipped: an accuracy on them would be another each time.'
        wrong_ideas = [(flipped, mirrored, always)]
        otherwise = f'the images of the part "{part}" came back changed: return them as they are.'
    truth = flipped if part == "train" else images
    yield Question((images, part, Generator().manual_seed(seed)), truth, wrong_ideas, otherwise=otherwise)
