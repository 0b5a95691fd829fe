"""A pyramid's numbers against torch: the gradient of convolutions with weights of 1 counts paths."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.collections import LineCollection
from torch import nn

from eva.plotting import pyramid
from eva.plotting.pyramid import field_of, middle_unit, paths_down, paths_up, places, row_lengths, told
from eva.receptive_field import receptive_field

PIXELS = 32


def random_chain(seed):
    """One to five random layers that fit, and the generator that drew them."""
    rng = torch.Generator().manual_seed(seed)

    def draw(high):
        return int(torch.randint(1, high + 1, (), generator=rng))

    while True:
        chain = [(draw(5), draw(2), draw(3)) for _ in range(draw(5))]
        try:
            row_lengths(chain, PIXELS)
        except ValueError:
            continue
        return chain, draw


def rows_of_torch(chain, pixels=PIXELS):
    """Each row of units, computed by 1-D convolutions with all weights 1; the row below is all that each depends on."""
    rows = [torch.ones(1, 1, pixels, dtype=torch.float64, requires_grad=True)]
    for kernel, stride, dilation in chain:
        ones = torch.ones(1, 1, kernel, dtype=torch.float64)
        rows.append(nn.functional.conv1d(rows[-1], ones, stride=stride, dilation=dilation))
    return rows


def network(chain):
    return nn.Sequential(*(nn.Conv2d(1, 1, (1, k), stride=(1, s), dilation=(1, d), bias=False) for k, s, d in chain))


@pytest.mark.parametrize("seed", range(25))
def test_the_rows_are_as_long_as_torch_s(seed):
    chain, _ = random_chain(seed)
    assert row_lengths(chain, PIXELS) == [row.shape[-1] for row in rows_of_torch(chain)]


@pytest.mark.parametrize("seed", range(25))
def test_paths_down_are_the_gradient_of_the_unit(seed):
    chain, draw = random_chain(seed)
    rows = rows_of_torch(chain)
    layer = draw(len(chain))
    place = draw(rows[layer].shape[-1]) - 1
    gradients = torch.autograd.grad(rows[layer][0, 0, place], rows[: layer + 1])
    assert paths_down(chain, (layer, place), PIXELS) == [gradient[0, 0].long().tolist() for gradient in gradients]


@pytest.mark.parametrize("seed", range(25))
def test_paths_up_are_the_gradients_at_the_pixel(seed):
    chain, draw = random_chain(seed)
    rows, pixel = rows_of_torch(chain), draw(PIXELS) - 1
    expected = [
        [int(torch.autograd.grad(unit, rows[0], retain_graph=True)[0][0, 0, pixel]) for unit in row[0, 0]]
        for row in rows
    ]
    assert paths_up(chain, pixel, PIXELS) == expected


@pytest.mark.parametrize("seed", range(25))
def test_the_field_is_that_of_the_calculator(seed):
    chain, draw = random_chain(seed)
    place = draw(row_lengths(chain, PIXELS)[-1]) - 1
    first, last = field_of(paths_down(chain, (len(chain), place), PIXELS))
    if any(kernel > 1 for kernel, _, _ in chain):
        left, _, right, _ = receptive_field(network(chain), (1, 1, PIXELS)).box((0, place))
        assert (first, last + 1) == (left, right)
    else:
        assert first == last
    assert places(chain, PIXELS)[-1][place] == (first + last) / 2, "a unit stands over the middle of what it sees"


@pytest.mark.parametrize("chain", [random_chain(seed)[0] for seed in range(5)])
def test_a_link_for_each_weight_and_a_dark_one_on_each_path(chain):
    rows, unit = rows_of_torch(chain), middle_unit(chain, PIXELS)
    figure = pyramid(chain, pixels=PIXELS)
    light, dark = (len(each.get_segments()) for each in figure.axes[0].collections if isinstance(each, LineCollection))
    assert light + dark == sum(kernel * row.shape[-1] for (kernel, _, _), row in zip(chain, rows[1:], strict=True))
    lit = torch.autograd.grad(rows[-1][0, 0, unit[1]], rows)
    assert dark == sum(kernel * int((row > 0).sum()) for (kernel, _, _), row in zip(chain, lit[1:], strict=True))


def written(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_pixels_carry_the_number_of_paths():
    three = [(3, 1, 1)] * 3
    assert written(pyramid(three)) == ["1", "3", "6", "7", "6", "3", "1"]
    assert written(pyramid(three, unit=(1, 4))) == ["1"] * 3
    assert written(pyramid(three, pixel=0)) == ["1"] * 3, "of the units in the corner, one in each row"
    assert written(pyramid(three, pixel=14)) == ["1"] * 3 + ["1", "2", "3", "2", "1"] + [
        "1",
        "3",
        "6",
        "7",
        "6",
        "3",
        "1",
    ]


def test_the_title_says_what_is_seen_unless_there_is_one():
    holes = [(3, 1, 2)] * 3
    words = "unit 7 of layer 3 sees 13 pixels, 7 to 19, and reads only 7 of them, by 27 paths"
    assert pyramid(holes).get_suptitle() == words == told(holes, None, None, 28)
    assert "sees 3 pixels, 0 to 2, and reads each of them" in pyramid([(3, 1, 1)], unit=(1, 0)).get_suptitle()
    assert pyramid(holes, pixel=0).get_suptitle().endswith("1 of layer 1, 1 of layer 2, 1 of layer 3")
    assert pyramid(holes, title="Holes").get_suptitle() == "Holes"


def test_size_and_jump_of_each_row_are_the_calculator_s():
    chain = [(3, 1, 1), (2, 2, 1), (3, 1, 2)]
    figure = pyramid(chain)
    image, *labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    rows = receptive_field(network(chain), (1, 1, 28)).layers
    assert image == "the image"
    for label, layer in zip(labels, rows, strict=True):
        assert label.endswith(f"size {layer.size[1]}, jump {layer.jump[1]}")
    assert "kernel 2, stride 2\n" in labels[1]
    assert "kernel 3, dilation 2\n" in labels[2]


def test_it_is_700_pixels_wide_and_let_go():
    for chain in ([(1, 1, 1)], [(5, 1, 1)] * 5):
        assert pyramid(chain, pixels=PIXELS).get_size_inches()[0] * 100 == 700
    assert plt.get_fignums() == []


def test_what_is_lit_differs_in_grey_from_what_is_not():
    figure = pyramid([(3, 1, 1)])
    image = next(each for each in figure.axes[0].collections if not isinstance(each, LineCollection))
    shades = image.get_facecolors()[:, :3] @ torch.tensor([0.3, 0.59, 0.11], dtype=torch.float64).numpy()
    lit = [place for place, shade in enumerate(shades) if shade < 0.5]
    assert lit == [12, 13, 14]
    assert all(shade == pytest.approx(1) for place, shade in enumerate(shades) if place not in lit)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"layers": []}, "1 to 5 layers, got 0"),
    ({"layers": [(3, 1, 1)] * 6}, "1 to 5 layers, got 6"),
    ({"layers": [(3, 1)]}, r"layer 1 must be \(kernel, stride, dilation\).*got \(3, 1\)"),
    ({"layers": [(3, 1, 1), (3, 0, 1)]}, r"layer 2 must be .*got \(3, 0, 1\)"),
    ({"layers": [(3.0, 1, 1)]}, "layer 1 must be"),
    ({"layers": [3, 1, 1]}, "layer 1 must be .*got 3"),
    ({"pixels": 33}, "from 1 to 32, got 33"),
    ({"pixels": 0}, "from 1 to 32, got 0"),
    ({"pixels": 6}, "layer 3 spans 3 units, and the row below has 2: take more pixels"),
    ({"unit": (4, 0)}, "no layer 4: this chain has layers 1 to 3"),
    ({"unit": (0, 3)}, "no layer 0"),
    ({"unit": (3, 22)}, "no unit 22 in layer 3: choose one from 0 to 21"),
    ({"unit": (1, -1)}, "no unit -1 in layer 1"),
    ({"pixel": 28}, "no pixel 28: choose one from 0 to 27"),
    ({"pixel": 1.5}, "no pixel 1.5"),
    ({"pixel": 3, "unit": (1, 1)}, r"got both: unit \(1, 1\) and pixel 3; leave one out"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        pyramid(**{"layers": [(3, 1, 1)] * 3, **arguments})
