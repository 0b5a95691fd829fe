"""The kernel explorer: a thin skin over `eva.widgets.kernel`.

KernelExplorer(image)                      # a kernel to drag over the image, its nine products, and the map
KernelExplorer(image, "learned")           # the same with a kernel that training found
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from ipywidgets import HTML, Dropdown, HBox, IntSlider, Layout
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from eva.data import shapes
from eva.receptive_field import Pair
from eva.widgets.kernel import (
    NAMES,
    OFFERED,
    Kernel,
    Reading,
    Setting,
    feature_map,
    image_picture,
    kernel,
    map_picture,
    map_size,
    middle_of,
    nearest_unit,
    one_channel,
    read,
)
from eva.widgets.pictures import png
from eva.widgets.skin import Skin, one_at_a_time, part, sized

_CELL = 54  # pixels of the screen: the side of a cell of the table
_HATCHED = "repeating-linear-gradient(135deg, #000 0 4px, #444 4px 8px)"  # as padding is in the picture


class KernelExplorer(Skin):
    """Drag a 3x3 kernel over an image, and see the nine products, their sum, and the map that the sums make.

    image: uint8 (H, W), (1, H, W) or (3, H, W), 3 to 64 pixels a side, by default one of Shapes-10; three channels
    become their mean. preset: one of `eva.widgets.kernel.NAMES`. `move`, `set`, `choose` and `show` do what the
    controls do, and `unit`, (row, column) of the map, `setting` and `preset` are what came of it.
    Raises ValueError for a bad image, an unknown preset or setting, a place beyond the map, or a kernel that does not
    fit into the image.
    """

    def __init__(self, image: Tensor | None = None, preset: str = NAMES[0]) -> None:
        super().__init__("kernel-explorer")
        self.grey = one_channel(shapes.render(1, seed=0)[0][0] if image is None else image)
        kernel(preset)  # raises, where it does, before there is a control to show it
        self.setting, self.preset = Setting(), preset
        self._middle = _middle_of_image(self.grey)  # the pixel, which stays where it is as the setting changes
        self._controls: dict[str, Any] = {
            "preset": _dropdown("kernel", NAMES, 200),
            **{name: _dropdown(name, values, 112) for name, values in OFFERED.items()},
            **{name: IntSlider(description=name, layout=sized(330), **_NARROW_LABEL) for name in ("row", "column")},
        }
        for name, control in self._controls.items():
            part(control, name)
            control.observe(lambda change, name=name: self._other(name, change["new"]), "value")
        self.words, self.table, self.legend = (part(HTML(), name) for name in ("words", "products", "legend"))
        self.picture, self.map = (
            part(ipywidgets.Image(format="png", layout=Layout(flex="0 0 auto")), name) for name in ("picture", "map")
        )
        rows = [[self._controls[name] for name in row] for row in (("preset", *OFFERED), ("row", "column"))]
        wrapped = {"flex_flow": "row wrap", "align_items": "flex-start", "grid_gap": "2px 12px"}
        controls, sliders, parts = (
            HBox(row, layout=Layout(**wrapped)) for row in (*rows, [self.picture, self.table, self.map])
        )
        self.children = [controls, self.words, sliders, self.error, parts, self.legend]
        self._show()

    @property
    def kernel(self) -> Kernel:
        return kernel(self.preset)

    @property
    def unit(self) -> Pair:
        """(row, column) of the unit of the map that is looked at. Raises ValueError where the kernel does not fit."""
        return nearest_unit(self._middle, self.setting, self._map_size())

    def move(self, row: int, column: int) -> None:
        """Look at this unit of the map. Raises ValueError where there is none."""
        with self._changing():
            rows, columns = self._map_size()
            if row not in range(rows) or column not in range(columns):
                most = f"rows 0 to {rows - 1} and columns 0 to {columns - 1}"
                raise ValueError(f"there is no unit in row {row}, column {column}: this map has {most}")
            self._middle = middle_of((row, column), self.setting)

    def set(self, **changes: int) -> None:
        """Change stride, dilation or padding, as in `set(stride=2, padding=0)`. The kernel stays where it is.

        Where it does not fit any more, the setting is kept, so that it can be mended.
        """
        with self._changing():
            self.setting = replace(self.setting, **changes)

    def choose(self, preset: str) -> None:
        """Take another kernel: one of `eva.widgets.kernel.NAMES`."""
        with self._changing():
            kernel(preset)
            self.preset = preset

    def show(self, image: Tensor) -> None:
        """Take another image. The kernel goes to its middle."""
        with self._changing():
            self.grey = one_channel(image)
            self._middle = _middle_of_image(self.grey)

    def reading(self) -> Reading:
        """What the unit reads. Raises ValueError where the kernel does not fit."""
        return read(self.grey, self.kernel.weights, self.setting, self.unit)

    def feature_map(self) -> Tensor:
        """All units' sums, (rows, columns). Raises ValueError where the kernel does not fit."""
        return feature_map(self.grey, self.kernel.weights, self.setting)

    def to_figure(self) -> Figure:
        """The image, the nine products and the map as a matplotlib figure, for where widgets do not run.

        Raises ValueError where the kernel does not fit.
        """
        unit, reading, values = self.unit, self.reading(), self.feature_map()
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(8.7, 3.6), dpi=80, width_ratios=(1.3, 1, 1.3), layout="constrained"
        )
        left.imshow(image_picture(self.grey, self.setting, unit))
        _draw_products(middle, reading)
        right.imshow(map_picture(self.grey, self.setting, values, unit))
        titles = (
            "the image, and what the unit reads",
            f"pixel × weight\nsum {_shown(reading.total)}",
            f"the map, and unit {unit}",
        )
        for axis, title in zip((left, middle, right), titles, strict=True):
            axis.set_title(title, fontsize=9)
            axis.axis("off")
        setting = ", ".join(f"{name} {value}" for name, value in vars(self.setting).items())
        figure.suptitle(f"{self.preset}; {setting}\n{_map_in_words(values)}", fontsize=9)
        plt.close(figure)  # else a notebook draws it a second time
        return figure

    def _map_size(self) -> Pair:
        return map_size((self.grey.shape[0], self.grey.shape[1]), self.setting)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Show what came of a change, also where it raised."""
        with self._errors_shown():
            try:
                yield
                self._map_size()  # raises where the kernel does not fit
            finally:
                self._show()

    def _show(self) -> None:
        """Set the controls, the pictures and the numbers. A kernel that does not fit leaves none of the one before."""
        for name, value in {"preset": self.preset, **vars(self.setting)}.items():
            self._controls[name].value = value
        self.words.value = _small(self.kernel.words)
        unit = values = None
        with suppress(ValueError):
            unit, values = self.unit, self.feature_map()
        self.picture.value = png(image_picture(self.grey, self.setting, unit))
        self.map.value = png(map_picture(self.grey, self.setting, values, unit))
        self.table.value = self.legend.value = ""
        if unit is not None and values is not None:
            for name, place, count in zip(("row", "column"), unit, values.shape, strict=True):
                slider = self._controls[name]
                slider.max = max(slider.max, place)  # first: a slider cuts its value to its ends, and tells so
                slider.value = place
                slider.max = count - 1
            self.table.value = _products_table(self.reading(), unit)
            self.legend.value = _small(f"{_IMAGE_IN_WORDS} {_map_in_words(values)}")

    @one_at_a_time
    def _other(self, name: str, value: Any) -> None:
        """A control has another value: a learner moved it, or `_show` did, and then there is nothing to do."""
        if name == "preset":
            if value != self.preset:
                self.choose(value)
        elif name in OFFERED:
            if value != getattr(self.setting, name):
                self.set(**{name: value})
        else:
            place = dict(zip(("row", "column"), self.unit, strict=True))
            if value != place[name]:
                self.move(**{**place, name: value})


_NARROW_LABEL: dict[str, Any] = {"style": {"description_width": "initial"}}
_IMAGE_IN_WORDS = "Image: 0 is black, 255 white; padding, hatched, counts as 0."


def _dropdown(name: str, options: Sequence[Any], width: int) -> Dropdown:
    return Dropdown(description=name, options=options, layout=sized(width), **_NARROW_LABEL)


def _middle_of_image(grey: Tensor) -> Pair:
    return grey.shape[0] // 2, grey.shape[1] // 2


def _small(words: str) -> str:
    return f'<div style="line-height: 1.4">{words}</div>'


def _map_in_words(values: Tensor) -> str:
    size, most = f"{values.shape[0]} × {values.shape[1]}", _shown(values.abs().max().item())
    ends = f"white {most}, black −{most}" if values.any() else "there is nothing else in it"
    return f"Map, {size}: mid-grey is 0, {ends}."


def _shown(number: float) -> str:
    """To hundredths, without zeros at the end, and with a minus sign that is as wide as a digit."""
    return f"{round(number, 2) + 0.0:,.8g}".replace("-", "−")  # adding 0.0 makes 0 of -0.0


def _weight(number: float) -> str:
    return "1/9" if abs(number - 1 / 9) < 1e-6 else _shown(number)


def _cells(reading: Reading) -> list[list[tuple[bool, int, str]]]:
    """Of each of the nine: is it in the image, its pixel, and the pixel, the weight and the product in three lines."""
    columns = zip(
        reading.inside.flatten().tolist(), reading.pixels.flatten().tolist(),
        reading.weights.flatten().tolist(), reading.products.flatten().tolist(), strict=True,
    )  # fmt: skip
    cells = [
        (inside, int(pixel), f"{_shown(pixel)}\n× {_weight(weight)}\n= {_shown(product)}")
        for inside, pixel, weight, product in columns
    ]
    return [cells[:3], cells[3:6], cells[6:]]


def _ink(pixel: int) -> str:
    """Of words on a pixel's grey."""
    return "black" if pixel >= 120 else "white"


