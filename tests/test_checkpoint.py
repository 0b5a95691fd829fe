import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eva import checkpoint
from eva.checkpoint import Checkpoint, CheckpointError, load, load_weights, restore, save
from eva.model import Net


def small(seed=0, **arguments) -> Checkpoint:
    torch.manual_seed(seed)
    net = Net(0.125, **arguments)
    return Checkpoint(net.arguments, net.state_dict(), ["a", "b"], [0.5] * 3, [0.2] * 3, "toy", {"test_accuracy": 0.5})


def test_a_file_is_enough_to_predict(tmp_path, rng):
    saved = small(classes=2)
    save(saved, tmp_path / "model.pt")
    loaded = load(tmp_path / "model.pt")
    assert replace(loaded, weights={}) == replace(saved, weights={})
    images = torch.rand(3, 3, 32, 32, generator=rng)
    torch.manual_seed(1)
    original = Net(**saved.arguments)
    original.load_state_dict(saved.weights)
    assert torch.equal(restore(loaded)(images), original.eval()(images))


class Crafted:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_crafted_pickle_is_not_executed(tmp_path):
    for name, write in (
        ("torch.pt", torch.save),
        ("pickle.pt", lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))),
    ):
        write({"format": 1, "weights": Crafted(tmp_path / "executed")}, tmp_path / name)
        with pytest.raises(CheckpointError, match=rf"{name} cannot be read as a checkpoint, and nothing in it was run"):
            load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_a_damaged_file(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pt cannot be read as a checkpoint"):
        load(tmp_path / "model.pt")


def test_a_file_cut_short(tmp_path):
    save(small(), tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "model.pt").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match="cannot be read"):
            load(tmp_path / "model.pt")


def test_files_of_another_kind(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(CheckpointError, match=r"not a checkpoint of format 1 .*'Tensor'"):
        load(tmp_path / "tensor.pt")
    torch.save({"format": 99}, tmp_path / "newer.pt")
    with pytest.raises(CheckpointError, match=r"found 99"):
        load(tmp_path / "newer.pt")
    torch.save({"format": 1, "weights": {}}, tmp_path / "partial.pt")
    with pytest.raises(CheckpointError, match=r"incomplete: .*'arguments'"):
        load(tmp_path / "partial.pt")
    with pytest.raises(FileNotFoundError, match=r"does not exist: train a network first"):
        load(tmp_path / "missing.pt")


def test_another_network_is_refused_with_what_differs_and_left_alone():
    net = Net(0.125)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"classifier.weight is \(3, 16\) in the file and \(10, 16\)"):
        load_weights(net, Net(0.125, classes=3).state_dict(), "x.pt")
    with pytest.raises(
        CheckpointError, match=r"(?s)x\.pt belongs to another network than this Net.*\(24, 24, 3, 3\).*training anew"
    ):
        load_weights(net, Net(0.125, conv="standard").state_dict(), "x.pt")
    with pytest.raises(CheckpointError, match=r"stem\.0\.weight is not in this network"):
        load_weights(net, {**before, "stem.0.weight": before["stem.weight"]}, "x.pt")
    with pytest.raises(CheckpointError, match=r"classifier\.bias is missing"):
        load_weights(net, {name: value for name, value in before.items() if name != "classifier.bias"}, "x.pt")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_arguments_of_another_version_are_named():
    with pytest.raises(CheckpointError, match=r"not of a Net of this version: .*'depth'"):
        restore(replace(small(), arguments={"depth": 3}))


class Injected(Exception):
    pass


@pytest.mark.parametrize("step", ["open", "torch.save", "torch.save halfway", "fsync", "chmod", "replace"])
def test_a_fault_at_any_step_of_writing_leaves_the_old_file_whole(tmp_path, monkeypatch, step):
    path = tmp_path / "model.pt"
    save(small(seed=0), path)

    def fail(*_, **__):
        raise Injected

    real_save = torch.save

    def halfway(content, file):
        real_save(content, file)
        file.truncate(file.tell() // 2)
        raise Injected

    with monkeypatch.context() as patch:
        if step == "open":
            patch.setattr("pathlib.Path.open", fail)
        elif step.startswith("torch.save"):
            patch.setattr(checkpoint.torch, "save", halfway if "halfway" in step else fail)
        else:
            patch.setattr(f"eva.files.os.{step}", fail)
        with pytest.raises(Injected):
            save(small(seed=1), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]
    assert torch.equal(load(path).weights["stem.weight"], small(seed=0).weights["stem.weight"])


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from eva import checkpoint
from tests.test_checkpoint import small
checkpoint.save(small(seed=0), sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
try:
    checkpoint.save(small(seed=1), sys.argv[1])
except OSError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("limit", [100, 3000, 20_000])
def test_a_disk_that_is_full_is_an_oserror_and_the_old_file_stays(tmp_path, limit):
    path = tmp_path / "model.pt"
    done = subprocess.run([sys.executable, "-c", FULL, str(path), str(limit)], capture_output=True, text=True,
                          check=True, cwd=Path(__file__).parent.parent)  # fmt: skip
    assert done.stdout.startswith("OSError")
    assert torch.equal(load(path).weights["stem.weight"], small(seed=0).weights["stem.weight"])
    assert [found.name for found in tmp_path.iterdir()] == ["model.pt"]
