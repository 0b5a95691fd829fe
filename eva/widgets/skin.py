"""What the widgets of the course share: an error is a red line and is raised too, and a picture stands in for them."""

import base64
import html
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from ipywidgets import HTML, Layout, VBox

from eva.widgets.pictures import figure_png

_HANDLERS = threading.RLock()


def one_at_a_time(handler: Callable[..., Any]) -> Callable[..., Any]:
    """`handler`, which waits until no other one of these runs.

    JupyterLab has some messages of a control handled in the kernel's main thread and others in one beside it: without
    this, two changes in quick succession would each be made to what the other has only half shown.
    """

    @wraps(handler)
    def waiting(*arguments: Any, **named: Any) -> Any:
        with _HANDLERS:
            return handler(*arguments, **named)

    return waiting


class Skin(VBox):
    """A widget over plain methods, of class `eva-<name>` in a page. It sets `children` and has a `to_figure`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        part(self, name)
        self.error = part(HTML(), "error")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and the figure for where it does not run (ipywidgets 7 shows the widget alone)."""
        bundle = super()._repr_mimebundle_(**options)
        bundle["image/png"] = base64.b64encode(figure_png(self.to_figure())).decode()
        return bundle

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        with _HANDLERS:
            try:
                yield
            except Exception as error:
                self.error.value = alarm(str(error))
                raise
            self.error.value = ""


def alarm(message: str) -> str:
    """HTML of a red line, in a light and in a dark page."""
    return f'<div style="color: var(--jp-error-color1, #b00020); line-height: 1.4">{html.escape(message)}</div>'


def part(widget: Any, name: str) -> Any:
    """The widget, which has the class `eva-<name>` in a page from now on."""
    widget.add_class(f"eva-{name}")
    return widget


def sized(width: int) -> Layout:
    """So many pixels wide, whatever is beside it: a row of controls stays below its heads."""
    return Layout(width=f"{width}px", flex="0 0 auto")
