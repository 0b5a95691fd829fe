"""A learner at notebook 05's pyramid explorer."""

import pytest

from eva.plotting.pyramid import middle_unit, row_lengths, told
from eva.widgets.pyramid_explorer import PRESETS, WIDTH
from tests.browser.lab import ROOT, box, expect

PIXELS = 28
START = "three 3x3"


@pytest.fixture(scope="module")
def opened(lab):
    lab.open(ROOT / "notebooks" / "05_receptive_field.ipynb")
    lab.run_all()
    return lab.widget(".eva-pyramid-explorer")


@pytest.fixture
def explorer(opened):
    """The explorer as it starts: another preset first, so that it is chosen anew."""
    for preset in ("stride 2 twice", START):
        choose(opened, preset)
    return opened


def choose(explorer, preset):
    explorer.locator(".eva-preset select").select_option(preset)
    expect_shown(explorer, preset, middle_unit(PRESETS[preset], PIXELS))


def expect_shown(explorer, preset, chosen):
    """Wait until words, controls and picture are of this unit, or of this pixel: (row, place)."""
    layers, (row, place) = PRESETS[preset], chosen
    words = told(layers, chosen if row else None, None if row else place, PIXELS)
    expect(explorer.locator(".eva-readout")).to_have_text(words)
    expect(explorer.locator(".eva-row option:checked")).to_have_text(f"layer {row}" if row else "the image")
    handle = explorer.locator(".eva-place .noUi-handle")
    expect(handle).to_have_attribute("aria-valuenow", f"{place}.0")
    expect(handle).to_have_attribute("aria-valuemax", f"{row_lengths(layers, PIXELS)[row] - 1}.0")
    expect(explorer.locator(".eva-place .widget-label")).to_have_text("unit" if row else "pixel")
    expect(explorer.locator(".eva-error")).to_have_text("")
    expect(explorer.locator(".eva-picture")).to_have_js_property("naturalWidth", WIDTH)
    expect(explorer.locator(".eva-picture")).to_have_js_property("complete", True)


def picture(explorer):
    return explorer.locator(".eva-picture").get_attribute("src")


def test_every_control_is_seen_beside_the_others_and_above_the_picture(explorer, lab):
    tops = [box(explorer.locator(f".eva-{name}"))["y"] for name in ("preset", "row", "place")]
    assert max(tops) - min(tops) < 6, "in one line"
    assert box(explorer.locator(".eva-picture"))["y"] > box(explorer.locator(".eva-readout"))["y"] > max(tops)
    lab.screenshot("pyramid explorer as it starts")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_shows_what_its_unit_on_top_reads(explorer, lab, preset):
    before = picture(explorer)
    choose(explorer, preset)
    if preset != START:
        expect(explorer.locator(".eva-picture")).not_to_have_attribute("src", before)
    lab.screenshot(f"pyramid explorer {preset}")


def test_from_a_unit_down_to_a_pixel_and_along_by_the_keyboard(explorer, lab):
    explorer.locator(".eva-row select").select_option("layer 2")
    expect_shown(explorer, START, (2, 11))
    explorer.locator(".eva-row select").select_option("the image")
    expect_shown(explorer, START, (0, 13))
    before = picture(explorer)
    for place in (14, 15):
        explorer.locator(".eva-place .noUi-handle").press("ArrowRight")
        expect_shown(explorer, START, (0, place))
    expect(explorer.locator(".eva-picture")).not_to_have_attribute("src", before)
    lab.screenshot("pyramid explorer who sees a pixel")


def test_the_slider_goes_to_both_ends(explorer):
    handle = explorer.locator(".eva-place .noUi-handle")
    handle.press("Home")
    expect_shown(explorer, START, (3, 0))
    handle.press("End")
    expect_shown(explorer, START, (3, 21))


def test_a_shorter_row_takes_the_slider_along(explorer):
    explorer.locator(".eva-row select").select_option("the image")
    expect_shown(explorer, START, (0, 13))
    rail = explorer.locator(".eva-place .noUi-target")  # the key End would go to where a shorter row ended: noUiSlider
    rail.click(position={"x": rail.bounding_box()["width"] - 1, "y": 2})
    expect_shown(explorer, START, (0, 27))
    explorer.locator(".eva-row select").select_option("layer 3")
    expect_shown(explorer, START, (3, 21))
