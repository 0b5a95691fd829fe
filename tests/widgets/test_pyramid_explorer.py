import io

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from eva.plotting import pyramid
from eva.plotting.pyramid import row_lengths, told
from eva.widgets import PyramidExplorer
from eva.widgets.pyramid_explorer import OWN, PRESETS


@pytest.fixture
def explorer() -> PyramidExplorer:
    return PyramidExplorer()


def pixels_of(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).convert("RGB").tobytes()


def saved(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def drawn(explorer, **looked_at) -> bytes:
    return pixels_of(saved(pyramid(explorer.layers, pixels=explorer.pixels, title="", **looked_at)))


def expect_shown(explorer, chosen):
    """All that is shown is of `chosen`: the controls, the words and the picture."""
    row, place = chosen
    looked_at = {"unit": chosen} if row else {"pixel": place}
    assert explorer.chosen == chosen
    assert (explorer.row.value, explorer.place.value) == chosen
    assert explorer.place.max == row_lengths(explorer.layers, explorer.pixels)[row] - 1
    assert explorer.place.description == ("unit" if row else "pixel")
    assert told(explorer.layers, looked_at.get("unit"), looked_at.get("pixel"), 28) in explorer.readout.value
    assert pixels_of(explorer.picture.value) == drawn(explorer, **looked_at)
    assert explorer.error.value == ""


def test_it_starts_with_the_unit_in_the_middle_on_top(explorer):
    expect_shown(explorer, (3, 10))


def test_the_slider_goes_from_unit_to_unit(explorer):
    explorer.place.value = 0
    expect_shown(explorer, (3, 0))
    explorer.place.value = 21
    expect_shown(explorer, (3, 21))


def test_the_list_goes_to_the_unit_below_and_on_to_the_pixel(explorer):
    explorer.row.value = 1
    expect_shown(explorer, (1, 12))
    explorer.row.value = 0
    expect_shown(explorer, (0, 13))
    explorer.place.value = 27
    expect_shown(explorer, (0, 27))
    explorer.row.value = 3
    expect_shown(explorer, (3, 21))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_every_control(explorer, name):
    explorer.row.value = 0
    explorer.preset.value = name
    assert explorer.layers == PRESETS[name]
    if name != "three 3x3":
        expect_shown(explorer, (len(PRESETS[name]), (row_lengths(PRESETS[name], 28)[-1] - 1) // 2))
    assert [number for _, number in explorer.row.options] == [3, 2, 1, 0]


def test_dilation_2_three_times_has_holes(explorer):
    explorer.choose("dilation 2 three times")
    assert "sees 13 pixels, 7 to 19, and reads only 7 of them" in explorer.readout.value


def test_a_chain_of_ones_own_and_back_to_a_preset():
    explorer = PyramidExplorer([(5, 1, 1), (3, 2, 1)])
    assert explorer.preset.value == OWN
    expect_shown(explorer, (2, 5))
    explorer.preset.value = "stride 2 twice"
    expect_shown(explorer, (3, 1))
    assert PyramidExplorer(PRESETS["dilations 1 2 4"]).preset.value == "dilations 1 2 4"


@pytest.mark.parametrize(("act", "words"), [
    (lambda e: e.choose("resnet<50>"), "no preset 'resnet<50>': choose one of 'three 3x3'"),
    (lambda e: e.select(4, 0), "no layer 4: this chain has layers 1 to 3"),
    (lambda e: e.select(3, 22), "no unit 22 in layer 3"),
    (lambda e: e.select(0, 28), "no pixel 28"),
])  # fmt: skip
def test_what_cannot_be_done_is_raised_and_shown(explorer, act, words):
    with pytest.raises(ValueError, match=words):
        act(explorer)
    assert "color" in explorer.error.value
    assert "<50>" not in explorer.error.value, "escaped"
    assert explorer.chosen == (3, 10), "nothing has changed"
    explorer.select(1, 0)
    expect_shown(explorer, (1, 0))


@pytest.mark.parametrize(("arguments", "words"), [
    ({"layers": "resnet"}, "no preset 'resnet'"), ({"layers": []}, "1 to 5 layers, got 0"),
    ({"pixels": 40}, "from 1 to 32, got 40"), ({"pixels": 5}, "layer 3 spans 3 units"),
])  # fmt: skip
def test_a_bad_chain_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        PyramidExplorer(**arguments)


def test_the_figure_is_the_picture_with_its_words(explorer):
    explorer.select(0, 5)
    figure = explorer.to_figure()
    assert figure.get_suptitle() == told(explorer.layers, None, 5, 28)
    assert pixels_of(saved(figure)) == pixels_of(saved(pyramid(explorer.layers, pixel=5)))
    assert plt.get_fignums() == []
