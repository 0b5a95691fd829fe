"""The receptive-field explorer: a thin skin over `eva.widgets.chain`.

ReceptiveFieldExplorer()                      # a chain of layers, and what the unit in the middle sees
ReceptiveFieldExplorer(image, "one 7x7")      # the same over an image of one's own
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import torch
from ipywidgets import HTML, BoundedIntText, Button, Dropdown, HBox, IntSlider, Label, Layout, VBox
from matplotlib.figure import Figure
from torch import Tensor

from eva.data import shapes
from eva.widgets.chain import CANVAS, HEADS, OFFERED, PRESETS, Analysis, LayerChoice, analyse, picture
from eva.widgets.pictures import png
from eva.widgets.skin import Skin, one_at_a_time, part, sized

OWN = "your own"  # what the list of presets shows for a chain that is none of them


def _summary_lines(analysis: Analysis) -> list[str]:
    """The numbers, then what the picture shows, in short lines."""
    field, units = analysis.field, analysis.units
    size, clipped, maps = ("{} x {}".format(*pair) for pair in (field.size, field.clipped, analysis.map_size))
    return [
        f"receptive field {size} pixels; jump {field.jump[0]}",
        f"clipped to the image: {clipped} pixels",
        f"{analysis.parameters:,} parameters; {analysis.macs:,} MACs",
        f"solid: what unit {units[0]} of the {maps} map sees",
        *(f"dashed: what its neighbour {unit} sees, a jump away" for unit in units[1:]),
        "hatched: padding, beyond the image",
    ]


def _readout(analysis: Analysis) -> str:
    lines = [f"<b>{line}</b>" if number < 3 else line for number, line in enumerate(_summary_lines(analysis))]
    cell = '<{0} style="padding: 0 16px 0 0; text-align: left">{1}</{0}>'
    rows = [("th", HEADS), *(("td", row) for row in analysis.rows())]
    body = "".join("<tr>" + "".join(cell.format(tag, text) for text in row) + "</tr>" for tag, row in rows)
    return f'<div style="line-height: 1.4">{"<br>".join(lines)}<table>{body}</table></div>'


_COLUMNS = {"layer": ("layer", 40), "kernel": ("kernel", 58), "stride": ("stride", 58), "dilation": ("dilation", 180),
            "pool": ("pooling", 70), "separable": ("convolution", 100), "maps": ("maps", 64)}  # fmt: skip


class ReceptiveFieldExplorer(Skin):
    """Build a chain of layers, and see what the unit in the middle of its last map sees and what the chain costs.

    image: uint8 (3, H, W), up to 256 pixels a side, by default one of Shapes-10. layers: a preset's name, or the
    layers themselves. `set`, `add`, `remove` and `choose` do what the controls do and `layers` is what came of it,
    counted from 0. Raises ValueError for a bad image, an unknown preset, or a chain that cannot run.
    """

    def __init__(self, image: Tensor | None = None, layers: str | Sequence[LayerChoice] = "three 3x3") -> None:
        super().__init__("receptive-field-explorer")
        self.image = shapes.render(1, seed=0)[0][0] if image is None else _checked(image)
        self._rows: list[tuple[HBox, dict[str, Any]]] = []  # at least one per layer: rows that are not shown are kept
        heads = [Label(title, layout=sized(width)) for title, width in _COLUMNS.values()]
        wide = {"layout": sized(340), "style": {"description_width": "initial"}}  # for the longest name
        self.preset = part(Dropdown(options=[*PRESETS, OWN], description="chain", **wide), "preset")
        self.table = part(VBox([HBox(heads)], layout=Layout(overflow="auto")), "layers")  # scrolls where it is narrow
        self.readout = part(HTML(), "readout")
        self.picture = part(ipywidgets.Image(format="png", layout=sized(CANVAS)), "picture")
        button = part(Button(description="add a layer", icon="plus"), "add")
        words = VBox([self.error, self.readout], layout=Layout(flex="1 1 340px", margin="0 0 0 12px"))
        above = HBox([self.picture, words], layout=Layout(flex_flow="row wrap"))
        self.children = [self.preset, above, self.table, button]  # the picture on top: it stays while layers come
        self._change(_preset(layers) if isinstance(layers, str) else layers)
        self.preset.observe(lambda change: self._choose_other(change["new"]), "value")
        button.on_click(lambda _: self.add())

    def set(self, index: int, **changes: Any) -> None:
        """Change layer `index`, as in `set(0, kernel=5, dilation=2)`: the names are those of LayerChoice."""
        with self._errors_shown():
            changed = replace(self.layers[self._checked_index(index)], **changes)
            self._change([*self.layers[:index], changed, *self.layers[index + 1 :]])

    def add(self) -> None:
        """Put a 3x3 convolution behind the last layer, with as many maps."""
        with self._errors_shown():
            self._change([*self.layers, LayerChoice(maps=self.layers[-1].maps)])

    def remove(self, index: int) -> None:
        """Take out layer `index`. Raises ValueError where it is the only one."""
        with self._errors_shown():
            if len(self.layers) == 1:
                raise ValueError("the only layer of a chain cannot be removed: change it, or add another first")
            self._change([*self.layers[: self._checked_index(index)], *self.layers[index + 1 :]])

    def choose(self, preset: str) -> None:
        """Take the layers of a preset. Raises ValueError for a name that is none; it lists those that are."""
        with self._errors_shown():
            self._change(_preset(preset))

    def measured(self) -> Analysis:
        """What the chain sees and costs on this image. Raises ValueError where its maps shrink to nothing."""
        return analyse(self.layers, (self.image.shape[1], self.image.shape[2]))

    def to_figure(self) -> Figure:
        """The picture, the numbers and the layers as a matplotlib figure, for where widgets do not run."""
        analysis = self.measured()
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
        left.imshow(picture(self.image, analysis))
        right.table(analysis.rows(), colLabels=HEADS, loc="center", cellLoc="left", fontsize=8)
        figure.suptitle("\n".join(_summary_lines(analysis)), fontsize=9)
        for axis in (left, right):
            axis.axis("off")
        plt.close(figure)  # else a notebook draws it a second time
        return figure

    def _change(self, layers: Sequence[LayerChoice]) -> None:
        """Show these layers. The controls also show a chain that cannot run, so that it can be mended."""
        self.layers = tuple(layers)
        while len(self._rows) < len(self.layers):
            self._rows.append(self._row(len(self._rows)))
        for layer, (_, controls) in zip(self.layers, self._rows, strict=False):
            for name, control in controls.items():
                control.value = getattr(layer, name)
        self.table.children = [self.table.children[0], *(row for row, _ in self._rows[: len(self.layers)])]
        self.preset.value = next((name for name, preset in PRESETS.items() if preset == self.layers), OWN)
        analysis = None
        try:
            analysis = self.measured()
        finally:  # a chain that cannot run leaves no numbers of the chain before
            self.picture.value = png(picture(self.image, analysis))
            self.readout.value = _readout(analysis) if analysis else ""

    def _row(self, index: int) -> tuple[HBox, dict[str, Any]]:
        """The controls of layer `index` in a row, and each by the name of what it changes."""
        controls: dict[str, Any] = {
            "kernel": Dropdown(options=OFFERED["kernel"]),
            "stride": Dropdown(options=OFFERED["stride"]),
            "dilation": IntSlider(min=1, max=OFFERED["dilation"][-1]),
            "pool": Dropdown(options=[("none", False), ("2x2", True)]),
            "separable": Dropdown(options=[("standard", False), ("separable", True)]),
            "maps": BoundedIntText(min=1, max=OFFERED["maps"][-1]),
        }
        for name, control in controls.items():
            control.value = getattr(self.layers[index], name)
            control.layout = sized(_COLUMNS[name][1])
            control.tooltip = f"{_COLUMNS[name][0]} of layer {index}"  # its name, for who cannot see the head
            part(control, name)
            control.observe(lambda change, name=name: self._set_other(index, name, change["new"]), "value")
        remove = part(Button(icon="times", tooltip=f"remove layer {index}", layout=sized(34)), "remove")
        remove.on_click(lambda _: self.remove(index))
        return HBox([Label(f"{index}", layout=sized(_COLUMNS["layer"][1])), *controls.values(), remove]), controls

    @one_at_a_time
    def _set_other(self, index: int, name: str, value: int) -> None:
        if value != getattr(self.layers[index], name):  # equal where `_change` set the control
            self.set(index, **{name: value})

    @one_at_a_time
    def _choose_other(self, name: str) -> None:
        if name != OWN and PRESETS[name] != self.layers:  # likewise
            self.choose(name)

    def _checked_index(self, index: int) -> int:
        if index not in range(len(self.layers)):
            raise IndexError(f"there is no layer {index!r}: this chain has layers 0 to {len(self.layers) - 1}")
        return index


def _preset(name: str) -> tuple[LayerChoice, ...]:
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}: choose one of {', '.join(map(repr, PRESETS))}")
    return PRESETS[name]


def _checked(image: Tensor) -> Tensor:
    if not isinstance(image, Tensor) or image.dtype != torch.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise ValueError(f"image must be a uint8 tensor, got {kind}: take the image before it is normalised")
    shape = tuple(image.shape)
    if len(shape) != 3 or shape[0] != 3 or not 0 < min(shape) <= max(shape) <= 256:
        hint = "of a batch take images[0], and where the channels come last image.permute(2, 0, 1)"
        raise ValueError(f"image must be (3, H, W), with H and W up to 256, got {shape}: {hint}")
    return image
