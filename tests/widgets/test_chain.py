from dataclasses import replace

import pytest
import torch
from torch import nn

from eva.measure import count_macs, count_parameters
from eva.model import LADDER, Net
from eva.plotting import BLUE, ORANGE
from eva.receptive_field import receptive_field
from eva.widgets.chain import CANVAS, PRESETS, LayerChoice, analyse, chain, picture

ALL = [pytest.param(layers, id=name) for name, layers in PRESETS.items()]


def test_the_trunk_of_net_is_that_of_the_real_net():
    net, trunk = Net(), analyse(PRESETS["the trunk of Net"], (32, 32))
    real = receptive_field(net)
    assert (trunk.field.size, trunk.field.jump, trunk.field.start) == (real.size, real.jump, real.start)
    assert (trunk.field.size, trunk.field.jump) == ((102, 102), (4, 4))
    assert trunk.parameters == count_parameters(net) - count_parameters(net.classifier)
    assert trunk.macs == count_macs(net) - net.classifier.weight.numel()


@pytest.mark.parametrize("step", ["batch norm", "dilated", "depthwise separable"])
def test_the_ladders_steps_are_the_real_ones(step):
    network, preset = LADDER[step](), analyse(PRESETS[f"the ladder's step {step!r}"], (32, 32))
    real = receptive_field(network)
    assert (preset.field.size, preset.field.start, preset.field.jump) == (real.size, real.start, real.jump)
    assert preset.parameters == count_parameters(network) - count_parameters(network.classifier)
    assert preset.macs == count_macs(network) - network.classifier.weight.numel()


@pytest.mark.parametrize(("name", "size", "jump"), [
    ("three 3x3", 1 + 3 * 2, 1),
    ("one 7x7", 7, 1),
    ("dilations 1 2 4 8", 1 + 2 * (1 + 2 + 4 + 8), 1),
    ("VGG-like with pooling", 1 + (2 + 2 + 1) + (4 + 4 + 2) + (8 + 8 + 4), 8),
])  # fmt: skip
def test_presets_see_what_arithmetic_says(name, size, jump):
    field = analyse(PRESETS[name], (32, 32)).field
    assert (field.size, field.jump) == ((size, size), (jump, jump))


def test_one_7x7_costs_more_than_three_3x3_that_see_as_much():
    stem, norm, weights = 3 * 32 + 2 * 32, 2 * 32, 32 * 32
    assert analyse(PRESETS["three 3x3"], (32, 32)).parameters == stem + 3 * (9 * weights + norm)
    assert analyse(PRESETS["one 7x7"], (32, 32)).parameters == stem + 49 * weights + norm


@pytest.mark.parametrize("layers", [*ALL, pytest.param([LayerChoice(5, stride=2, separable=True)] * 2, id="strides")])
def test_the_box_holds_the_pixels_that_reach_the_unit(layers):
    """Not a number in one row (then column) of pixels: does the unit become not a number?"""
    size = (40, 24)
    narrow = [replace(layer, maps=2) for layer in layers]
    network, analysis = chain(narrow).eval(), analyse(narrow, size)
    for axis, pixels in enumerate(size):
        images = torch.zeros(pixels, 3, *size)
        for pixel, image in enumerate(images):
            image.select(1 + axis, pixel).fill_(torch.nan)
        reached = network(images)[:, 0].isnan()
        for unit in analysis.units:
            left, top, right, bottom = analysis.field.box(unit)
            first, end = ((top, bottom), (left, right))[axis]
            reaching = reached[:, unit[0], unit[1]].nonzero().flatten().tolist()
            assert reaching == [pixel for pixel in range(pixels) if first <= pixel < end]


@pytest.mark.parametrize("layers", ALL)
def test_the_table_has_the_shape_that_each_layer_gives(layers):
    maps, shapes = torch.zeros(1, 3, 32, 48), []
    for block in chain(layers).eval():
        maps = block(maps)
        shapes.append("x".join(map(str, maps.shape[1:])))
    analysis = analyse(layers, (32, 48))
    assert [row[:2] for row in analysis.rows()] == [(str(index), shape) for index, shape in enumerate(shapes)]
    assert analysis.map_size == maps.shape[2:]
    assert analysis.rows()[-1][2:] == (str(analysis.field.size[0]), str(analysis.field.jump[0]))


def test_the_box_is_drawn_where_the_pixels_are():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    analysis = analyse([LayerChoice()], (32, 32))  # unit (16, 16) sees pixels 15 to 17, its neighbour 14 to 16
    drawn = picture(image, analysis)
    scale = CANVAS // (32 + 2 * 2)
    first = (CANVAS - 32 * scale) // 2
    top, bottom, dashed = first + 15 * scale, first + 18 * scale - 1, first + 14 * scale
    corners = [drawn.getpixel(corner) for corner in ((top, top), (bottom, top), (top, bottom), (bottom, bottom))]
    assert {"#{:02x}{:02x}{:02x}".format(*corner) for corner in corners} == {ORANGE}
    assert "#{:02x}{:02x}{:02x}".format(*drawn.getpixel((dashed, dashed))) == BLUE
    assert drawn.getpixel((top - 1, bottom)) == (255, 255, 255), "set off from the image"
    crossing = drawn.getpixel((first + 17 * scale - 2, top + 1))
    assert "#{:02x}{:02x}{:02x}".format(*crossing) == ORANGE, "the solid box is on top"
    line = {drawn.getpixel((dashed, y)) for y in range(dashed, dashed + 2 * scale)}
    assert len(line) == 2, "dashes and gaps: told apart in grey"
    assert drawn.getpixel((first + 20 * scale, first + 20 * scale)) == (0, 0, 0)
    assert len(drawn.crop((0, 0, first, first)).getcolors()) == 2, "padding is hatched"


def test_each_pixel_is_enlarged_to_a_square_of_its_own_colour(rng):
    image = torch.randint(0, 256, (3, 20, 10), generator=rng, dtype=torch.uint8)
    drawn, scale = picture(image), CANVAS // 24
    x, y = (CANVAS - 10 * scale) // 2, (CANVAS - 20 * scale) // 2
    for row, column in ((0, 0), (19, 9), (7, 3)):
        for inside in (0, scale - 1):
            place = (x + scale * column + inside, y + scale * row + inside)
            assert drawn.getpixel(place) == tuple(image[:, row, column].tolist())


def test_a_box_far_larger_than_the_image_still_leaves_the_image_to_see():
    image = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    analysis = analyse([LayerChoice(7, stride=2, dilation=8)] * 5, (32, 32))
    assert analysis.field.size == (1 + 48 * 31,) * 2
    assert analysis.units == [(0, 0)], "alone in its map: no neighbour"
    assert picture(image, analysis).getpixel((CANVAS // 2, CANVAS // 2)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(3, 3), (5, 32), (6, 7)])
def test_what_can_just_be_pooled_is_not_refused(size):
    layers = [LayerChoice(stride=2, pool=True)]
    assert analyse(layers, size).map_size == chain(layers)(torch.zeros(2, 3, *size)).shape[2:]


def test_the_chain_is_a_network_that_runs():
    network = chain(PRESETS["VGG-like with pooling"])
    assert isinstance(network, nn.Sequential)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 128, 4, 4)
