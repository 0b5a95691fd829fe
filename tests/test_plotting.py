import matplotlib.pyplot as plt
import pytest
import torch

from eva.model import Net
from eva.plotting import curves, field_growth, field_over, image_grid, lines, live_curves, maps, trade_offs
from eva.receptive_field import EffectiveField, receptive_field

ROWS = [
    {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.2, "validation_loss": 1.9, "validation_accuracy": 0.3},
    {"epoch": 2, "train_loss": 1.0, "train_accuracy": 0.6, "validation_loss": 1.1, "validation_accuracy": 0.5},
]


def test_curves_show_what_was_measured_with_units():
    figure = curves(ROWS, "toy")
    loss, accuracy = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[2.0, 1.0], [1.9, 1.1]]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[20, 60], [30, 50]]
    assert (loss.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy (%)")
    assert loss.lines[0].get_linestyle() != loss.lines[1].get_linestyle(), "told apart in grey"


def test_a_grid_shows_each_image_once_in_order(rng):
    images = torch.randint(0, 256, (7, 3, 32, 32), generator=rng, dtype=torch.uint8)
    figure = image_grid(images, list("abcdefg"), columns=5)
    assert len(figure.axes) == 10
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == list("abcdefg")
    assert (shown[3].images[0].get_array() == images[3].permute(1, 2, 0).numpy()).all()


def test_figures_do_not_pile_up(rng):
    maps([torch.rand(3, 3, generator=rng), torch.rand(5, 5, generator=rng)], ["a", "b"], numbers=True)
    lines([1, 2], {"a": [1, 2], "b": [2, 1]}, title="t", xlabel="x", ylabel="y")
    assert plt.get_fignums() == []


def test_live_curves_redraw_one_figure(monkeypatch):
    shown, updated = [], []

    class Handle:
        def update(self, figure):
            updated.append(figure)

    monkeypatch.setattr("IPython.display.display", lambda figure, display_id: shown.append(figure) or Handle())
    draw = live_curves("toy")
    draw(ROWS[:1])
    draw(ROWS)
    assert (len(shown), len(updated)) == (1, 1)
    assert list(updated[0].axes[0].lines[0].get_ydata()) == [2.0, 1.0]


def test_maps_write_their_values():
    figure = maps([torch.tensor([[1.0, -2.5]])], ["kernel"], numbers=True)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "-2.5"]


def test_the_growth_of_the_field_is_the_tables():
    net = Net(0.125)
    field = receptive_field(net)
    figure = field_growth({"Net": field, "its stem": receptive_field(net.stem)}, "growth")
    steps, stem, side = figure.axes[0].lines
    assert list(steps.get_ydata()) == [1, *(layer.size[0] for layer in field.layers)]
    assert list(stem.get_ydata()) == [1, 3]
    assert set(side.get_ydata()) == {32}
    assert steps.get_linestyle() != stem.get_linestyle()
    assert "pixels" in figure.axes[0].get_ylabel()


def test_the_box_and_the_heat_lie_where_they_belong(rng):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, stride=2, padding=2), torch.nn.Conv2d(4, 4, 3, padding=1))
    field = receptive_field(model, (3, 24, 32))
    heat = torch.zeros(24, 32, dtype=torch.float64)
    heat[7, 9] = 1
    image = torch.randint(0, 256, (3, 24, 32), generator=rng, dtype=torch.uint8)
    effective = EffectiveField(heat, (7.0, 9.0), (0.0, 0.0), 1.0, 2.5)
    figure = field_over(image, field, {"one": effective, "two": effective})
    box, half, ring = figure.axes[1].patches
    assert (box.get_y(), box.get_x()) == (12 - 4.5, 16 - 4.5), "of the unit in row 6 and column 8 of the map"
    assert (box.get_height(), box.get_width()) == (9, 9)
    assert half.center == ring.center == (9, 7)
    assert (half.radius, ring.radius) == (1, 2.5)
    shade = figure.axes[0].images[1].get_alpha()
    assert (shade > 0).sum() == 1
    assert shade[7, 9] > 0


def test_the_ladder_is_drawn_step_by_step_with_its_spread():
    lines = {
        "plain": {"accuracy": 0.7, "accuracy_sd": 0.01, "parameters": 190_000, "macs": 24_000_000},
        "Net": {"accuracy": 0.8, "accuracy_sd": 0.02, "parameters": 635_000, "macs": 68_000_000},
    }
    figure = trade_offs(lines, "toy")
    parameters, macs = figure.axes
    for axis, costs in ((parameters, [190, 635]), (macs, [24, 68])):
        data = axis.containers[0].lines[0]
        assert list(data.get_xdata()) == costs
        assert list(data.get_ydata()) == pytest.approx([70, 80])
        assert [text.get_text() for text in axis.texts] == ["1", "2"]
    assert "2 Net" in figure.get_suptitle()
    assert parameters.get_ylabel().endswith("(%)")
