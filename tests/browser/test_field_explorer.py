"""A learner at notebook 05's receptive-field explorer."""

import re
from dataclasses import replace

import pytest

from eva.widgets.chain import CANVAS, PRESETS, LayerChoice, analyse
from tests.browser.lab import ROOT, box, expect

CONTROLS = ("kernel", "stride", "dilation", "pool", "separable", "maps", "remove")
START = "three 3x3"


@pytest.fixture(scope="module")
def opened(lab):
    lab.open(ROOT / "notebooks" / "05_receptive_field.ipynb")
    lab.run_all()
    return lab.widget(".eva-receptive-field-explorer")


@pytest.fixture
def explorer(opened):
    """The explorer with the chain that it starts with."""
    choose(opened, START)
    return opened


def choose(explorer, preset):
    explorer.locator(".eva-preset select").select_option(preset)
    expect_chain(explorer, PRESETS[preset])


def control(explorer, name, layer):
    """What a learner clicks or types into, in the row of a layer."""
    inner = {"dilation": ".noUi-handle", "maps": "input", "remove": ""}.get(name, "select")
    return explorer.locator(f".eva-{name} {inner}").nth(layer)


def expect_chain(explorer, layers):
    """Wait until the readout and the rows of controls are those of `layers`."""
    analysis = analyse(layers, (32, 32))
    readout = explorer.locator(".eva-readout")
    expect(readout).to_contain_text("receptive field {} x {} pixels".format(*analysis.field.size))
    expect(readout).to_contain_text(f"jump {analysis.field.jump[0]}")
    expect(readout).to_contain_text(f"{analysis.parameters:,} parameters; {analysis.macs:,} MACs")
    expect(explorer.locator(".eva-remove")).to_have_count(len(layers))
    expect(explorer.locator(".eva-error")).to_have_text("")


def expect_picture(explorer):
    """Wait until the picture is one that the browser could decode, as large as it was made."""
    expect(explorer.locator(".eva-picture")).to_have_js_property("naturalWidth", CANVAS)
    expect(explorer.locator(".eva-picture")).to_have_js_property("complete", True)


def test_every_control_is_drawn_under_its_head(explorer, lab):
    for name in ("preset", "picture", "readout", "add"):
        box(explorer.locator(f".eva-{name}"))
    expect_picture(explorer)
    heads = ("kernel", "stride", "dilation", "pooling", "convolution", "maps")
    for name, head in zip(CONTROLS, heads, strict=False):
        left = box(explorer.get_by_text(head, exact=True))["x"]
        for layer in range(len(PRESETS[START])):
            place = box(explorer.locator(f".eva-{name}").nth(layer))
            assert abs(place["x"] - left) < 6, f"{name} of layer {layer} is not under its head"
    for layer in range(len(PRESETS[START])):
        box(control(explorer, "remove", layer))
        box(control(explorer, "dilation", layer))
    lab.screenshot("field explorer as it starts")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_shows_the_field_that_it_has(explorer, lab, preset):
    before = explorer.locator(".eva-picture").get_attribute("src")
    choose(explorer, preset)
    for layer, choice in enumerate(PRESETS[preset]):
        expect(control(explorer, "kernel", layer)).to_have_value(str(choice.kernel))
        expect(control(explorer, "dilation", layer)).to_have_attribute("aria-valuenow", f"{choice.dilation}.0")
        expect(control(explorer, "maps", layer)).to_have_value(str(choice.maps))
    if preset not in (START, "one 7x7"):  # these two see the same
        assert explorer.locator(".eva-picture").get_attribute("src") != before
    expect_picture(explorer)
    lab.screenshot(f"field explorer {preset}")


def test_a_slider_moves_by_the_keyboard_and_takes_the_field_along(explorer):
    for dilation in (2, 3):
        control(explorer, "dilation", 1).press("ArrowRight")
        layers = [replace(layer, dilation=dilation) if i == 1 else layer for i, layer in enumerate(PRESETS[START])]
        expect_chain(explorer, layers)
    expect(explorer.locator(".eva-preset select")).to_have_value("your own")


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("kernel", 7, "7"), ("stride", 2, "2"), ("pool", True, "2x2"), ("separable", True, "separable"),
])  # fmt: skip
def test_a_list_changes_its_layer(explorer, name, value, shown):
    control(explorer, name, 2).select_option(shown)
    expect_chain(explorer, [*PRESETS[START][:2], LayerChoice(**{name: value}), LayerChoice()])
    expect(control(explorer, name, 1)).not_to_have_value(shown)


def test_maps_are_typed(explorer):
    control(explorer, "maps", 3).fill("48")
    control(explorer, "maps", 3).press("Enter")
    expect_chain(explorer, [*PRESETS[START][:3], LayerChoice(maps=48)])


def test_layers_come_and_go_by_their_buttons(explorer, lab):
    explorer.locator(".eva-add").click()
    explorer.locator(".eva-add").click()
    expect_chain(explorer, [*PRESETS[START], LayerChoice(), LayerChoice()])
    box(control(explorer, "maps", 5))
    control(explorer, "kernel", 5).select_option("5")
    expect_chain(explorer, [*PRESETS[START], LayerChoice(), LayerChoice(5)])
    lab.screenshot("field explorer two layers more")
    for _ in range(5):
        control(explorer, "remove", 0).click()
    expect_chain(explorer, [LayerChoice(5)])
    expect(control(explorer, "kernel", 0)).to_have_value("5")
    control(explorer, "remove", 0).click()
    expect(explorer.locator(".eva-error")).to_contain_text("the only layer of a chain cannot be removed")


def test_a_chain_that_shrinks_to_nothing_says_so_in_red_and_can_be_mended(explorer, lab):
    choose(explorer, "VGG-like with pooling")
    for layer in (0, 2, 4):
        control(explorer, "stride", layer).select_option("2")
    message = explorer.locator(".eva-error").get_by_text("layer 5 cannot pool 2x2")
    box(message)
    red, green, blue = map(int, re.findall(r"\d+", message.evaluate("line => getComputedStyle(line).color"))[:3])
    assert red > 2 * max(green, blue), "red"
    expect(explorer.locator(".eva-readout")).to_have_text("")
    expect_picture(explorer)
    lab.screenshot("field explorer shrunk to nothing")
    control(explorer, "stride", 4).select_option("1")
    strides = [
        replace(layer, stride=2 if i in (0, 2) else 1) for i, layer in enumerate(PRESETS["VGG-like with pooling"])
    ]
    expect_chain(explorer, strides)
