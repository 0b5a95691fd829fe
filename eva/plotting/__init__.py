"""Every figure of the course. Each function takes plain results and returns a matplotlib Figure."""

from eva.plotting.compared import differences_of_each, runs_of_each
from eva.plotting.curves import accuracy_by_minute, curves, field_growth, lines, live_curves, trade_offs
from eva.plotting.images import feature_maps, field_over, first_filters, image_grid, maps
from eva.plotting.mistakes import confusion_matrix, mistakes_grid, reliability
from eva.plotting.pyramid import pyramid
from eva.plotting.strip import draw
from eva.plotting.style import BLUE, GREY, ORANGE

__all__ = ["BLUE", "GREY", "ORANGE", "accuracy_by_minute", "confusion_matrix", "curves", "differences_of_each", "draw",
           "feature_maps", "field_growth", "field_over", "first_filters", "image_grid", "lines", "live_curves", "maps",
           "mistakes_grid", "pyramid", "reliability", "runs_of_each", "trade_offs"]  # fmt: skip
