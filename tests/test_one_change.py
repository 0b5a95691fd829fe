"""What benchmarks/one_change.py tries: that each idea is what it says, and that the page tells what was measured."""

import json
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import ideas, one_change
from eva.augment import cutmix, mixup
from eva.data import BatchLoader
from eva.measure import count_macs, count_parameters
from eva.model import Net, Residual
from eva.recipes import RECIPES
from eva.training import fit

CPU = torch.device("cpu")
SMOKE = RECIPES["smoke"]


def test_a_whitened_stem_gives_uncorrelated_maps_of_variance_one(splits):
    """Of the training images' own patches; the toy images are noisy, so that no variance is near zero."""
    model = ideas.whitened_stem(SMOKE, splits)
    mean, std = splits.normalisation
    images = (splits.train.images.float() / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    maps = F.conv2d(images, model.stem[0].weight)  # without padding: whole patches only
    one_way, other_way = maps.transpose(0, 1).flatten(1).split(16)
    torch.testing.assert_close(one_way.cov(), torch.eye(16), atol=0.02, rtol=0)
    torch.testing.assert_close(one_way, -other_way)


def test_a_whitened_stem_is_not_trained(splits):
    torch.manual_seed(0)
    model = ideas.whitened_stem(SMOKE, splits)
    stem, after = model.stem[0].weight.clone(), model.initial[0][0].weight.clone()
    fit(model, splits, replace(SMOKE, epochs=1), device=CPU)
    assert torch.equal(model.stem[0].weight, stem)
    assert not torch.equal(model.initial[0][0].weight, after)


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_depth_is_paid_for_with_width(splits, width, count):
    recipe = replace(SMOKE, width=width)
    model = ideas.with_residuals(recipe, splits, count)
    assert sum(isinstance(layer, Residual) for layer in model.middle) == count
    assert count_parameters(model) == pytest.approx(count_parameters(Net(width, 3)), rel=0.06)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)


def test_late_pooling_costs_nothing_but_macs(splits):
    model, usual = ideas.late_pooling(SMOKE, splits), Net(SMOKE.width, 3)
    assert count_parameters(model) == count_parameters(usual)
    assert count_macs(model) > count_macs(usual)
    assert model.middle(torch.zeros(1, 8, 16, 16)).shape == usual.middle(torch.zeros(1, 8, 16, 16)).shape


def served(make, splits, epochs, **options):
    """Each epoch's batches, as one pair of tensors in the split's own order."""
    loader = make(splits.train, splits.normalisation, batch_size=40, seed=3, **options)
    return [tuple(torch.cat(part) for part in zip(*loader, strict=True)) for _ in range(epochs)]


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_batches_are_mixed_until_the_epoch_that_was_named(splits, mix):
    (plain, labels), *_ = served(BatchLoader, splits, 1)
    first, second = served(partial(ideas.Mixed, mix=mix, classes=3, until=1), splits, 2)
    torch.testing.assert_close(first[1].sum(1), torch.ones(len(labels)))
    assert not torch.equal(first[0], plain)
    assert torch.equal(second[0], plain)
    assert torch.equal(second[1], labels)


def test_half_of_a_taught_label_is_the_teachers(splits, monkeypatch):
    monkeypatch.setattr("eva.device.bfloat16_units", lambda: False)  # the same in float32 on every processor
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3), nn.Dropout(0.5))
    (images, labels), *_ = served(partial(ideas.Taught, teacher=teacher), splits, 1)
    expected = (F.one_hot(labels.argmax(1), 3) + teacher(images).softmax(1)) / 2
    assert torch.equal(F.one_hot(splits.train.labels, 3), F.one_hot(labels.argmax(1), 3))
    torch.testing.assert_close(labels, expected)
    assert not labels.requires_grad


def test_adamw_takes_the_recipes_rate():
    optimizer = ideas.WithAdamW(epochs=1, width=1.0, learning_rate=0.003).optimizer(nn.Linear(2, 2))
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 0.003


