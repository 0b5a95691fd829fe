"""The mistake explorer: a thin skin over `eva.widgets.gallery`.

MistakeExplorer(model, splits, "validation")                      # grid, confusion matrix, Grad-CAM, marks
MistakeExplorer(model, splits, "validation", before=earlier)      # and what was fixed or broken since
"""

import html
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ipywidgets import HTML, HBox, Layout, VBox
from matplotlib.figure import Figure
from torch import Tensor, nn

from eva.data import Splits
from eva.plotting import mistakes_grid
from eva.widgets.gallery import Gallery, View
from eva.widgets.marks import Mark
from eva.widgets.panels import PAGE, STYLE, DetailPanel, FilterPanel, MarkingPanel, MatrixPanel, PagePanel, page_range
from eva.widgets.skin import Skin, one_at_a_time, part


class MistakeExplorer(Skin):
    """Look at the images of a split as `model` sees them: choose, sort, page, select one, and mark it.

    The arguments are those of `eva.widgets.gallery.Gallery`, which is `gallery` here. `set`, `cell`, `turn`, `select`,
    `mark` and `unmark` do what the controls do; `view`, `page` and `selected`, a position, are what came of it. Marks
    are kept in a file, by the index of the image: they survive every filter, and the kernel.
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
        super().__init__("mistake-explorer")
        gallery = self.gallery = Gallery(model, splits, which, before, marks)
        self.view, self.page, self.selected = View(), 0, 0
        self._matrix = part(MatrixPanel(gallery, self.cell), "matrix")
        self._filters = FilterPanel(gallery, self._set_other)
        self._images = PagePanel(gallery, self.select, self.turn)
        self._detail = part(DetailPanel(gallery), "detail")
        self._marking = MarkingPanel(
            gallery.marks, lambda verdict, note: self.mark(verdict, note) if verdict else self.unmark()
        )
        image = VBox([self._detail, self._marking], layout=Layout(flex="1 1 500px"))
        above = HBox([self._matrix, image], layout=Layout(flex_flow="row wrap", grid_gap="0 16px"))
        summary = part(HTML(self._summary()), "told")
        self.children = [HTML(STYLE), summary, above, self.error, self._filters, self._images]
        self.select(next(iter(gallery.positions(self.view).tolist()), 0))

    def set(self, **changes: Any) -> None:
        """Change the view, as in `set(show="all images", label=3)`: the names are those of View. Page 0 is shown."""
        with self._changing():
            view = replace(self.view, **changes)
            self.gallery.positions(view)  # raises, where it does, before anything has changed
            self.view, self.page = view, 0

    def cell(self, label: int, predicted: int) -> None:
        """Show all images of one cell of the confusion matrix."""
        self.set(show="all images", label=label, predicted=predicted, confidence=(0.0, 1.0))

    def turn(self, pages: int) -> None:
        """Go on by so many pages, or back. Raises IndexError past the first and the last."""
        with self._changing():
            if self.page + pages not in range(self.pages):
                raise IndexError(f"there is no page {self.page + pages + 1}: this view has pages 1 to {self.pages}")
            self.page += pages

    def select(self, position: int) -> None:
        """Show the image at `position` of the split: its five likeliest classes, where the evidence is, its mark."""
        with self._changing():
            self._detail.show(position)
            self.selected = position

    def mark(self, verdict: str, note: str = "") -> None:
        """Mark the selected image with one of `eva.widgets.marks.VERDICTS`, and keep it."""
        with self._changing():
            self.gallery.marks[self.gallery.index(self.selected)] = Mark(verdict, note)

    def unmark(self) -> None:
        """Take the selected image's mark away, if it has one."""
        with self._changing():
            self.gallery.marks.pop(self.gallery.index(self.selected), None)

    @property
    def pages(self) -> int:
        return max(1, -(-len(self.chosen) // PAGE))

    @property
    def shown(self) -> Tensor:
        """The positions of the images on this page."""
        return self.chosen[self.page * PAGE : (self.page + 1) * PAGE]

    def to_figure(self) -> Figure:
        """The images of this page with their labels and predictions, for where widgets do not run."""
        gallery, place = self.gallery, page_range(len(self.chosen), self.page)
        title = f"{gallery.name}: {self.view.show}, {place}, by {self.view.sort}"
        return mistakes_grid(gallery.split, gallery.predictions, gallery.classes, self.shown, title=title)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Show what came of a change, also where it raised: a mark that cannot be written is still there."""
        with self._errors_shown():
            try:
                yield
            finally:
                self._show()

    def _show(self) -> None:
        self.chosen = self.gallery.positions(self.view)
        self.page = min(self.page, self.pages - 1)  # a mark that was taken away may leave fewer
        self._filters.show(self.view)
        self._matrix.show(self.view)
        self._images.show(self.view, self.chosen, self.page, self.selected)
        self._marking.show(self.gallery.index(self.selected))

    def _summary(self) -> str:
        mistakes, count = len(self.gallery.predictions.mistakes), len(self.gallery.split)
        compared = ", ".join(f"{images:,} {show}" for show, images in self.gallery.compared().items())
        since = f"; against the model before: {compared}" if compared else ""
        name = html.escape(self.gallery.name)
        return f"<b>{name}: {count:,} images, {mistakes:,} mistakes ({mistakes / count:.1%})</b>{since}"

    @one_at_a_time
    def _set_other(self, name: str, value: Any) -> None:
        if value != getattr(self.view, name):  # equal where `_show` set the control
            self.set(**{name: value})
