import matplotlib.pyplot as plt
import torch

from eva.plotting import curves, image_grid, lines, live_curves, maps

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