def _products_table(reading: Reading, unit: Pair) -> str:
    """Nine cells, each on the grey of its pixel, and their sum below."""
    square = f"width: {_CELL}px; height: {_CELL}px; padding: 0; border: 1px solid #888; text-align: center"
    body = ""
    for row in _cells(reading):
        body += "<tr>"
        for inside, pixel, text in row:
            ground = f"rgb({pixel}, {pixel}, {pixel})" if inside else _HATCHED
            lines = text.replace("\n", "<br>")
            body += f'<td style="{square}; background: {ground}; color: {_ink(pixel)}">{lines}</td>'
        body += "</tr>"
    table = f'<table style="border-collapse: collapse; font-size: 11px; line-height: 1.35">{body}</table>'
    return f'{table}<div style="line-height: 1.5">sum <b>{_shown(reading.total)}</b><br>= unit {unit} of the map</div>'


def _draw_products(axis: Any, reading: Reading) -> None:
    """The same as a figure: nine squares in the pixels' greys, with their arithmetic."""
    axis.imshow(reading.pixels.numpy(), cmap="gray", vmin=0, vmax=255)
    for i, row in enumerate(_cells(reading)):
        for j, (inside, pixel, text) in enumerate(row):
            hatch = None if inside else "////"
            axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec="#888888", hatch=hatch))
            ground = {} if inside else {"backgroundcolor": "black"}
            axis.text(j, i, text, ha="center", va="center", fontsize=8, color=_ink(pixel), **ground)
