"""The training loop, in two sizes.

`train` and `test` (in loop.py) are one pass each over any iterable of (images, labels), for a loop that you write
yourself. `fit` is that loop with what a run wants: a recipe, a schedule, mixed precision on a GPU, checkpoints, a
history to plot.
"""

import copy
import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eva import augment, checkpoint
from eva.data import BatchLoader, Splits
from eva.device import Compiled, default_device, mixed_precision, placed, seeded
from eva.files import replacing
from eva.loop import Batches, Result, TrainingError, test, train
from eva.recipes import Recipe

__all__ = ["History", "Result", "TrainingError", "fit", "test", "train"]

log = logging.getLogger(__name__)

MODEL_FILE, METRICS_FILE = "model.pt", "metrics.jsonl"


@dataclass
class History:
    """What `fit` measured. Each row is an epoch, as it stands in metrics.jsonl."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        """Of training alone: without validation, and without loading the data."""
        return sum(row["seconds"] for row in self.rows)


def fit(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    device: torch.device | str | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_epoch: Callable[[list[dict[str, Any]]], Any] | None = None,
    make_loader: Callable[..., BatchLoader] = BatchLoader,
) -> History:
    """Train `model` by `recipe`, looking at the validation split after each epoch; the test split is not touched.

    With `out`, model.pt and metrics.jsonl are written there after every epoch, and `resume` goes on from them: on a CPU
    a run that was interrupted and resumed ends with the same bits as one that was not. `on_epoch` is called with all
    rows so far after each epoch. The order of images, augmentation and dropout depend on `seed` alone, and the caller's
    random state stays as it was. `make_loader` is called as BatchLoader is, for the training batches: give a subclass
    that mixes images, say, or draws them otherwise. (`resume` compares its name, and not what it was made with.)

    Ctrl-C ends training early and returns what there is, marked `interrupted`. Where the loss stops being finite,
    TrainingError is raised and the model goes back to what it was after the last good epoch.
    """
    device = torch.device(device or default_device())
    placed(model, device)
    if recipe.batch_size > len(splits.train):
        log.warning("a batch of %d is larger than the training split: all its %d images make one step an epoch",
                    recipe.batch_size, len(splits.train))  # fmt: skip
    served: dict[str, Any] = {"normalisation": splits.normalisation, "device": device, "seed": seed}
    train_loader = make_loader(splits.train, batch_size=recipe.batch_size, shuffle=True,
                               augmentations=augment.named(recipe.augmentations), **served)  # fmt: skip
    validation_loader = BatchLoader(splits.validation, batch_size=max(500, recipe.batch_size), **served)
    run = _Run(model, recipe, device, train_loader)
    history = History()
    if resume:
        if out is None:
            raise ValueError("resume=True needs `out`, the folder of the run to go on with")
        history.rows = run.resume(Path(out), splits, seed)

    try:
        for epoch in range(len(history.rows), recipe.epochs):
            train_loader.epoch, train_loader.size = epoch, recipe.size(epoch)
            history.rows.append(run.epoch(epoch, validation_loader, seed))
            if out is not None:
                run.save(Path(out), splits, history.rows, seed)
            if on_epoch is not None:
                on_epoch(history.rows)
    except KeyboardInterrupt:
        log.warning("interrupted: the model stays as it is now, the history has %d whole epochs", len(history.rows))
        history.interrupted = True
    if run.averaged is not None:
        model.load_state_dict(run.best_model.state_dict())
    return history


class _Run:
    """All that changes while `fit` runs, so that it can be put aside and taken up again."""

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device, train_loader: BatchLoader) -> None:
        self.model, self.recipe, self.device, self.train_loader = model, recipe, device, train_loader
        steps = len(train_loader) * recipe.epochs
        self.stepped = Compiled(model) if recipe.compiled else model
        self.optimizer = recipe.optimizer(model)
        self.scheduler = LambdaLR(self.optimizer, lambda step: recipe.rate(step, steps))
        self.amp = mixed_precision(device, on_cpu=recipe.cpu_bfloat16)
        self.averaged = None if recipe.ema is None else copy.deepcopy(model)
        self.average_of = [] if self.averaged is None else [_floats(self.averaged), _floats(model)]

    @property
    def best_model(self) -> nn.Module:
        """The model to use: the average of its weights over the last steps, where there is one."""
        return self.model if self.averaged is None else self.averaged

    def epoch(self, epoch: int, validation_loader: Batches, seed: int) -> dict[str, Any]:
        """Train and validate once. Returns the epoch's row; after a NaN, puts the model back."""
        good = copy.deepcopy(self.state())
        try:
            with seeded(1_000_003 * seed + epoch, self.device):
                trained = train(self.stepped, self.device, self.train_loader, self.optimizer, epoch + 1, quiet=True,
                                loss_fn=self.recipe.loss, after_step=self._after_step, amp=self.amp)  # fmt: skip
            validated = test(self.best_model, self.device, validation_loader, quiet=True)
            if not math.isfinite(validated.loss):  # the last step ruined the weights, and no loss came after it
                raise TrainingError(f"the validation loss is {validated.loss} after epoch {epoch + 1}: lower the rate")
        except TrainingError:
            self.load_state(good)
            raise
        print(
            f"epoch {epoch + 1:2d} of {self.recipe.epochs}: "
            f"training loss {trained.loss:.3f}, accuracy {trained.accuracy:.1%}; "
            f"validation loss {validated.loss:.3f}, accuracy {validated.accuracy:.1%}; {trained.seconds:.1f} s"
        )
        return {
            "epoch": epoch + 1,
            "size": self.recipe.size(epoch),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": trained.loss,
            "train_accuracy": trained.accuracy,
            "validation_loss": validated.loss,
            "validation_accuracy": validated.accuracy,
            "seconds": trained.seconds,
        }

    def _after_step(self) -> None:
        self.scheduler.step()
        if self.recipe.ema is not None:
            # By hand: torch's AveragedModel waits for the GPU at each step. After the first one there is no past yet.
            past = 0.0 if self.scheduler.last_epoch == 1 else self.recipe.ema
            get_ema_multi_avg_fn(past)(*self.average_of, None)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": None if self.amp is None else self.amp.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        fused = [group.get("fused") for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, here in zip(self.optimizer.param_groups, fused, strict=True):
            if "fused" in group:  # which belongs to the device and not to the run
                group["fused"] = here
        self.scheduler.load_state_dict(state["scheduler"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        if self.amp is not None and state["scaler"]:
            self.amp.scaler.load_state_dict(state["scaler"])

    def save(self, out: Path, splits: Splits, rows: list[dict[str, Any]], seed: int) -> None:
        mean, std = splits.normalisation
        saved = checkpoint.Checkpoint(
            arguments=getattr(self.model, "arguments", {}),
            weights=self.best_model.state_dict(),
            classes=list(splits.classes),
            mean=mean.tolist(),
            std=std.tolist(),
            data=splits.name,
            results={"validation_accuracy": rows[-1]["validation_accuracy"]},
            training={"state": self.state(), "rows": rows, "settings": self._settings(splits, seed)},
        )
        checkpoint.save(saved, out / MODEL_FILE)
        _write_metrics(out, rows)

    def resume(self, out: Path, splits: Splits, seed: int) -> list[dict[str, Any]]:
        """Take up the run in `out`; returns its rows. Raises CheckpointError where that was another run than this."""
        path = out / MODEL_FILE
        saved = checkpoint.load(path, self.device)
        if saved.training is None:
            raise checkpoint.CheckpointError(f"{path} is for use only: it lacks what going on with training needs")
        before, now = saved.training["settings"], self._settings(splits, seed)
        different = [f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in now if before.get(key) != now[key]]
        if different:
            raise checkpoint.CheckpointError(
                f"{path} was trained otherwise ({'; '.join(different)}): resume with the same settings, "
                "or start afresh in another folder"
            )
        checkpoint.load_weights(self.model, saved.training["state"]["model"], path)
        self.load_state(saved.training["state"])
        _write_metrics(out, saved.training["rows"])  # a kill may have come between the two files
        return saved.training["rows"]

    def _settings(self, splits: Splits, seed: int) -> dict[str, Any]:
        data = {"data": splits.name, "classes": splits.classes, "training images": len(splits.train)}
        return {**data, "loader": type(self.train_loader).__name__, **asdict(self.recipe), "seed": seed}


def _floats(model: nn.Module) -> list[torch.Tensor]:
    """Weights, and batch norm's running statistics; not its counters."""
    return [tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_floating_point()]


def _write_metrics(out: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(out / METRICS_FILE, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