@pytest.mark.parametrize("name", ["cpu", "gpu", "best", "smoke"])
def test_each_change_changes_one_thing(splits, name):
    recipe = RECIPES[name]
    tried = one_change.changes(recipe, splits, teacher=lambda: nn.Identity())
    usual = tried.pop(one_change.AS_IS)
    assert usual == one_change.Change(recipe)
    for what, change in tried.items():
        before, after = asdict(usual.recipe), asdict(change.recipe)
        fields = {field for field in before if before[field] != after[field]}
        parts = {"network": change.network is not usual.network, "loader": change.loader is not usual.loader,
                 "optimizer": type(change.recipe) is not type(recipe)}  # fmt: skip
        if what == "full size throughout":
            assert fields == {"sizes", "epochs"}  # as many pixels in all
        elif parts["optimizer"]:
            assert fields == {"learning_rate"}
        elif "flips" in what:
            assert fields == {"augmentations", "alternating_flip"}  # one flip in place of the other
        else:
            assert len(fields) + sum(parts.values()) == 1, what
    assert len(tried) >= 20


def test_the_first_seed_of_every_change_comes_first_and_a_call_goes_on(tmp_path, splits, monkeypatch, capsys):
    monkeypatch.setattr(one_change, "load", lambda: splits)
    monkeypatch.setattr(one_change, "device_here", lambda: CPU)
    only = ["--only", "cutmix", "taught by Net of twice the width"]
    arguments = ["--smoke", "--seeds", "2", "--folder", str(tmp_path), *only]
    one_change.main(arguments)
    lines = [json.loads(text) for text in (tmp_path / "smoke" / "one_change.jsonl").read_text().splitlines()]
    order = [(line["key"]["seed"], line["key"]["change"]) for line in lines]
    assert order == [(seed, name) for seed in (0, 1) for name in (one_change.AS_IS, *only[1:])]
    said = capsys.readouterr().out
    assert said.count("the teacher\n") == 1
    one_change.main(arguments)
    assert "has 6 finished runs, which are not made again" in capsys.readouterr().out
    page = (tmp_path / "smoke" / "one_change.report.md").read_text()
    assert "| cutmix | " in page
    assert "toy, 96 images" in page


def test_a_change_that_is_unknown_is_refused_with_the_list(splits, monkeypatch, capsys):
    monkeypatch.setattr(one_change, "load", lambda: splits)
    with pytest.raises(SystemExit):
        one_change.main(["--smoke", "--only", "magic"])
    assert "there is no change 'magic': choose from 'the recipe', " in capsys.readouterr().err


def test_differences_are_paired_by_seed_and_a_failure_has_its_row():
    def line(change, seed, **found):
        return {"key": {"change": change, "seed": seed}, "parameters": 5, "macs": 1_000_000, **found}

    runs = [line(one_change.AS_IS, seed, validation_accuracy=accuracy, seconds=10.0)
            for seed, accuracy in ((0, 0.80), (1, 0.82))]  # fmt: skip
    runs += [line("one", seed, validation_accuracy=accuracy, seconds=20.0) for seed, accuracy in ((0, 0.81), (1, 0.83))]
    runs += [line("two", 1, validation_accuracy=0.80, seconds=20.0), line("three", 0, failed="nan")]
    report = {"runs": runs, "recipe": asdict(SMOKE), "recipe_name": "smoke", "data": "toy", "hardware": "", "torch": "",
              "date": ""}  # fmt: skip
    page = one_change.page(report)
    assert "| the recipe | 81.00 ± 1.41 |  | 5 | 1.0 | 10 | 0, 1 |" in page
    assert "| one | 82.00 ± 1.41 | +1.00 (+1.0 to +1.0) |" in page
    assert "| two | 80.00 | -2.00 |" in page
    assert "| three | did not train |  | 5 | 1.0 |  | 0 |" in page
