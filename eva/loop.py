"""One pass over batches, to train or to measure, for a loop that you write yourself.

for epoch in range(1, 6):
    train(model, device, train_loader, optimizer, epoch)    # any iterable of (images, labels)
    test(model, device, validation_loader)
"""

import contextlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from eva.checks import check_batch, check_labels
from eva.device import Precision, autocast

READ_AFTER = 1.0  # seconds between two reads of the losses: each read makes a GPU's queue run dry
PROGRESS = sys.stdout if "ipykernel" in sys.modules else None  # a notebook shows stderr in the red of errors
Batches = Iterable[tuple[Tensor, Tensor]]


class TrainingError(RuntimeError):
    """Training cannot go on. The message says at which step, and what to change."""


@dataclass(frozen=True)
class Result:
    """What one pass measured: mean loss, accuracy as a fraction, the number of images, seconds."""

    loss: float
    accuracy: float
    images: int
    seconds: float

    def __str__(self) -> str:
        return f"loss {self.loss:.3f}, accuracy {self.accuracy:.1%} of {self.images:,} images, {self.seconds:.1f} s"


def train(
    model: nn.Module,
    device: torch.device | str,
    loader: Batches,
    optimizer: Optimizer,
    epoch: int,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    after_step: Callable[[], Any] | None = None,
    amp: Precision | None = None,
    quiet: bool = False,
) -> Result:
    """Train `model` on one pass over `loader`, and print how it went unless `quiet`.

    images: float (N, C, H, W); labels: int64 (N,), or float (N, classes) as mixup makes them. `after_step` is called
    after each step of the optimizer: a learning-rate scheduler's `step`, for one.
    Raises ValueError for images or labels that do not fit, or a loader that gives nothing, and TrainingError naming the
    step and the learning rate where the loss stops being finite, or the batch for which a GPU has too little memory.
    """
    device = torch.device(device)
    model.train()
    began = time.perf_counter()
    losses: list[Tensor] = []  # of the steps since the last read; they stay on the device until then
    rates: list[float] = []  # likewise
    correct = torch.zeros((), device=device)
    images_seen, steps, loss_read = 0, 0, 0.0  # steps and losses that have been read
    read_at = began
    with tqdm(loader, desc=f"epoch {epoch}", leave=False, mininterval=0.5, file=PROGRESS) as progress:
        for images, labels in progress:
            check_batch(images, labels)
            known = labels if labels.device.type == "cpu" else None  # what can be looked at without waiting for a GPU
            images, labels = _moved(images, device), _moved(labels, device)
            rates.append(optimizer.param_groups[0]["lr"])
            with _memory_explained(images):
                with autocast(device, amp):
                    logits = model(images)
                    check_labels(known, logits.shape[1], loader)
                    loss = loss_fn(logits.float(), labels)  # autocast leaves a loss in 16 bits
                optimizer.zero_grad()
                _step(loss, optimizer, amp)
            if after_step is not None:
                after_step()

            losses.append(loss.detach())
            correct += _correct(logits, labels)
            images_seen += len(images)
            if time.perf_counter() - read_at > READ_AFTER:
                loss_sum, right = _read(losses, rates, epoch, steps, correct)
                loss_read, steps, losses, rates = loss_read + loss_sum, steps + len(losses), [], []
                read_at = time.perf_counter()
                progress.set_postfix_str(f"loss {loss_read / steps:.3f}, accuracy {right / images_seen:.1%}")
    if not images_seen:
        raise ValueError("the loader gave no batch: is its data set empty, or smaller than a batch with drop_last?")
    loss_sum, right = _read(losses, rates, epoch, steps, correct)
    mean_loss = (loss_read + loss_sum) / (steps + len(losses))
    result = Result(mean_loss, right / images_seen, images_seen, time.perf_counter() - began)
    if not quiet:
        print(f"epoch {epoch}: training {result}")
    return result


@torch.no_grad()
def test(model: nn.Module, device: torch.device | str, loader: Batches, *, quiet: bool = False) -> Result:
    """Measure `model` on `loader` without changing it, and print the result unless `quiet`.

    The model is in evaluation mode meanwhile (batch norm uses its running statistics, dropout is off) and afterwards in
    the mode that it was in. Raises ValueError as `train` does.
    """
    device = torch.device(device)
    was_training = model.training
    model.eval()
    began = time.perf_counter()
    loss, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    images_seen = 0
    try:
        for images, labels in loader:
            check_batch(images, labels)
            known = labels if labels.device.type == "cpu" else None
            images, labels = _moved(images, device), _moved(labels, device)
            logits = model(images)
            check_labels(known, logits.shape[1], loader)
            loss += F.cross_entropy(logits, labels, reduction="sum")
            correct += _correct(logits, labels)
            images_seen += len(images)
    finally:
        model.train(was_training)
    if not images_seen:
        raise ValueError("the loader gave no batch: is its data set empty?")
    result = Result(loss.item() / images_seen, correct.item() / images_seen, images_seen, time.perf_counter() - began)
    if not quiet:
        print(f"test: {result}")
    return result


def _moved(batch: Tensor, device: torch.device) -> Tensor:
    """`batch` on `device`. Only CUDA may fetch it while the CPU goes on: MPS would read memory that is free again."""
    return batch.to(device, non_blocking=device.type == "cuda")


@contextlib.contextmanager
def _memory_explained(images: Tensor) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # a notebook keeps the error, and with it what the layers made
        count, size = len(images), "x".join(map(str, images.shape[2:]))
        smaller = f"try a batch of {count // 2}" if count > 1 else "try a smaller network"
        raise TrainingError(f"the GPU ran out of memory at a batch of {count} images of {size}: {smaller}") from error


def _step(loss: Tensor, optimizer: Optimizer, amp: Precision | None) -> None:
    if amp is None:
        loss.backward()
        optimizer.step()
    else:
        amp.scaler.scale(loss).backward()
        amp.scaler.step(optimizer)
        amp.scaler.update()


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images the network is right about; of a mixed label, its larger part counts."""
    return (logits.detach().argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))).sum()


def _read(losses: list[Tensor], rates: list[float], epoch: int, steps: int, correct: Tensor) -> tuple[float, float]:
    """Sum of `losses`, which came after `steps` others, and the value of `correct`: one wait for the device.

    Raises TrainingError where a loss is not finite.
    """
    *values, right = torch.stack([*(loss.float() for loss in losses), correct]).tolist()
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss became {value} at step {steps + index + 1} of epoch {epoch}, "
                f"at a learning rate of {rates[index]:.4g}: try a lower one, a third for a start"
            )
    return sum(values), right
