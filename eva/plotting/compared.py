"""Figures of experiments: every run of every network, and how far one network is from another."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from eva.plotting.style import BLUE, GREY, ORANGE, finished


class Interval(Protocol):
    """A mean and the ends of its interval, as fractions, and its p-value."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def p(self) -> float: ...


def runs_of_each(accuracies: Mapping[str, Sequence[float]], prices: Mapping[str, str], title: str = "") -> Figure:
    """A dot for each run of each network, a line at their mean, and in words that mean and the network's price.

    accuracies: fractions, of each network; prices: of each of these, or of some. After figure 2 of Liu et al. 2022, but
    without its bars, which would have to begin at zero.
    """
    figure, axis = plt.subplots(figsize=(8, 0.8 + 0.42 * len(accuracies)), layout="constrained")
    percent = {name: [100 * accuracy for accuracy in runs] for name, runs in accuracies.items()}
    means = [sum(runs) / len(runs) for runs in percent.values()]
    axis.plot(means, range(len(means)), "|", color=ORANGE, markersize=18, markeredgewidth=2)
    for place, runs in enumerate(percent.values()):
        axis.plot(runs, [place] * len(runs), "o", color=BLUE, markersize=5, alpha=0.6)
    axis.set_ylim(len(means) - 0.5, -0.5)
    for place, (name, mean) in enumerate(zip(accuracies, means, strict=True)):
        told = f"{mean:.1f}" + (f"   {prices[name]}" if name in prices else "")
        axis.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axis.set_yticks(range(len(means)), accuracies)
    axis.set(title=title, xlabel="validation accuracy (%): each run, and their mean")
    axis.grid(alpha=0.3)
    return finished(figure)


def differences_of_each(differences: Mapping[str, Interval], against: str, title: str = "") -> Figure:
    """How far each network is from the one named `against`: the mean, and its interval; a forest plot.

    What was not found (p, corrected for the number of networks, is not below 0.05) is grey and hollow.
    """
    figure, axis = plt.subplots(figsize=(8, 0.9 + 0.36 * len(differences)), layout="constrained")
    axis.axvline(0, color="black", lw=0.8)
    for place, apart in enumerate(differences.values()):
        mean, low, high = (100 * value for value in (apart.mean, apart.low, apart.high))
        unclear = not apart.p < 0.05  # after one run of each it is NaN
        colour = GREY if unclear else BLUE if mean > 0 else ORANGE
        axis.plot([low, high], [place, place], "-", color=colour)
        axis.plot([mean], [place], "o", color=colour, markerfacecolor="white" if unclear else colour, markersize=5)
        ends = "one seed" if math.isnan(low) else f"{low:+.1f} to {high:+.1f}"
        axis.annotate(f"{mean:+.1f} ({ends})", (1.01, place), xycoords=("axes fraction", "data"),
                      va="center", fontsize=8)  # fmt: skip
    axis.set_yticks(range(len(differences)), differences)
    axis.set_ylim(len(differences) - 0.5, -0.5)
    axis.set(title=title, xlabel=f"points above {against!r}, with the 95 % interval")
    axis.grid(axis="x", alpha=0.3)
    return finished(figure)
