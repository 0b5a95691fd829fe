"""One pass over batches, to train or to measure, for a loop that you write yourself.

for epoch in range(1, 6):
    train(model, device, train_loader, optimizer, epoch)    # any iterable of (images, labels)
    test(model, device, validation_loader)
"""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from eva.modules import evaluating
from eva.precision import Precision, full_precision
from eva.training.checks import check_batch, check_labels, check_logits, failures_explained
from eva.training.meter import Meter, Result, correct

_PROGRESS = sys.stdout if "ipykernel" in sys.modules else None  # a notebook shows stderr in the red of errors
Batches = Iterable[tuple[Tensor, Tensor]]


def train(
    model: nn.Module,
    device: torch.device | str,
    loader: Batches,
    optimizer: Optimizer,
    epoch: int,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    after_step: Callable[[], Any] = lambda: None,
    precision: Precision | None = None,
    quiet: bool = False,
) -> Result:
    """Train `model` on one pass over `loader`, and print how it went unless `quiet`.

    images: float (N, C, H, W); labels: int64 (N,), or float (N, classes) as mixup makes them. `after_step` is called
    after each step of the optimizer: a learning-rate scheduler's `step`, for one. `precision` is float32 by default.
    Raises ValueError for images or labels that do not fit, or a loader that gives nothing, and TrainingError naming the
    step and the learning rate where the loss stops being finite, or the batch for which a GPU has too little memory.
    """
    device, precision = torch.device(device), precision or full_precision()
    scaler = precision.scaler  # of gradients that float16 would lose; otherwise it does nothing
    model.train()
    with tqdm(loader, desc=f"epoch {epoch}", leave=False, mininterval=0.5, file=_PROGRESS) as progress:
        meter = Meter(progress, device, epoch)
        for images, labels in progress:
            check_batch(images, labels, loader)
            inputs, targets = _moved(images, device), _moved(labels, device)
            with failures_explained(images):
                with precision.autocast(device):
                    logits = check_logits(model(inputs), len(images), model)
                    check_labels(labels, logits.shape[1], loader)
                    loss = loss_fn(logits.float(), targets)  # in 32 bits, whatever the layers computed in
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            meter.add(loss, logits, targets, optimizer.param_groups[0]["lr"])
            after_step()
    result = meter.result()
    if not quiet:
        print(f"epoch {epoch}: training {result}")
    return result


@torch.no_grad()
def test(model: nn.Module, device: torch.device | str, loader: Batches, *, quiet: bool = False) -> Result:
    """Measure `model` on `loader` without changing it, and print the result unless `quiet`.

    The model is in evaluation mode meanwhile (batch norm uses its running statistics, dropout is off), and afterwards
    each of its modules in the mode that it was in. Raises ValueError as `train` does.
    """
    device = torch.device(device)
    began = time.perf_counter()
    loss, right, count = torch.zeros((), device=device), torch.zeros((), device=device), 0
    with evaluating(model):
        for images, labels in loader:
            check_batch(images, labels, loader)
            inputs, targets = _moved(images, device), _moved(labels, device)
            logits = check_logits(model(inputs), len(images), model)
            check_labels(labels, logits.shape[1], loader)
            loss += F.cross_entropy(logits, targets, reduction="sum")
            right += correct(logits, targets)
            count += len(images)
    if not count:
        raise ValueError("the loader gave no batch: is its data set empty?")
    result = Result(loss.item() / count, right.item() / count, count, time.perf_counter() - began)
    if not quiet:
        print(f"test: {result}")
    return result


def _moved(batch: Tensor, device: torch.device) -> Tensor:
    """`batch` on `device`. Only CUDA may fetch it while the CPU goes on: MPS would read memory that is free again."""
    return batch.to(device, non_blocking=device.type == "cuda")
