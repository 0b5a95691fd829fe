import json
import logging
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from eva import checkpoint
from eva.augment import mixup, translate
from eva.checkpoint import CheckpointError
from eva.data import BatchLoader, loaders
from eva.device import Precision
from eva.model import Net
from eva.recipes import RECIPES, Recipe
from eva.training import TrainingError, fit, train
from eva.training import test as evaluate

CPU = torch.device("cpu")
TINY = Recipe(epochs=2, width=0.125, batch_size=16, learning_rate=0.05)


def linear(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))


def batches(count, *, size=10, classes=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [(torch.randn(size, 3, 8, 8, generator=rng), torch.randint(0, classes, (size,), generator=rng))
            for _ in range(count)]  # fmt: skip


def sgd(model, lr=0.01):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def test_the_snippet_of_the_course_runs_as_it_stands(splits, capsys):
    train_loader, validation_loader, _ = loaders(splits, batch_size=16, device=CPU)
    torch.manual_seed(0)
    model = Net(0.125, classes=3).to(CPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(1, 4):
        train(model, CPU, train_loader, optimizer, epoch)
        result = evaluate(model, CPU, validation_loader)
    assert result.accuracy > 0.9, "three classes of different brightness are quickly learned"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("epoch 1: training loss ")
    assert lines[1].startswith("test: loss ")


def test_train_takes_the_same_steps_as_a_loop_written_out():
    data = batches(7)
    ours, theirs = linear(), linear()
    result = train(ours, CPU, data, sgd(ours), 1, quiet=True)
    optimizer, losses, right = sgd(theirs), [], 0
    for images, labels in data:
        logits = theirs(images)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        right += (logits.argmax(1) == labels).sum().item()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert result.loss == pytest.approx(sum(losses) / 7)
    assert (result.accuracy, result.images) == (right / 70, 70)


@pytest.mark.parametrize("seconds", [0, 1e-3, 1e9])
@pytest.mark.parametrize("count", [1, 40])
def test_every_loss_is_counted_once_however_often_they_are_read(count, seconds, monkeypatch):
    monkeypatch.setattr("eva.training.loop.READ_AFTER", seconds)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    optimizer = sgd(model, lr=0.0)
    data = batches(count)
    expected = sum(F.cross_entropy(model(images), labels).item() for images, labels in data) / count
    assert train(model, CPU, data, optimizer, 1, quiet=True).loss == pytest.approx(expected, rel=1e-5)


def test_test_changes_nothing_and_agrees_with_arithmetic():
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(192, 3)
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = batches(3, size=7) + batches(1, size=2)
    result = evaluate(model, CPU, data, quiet=True)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    logits = torch.cat([model(images) for images, _ in data])
    labels = torch.cat([labels for _, labels in data])
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result.accuracy == (logits.argmax(1) == labels).double().mean().item()


def test_labels_of_mixup_are_taken(rng):
    images, labels = batches(1)[0]
    model = linear()
    result = train(model, CPU, [mixup(images, labels, rng, classes=3)], sgd(model), 1, quiet=True)
    assert result.images == 10


def test_after_step_is_called_after_each_step():
    model = linear()
    optimizer = sgd(model, lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(model, CPU, batches(3), optimizer, 1, after_step=schedule.step, quiet=True)
    assert optimizer.param_groups[0]["lr"] == 0.125


@pytest.mark.parametrize("pass_over", [lambda model, data: train(model, CPU, data, sgd(model), 1),
                                       lambda model, data: evaluate(model, CPU, data)])  # fmt: skip
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]), "labels must be from 0 to 2 .* got 0 to 3"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([-1, 1]), "got -1 to 1"),
        (torch.zeros(2, 8, 8, 3), torch.tensor([0, 1]), r"got \(2, 8, 8, 3\): the channels come last here; use"),
        (torch.zeros(3, 8, 8), torch.tensor([0, 1, 2]), r"images must be \(N, C, H, W\), got \(3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), r"normalised floats, got torch\.uint8"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([0, 1, 2]), "2 images and 3 labels"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([0.0, 1.0]), r"labels must be int64 .* got torch\.float32 \(2,\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1]), r"got float64.* use images.float\(\)"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([[0], [1]]), r"labels must be int64 \(N,\) .* got torch.int64 \(2, 1\)"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 4), r"labels are \(N, 4\) and the network has 3 outputs"),
    ],
)
def test_batches_that_do_not_fit_are_refused(pass_over, images, labels, message):
    with pytest.raises(ValueError, match=message):
        pass_over(linear(), [(images, labels)])


