"""The parts of the mistake explorer. Each builds its widgets, shows a state, and calls back where a learner acts."""

import base64
import html
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ipywidgets import HTML, Box, Button, Dropdown, GridBox, HBox, IntRangeSlider, Layout, Text, ToggleButtons, VBox
from PIL import Image
from torch import Tensor

from eva.mistakes import RANKINGS, confusion
from eva.plotting import BLUE, ORANGE
from eva.widgets.gallery import Gallery, View
from eva.widgets.marks import VERDICTS, Marks
from eva.widgets.pictures import enlarged, png
from eva.widgets.skin import alarm, one_at_a_time, part, sized

PAGE = 18  # images
MOST = 20  # classes that a matrix of buttons can still show
UNMARKED = "no mark"
SIGNS = dict(zip(VERDICTS, ("✎", "≈", "✗"), strict=True))
_ANY = -1  # in place of None, for which ipywidgets would show an empty list
_TILE = 128  # pixels of the screen
# Buttons carry the images as backgrounds, so that a click on an image selects it: core Image widgets take no click.
STYLE = f"""<style>
.eva-tile {{background-size: {_TILE}px; background-repeat: no-repeat; background-position: top center; padding: 0 1px;
  image-rendering: pixelated; padding-top: {_TILE}px; font-size: 10px; line-height: 12px; text-align: center;
  white-space: normal}}
.eva-cell {{padding: 0; font-size: 11px; line-height: 24px; text-align: center; color: #111 !important}}
.eva-row {{font-size: 11px; line-height: 24px; text-align: right; padding-right: 6px; white-space: nowrap}}
.eva-column {{font-size: 11px; writing-mode: vertical-rl; transform: rotate(180deg); line-height: 34px;
  padding-top: 5px}}
.eva-matrix .widget-html, .eva-matrix .widget-html-content {{height: auto; line-height: 24px; margin: 0}}
.eva-chosen {{outline: 3px solid {BLUE} !important; outline-offset: -2px !important}}
.eva-confidence {{margin-left: 12px}}
.eva-mistake-explorer table {{border-collapse: collapse}}
.eva-mistake-explorer figure {{display: inline-block; margin: 0 8px 4px 0; font-size: 12px}}
</style>"""


class MatrixPanel(GridBox):
    """The confusion matrix as buttons, or what to use in its place. `choose` is called with label and prediction."""

    def __init__(self, gallery: Gallery, choose: Callable[[int, int], None]) -> None:
        names, counts = [html.escape(name) for name in gallery.classes], confusion(gallery.predictions)
        self._cells: dict[tuple[int, int], Button] = {}
        if len(counts) > MOST:
            advice = "choose label and predicted class below."
            super().__init__([HTML(f"{len(counts)} classes are too many for a matrix here: {advice}")])
            return
        shares = (counts / counts.sum(1, keepdim=True).clamp(min=1)).fill_diagonal_(0)
        depths = (shares / shares.max().clamp(min=1e-9)).tolist()
        heads = [HTML(f'<div class="eva-column">{name}</div>') for name in names]
        children: list[Any] = [HTML('<div class="eva-row">predicted →<br>label ↓</div>'), *heads]
        for label, row in enumerate(counts.tolist()):
            children.append(HTML(f'<div class="eva-row">{names[label]}</div>'))
            for predicted, count in enumerate(row):
                cell = part(Button(description=f"{count}" if count else "", disabled=not count), "cell")
                cell.layout = Layout(width="34px", flex="0 0 auto", height="24px", margin="0")
                cell.style.button_color = "#dcdcdc" if label == predicted else _tint(depths[label][predicted])
                cell.tooltip = f"label {gallery.classes[label]}, predicted {gallery.classes[predicted]}: {count}"
                cell.on_click(lambda _, pair=(label, predicted): choose(*pair))
                self._cells[label, predicted] = cell
                children.append(cell)
        columns = f"minmax(90px, max-content) repeat({len(counts)}, 34px)"
        # Or the rows would stretch to the height beside, and the names of the classes be cut where it is narrow.
        own_size = {"align_items": "flex-end", "align_self": "flex-start", "flex": "0 0 auto"}
        super().__init__(children, layout=Layout(grid_template_columns=columns, grid_gap="1px", **own_size))

    def show(self, view: View) -> None:
        for pair, cell in self._cells.items():
            _outline(cell, pair == (view.label, view.predicted))


