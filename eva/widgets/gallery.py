"""A split as a model sees it: its images chosen, sorted, explained one at a time, and marked. No widgets in it.

gallery = Gallery(model, splits, "validation", before=earlier_model)
chosen = gallery.positions(View(label=3, predicted=5))       # the cats taken for dogs, the largest loss first
picture, for_predicted, for_label = gallery.pictures(chosen[0])
"""

import os
import re
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from eva.cam import NoMapError, grad_cam
from eva.data import Splits, normalised
from eva.mistakes import RANKINGS, confident_class, find_mistakes, ranked
from eva.plotting import BLUE, ORANGE
from eva.receptive_field import ReceptiveField, ReceptiveFieldError, receptive_field
from eva.widgets.marks import Marks
from eva.widgets.pictures import enlarged

DOUBTFUL = "doubtful labels"
SHOWN = ("mistakes", "all images", DOUBTFUL, "marked")
COMPARED = ("fixed", "broken", "both wrong")  # against the model before
SCALE = 5  # screen pixels per pixel of an image, in `Gallery.pictures`
_NUMBERED = {"train": "training", "validation": "training", "test": "test"}  # the images that a split's indices count


@dataclass(frozen=True)
class View:
    """Which images to show, and in which order: `SHOWN` or `COMPARED`, by one of `RANKINGS`; None is any class.

    confidence: from and to, both included, as fractions.
    """

    show: str = "mistakes"
    sort: str = "loss"
    label: int | None = None
    predicted: int | None = None
    confidence: tuple[float, float] = (0.0, 1.0)


