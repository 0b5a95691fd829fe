import io
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from eva.widgets.kernel import NAMES, OFFERED, Setting, image_picture, kernel, map_picture, one_channel
from eva.widgets.kernel_explorer import KernelExplorer


@pytest.fixture
def image(rng):
    return torch.randint(0, 256, (3, 12, 10), generator=rng, dtype=torch.uint8)


@pytest.fixture
def explorer(image):
    return KernelExplorer(image)


def control(explorer, name):
    """The widget that a learner would move: found by its class, as a browser would find it."""
    (widget,) = [
        child
        for row in explorer.children
        for child in getattr(row, "children", ())
        if f"eva-{name}" in child._dom_classes
    ]
    return widget


def shown_numbers(explorer):
    """Nine (pixel, weight, product), and the sum, as they are written."""
    cells = re.findall(r"<td[^>]*>(.*?)<br>× (.*?)<br>= (.*?)</td>", explorer.table.value)
    total = re.search(r"sum <b>(.*?)</b>", explorer.table.value)[1]
    return [tuple(map(number, cell)) for cell in cells], number(total)


def number(text):
    return 1 / 9 if text == "1/9" else float(text.replace("−", "-").replace(",", ""))


def drawn(widget):
    picture = Image.open(io.BytesIO(widget.value))
    return picture.size, picture.tobytes()


def same(picture):
    return picture.size, picture.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_products_and_their_sum_are_written(explorer, image, name):
    control(explorer, "preset").value = name
    values = F.conv2d(one_channel(image)[None, None], kernel(name).weights[None, None])[0, 0]
    for unit in ((0, 0), (3, 5), (9, 7)):
        explorer.move(*unit)
        cells, total = shown_numbers(explorer)
        assert total == pytest.approx(values[unit].item(), abs=0.006)
        window = one_channel(image)[unit[0] : unit[0] + 3, unit[1] : unit[1] + 3].flatten().tolist()
        assert [pixel for pixel, _, _ in cells] == window
        for pixel, weight, product_ in cells:
            assert product_ == pytest.approx(pixel * weight, abs=0.006)
        assert f"unit {unit}" in explorer.table.value
        assert explorer.words.value.count(kernel(name).words) == 1


def test_sliders_move_the_unit_and_take_picture_table_and_map_along(explorer, image):
    before = explorer.picture.value, explorer.map.value, explorer.table.value
    control(explorer, "row").value = 2
    control(explorer, "column").value = 7
    assert explorer.unit == (2, 7)
    assert explorer.picture.value != before[0]
    assert explorer.map.value != before[1]
    assert explorer.table.value != before[2]
    grey = one_channel(image)
    assert drawn(explorer.picture) == same(image_picture(grey, Setting(), (2, 7)))
    assert drawn(explorer.map) == same(map_picture(grey, Setting(), explorer.feature_map(), (2, 7)))


@pytest.mark.parametrize("settings", [[{"stride": 2}, {"stride": 1}], [{"dilation": 3}, {"padding": 3, "dilation": 1}],
                                      [{"padding": 2}, {"stride": 2}, {"dilation": 2}]])  # fmt: skip
@pytest.mark.parametrize("unit", [(0, 0), (9, 7), (4, 5)])
def test_sliders_keep_in_range(explorer, image, settings, unit):
    explorer.move(*unit)
    for changes in settings:
        for name, value in changes.items():
            control(explorer, name).value = value
        weights = torch.ones(1, 1, 3, 3)
        size = F.conv2d(image[None, :1].float(), weights, None, **vars(explorer.setting)).shape[-2:]
        for name, count, place in zip(("row", "column"), size, explorer.unit, strict=True):
            slider = control(explorer, name)
            assert (slider.min, slider.max, slider.value) == (0, count - 1, place)
    assert explorer.error.value == ""


def test_the_kernel_stays_where_it_is_in_the_image_and_comes_back(explorer):
    explorer.move(5, 6)  # its middle on pixel (6, 7)
    explorer.set(padding=1)
    assert explorer.unit == (6, 7)
    explorer.set(stride=2)
    assert explorer.unit == (3, 4), "the nearest one, on (6, 8)"
    explorer.set(stride=1, padding=0, dilation=3)
    assert explorer.unit == (3, 3), "as far right as it goes: there are 4 columns"
    explorer.set(dilation=1)
    assert explorer.unit == (5, 6)


def test_every_setting_is_shown_by_its_controls(explorer):
    for values in product(*OFFERED.values()):
        changes = dict(zip(OFFERED, values, strict=True))
        explorer.set(**changes)
        assert explorer.setting == Setting(**changes)
        assert {name: control(explorer, name).value for name in OFFERED} == changes