class FilterPanel(HBox):
    """The controls of a view. `change` is called with a field of View and its value, where a learner moved it."""

    def __init__(self, gallery: Gallery, change: Callable[[str, Any], None]) -> None:
        classes = [("any", _ANY), *((name, label) for label, name in enumerate(gallery.classes))]
        narrow = {"layout": sized(230), "style": {"description_width": "70px"}}
        wide = {"layout": sized(330), "style": {"description_width": "initial"}}
        self._controls: dict[str, Any] = {
            "show": Dropdown(options=gallery.shows, description="show", **narrow),
            "sort": Dropdown(options=[*RANKINGS], description="sort by", **narrow),
            "label": Dropdown(options=classes, description="label", **narrow),
            "predicted": Dropdown(options=classes, description="predicted", **narrow),
            "confidence": IntRangeSlider(description="confidence (%)", continuous_update=False, **wide),
        }
        for name, control in self._controls.items():
            part(control, name).observe(lambda _, name=name: self._moved(name), "value")
        self._change, self._showing = change, False
        super().__init__([*self._controls.values()], layout=Layout(flex_flow="row wrap"))

    def show(self, view: View) -> None:
        percent = [round(100 * edge) for edge in view.confidence]
        self._showing = True
        for name, control in self._controls.items():
            value = getattr(view, name)
            control.value = percent if name == "confidence" else _ANY if value is None else value
        self._showing = False

    @one_at_a_time
    def _moved(self, name: str) -> None:
        if not self._showing:  # else a view that the slider cannot show, in whole per cent, would be rounded
            self._change(name, self._value(name))

    def _value(self, name: str) -> Any:
        value = self._controls[name].value
        return (value[0] / 100, value[1] / 100) if name == "confidence" else None if value == _ANY else value


class PagePanel(VBox):
    """A page of images as buttons. `select` is called with a position, `turn` with -1 or 1."""

    def __init__(self, gallery: Gallery, select: Callable[[int], None], turn: Callable[[int], None]) -> None:
        self._gallery, self._select, self._positions = gallery, select, list[int]()
        self._key = f"eva-{uuid.uuid4().hex[:8]}"  # the images of two explorers on one page must not mix
        self._tiles = [self._tile(number) for number in range(PAGE)]
        self._pixels, self._range = HTML(layout=Layout(display="none")), part(HTML(), "where")
        self._back = part(Button(icon="chevron-left", tooltip="the page before", layout=sized(40)), "back")
        self._next = part(Button(icon="chevron-right", tooltip="the next page", layout=sized(40)), "next")
        self._back.on_click(lambda _: turn(-1))
        self._next.on_click(lambda _: turn(1))
        self._grid = part(Box(layout=Layout(flex_flow="row wrap")), "grid")
        super().__init__([self._pixels, HBox([self._back, self._range, self._next]), self._grid])

    def show(self, view: View, chosen: Tensor, page: int, selected: int) -> None:
        """Page `page` of the positions that `view` chose, the selected one outlined."""
        self._positions = chosen[page * PAGE :][:PAGE].tolist()
        self._pixels.value = f"<style>{''.join(map(self._background, range(PAGE), self._positions))}</style>"
        for tile, position in zip(self._tiles, self._positions, strict=False):
            tile.description, tile.tooltip = self._caption(position)
            _outline(tile, position == selected)
        count = len(self._positions)
        self._grid.children = self._tiles[:count] if count else [HTML(_nothing(view, self._gallery))]
        self._range.value = f'<span style="padding: 0 12px">{page_range(len(chosen), page)}</span>'
        self._back.disabled, self._next.disabled = page == 0, (page + 1) * PAGE >= len(chosen)

    def _tile(self, number: int) -> Button:
        tile = part(Button(layout=Layout(width=f"{_TILE + 6}px", height=f"{_TILE + 28}px", margin="2px")), "tile")
        tile.add_class(f"{self._key}-{number}")
        tile.on_click(one_at_a_time(lambda _: self._select(self._positions[number])))
        return tile

    def _background(self, number: int, position: int) -> str:
        pixels = enlarged(self._gallery.split.images[position], 1)
        return f".{self._key}-{number}{{background-image: url({_data_uri(pixels)})}}"

    def _caption(self, position: int) -> tuple[str, str]:
        """What stands under an image, and what is shown when the pointer rests on it."""
        gallery, predictions = self._gallery, self._gallery.predictions
        index, confidence = gallery.index(position), f"{predictions.confidence[position]:.0%}"
        label, predicted = (gallery.classes[of[position]] for of in (predictions.labels, predictions.predicted))
        caption = f"{label} ✓" if label == predicted else f"{label} → {predicted}"
        tooltip = f"image {index}: label {label}, predicted {predicted} ({confidence})"
        mark = gallery.marks.get(index)
        return (f"{SIGNS[mark.verdict]} {caption}", f"{tooltip}; {mark.verdict}") if mark else (caption, tooltip)


