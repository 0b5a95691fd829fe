import numpy as np
import pytest
import torch
from PIL import Image

from eva.data import Split, Splits


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random_split(count: int, seed: int, classes: int = 3) -> Split:
    """Images whose mean brightness tells the class, so that a few steps of training are enough."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 80, (count, 3, 32, 32), generator=rng) + 80 * labels[:, None, None, None]
    return Split.numbered(images.clamp(0, 255).to(torch.uint8), labels)


@pytest.fixture
def splits() -> Splits:
    return Splits("toy", "made up", ("a", "b", "c"), random_split(96, 0), random_split(24, 1), random_split(30, 2))


@pytest.fixture
def image_folder(tmp_path):
    """A small image folder: two classes that no data set has, 12 training and 2 test images each."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 2)):
        for name in ("teapot", "zebra"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache, data or mirror."""
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EVA_DATA", raising=False)
    monkeypatch.delenv("EVA_MIRROR", raising=False)


@pytest.fixture(autouse=True)
def claims_of_tests_are_not_counted(monkeypatch):
    monkeypatch.delenv("EVA_CLAIMS", raising=False)
