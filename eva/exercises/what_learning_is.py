"""The exercises of notebook 03. PyTorch's optimizer and PyTorch's loss are the truth."""

import math

import torch
import torch.nn.functional as F
from torch import Generator

from eva.exercises.grading import Question, Table, Trial, exercise, growing, integer


@exercise(20, "on 20 random curves")
def check_descend(rng: Generator, turn: int) -> Trial:
    steps = integer(rng, 2, 6) if turn else 3
    bend, lowest, start, rate = (integer(rng, low, 20) / 10 for low in (3, -20, -20, 2)) if turn else (1, 5, 1, 0.25)
    rate = rate / (2 * bend) if turn else rate  # never so large that the numbers explode
    yield _down_a_parabola(float(bend), float(lowest), float(start), float(rate), steps)


def _down_a_parabola(bend: float, lowest: float, start: float, rate: float, steps: int) -> Question:
    def slope(weight: float) -> float:
        return 2 * bend * (weight - lowest)

    def walked(by: float, count: int) -> float:
        weight = start
        for _ in range(count):
            weight = weight - by * slope(weight)
        return weight

    truth = _by_pytorch(bend, lowest, start, rate, steps)
    wrong_ideas: Table = [
        (walked(-rate, steps), "that walks uphill: a step goes *against* the slope, so subtract it."),
        (start, "that is where it began: keep the new weight, and return it at the end."),
        (walked(rate, 1), "that is one step: is the `return` inside of the loop?"),
        (walked(rate, steps - 1), walked(rate, steps + 1), "count the steps: that is one too few or one too many."),
        (
            start - steps * rate * slope(start),
            "the slope was asked once, at the start: ask it again at each new weight.",
        ),
        (walked(1.0, steps), "the learning rate is missing: a step is rate times the slope."),
        (walked(1 / rate, steps), "the slope is divided by the rate there: a step is rate *times* the slope."),
        (
            start - steps * rate,
            start + steps * rate,
            "each step is as long as the last: it must be rate times the slope, shorter where the slope is gentle.",
        ),
        (slope(truth), "that is the slope at the end: return the weight."),
        (rate * slope(walked(rate, steps - 1)), -rate * slope(walked(rate, steps - 1)), "that is the last step alone."),
    ]
    setting = f"{steps} steps from the weight {start:g} at a rate of {rate:.4g}, where the slope is {2 * bend:g} times"
    setting += f" (weight - {lowest:g}), should end at {truth:.4f}"
    return Question((slope, start, rate, steps), truth, wrong_ideas, lambda answer: f"{setting}, not {answer:.4f}")


def _by_pytorch(bend: float, lowest: float, start: float, rate: float, steps: int) -> float:
    """The weight after `steps` of torch.optim.SGD on the loss bend * (weight - lowest) ** 2."""
    weight = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=rate)
    for _ in range(steps):
        (bend * (weight - lowest) ** 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    return weight.item()


@exercise(20, "on 20 random batches")
def check_cross_entropy(rng: Generator, turn: int) -> Trial:
    count, classes = growing(rng, turn, 2, 9), growing(rng, turn, 3, 12)
    logits = torch.randn(count, classes, generator=rng) * 4
    labels = torch.randint(0, classes, (count,), generator=rng) if turn else torch.tensor([1, 0])  # each another one
    truth, twice = F.cross_entropy(logits, labels).item(), F.cross_entropy(logits.softmax(1), labels).item()
    images, table = torch.arange(count), logits.log_softmax(1)
    chosen, probabilities = table[images, labels], logits.softmax(1)[images, labels]
    likely = probabilities.mean().item()
    down_columns = -logits.log_softmax(0)[images, labels].mean().item()
    total, raw = truth * count, -logits[images, labels].mean().item()
    of_rows = -table[labels % count].mean().item()
    wrong_ideas: Table = [
        (twice, "that applies softmax twice: log_softmax wants the raw logits. This mistake trains, only badly."),
        (-truth, "the sign is wrong: a loss falls when the right class becomes more likely."),
        (
            total,
            chosen,
            -chosen,
            "that is a loss for each image, or their sum: return the mean, so that batches of any size compare.",
        ),
        (total / classes, total / classes / count, "divide by the number of images, not by that of classes."),
        (
            -table[:, labels].mean().item(),
            -table[:, labels],
            "`[:, labels]` takes the columns of all labels from every row: each image has one label. "
            "[torch.arange(n), labels] pairs rows with columns.",
        ),
        (
            -table.mean().item(),
            of_rows,
            "that takes all classes of a row: take the label's column alone, [torch.arange(n), labels].",
        ),
        (-likely, likely, 1 - likely, "those are probabilities: the loss is minus the mean of their *logarithms*."),
        (-math.log(likely), "the logarithm comes first, image by image, and then the mean."),
        (raw, -raw, "those are the raw logits: log_softmax makes logarithms of probabilities of them."),
        (down_columns, "that softmax goes down the columns, over the images: log_softmax(1) goes along each row."),
        (truth / math.log(2), truth / math.log(10), "the logarithm is the natural one, torch.log, as in log_softmax."),
    ]

    def opening(loss: float) -> str:
        return f"the loss of {count} images and {classes} classes came out as {loss:.4f} and should be {truth:.4f}"

    yield Question((logits, labels), truth, wrong_ideas, opening)