def page_range(count: int, page: int) -> str:
    """Which of `count` images page `page` shows, in words."""
    return f"{page * PAGE + 1:,} to {min((page + 1) * PAGE, count):,} of {count:,}" if count else "no images"


def _nothing(view: View, gallery: Gallery) -> str:
    if view == replace(View(), sort=view.sort):
        return "No mistakes at all: the model is right about every image. To look at them, show “all images”."
    if view.show == "marked" and not gallery.marks:
        return "Nothing is marked yet: select an image and say what is wrong with it."
    return "No image is like that: choose “any” class, or a wider range of confidence."


class DetailPanel(HTML):
    """One image: its label and prediction, where the evidence is, its likeliest classes."""

    def __init__(self, gallery: Gallery) -> None:
        super().__init__()
        self._gallery = gallery

    def show(self, position: int) -> None:
        gallery, predictions = self._gallery, self._gallery.predictions
        index, names = gallery.index(position), [html.escape(name) for name in gallery.classes]
        label, predicted = int(predictions.labels[position]), int(predictions.predicted[position])
        answer = "and predicted so" if label == predicted else f"predicted <b>{names[predicted]}</b>"
        suspect = gallery.suspects.get(position)
        doubt = "" if suspect is None else f" Confident learning doubts the label: <b>{names[suspect]}</b>?"
        pictures, box_line = gallery.pictures(position)
        captions = ("the image", f"for {names[predicted]}", f"for {names[label]} (label)")
        figures = "".join(
            f'<figure><img src="{_data_uri(picture)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
            for picture, caption in zip(pictures, captions, strict=False)
        )
        bars = "".join(
            f'<tr><td style="padding-right: 8px">{names[number]}{" (label)" if number == label else ""}</td>'
            f'<td style="width: 200px"><div style="background: {BLUE if number == label else ORANGE}; '
            f'height: 12px; width: {100 * share:.1f}%"></div></td><td style="padding-left: 8px">{share:.1%}</td></tr>'
            for number, share in gallery.likely(position)
        )
        self.value = (
            f'<div style="line-height: 1.5">Image {index}: label <b>{names[label]}</b>, {answer}. '
            f"Loss {predictions.loss[position]:.2f}.{doubt}<br>{figures}<br>"
            f'<span style="font-size: 12px">{html.escape(box_line)}</span><table>{bars}</table></div>'
        )


class MarkingPanel(VBox):
    """A learner's mark. `change` is called with another verdict, or None for no mark, and the note; or another note."""

    def __init__(self, marks: Marks, change: Callable[[str | None, str], None]) -> None:
        self._marks, self._change = marks, change
        self._index = -1  # of the image whose mark is shown: none yet
        self._verdict = part(ToggleButtons(options=[UNMARKED, *VERDICTS], style={"button_width": "108px"}), "verdict")
        self._note = part(Text(placeholder="a note, once there is a verdict", continuous_update=False), "note")
        self._note.layout, self._tally = sized(400), part(HTML(), "tally")
        self._verdict.observe(lambda change: self._judge(change["new"]), "value")
        self._note.observe(lambda change: self._annotate(change["new"]), "value")
        super().__init__([self._verdict, self._note, self._tally])

    def show(self, index: int) -> None:
        mark, before, self._index = self._marks.get(index), self._index, index
        if mark or index != before:  # a verdict taken back by accident has not lost its note
            self._note.value = mark.note if mark else ""
        self._verdict.value = mark.verdict if mark else UNMARKED
        self._note.disabled = mark is None
        counts = ", ".join(f"{SIGNS[verdict]} {count} {verdict}" for verdict, count in self._marks.tally().items())
        kept = "" if self._marks.unsaved else f" Kept in {html.escape(str(self._marks.path))}"
        self._tally.value = f"Marked: {counts}.{kept}{self._marks.unsaved and alarm(self._marks.unsaved)}"

    @one_at_a_time
    def _judge(self, verdict: str) -> None:
        mark = self._marks.get(self._index)
        if verdict != (mark.verdict if mark else UNMARKED):  # equal where `show` set it
            self._change(None if verdict == UNMARKED else verdict, self._note.value)

    @one_at_a_time
    def _annotate(self, note: str) -> None:
        mark = self._marks.get(self._index)
        if mark and note != mark.note:  # likewise
            self._change(mark.verdict, note)


def _outline(button: Any, chosen: bool) -> None:
    (button.add_class if chosen else button.remove_class)("eva-chosen")


def _tint(depth: float) -> str:
    """From white to orange: light enough for black text at every depth."""
    return "#" + "".join(f"{round(255 + depth * (full - 255)):02x}" for full in (240, 140, 70))


def _data_uri(picture: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()
