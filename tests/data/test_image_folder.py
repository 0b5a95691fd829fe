"""What photographs from anywhere are like: turned, deep, nested, damaged."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin

from eva.data import DataError, load, read_image


def pattern(side=32, seed=0):
    """Smooth, and different in each corner, so that a turn or a mirror shows."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("side", "ending"), [(32, "png"), (32, "tiff"), (48, "png"), (32, "jpg")])
def test_every_orientation_is_turned_upright_at_every_size(tmp_path, orientation, side, ending):
    image, path = pattern(side, seed=orientation), tmp_path / f"photo.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    with Image.open(path) as stored:
        upright = ImageOps.exif_transpose(stored).convert("RGB").resize((32, 32), Image.Resampling.BOX)
    pixels, changed = read_image(path)
    assert np.array_equal(pixels, np.asarray(upright))
    assert changed == (orientation != 1 or side != 32)
    if orientation != 1 and side == 32 and ending == "png":
        assert not np.array_equal(pixels, np.asarray(image))


DEEP = {
    "float, fractions": (np.float32, 1.0, "tiff"),
    "float, bytes": (np.float32, 255.0, "tiff"),
    "float, 16 bits": (np.float32, 65535.0, "tiff"),
    "int32, bytes": (np.int32, 255, "tiff"),
    "int32, 16 bits": (np.int32, 65535, "tiff"),
    "uint16": (np.uint16, 65535, "tiff"),
    "uint16, big endian": (">u2", 65535, "tiff"),
    "uint16, PNG": (np.uint16, 65535, "png"),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("size", [(32, 32), (20, 50)])
def test_grey_of_more_than_eight_bits_keeps_its_shades(tmp_path, kind, size):
    dtype, full, ending = DEEP[kind]
    ramp = np.linspace(0, full, size[0] * size[1]).reshape(size).astype(dtype)
    path = tmp_path / f"ramp.{ending}"
    mode = {"mode": "I;16B"} if dtype == ">u2" else {}
    image = Image.frombytes("I;16B", size[::-1], ramp.tobytes()) if mode else Image.fromarray(ramp)
    image.save(path)
    pixels = read_image(path)[0].astype(float)
    assert pixels.mean() == pytest.approx(127.5, abs=1)
    assert pixels[0, 0].max() < 10
    assert pixels[-1, -1].min() > 245
    if size == (32, 32):
        assert np.abs(pixels[..., 0] - 255 * ramp.astype(float) / full).max() <= 0.5


def test_a_dark_photograph_of_sixteen_bits_stays_dark(tmp_path):
    Image.fromarray(np.full((32, 32), 200, np.uint16)).save(tmp_path / "night.png")
    assert read_image(tmp_path / "night.png")[0].max() == 1


@pytest.mark.parametrize("values", [[-3.0, 1.0], [0.0, 1e6], [0.0, float("nan")], [0.0, float("inf")]])
def test_values_of_no_known_range_are_refused_by_name(tmp_path, values):
    image = np.resize(np.array(values, np.float32), (32, 32))
    Image.fromarray(image).save(tmp_path / "strange.tiff")
    with pytest.raises(DataError, match=r"strange.tiff cannot be read .*no full scale of 1, 255 or 65535"):
        read_image(tmp_path / "strange.tiff")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(extra):
    stream = io.BytesIO()
    pattern().save(stream, "png")
    whole = stream.getvalue()
    return whole[:33] + extra + whole[33:]  # behind the header


DAMAGED = {
    "short pHYs": png_with(chunk(b"pHYs", b"\x00\x01")),
    "huge text": png_with(chunk(b"zTXt", b"note\x00\x00" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 9)))),
    "bad PPM header": b"P6\n32 thirty-two\n255\n",
    "bad PPM maximum": b"P6\n32 32\n0\n" + bytes(3072),
    "cut short": png_with(b"")[:200],
    "empty": b"",
    "no image at all": b"hello",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_whatever_pillow_raises(tmp_path, name):
    path = tmp_path / "holiday.png"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(DataError, match=r"holiday.png cannot be read as an image"):
        read_image(path)


def test_all_damaged_files_are_named_at_once(image_folder):
    for name in ("3.png", "7.png"):
        (image_folder / "train" / "zebra" / name).write_bytes(b"not an image")
    with pytest.raises(DataError, match="2 of 24 files are damaged; move them away to go on without them") as caught:
        load(image_folder)
    assert "zebra/3.png" in str(caught.value)
    assert "zebra/7.png" in str(caught.value)
    for name in ("3.png", "7.png"):
        (image_folder / "train" / "zebra" / name).unlink()
    splits = load(image_folder)
    assert len(splits.train) + len(splits.validation) == 22


def test_images_in_folders_within_a_class_are_taken_as_torchvision_does(image_folder):
    from torchvision.datasets import ImageFolder

    deeper = image_folder / "train" / "zebra" / "2026" / "may"
    deeper.mkdir(parents=True)
    pattern().save(deeper / "new.png")
    hidden = image_folder / "train" / "zebra" / ".thumbnails"
    hidden.mkdir()
    splits = load(image_folder)
    truth = ImageFolder(image_folder / "train")
    assert len(splits.train) + len(splits.validation) == len(truth) == 25
    every = torch.cat([splits.train.images, splits.validation.images])
    new = torch.from_numpy(np.asarray(pattern())).permute(2, 0, 1)
    assert any(torch.equal(image, new) for image in every)


def test_files_that_are_left_out_are_counted(image_folder, caplog):
    for name in ("a.heic", "b.heic", "notes.txt"):
        (image_folder / "train" / "zebra" / name).write_bytes(b"x")
    (image_folder / "test" / "readme.txt").write_text("x")
    (image_folder / "test" / ".hidden").write_text("x")
    load(image_folder)
    assert "zebra: 3 files are left out, which are no images by their names (a.heic, b.heic, notes.txt)" in caplog.text
    assert "test: 1 files are left out, which lie outside of a class's folder (readme.txt)" in caplog.text


def test_without_a_home_the_cache_is_somewhere_else(image_folder, monkeypatch):
    from pathlib import Path

    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("EVA_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda path: nobody(path) if str(path).startswith("~") else path)
    assert len(load(image_folder).test) == 4
