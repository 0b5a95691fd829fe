"""CIFAR-10 as tensors: found, checked, split and served in batches.

splits = load()                                              # uint8 images in memory
train_loader, validation_loader, test_loader = loaders(splits, batch_size=128, device="cpu")
"""

from eva.data.batches import FLIP_AND_SHIFT, BatchLoader, DataError, Split, Splits, loaders, normalised
from eva.data.image_folder import read_image
from eva.data.sources import export_jpeg, load

__all__ = ["FLIP_AND_SHIFT", "BatchLoader", "DataError", "Split", "Splits", "export_jpeg", "load", "loaders",
           "normalised", "read_image"]  # fmt: skip
