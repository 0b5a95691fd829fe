"""A whole run: `fit` trains by a recipe, validates, saves after each epoch, and takes up what was interrupted."""

import contextlib
import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import MISSING, InitVar, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from eva import augment, checkpoint
from eva.data import BatchLoader, Splits
from eva.device import default_device, derived_seed, seeded
from eva.files import replacing
from eva.modules import placed, unwrapped
from eva.optimizers import optimizer_for
from eva.precision import mixed_precision
from eva.recipes import Recipe
from eva.training.average import Average
from eva.training.checks import TrainingError
from eva.training.folder import METRICS_FILE, MODEL_FILE, claimed
from eva.training.loop import test, train
from eva.training.meter import Result

log = logging.getLogger(__name__)

Row = dict[str, Any]  # an epoch, as it stands in metrics.jsonl


@dataclass
class History:
    """What `fit` measured. Each row is an epoch, as it stands in metrics.jsonl."""

    rows: list[Row] = field(default_factory=list)
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
    on_epoch: Callable[[list[Row]], Any] = lambda rows: None,
    make_loader: Callable[..., BatchLoader] = BatchLoader,
    make_optimizer: Callable[[nn.Module, Recipe], Optimizer] = optimizer_for,
) -> History:
    """Train `model` by `recipe`, looking at the validation split after each epoch; the test split is not touched.

    With `out`, a folder that one run at a time holds, model.pt and metrics.jsonl are written there after every epoch.
    `resume` goes on from them, or begins where there are none: on a CPU a run that was interrupted and resumed ends
    with the same bits as one that was not. `on_epoch` is called with all rows so far after each epoch. The order of
    images, augmentation and dropout depend on `seed` alone, and the caller's random state stays as it was.
    `make_loader` is called as BatchLoader is, for the training batches: give a subclass that mixes images, say, or
    draws them otherwise. (`resume` compares its name, and not what it was made with.) `make_optimizer` makes the
    optimizer of the model and the recipe. A model may be wrapped by torch.compile or DataParallel.

    Ctrl-C ends training early and returns what there is, marked `interrupted`. Where the loss stops being finite,
    TrainingError is raised and the model goes back to what it was after the last good epoch. Raises FileExistsError
    where `out` holds a run or is being written by one, and CheckpointError where the run to resume was trained on other
    data or otherwise.
    """
    if resume and out is None:
        raise ValueError("resume=True needs `out`, the folder of the run to go on with")
    if recipe.batch_size > len(splits.train):
        log.warning("a batch of %d is larger than the training split: all its %d images make one step per epoch",
                    recipe.batch_size, len(splits.train))  # fmt: skip
    run = _Run(model, splits, recipe, torch.device(device or default_device()), seed, make_loader, make_optimizer)
    history = History()
    with contextlib.nullcontext(False) if out is None else claimed(Path(out), resume) as begun:
        if out is not None and begun:
            history.rows = run.resume(Path(out))
        try:
            while len(history.rows) < recipe.epochs:
                history.rows.append(run.epoch(len(history.rows)))
                if out is not None:
                    run.save(Path(out), history.rows)
                on_epoch(history.rows)
        except KeyboardInterrupt:
            log.warning("interrupted: the model stays as it is now, the history has %d whole epochs", len(history.rows))
            history.interrupted = True
    run.end()
    return history


