"""The descent explorer: a thin skin over `eva.widgets.descent`.

DescentExplorer(inputs, targets)    # guess targets (N,) by the first column of inputs (N, 2), or by both
"""

from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from ipywidgets import HTML, Button, Dropdown, FloatLogSlider, HBox, Layout, VBox
from matplotlib.figure import Figure
from torch import Tensor

from eva.widgets.descent import FAR, START, Problem, Weights, descend, draw, stepped, verdict
from eva.widgets.pictures import figure_png
from eva.widgets.skin import Skin, one_at_a_time, part, sized

CHOICES = {"one weight": 1, "two weights": 2}
LOWEST, HIGHEST, STEP = -2.0, 0.3, 0.1  # of the learning rate, as powers of ten


class DescentExplorer(Skin):
    """Take steps down the slope of a loss, at a learning rate of your own, and see where they land.

    inputs: (N, 2), targets: (N,). `choose`, `set_rate`, `step` and `restart` do what the controls do, and `path` is
    what came of it: a tuple of weights for each point, the start first. Raises ValueError for other shapes.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        super().__init__("descent-explorer")
        whole = Problem(inputs, targets)
        if inputs.shape[1] != 2:
            raise ValueError(f"inputs must have two columns, one for each weight, got {tuple(inputs.shape)}")
        self.problems = {name: whole.first(count) for name, count in CHOICES.items()}
        self.chosen, self.rate, self.path = "one weight", 0.1, [START[1]]
        wide = {"layout": sized(340), "style": {"description_width": "100px"}}
        self.choice = part(Dropdown(options=[*CHOICES], description="loss of", **wide), "choice")
        limits = {"min": LOWEST, "max": HIGHEST, "step": STEP, "base": 10, "readout_format": ".3f"}
        self.slider = part(FloatLogSlider(value=self.rate, description="learning rate", **limits, **wide), "rate")
        self.readout, self.picture = part(HTML(), "readout"), part(ipywidgets.Image(format="png"), "picture")
        buttons = {
            "step": ("step", lambda _: self.step()),
            "ten": ("ten steps", lambda _: self.step(10)),
            "restart": ("start again", lambda _: self.restart()),
        }
        row = HBox([part(Button(description=words, layout=sized(106)), name) for name, (words, _) in buttons.items()])
        words = VBox([self.choice, self.slider, row, self.error, self.readout], layout=Layout(flex="1 1 340px"))
        self.picture.layout = sized(400)
        self.children = [HBox([self.picture, words], layout=Layout(flex_flow="row wrap"))]
        self._show()
        for button, (_, act) in zip(row.children, buttons.values(), strict=True):
            button.on_click(act)
        self.choice.observe(lambda change: self._choose_other(change["new"]), "value")
        self.slider.observe(lambda change: self._set_other(change["new"]), "value")

    @property
    def problem(self) -> Problem:
        return self.problems[self.chosen]

    def choose(self, name: str) -> None:
        """Take the loss of one weight or of two, from its start. Raises ValueError for another name."""
        with self._errors_shown():
            if name not in CHOICES:
                raise ValueError(f"there is no loss of {name!r}: choose one of {', '.join(map(repr, CHOICES))}")
            self.chosen, self.path = name, [START[CHOICES[name]]]
            self._show()

    def set_rate(self, rate: float) -> None:
        """Take the next steps at this learning rate. Raises ValueError for one that the slider does not have."""
        with self._errors_shown():
            if not 10**LOWEST <= rate <= 10**HIGHEST + 1e-9:
                raise ValueError(f"the learning rate must be from {10**LOWEST:g} to {10**HIGHEST:.3g}, got {rate!r}")
            self.rate = rate
            self._tell()

    def step(self, count: int = 1) -> None:
        """Take so many steps. Raises ValueError where the loss has grown beyond all measure: the path ends there."""
        with self._errors_shown():
            for _ in range(count):
                if float(self.problem.loss(self.path[-1])) > FAR * float(self.problem.loss([0.0] * len(self.path[0]))):
                    self._show()
                    raise ValueError("the loss has grown a million times: start again, with a smaller learning rate")
                self.path = [*self.path, stepped(self.problem, self.path[-1], self.rate)]
            self._show()

    def restart(self) -> None:
        """Go back to the start, at the same learning rate."""
        self.choose(self.chosen)

    def to_figure(self) -> Figure:
        """Eight steps at a rate that works beside four at one that does not, for where widgets do not run."""
        figure, grid = plt.subplots(2, 2, figsize=(8, 7), layout="constrained")
        for row, (name, count) in zip(grid, CHOICES.items(), strict=True):
            problem = self.problems[name]
            for axis, share, steps in zip(row, (0.2, 1.1), (8, 4), strict=True):
                rate = share * problem.rate_limit()
                path = descend(problem, START[count], rate, steps)
                draw(axis, problem, path, f"{name}: {steps} steps at a rate of {rate:.2g}")
        plt.close(figure)  # else a notebook draws it a second time
        return figure

    def _show(self) -> None:
        self.picture.value = _png(self.problem, self.path)
        self._tell()

    def _tell(self) -> None:
        """The controls and the words: as quick as a slider moves, which a picture is not."""
        self.choice.value, self.slider.value = self.chosen, self.rate
        self.readout.value = _readout(self.problem, self.path, self.rate)

    @one_at_a_time
    def _choose_other(self, name: str) -> None:
        if name != self.chosen:  # equal where `_show` set the control
            self.choose(name)

    @one_at_a_time
    def _set_other(self, rate: float) -> None:
        if rate != self.rate:  # likewise
            self.set_rate(rate)


def _png(problem: Problem, path: list[Weights]) -> bytes:
    figure = Figure(figsize=(5, 4.4))  # not pyplot's, which would keep it; and quick, unconstrained
    figure.subplots_adjust(0.14, 0.12, 0.97, 0.93)
    draw(figure.subplots(), problem, path, f"{len(path) - 1} steps")
    return figure_png(figure)


def _listed(numbers: Any) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers)


def _readout(problem: Problem, path: list[Weights], rate: float) -> str:
    several = "s" if len(path[0]) > 1 else ""
    slope = problem.slope(path[-1])
    rows = {
        "steps": f"{len(path) - 1}",
        f"weight{several}": _listed(path[-1]),
        "loss": f"{float(problem.loss(path[-1])):.4g}",
        f"slope{several}": _listed(slope),
        "the next step, - rate x slope": _listed(-rate * part for part in slope),
    }
    cells = "".join(
        f'<tr><td style="padding-right: 16px">{name}</td><td><b>{value}</b></td></tr>' for name, value in rows.items()
    )
    return f'<div style="line-height: 1.5"><table>{cells}</table>{verdict(problem, path)}</div>'
