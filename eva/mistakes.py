"""What a model gets wrong: one pass over a split, and then every way to look at it.

    predictions = find_mistakes(model, splits.validation, splits.normalisation)
    most_confused(predictions)                    # (true, predicted, how often)
    ranked(predictions, by="loss")[:24]           # the positions of the images to look at first
    suspected_label_errors(predictions)[:100]     # where the label may be wrong, and not the model

A *position* counts the images of the split from 0, and picks rows of every tensor here. An *index* is where the image
stood in the data that the split was taken from: it stays the same, so that a learner's marks are kept by it.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from eva.data import BatchLoader, Split
from eva.modules import evaluating
from eva.training import check_labels


@dataclass(frozen=True, eq=False)
class Predictions:
    """The logits of a model for N images, on the CPU. All else is computed from them, once, when first asked for.

    Raises ValueError where the shapes do not fit, where a label has no logit, and for logits that are not finite.
    """

    indices: Tensor  # int64 (N,): Split.indices
    labels: Tensor  # int64 (N,): the class that an image is labelled with, right or wrong
    logits: Tensor  # float (N, classes)

    def __post_init__(self) -> None:
        count, shape = len(self.labels), tuple(self.logits.shape)
        if not count or len(shape) != 2 or shape[0] != count or self.indices.shape != self.labels.shape:
            raise ValueError(
                "predictions need logits (N, classes), labels (N,) and indices (N,) of at least one image, "
                f"got {shape}, {tuple(self.labels.shape)} and {tuple(self.indices.shape)}"
            )
        check_labels(self.labels, shape[1])
        broken = (~self.logits.isfinite().all(1)).nonzero()[:, 0]
        if len(broken):
            raise ValueError(
                f"the logits of {len(broken):,} of {count:,} images are NaN or infinite (the first: image "
                f"{int(self.indices[broken[0]])}), so there is no prediction for them. If it is all of them, training "
                "diverged: go back to an earlier checkpoint, or train again at a lower learning rate; if it is some, "
                "compute in float32"
            )

    @cached_property
    def log_probabilities(self) -> Tensor:
        """float64 (N, classes): in float32 the surest thousand of images would all have a probability of 1."""
        return self.logits.double().log_softmax(1)

    @cached_property
    def probabilities(self) -> Tensor:
        """float64 (N, classes)."""
        return self.log_probabilities.exp()

    @cached_property
    def predicted(self) -> Tensor:
        """int64 (N,): the class with the largest logit; of equals the first."""
        return self.logits.argmax(1)

    @cached_property
    def confidence(self) -> Tensor:
        """The probability of the predicted class, (N,)."""
        return self._picked(self.probabilities, self.predicted)

    @cached_property
    def true_probability(self) -> Tensor:
        """The probability of the labelled class, (N,): self-confidence, in the terms of confident learning."""
        return self._picked(self.probabilities, self.labels)

    @cached_property
    def loss(self) -> Tensor:
        """Cross-entropy, nats, (N,)."""
        return self._picked(self.log_probabilities, self.labels).abs()  # a minus would make -0 of 0

    @cached_property
    def margin(self) -> Tensor:
        """The probability of the labelled class less that of the best other one, (N,), from -1 to 1; 1 with no other.

        Not negative where the model is right: 0 is a draw.
        """
        others = self.probabilities.scatter(1, self.labels[:, None], 0.0)
        return self.true_probability - others.amax(1)

    @cached_property
    def entropy(self) -> Tensor:
        """How undecided the model is, nats, (N,): 0 when it is sure, log(classes) when it has no idea."""
        return (self.probabilities * self.log_probabilities).sum(1).abs()

    @cached_property
    def wrong(self) -> Tensor:
        """bool (N,): where the predicted class is not the label."""
        return self.predicted != self.labels

    @property
    def mistakes(self) -> Tensor:
        """The positions of the images that the model is wrong about, in the split's order; maybe none."""
        return self.wrong.nonzero()[:, 0]

    def top(self, count: int = 5) -> tuple[Tensor, Tensor]:
        """The `count` likeliest classes per image, the likeliest first: their probabilities, and which they are.

        Both are (N, count), or as many as there are classes.
        """
        classes = self.logits.argsort(stable=True, dim=1, descending=True)[:, :count]
        return self.probabilities.gather(1, classes), classes

    @staticmethod
    def _picked(table: Tensor, classes: Tensor) -> Tensor:
        return table.gather(1, classes[:, None])[:, 0]


@torch.no_grad()
def find_mistakes(
    model: nn.Module, split: Split, normalisation: tuple[Tensor, Tensor], *, batch_size: int = 500
) -> Predictions:
    """Ask `model` about every image of `split`, in evaluation mode, on the device that the model is on.

    normalisation: `Splits.normalisation`, mean and standard deviation of the training images. The model stays as it
    is. Raises DataError for a split without images and ValueError as `Predictions` does: for logits with NaN, for one.
    """
    device = next(model.parameters(), torch.empty(0)).device
    loader = BatchLoader(split, normalisation, batch_size=batch_size, device=device)
    with evaluating(model):
        logits = torch.cat([model(images) for images, _ in loader])
    return Predictions(split.indices.cpu(), split.labels.cpu(), logits.cpu())