@dataclass
class _Run:
    """All that changes while `fit` runs, so that it can be put aside and taken up again."""

    model: nn.Module
    splits: Splits
    recipe: Recipe
    device: torch.device
    seed: int
    make_loader: InitVar[Callable[..., BatchLoader]]
    make_optimizer: InitVar[Callable[[nn.Module, Recipe], Optimizer]]

    def __post_init__(
        self, make_loader: Callable[..., BatchLoader], make_optimizer: Callable[[nn.Module, Recipe], Optimizer]
    ) -> None:
        splits, recipe, device = self.splits, self.recipe, self.device
        placed(self.model, device)
        served: dict[str, Any] = {"normalisation": splits.normalisation, "device": device, "seed": self.seed}
        self.train_loader = make_loader(splits.train, batch_size=recipe.batch_size, shuffle=True,
                                        augmentations=augment.named(recipe.augmentations), **served)  # fmt: skip
        self.validation_loader = BatchLoader(splits.validation, batch_size=max(500, recipe.batch_size), **served)
        self.network = unwrapped(self.model)  # whose weights have the names under which they are saved
        steps = len(self.train_loader) * recipe.epochs
        self.optimizer = make_optimizer(self.network, recipe)
        self.scheduler = LambdaLR(self.optimizer, lambda step: recipe.rate(step, steps))
        self.precision = mixed_precision(device, on_cpu=recipe.cpu_bfloat16)
        self.average = None if recipe.ema is None else Average(self.network, recipe.ema)
        if recipe.compiled:
            # Not dynamic: once there are two sizes of batch, torch would go on with kernels that suit any size.
            self.model.compile(dynamic=False)

    @property
    def best_model(self) -> nn.Module:
        """The model to use: the average of its weights over the last steps, where there is one."""
        return self.network if self.average is None else self.average.model

    def epoch(self, epoch: int) -> Row:
        """Train and validate once; `epoch` counts from 0. Returns the epoch's row; after a NaN, puts the model back."""
        good, begun = copy.deepcopy(self.state_dict()), time.perf_counter()
        try:
            trained = self._trained(epoch)
            validated = test(self.best_model, self.device, self.validation_loader, quiet=True)
            if not math.isfinite(validated.loss):  # the last step ruined the weights, and no loss came after it
                raise TrainingError(f"the validation loss is {validated.loss} after epoch {epoch + 1}: lower the rate")
        except TrainingError:
            self.load_state_dict(good)
            raise
        print(
            f"epoch {epoch + 1:2d} of {self.recipe.epochs}: "
            f"training loss {trained.loss:.3f}, accuracy {trained.accuracy:.1%}; "
            f"validation loss {validated.loss:.3f}, accuracy {validated.accuracy:.1%}; {trained.seconds:.1f} s"
            f"{_left(self.recipe, epoch, trained.seconds, time.perf_counter() - begun - trained.seconds)}"
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

    def _trained(self, epoch: int) -> Result:
        self.train_loader.epoch, self.train_loader.size = epoch, self.recipe.size(epoch)
        try:
            with seeded(derived_seed("steps", self.seed, epoch), self.device):
                return train(self.model, self.device, self.train_loader, self.optimizer, epoch + 1,
                             loss_fn=self.recipe.loss, after_step=self._after_step, precision=self.precision,
                             quiet=True)  # fmt: skip
        except TorchDynamoException as error:  # at the first batch, before anything has moved
            cause = getattr(error, "inner_exception", error)
            reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
            log.warning("this network cannot be compiled here (%s): it trains as it is, slower", reason)
            self.model.compile(disable=True)
            return self._trained(epoch)

    def _after_step(self) -> None:
        self.scheduler.step()
        if self.average is not None:
            self.average.update()

    def end(self) -> None:
        """Leave the model with the weights to use, and not compiled."""
        if self.recipe.compiled:
            self.model.compile(disable=True)
        if self.average is not None:
            self.network.load_state_dict(self.average.model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["model"])
        fused = [group.get("fused") for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, here in zip(self.optimizer.param_groups, fused, strict=True):
            if "fused" in group:  # which belongs to the device and not to the run
                group["fused"] = here
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if state["scaler"]:  # empty where the run did without
            self.precision.scaler.load_state_dict(state["scaler"])

    def save(self, out: Path, rows: list[Row]) -> None:
        """Write model.pt, from which the network can be used and the run gone on with, and metrics.jsonl."""
        mean, std = self.splits.normalisation
        saved = checkpoint.Checkpoint(
            arguments=getattr(self.network, "arguments", {}),
            weights=self.best_model.state_dict(),
            classes=list(self.splits.classes),
            mean=mean.tolist(),
            std=std.tolist(),
            data=self.splits.name,
            results={"validation_accuracy": rows[-1]["validation_accuracy"]},
            training={"state": self.state_dict(), "rows": rows, "settings": self._settings()},
        )
        checkpoint.save(saved, out / MODEL_FILE)
        _write_metrics(out, rows)

    def resume(self, out: Path) -> list[Row]:
        """Take up the run in `out`; returns its rows. Raises CheckpointError where that was another run than this."""
        path = out / MODEL_FILE
        saved = checkpoint.load(path, self.device)
        if saved.training is None:
            raise checkpoint.CheckpointError(f"{path} is for use only: it lacks what going on with training needs")
        usual = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
        before, now = {**usual, **saved.training["settings"]}, self._settings()  # a field that came later did nothing
        unknown = [key for key in now if key not in before]
        if unknown:
            raise checkpoint.CheckpointError(
                f"{path} was made by another version of eva, which did not keep its {', '.join(unknown)}: "
                "go on with that version, or start afresh in another folder"
            )
        different = [f"{key} was {before[key]!r}, is {now[key]!r}" for key in now if before[key] != now[key]]
        if different:
            raise checkpoint.CheckpointError(
                f"{path} was trained otherwise ({'; '.join(different)}): resume with the same settings, "
                "or start afresh in another folder"
            )
        checkpoint.load_weights(self.network, saved.training["state"]["model"], path)
        self.load_state_dict(saved.training["state"])
        _write_metrics(out, saved.training["rows"])  # a kill may have come between the two files
        return saved.training["rows"]

    def _settings(self) -> dict[str, Any]:
        """What a run that is taken up must have in common with this one."""
        splits = self.splits
        data = {"data": splits.name, "classes": splits.classes, "contents of the data": splits.digest}
        return {**data, "loader": type(self.train_loader).__name__, **asdict(self.recipe), "seed": self.seed}


def _left(recipe: Recipe, epoch: int, training: float, rest: float) -> str:
    """How long the run will go on, in words, after an `epoch` of so many seconds of training, and of the rest.

    Nothing for runs of under two minutes. Training is taken to grow with the pixels of the images, as convolutions do;
    validation, nearly all of the rest, is at full size in every epoch.
    """
    pixels = [recipe.size(number) ** 2 for number in range(recipe.epochs)]
    seconds = [training * size / pixels[epoch] + rest for size in pixels]
    left = sum(seconds[epoch + 1 :])
    if sum(seconds) < 120 or not left:
        return ""
    minutes = round(left / 60)
    if minutes < 1:
        return ", less than a minute left"
    hours = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f", about {hours} left"


def _write_metrics(out: Path, rows: list[Row]) -> None:
    with replacing(out / METRICS_FILE, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
