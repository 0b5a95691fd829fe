from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from eva.data import BatchLoader, DataError, Split, Splits, loaders
from eva.model import Net
from eva.recipes import RECIPES
from eva.training import fit


def test_labels_without_a_class_are_refused():
    split = Split.numbered(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 1, 2]))
    with pytest.raises(DataError, match="labels of the train split run from 0 to 2, but 2 classes need 0 to 1"):
        Splits("x", "here", ("a", "b"), split, split, split)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"got torch.uint8 \(2, 32"),
        (torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64), r"images must be uint8 .* got torch.float32"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2), r"labels must be int64 \(2,\), got torch.float"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), r"\(2,\), got .* \(3,\)"),
    ],
)
def test_a_split_of_the_wrong_shape_or_type_is_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Split.numbered(images, labels)


def test_normalisation_agrees_with_numpy(splits):
    mean, std = splits.normalisation
    pixels = splits.train.images.numpy() / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-5)


def test_a_loader_gives_each_image_once_normalised_and_channels_last(splits):
    loader = BatchLoader(splits.train, splits.normalisation, batch_size=40, shuffle=True)
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [40, 40, 16]
    assert len(loader) == 3
    images = torch.cat([images for images, _ in batches])
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)
    assert images.mean((0, 2, 3)).abs().max() < 1e-4
    assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-2
    mean, std = (value.view(1, 3, 1, 1) for value in splits.normalisation)
    back = ((images * std + mean) * 255).round().to(torch.uint8)
    assert sorted(map(hash, map(bytes, back.numpy()))) == sorted(map(hash, map(bytes, splits.train.images.numpy())))
    assert not torch.equal(torch.cat([labels for _, labels in batches]), splits.train.labels), "shuffled"


def test_a_pass_depends_on_seed_and_epoch_alone(splits):
    def passes(seed, start):
        loader = loaders(splits, batch_size=32, seed=seed)[0]
        loader.epoch = start
        return [torch.cat([images for images, _ in loader]) for _ in range(2)]

    first, second = passes(seed=0, start=0)
    assert not torch.equal(first, second)
    assert torch.equal(passes(seed=0, start=1)[0], second)
    assert not torch.equal(passes(seed=1, start=0)[0], first)


def test_only_training_images_are_shuffled_and_augmented(splits):
    _, validation, test = loaders(splits, batch_size=8)
    for loader, split in ((validation, splits.validation), (test, splits.test)):
        assert torch.equal(torch.cat([labels for _, labels in loader]), split.labels)
        plain = BatchLoader(split, splits.normalisation, batch_size=1000)
        torch.testing.assert_close(torch.cat([images for images, _ in loader]), next(iter(plain))[0])


def test_size_shrinks_the_images(splits):
    loader = BatchLoader(splits.train, splits.normalisation, batch_size=8)
    full = next(iter(loader))[0]
    loader.size = 16
    small = next(iter(loader))[0]
    assert small.shape == (8, 3, 16, 16)
    torch.testing.assert_close(small.mean((2, 3)), full.mean((2, 3)), atol=0.05, rtol=0)


def test_a_loader_says_what_it_cannot_serve(splits):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        BatchLoader(splits.train, splits.normalisation, batch_size=0)
    with pytest.raises(DataError, match="no images"):
        BatchLoader(splits.train.take(slice(0, 0)), splits.normalisation, batch_size=4)


def test_a_plain_dataloader_gives_the_same_kind_of_pairs(splits):
    mean, std = (value.view(1, 3, 1, 1) for value in splits.normalisation)
    plain = DataLoader(TensorDataset((splits.test.images / 255 - mean) / std, splits.test.labels), batch_size=1000)
    (theirs, their_labels), (ours, our_labels) = next(iter(plain)), next(iter(loaders(splits)[2]))
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(our_labels, their_labels)


def test_the_digest_tells_contents_apart(splits):
    def with_train(**changes):
        return replace(splits, train=replace(splits.train, **changes)).digest

    images, labels, indices = splits.train.images.clone(), splits.train.labels.clone(), splits.train.indices.clone()
    images[5, 1, 3, 2] ^= 1
    labels[[0, 1]] = labels[[1, 0]]
    indices[0] = 1000
    digests = [splits.digest, with_train(images=images), with_train(labels=labels), with_train(indices=indices),
               replace(splits, classes=("a", "c", "b")).digest]  # fmt: skip
    assert len(set(digests)) == 5
    assert replace(splits, name="elsewhere", source="there").digest == splits.digest
    moved = Split(splits.train.images.clone(), splits.train.labels.clone(), splits.train.indices.clone())
    assert replace(splits, train=moved).digest == splits.digest


@pytest.mark.parametrize("value", [0, 77])
def test_a_channel_that_never_changes_is_named_and_not_divided_by_zero(splits, value, caplog):
    images = splits.train.images.clone()
    images[:, 1] = value
    flat = replace(splits, train=replace(splits.train, images=images))
    mean, std = flat.normalisation
    assert f"toy: channel 1 is {value} in every pixel of the training images" in caplog.text
    assert mean[1] == pytest.approx(value / 255)
    assert std[1] == 1
    assert torch.equal(std[[0, 2]], splits.normalisation[1][[0, 2]])
    batch, _ = next(iter(BatchLoader(flat.train, flat.normalisation, batch_size=8)))
    torch.testing.assert_close(batch[:, 1], torch.zeros(8, 32, 32))


def test_order_augmentation_and_dropout_draw_streams_of_their_own(splits, monkeypatch):
    seeds = []
    real = torch.Generator.manual_seed

    class Noted(torch.Generator):
        def manual_seed(self, seed):
            seeds.append(seed)
            return real(self, seed)

    monkeypatch.setattr(torch, "Generator", Noted)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed))
    fit(Net(0.125, classes=3), splits, replace(RECIPES["smoke"], batch_size=32), device="cpu", seed=0)
    used = [seed for seed in seeds if seed]
    assert len(used) >= 4
    assert len(set(used)) >= 4, "two epochs, each with a stream for images and another one for the network"


@pytest.mark.parametrize("name", ["a\x1b[31mred", "two\nlines", "bell\x07", "\x9b31m"])
def test_names_that_steer_a_terminal_are_refused(splits, name):
    with pytest.raises(DataError, match="rename that folder"):
        replace(splits, name=name)
    with pytest.raises(DataError, match="rename that folder"):
        replace(splits, classes=("a", name, "c"))


@pytest.mark.parametrize("name", ["$5_to_$10", "50 % <b>", '"quoted"', "猫", "חתול", "🐈‍⬛", "x" * 200])
def test_names_that_people_choose_are_taken(splits, name):
    assert replace(splits, name=name, classes=(name, "b", "c")).classes[0] == name
