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
from eva.receptive_field import ReceptiveField, ReceptiveFieldError, receptive_field
from eva.widgets.marks import Marks

WHICH = {"train": "training", "validation": "training", "test": "test"}  # which images a split's indices count
DOUBTFUL = "doubtful labels"
SHOWN = ("mistakes", "all images", DOUBTFUL, "marked")
COMPARED = ("fixed", "broken", "both wrong")  # against the model before
SORTED = (*RANKINGS,)  # by the loss, the labels that the model believes least come first
SCALE = 5  # screen pixels for a pixel of an image, in `Gallery.pictures`
HEAT = (213, 94, 0)  # the orange of the figures


@dataclass(frozen=True)
class View:
    """Which images to show, and in which order: `SHOWN` or `COMPARED`, by `SORTED`; None is any class.

    confidence: from and to, both included, as fractions.
    """

    show: str = "mistakes"
    sort: str = "loss"
    label: int | None = None
    predicted: int | None = None
    confidence: tuple[float, float] = (0.0, 1.0)


class Gallery:
    """What `model` says of one split of `splits`, what `before` said of it, and a learner's marks.

    marks: the file that keeps them, by default one in the working folder that is named for the data. Raises ValueError
    for an unknown split, and where `before` knows another number of classes; what `find_mistakes` and `Marks` raise.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        which: str = "validation",
        before: nn.Module | None = None,
        marks: str | os.PathLike[str] | None = None,
    ) -> None:
        if which not in WHICH:
            raise ValueError(f"there is no split {which!r}: choose one of {', '.join(map(repr, WHICH))}")
        self.model, self.classes = model, splits.classes
        self.name = f"{splits.name}, {which}"
        self.split, self.normalisation = getattr(splits, which), splits.normalisation
        counted = f"{splits.name}, {WHICH[which]} images"
        self.marks = Marks(marks or f"marks-{re.sub(r'[^a-z0-9]+', '-', counted.lower())}.csv", counted)
        self.predictions = find_mistakes(model, self.split, self.normalisation)
        self.before = None if before is None else find_mistakes(before, self.split, self.normalisation)
        found = self.predictions.logits.shape[1]
        if found != len(self.classes):
            raise ValueError(f"this model knows {found} classes, and {splits.name} has {len(self.classes)}")
        if self.before is not None and self.before.logits.shape[1] != found:
            raise ValueError(
                f"`before` knows {self.before.logits.shape[1]} classes and this model {found}: train alike"
            )

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
        if view.sort not in SORTED:
            raise ValueError(f"cannot sort by {view.sort!r}: choose one of {', '.join(map(repr, SORTED))}")
        for what, one in (("label", view.label), ("predicted", view.predicted)):
            if one is not None and one not in range(len(self.classes)):
                raise ValueError(f"{what} must be None or from 0 to {len(self.classes) - 1}, got {one!r}")
        low, high = view.confidence
        if not 0 <= low <= high <= 1:
            raise ValueError(f"confidence must be from and to, fractions from 0 to 1, got {view.confidence}")
        said = self.predictions
        chosen = self._shown(view.show) & (said.confidence >= low) & (said.confidence <= high)
        if view.label is not None:
            chosen &= said.labels == view.label
        if view.predicted is not None:
            chosen &= said.predicted == view.predicted
        order = ranked(self.predictions, by=view.sort)
        return order[chosen[order]]

    def _shown(self, show: str) -> Tensor:
        wrong = self.predictions.wrong
        if show == "marked":
            return torch.isin(self.predictions.indices, torch.tensor(list(self.marks), dtype=torch.int64))
        if show == DOUBTFUL:
            return torch.isin(torch.arange(len(wrong)), torch.tensor([*self.suspects], dtype=torch.int64))
        if show in COMPARED and self.before is not None:
            was = self.before.wrong
            return {"fixed": was & ~wrong, "broken": ~was & wrong, "both wrong": was & wrong}[show]
        return wrong if show == "mistakes" else torch.ones_like(wrong)

    def compared(self) -> dict[str, int]:
        """How many images were fixed, broken, or are wrong in both models; nothing without `before`."""
        return {} if self.before is None else {show: int(self._shown(show).sum()) for show in COMPARED}

    @cached_property
    def suspects(self) -> dict[int, int]:
        """By position: the class that confident learning would give an image whose label it doubts."""
        found = confident_class(self.predictions)
        doubted = (found >= 0) & (found != self.predictions.labels)
        return {place: int(found[place]) for place in doubted.nonzero()[:, 0].tolist()}

    def index(self, position: int) -> int:
        """Where the image stands in the data set: what marks are kept by. Raises IndexError where there is no image."""
        if position not in range(len(self.split)):
            raise IndexError(f"there is no image at {position!r}: this split has positions 0 to {len(self.split) - 1}")
        return int(self.split.indices[position])

    def likely(self, position: int) -> list[tuple[int, float]]:
        """The five likeliest classes of an image and their probabilities, the first one first, and its label's too."""
        probabilities, label = self.predictions.probabilities[position], int(self.predictions.labels[position])
        order = self.predictions.logits[position].argsort(stable=True, descending=True).tolist()
        return [(one, float(probabilities[one])) for place, one in enumerate(order) if place < 5 or one == label]

    def heats(self, position: int) -> Tensor:
        """Grad-CAM of an image for the predicted class and for its label, (2, h, w). Raises NoMapError as it does."""
        said = self.predictions
        image = normalised(self.split.images[position : position + 1].cpu(), self.normalisation)
        target = torch.stack([said.predicted[position], said.labels[position]])
        return grad_cam(self.model, image.expand(2, -1, -1, -1), target=target.tolist()).cpu()

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
        unit = divmod(int(heat.argmax()), heat.shape[1])
        size = self.split.images.shape[2:]
        starts = [self.field.start[axis] + unit[axis] * self.field.jump[axis] for axis in (0, 1)]
        ends = [min(starts[axis] + self.field.size[axis], size[axis]) for axis in (0, 1)]
        return max(starts[1], 0), max(starts[0], 0), ends[1], ends[0]

    def pictures(self, position: int) -> tuple[list[Image.Image], str]:
        """An image, enlarged; then, in grey, the evidence in it for the predicted class and for the label in orange.

        Both maps have one scale, so that they compare; the box is `box`. Then a line that says what the box is. Where
        the network makes no map there is the image alone, and the line says why.
        """
        image = self.split.images[position].cpu()
        try:
            heats = self.heats(position)
        except NoMapError as reason:
            return [_enlarged(image)], f"No Grad-CAM: {reason}."
        largest = float(heats.max())
        boxes = [self.box(heat) for heat in heats]
        shades = heats / largest if largest > 0 else heats
        drawn = [_heated(image, shade, box) for shade, box in zip(shades, boxes, strict=True)]
        return [_enlarged(image), *drawn], self._told(boxed=any(boxes), hot=largest > 0)

    def _told(self, boxed: bool, hot: bool) -> str:
        if not hot:
            return "Nothing speaks for either class: both maps are empty."
        if self.field is None or not boxed:
            return "What each unit could see is not known for this network."
        (rows, columns), (height, width) = self.field.size, self.split.images.shape[2:]
        box = f"Box: what the strongest unit could see, {rows} x {columns} pixels"
        return f"{box}, cut to the image." if rows > height or columns > width else f"{box}."


def _enlarged(image: Tensor) -> Image.Image:
    """uint8 (3, H, W) with its pixels visible."""
    height, width = image.shape[1:]
    pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    return pixels.resize((SCALE * width, SCALE * height), Image.Resampling.NEAREST)


def _heated(image: Tensor, heat: Tensor, box: tuple[int, int, int, int] | None) -> Image.Image:
    """The image in grey under `heat`, (h, w) from 0 to 1, and the box on it."""
    grey = _enlarged(image).convert("L").point(lambda value: 60 + int(0.7 * value)).convert("RGB")
    shade = F.interpolate(heat[None, None].float(), size=grey.size[::-1], mode="bilinear", align_corners=False)[0, 0]
    mask = Image.fromarray((200 * shade.clamp(0, 1)).to(torch.uint8).numpy())
    grey.paste(Image.new("RGB", grey.size, HEAT), mask=mask)
    if box is not None:
        left, top, right, bottom = (SCALE * edge for edge in box)
        draw = ImageDraw.Draw(grey)
        draw.rectangle((left, top, right - 1, bottom - 1), outline="white", width=4)
        draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline="#0072b2", width=2)
    return grey
