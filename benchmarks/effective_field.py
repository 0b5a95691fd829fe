"""How far does Net look in fact? Its effective receptive field before and after training.

    python -m benchmarks.effective_field        # a minute; writes results/effective_field.md and .png

The gradient of the trunk's middle unit over validation images (Luo et al. 2016), once on the images as they are, once
on images continued beyond their border by reflection, so that the border does not cut the field off. Before training:
three seeds, of layers that all start at random. After: the network that ships with the package.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva.checkpoint import pretrained, pretrained_card
from eva.data import BatchLoader, load
from eva.files import replacing
from eva.model import Net
from eva.plotting import field_over
from eva.receptive_field import effective_receptive_field, receptive_field

PAGE = Path(__file__).parent.parent / "results" / "effective_field.md"
SEEDS = (0, 1, 2)
IMAGES = 50  # on a canvas of 128 pixels they take some 5 GB


def row(name: str, models: list[nn.Module], images: Tensor) -> str:
    """One line of the table: means over the models."""
    fields = [effective_receptive_field(model, images) for model in models]
    figures = [
        statistics.mean(values)
        for values in zip(*((*field.std, field.radius_50, field.radius_95) for field in fields), strict=True)
    ]
    return f"| {name} | {images.shape[2]} | {len(models)} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |"


def continued(images: Tensor) -> Tensor:
    """32x32 pixels to 80x80, to 128x128: a reflection is never larger than what it shows."""
    for _ in range(2):
        images = F.pad(images, (24, 24, 24, 24), mode="reflect")
    return images


def at_random(seed: int, arguments: dict[str, Any]) -> Net:
    """A fresh Net in which no convolution is zero: some start so, and would let nothing through."""
    torch.manual_seed(seed)
    net = Net(**arguments)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return net


def main() -> None:
    splits, card, trained = load(), pretrained_card(), pretrained()
    if splits.name != card.data:
        sys.exit(f"the shipped network learned on {card.data} and the images here are {splits.name}: set EVA_DATA")
    images, _ = next(iter(BatchLoader(splits.validation, splits.normalisation, batch_size=IMAGES)))
    untrained: list[nn.Module] = [at_random(seed, card.arguments) for seed in SEEDS]
    size = receptive_field(trained).size[0]
    lines = [
        "# The effective receptive field of Net, in pixels",
        "",
        f"Net(width={card.arguments['width']}), on paper {size} x {size} pixels; {len(images)} validation images of "
        f"{splits.name}; torch {torch.__version__}. Standard deviation of the gradient's mass along rows and columns, "
        "and the radii that hold 50 and 95 % of it. Made by `benchmarks/effective_field.py`, which says how.",
        "",
        "| network | canvas | seeds | std, rows | std, columns | radius, 50 % | radius, 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    wide = continued(images)
    for canvas in (images, wide):
        lines += [row("before training", untrained, canvas), row("after training", [trained], canvas)]
    with replacing(PAGE, "w") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))
    heats = {
        "random weights": effective_receptive_field(untrained[0], wide),
        f"trained on {card.data}": effective_receptive_field(trained, wide),
    }
    picture = continued(splits.validation.images[:1].float())[0].to(torch.uint8)
    figure = field_over(
        picture, receptive_field(trained, (3, 128, 128)), heats, "What a unit of Net could see, and does"
    )
    with replacing(PAGE.with_suffix(".png")) as file:
        figure.savefig(file, format="png", dpi=100)


if __name__ == "__main__":
    main()