class Gallery:
    """The predictions of `model` for one split of `splits`, those of `before`, and a learner's marks.

    marks: the file that keeps them, by default one in the working folder that is named for the data. Raises ValueError
    for an unknown split, and where a model knows another number of classes; what `find_mistakes` and `Marks` raise.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        which: str = "validation",
        before: nn.Module | None = None,
        marks: str | os.PathLike[str] | None = None,
    ) -> None:
        if which not in _NUMBERED:
            raise ValueError(f"there is no split {which!r}: choose one of {', '.join(map(repr, _NUMBERED))}")
        self.model, self.classes = model, splits.classes
        self.name = f"{splits.name}, {which}"
        self.split, self.normalisation = getattr(splits, which), splits.normalisation
        numbered = f"{splits.name}, {_NUMBERED[which]} images"
        self.marks = Marks(marks or f"marks-{re.sub(r'[^a-z0-9]+', '-', numbered.lower())}.csv", numbered)
        self.predictions = find_mistakes(model, self.split, self.normalisation)
        self.before = None if before is None else find_mistakes(before, self.split, self.normalisation)
        for name, predictions in (("this model", self.predictions), ("`before`", self.before)):
            if predictions is not None and (known := predictions.logits.shape[1]) != len(self.classes):
                raise ValueError(f"{name} knows {known} classes, and {splits.name} has {len(self.classes)}")

    @property
    def shows(self) -> tuple[str, ...]:
        """What a View's `show` can be here."""
        return SHOWN if self.before is None else (*SHOWN, *COMPARED)

    def positions(self, view: View) -> Tensor:
        """The positions of the images of `view` in its order, int64 (n,), maybe none.

        Raises ValueError for a view that is not offered here.
        """
        if view.show not in self.shows:
            raise ValueError(f"cannot show {view.show!r}: choose one of {', '.join(map(repr, self.shows))}")
        if view.sort not in RANKINGS:
            raise ValueError(f"cannot sort by {view.sort!r}: choose one of {', '.join(map(repr, RANKINGS))}")
        low, high = view.confidence
        if not 0 <= low <= high <= 1:
            raise ValueError(f"confidence must be from and to, fractions from 0 to 1, got {view.confidence}")
        predictions = self.predictions
        chosen = self._mask(view.show) & (predictions.confidence >= low) & (predictions.confidence <= high)
        for name, of_images in (("label", predictions.labels), ("predicted", predictions.predicted)):
            wanted = getattr(view, name)
            if wanted not in (None, *range(len(self.classes))):
                raise ValueError(f"{name} must be None or from 0 to {len(self.classes) - 1}, got {wanted!r}")
            chosen = chosen if wanted is None else chosen & (of_images == wanted)
        order = ranked(predictions, by=view.sort)
        return order[chosen[order]]

    def _mask(self, show: str) -> Tensor:
        """bool (N,): the images that `show` names."""
        wrong = self.predictions.wrong
        if show == "marked":
            return torch.isin(self.predictions.indices, torch.tensor(list(self.marks), dtype=torch.int64))
        if show == DOUBTFUL:
            return torch.isin(torch.arange(len(wrong)), torch.tensor([*self.suspects], dtype=torch.int64))
        if show in COMPARED and self.before is not None:
            earlier = self.before.wrong
            return {"fixed": earlier & ~wrong, "broken": ~earlier & wrong, "both wrong": earlier & wrong}[show]
        return wrong if show == "mistakes" else torch.ones_like(wrong)

    def compared(self) -> dict[str, int]:
        """How many images were fixed, broken, or are wrong in both models; nothing without `before`."""
        return {} if self.before is None else {show: int(self._mask(show).sum()) for show in COMPARED}

    @cached_property
    def suspects(self) -> dict[int, int]:
        """By position: the class that confident learning would give an image whose label it doubts."""
        classes = confident_class(self.predictions)
        doubted = (classes >= 0) & (classes != self.predictions.labels)
        return {position: int(classes[position]) for position in doubted.nonzero()[:, 0].tolist()}

    def index(self, position: int) -> int:
        """Where the image stands in the data set: what marks are kept by. Raises IndexError where there is no image."""
        if position not in range(len(self.split)):
            raise IndexError(f"there is no image at {position!r}: this split has positions 0 to {len(self.split) - 1}")
        return int(self.split.indices[position])

    def likely(self, position: int) -> list[tuple[int, float]]:
        """The five likeliest classes of an image and their probabilities, the first one first, and its label's too."""
        probabilities, classes = (column[position].tolist() for column in self.predictions.top(5))
        label = int(self.predictions.labels[position])
        labelled = [] if label in classes else [(label, float(self.predictions.true_probability[position]))]
        return [*zip(classes, probabilities, strict=True), *labelled]

    def heats(self, position: int) -> Tensor:
        """Grad-CAM of an image for the predicted class and for its label, (2, h, w). Raises NoMapError as it does."""
        image = normalised(self.split.images[position : position + 1].cpu(), self.normalisation)
        classes = [int(self.predictions.predicted[position]), int(self.predictions.labels[position])]
        return grad_cam(self.model, image.expand(2, -1, -1, -1), target=classes).cpu()

    @cached_property
    def field(self) -> ReceptiveField | None:
        """What a unit of the trunk sees, or None where that cannot be said exactly."""
        try:
            return receptive_field(self.model, (3, *self.split.images.shape[2:]))
        except ReceptiveFieldError:
            return None

    def box(self, heat: Tensor) -> tuple[int, int, int, int] | None:
        """The pixels that the unit with the most heat could see, cut to the image: left, top, right, bottom.

        None where nothing is hot, and where the field of these units is not known.
        """
        if self.field is None or self.field.layers[-1].shape[-2:] != tuple(heat.shape) or float(heat.max()) <= 0:
            return None
        left, top, right, bottom = self.field.box(divmod(int(heat.argmax()), heat.shape[1]))
        height, width = self.split.images.shape[2:]
        return max(left, 0), max(top, 0), min(right, width), min(bottom, height)

    def pictures(self, position: int) -> tuple[list[Image.Image], str]:
        """An image, enlarged; then, in grey, the evidence in it for the predicted class and for the label in orange.

        Both maps have one scale, so that they compare; the box is `box`. Then a line that says what the box is. Where
        the network makes no map there is the image alone, and the line says why.
        """
        image = self.split.images[position]
        try:
            heats = self.heats(position)
        except NoMapError as reason:
            return [enlarged(image, SCALE)], f"No Grad-CAM: {reason}."
        largest = float(heats.max())
        boxes = [self.box(heat) for heat in heats]
        shades = heats / largest if largest > 0 else heats
        heated = [_heated(image, shade, box) for shade, box in zip(shades, boxes, strict=True)]
        pictures = [enlarged(image, SCALE), *heated]
        if largest <= 0:
            return pictures, "Nothing speaks for either class: both maps are empty."
        if self.field is None or not any(boxes):
            return pictures, "What each unit could see is not known for this network."
        (rows, columns), (height, width) = self.field.size, image.shape[1:]
        cut = ", cut to the image" if rows > height or columns > width else ""
        return pictures, f"Box: what the strongest unit could see, {rows} x {columns} pixels{cut}."


def _heated(image: Tensor, heat: Tensor, box: tuple[int, int, int, int] | None) -> Image.Image:
    """The image in grey under `heat`, (h, w) from 0 to 1, in orange, and the box on it."""
    picture = enlarged(image, SCALE).convert("L").point(lambda value: 60 + int(0.7 * value)).convert("RGB")
    shade = F.interpolate(heat[None, None].float(), size=picture.size[::-1], mode="bilinear")[0, 0]
    mask = Image.fromarray((200 * shade.clamp(0, 1)).to(torch.uint8).numpy())
    picture.paste(Image.new("RGB", picture.size, ORANGE), mask=mask)
    if box is not None:
        left, top, right, bottom = (SCALE * edge for edge in box)
        draw = ImageDraw.Draw(picture)
        draw.rectangle((left, top, right - 1, bottom - 1), outline="white", width=4)
        draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline=BLUE, width=2)
    return picture
