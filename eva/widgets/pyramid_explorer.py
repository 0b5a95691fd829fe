"""The pyramid explorer: a thin skin over `eva.plotting.pyramid`.

PyramidExplorer()                                  # choose a unit, see what it sees; a pixel, see who sees it
PyramidExplorer(((5, 1, 1), (3, 2, 1)))            # a chain of one's own: kernel, stride, dilation of each layer
"""

from collections.abc import Sequence
from typing import Any

import ipywidgets
from ipywidgets import HTML, Dropdown, HBox, IntSlider, Layout
from matplotlib.figure import Figure

from eva.plotting.pyramid import Layer, middle_unit, places, pyramid, row_lengths, told
from eva.widgets.pictures import figure_png
from eva.widgets.skin import Skin, one_at_a_time, part, sized

OWN = "your own"  # what the list of presets shows for a chain that is none of them
PRESETS: dict[str, tuple[Layer, ...]] = {
    "three 3x3": ((3, 1, 1),) * 3,
    "convolution, pooling, convolution": ((3, 1, 1), (2, 2, 1), (3, 1, 1)),
    "dilations 1 2 4": ((3, 1, 1), (3, 1, 2), (3, 1, 4)),
    "dilation 2 three times": ((3, 1, 2),) * 3,
    "stride 2 twice": ((3, 2, 1), (3, 2, 1), (3, 1, 1)),
}
WIDTH = 700  # of the picture, in pixels of the screen


class PyramidExplorer(Skin):
    """Choose a unit of a chain and see which pixels it reads, or a pixel and see which units read it.

    layers: a preset's name, or (kernel, stride, dilation) of each layer; pixels: of the row of an image below them.
    `choose` and `select` do what the controls do; `layers` is the chain, and `chosen` what is looked at, (row, place),
    row 0 being the image. Raises ValueError for an unknown preset, and for a chain that does not fit.
    """

    def __init__(self, layers: str | Sequence[Layer] = "three 3x3", pixels: int = 28) -> None:
        super().__init__("pyramid-explorer")
        self.pixels = pixels
        self._showing = False  # the controls are being set, and what they say is no wish of the learner's
        wide = {"style": {"description_width": "initial"}}
        self.preset = part(Dropdown(options=[*PRESETS, OWN], description="chain", layout=sized(330), **wide), "preset")
        self.row = part(Dropdown(description="look from", layout=sized(170), **wide), "row")
        self.place = part(IntSlider(description="place", min=0, layout=sized(330), **wide), "place")
        self.readout = part(HTML(), "readout")
        self.picture = part(ipywidgets.Image(format="png", layout=sized(WIDTH)), "picture")
        controls = HBox([self.preset, self.row, self.place], layout=Layout(flex_flow="row wrap"))
        self.children = [controls, self.error, self.readout, self.picture]
        self._change(_preset(layers) if isinstance(layers, str) else layers)
        self.preset.observe(lambda change: self._choose_other(change["new"]), "value")
        self.row.observe(lambda change: self._look_from(change["new"]), "value")
        self.place.observe(lambda change: self._select_other(change["new"]), "value")

    def choose(self, preset: str) -> None:
        """Take the layers of a preset, and look at its unit in the middle on top. Raises ValueError for other names."""
        with self._errors_shown():
            self._change(_preset(preset))

    def select(self, row: int, place: int) -> None:
        """Look at unit `place` of layer `row`, or at pixel `place` for row 0. Raises ValueError where there is none."""
        with self._errors_shown():
            self._show((row, place))

    def to_figure(self) -> Figure:
        """The picture with its words, for where widgets do not run."""
        return pyramid(self.layers, pixels=self.pixels, **_looked_at(self.chosen))

    def _change(self, layers: Sequence[Layer]) -> None:
        chosen = middle_unit(layers, self.pixels)  # refuses a bad chain before anything has changed
        self.layers = tuple(layers)
        self._show(chosen)

    def _show(self, chosen: tuple[int, int]) -> None:
        """Draw what `chosen` sees, or who sees it, and set every control to what is shown."""
        looked_at = _looked_at(chosen)
        picture = figure_png(pyramid(self.layers, pixels=self.pixels, title="", **looked_at), dpi=100)
        self.chosen = chosen
        row, place = chosen
        self._showing = True
        try:
            self.preset.value = next((name for name, preset in PRESETS.items() if preset == self.layers), OWN)
            rows = [(f"layer {number}", number) for number in range(len(self.layers), 0, -1)]
            self.row.options = [*rows, ("the image", 0)]  # from the top down, as they are drawn
            self.row.value = row
            self.place.max = row_lengths(self.layers, self.pixels)[row] - 1
            self.place.value = place
            self.place.description = "unit" if row else "pixel"
        finally:
            self._showing = False
        self.readout.value = f"<b>{told(self.layers, looked_at['unit'], looked_at['pixel'], self.pixels)}</b>"
        self.picture.value = picture

    @one_at_a_time
    def _choose_other(self, name: str) -> None:
        if not self._showing and name != OWN:
            self.choose(name)

    @one_at_a_time
    def _look_from(self, row: int) -> None:
        """Go to the unit of another row that is nearest to where the learner looked from."""
        if self._showing:
            return
        stand = places(self.layers, self.pixels)
        here = stand[self.chosen[0]][self.chosen[1]]
        self.select(row, min(range(len(stand[row])), key=lambda place: abs(stand[row][place] - here)))

    @one_at_a_time
    def _select_other(self, place: int) -> None:
        if not self._showing:
            self.select(self.chosen[0], place)


def _looked_at(chosen: tuple[int, int]) -> dict[str, Any]:
    """What `pyramid` calls it: a unit, or a pixel."""
    row, place = chosen
    return {"unit": chosen if row else None, "pixel": None if row else place}


def _preset(name: str) -> tuple[Layer, ...]:
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}: choose one of {', '.join(map(repr, PRESETS))}")
    return PRESETS[name]
