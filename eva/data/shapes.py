"""Shapes-10: ten classes of rendered 32x32 images, for when there is no network and no data.

Every image shows the same four marks (a dot, a ring, a plus and a bar) on a 2x2 grid. The class is *which mark stands
where*, up to mirroring left to right; so the parts that an image is made of say nothing, and only a unit that sees
two or more marks at once can tell the classes apart. A network that sees 9x9 pixels at a time is left guessing.
"""

import math
from itertools import permutations

import torch
from torch import Tensor

_MARKS = ("dot", "ring", "plus", "bar")
# An arrangement lists the marks at top left, top right, bottom left, bottom right. Keeping the dot on the left picks
# one of each pair of mirror images: twelve arrangements, of which the first ten are the classes.
ARRANGEMENTS = tuple(p for p in permutations(range(4)) if p.index(0) in (0, 2))[:10]
CLASSES = tuple("{}-{}_{}-{}".format(*(_MARKS[mark] for mark in arrangement)) for arrangement in ARRANGEMENTS)

# Far enough from the border that a 9x9 window cannot see a mark and the padding at once, even when it is zero padding:
# otherwise "the dot is near the top" would be visible to it. The marks of a row are 11 pixels apart.
_CENTRES = ((10.0, 10.0), (10.0, 21.0), (21.0, 10.0), (21.0, 21.0))  # (row, column), pixels
_RADIUS = 2.5
HUES = (0.0, 0.12, 0.38, 0.62)  # one per mark (red, orange, green, blue), so that the marks survive halving to 16x16


def render(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw `count` images, as many of each class as can be.

    Returns images, uint8 (count, 3, 32, 32), and labels, int64 (count,), in random order. The same seed gives the
    same images.
    """
    rng = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) % len(CLASSES))[torch.randperm(count, generator=rng)]
    chunks = [_render(part, rng) for part in labels.split(1000)]
    return torch.cat(chunks), labels


def _render(labels: Tensor, rng: torch.Generator) -> Tensor:
    count = len(labels)
    mirrored = torch.rand(count, generator=rng) < 0.5
    marks = torch.tensor(ARRANGEMENTS)[labels]  # (count, 4): which mark stands at each place
    marks = torch.where(mirrored[:, None], marks[:, [1, 0, 3, 2]], marks)

    images = _background(count, rng)
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    for place, (centre_row, centre_column) in enumerate(_CENTRES):
        jitter = (torch.rand(2, count, 1, 1, generator=rng) - 0.5) * 1.2
        dy, dx = row - centre_row - jitter[0], column - centre_column - jitter[1]
        ink = (0.5 - _distances(dy, dx)).clamp(0, 1)  # (count, 4, 32, 32): how far each pixel is inside each mark
        kind = marks[:, place]
        ink = ink[torch.arange(count), kind][:, None]
        images = images.lerp(_colours(kind, rng)[:, :, None, None].expand_as(images), ink)
    images += torch.randn(images.shape, generator=rng) * 0.04
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _distances(dy: Tensor, dx: Tensor) -> Tensor:
    """Signed distance in pixels to the edge of each of the four marks, stacked on dim 1; negative inside."""
    dot = torch.hypot(dy, dx) - _RADIUS
    ring = (torch.hypot(dy, dx) - (_RADIUS - 0.5)).abs() - 0.6
    lying = torch.maximum(dx.abs() - _RADIUS, dy.abs() - 0.7)
    standing = torch.maximum(dy.abs() - _RADIUS, dx.abs() - 0.7)
    return torch.stack([dot, ring, torch.minimum(lying, standing), lying], dim=1)


def _background(count: int, rng: torch.Generator) -> Tensor:
    """A soft gradient between two dull colours in a random direction, (count, 3, 32, 32)."""
    ends = torch.rand(2, count, 3, 1, 1, generator=rng) * 0.35 + 0.15
    angle = torch.rand(count, 1, 1, 1, generator=rng) * 2 * math.pi
    ramp = torch.linspace(-0.5, 0.5, 32)
    along = (ramp[:, None] * angle.sin() + ramp[None, :] * angle.cos()) / math.sqrt(2) + 0.5
    return ends[0].lerp(ends[1], along)


def _colours(kind: Tensor, rng: torch.Generator) -> Tensor:
    """A bright colour near each mark's own hue, (count, 3)."""
    hue = torch.tensor(HUES)[kind] + (torch.rand(len(kind), generator=rng) - 0.5) * 0.08
    value = torch.rand(len(kind), generator=rng) * 0.25 + 0.75
    # The hue circle as three shifted triangle waves, one per channel.
    wave = ((hue[:, None] + torch.tensor([0.0, 2 / 3, 1 / 3])) % 1 * 6 - 3).abs() - 1
    return value[:, None] * (0.25 + 0.75 * wave.clamp(0, 1))
