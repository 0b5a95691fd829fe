"""A learner at notebook 02's kernel explorer."""

import re
from functools import cache

import pytest
import torch.nn.functional as F

from eva.data import load
from eva.widgets.kernel import NAMES, OFFERED, Setting, kernel, nearest_unit, one_channel
from tests.browser.lab import ROOT, box, expect

START = {"preset": NAMES[0], "stride": 1, "dilation": 1, "padding": 0}
THEMES = ("JupyterLab Dark", "JupyterLab Light")
# Words and controls that are drawn beyond the right edge of the explorer, or that their box cuts off.
CUT_OFF = """explorer => {
    const {right} = explorer.getBoundingClientRect();
    return [...explorer.querySelectorAll('select, img, td, .widget-html-content, .widget-label, .widget-readout')]
        .filter(part => part.offsetParent
            && (part.getBoundingClientRect().right > right + 1 || part.scrollWidth > part.clientWidth + 1))
        .map(part => `${part.tagName} ${part.className}: ${part.innerText}`);
}"""


@pytest.fixture(scope="module")
def opened(lab):
    lab.open(ROOT / "notebooks" / "02_a_convolution_by_hand.ipynb")
    lab.run_all()
    return lab.widget(".eva-kernel-explorer")


@pytest.fixture
def explorer(opened):
    """The explorer with the setting that it starts with, its first unit looked at."""
    for name, value in START.items():
        choose(opened, name, value)
    expect_ends(opened, (30, 30))
    for name in ("row", "column"):
        handle(opened, name).press("Home")
    expect_unit(opened, (0, 0), START)
    return opened


@cache
def _grey():
    splits = load()  # where the tests run there is no data, and so Shapes-10 stands in, as in the notebook
    return one_channel(splits.train.images[(splits.train.indices - 516).abs().argmin()])


def truth(setting):
    """The whole map, by PyTorch."""
    rest = {name: setting[name] for name in OFFERED}
    return F.conv2d(_grey()[None, None], kernel(setting["preset"]).weights[None, None], None, **rest)[0, 0]


def choose(explorer, name, value):
    explorer.locator(f".eva-{name} select").select_option(str(value))


def handle(explorer, name):
    return explorer.locator(f".eva-{name} .noUi-handle")


def expect_unit(explorer, unit, setting):
    """Wait until the table, the sliders and the legend are those of this unit."""
    values = truth(setting)
    products = explorer.locator(".eva-products")
    expect(products).to_contain_text(f"unit {unit} of the map")
    total = f"{round(values[unit].item(), 2) + 0.0:,.8g}".replace("-", "−")
    expect(products.locator("b")).to_have_text(total)
    for name, place in zip(("row", "column"), unit, strict=True):
        expect(handle(explorer, name)).to_have_attribute("aria-valuenow", f"{place}.0")
    expect_ends(explorer, values.shape)
    expect(explorer.locator(".eva-error")).to_have_text("")


def expect_ends(explorer, size):
    """Wait until the sliders and the legend are those of a map of this size."""
    expect(explorer.locator(".eva-legend")).to_contain_text("Map, {} × {}:".format(*size))
    for name, count in zip(("row", "column"), size, strict=True):
        expect(handle(explorer, name)).to_have_attribute("aria-valuemax", f"{count - 1}.0")


def sources(explorer):
    return [explorer.locator(f".eva-{name}").get_attribute("src") for name in ("picture", "map")]


def expect_pictures(explorer):
    """Wait until both pictures are such as the browser could decode, and are drawn pixel for pixel."""
    for name in ("picture", "map"):
        picture = explorer.locator(f".eva-{name}")
        expect(picture).to_have_js_property("complete", True)
        expect(picture).to_have_js_property("naturalWidth", 272)
        assert box(picture)["width"] == pytest.approx(272, abs=1)
        assert box(picture)["height"] == pytest.approx(272, abs=1)


def test_every_control_is_drawn_and_nothing_is_cut_off(explorer, lab):
    for name in ("picture", "map", "products", "words", "legend"):
        box(explorer.locator(f".eva-{name}"))
    for name, offered in (("preset", NAMES), *OFFERED.items()):
        box(explorer.locator(f".eva-{name} select"))
        expect(explorer.locator(f".eva-{name} option")).to_have_text([*map(str, offered)])
    for name in ("row", "column"):
        box(handle(explorer, name))
        box(explorer.locator(f".eva-{name} .widget-readout"))
    expect(explorer.locator(".eva-products td")).to_have_count(9)
    for cell in explorer.locator(".eva-products td").all():
        box(cell)
    expect_pictures(explorer)
    tops = {round(box(explorer.locator(f".eva-{name}"))["y"]) for name in ("picture", "products", "map")}
    assert len(tops) == 1, "side by side"
    assert explorer.evaluate(CUT_OFF) == []


