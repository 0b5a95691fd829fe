import io
import re

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from eva.widgets import DescentExplorer
from eva.widgets.descent import START, Problem, descend, draw, stepped, verdict


def a_problem(seed, count=1, images=200):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, count, generator=rng) @ torch.randn(count, count, generator=rng)
    return Problem(inputs, inputs.sum(1) + torch.randn(images, generator=rng))


def standard(seed=0):
    """Two inputs that are alike, each of mean 0 and spread 1, as in notebook 03."""
    rng = torch.Generator().manual_seed(seed)
    both = torch.randn(500, 1, generator=rng) + 0.5 * torch.randn(500, 2, generator=rng)
    targets = both.mean(1) + 0.2 * torch.randn(500, generator=rng)
    return (both - both.mean(0)) / both.std(0, correction=0), (targets - targets.mean()) / targets.std(correction=0)


@pytest.fixture
def explorer():
    return DescentExplorer(*standard())


def squared_error(problem, weights):
    return ((problem.inputs.double() @ weights - problem.targets.double()) ** 2).mean()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_slope_are_those_of_autograd(seed, count):
    problem = a_problem(seed, count)
    weights = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    loss = squared_error(problem, weights)
    loss.backward()
    assert float(problem.loss(weights.detach())) == pytest.approx(loss.item())
    assert problem.slope(weights.tolist()) == pytest.approx(tuple(weights.grad.tolist()))
    many = torch.stack([weights.detach(), torch.zeros(count)]).expand(3, 2, count)
    assert problem.loss(many).shape == (3, 2)
    assert float(problem.loss(many)[2, 0]) == pytest.approx(loss.item())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_steps_are_those_of_sgd(seed, count):
    problem = a_problem(seed, count)
    rate = 0.5 * problem.rate_limit()
    weights = torch.tensor(START[count], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=rate)
    for place in descend(problem, START[count], rate, 6):
        assert place == pytest.approx(tuple(weights.tolist()))
        optimizer.zero_grad()
        squared_error(problem, weights).backward()
        optimizer.step()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_the_bottom_is_where_least_squares_says(seed, count):
    problem = a_problem(seed, count)
    solved = torch.linalg.lstsq(problem.inputs.double(), problem.targets.double()[:, None]).solution[:, 0]
    assert problem.lowest() == pytest.approx(tuple(solved.tolist()))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_below_the_limit_it_arrives_and_above_it_explodes(seed, count):
    problem = a_problem(seed, count)
    rate = problem.rate_limit()
    start = tuple(at + 1 for at in problem.lowest())
    below, above = (problem.loss(descend(problem, start, share * rate, 40)) for share in (0.95, 1.05))
    assert (below.diff() <= 1e-12).all()
    assert above[-1] > above[0]


def test_with_inputs_on_the_common_scale_half_arrives_at_once_and_one_never_does():
    problem = Problem(*standard()).first(1)
    assert problem.rate_limit() == pytest.approx(1, rel=1e-3)
    assert stepped(problem, (0.0,), 0.5) == pytest.approx(problem.lowest(), rel=1e-3)


@pytest.mark.parametrize(
    ("rate", "steps", "words"),
    [
        (0.1, 0, "No step yet"),
        (0.01, 1, "many such steps away"),
        (0.2, 1, "The loss fell."),
        (0.5, 1, "this is the bottom"),
        (0.9, 1, "a little lower on the other side"),
        (1.1, 1, "the learning rate is too large"),
    ],
)
def test_a_step_is_told_for_what_it_was(rate, steps, words):
    problem = Problem(*standard()).first(1)
    assert words in verdict(problem, descend(problem, (0.0,), rate, steps))


@pytest.mark.parametrize("count", [1, 2])
def test_the_picture_holds_every_step_and_the_slope_where_one_stands(count):
    problem = Problem(*standard()).first(count)
    path = descend(problem, START[count], 1.2 * problem.rate_limit(), 5)
    axis = Figure().subplots()
    draw(axis, problem, path, "a title")
    (low, high), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    for place in path:
        x, y = place if count == 2 else (*place, float(problem.loss(place)))
        assert low <= x <= high
        assert bottom <= y <= top
    assert axis.get_title() == "a title"
    if count == 1:
        (tangent,) = [line for line in axis.lines if line.get_label() == "slope"]
        (left, right), (from_, to) = tangent.get_xdata(), tangent.get_ydata()
        assert (to - from_) / (right - left) == pytest.approx(problem.slope(path[-1])[0])


