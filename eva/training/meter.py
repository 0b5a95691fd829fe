"""What a pass over the training images measured: losses and right answers, kept on the device and seldom read."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from eva.training.checks import TrainingError

READ_AFTER = 1.0  # seconds between two reads: each makes the CPU wait for a GPU, and the GPU's queue run dry


@dataclass(frozen=True)
class Result:
    """What one pass measured: mean loss, accuracy as a fraction, the number of images, seconds."""

    loss: float
    accuracy: float
    images: int
    seconds: float

    def __str__(self) -> str:
        return f"loss {self.loss:.3f}, accuracy {self.accuracy:.1%} of {self.images:,} images, {self.seconds:.1f} s"


class Meter:
    """Is told of every step, reads what came of them once a second at most, and shows it on the bar `progress`."""

    def __init__(self, progress: tqdm, device: torch.device, epoch: int) -> None:
        self.progress, self.epoch = progress, epoch
        self.began = self.read_at = time.perf_counter()
        self.images = 0
        self.steps, self.loss_sum = 0, 0.0  # that have been read
        self.losses: list[Tensor] = []  # since then; they stay on the device
        self.rates: list[float] = []  # likewise
        self.correct = torch.zeros((), device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, rate: float) -> None:
        """One step's loss and logits, with the learning rate it was made at. Raises TrainingError as `read` does."""
        self.losses.append(loss.detach())
        self.rates.append(rate)
        self.correct += correct(logits, labels)
        self.images += len(logits)
        if time.perf_counter() - self.read_at > READ_AFTER:
            self.progress.set_postfix_str("loss {:.3f}, accuracy {:.1%}".format(*self.read()))

    def read(self) -> tuple[float, float]:
        """Mean loss of the steps so far, and accuracy: one wait for the device.

        Raises TrainingError, naming the step and its learning rate, where a loss is not finite.
        """
        *losses, right = torch.stack([*(loss.float() for loss in self.losses), self.correct]).tolist()
        for loss, rate in zip(losses, self.rates, strict=True):
            self.steps += 1
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {self.steps} of epoch {self.epoch}, "
                    f"at a learning rate of {rate:.4g}: try a lower one, a third for a start"
                )
        self.loss_sum += sum(losses)
        self.losses, self.rates, self.read_at = [], [], time.perf_counter()
        return self.loss_sum / self.steps, right / self.images

    def result(self) -> Result:
        """What the whole pass measured. Raises ValueError where there was no batch, and what `read` raises."""
        if not self.images:
            raise ValueError("the loader gave no batch: is its data set empty, or smaller than a batch with drop_last?")
        return Result(*self.read(), self.images, time.perf_counter() - self.began)


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images the network is right about; of a mixed label, its larger part counts."""
    return (logits.detach().argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))).sum()
