import pytest
import torch
import torch.nn.functional as F

from eva.augment import cutout, flip, mixup, translate


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


@pytest.mark.parametrize("function", [flip, translate, cutout])
def test_the_seed_fixes_what_happens(function):
    images = torch.rand(32, 3, 16, 16, generator=seeded(1))
    assert torch.equal(function(images, seeded(2)), function(images, seeded(2)))
    assert not torch.equal(function(images, seeded(2)), function(images, seeded(3)))