@pytest.mark.parametrize(
    ("inputs", "targets", "words"),
    [
        (torch.zeros(4), torch.zeros(4), r"got \(4,\) and \(4,\)"),
        (torch.zeros(4, 2), torch.zeros(3), r"got \(4, 2\) and \(3,\)"),
        (torch.zeros(0, 2), torch.zeros(0), r"got \(0, 2\)"),
        (torch.full((4, 2), torch.nan), torch.zeros(4), "must be finite"),
        (torch.zeros(4, 3), torch.zeros(4), "two columns"),
    ],
)
def test_what_is_no_problem_of_two_weights_is_refused(inputs, targets, words):
    with pytest.raises(ValueError, match=words):
        DescentExplorer(inputs, targets)


def button(explorer, name):
    """What a learner would click: found by its class, as a browser would find it."""
    inside = [explorer]
    while inside:
        widget = inside.pop()
        if f"eva-{name}" in widget._dom_classes:
            return widget
        inside += getattr(widget, "children", ())
    raise AssertionError(name)


def test_the_buttons_take_the_steps_and_the_words_say_where_they_led(explorer):
    before = explorer.picture.value
    button(explorer, "step").click()
    assert explorer.path == descend(explorer.problem, START[1], 0.1, 1)
    assert explorer.picture.value != before
    button(explorer, "ten").click()
    assert explorer.path == descend(explorer.problem, START[1], 0.1, 11)
    loss, (slope,) = float(explorer.problem.loss(explorer.path[-1])), explorer.problem.slope(explorer.path[-1])
    shown = re.findall(r"<b>(.*?)</b>", explorer.readout.value)
    expected = ["11", f"{explorer.path[-1][0]:.3g}", f"{loss:.4g}", f"{slope:.3g}", f"{-0.1 * slope:.3g}"]
    assert shown == expected
    button(explorer, "restart").click()
    assert explorer.path == [START[1]]
    assert Image.open(io.BytesIO(explorer.picture.value)).size == (400, 352)


def test_the_slider_changes_the_next_step_and_not_the_ones_before(explorer):
    explorer.step()
    path, picture = explorer.path, explorer.picture.value
    explorer.slider.value = 1.0
    assert (explorer.path, explorer.picture.value) == (path, picture)
    explorer.step()
    assert explorer.path == [*path, stepped(explorer.problem, path[-1], 1.0)]


def test_the_list_chooses_one_weight_or_two(explorer):
    explorer.step(3)
    explorer.choice.value = "two weights"
    assert explorer.path == [START[2]]
    explorer.step(2)
    assert explorer.path == descend(Problem(*standard()), START[2], 0.1, 2)
    assert "weights" in explorer.readout.value


def test_what_explodes_is_said_in_words_and_ends(explorer):
    explorer.set_rate(1.9)
    explorer.step()
    assert "the learning rate is too large" in explorer.readout.value
    with pytest.raises(ValueError, match="start again, with a smaller learning rate"):
        explorer.step(1000)
    assert "a million times" in explorer.error.value
    assert len(explorer.path) < 50
    explorer.restart()
    assert explorer.error.value == ""


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda e: e.choose("three weights"), "choose one of 'one weight', 'two weights'"),
        (lambda e: e.set_rate(0), "from 0.01 to 2, got 0"),
        (lambda e: e.set_rate(3.0), "from 0.01 to 2, got 3.0"),
    ],
)
def test_what_cannot_be_done_is_raised_and_shown(explorer, act, words):
    with pytest.raises(ValueError, match=words):
        act(explorer)
    assert "color" in explorer.error.value
    explorer.step()
    assert explorer.error.value == ""


def test_the_figure_shows_a_rate_that_works_beside_one_that_does_not(explorer):
    figure = explorer.to_figure()
    titles = [axis.get_title() for axis in figure.axes]
    assert [title.split(" at ")[0] for title in titles] == [
        f"{name}: {steps} steps" for name in ("one weight", "two weights") for steps in (8, 4)
    ]
    assert plt.get_fignums() == []
