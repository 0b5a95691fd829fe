import hashlib
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, ImageFolder

from eva.data import DataError, Split, download, export_jpeg, load, shapes, sources


def test_an_image_folder_is_read_as_torchvision_reads_it(image_folder):
    splits = load(image_folder)
    truth = ImageFolder(image_folder / "test")
    assert splits.classes == tuple(truth.classes) == ("teapot", "zebra")
    assert splits.test.labels.tolist() == truth.targets
    for ours, (theirs, _) in zip(splits.test.images, truth, strict=True):
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(theirs))
    assert splits.name == "images (image folder)"


def test_validation_is_a_balanced_tenth_and_the_same_each_time():
    labels = torch.arange(400) % 4
    images = torch.arange(400).view(-1, 1, 1, 1).expand(400, 3, 32, 32) % 256
    everything = Split.numbered(images.to(torch.uint8), labels)
    splits = sources._assembled("x", "y", "abcd", everything, everything)
    again = sources._assembled("x", "y", "abcd", everything, everything)
    assert splits.validation.labels.bincount().tolist() == [10] * 4
    assert len(splits.train) == 360
    assert torch.equal(splits.validation.images, again.validation.images)
    assert sorted(splits.train.labels.tolist() + splits.validation.labels.tolist()) == sorted(labels.tolist())


@pytest.mark.parametrize("change", ["a label is corrected", "an image goes", "an image comes"])
def test_a_change_of_one_image_leaves_the_held_out_ones_where_they_were(change):
    rng = torch.Generator().manual_seed(1)
    labels, images = torch.randint(0, 4, (400,), generator=rng), torch.zeros(400, 3, 32, 32, dtype=torch.uint8)
    names = [f"photo {number}" for number in range(400)]

    def held_out(labels, names):
        training = Split(images[: len(names)], labels, torch.arange(len(names)))
        splits = sources._assembled("x", "y", "abcd", training, training, names)
        return {names[index] for index in splits.validation.indices}

    before = held_out(labels[:399], names[:399])
    for place in range(0, 399, 40):
        changed = labels[:399].clone()
        if change == "a label is corrected":
            changed[place] = (changed[place] + 1) % 4
            after = held_out(changed, names[:399])
        elif change == "an image goes":
            kept = torch.arange(399) != place
            after = held_out(changed[kept], [name for name, keep in zip(names, kept, strict=False) if keep])
        else:
            after = held_out(torch.cat([labels[399:], changed]), [names[399], *names[:399]])
        assert len(before ^ after) <= 4


def test_decoded_images_are_kept_until_the_folder_changes(image_folder, monkeypatch):
    first = load(image_folder)
    with monkeypatch.context() as patch:
        patch.setattr(sources.image_folder, "read_image", lambda path: pytest.fail("decoded again"))
        second = load(image_folder)
    assert torch.equal(first.train.images, second.train.images)
    Image.new("RGB", (32, 32), "red").save(image_folder / "test" / "zebra" / "0.png")
    assert not torch.equal(load(image_folder).test.images, first.test.images)


def test_a_cache_that_cannot_be_written_costs_only_time(image_folder, tmp_path, monkeypatch, caplog):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("EVA_CACHE", str(blocked / "cache"))
    assert len(load(image_folder).test) == 4
    assert "are not kept" in caplog.text


def test_grey_and_large_images_are_converted_with_a_warning(image_folder, caplog):
    Image.new("L", (32, 32), 100).save(image_folder / "test" / "teapot" / "0.png")
    checks = np.kron(np.indices((32, 32)).sum(0) % 2 * 200, np.ones((2, 2))).astype(np.uint8)
    Image.fromarray(np.stack([checks] * 3, -1)).save(image_folder / "test" / "teapot" / "1.png")
    splits = load(image_folder)
    assert "2 of 4 images were not upright, RGB and 32x32" in caplog.text
    assert (splits.test.images[0] == 100).all()
    assert torch.equal(splits.test.images[1, 0], torch.from_numpy(checks[::2, ::2])), "64x64 is averaged to 32x32"


def _sorted(split):
    return split.take(split.indices.argsort())


def test_a_jpeg_copy_can_be_made_and_read_back(image_folder, tmp_path):
    files = sorted((image_folder / "train").rglob("*.png")) + sorted((image_folder / "test").rglob("*.png"))
    for number, path in enumerate(files):  # so that each has a number of its own, not in the order of their classes
        path.rename(path.with_name(f"{7 * number % 100}.png"))
    splits = load(image_folder)
    export_jpeg(splits, tmp_path / "copy")
    copy = load(tmp_path / "copy")
    assert copy.classes == splits.classes
    for which in ("train", "validation", "test"):  # JPEG changes each value a little and moves no image
        original, read_back = (_sorted(getattr(loaded, which)) for loaded in (splits, copy))
        assert torch.equal(original.labels, read_back.labels)
        assert torch.equal(original.indices, read_back.indices)
        assert (original.images.float() - read_back.images.float()).abs().mean((1, 2, 3)).max() < 70
        assert not torch.equal(original.images, read_back.images)
    with Image.open(next((tmp_path / "copy" / "test" / "zebra").iterdir())) as image:
        assert image.format == "JPEG"
        assert image.layer[0][1:3] == (2, 2), "4:2:0"
        assert image.layer[1][1:3] == (1, 1), "4:2:0"
        reference = Image.new("RGB", (32, 32))
        reference.save(tmp_path / "q75.jpg", quality=75)
        with Image.open(tmp_path / "q75.jpg") as expected:
            assert image.quantization == expected.quantization
    with pytest.raises(FileExistsError, match="is not empty"):
        export_jpeg(splits, tmp_path / "copy")


