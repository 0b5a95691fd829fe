import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from eva.policies import OPERATIONS, operate, trivial_augment


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def by_torchvision(name, image, strength):
    """One image, as torchvision's TrivialAugmentWide treats it."""

    def sheared(x, y):
        degrees = [math.degrees(math.atan(0.99 * way * strength)) for way in (x, y)]
        return TF.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])

    def shifted(x, y):
        pixels = [int(32 * way * strength) for way in (x, y)]
        return TF.affine(image, angle=0.0, translate=pixels, scale=1.0, shear=[0.0, 0.0])

    return {
        "identity": lambda: image,
        "shear x": lambda: sheared(1, 0),
        "shear y": lambda: sheared(0, 1),
        "translate x": lambda: shifted(1, 0),
        "translate y": lambda: shifted(0, 1),
        "rotate": lambda: TF.rotate(image, 135 * strength),
        "brightness": lambda: TF.adjust_brightness(image, 1 + 0.99 * strength),
        "contrast": lambda: TF.adjust_contrast(image, 1 + 0.99 * strength),
        "colour": lambda: TF.adjust_saturation(image, 1 + 0.99 * strength),
        "sharpness": lambda: TF.adjust_sharpness(image, 1 + 0.99 * strength),
        "posterize": lambda: TF.posterize(image, 8 - round(6 * abs(strength))),
        "solarize": lambda: TF.solarize(image, 255 * (1 - abs(strength))),
    }[name]()


def a_batch(seed, count=62):
    """Images of a random size with soft blobs and hard noise, black and white pixels among them."""
    height, width = torch.randint(3, 40, (2,), generator=seeded(seed)).tolist()
    blobs = F.interpolate(torch.rand(count, 3, 3, 3, generator=seeded(seed)), (height, width), mode="bilinear")
    noise = 0.5 * torch.rand(count, 3, height, width, generator=seeded(seed + 1)) - 0.25
    return (300 * (blobs + noise)).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_agrees_with_torchvision_one_image_at_a_time(name, seed):
    images = a_batch(seed)
    strength = torch.arange(-30, 32)[: len(images)].clamp(max=30) / 30  # every one that trivial_augment draws
    out = operate(images, torch.full((len(images),), [*OPERATIONS].index(name)), strength)
    expected = torch.stack([by_torchvision(name, image, s) for image, s in zip(images, strength.tolist(), strict=True)])
    assert out.dtype == torch.uint8
    off = (out.int() - expected.int()).abs()
    if name in ("shear x", "shear y", "rotate"):  # where two pixels are equally near, either may be taken:
        assert (off > 0).float().mean() < 0.02  # at 90 degrees that can be all, where one side is odd
    else:
        assert off.max() <= (1 if name in ("brightness", "contrast", "colour", "sharpness") else 0)
        assert off.float().mean() < 0.01


def test_a_batch_of_mixed_operations_treats_each_image_by_itself():
    images = a_batch(0)
    operation = torch.randint(len(OPERATIONS), (len(images),), generator=seeded(1))
    strength = 2 * torch.rand(len(images), generator=seeded(2)) - 1
    before = images.clone()
    together = operate(images, operation, strength)
    alone = torch.cat(
        [operate(images[i : i + 1], operation[i : i + 1], strength[i : i + 1]) for i in range(len(images))]
    )
    assert (together != alone).float().mean() < 1e-3  # another order of sums may round another way
    assert torch.equal(images, before), "the batch that was given stays as it was"


@pytest.mark.parametrize("seed", range(2))
def test_trivial_augment_does_one_operation_to_each_image_and_all_of_them_in_turn(seed):
    images = a_batch(seed, count=1).repeat(300, 1, 1, 1)
    out = trivial_augment(images, seeded(seed + 10))
    assert out.shape == images.shape
    every = torch.cat([torch.full((61,), i) for i in range(len(OPERATIONS))])
    known = operate(images[:1].repeat(len(every), 1, 1, 1), every, torch.arange(-30, 31).repeat(len(OPERATIONS)) / 30)
    seen = torch.zeros(len(OPERATIONS))
    for image in out:
        off = (known.int() - image.int()).abs().flatten(1)
        found = every[(off > 1).float().mean(1) < 0.01]
        assert len(found), "what came out is one of the operations at one of the 61 strengths"
        seen[found[-1]] += 1
    assert seen[1:].min() >= 6, "of 300 images each operation gets about 25"


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (torch.rand(2, 3, 8, 8), r"torch\.float32 \(2, 3, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"torch\.uint8 \(2, 1, 8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"torch\.uint8 \(3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 2, dtype=torch.uint8), r"torch\.uint8 \(2, 3, 8, 2\)"),
    ],
)
def test_trivial_augment_refuses_what_is_no_batch_of_byte_images(rng, images, got):
    with pytest.raises(ValueError, match=f"images must be uint8 .* got {got}: augment before"):
        trivial_augment(images, rng)