def test_a_bad_label_in_a_later_batch_is_found_too():
    data = batches(3)
    data[2][1][5] = 7
    model = linear()
    with pytest.raises(ValueError, match="from 0 to 2 for a network of 3 outputs, got 7 to 7"):
        train(model, CPU, DataLoader(TensorDataset(*(torch.cat(t) for t in zip(*data, strict=True)))), sgd(model), 1)


def test_labels_of_a_split_are_compared_with_the_network_before_the_first_step(splits):
    model = Net(0.125, classes=2)
    with pytest.raises(ValueError, match="from 0 to 1 for a network of 2 outputs, got 0 to 2"):
        train(model, CPU, loaders(splits, batch_size=16)[0], sgd(model), 1)


@pytest.mark.parametrize(
    "pass_over", [lambda model: train(model, CPU, [], sgd(model), 1), lambda m: evaluate(m, CPU, [])]
)
def test_an_empty_loader(pass_over):
    with pytest.raises(ValueError, match="the loader gave no batch"):
        pass_over(linear())


@pytest.mark.parametrize("seconds", [0, 1e9])
@pytest.mark.parametrize("bad_step", [1, 7, 20])
def test_a_loss_that_became_nan_names_its_own_step_and_learning_rate(bad_step, seconds, monkeypatch):
    monkeypatch.setattr("eva.training.loop.READ_AFTER", seconds)
    data = batches(20)
    data[bad_step - 1][0][0, 0, 0, 0] = float("nan")
    model = linear()
    optimizer = sgd(model, lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    with pytest.raises(
        TrainingError, match=f"became nan at step {bad_step} of epoch 4, at a learning rate of"
    ) as caught:
        train(model, CPU, data, optimizer, 4, after_step=schedule.step)
    assert f"{1 / bad_step:.4g}" in str(caught.value)


# fit


def test_fit_reports_validation_and_leaves_the_test_split_alone(splits, tmp_path, monkeypatch):
    def watched(loader, original=BatchLoader.__iter__):
        assert loader.images.data_ptr() != splits.test.images.data_ptr(), "fit looked at the test images"
        return original(loader)

    monkeypatch.setattr(BatchLoader, "__iter__", watched)
    with pytest.raises(AssertionError, match="looked at the test images"):
        next(iter(loaders(splits)[2]))
    torch.manual_seed(0)
    model = Net(TINY.width, classes=3)
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
        model = Net(TINY.width, classes=3)
        before = torch.get_rng_state()
        fit(model, splits, TINY, device=CPU, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return model.stem[0].weight

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def same_bits(first, second):
    one, other = (checkpoint.load(folder / "model.pt") for folder in (first, second))
    equal(one.weights, other.weights)
    equal(one.training["state"], other.training["state"])
    for row in one.training["rows"] + other.training["rows"]:
        row["seconds"] = 0
    assert one.training["rows"] == other.training["rows"]


def equal(one, other):
    """Assert that two nests of dictionaries, lists and tensors are the same to the last bit."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            equal(*pair)
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("ema", [None, 0.9])
def test_interrupted_and_resumed_equals_uninterrupted(splits, tmp_path, ema, monkeypatch):
    recipe = replace(TINY, epochs=3, ema=ema, sizes=(16, 32))

    def run(out, **options):
        torch.manual_seed(0)
        model = Net(recipe.width, classes=3)
        return model, fit(model, splits, recipe, device=CPU, out=out, **options)

    whole, _ = run(tmp_path / "whole")

    def ctrl_c(rows):
        if len(rows) == 1:
            patch.setattr("eva.training.train", interrupted)

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
    fit(Net(TINY.width, classes=3), splits, TINY, device=CPU, out=tmp_path)
    model = Net(TINY.width, classes=3)
    before = model.stem[0].weight.clone()
    with pytest.raises(CheckpointError, match="data was 'toy', is 'other'"):
        fit(model, replace(splits, name="other"), TINY, device=CPU, out=tmp_path, resume=True)
    assert torch.equal(model.stem[0].weight, before), "the model is left alone"


def test_metrics_cut_short_by_a_kill_are_mended(splits, tmp_path):
    model = Net(TINY.width, classes=3)
    rows = fit(model, splits, TINY, device=CPU, out=tmp_path).rows
    (tmp_path / "metrics.jsonl").write_text(json.dumps(rows[0]) + "\n")
    fit(model, splits, TINY, device=CPU, out=tmp_path, resume=True)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows


def test_weights_ruined_by_the_last_step_of_an_epoch_are_not_kept(splits, tmp_path, monkeypatch):
    model = Net(TINY.width, classes=3)
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


@pytest.mark.parametrize(("seconds", "reads"), [(1e9, 1), (0, 31)])
def test_the_device_is_waited_for_once_a_second_and_at_the_end(seconds, reads, monkeypatch):
    """Each way from a tensor to a Python number makes a GPU's queue run dry: count them all."""
    monkeypatch.setattr("eva.training.loop.READ_AFTER", seconds)
    waits = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(tensor, *args, original=original, name=name):
            waits.append(name)
            return original(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)

    class OnADevice(list):
        label_range = (0, 2)

    model = linear()
    optimizer, data = sgd(model), OnADevice(batches(30))
    waits.clear()
    train(model, CPU, data, optimizer, 1, quiet=True)
    assert waits == ["tolist"] * reads


def test_too_little_memory_names_the_batch_and_a_smaller_one():
    def too_large(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    model = linear()
    with pytest.raises(TrainingError, match="memory at a batch of 10 images of 8x8: try a batch of 5"):
        train(model, CPU, batches(1), sgd(model), 1, loss_fn=too_large)
    with pytest.raises(TrainingError, match="a batch of 1 images of 8x8: try a smaller network"):
        train(model, CPU, batches(1, size=1), sgd(model), 1, loss_fn=too_large)


def test_what_the_layers_made_is_let_go_where_memory_ran_out():
    """A notebook keeps the last error. What it holds must not keep the smaller batch from fitting."""
    kept = []

    def too_large(logits, labels):
        large = torch.zeros(1000)
        kept.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = linear()
    with pytest.raises(TrainingError) as caught:
        train(model, CPU, batches(1), sgd(model), 1, loss_fn=too_large)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert kept[0]() is None


def test_a_batch_larger_than_the_split_is_one_step_and_said(splits, caplog):
    fit(Net(TINY.width, classes=3), splits, replace(TINY, batch_size=1000), device=CPU)
    assert "a batch of 1000 is larger than the training split: all its 96 images make one step" in caplog.text


def test_a_compiled_run_takes_the_same_steps(splits, monkeypatch):
    runs = []
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Net(TINY.width, classes=3)
        fit(model, splits, replace(TINY, compiled=compiled), device=CPU)
        runs.append(model.state_dict())
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())


def test_a_network_that_cannot_be_compiled_trains_as_it_is_after_one_warning(splits, monkeypatch, caplog):
    def no_compiler(graph, inputs):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=no_compiler))
    history = fit(Net(TINY.width, classes=3), splits, replace(TINY, compiled=True), device=CPU)
    assert len(history.rows) == TINY.epochs
    assert caplog.text.count("cannot be compiled here") == 1
    assert "no working C++ compiler" in caplog.text


