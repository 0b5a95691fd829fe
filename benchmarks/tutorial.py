"""Batches as a first PyTorch tutorial makes them: torchvision's transforms, an image at a time, in a DataLoader."""

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from eva.data import Split, Splits


class Transformed(Dataset):
    """A split as torchvision's own CIFAR10 would give it: a PIL image at a time, through transforms."""

    def __init__(self, split: Split, mean: list[float], std: list[float]) -> None:
        self.arrays, self.labels = split.images.permute(0, 2, 3, 1).numpy(), split.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.arrays[index]), self.labels[index]


def tutorial_loader(splits: Splits, batch_size: int = 128, workers: int = 2, tuned: bool = False) -> DataLoader:
    """The training split, shuffled and augmented by `workers` processes.

    `tuned` is what PyTorch's guides advise next: pinned memory, and processes that live longer than one pass.
    """
    mean, std = splits.normalisation
    data = Transformed(splits.train, mean.tolist(), std.tolist())
    pinned = tuned and torch.cuda.is_available()
    kept = tuned and workers > 0
    return DataLoader(data, batch_size, shuffle=True, num_workers=workers, pin_memory=pinned, persistent_workers=kept)
