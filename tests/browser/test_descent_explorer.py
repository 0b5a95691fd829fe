"""A learner at notebook 03's descent explorer."""

import re

import pytest

from tests.browser.lab import ROOT, box, expect


@pytest.fixture(scope="module")
def opened(lab):
    lab.open(ROOT / "notebooks" / "03_what_learning_is.ipynb")
    lab.run_all()
    return lab.widget(".eva-descent-explorer")


@pytest.fixture
def explorer(opened):
    """The explorer at the start of one weight, at the rate where its slider stands first."""
    choose(opened, "one weight")
    turn(opened, "ArrowRight", to="0.100", most=40)
    press(opened, "restart")
    expect_steps(opened, 0)
    return opened


def choose(explorer, name):
    explorer.locator(".eva-choice select").select_option(name)


def press(explorer, name):
    explorer.locator(f".eva-{name}").click()


def turn(explorer, key, to, most):
    """Press a key on the slider of the learning rate until it reads `to`, from its left end if it is to go up."""
    handle, readout = explorer.locator(".eva-rate .noUi-handle"), explorer.locator(".eva-rate .widget-readout")
    if key == "ArrowRight":
        handle.press("Home")
    for _ in range(most):
        if readout.inner_text() == to:
            break
        handle.press(key)
    expect(readout).to_have_text(to)


def expect_steps(explorer, count):
    expect(explorer.locator(".eva-readout td b").first).to_have_text(str(count))
    expect(explorer.locator(".eva-picture")).to_have_js_property("naturalWidth", 400)


def test_every_control_is_drawn(explorer, lab):
    for name in ("picture", "choice", "rate", "step", "ten", "restart", "readout"):
        box(explorer.locator(f".eva-{name}"))
    expect(explorer.locator(".eva-error")).to_have_text("")
    lab.screenshot("descent explorer as it starts")


def test_steps_go_down_the_curve(explorer, lab):
    before = explorer.locator(".eva-picture").get_attribute("src")
    press(explorer, "step")
    expect_steps(explorer, 1)
    expect(explorer.locator(".eva-readout")).to_contain_text("The loss fell.")
    assert explorer.locator(".eva-picture").get_attribute("src") != before
    press(explorer, "ten")
    expect_steps(explorer, 11)
    lab.screenshot("descent explorer eleven steps")


def test_half_arrives_in_one_step(explorer):
    turn(explorer, "ArrowRight", to="0.501", most=40)
    press(explorer, "step")
    expect(explorer.locator(".eva-readout")).to_contain_text("this is the bottom")


def test_too_large_a_rate_jumps_out_and_says_so(explorer, lab):
    turn(explorer, "ArrowRight", to="1.259", most=40)
    press(explorer, "step")
    press(explorer, "step")
    expect(explorer.locator(".eva-readout")).to_contain_text("the learning rate is too large")
    lab.screenshot("descent explorer too large a rate")
    for _ in range(3):
        press(explorer, "ten")
    message = explorer.locator(".eva-error").get_by_text("start again, with a smaller learning rate")
    box(message)
    red, green, blue = map(int, re.findall(r"\d+", message.evaluate("line => getComputedStyle(line).color"))[:3])
    assert red > 2 * max(green, blue), "red"
    press(explorer, "restart")
    expect_steps(explorer, 0)
    expect(explorer.locator(".eva-error")).to_have_text("")


def test_two_weights_walk_in_a_valley(explorer, lab):
    choose(explorer, "two weights")
    expect(explorer.locator(".eva-readout")).to_contain_text("weights")
    press(explorer, "ten")
    expect_steps(explorer, 10)
    lab.screenshot("descent explorer two weights")
