"""What a user would pick instead of our recipes, each as a function from (images, seed, device) to what it measured.

courses_own    Net as a first PyTorch tutorial trains it
usual_recipe   a ResNet by the recipe that most repositories have: SGD, weight decay, cosine, crops and flips
airbench       the package `airbench` 0.1.8 (K. Jordan 2024), its own code unchanged, on the same images; needs a GPU

"passed" lists seconds of training and validation accuracy after each epoch; measuring is not counted. Accuracies on the
test split are measured at the end, at each level of test-time augmentation.
"""

import contextlib
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchvision.transforms import Normalize

from benchmarks.networks import NETWORKS
from benchmarks.tta import accuracies
from benchmarks.tutorial import tutorial_loader
from eva.data import Split, Splits, loaders
from eva.measure import count_parameters
from eva.model import Net
from eva.modules import placed
from eva.precision import mixed_precision
from eva.training import test, train

Run = dict[str, Any]


def measured(model: nn.Module, passed: list, splits: Splits, device: torch.device) -> Run:
    """What every style of ours reports; the test split is touched here."""
    return {
        "parameters": count_parameters(model),
        "passed": passed,
        "test": accuracies(model, loaders(splits, device=device)[2]),
    }


def courses_own(splits: Splits, seed: int, device: torch.device, width: float, stop_at: float, minutes: float) -> Run:
    """PyTorch's default memory layout and precision, SGD 0.01 with momentum, no schedule, batches of 128, two workers.

    Until the validation split is seen at `stop_at`, or for `minutes` of training.
    """
    torch.manual_seed(seed)
    model = Net(width=width, classes=len(splits.classes)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loader, validation = tutorial_loader(splits), loaders(splits, device=device)[1]
    passed: list = []
    seconds, epoch = 0.0, 0
    while seconds < 60 * minutes and not (passed and passed[-1][1] >= stop_at):
        epoch += 1
        seconds += train(model, device, loader, optimizer, epoch).seconds
        passed.append([round(seconds, 1), test(model, device, validation).accuracy])
    return {**measured(model, passed, splits, device), "given_up_after": 60 * minutes}


def usual_recipe(splits: Splits, seed: int, device: torch.device, network: str, epochs: int) -> Run:
    """One of NETWORKS, SGD 0.1 with Nesterov momentum and weight decay 5e-4, a cosine, mixed precision on a GPU,
    batches of 128 from a DataLoader with up to eight workers."""
    torch.manual_seed(seed)
    model = placed(NETWORKS[network](len(splits.classes)), device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader = tutorial_loader(splits, workers=min(8, os.cpu_count() or 2), tuned=True)
    validation, scheduler = loaders(splits, device=device)[1], CosineAnnealingLR(optimizer, epochs * len(loader))
    passed: list = []
    seconds, precision = 0.0, mixed_precision(device)
    for epoch in range(1, epochs + 1):
        result = train(model, device, loader, optimizer, epoch, after_step=scheduler.step, precision=precision)
        seconds += result.seconds
        passed.append([round(seconds, 1), test(model, device, validation).accuracy])
    return measured(model, passed, splits, device)


def missing_airbench() -> str | None:
    """Why airbench cannot be run here, or None."""
    if not torch.cuda.is_available():
        return "airbench needs a GPU"
    return "airbench is not installed" if importlib.util.find_spec("airbench") is None else None


def airbench(splits: Splits, seed: int, device: torch.device, recipe: str) -> Run:
    """The package's `train94` or `train96`, as `recipe` says, with all its own settings.

    It reads the images from a folder that it is given here, where our validation split stands as its test split. What
    it prints after each epoch is caught instead, with its own clock, which counts preparing the images too.
    """
    with replaced(torch.backends.cudnn, benchmark=True):  # which importing it sets, and would leave set for our runs
        package, utils = importlib.import_module("airbench"), importlib.import_module("airbench.utils")
        model, passed = _airbench_run(package, utils, splits, seed, recipe)
    normalize = Normalize(utils.CIFAR_MEAN, utils.CIFAR_STD)
    return {
        "parameters": count_parameters(model),
        "passed": passed,
        "test": accuracies(model, half_batches(splits.test, normalize, device)),
    }


def _airbench_run(package: Any, utils: Any, splits: Splits, seed: int, recipe: str) -> tuple[nn.Module, list]:
    """The trained network, and what was caught: seconds and validation accuracy after each epoch.

    One silent epoch comes before: the first one in a process also chooses algorithms.
    """
    passed: list = []

    def caught(variables: dict[str, Any], is_final_entry: bool) -> None:
        if not is_final_entry:
            passed.append([round(variables["total_time_seconds"], 2), variables["val_acc"]])

    with working_folder(), replaced(utils, print_training_details=caught, print_columns=lambda *args, **kwargs: None):
        write_images(splits, Path("cifar10"))
        train = getattr(package, recipe)
        train(run=-1, epochs=1, verbose=False)
        torch.manual_seed(seed)
        return train(run=seed), passed


def write_images(splits: Splits, folder: Path) -> None:
    """train.pt and test.pt as airbench reads them: uint8 (N, H, W, C). Its test images are our validation images."""
    folder.mkdir()
    for name, split in (("train", splits.train), ("test", splits.validation)):
        images = split.images.permute(0, 2, 3, 1).contiguous()
        torch.save({"images": images, "labels": split.labels, "classes": list(splits.classes)}, folder / f"{name}.pt")


def half_batches(split: Split, normalize: Normalize, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in half precision, normalised as airbench does it."""
    for images, labels in zip(split.images.split(2000), split.labels.split(2000), strict=True):
        halves = (images.to(device).half() / 255).to(memory_format=torch.channels_last)
        yield normalize(halves), labels.to(device)


@contextlib.contextmanager
def working_folder() -> Iterator[None]:
    """A temporary folder as the working directory."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@contextlib.contextmanager
def replaced(module: Any, **names: Any) -> Iterator[None]:
    """Other values for some names of a module, for a while."""
    before = {name: getattr(module, name) for name in names}
    try:
        for name, value in names.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
