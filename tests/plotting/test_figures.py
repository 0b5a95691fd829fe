import io
import math
import warnings

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from torch import nn

from eva.course.comparison import Difference
from eva.data import Split
from eva.mistakes import Calibration, Predictions, calibration, confusion
from eva.model import Net
from eva.plotting import (
    accuracy_by_minute,
    confusion_matrix,
    curves,
    differences_of_each,
    feature_maps,
    field_growth,
    field_over,
    first_filters,
    image_grid,
    lines,
    live_curves,
    maps,
    mistakes_grid,
    reliability,
    runs_of_each,
    trade_offs,
)
from eva.receptive_field import EffectiveField, receptive_field
from tests.conftest import random_split

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
        def display(self, figure):
            shown.append(figure)

        def update(self, figure):
            updated.append(figure)

    monkeypatch.setattr("IPython.display.DisplayHandle", Handle)
    draw = live_curves("toy")
    draw(ROWS[:1])
    draw(ROWS)
    draw(ROWS)
    assert (len(shown), len(updated)) == (1, 2)
    assert list(updated[0].axes[0].lines[0].get_ydata()) == [2.0, 1.0]


def test_accuracy_by_the_minute_adds_up_the_seconds():
    runs = {"long": [{"seconds": 90, "validation_accuracy": 0.5}, {"seconds": 30, "validation_accuracy": 0.75}],
            "short": [{"seconds": 6, "validation_accuracy": 0.25}]}  # fmt: skip
    figure = accuracy_by_minute(runs, "toy")
    (axis,) = figure.axes
    figure.draw_without_rendering()
    assert {"0.1", "1"} <= {label.get_text() for label in axis.get_xticklabels()}
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines}
    assert drawn == {
        "long: 75.0 % after 2.0 minutes": ([1.5, 2.0], [50, 75]),
        "short: 25.0 % after 0.1 minutes": ([0.1], [25]),
    }
    assert axis.get_xscale() == "log"
    with pytest.raises(ValueError, match="4 lines at most"):
        accuracy_by_minute({str(number): runs["short"] for number in range(5)})


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
    figure = field_over(image, field, {"first": effective, "second": effective})
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


