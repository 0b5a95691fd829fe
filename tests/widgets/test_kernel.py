from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eva.checkpoint import pretrained
from eva.widgets.kernel import (
    CANVAS,
    LEARNED,
    NAMES,
    OFFERED,
    Setting,
    feature_map,
    image_picture,
    kernel,
    map_picture,
    map_size,
    middle_of,
    nearest_unit,
    one_channel,
    read,
)

SETTINGS = [Setting(*values) for values in product(*OFFERED.values())]
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, vars(s).values())))
ORANGE, MID_GREY = (213, 94, 0, 255), (128, 128, 128, 255)


def by_pytorch(grey, weights, setting):
    """The truth: torch's own convolution."""
    return F.conv2d(grey[None, None], weights[None, None], None, **vars(setting))[0, 0]


@pytest.fixture
def grey(rng):
    """Random, of a random size at which every kernel fits."""
    height, width = torch.randint(7, 40, (2,), generator=rng).tolist()
    return torch.randint(0, 256, (height, width), generator=rng).float()


@every_setting
def test_the_map_is_each_windows_sum_on_random_sizes_and_weights(setting, rng):
    for _ in range(5):
        height, width = torch.randint(7, 40, (2,), generator=rng).tolist()
        grey = torch.randint(0, 256, (height, width), generator=rng).float()
        weights = torch.randn(3, 3, generator=rng)
        windows = F.unfold(grey[None, None], 3, **vars(setting))[0]  # the map itself is made by conv2d
        truth = (weights.flatten() @ windows).view(map_size((height, width), setting))
        torch.testing.assert_close(feature_map(grey, weights, setting), truth, rtol=1e-5, atol=1e-3)


@every_setting
def test_the_nine_products_of_every_unit_add_up_to_it(setting, rng):
    grey, weights = torch.randint(0, 256, (7, 9), generator=rng).float(), torch.randn(3, 3, generator=rng)
    truth = by_pytorch(grey, weights, setting)
    for unit in product(*map(range, truth.shape)):
        assert read(grey, weights, setting, unit).total == pytest.approx(truth[unit].item(), abs=1e-2)


@every_setting
def test_what_a_unit_reads_is_what_moves_it(setting):
    """By gradients: the pixels that a unit depends on are those that are said to lie under its kernel."""
    grey = torch.arange(63.0).view(7, 9).requires_grad_()  # each pixel is told by its value
    values = by_pytorch(grey, torch.ones(3, 3), setting)
    for unit in product(*map(range, values.shape)):
        moved = torch.autograd.grad(values[unit], grey, retain_graph=True)[0].nonzero()
        reading = read(grey.detach(), torch.ones(3, 3), setting, unit)
        assert reading.pixels[reading.inside].tolist() == [9 * row + column for row, column in moved.tolist()]
        assert not reading.pixels[~reading.inside].any(), "padding is zero"


@every_setting
def test_the_nearest_unit_to_a_units_own_middle_is_itself(setting):
    size = map_size((7, 9), setting)
    for unit in product(*map(range, size)):
        assert nearest_unit(middle_of(unit, setting), setting, size) == unit
    for far in ((-50, 3), (50, 50)):
        assert all(0 <= place < most for place, most in zip(nearest_unit(far, setting, size), size, strict=True))


@pytest.mark.parametrize("size", [(3, 3), (3, 40), (4, 4), (5, 5), (6, 6)])
@every_setting
def test_a_kernel_that_does_not_fit_is_refused_where_pytorch_refuses_it(setting, size):
    grey = torch.ones(size)
    try:
        truth = by_pytorch(grey, torch.ones(3, 3), setting)
    except RuntimeError:
        span, rows, columns = 2 * setting.dilation + 1, *(side + 2 * setting.padding for side in size)
        with pytest.raises(
            ValueError, match=f"spans {span} x {span} pixels, .* has {rows} x {columns}: take a smaller"
        ):
            feature_map(grey, torch.ones(3, 3), setting)
    else:
        assert map_size(size, setting) == truth.shape


@pytest.mark.parametrize(("changes", "words"), [
    ({"stride": 3}, "stride must be one of 1, 2, got 3"),
    ({"dilation": 0}, "dilation must be one of 1, 2, 3, got 0"),
    ({"padding": 4}, "padding must be one of 0, 1, 2, 3, got 4"),
    ({"padding": 1.0}, "padding must be one of 0, 1, 2, 3, got 1.0"),
    ({"stride": "2"}, "got '2'"),
])  # fmt: skip
def test_a_setting_that_is_not_offered_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        Setting(**changes)


def test_the_kernels_do_what_is_said_of_them():
    flat, step = torch.full((9, 9), 90.0), torch.zeros(9, 9)
    step[:, 5:] = 90.0  # bright right of dark
    first = {name: feature_map(flat, kernel(name).weights, Setting())[0, 0].item() for name in NAMES}
    for name in ("vertical edges", "horizontal edges", "edges all round"):
        assert first[name] == 0, "where nothing changes"
    for name in ("blur", "emboss"):
        assert first[name] == pytest.approx(90), "the pixel itself"
    assert feature_map(step, kernel("vertical edges").weights, Setting()).max() == 3 * 90
    assert feature_map(step, kernel("vertical edges").weights, Setting()).min() == 0
    assert not feature_map(step, kernel("horizontal edges").weights, Setting()).any()
    assert feature_map(step.T, kernel("horizontal edges").weights, Setting()).max() == 3 * 90, "bright below dark"
    towards = feature_map(torch.arange(9.0) + torch.arange(9.0)[:, None], kernel("emboss").weights, Setting())
    assert (towards > torch.arange(1.0, 8) + torch.arange(1.0, 8)[:, None]).all(), "brighter to the lower right"