def test_mixed_precision_trains_in_its_dtype(splits):
    seen = []
    model = Net(TINY.width, classes=3)
    model.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    amp = Precision(torch.bfloat16, torch.amp.GradScaler("cpu", enabled=False))
    result = train(model, CPU, loaders(splits, batch_size=32)[0], sgd(model), 1, amp=amp, quiet=True)
    assert set(seen) == {torch.bfloat16}
    assert result.loss < 2
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize(("units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_on_a_processor_only_where_the_recipe_asks_and_the_units_are_there(units, dtype, splits, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": units, "amx_bf16": False})
    model = Net(TINY.width, classes=3)
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
    history = fit(Net(TINY.width, classes=3), splits, recipe, device="cpu", make_loader=Watched, out=tmp_path)
    assert [options["augmentations"] for options in made] == [(translate,)]  # and validation is not made so
    assert history.rows[-1]["train_accuracy"] < 0.5
    with pytest.raises(CheckpointError, match="loader was 'Watched', is 'BatchLoader'"):
        fit(Net(TINY.width, classes=3), splits, recipe, device="cpu", out=tmp_path, resume=True)


def test_the_loss_is_computed_in_float32_though_the_network_is_not():
    seen = set()

    def loss_fn(logits, labels):
        seen.add(logits.dtype)
        return F.cross_entropy(logits, labels)

    model = linear()
    amp = Precision(torch.bfloat16, torch.amp.GradScaler("cpu", enabled=False))
    train(model, CPU, batches(2), sgd(model), 1, loss_fn=loss_fn, amp=amp, quiet=True)
    assert seen == {torch.float32}


