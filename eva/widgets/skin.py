"""What the widgets of the course share: an error is a red line and is raised too, and a picture stands in for them."""

import base64
import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ipywidgets import HTML, Layout, VBox
from matplotlib.figure import Figure


class Skin(VBox):
    """A widget over plain methods. It sets `error` first; in a page it has the class `eva-<name>`, its parts theirs."""

    error: HTML

    def __init__(self, name: str, children: list[Any], **parts: Any) -> None:
        super().__init__(children)
        for part, widget in {name: self, "error": self.error, **parts}.items():
            widget.add_class(f"eva-{part.replace('_', '-')}")

    def to_figure(self) -> Figure:
        """What the widget shows, as a matplotlib figure, for where widgets do not run."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and the figure for where it does not run (ipywidgets 7 shows the widget alone)."""
        shown = super()._repr_mimebundle_(**options)
        png = io.BytesIO()
        self.to_figure().savefig(png, format="png", dpi=80)
        shown["image/png"] = base64.b64encode(png.getvalue()).decode()
        return shown

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            words = html.escape(str(error))
            self.error.value = f'<div style="color: var(--jp-error-color1, #b00020); line-height: 1.4">{words}</div>'
            raise
        self.error.value = ""


def sized(width: int) -> Layout:
    """So many pixels wide, whatever is beside it: a row of controls stays below its heads."""
    return Layout(width=f"{width}px", flex="0 0 auto")
