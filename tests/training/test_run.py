import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eva import checkpoint
from eva.augment import translate
from eva.checkpoint import CheckpointError
from eva.data import BatchLoader, loaders
from eva.model import Net
from eva.optimizers import optimizer_for
from eva.recipes import Recipe
from eva.training import TrainingError, fit, run
from eva.training import test as evaluate

CPU = torch.device("cpu")
TINY = Recipe(epochs=2, batch_size=16, learning_rate=0.05)
WIDTH = 0.125  # of the networks here


def test_fit_reports_validation_and_leaves_the_test_split_alone(splits, tmp_path, monkeypatch):
    def watched(loader, original=BatchLoader.__iter__):
        assert loader.images.data_ptr() != splits.test.images.data_ptr(), "fit looked at the test images"
        return original(loader)

    monkeypatch.setattr(BatchLoader, "__iter__", watched)
    with pytest.raises(AssertionError, match="looked at the test images"):
        next(iter(loaders(splits)[2]))
    torch.manual_seed(0)
    model = Net(WIDTH, classes=3)
    seen = []
    history = fit(model, splits, TINY, device=CPU, out=tmp_path, on_epoch=lambda rows: seen.append(len(rows)))
    assert seen == [1, 2]
    assert history.rows == [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    validation = loaders(splits, device=CPU)[1]
    assert history.rows[-1]["validation_accuracy"] == evaluate(model, CPU, validation, quiet=True).accuracy
    saved = checkpoint.load(tmp_path / "model.pt")
    assert (saved.data, saved.classes, saved.arguments) == ("toy", ["a", "b", "c"], model.arguments)
    torch.testing.assert_close(torch.tensor(saved.mean), splits.normalisation[0])


def test_fit_depends_on_its_seed_and_leaves_the_callers_random_state(splits):
    def weights(seed):
        torch.manual_seed(0)
        model = Net(WIDTH, classes=3)
        before = torch.get_rng_state()
        fit(model, splits, TINY, device=CPU, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return model.stem.weight

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def same_bits(first_folder, second_folder):
    first, second = (checkpoint.load(folder / "model.pt") for folder in (first_folder, second_folder))
    equal(first.weights, second.weights)
    equal(first.training["state"], second.training["state"])
    for row in first.training["rows"] + second.training["rows"]:
        row["seconds"] = 0
    assert first.training["rows"] == second.training["rows"]


def equal(a, b):
    """Assert that two nests of dictionaries, lists and tensors are the same to the last bit."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for pair in zip(a, b, strict=True):
            equal(*pair)
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("ema", [None, 0.9])
def test_interrupted_and_resumed_equals_uninterrupted(splits, tmp_path, ema, monkeypatch):
    recipe = replace(TINY, epochs=3, ema=ema, sizes=(16, 32))

    def run(out, **options):
        torch.manual_seed(0)
        model = Net(WIDTH, classes=3)
        return model, fit(model, splits, recipe, device=CPU, out=out, **options)

    whole, _ = run(tmp_path / "whole")

    def ctrl_c(rows):
        if len(rows) == 1:
            patch.setattr("eva.training.run.train", interrupted)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        _, history = run(tmp_path / "parts", on_epoch=ctrl_c)
    assert history.interrupted
    assert len(history.rows) == 1
    resumed, history = run(tmp_path / "parts", resume=True)
    assert len(history.rows) == 3
    assert not history.interrupted
    same_bits(tmp_path / "whole", tmp_path / "parts")
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_resume_refuses_other_data(splits, tmp_path):
    fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path)
    model = Net(WIDTH, classes=3)
    before = model.stem.weight.clone()
    with pytest.raises(CheckpointError, match=r"\(data was 'toy', is 'other'\)"):
        fit(model, replace(splits, name="other"), TINY, device=CPU, out=tmp_path, resume=True)
    assert torch.equal(model.stem.weight, before), "the model is left alone"


def changed(splits, what):
    """The same name and counts, and other contents."""
    train = splits.train
    images, labels = train.images.clone(), train.labels.clone()
    if what == "two labels swapped":
        labels[[0, 1]] = labels[[1, 0]]
    elif what == "a pixel":
        images[-1, 2, 31, 31] ^= 1
    else:  # an image went from validation to training, and another one the other way
        held = splits.validation.images.clone()
        images[3], held[3] = splits.validation.images[3], train.images[3]
        splits = replace(splits, validation=replace(splits.validation, images=held))
    return replace(splits, train=replace(train, images=images, labels=labels))


@pytest.mark.parametrize("what", ["two labels swapped", "a pixel", "the held-out images"])
@pytest.mark.parametrize("finished", [True, False])
def test_resume_refuses_data_that_has_changed(splits, tmp_path, what, finished):
    def ctrl_c(rows):
        raise KeyboardInterrupt

    options = {} if finished else {"on_epoch": ctrl_c}
    fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path, **options)
    with pytest.raises(CheckpointError, match=r"contents of the data was '.*', is '"):
        fit(Net(WIDTH, classes=3), changed(splits, what), TINY, device=CPU, out=tmp_path, resume=True)


def test_a_run_of_another_version_is_named(splits, tmp_path):
    fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path)
    saved = checkpoint.load(tmp_path / "model.pt")
    del saved.training["settings"]["ema"]  # as if it had come later: by default it does nothing
    checkpoint.save(saved, tmp_path / "model.pt")
    assert len(fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path, resume=True).rows) == TINY.epochs
    with pytest.raises(CheckpointError, match=r"ema was None, is 0\.9"):
        fit(Net(WIDTH, classes=3), splits, replace(TINY, ema=0.9), device=CPU, out=tmp_path, resume=True)
    del saved.training["settings"]["contents of the data"]
    checkpoint.save(saved, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="another version of eva, which did not keep its contents of the"):
        fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path, resume=True)


WRAPPERS = {
    "torch.compile": lambda net: torch.compile(net, backend="eager"),
    "DataParallel": nn.DataParallel,
    "both": lambda net: torch.compile(nn.DataParallel(net), backend="eager"),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_wrapped_model_leaves_a_file_that_can_be_used_and_resumed(splits, tmp_path, wrapper, ema):
    recipe = replace(TINY, ema=ema)

    def start(out, wrap, **options):
        torch.manual_seed(0)
        net = Net(WIDTH, classes=3)
        fit(wrap(net), splits, recipe, device=CPU, out=out, **options)
        return net

    def ctrl_c(rows):
        raise KeyboardInterrupt

    plain = start(tmp_path / "plain", lambda net: net)
    start(tmp_path / "wrapped", WRAPPERS[wrapper], on_epoch=ctrl_c)
    wrapped = start(tmp_path / "wrapped", WRAPPERS[wrapper], resume=True)
    restored = checkpoint.restore(checkpoint.load(tmp_path / "wrapped" / "model.pt"))
    for name, value in plain.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value)
        assert torch.equal(wrapped.state_dict()[name], value)


def test_a_folder_with_a_run_is_not_written_over(splits, tmp_path):
    fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path)
    before = (tmp_path / "model.pt").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already: resume it"):
        fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path, seed=1)
    assert (tmp_path / "model.pt").read_bytes() == before


def test_metrics_cut_short_by_a_kill_are_mended(splits, tmp_path):
    model = Net(WIDTH, classes=3)
    rows = fit(model, splits, TINY, device=CPU, out=tmp_path).rows
    (tmp_path / "metrics.jsonl").write_text(json.dumps(rows[0]) + "\n")
    fit(model, splits, TINY, device=CPU, out=tmp_path, resume=True)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows


def test_weights_ruined_by_the_last_step_of_an_epoch_are_not_kept(splits, tmp_path, monkeypatch):
    model = Net(WIDTH, classes=3)
    real, calls = torch.optim.SGD.step, []

    def step(self, *args, **kwargs):
        real(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 12:  # the last one of the second epoch
            model.classifier.weight.data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    with pytest.raises(TrainingError, match="the validation loss is nan after epoch 2"):
        fit(model, splits, TINY, device=CPU, out=tmp_path)
    assert model.classifier.weight.isfinite().all()
    assert checkpoint.load(tmp_path / "model.pt").weights["classifier.weight"].isfinite().all()


def test_a_batch_larger_than_the_split_is_one_step_and_said(splits, caplog):
    fit(Net(WIDTH, classes=3), splits, replace(TINY, batch_size=1000), device=CPU)
    assert "a batch of 1000 is larger than the training split: all its 96 images make one step" in caplog.text


def test_a_compiled_run_takes_the_same_steps(splits, monkeypatch):
    runs = []
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Net(WIDTH, classes=3)
        fit(model, splits, replace(TINY, compiled=compiled), device=CPU)
        runs.append(model.state_dict())
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())


def test_a_network_that_cannot_be_compiled_trains_as_it_is_after_one_warning(splits, monkeypatch, caplog):
    def no_compiler(graph, inputs):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=no_compiler))
    history = fit(Net(WIDTH, classes=3), splits, replace(TINY, compiled=True), device=CPU)
    assert len(history.rows) == TINY.epochs
    assert caplog.text.count("cannot be compiled here") == 1
    assert "no working C++ compiler" in caplog.text


@pytest.mark.parametrize(("units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_on_a_processor_only_where_the_recipe_asks_and_the_units_are_there(units, dtype, splits, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": units, "amx_bf16": False})
    model = Net(WIDTH, classes=3)
    model.classifier.register_forward_hook(lambda module, _, out: seen.append(out.dtype) if module.training else None)
    fit(model, splits, TINY, device=CPU)
    assert set(seen) == {torch.float32}
    seen.clear()
    fit(model, splits, replace(TINY, cpu_bfloat16=True), device=CPU)
    assert set(seen) == {dtype}


def test_the_recipe_and_the_caller_say_how_training_batches_are_made(splits, tmp_path):
    made = []

    class Watched(BatchLoader):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(options)

        def __iter__(self):
            for images, labels in super().__iter__():
                yield torch.zeros_like(images), labels  # nothing can be learned from these

    recipe = replace(TINY, augmentations=("translate",))
    history = fit(Net(WIDTH, classes=3), splits, recipe, device="cpu", make_loader=Watched, out=tmp_path)
    assert [options["augmentations"] for options in made] == [(translate,)]  # and validation is not made so
    assert history.rows[-1]["train_accuracy"] < 0.5
    with pytest.raises(CheckpointError, match="loader was 'Watched', is 'BatchLoader'"):
        fit(Net(WIDTH, classes=3), splits, recipe, device="cpu", out=tmp_path, resume=True)


def test_a_fused_kernel_belongs_to_the_device_and_not_to_the_run(splits, tmp_path):
    """A run from a machine where SGD was fused, as on a GPU, goes on where it is not."""
    made = []

    def make_optimizer(model, recipe):
        made.append(optimizer_for(model, recipe))
        return made[-1]

    fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path, make_optimizer=make_optimizer)
    saved = checkpoint.load(tmp_path / "model.pt")
    for group in saved.training["state"]["optimizer"]["param_groups"]:
        group["fused"] = True
    checkpoint.save(saved, tmp_path / "model.pt")
    fit(Net(WIDTH, classes=3), splits, TINY, device=CPU, out=tmp_path, make_optimizer=make_optimizer, resume=True)
    before, after = made
    assert [group["fused"] for group in after.param_groups] == [None, None]
    for first, resumed in zip(before.state.values(), after.state.values(), strict=True):
        assert torch.equal(first["momentum_buffer"], resumed["momentum_buffer"])


def test_resume_refuses_another_run(splits, tmp_path):
    model = Net(WIDTH, classes=3)
    fit(model, splits, TINY, device=CPU, out=tmp_path)
    with pytest.raises(CheckpointError, match=r"batch_size was 16, is 8; seed was 0, is 1"):
        fit(model, splits, replace(TINY, batch_size=8), device=CPU, out=tmp_path, resume=True, seed=1)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        fit(Net(0.25, classes=3), splits, TINY, device=CPU, out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="needs `out`"):
        fit(model, splits, TINY, device=CPU, resume=True)


def test_a_nan_keeps_the_last_good_epoch_in_memory_and_on_disk(splits, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = Net(WIDTH, classes=3)
    good = {}

    def poison(rows):
        if not good:
            good.update({name: value.clone() for name, value in model.state_dict().items()})
            real = F.cross_entropy
            monkeypatch.setattr(F, "cross_entropy", lambda *a, **k: real(*a, **k) * float("nan"))

    broken = replace(TINY, label_smoothing=0.0)
    monkeypatch.setattr(Recipe, "loss", property(lambda self: lambda logits, labels: F.cross_entropy(logits, labels)))
    with pytest.raises(TrainingError, match="at step 1 of epoch 2"):
        fit(model, splits, broken, device=CPU, out=tmp_path, on_epoch=poison)
    assert all(torch.equal(value, good[name]) for name, value in model.state_dict().items())
    saved = checkpoint.load(tmp_path / "model.pt")
    assert all(torch.equal(value, good[name]) for name, value in saved.weights.items())


def test_ctrl_c_keeps_the_model_and_the_history(splits, monkeypatch, caplog):
    model = Net(WIDTH, classes=3)
    real, calls = torch.optim.SGD.step, []

    def step(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 9:  # in the second epoch, of six steps each
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    with caplog.at_level(logging.WARNING):
        history = fit(model, splits, TINY, device=CPU)
    assert history.interrupted
    assert len(history.rows) == 1
    assert "the history has 1 whole epochs" in caplog.text
    assert evaluate(model, CPU, loaders(splits)[1], quiet=True).loss < 100


def test_an_average_of_weights_is_what_is_measured_and_returned(splits, tmp_path):
    """One epoch, with each step's weights noted: the average must be theirs, by the recursion's own definition."""
    recipe = replace(TINY, epochs=1, ema=0.8)
    torch.manual_seed(0)
    model = Net(WIDTH, classes=3)
    path, means, real = [], [], torch.optim.SGD.step

    def step(self, *args, **kwargs):
        real(self, *args, **kwargs)
        path.append(model.classifier.weight.detach().clone())
        means.append(model.initial[0][0].running_mean.clone())

    torch.optim.SGD.step = step
    try:
        fit(model, splits, recipe, device=CPU, out=tmp_path)
    finally:
        torch.optim.SGD.step = real
    stored = checkpoint.load(tmp_path / "model.pt").weights
    for name, values in (("classifier.weight", path), ("initial.0.0.running_mean", means)):
        average = values[0]
        for value in values[1:]:
            average = 0.8 * average + 0.2 * value
        torch.testing.assert_close(model.state_dict()[name], average)
        torch.testing.assert_close(stored[name], average)


KILLED = """
import sys, torch
from pathlib import Path
from eva.model import Net
from eva.optimizers import optimizer_for
from eva.training import fit
from tests.conftest import random_split
from eva.data import Splits
from tests.training.test_run import TINY, WIDTH
from dataclasses import replace
from functools import partial
splits = Splits("toy", "made up", ("a", "b", "c"), random_split(96, 0), random_split(24, 1), random_split(30, 2))
torch.manual_seed(0)
out = Path(sys.argv[1])
fit(Net(WIDTH, classes=3), splits, replace(TINY, epochs=12), device="cpu", out=out,
    resume=(out / "model.pt").exists())
print("finished", flush=True)
"""


def test_three_kills_and_a_resume_equal_an_uninterrupted_run(tmp_path):
    """SIGKILL, which no handler sees, at moments that nobody chose."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent.parent)}

    def start(out):
        return subprocess.Popen(
            [sys.executable, "-u", "-c", KILLED, str(out)], env=environment, stdout=subprocess.PIPE, text=True
        )

    whole = start(tmp_path / "whole")
    for kill in range(3):
        process = start(tmp_path / "parts")
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        time.sleep(0.02 * kill)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was killed before it had finished"
    process = start(tmp_path / "parts")
    assert "finished" in process.communicate()[0]
    assert "finished" in whole.communicate()[0]
    same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_short_run_trains_at_the_size_that_it_is_measured_at(splits):
    sizes = []

    class Watched(BatchLoader):
        def __iter__(self):
            for images, labels in super().__iter__():
                sizes.append(images.shape[-1])
                yield images, labels

    recipe = replace(TINY, epochs=1, sizes=(16, 24, 32))
    fit(Net(WIDTH, classes=3), splits, recipe, device=CPU, make_loader=Watched)
    assert set(sizes) == {32}


@pytest.mark.parametrize(("sizes", "epoch", "training", "rest", "words"), [
    # Of four epochs at 16, 16, 32 and 32 pixels one at 32 takes four times as long as one at 16.
    ((16, 32), 0, 30, 0, ", about 4 min left"),  # 30 + 120 + 120 s
    ((16, 32), 0, 30, 20, ", about 6 min left"),  # and three times 20 s, whatever the size
    ((16, 32), 2, 120, 0, ", about 2 min left"),
    ((16, 32), 3, 120, 0, ""),  # that was the last one
    ((16, 32), 0, 10, 0, ""),  # 100 s in all
    ((16, 32), 1, 300, 0, ", about 40 min left"),  # as slow as the machine is now
    ((32,), 0, 1490, 10, ", about 1 h 15 min left"),
    ((32,), 2, 30, 1, ", about 1 min left"),
    ((32,), 0, 31, 0, ", about 2 min left"),
    ((32,), 0, 28, 1.9, ""),
])  # fmt: skip
def test_a_run_of_more_than_two_minutes_says_how_long_it_will_go_on(sizes, epoch, training, rest, words):
    assert run._left(replace(TINY, epochs=4, sizes=sizes), epoch, training, rest) == words


def test_the_time_that_is_left_ends_an_epochs_line(splits, monkeypatch, capsys):
    ticks = iter([0.0, 4000.0, 4000.0, 8000.0])
    monkeypatch.setattr(run, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    fit(Net(WIDTH, classes=3), splits, TINY, device=CPU)
    first, last = capsys.readouterr().out.splitlines()
    assert first.endswith(" s, about 1 h 7 min left")
    assert last.endswith(" s")