def test_a_slider_moves_by_the_keyboard_and_takes_table_and_pictures_along(explorer, lab):
    before = sources(explorer)
    for column in (1, 2):
        handle(explorer, "column").press("ArrowRight")
        expect_unit(explorer, (0, column), START)
    handle(explorer, "row").press("End")
    expect_unit(explorer, (29, 2), START)
    after = sources(explorer)
    assert before[0] != after[0]
    assert before[1] != after[1]
    expect_pictures(explorer)


def test_a_slider_is_dragged(explorer):
    for name in ("row", "column"):
        start, track = box(handle(explorer, name)), explorer.locator(f".eva-{name} .noUi-target").bounding_box()
        mouse = explorer.page.mouse
        mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
        mouse.down()
        mouse.move(track["x"] + track["width"] / 2, start["y"] + start["height"] / 2, steps=12)
        mouse.up()
    expect(explorer.locator(".eva-products")).to_have_text(re.compile(r"unit \(1[45], 1[45]\) of the map"))
    row, column = (int(handle(explorer, name).get_attribute("aria-valuenow")[:2]) for name in ("row", "column"))
    expect_unit(explorer, (row, column), START)


@pytest.mark.parametrize("preset", NAMES)
def test_a_preset_shows_its_words_products_and_map(explorer, lab, preset):
    handle(explorer, "row").press("PageUp")  # a tenth of the way
    expect(handle(explorer, "row")).not_to_have_attribute("aria-valuenow", "0.0")
    row = int(float(handle(explorer, "row").get_attribute("aria-valuenow")))
    expect_unit(explorer, (row, 0), START)
    before = sources(explorer)
    choose(explorer, "preset", preset)
    expect(explorer.locator(".eva-words")).to_have_text(kernel(preset).words)
    expect_unit(explorer, (row, 0), START | {"preset": preset})
    assert sources(explorer)[0] == before[0], "it reads the same pixels"
    if preset != START["preset"]:
        assert sources(explorer)[1] != before[1]


@pytest.mark.parametrize(("changes", "shape"), [
    ({"padding": 3}, (36, 36)), ({"stride": 2}, (15, 15)), ({"dilation": 3}, (26, 26)),
    ({"padding": 2, "stride": 2, "dilation": 2}, (16, 16)),
])  # fmt: skip
def test_lists_change_the_size_of_the_map_and_sliders_keep_in_range(explorer, lab, changes, shape):
    for name in ("row", "column"):
        handle(explorer, name).press("End")
    expect_unit(explorer, (29, 29), START)
    for name, value in changes.items():
        choose(explorer, name, value)
    setting = START | changes
    assert truth(setting).shape == shape
    expect_unit(explorer, nearest_unit((30, 30), Setting(**{name: setting[name] for name in OFFERED}), shape), setting)
    expect_pictures(explorer)
    lab.screenshot(f"kernel explorer {changes}")


@pytest.mark.parametrize("theme", THEMES)
def test_it_can_be_read_in_a_light_and_in_a_dark_page(explorer, lab, theme):
    lab.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    light = theme == "JupyterLab Light"
    expect(lab.page.locator("body")).to_have_attribute("data-jp-theme-light", str(light).lower())
    lab.widget(".eva-kernel-explorer")
    setting = START | {"preset": "emboss", "padding": 1}
    choose(explorer, "preset", setting["preset"])
    choose(explorer, "padding", setting["padding"])
    expect_ends(explorer, (32, 32))
    for name in ("row", "column"):
        handle(explorer, name).press("ArrowRight")  # from wherever it is
        expect(handle(explorer, name)).not_to_have_attribute("aria-valuenow", "0.0")
        handle(explorer, name).press("Home")
    expect_unit(explorer, (0, 0), setting)
    expect_pictures(explorer)
    lab.screenshot(f"kernel explorer {theme}")
    brightness = "part => getComputedStyle(part).color.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3"
    words = explorer.locator(".eva-words .widget-html-content").evaluate(brightness)
    assert (words < 100) if light else (words > 150)
