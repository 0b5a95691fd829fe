import math

import pytest
import torch
import torch.nn.functional as F

from eva.augment import cutmix, cutout, flip, mixup, translate
from eva.policies import trivial_augment


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(3))
def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others(seed):
    images = torch.rand(400, 3, 5, 7, generator=seeded(seed))
    out = flip(images, seeded(seed + 10))
    mirrored = torch.tensor([torch.equal(o, i.flip(2)) for o, i in zip(out, images, strict=True)])
    kept = torch.tensor([torch.equal(o, i) for o, i in zip(out, images, strict=True)])
    assert (mirrored ^ kept).all()
    assert 140 < mirrored.sum() < 260  # six standard deviations of 400 fair coins


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_translate_is_a_crop_of_the_reflected_image(seed, dtype):
    images = torch.randint(0, 256, (16, 3, 12, 9), generator=seeded(seed)).to(dtype)
    out = translate(images, seeded(seed + 10), pixels=3)
    assert out.dtype == dtype
    padded = F.pad(images.double(), (3, 3, 3, 3), mode="reflect")  # torch's own reflection is the independent truth
    offsets = set()
    for index in range(len(images)):
        fits = [(y, x) for y in range(7) for x in range(7)
                if torch.equal(padded[index, :, y : y + 12, x : x + 9], out[index].double())]  # fmt: skip
        assert len(fits) == 1
        offsets.update(fits)
    assert len(offsets) > 8, "each image draws its own offset"


def test_translate_by_nothing_changes_nothing(rng):
    images = torch.rand(4, 3, 8, 8, generator=rng)
    torch.testing.assert_close(translate(images, rng, pixels=0), images)


@pytest.mark.parametrize("pixels", [-1, 8])
def test_translate_refuses_to_reach_past_the_reflection(rng, pixels):
    with pytest.raises(ValueError, match=f"from 0 to 7 for 8x10 images, got {pixels}"):
        translate(torch.rand(2, 3, 8, 10), rng, pixels)


@pytest.mark.parametrize("seed", range(3))
def test_cutout_covers_one_square_and_touches_nothing_else(seed):
    images = torch.rand(64, 3, 16, 16, generator=seeded(seed)) + 1
    out = cutout(images, seeded(seed + 10), size=6)
    covered = out == 0
    assert (covered | (out == images)).all()
    assert (covered.all(1) == covered.any(1)).all(), "the square goes through all channels"
    for mask in covered[:, 0]:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert mask.sum() == height * width, "what is covered is a rectangle"
        assert 3 <= height <= 6
        assert 3 <= width <= 6
    assert covered[:, 0].sum((1, 2)).max() == 36


@pytest.mark.parametrize("size", [-1, 9])
def test_cutout_refuses_sizes_that_are_no_square_of_the_image(rng, size):
    with pytest.raises(ValueError, match=f"size must be from 0 to 8 for 8x9 images, got {size}"):
        cutout(torch.rand(2, 3, 8, 9), rng, size)


@pytest.mark.parametrize("seed", range(3))
def test_mixup_blends_images_and_labels_by_the_same_share(seed):
    # Constant images that say their own label: a blend's value must be its label's expectation.
    labels = torch.randint(0, 5, (256,), generator=seeded(seed))
    images = labels.float()[:, None, None, None].expand(256, 3, 4, 4)
    mixed, soft = mixup(images, labels, seeded(seed + 10), classes=5, alpha=1.0)
    assert soft.shape == (256, 5)
    torch.testing.assert_close(soft.sum(1), torch.ones(256))
    torch.testing.assert_close(mixed[:, 0, 0, 0], soft @ torch.arange(5.0), atol=1e-5, rtol=0)
    shares = soft.max(1).values[soft.max(1).values < 1]
    assert shares.std() > 0.1, "each image has its own share"


def test_mixup_says_what_it_cannot_blend(rng):
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        mixup(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), rng, classes=2, alpha=0)
    with pytest.raises(ValueError, match=r"got torch\.uint8: normalise"):
        mixup(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), rng, classes=2)


@pytest.mark.parametrize(
    ("alpha", "below"),  # the distribution functions of Beta(alpha, alpha) that have a closed form
    [
        (0.5, lambda x: 2 / math.pi * x.sqrt().asin()),
        (1.0, lambda x: x),
        (2.0, lambda x: 3 * x**2 - 2 * x**3),
        (3.0, lambda x: 10 * x**3 - 15 * x**4 + 6 * x**5),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_mixup_draws_its_shares_from_the_beta_distribution(alpha, below, seed):
    count = 2000
    _, soft = mixup(torch.zeros(count, 1, 1, 1), torch.arange(count), seeded(seed), classes=count, alpha=alpha)
    drawn = below(soft.diagonal()[soft.diagonal() < 1].double().sort().values)
    found = torch.arange(1, len(drawn) + 1, dtype=torch.float64) / len(drawn)
    assert (found - drawn).abs().max() < 1.95 / len(drawn) ** 0.5, "Kolmogorov and Smirnov, one in a thousand"


@pytest.mark.parametrize("alpha", [0.01, 0.2, 50.0])
def test_mixup_has_the_right_spread_at_extreme_alphas(alpha):
    _, soft = mixup(torch.zeros(3000, 1, 1, 1), torch.arange(3000), seeded(0), classes=3000, alpha=alpha)
    share = soft.diagonal()
    assert share.isfinite().all()
    assert abs(share.mean() - 0.5) < 0.04
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutmix_pastes_one_box_and_shares_the_label_by_its_pixels(seed, dtype):
    height, width = torch.randint(5, 20, (2,), generator=seeded(seed)).tolist()
    labels = torch.arange(60)  # each image is filled with its own number, so that each pixel says where it is from
    images = labels[:, None, None, None].expand(60, 3, height, width).to(dtype)
    mixed, soft = cutmix(images, labels, seeded(seed + 10), classes=60)
    assert mixed.dtype == dtype
    boxes = 0
    for index, (image, label) in enumerate(zip(mixed, soft, strict=True)):
        assert (image == image[:1]).all(), "the box goes through all channels"
        owners, counts = image[0].long().unique(return_counts=True)
        expected = torch.zeros(60)
        expected[owners] = counts / (height * width)
        torch.testing.assert_close(label, expected)
        box = image[0] != index
        if box.any():
            rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
            assert box.sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            boxes += 1
    assert boxes > 40
    assert len(soft.max(1).values.unique()) > 5, "each image has its own box"


def test_cutmix_covers_half_of_an_image_less_what_sticks_out():
    images, labels = torch.zeros(4000, 1, 64, 64), torch.arange(4000)
    _, soft = cutmix(images, labels, seeded(0), classes=4000)
    # A side s of the unit square keeps s - s²/4 of itself, on average over the centre; here s² is uniform, so that the
    # expected area is E(s² - s³/2 + s⁴/16).
    assert 1 - soft.diagonal().mean() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.03)


def test_cutmix_refuses_an_alpha_that_is_no_distribution(rng):
    with pytest.raises(ValueError, match=r"alpha must be positive, got -0\.5"):
        cutmix(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), rng, classes=2, alpha=-0.5)


@pytest.mark.parametrize("function", [flip, translate, cutout, trivial_augment])
def test_the_seed_fixes_what_happens(function):
    images = torch.randint(0, 256, (32, 3, 16, 16), generator=seeded(1)).to(torch.uint8)
    assert torch.equal(function(images, seeded(2)), function(images, seeded(2)))
    assert not torch.equal(function(images, seeded(2)), function(images, seeded(3)))
