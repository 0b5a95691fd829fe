"""Figures of numbers over others: training, any few series, a field that grows, accuracy against its price."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eva.plotting.style import BLUE, COLOURS, GREY, ORANGE, finished, told_apart
from eva.receptive_field import ReceptiveField


def curves(rows: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Loss and accuracy of training and validation by epoch: the rows of a `History`, or of metrics.jsonl."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, name, scale, label in ((axes[0], "loss", 1, "cross-entropy"), (axes[1], "accuracy", 100, "accuracy (%)")):
        for split, colour, dash in (("train", BLUE, "o--"), ("validation", ORANGE, "s-")):
            values = [scale * row[f"{split}_{name}"] for row in rows]
            axis.plot([row["epoch"] for row in rows], values, dash, color=colour, label=split, markersize=4)
        axis.set(xlabel="epoch", ylabel=label, title=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return finished(figure, title, ruled=True)


def live_curves(title: str = "") -> Callable[[Sequence[dict[str, Any]]], None]:
    """A hook for `fit(on_epoch=...)` that redraws one figure in the notebook after each epoch."""
    from IPython.display import DisplayHandle

    handle, draw = DisplayHandle(), None

    def update(rows: Sequence[dict[str, Any]]) -> None:
        nonlocal draw
        draw = handle.update if draw else handle.display
        draw(curves(rows, title))

    return update


def accuracy_by_minute(runs: dict[str, Sequence[dict[str, Any]]], title: str = "") -> Figure:
    """Validation accuracy over the minutes of training, on a logarithmic axis, of up to four runs: each one's rows.

    Raises ValueError for more runs.
    """
    drawn = told_apart(runs)
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, rows, colour, dash in drawn:
        minutes = [seconds / 60 for seconds in accumulate(row["seconds"] for row in rows)]
        accuracies = [100 * row["validation_accuracy"] for row in rows]
        label = f"{name}: {accuracies[-1]:.1f} % after {minutes[-1]:.1f} minutes"
        axis.plot(minutes, accuracies, dash, color=colour, markersize=4, label=label)
    axis.set(title=title, xlabel="minutes of training", ylabel="validation accuracy (%)", xscale="log")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))  # the curves leave no corner free
    return finished(figure, ruled=True)


def lines(
    x: Sequence[float],
    series: dict[str, Sequence[float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log_y: bool = False,
    colors: Sequence[str] = COLOURS,
) -> Figure:
    """Up to four series over the same x, told apart by dash and marker as well as by colour.

    Raises ValueError for more: they could not be told apart.
    """
    drawn = told_apart(series, colors)
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, values, colour, dash in drawn:
        axis.plot(x, values, dash, color=colour, markersize=3, markevery=max(1, len(x) // 12), label=name)
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale="log" if log_y else "linear")
    return finished(figure, ruled=True)


def field_growth(fields: dict[str, ReceptiveField], title: str = "") -> Figure:
    """How the receptive field grows, layer by layer, of up to four networks. Rows; a layer is one operation traced.

    Raises ValueError for more networks.
    """
    drawn = told_apart(fields)
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, field, colour, dash in drawn:
        sizes = [1, *(layer.size[0] for layer in field.layers)]
        label = f"{name}: {sizes[-1]} pixels"
        axis.step(range(len(sizes)), sizes, dash, where="post", color=colour, markersize=4, label=label)
    for side in {field.input_size[1] for field in fields.values()}:
        axis.axhline(side, color="black", lw=0.8)
        axis.text(0, side, f" the image: {side} pixels", va="bottom", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(title=title, xlabel="layer (0 is the image)", ylabel="receptive field (pixels)")
    return finished(figure, ruled=True)


def trade_offs(lines: dict[str, dict[str, Any]], title: str = "") -> Figure:
    """Accuracy of each step of the ladder against its parameters and against its MACs: lines of the ledger, by step."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    accuracies, spreads = ([100 * line[name] for line in lines.values()] for name in ("accuracy", "accuracy_sd"))
    for axis, name, unit in ((axes[0], "parameters", 1e3), (axes[1], "macs", 1e6)):
        costs = [line[name] / unit for line in lines.values()]
        axis.plot(costs, accuracies, ":", color=GREY, lw=1)  # the order of the steps
        axis.errorbar(costs, accuracies, spreads, fmt="o", color=BLUE, markersize=4, capsize=4)
        for number, (cost, accuracy) in enumerate(zip(costs, accuracies, strict=True), start=1):
            aside = (8 if number % 2 else -8, 0)  # steps that cost the same stand above each other
            axis.annotate(f"{number}", (cost, accuracy), aside, textcoords="offset points", ha="center", va="center",
                          fontsize=9, weight="bold")  # fmt: skip
        axis.set_xlim(0, 1.1 * max(costs))
    axes[0].set(xlabel="parameters (thousands)", ylabel="validation accuracy (%)")
    axes[1].set(xlabel="MACs of one image (millions)")
    steps = "   ".join(f"{number} {step}" for number, step in enumerate(lines, start=1))
    return finished(figure, f"{title}\n{steps}", ruled=True, fontsize=9)
