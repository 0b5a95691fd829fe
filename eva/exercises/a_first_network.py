"""The exercise of notebook 03. PyTorch's loss is the truth."""

import torch
import torch.nn.functional as F
from torch import Generator

from eva.exercises.grading import Question, Trial, exercise, integer


@exercise(20, "on 20 random batches")
def check_cross_entropy(rng: Generator) -> Trial:
    count, classes = integer(rng, 2, 9), integer(rng, 3, 12)
    logits = torch.randn(count, classes, generator=rng) * 4
    labels = torch.randint(0, classes, (count,), generator=rng)
    truth, twice = F.cross_entropy(logits, labels).item(), F.cross_entropy(logits.softmax(1), labels).item()
    total = truth * count
    wrong_ideas = [
        (twice, "that applies softmax twice: log_softmax wants the raw logits. This mistake trains, only badly."),
        (-truth, "the sign is wrong: a loss falls when the right class becomes more likely."),
        (total, "that is the sum over the images: the loss is their mean, so that batches of any size compare."),
    ]

    def opening(loss: float) -> str:
        return f"the loss of a random batch came out as {loss:.4f} and should be {truth:.4f}"

    yield Question((logits, labels), truth, wrong_ideas, opening)
