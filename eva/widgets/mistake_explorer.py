"""The mistake explorer: a thin skin over `eva.gallery`.

MistakeExplorer(model, splits, "validation")                      # grid, confusion matrix, Grad-CAM, marks
MistakeExplorer(model, splits, "validation", before=earlier)      # and what was fixed or broken since
"""

import base64
import html
import io
import os
import uuid
from dataclasses import replace
from typing import Any

from ipywidgets import HTML, Box, Button, Dropdown, GridBox, HBox, IntRangeSlider, Layout, Text, ToggleButtons, VBox
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from eva.data import Splits
from eva.mistakes import confusion
from eva.plotting import mistakes_grid
from eva.widgets.gallery import SORTED, Gallery, View
from eva.widgets.marks import VERDICTS, Mark
from eva.widgets.skin import Skin, sized

PAGE = 18  # images
TILE = 128  # pixels of the screen
MOST = 20  # classes that a matrix of buttons can still show
UNMARKED = "no mark"
ANY = -1  # in place of None, for which ipywidgets would show an empty list
SIGNS = dict(zip(VERDICTS, ("✎", "≈", "✗"), strict=True))
# Buttons carry the images as backgrounds, so that a click on an image selects it: core Image widgets take no click.
STYLE = f"""<style>
.eva-tile {{background-size: {TILE}px; background-repeat: no-repeat; background-position: top center; padding: 0 1px;
  image-rendering: pixelated; padding-top: {TILE}px; font-size: 10px; line-height: 12px; text-align: center;
  white-space: normal}}
.eva-cell {{padding: 0; font-size: 11px; line-height: 24px; text-align: center; color: #111 !important}}
.eva-row {{font-size: 11px; line-height: 24px; text-align: right; padding-right: 6px; white-space: nowrap}}
.eva-column {{font-size: 11px; writing-mode: vertical-rl; transform: rotate(180deg); line-height: 34px;
  padding-top: 5px}}
.eva-matrix .widget-html, .eva-matrix .widget-html-content {{height: auto; line-height: 24px; margin: 0}}
.eva-chosen {{outline: 3px solid #0072b2 !important; outline-offset: -2px !important}}
.eva-confidence {{margin-left: 12px}}
.eva-mistake-explorer table {{border-collapse: collapse}}
.eva-mistake-explorer figure {{display: inline-block; margin: 0 8px 4px 0; font-size: 12px}}
</style>"""