def test_every_run_is_drawn_with_its_mean_and_price():
    figure = runs_of_each({"a": [0.5, 0.6, 0.7], "b": [0.25]}, {"a": "10 million MACs"}, "toy")
    (axis,) = figure.axes
    means, *dots = axis.lines
    assert (list(means.get_xdata()), list(means.get_ydata())) == ([60, 25], [0, 1])
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in dots] == [
        ([50, 60, 70], [0, 0, 0]),
        ([25], [1]),
    ]
    assert [text.get_text() for text in axis.texts] == ["60.0   10 million MACs", "25.0"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first one is on top"


def test_a_difference_that_cannot_be_told_from_none_is_hollow():
    apart = {
        "better": (0.02, 0.01, 0.03, 0.01),
        "unclear": (0.02, 0.01, 0.03, 0.06),
        "worse": (-0.02, -0.03, -0.01, 0.01),
    }
    figure = differences_of_each({name: Difference(*values) for name, values in apart.items()}, "it", "toy")
    (axis,) = figure.axes
    zero, *drawn = axis.lines
    assert list(zero.get_xdata()) == [0, 0]
    assert [list(line.get_xdata()) for line in drawn[::2]] == [[1, 3], [1, 3], [-3, -1]]
    assert [line.get_markerfacecolor() == "white" for line in drawn[1::2]] == [False, True, False]
    assert len({line.get_color() for line in drawn}) == 3
    assert "above 'it'" in axis.get_xlabel()
    once = differences_of_each({"one run": Difference(0.02, math.nan, math.nan, p=math.nan)}, "it")
    assert once.axes[0].lines[-1].get_markerfacecolor() == "white"
    assert once.axes[0].texts[-1].get_text() == "+2.0 (one seed)"


# What a model gets wrong

NAMES = ("automobile", "dot-ring_plus-bar", "cat", "airplane")


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    assert plt.get_fignums() == []


def toy(seed: int = 0, count: int = 40) -> tuple[Split, Predictions]:
    """Random images of four classes, and the predictions of a model that is often wrong."""
    split = random_split(count, seed, classes=len(NAMES))
    logits = 3 * torch.randn(count, len(NAMES), generator=torch.Generator().manual_seed(seed))
    return split, Predictions(split.indices, split.labels, logits)


def overlaps(texts) -> list[tuple[str, str]]:
    """The pairs of texts, as they are drawn, that lie over each other."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    pairs = ((boxes[i], boxes[j]) for i in range(len(boxes)) for j in range(i))
    return [(text, other) for (text, box), (other, other_box) in pairs if box.overlaps(other_box)]


@pytest.mark.parametrize("seed", range(3))
def test_each_mistake_says_label_prediction_and_confidence(seed):
    split, predictions = toy(seed)
    positions = torch.randperm(40, generator=torch.Generator().manual_seed(seed))[:13]
    figure = mistakes_grid(split, predictions, NAMES, positions, title="toy")
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 13
    assert figure.get_suptitle() == "toy"
    for axis, position in zip(shown, positions.tolist(), strict=True):
        assert (axis.images[0].get_array() == split.images[position].permute(1, 2, 0).numpy()).all()
        probabilities = predictions.logits[position].double().softmax(0)
        label, predicted = NAMES[split.labels[position]], NAMES[probabilities.argmax()]
        percent = f"{100 * probabilities.max():.0f} %"
        expected = f"{label} ✓\n{percent}" if label == predicted else f"{label}\n→ {predicted}, {percent}"
        assert axis.get_title() == expected


def test_long_names_do_not_overlap_in_a_grid():
    split, predictions = toy()
    names = [f"dot-ring_plus-bar {letter}" for letter in "WXYZ"]
    figure = mistakes_grid(split, predictions, names, range(12))
    figure.draw_without_rendering()
    assert overlaps([axis.title for axis in figure.axes]) == []


@pytest.mark.parametrize("positions", [[], torch.zeros(0, dtype=torch.int64)])
def test_a_grid_of_no_mistakes_says_so(positions):
    figure = mistakes_grid(*toy(), NAMES, positions, title="toy")
    assert figure.get_suptitle() == "toy"
    assert any("Nothing to show" in text.get_text() for text in figure.texts)


def test_a_grid_refuses_what_does_not_fit():
    split, predictions = toy()
    with pytest.raises(ValueError, match=r"of 40 images, are not of this split, of 24: make them with find_mistakes"):
        mistakes_grid(toy(count=24)[0], predictions, NAMES, [0])
    with pytest.raises(ValueError, match="4 classes need as many names, got 3"):
        mistakes_grid(split, predictions, NAMES[:3], [0])
    with pytest.raises(ValueError, match=r"got torch.bool \(40,\): of a mask, take mask.nonzero"):
        mistakes_grid(split, predictions, NAMES, predictions.wrong)
    for positions in (torch.tensor([0.0]), torch.tensor(1), torch.zeros(1, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"positions must be integers \(N,\)"):
            mistakes_grid(split, predictions, NAMES, positions)
    for positions in ([-1, 2], [2, 40]):
        with pytest.raises(ValueError, match=f"from 0 to 39, got {positions[0]} to {positions[1]}"):
            mistakes_grid(split, predictions, NAMES, positions)


@pytest.mark.parametrize("size", [1, 2, 7, 20, 21, 75])
@pytest.mark.filterwarnings("error")
def test_the_confusion_matrix_shades_mistakes_by_their_share_of_the_row(rng, size):
    counts = torch.randint(0, 9, (size, size), generator=rng) + 500 * torch.eye(size, dtype=torch.int64)
    counts[size // 2] = 0  # a class without images
    figure = confusion_matrix(counts, [f"automobile {i}" for i in range(size)], "toy")
    axis, bar = figure.axes
    shade = axis.images[0].get_array()
    for row in range(size):
        for column in range(size):
            share = counts[row, column] / counts[row].sum() if counts[row].sum() and row != column else 0
            assert shade[row, column] == pytest.approx(100 * float(share), rel=1e-5)
    written = [text.get_text() for text in axis.texts]
    assert written == ([str(int(count)) for count in counts.flatten()] if size <= 20 else [])
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("toy", "predicted", "label")
    assert "% of the row" in bar.get_ylabel()
    figure.draw_without_rendering()
    assert overlaps(axis.get_yticklabels()) == []
    for place, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True):
        assert label.get_text() == f"automobile {place}"
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        label.get_text() for label in axis.get_yticklabels()
    ]


def test_the_counts_can_be_read_on_their_shade_and_within_their_cell(rng):
    _, predictions = toy(count=200)
    every_shade = torch.arange(1, 401).view(20, 20).fill_diagonal_(0)
    every_shade.diagonal().copy_(8000 - every_shade.sum(1))  # all rows have one sum
    for counts in (confusion(predictions), 9999 * torch.ones(20, 20, dtype=torch.int64), every_shade):
        figure = confusion_matrix(counts, [str(i) for i in range(len(counts))])
        axis = figure.axes[0]
        figure.draw_without_rendering()
        assert overlaps(axis.texts) == []
        for text in axis.texts:
            column, row = text.get_position()
            picture = axis.images[0]
            cell, ink = picture.to_rgba(picture.get_array()[row, column]), to_rgb(text.get_color())
            lights = []
            for colour in (cell[:3], ink):  # relative luminance and contrast as WCAG 2 defines them
                linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
                lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
            assert max(lights) / min(lights) > 4.5


def test_the_confusion_matrix_refuses_other_shapes_and_shares():
    with pytest.raises(ValueError, match=r"\(4, 4\), .*got torch.int64 \(3, 3\): take confusion\(predictions\)"):
        confusion_matrix(torch.ones(3, 3, dtype=torch.int64), NAMES)
    with pytest.raises(ValueError, match=r"counts must be integers .*got torch.float32 \(4, 4\)"):
        confusion_matrix(torch.rand(4, 4), NAMES)


@pytest.mark.parametrize("bins", [1, 4, 15])
@pytest.mark.filterwarnings("error")
def test_reliability_draws_each_bin_that_has_images(bins):
    curve = calibration(toy(count=60)[1], bins)
    figure = reliability(curve, "toy")
    axis, below = figure.axes
    filled = [i for i in range(bins) if curve.count[i]]
    assert len(filled) < bins or bins == 1, "four classes: no confidence is below a quarter"
    perfect, model = axis.lines
    assert perfect.get_linestyle() == "--"
    assert list(perfect.get_xdata()) == list(perfect.get_ydata()) == [0, 100]
    points = [[100 * curve.confidence[i].item(), 100 * curve.accuracy[i].item()] for i in filled]
    assert model.get_xydata().tolist() == [pytest.approx(point) for point in points]
    for (claimed, achieved), gap in zip(points, axis.collections[0].get_segments(), strict=True):
        assert gap.tolist() == [pytest.approx([claimed, achieved]), pytest.approx([claimed, claimed])]
    assert [bar.get_height() for bar in below.patches] == [curve.count[i] for i in filled]
    assert [bar.get_x() for bar in below.patches] == pytest.approx([100 * i / bins for i in filled])
    assert f"error {100 * curve.error:.1f} %" in axis.get_title()
    assert (axis.get_ylabel(), below.get_xlabel(), below.get_ylabel()) == ("accuracy (%)", "confidence (%)", "images")


def test_reliability_of_known_numbers():
    nan = float("nan")
    curve = Calibration(torch.tensor([0, 0.5, 1]), torch.tensor([nan, 0.9]), torch.tensor([nan, 0.6]),
                        torch.tensor([0, 10]), 0.3)  # fmt: skip
    axis = reliability(curve).axes[0]
    assert axis.get_title() == "expected calibration error 30.0 %"
    assert axis.lines[1].get_xydata().tolist() == [pytest.approx([90, 60])]


# What a network looks for


@pytest.mark.parametrize(("filters", "kernel"), [(5, (3, 3)), (16, (5, 7)), (9, (1, 1))])
def test_filters_are_drawn_around_mid_grey(filters, kernel):
    torch.manual_seed(filters)
    first = nn.Conv2d(3, filters, kernel)
    with torch.no_grad():
        first.weight[1] = 0
        first.weight[2, :, 0, 0] = torch.tensor([0.0, -9.0, 4.5])
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3, groups=3), nn.Sequential(first, nn.Conv2d(filters, 3, 1)), nn.Conv2d(3, 3, 1)
    )
    figure = first_filters(model, "toy")
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == [str(number) for number in range(filters)]
    for axis, weight in zip(shown, first.weight.detach(), strict=True):
        image = torch.from_numpy(axis.images[0].get_array().data).permute(2, 0, 1)
        assert image.min() >= 0
        assert image.max() <= 1
        torch.testing.assert_close((2 * image - 1) * weight.abs().max(), weight)
    assert (shown[1].images[0].get_array() == 0.5).all(), "a filter of zeros is grey"
    assert shown[2].images[0].get_array()[0, 0].tolist() == pytest.approx([0.5, 0, 0.75])
    assert figure.get_suptitle() == f"toy\n{filters} filters of {kernel[0]}x{kernel[1]}, zero is mid-grey"


def test_the_stem_of_net_is_its_first_convolution():
    assert len([axis for axis in first_filters(Net()).axes if axis.images]) == Net().stem.out_channels


def test_a_model_that_sees_no_colours_is_named():
    class Grey(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 3, 3)

    with pytest.raises(ValueError, match=r"Grey has no convolution of 3 input channels.*feature_maps"):
        first_filters(Grey())


@pytest.mark.parametrize("shape", [(1, 4, 4), (7, 3, 9), (32, 8, 8), (64, 2, 2)])
@pytest.mark.filterwarnings("error")
def test_feature_maps_run_from_black_to_white(rng, shape):
    features = 50 * torch.randn(shape, generator=rng) - 20
    features[0] = 7  # all the same: black, and no division by zero
    figure = feature_maps(features.requires_grad_(), "toy", columns=5)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == min(32, shape[0])
    assert [axis.get_title() for axis in shown] == [str(number) for number in range(len(shown))]
    for number, (axis, pixels) in enumerate(zip(shown, features.detach().double(), strict=False)):
        image = torch.from_numpy(axis.images[0].get_array().data).double()
        expected = (
            (pixels - pixels.min()) / (pixels.max() - pixels.min()) if number else torch.zeros(shape[1:]).double()
        )
        for channel in range(3):
            torch.testing.assert_close(image[..., channel], expected, atol=1e-5, rtol=1e-5)
    assert figure.get_suptitle().startswith(f"toy\n{len(shown)} of {shape[0]} maps")


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (8, 8), (0, 4, 4), (10,)])
def test_feature_maps_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=rf"got \({', '.join(map(str, shape))},?\): of a batch, take maps\[0\]"):
        feature_maps(torch.zeros(shape))


CHOSEN = ["$5_to_$10", "a_b^c", "50 % <b>off</b>", '"quoted"', "\\frac{1}{2}$", "猫", "חתול", "x" * 200]


@pytest.mark.parametrize("name", CHOSEN)
def test_names_that_people_choose_are_drawn_as_they_are(name):
    """matplotlib takes what stands between two $ for a formula, and stops where it is none."""
    counts, classes = torch.tensor([[3, 1], [2, 5]]), (name, "other")
    rows = [{"epoch": 1, "train_loss": 1, "validation_loss": 1, "train_accuracy": 1, "validation_accuracy": 1}]
    figures = [
        confusion_matrix(counts, classes, title=name),
        image_grid(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [name, name], suptitle=name),
        curves(rows, name),
        lines([1, 2], {name: [1, 2]}, title=name, xlabel=name, ylabel=name),
        maps([torch.eye(3)], [name], suptitle=name),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that the font lacks
        for figure in figures:
            figure.savefig(io.BytesIO(), dpi=30)
            assert any(name[:20] in text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("count", [3, 4, 5, 6])
@pytest.mark.parametrize("colors", [None, ("red", "green", "blue")])
def test_a_line_too_many_is_refused_and_not_left_out(count, colors):
    series = {f"line {number}": [1, number] for number in range(count)}
    options = {"title": "", "xlabel": "", "ylabel": "", **({"colors": colors} if colors else {})}
    most = 3 if colors else 4
    if count <= most:
        assert len(lines([1, 2], series, **options).axes[0].lines) == count
    else:
        with pytest.raises(ValueError, match=f"{most} lines at most can be told apart here, got {count}"):
            lines([1, 2], series, **options)


def test_a_network_too_many_in_a_figure_of_fields_is_refused():
    field = receptive_field(nn.Conv2d(3, 1, 3))
    assert field_growth({str(number): field for number in range(4)})
    with pytest.raises(ValueError, match="4 lines at most can be told apart here, got 5"):
        field_growth({str(number): field for number in range(5)})


@pytest.mark.parametrize("titles", [["a"], ["a", "b", "c"]])
def test_another_number_of_titles_than_images_is_refused(titles):
    with pytest.raises(ValueError, match=f"2 images need as many titles, or none, got {len(titles)}"):
        image_grid(torch.zeros(2, 3, 8, 8), titles)


@pytest.mark.parametrize("low", [1e-5, 0.3, 20.0])
def test_a_logarithmic_axis_has_plain_numbers(low):
    """Mathematics is off in all texts, and powers of ten are written in it."""
    figure = lines(range(1, 4), {"loss": [low, 10 * low, 100 * low]}, title="", xlabel="", ylabel="", log_y=True)
    figure.draw_without_rendering()
    labels = [label.get_text().replace("\N{MINUS SIGN}", "-") for label in figure.axes[0].get_yticklabels(which="both")]
    numbers = [float(label) for label in labels if label]
    assert len(numbers) >= 2
    assert numbers == sorted(numbers)
