"""Training, in two sizes.

`train` and `test` are one pass each over any iterable of (images, labels), for a loop that you write yourself. `fit` is
that loop with what a run wants: a recipe, a schedule, mixed precision, checkpoints, a history to plot.
"""

from eva.training.checks import TrainingError, check_labels, check_logits
from eva.training.folder import METRICS_FILE, MODEL_FILE, claimed
from eva.training.loop import Batches, test, train
from eva.training.meter import Result
from eva.training.run import History, fit

__all__ = ["METRICS_FILE", "MODEL_FILE", "Batches", "History", "Result", "TrainingError", "check_labels",
           "check_logits", "claimed", "fit", "test", "train"]  # fmt: skip
