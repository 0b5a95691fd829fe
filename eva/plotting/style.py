"""What all figures share: colours, lines that can be told apart in grey, names as they are, one end."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterMathtext, NullFormatter

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # from Okabe and Ito's colour-blind-safe palette
# Of up to four lines, which differ in dash and marker and not in colour alone: a figure can be read in grey.
COLOURS, _DASHES = (BLUE, ORANGE, GREY, "#009e73"), ("o-", "s--", "^:", "d-.")


def told_apart(series: Mapping[str, Any], colours: Sequence[str] = COLOURS) -> list[tuple[str, Any, str, str]]:
    """Each series with its name, colour, and dash and marker. Raises ValueError for more than there are of these."""
    most = min(len(colours), len(_DASHES))
    if len(series) > most:
        raise ValueError(f"{most} lines at most can be told apart here, got {len(series)}: draw two figures")
    return [*zip(series.keys(), series.values(), colours, _DASHES, strict=False)]


def shortened(name: str, longest: int = 40) -> str:
    """A name that somebody chose, cut where it would fill the figure."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def finished(figure: Figure, suptitle: str = "", *, ruled: bool = False, **font: Any) -> Figure:
    """The figure under its title; if `ruled`, each of its axes has a grid, and a legend where lines have names."""
    for axis in figure.axes if ruled else ():
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0] and not axis.get_legend():
            axis.legend()
    figure.suptitle(suptitle, **font)
    for direction in (each for axis in figure.axes for each in (axis.xaxis, axis.yaxis)):
        if isinstance(direction.get_major_formatter(), LogFormatterMathtext):  # which would be shown as it is written
            direction.set_major_formatter("{x:g}")
            direction.set_minor_formatter(NullFormatter())
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # "$5 to $10" may be the name of somebody's class
    plt.close(figure)  # else a notebook draws it a second time, and never lets it go
    return figure