class MistakeExplorer(Skin):
    """Look at the images of a split as `model` sees them: choose, sort, page, select one, and mark it.

    The arguments are those of `eva.gallery.Gallery`, which is `gallery` here. `set`, `cell`, `turn`, `select`, `mark`
    and `unmark` do what the controls do; `view`, `page` and `selected`, a position, are what came of it. Marks are
    kept in a file, by the index of the image: they survive every filter, and the kernel.
    Raises what Gallery raises.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        which: str = "validation",
        before: nn.Module | None = None,
        marks: str | os.PathLike[str] | None = None,
    ) -> None:
        self.gallery = Gallery(model, splits, which, before, marks)
        self.view, self.page, self.selected = View(), 0, 0
        self.chosen = self.gallery.positions(self.view)
        self._key = f"eva-{uuid.uuid4().hex[:8]}"  # the images of two explorers on one page must not mix
        classes = [("any", ANY), *((name, place) for place, name in enumerate(self.gallery.classes))]
        self.controls: dict[str, Any] = {
            "show": Dropdown(options=self.gallery.shows, description="show"),
            "sort": Dropdown(options=SORTED, description="sort by"),
            "label": Dropdown(options=classes, description="label"),
            "predicted": Dropdown(options=classes, description="predicted"),
            "confidence": IntRangeSlider(
                value=(0, 100), min=0, max=100, description="confidence (%)", continuous_update=False,
                style={"description_width": "initial"}, layout=sized(330),
            ),
        }  # fmt: skip
        for name, control in self.controls.items():
            if name != "confidence":
                control.layout, control.style = sized(230), {"description_width": "70px"}
            control.observe(lambda change, name=name: self._moved(name, change["new"]), "value")
        self.cells: dict[tuple[int, int], Button] = {}
        self.tiles = [self._tile(place) for place in range(PAGE)]
        self.grid, self.pixels = Box(layout=Layout(flex_flow="row wrap")), HTML(layout=Layout(display="none"))
        self.back, self.on = (Button(icon=f"chevron-{way}", layout=sized(40)) for way in ("left", "right"))
        self.back.tooltip, self.on.tooltip = "the page before", "the next page"
        self.back.on_click(lambda _: self.turn(-1))
        self.on.on_click(lambda _: self.turn(1))
        self.told, self.where, self.detail, self.tally, self.error = HTML(), HTML(), HTML(), HTML(), HTML()
        self.verdict = ToggleButtons(options=[UNMARKED, *VERDICTS], style={"button_width": "108px"})
        self.note = Text(placeholder="a note, once there is a verdict", continuous_update=False, layout=sized(400))
        self.verdict.observe(lambda change: self._judged(change["new"]), "value")
        self.note.observe(lambda change: self._noted(change["new"]), "value")
        marking = VBox([self.verdict, self.note, self.tally])
        one = VBox([self.detail, marking], layout=Layout(flex="1 1 500px"))
        matrix = self._matrix()
        super().__init__(
            "mistake-explorer",
            [
                HTML(STYLE), self.pixels, self.told,
                HBox([matrix, one], layout=Layout(flex_flow="row wrap", grid_gap="0 16px")),
                self.error,
                HBox([*self.controls.values()], layout=Layout(flex_flow="row wrap")),
                HBox([self.back, self.where, self.on]),
                self.grid,
            ],
            **self.controls, matrix=matrix, back=self.back, next=self.on, grid=self.grid, detail=self.detail,
            verdict=self.verdict, note=self.note, tally=self.tally, told=self.told, where=self.where,
        )  # fmt: skip
        self.told.value = self._summary()
        self._show()
        if len(self.chosen):
            self.select(int(self.chosen[0]))

    def set(self, **changes: Any) -> None:
        """Change the view, as in `set(show="all images", label=3)`: the names are those of View. Page 0 is shown."""
        with self._errors_shown():
            view = replace(self.view, **changes)
            self.chosen, self.view, self.page = self.gallery.positions(view), view, 0
            self._show()

    def cell(self, label: int, predicted: int) -> None:
        """Show all images of one cell of the confusion matrix."""
        self.set(show="all images", label=label, predicted=predicted, confidence=(0.0, 1.0))

    def turn(self, pages: int) -> None:
        """Go on by so many pages, or back. Raises IndexError past the first and the last."""
        with self._errors_shown():
            if self.page + pages not in range(self.pages):
                raise IndexError(f"there is no page {self.page + pages + 1}: this view has pages 1 to {self.pages}")
            self.page += pages
            self._show()

    def select(self, position: int) -> None:
        """Show the image at `position` of the split: its five likeliest classes, where the evidence is, its mark."""
        with self._errors_shown():
            index = self.gallery.index(position)
            self.selected = position
            self.detail.value = self._explained(position)
            self._show_mark(self.gallery.marks.get(index))
            self._outline()

    def mark(self, verdict: str, note: str = "") -> None:
        """Mark the selected image with one of `eva.marks.VERDICTS`, and keep it."""
        with self._errors_shown():
            try:
                self.gallery.marks[self.gallery.index(self.selected)] = Mark(verdict, note)
            finally:  # a mark that cannot be written is still there
                self._remarked()

    def unmark(self) -> None:
        """Take the selected image's mark away, if it has one."""
        with self._errors_shown():
            try:
                self.gallery.marks.pop(self.gallery.index(self.selected), None)
            finally:
                self._remarked()

    @property
    def pages(self) -> int:
        return max(1, -(-len(self.chosen) // PAGE))

    @property
    def shown(self) -> Tensor:
        """The positions of the images on this page."""
        return self.chosen[self.page * PAGE : (self.page + 1) * PAGE]

    def to_figure(self) -> Figure:
        """The images of this page with their labels and predictions, for where widgets do not run."""
        gallery = self.gallery
        title = f"{gallery.name}: {self.view.show}, {self._told_page()}, by {self.view.sort}"
        return mistakes_grid(gallery.split, gallery.predictions, gallery.classes, self.shown, title=title)

    def _show(self) -> None:
        """Show what `view` and `page` say, the controls too."""
        view = self.view
        low, high = (round(100 * edge) for edge in view.confidence)
        for name, control in self.controls.items():
            value = (low, high) if name == "confidence" else getattr(view, name)
            control.value = ANY if value is None else value
        shown = self.shown.tolist()
        self.pixels.value = f"<style>{''.join(self._background(*one) for one in enumerate(shown))}</style>"
        for tile, position in zip(self.tiles, shown, strict=False):
            tile.description, tile.tooltip = self._caption(position)
        self.grid.children = self.tiles[: len(shown)] if shown else [HTML(self._nothing())]
        self.where.value = f'<span style="padding: 0 12px">{self._told_page()}</span>'
        self.back.disabled, self.on.disabled = self.page == 0, self.page == self.pages - 1
        for pair, cell in self.cells.items():
            _choose(cell, pair == (view.label, view.predicted))
        self._outline()

    def _outline(self) -> None:
        for tile, position in zip(self.tiles, self.shown.tolist(), strict=False):
            _choose(tile, position == self.selected)

    def _told_page(self) -> str:
        first, count = self.page * PAGE, len(self.chosen)
        return f"{first + 1:,} to {min(first + PAGE, count):,} of {count:,}" if count else "no images"

    def _summary(self) -> str:
        said, gallery = self.gallery.predictions, self.gallery
        count, wrong = len(said.labels), int(said.wrong.sum())
        compared = ", ".join(f"{number:,} {what}" for what, number in gallery.compared().items())
        since = f"; against the model before: {compared}" if compared else ""
        name = html.escape(gallery.name)
        return f"<b>{name}: {count:,} images, {wrong:,} mistakes ({wrong / count:.1%})</b>{since}"

    def _nothing(self) -> str:
        if self.view == replace(View(), sort=self.view.sort):
            return "No mistakes at all: the model is right about every image. To look at them, show “all images”."
        if self.view.show == "marked" and not self.gallery.marks:
            return "Nothing is marked yet: select an image and say what is wrong with it."
        return "No image is like that: choose “any” class, or a wider range of confidence."

    def _caption(self, position: int) -> tuple[str, str]:
        """What stands under an image, and what is shown when the pointer rests on it."""
        said = self.gallery.predictions
        label, predicted = (self.gallery.classes[int(one[position])] for one in (said.labels, said.predicted))
        index = self.gallery.index(position)
        mark = self.gallery.marks.get(index)
        words = f"{label} ✓" if label == predicted else f"{label} → {predicted}"
        told = f"image {index}: label {label}, predicted {predicted} ({said.confidence[position]:.0%})"
        return (f"{SIGNS[mark.verdict]} {words}", f"{told}; {mark.verdict}") if mark else (words, told)

    def _background(self, place: int, position: int) -> str:
        pixels = self.gallery.split.images[position].cpu().permute(1, 2, 0).contiguous().numpy()
        return f".{self._key}-{place}{{background-image: url({_png(Image.fromarray(pixels))})}}"

    def _tile(self, place: int) -> Button:
        tile = Button(layout=Layout(width=f"{TILE + 6}px", height=f"{TILE + 28}px", margin="2px"))
        tile.add_class("eva-tile")
        tile.add_class(f"{self._key}-{place}")
        tile.on_click(lambda _: self.select(int(self.shown[place])))
        return tile

    def _matrix(self) -> Any:
        """The confusion matrix as buttons, or what to use in its place."""
        names, counts = [html.escape(name) for name in self.gallery.classes], confusion(self.gallery.predictions)
        if len(counts) > MOST:
            return HTML(
                f"{len(counts)} classes are too many for a matrix here: choose label and predicted class below."
            )
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
        off_diagonal = shares.clone().fill_diagonal_(0)
        heads = [HTML(f'<div class="eva-column">{name}</div>') for name in names]
        children: list[Any] = [HTML('<div class="eva-row">predicted →<br>label ↓</div>'), *heads]
        for label in range(len(counts)):
            children.append(HTML(f'<div class="eva-row">{names[label]}</div>'))
            for predicted in range(len(counts)):
                count = int(counts[label, predicted])
                depth = float(off_diagonal[label, predicted] / off_diagonal.max().clamp(min=1e-9))
                cell = Button(description=f"{count}" if count else "", disabled=not count, layout=sized(34))
                cell.layout.height, cell.layout.margin = "24px", "0"
                cell.style.button_color = "#dcdcdc" if label == predicted else _tint(depth)
                cell.tooltip = (
                    f"label {self.gallery.classes[label]}, predicted {self.gallery.classes[predicted]}: {count}"
                )
                cell.add_class("eva-cell")
                cell.on_click(lambda _, pair=(label, predicted): self.cell(*pair))
                self.cells[label, predicted] = cell
                children.append(cell)
        columns = f"minmax(90px, max-content) repeat({len(counts)}, 34px)"
        # Or the rows would stretch to the height beside, and the names of the classes be cut where it is narrow.
        at = {"align_items": "flex-end", "align_self": "flex-start", "flex": "0 0 auto"}
        return GridBox(children, layout=Layout(grid_template_columns=columns, grid_gap="1px", **at))

    def _explained(self, position: int) -> str:
        gallery, said = self.gallery, self.gallery.predictions
        names = [html.escape(name) for name in gallery.classes]
        label, predicted = int(said.labels[position]), int(said.predicted[position])
        right = "and predicted so" if label == predicted else f"predicted <b>{names[predicted]}</b>"
        pictures, told = gallery.pictures(position)
        captions = ("the image", f"for {names[predicted]}", f"for {names[label]} (label)")
        figures = "".join(
            f'<figure><img src="{_png(picture)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
            for picture, caption in zip(pictures, captions, strict=False)
        )
        doubt = gallery.suspects.get(position)
        doubted = f" Confident learning doubts the label: <b>{names[doubt]}</b>?" if doubt is not None else ""
        rows = "".join(
            f'<tr><td style="padding-right: 8px">{names[one]}{" (label)" if one == label else ""}</td>'
            f'<td style="width: 200px"><div style="background: {"#0072b2" if one == label else "#d55e00"}; '
            f'height: 12px; width: {100 * share:.1f}%"></div></td><td style="padding-left: 8px">{share:.1%}</td></tr>'
            for one, share in gallery.likely(position)
        )
        return (
            f'<div style="line-height: 1.5">Image {gallery.index(position)}: label <b>{names[label]}</b>, {right}. '
            f"Loss {said.loss[position]:.2f}.{doubted}<br>{figures}<br>"
            f'<span style="font-size: 12px">{html.escape(told)}</span><table>{rows}</table></div>'
        )

    def _show_mark(self, mark: Mark | None) -> None:
        self.note.value = mark.note if mark else ""
        self.verdict.value = mark.verdict if mark else UNMARKED
        self.note.disabled = mark is None
        given = ", ".join(
            f"{SIGNS[verdict]} {count} {verdict}" for verdict, count in self.gallery.marks.tally().items()
        )
        self.tally.value = f"Marked: {given}. Kept in {html.escape(str(self.gallery.marks.path))}"

    def _remarked(self) -> None:
        mark = self.gallery.marks.get(self.gallery.index(self.selected))
        note = self.note.value
        self._show_mark(mark)
        if mark is None:  # a verdict taken back by accident has not lost its note
            self.note.value = note
        self.chosen = self.gallery.positions(self.view)
        self.page = min(self.page, self.pages - 1)
        self._show()

    def _current(self) -> Mark | None:
        return self.gallery.marks.get(self.gallery.index(self.selected))

    def _judged(self, verdict: str) -> None:
        mark = self._current()
        if verdict == UNMARKED and mark is not None:
            self.unmark()
        elif verdict != UNMARKED and (mark is None or mark.verdict != verdict):  # equal where `_show_mark` set it
            self.mark(verdict, self.note.value)

    def _noted(self, note: str) -> None:
        mark = self._current()
        if mark is not None and mark.note != note:  # likewise
            self.mark(mark.verdict, note)

    def _moved(self, name: str, value: Any) -> None:
        new = (value[0] / 100, value[1] / 100) if name == "confidence" else None if value == ANY else value
        if new != getattr(self.view, name):  # likewise
            self.set(**{name: new})


def _choose(widget: Any, chosen: bool) -> None:
    (widget.add_class if chosen else widget.remove_class)("eva-chosen")


def _tint(depth: float) -> str:
    """From white to orange: light enough for black text at every depth."""
    return "#" + "".join(f"{round(255 + depth * (full - 255)):02x}" for full in (240, 140, 70))


def _png(picture: Image.Image) -> str:
    """As a data URI."""
    page = io.BytesIO()
    picture.save(page, "png", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(page.getvalue()).decode()