def test_padding_is_told_from_pixels_in_the_table(explorer):
    explorer.set(padding=1)
    explorer.move(0, 0)
    assert explorer.table.value.count("repeating-linear-gradient") == 5, "of the nine in a corner"
    explorer.move(5, 5)
    assert "repeating-linear-gradient" not in explorer.table.value


def test_the_legend_says_what_the_greys_mean(explorer):
    assert f"mid-grey is 0, white {explorer.feature_map().abs().max():,.0f}, black −" in explorer.legend.value
    assert "Map, 10 × 8" in explorer.legend.value
    explorer.show(torch.full((3, 12, 10), 7, dtype=torch.uint8))
    assert "mid-grey is 0, there is nothing else" in explorer.legend.value


def test_a_kernel_that_does_not_fit_says_so_and_can_be_mended(explorer):
    explorer.show(torch.zeros(3, 5, 5, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"dilation 3 spans 7 x 7 pixels, and the image .* has 5 x 5"):
        control(explorer, "dilation").value = 3
    assert "spans 7 x 7 pixels" in explorer.error.value
    assert "color" in explorer.error.value
    assert (explorer.table.value, explorer.legend.value) == ("", ""), "no numbers of the setting before"
    assert Image.open(io.BytesIO(explorer.map.value)).getbbox() is None
    with pytest.raises(ValueError, match="spans 7 x 7"):
        explorer.choose("blur")
    assert explorer.error.value != "", "it still does not fit"
    control(explorer, "padding").value = 1
    assert explorer.error.value == ""
    assert explorer.unit == (0, 0)
    assert shown_numbers(explorer)[1] == 0


@pytest.mark.parametrize(("act", "words"), [
    (lambda e: e.choose("sobel<3>"), "no preset 'sobel<3>': choose one of 'vertical edges'"),
    (lambda e: e.set(stride=3), "stride must be one of 1, 2, got 3"),
    (lambda e: e.set(dilation=0), "dilation must be one of 1, 2, 3, got 0"),
    (lambda e: e.move(10, 0), "no unit in row 10, column 0: this map has rows 0 to 9 and columns 0 to 7"),
    (lambda e: e.move(0, -1), "no unit in row 0, column -1"),
    (lambda e: e.show(torch.zeros(3, 32, 32)), "got torch.float32: take the image before it is normalised"),
    (lambda e: e.show(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)), r"of a batch take images\[0\]"),
])  # fmt: skip
def test_what_cannot_be_done_is_raised_and_shown_and_changes_nothing(explorer, act, words):
    before = explorer.table.value, explorer.picture.value, explorer.map.value
    with pytest.raises(ValueError, match=words):
        act(explorer)
    assert "color" in explorer.error.value
    assert "<3>" not in explorer.error.value, "escaped"
    assert (explorer.table.value, explorer.picture.value, explorer.map.value) == before
    explorer.choose("blur")
    assert explorer.error.value == ""


@pytest.mark.parametrize(("arguments", "words"), [
    ((torch.zeros(3, 32, 32),), "must be a uint8 tensor"), ((None, "sobel"), "no preset 'sobel'"),
])  # fmt: skip
def test_it_is_not_made_of_what_it_cannot_show(arguments, words):
    with pytest.raises(ValueError, match=words):
        KernelExplorer(*arguments)


def test_handlers_in_several_threads_leave_controls_and_state_alike(explorer):
    """As JupyterLab has them: a control's first message in the main thread, later ones beside it."""
    failures = []

    def move(name, values):
        try:
            for value in values:
                control(explorer, name).value = value
        except Exception as error:
            failures.append(error)

    jobs = [("row", range(7)), ("column", range(5)), ("preset", NAMES), ("padding", (1, 2, 1, 2))]
    with ThreadPoolExecutor(len(jobs)) as pool:
        [*pool.map(move, *zip(*jobs, strict=True))]
    assert failures == []
    assert (explorer.preset, explorer.setting) == (NAMES[-1], Setting(padding=2))
    assert (control(explorer, "row").value, control(explorer, "column").value) == explorer.unit
    assert control(explorer, "preset").value == NAMES[-1]


def test_the_figure_shows_the_same_pictures_and_numbers(explorer, image):
    explorer.set(padding=1)
    explorer.move(0, 3)
    figure = explorer.to_figure()
    left, middle, right = figure.axes
    grey = one_channel(image)
    assert left.images[0].get_array().tobytes() == image_picture(grey, explorer.setting, (0, 3)).tobytes()
    values = explorer.feature_map()
    assert right.images[0].get_array().tobytes() == map_picture(grey, explorer.setting, values, (0, 3)).tobytes()
    assert [text.get_text().replace("\n", "<br>") for text in middle.texts] == re.findall(
        r"<td[^>]*>(.*?)</td>", explorer.table.value
    )
    assert "vertical edges; stride 1, dilation 1, padding 1" in figure.get_suptitle()
    assert figure.get_size_inches()[0] * 80 <= 700
    assert plt.get_fignums() == []