def test_a_copy_of_shuffled_classes_holds_the_same_images_out(tmp_path):
    """CIFAR-10's own order goes through the classes at random; a folder lists them class by class."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=rng)
    images = torch.arange(90).view(-1, 1, 1, 1).expand(90, 3, 32, 32).to(torch.uint8) * 2
    everything = Split.numbered(images.contiguous(), labels)
    original = sources._assembled("x", "y", "abc", everything, everything)
    export_jpeg(original, tmp_path / "copy")
    copy = load(tmp_path / "copy")
    shades = [(split.images[:, 0, 0, 0].float() / 2).round().int() for split in (original.validation, copy.validation)]
    assert sorted(shades[0].tolist()) == sorted(shades[1].tolist())


def test_an_export_that_is_interrupted_leaves_nothing(image_folder, tmp_path, monkeypatch):
    splits = load(image_folder)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_jpeg(splits, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert [path.name for path in tmp_path.glob(".copy*")] == []


def test_sixteen_bits_of_grey_keep_their_shades(image_folder):
    ramp = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
    Image.fromarray(ramp).save(image_folder / "test" / "teapot" / "0.png")
    shades = load(image_folder).test.images[0, 0].numpy()
    assert np.abs(shades - ramp / 257.0).max() <= 0.5


def test_a_damaged_file_of_decoded_images_is_made_anew(image_folder, tmp_path, caplog):
    first = load(image_folder)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:1000])
    assert torch.equal(load(image_folder).test.images, first.test.images)
    assert "is damaged" in caplog.text


# Faults of a folder that was named: each is an error, and nothing stands in for it.


def test_a_missing_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EVA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere, which is not a folder"):
        load()


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(DataError, match=r"holds neither cifar-10-batches-py/ .* nor train/ and test/"):
        load(tmp_path)


def test_a_folder_with_the_archive_alone_says_how_to_use_it(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="set EVA_MIRROR=file:///"):
        load(tmp_path)


def test_an_empty_class_folder(image_folder):
    for file in (image_folder / "train" / "zebra").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="zebra has no images"):
        load(image_folder)


def test_classes_that_differ_between_train_and_test(image_folder):
    (image_folder / "test" / "zebra").rename(image_folder / "test" / "horse")
    with pytest.raises(DataError, match=r"only one of them has \['horse', 'zebra'\]"):
        load(image_folder)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n cut off"])
def test_a_corrupt_image_is_named(image_folder, content):
    (image_folder / "train" / "teapot" / "3.png").write_bytes(content)
    with pytest.raises(DataError, match=r"teapot.3\.png cannot be read as an image .* replace or remove it"):
        load(image_folder)


class Crafted:
    """A pickle of this would create a file, were it ever loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_batches_with_other_checksums_are_not_unpickled(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [entry[0] for entry in CIFAR10.train_list + CIFAR10.test_list] + ["batches.meta"]:
        (folder / name).write_bytes(pickle.dumps(Crafted(tmp_path / "executed")))
    with pytest.raises(DataError, match=r"its checksums are not CIFAR-10's.* replace it with the original"):
        load(tmp_path)
    monkeypatch.setenv("EVA_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="remove it to have it downloaded again"):
        load()
    assert not (tmp_path / "executed").exists()


def test_torchvisions_layout_is_read_through_torchvision(tmp_path, monkeypatch):
    """Small batches with checksums of their own, put where torchvision looks for CIFAR-10's."""
    folder = tmp_path / "cifar-10-batches-py"
    write_batches(folder, monkeypatch)
    for named in (tmp_path, folder):
        splits = load(named)
        assert splits.name == "CIFAR-10"
        truth = CIFAR10(tmp_path, train=False)
        assert splits.test.labels.tolist() == truth.targets
        assert np.array_equal(splits.test.images.permute(0, 2, 3, 1).numpy(), truth.data)
    monkeypatch.setenv("EVA_CACHE", str(tmp_path))
    assert load().name == "CIFAR-10", "the cache has the same layout"


def write_batches(folder, monkeypatch):
    """Write CIFAR-10's files with 20 images each, and tell torchvision their checksums. Returns the folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def write(name, content):
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        return [name, hashlib.md5(raw).hexdigest()]

    def batch():
        return {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": [i % 10 for i in range(20)]}

    monkeypatch.setattr(CIFAR10, "train_list", [write(f"data_batch_{i}", batch()) for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch())])
    name, md5 = write("batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return folder


# Falling back


def test_without_a_network_shapes_stand_in_loudly(monkeypatch, caplog):
    monkeypatch.delenv("EVA_BUDGET")

    def unreachable(archive, folder):
        raise download.DownloadError("No mirror gave it")

    monkeypatch.setattr(download, "fetch", unreachable)
    splits = load()
    assert splits.name == "Shapes-10"
    assert "*** CIFAR-10 is not here: this runs on Shapes-10" in caplog.text
    assert "No mirror gave it" in caplog.text
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (9000, 1000, 2000)
    assert splits.classes == shapes.CLASSES


def test_at_the_smoke_budget_nothing_is_downloaded(monkeypatch, caplog):
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    monkeypatch.setattr(download, "fetch", lambda *_: pytest.fail("asked for a download"))
    assert load().name == "Shapes-10"
    assert "nothing is downloaded" in caplog.text


# Splits and loaders


def test_loading_warns_of_nothing(image_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(image_folder)
        load(image_folder)