def confusion(predictions: Predictions) -> Tensor:
    """How often each class was taken for each: int64 (classes, classes), rows are labels, columns predictions."""
    classes = predictions.logits.shape[1]
    pairs = predictions.labels * classes + predictions.predicted
    return pairs.bincount(minlength=classes**2).view(classes, classes)


def most_confused(predictions: Predictions, n: int = 10) -> list[tuple[int, int, int]]:
    """The `n` commonest mistakes, (label, predicted, how often), or as many as there are; of equals the first class.

    Raises ValueError where `n` is negative.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}: it is how many pairs of classes to list")
    counts = confusion(predictions).fill_diagonal_(0)
    pairs = [(label, predicted, int(counts[label, predicted])) for label, predicted in counts.nonzero().tolist()]
    return sorted(pairs, key=lambda pair: -pair[2])[:n]


RANKINGS = {"loss": True, "confidence": True, "margin": False, "entropy": True}  # by what; is the largest first?
SUSPICIONS = {"self-confidence": "true_probability", "normalised margin": "margin"}  # the smallest is first


def ranked(predictions: Predictions, by: str = "loss") -> Tensor:
    """The positions of all images, int64 (N,), what one should look at first in front; equals keep the split's order.

    By "loss" and "entropy" the largest is first; by "margin" the smallest, which is the most wrong; by "confidence" the
    surest. The mistakes alone, in this order: `order[predictions.wrong[order]]`.
    Raises ValueError where `by` is none of RANKINGS.
    """
    if by not in RANKINGS:
        raise ValueError(f"there is no ranking by {by!r}: choose one of {', '.join(map(repr, RANKINGS))}")
    return getattr(predictions, by).argsort(descending=RANKINGS[by], stable=True)


def confident_class(predictions: Predictions) -> Tensor:
    """The class that confident learning would give each image, int64 (N,), or -1 where none is likely enough.

    (Northcutt, Jiang and Chuang 2021.) A class is likely enough for an image when its probability reaches what it has
    on average over the images *labelled* with that class; of several such classes it is the most probable. A class that
    the model is shy of is held to less, and one that it always favours to more; but to a tenth of chance at the least,
    or a class that the model never thinks of would be likely enough anywhere.
    """
    probabilities, labels = predictions.probabilities, predictions.labels
    classes = probabilities.shape[1]
    sums = labels.bincount(predictions.true_probability, minlength=classes)
    thresholds = sums / labels.bincount(minlength=classes)  # NaN, which nothing reaches, for a class without images
    thresholds = thresholds.clamp(min=0.1 / classes)
    enough = probabilities >= thresholds - 1e-9  # equals must reach their own mean, which is rounded
    best, chosen = probabilities.where(enough, -1.0).max(1)
    return chosen.where(best >= 0, -1)


def suspected_label_errors(predictions: Predictions, by: str = "self-confidence") -> Tensor:
    """The positions of all images, int64 (N,), those whose label is the most doubtful first.

    By "self-confidence", the probability of the label, which is the order of the loss; or by "normalised margin", that
    less the probability of the best other class; the smallest first (Northcutt et al. 2021). Of 20 validation labels of
    CIFAR-10 (JPEG copy) that were flipped, the first 100 by the shipped network had 16.0 and 12.0 (means of 150 draws).
    The model must not have been trained on these images: it would have learned their labels by heart.
    Raises ValueError where `by` is none of SUSPICIONS.
    """
    if by not in SUSPICIONS:
        raise ValueError(f"there is no suspicion by {by!r}: choose one of {', '.join(map(repr, SUSPICIONS))}")
    return getattr(predictions, SUSPICIONS[by]).argsort(stable=True)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability curve: of the images in each bin of confidence, what the model claims and what it achieves.

    Bin i holds the confidences above edges[i], up to and including edges[i + 1]. Empty bins have NaN.
    """

    edges: Tensor  # (bins + 1,), from 0 to 1
    confidence: Tensor  # (bins,): the mean
    accuracy: Tensor  # (bins,)
    count: Tensor  # int64 (bins,)
    error: float  # expected calibration error: the mean over images of how far the two are apart in their bin


def calibration(predictions: Predictions, bins: int = 15) -> Calibration:
    """Is the model right as often as it claims to be? `bins` of equal width (Naeini et al. 2015, Guo et al. 2017).

    Raises ValueError where there is no bin.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}: 15 is usual")
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    bin_of = torch.bucketize(predictions.confidence, edges[1:-1])
    count = bin_of.bincount(minlength=bins)
    confidence = bin_of.bincount(predictions.confidence, minlength=bins) / count
    accuracy = bin_of.bincount((~predictions.wrong).double(), minlength=bins) / count
    gaps = (accuracy - confidence).abs().nan_to_num()
    return Calibration(edges, confidence, accuracy, count, float((gaps * count).sum() / len(bin_of)))
