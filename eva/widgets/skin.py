"""What the widgets of the course share: an error is a red line and is raised too, and a picture stands in for them."""

import base64
import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ipywidgets import HTML, Layout, VBox


class Skin(VBox):
    """A widget over plain methods, of class `eva-<name>` in a page. It sets `children` and has a `to_figure`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        part(self, name)
        self.error = part(HTML(), "error")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and the figure for where it does not run (ipywidgets 7 shows the widget alone)."""
        bundle = super()._repr_mimebundle_(**options)
        png = io.BytesIO()
        self.to_figure().savefig(png, format="png", dpi=80)
        bundle["image/png"] = base64.b64encode(png.getvalue()).decode()
        return bundle

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            message = html.escape(str(error))
            self.error.value = f'<div style="color: var(--jp-error-color1, #b00020); line-height: 1.4">{message}</div>'
            raise
        self.error.value = ""


def part(widget: Any, name: str) -> Any:
    """The widget, which has the class `eva-<name>` in a page from now on."""
    widget.add_class(f"eva-{name}")
    return widget


def sized(width: int) -> Layout:
    """So many pixels wide, whatever is beside it: a row of controls stays below its heads."""
    return Layout(width=f"{width}px", flex="0 0 auto")