def test_a_fused_kernel_belongs_to_the_device_and_not_to_the_run(splits, tmp_path, monkeypatch):
    """A run from a machine where SGD was fused, as on a GPU, goes on where it is not."""
    made, real = [], Recipe.optimizer
    monkeypatch.setattr(Recipe, "optimizer", lambda self, model: made.append(real(self, model)) or made[-1])
    fit(Net(TINY.width, classes=3), splits, TINY, device=CPU, out=tmp_path)
    saved = checkpoint.load(tmp_path / "model.pt")
    for group in saved.training["state"]["optimizer"]["param_groups"]:
        group["fused"] = True
    checkpoint.save(saved, tmp_path / "model.pt")
    fit(Net(TINY.width, classes=3), splits, TINY, device=CPU, out=tmp_path, resume=True)
    before, after = made
    assert [group["fused"] for group in after.param_groups] == [None, None]
    for one, other in zip(before.state.values(), after.state.values(), strict=True):
        assert torch.equal(one["momentum_buffer"], other["momentum_buffer"])


def test_resume_refuses_another_run(splits, tmp_path):
    model = Net(TINY.width, classes=3)
    fit(model, splits, TINY, device=CPU, out=tmp_path)
    with pytest.raises(CheckpointError, match=r"batch_size was 16, is 8; seed was 0, is 1"):
        fit(model, splits, replace(TINY, batch_size=8), device=CPU, out=tmp_path, resume=True, seed=1)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        fit(Net(0.25, classes=3), splits, TINY, device=CPU, out=tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        fit(model, splits, TINY, device=CPU, out=tmp_path / "elsewhere", resume=True)
    with pytest.raises(ValueError, match="needs `out`"):
        fit(model, splits, TINY, device=CPU, resume=True)


def test_a_nan_keeps_the_last_good_epoch_in_memory_and_on_disk(splits, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = Net(TINY.width, classes=3)
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
    model = Net(TINY.width, classes=3)
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
    model = Net(recipe.width, classes=3)
    path, means, real = [], [], torch.optim.SGD.step

    def step(self, *args, **kwargs):
        real(self, *args, **kwargs)
        path.append(model.classifier.weight.detach().clone())
        means.append(model.stem[1].running_mean.clone())

    torch.optim.SGD.step = step
    try:
        fit(model, splits, recipe, device=CPU, out=tmp_path)
    finally:
        torch.optim.SGD.step = real
    stored = checkpoint.load(tmp_path / "model.pt").weights
    for name, values in (("classifier.weight", path), ("stem.1.running_mean", means)):
        average = values[0]
        for value in values[1:]:
            average = 0.8 * average + 0.2 * value
        torch.testing.assert_close(model.state_dict()[name], average)
        torch.testing.assert_close(stored[name], average)


KILLED = """
import sys, torch
from pathlib import Path
from eva.model import Net
from eva.training import fit
from tests.conftest import random_split
from eva.data import Splits
from tests.training.test_run import TINY
from dataclasses import replace
from functools import partial
splits = Splits("toy", "made up", ("a", "b", "c"), random_split(96, 0), random_split(24, 1), random_split(30, 2))
torch.manual_seed(0)
out = Path(sys.argv[1])
fit(Net(TINY.width, classes=3), splits, replace(TINY, epochs=12), device="cpu", out=out,
    resume=(out / "model.pt").exists())
print("finished", flush=True)
"""


def test_three_kills_and_a_resume_equal_an_uninterrupted_run(tmp_path):
    """SIGKILL, which no handler sees, at moments that nobody chose."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}

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


# Recipes


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_rate_rises_falls_and_ends_near_zero(decay):
    recipe = replace(TINY, decay=decay, warmup=0.25)
    rates = [recipe.rate(step, 100) for step in range(101)]
    top = rates.index(max(rates))
    assert max(rates) == 1
    assert 23 <= top <= 26
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] > 0, "no step is wasted"
    assert rates[99] < 0.02
    assert rates[100] == 0


def test_decay_touches_weights_only():
    model = Net(0.125)
    decayed, kept = TINY.optimizer(model).param_groups
    assert {p.ndim for p in kept["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) == 2
    assert (decayed["weight_decay"], kept["weight_decay"]) == (TINY.weight_decay, 0)
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


def test_sizes_are_spread_over_any_number_of_epochs():
    assert [replace(TINY, epochs=6, sizes=(16, 24, 32)).size(epoch) for epoch in range(6)] == [16, 16, 24, 24, 32, 32]
    assert [replace(TINY, epochs=2, sizes=(16, 24, 32)).size(epoch) for epoch in range(2)] == [16, 24]


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_end_at_full_size(name):
    recipe = RECIPES[name]
    assert recipe.size(recipe.epochs - 1) == recipe.sizes[-1]


def test_a_bad_recipe_is_refused():
    with pytest.raises(ValueError, match='"linear" or "cosine", got \'steps\''):
        replace(TINY, decay="steps")
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        replace(TINY, epochs=0)
    with pytest.raises(ValueError, match="no augmentation 'rotate': choose from 'flip', 'translate', 'cutout'"):
        replace(TINY, augmentations=("flip", "rotate"))
    with pytest.raises(ValueError, match="compiled takes 4 sizes at most"):
        replace(RECIPES["cpu"], compiled=True)
    with pytest.raises(KeyError, match="no recipe 'tpu': choose one of 'cpu', 'gpu', 'best', 'smoke'"):
        RECIPES["tpu"]


def test_a_matrix_rate_puts_muon_on_the_convolutions_inside():
    model = Net(TINY.width)
    groups = replace(TINY, matrix_rate=0.02).optimizer(model).param_groups
    (matrices,) = [group["params"] for group in groups if group["matrices"]]
    inside = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1 and m.in_channels > 3]
    assert {id(parameter) for parameter in matrices} == {id(weight) for weight in inside}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert {group["lr"] for group in groups} == {0.02, TINY.learning_rate}
