"""The exercise of notebook 03. PyTorch's loss is the truth."""

import math

import torch
import torch.nn.functional as F
from torch import Generator

from eva.exercises.grading import Question, Table, Trial, exercise, growing


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