def test_the_learned_kernel_is_a_mean_of_three_slices_of_the_network_that_ships():
    slices = pretrained().stem.weight.detach()  # the network itself, and not its file
    learned = kernel(LEARNED)
    number = int(learned.words.split()[1])
    assert f"Kernel {number} of {len(slices)} " in learned.words
    torch.testing.assert_close(learned.weights, slices[number].mean(0), rtol=0, atol=0.0051)
    assert all(learned.weights.square().sum() > each.mean(0).square().sum() - 0.02 for each in slices)


@pytest.mark.parametrize("name", ["sobel", "", None])
def test_an_unknown_kernel_is_refused_with_those_that_there_are(name):
    with pytest.raises(ValueError, match=r"no preset .*: choose one of 'vertical edges', .*, 'learned'"):
        kernel(name)


def test_an_image_becomes_one_channel(rng):
    image = torch.randint(0, 256, (3, 12, 10), generator=rng, dtype=torch.uint8)
    expected = (image.double().sum(0) / 3).round().float()
    assert torch.equal(one_channel(image), expected)
    assert torch.equal(one_channel(image[:1]), image[0].float())
    assert torch.equal(one_channel(image[1]), image[1].float())


@pytest.mark.parametrize(("image", "words"), [
    (torch.zeros(3, 32, 32), "must be a uint8 tensor, got torch.float32: take the image before it is normalised"),
    ([[1]], "must be a uint8 tensor, got list"),
    (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r"got \(2, 3, 32, 32\): of a batch take images\[0\]"),
    (torch.zeros(32, 32, 3, dtype=torch.uint8), r"got \(32, 32, 3\).*permute"),
    (torch.zeros(32, dtype=torch.uint8), r"got \(32,\)"),
    (torch.zeros(3, 2, 32, dtype=torch.uint8), "H and W from 3 to 64"),
    (torch.zeros(3, 32, 65, dtype=torch.uint8), "H and W from 3 to 64"),
])  # fmt: skip
def test_a_bad_image_is_refused(image, words):
    with pytest.raises(ValueError, match=words):
        one_channel(image)


def colours(picture):
    return {colour for _, colour in picture.getcolors(maxcolors=100_000)}


@every_setting
def test_the_pictures_outline_the_pixels_that_are_read_and_the_unit(setting, grey):
    size = map_size(grey.shape, setting)
    values = feature_map(grey, kernel("blur").weights, setting)
    for unit in ((0, 0), (size[0] - 1, size[1] - 1)):
        image, plain = (image_picture(grey, setting, each) for each in (unit, None))
        assert image.size == plain.size == map_picture(grey, setting, values, unit).size
        rows, columns = (np.asarray(image) != np.asarray(plain)).any(2).nonzero()
        scale = max(1, CANVAS // (max(grey.shape) + 6))
        reach = scale * (2 * setting.dilation + 1) + 4  # and the rings' two pixels on both sides
        assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (reach, reach), "none is cut off"
        assert ORANGE in colours(image)
        assert ORANGE not in colours(plain)
        assert ORANGE in colours(map_picture(grey, setting, values, unit))


def test_zero_is_mid_grey_in_the_map(grey):
    flat = torch.full_like(grey, 100.0)
    setting = Setting()
    assert colours(map_picture(grey, setting, torch.zeros(4, 4))) == {MID_GREY, (0, 0, 0, 0)}
    values = feature_map(flat, kernel("vertical edges").weights, Setting(padding=1))
    shades = colours(map_picture(grey, Setting(padding=1), values))
    assert shades == {MID_GREY, (255,) * 3 + (255,), (1, 1, 1, 255), (43, 43, 43, 255), (213, 213, 213, 255),
                      (0, 0, 0, 0)}, "the frame of padding: 3, or in the corners 2 of 3"  # fmt: skip


def test_the_map_lies_as_the_image_does_at_stride_1_and_is_half_as_large_at_2(grey):
    edge = [image.getbbox() for image in (
        image_picture(grey, Setting()), map_picture(grey, Setting(padding=1), grey),
        map_picture(grey, Setting(stride=2, padding=1), grey[::2, ::2]))]  # fmt: skip
    assert edge[0] == edge[1], "padding 1 keeps the size"
    (left, top, right, bottom), scale = edge[2], max(1, CANVAS // (max(grey.shape) + 6))
    assert (left, top) == edge[0][:2]
    assert ((bottom - top), (right - left)) == tuple(scale * -(-side // 2) for side in grey.shape)


def test_no_map_is_an_empty_picture(grey):
    assert map_picture(grey, Setting()).getbbox() is None
