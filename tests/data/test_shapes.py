import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eva.data import shapes


def test_the_same_seed_gives_the_same_balanced_images():
    images, labels = shapes.render(1500, seed=3)
    again, labels_again = shapes.render(1500, seed=3)
    assert torch.equal(images, again)
    assert torch.equal(labels, labels_again)
    assert not torch.equal(images, shapes.render(1500, seed=4)[0])
    assert images.shape == (1500, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.bincount().tolist() == [150] * 10


def test_every_class_has_the_same_marks_in_another_arrangement():
    assert len(set(shapes.CLASSES)) == 10
    for arrangement in shapes.ARRANGEMENTS:
        assert sorted(arrangement) == [0, 1, 2, 3]
        top_left, top_right, bottom_left, bottom_right = arrangement
        mirrored = (top_right, top_left, bottom_right, bottom_left)
        assert mirrored not in shapes.ARRANGEMENTS, "a mirrored image must keep its label"


def decoded(images: torch.Tensor) -> torch.Tensor:
    """The label of each image, read off it without any learning: where is each mark's hue, on average?"""
    levels = images.float() / 255
    hue = torch.stack([_hue(image) for image in levels])
    vivid = (levels.amax(1) - levels.amin(1)) ** 2 * (levels.amax(1) > 0.45)
    rows, columns = torch.meshgrid(*[torch.arange(float(images.shape[-1]))] * 2, indexing="ij")
    centres = []
    for mark_hue in shapes.HUES:
        score = vivid * (((hue - mark_hue + 0.5) % 1 - 0.5).abs() < 0.06)
        score = F.avg_pool2d(score[:, None], 3, stride=1, padding=1)[:, 0] ** 4  # what is vivid all around counts
        total = score.sum((1, 2)) + 1e-12
        centres.append(torch.stack([(score * rows).sum((1, 2)) / total, (score * columns).sum((1, 2)) / total]))
    row, column = torch.stack(centres, 2)  # (N, 4) each: where each mark is
    place = 2 * (row > row.mean(1, keepdim=True)).long() + (column > column.mean(1, keepdim=True))
    table = {}
    for label, arrangement in enumerate(shapes.ARRANGEMENTS):
        for order in (arrangement, tuple(arrangement[i] for i in (1, 0, 3, 2))):
            table[tuple(order.index(mark) for mark in range(4))] = label
    return torch.tensor([table.get(tuple(places), -1) for places in place.tolist()])


def _hue(image: torch.Tensor) -> torch.Tensor:
    red, green, blue = image
    high, low = image.amax(0), image.amin(0)
    span = (high - low).clamp(min=1e-6)
    hue = torch.where(
        high == red,
        ((green - blue) / span) % 6,
        torch.where(high == green, (blue - red) / span + 2, (red - green) / span + 4),
    )
    return hue / 6


def test_labels_survive_mirroring_shifts_of_four_pixels_and_halving():
    images, labels = shapes.render(400, seed=5)
    cases = {
        "as rendered": images,
        "mirrored": images.flip(3),
        "down and right": torch.roll(images, (4, 4), (2, 3)),
        "up and left": torch.roll(images, (-4, -4), (2, 3)),
        "halved": F.avg_pool2d(images.float(), 2),
    }
    for name, changed in cases.items():
        agreement = (decoded(changed) == labels).float().mean()
        assert agreement > 0.9, f"{name}: the label can be read off {agreement:.0%} of the images"


def accuracy_with_field(dilations: tuple[int, ...], train, test) -> float:
    """Four 3x3 convolutions, global average pooling and a linear layer: the dilations change no parameter."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for index, dilation in enumerate(dilations):
        layers += [nn.Conv2d(16 if index else 3, 16, 3, padding=dilation, dilation=dilation, bias=False),
                   nn.BatchNorm2d(16), nn.ReLU()]  # fmt: skip
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    model = model.to(memory_format=torch.channels_last)
    images, labels = (train[0].float() - 80) / 50, train[1]
    steps = 3 * (len(labels) // 50)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
    for step in range(steps):
        chosen = torch.arange(50) + 50 * step % len(labels)
        loss = F.cross_entropy(model(images[chosen].contiguous(memory_format=torch.channels_last)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (model.eval()((test[0].float() - 80) / 50).argmax(1) == test[1]).float().mean().item()


@pytest.fixture(scope="module")
def rendered():
    return shapes.render(3000, seed=0), shapes.render(500, seed=1)


def test_the_classes_need_a_wide_receptive_field(rendered):
    narrow = accuracy_with_field((1, 1, 1, 1), *rendered)  # 9x9 pixels
    wide = accuracy_with_field((2, 4, 4, 4), *rendered)  # 29x29 pixels
    assert narrow < 0.2, "what is visible in 9x9 pixels must not tell the classes apart"
    assert wide > narrow + 0.25
