"""What benchmarks/one_change.py tries: that each idea is what it says, and that the page tells what was measured."""

import json
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import ideas, one_change
from eva.augment import cutmix, mixup
from eva.data import BatchLoader, Split
from eva.measure import count_macs, count_parameters
from eva.model import Net, Residual
from eva.recipes import RECIPES, WIDTHS
from eva.training import fit

CPU = torch.device("cpu")
SMOKE, WIDTH = RECIPES["smoke"], WIDTHS["smoke"]


def test_a_whitened_stem_gives_uncorrelated_maps_of_variance_one(splits):
    """Of the training images' own patches; the toy images are noisy, so that no variance is near zero."""
    model = ideas.whitened_stem(WIDTH, splits)
    mean, std = splits.normalisation
    images = (splits.train.images.float() / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    maps = F.conv2d(images, model.stem.weight)  # without padding: whole patches only
    one_way, other_way = maps.transpose(0, 1).flatten(1).split(16)
    torch.testing.assert_close(one_way.cov(), torch.eye(16), atol=0.02, rtol=0)
    torch.testing.assert_close(one_way, -other_way)
    patches = F.unfold(images, 3).transpose(0, 1).flatten(1)
    largest = torch.linalg.eigvalsh(patches.cov())[-16:].flip(0)  # whose filters are the shortest
    lengths = model.stem.weight[:16].flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, (largest + 5e-4).rsqrt(), rtol=1e-3, atol=0)


def test_a_whitened_stem_looks_at_every_class_of_a_folder_that_is_sorted(splits, rng):
    """Here the first 5,000 images, a class of their own, are all grey: they alone would give filters of length 45."""
    images = torch.full((6000, 3, 32, 32), 127, dtype=torch.uint8)
    images[5000:] = torch.randint(0, 256, (1000, 3, 32, 32), generator=rng)
    train = Split.numbered(images, torch.arange(6000) // 5000)
    model = ideas.whitened_stem(WIDTH, replace(splits, train=train))
    assert model.stem.weight.flatten(1).norm(dim=1).max() < 5


def test_a_whitened_stem_is_not_trained(splits):
    torch.manual_seed(0)
    model = ideas.whitened_stem(WIDTH, splits)
    stem, after = model.stem.weight.clone(), model.initial[0][2].weight.clone()
    fit(model, splits, replace(SMOKE, epochs=1), device=CPU)
    assert torch.equal(model.stem.weight, stem)
    assert not torch.equal(model.initial[0][2].weight, after)


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_depth_is_paid_for_with_width(splits, width, count):
    model = ideas.with_residuals(width, splits, count)
    assert sum(isinstance(layer, Residual) for layer in model.middle) == 1 + count, "one of them before the pooling"
    assert count_parameters(model) == pytest.approx(count_parameters(Net(width, 3)), rel=0.06)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)


def test_late_pooling_costs_nothing_but_macs(splits):
    model, usual = ideas.late_pooling(WIDTH, splits), Net(WIDTH, 3)
    assert count_parameters(model) == count_parameters(usual)
    assert count_macs(model) > count_macs(usual)
    assert model.middle(torch.zeros(1, 8, 16, 16)).shape == usual.middle(torch.zeros(1, 8, 16, 16)).shape


def served(make, splits, epochs, **options):
    """Each epoch's batches, as one pair of tensors in the split's own order."""
    loader = make(splits.train, splits.normalisation, batch_size=40, seed=3, **options)
    return [tuple(torch.cat(part) for part in zip(*loader, strict=True)) for _ in range(epochs)]


def ways(splits, epochs, seed=3):
    """For each pass and image: is it as it was? The others must be mirrored."""
    loader = BatchLoader(splits.train, splits.normalisation, batch_size=40)
    plain = torch.cat([images for images, _ in loader])
    loader = ideas.AlternatingFlip(splits.train, splits.normalisation, batch_size=40, seed=seed)
    passes = [torch.cat([images for images, _ in loader]) for _ in range(epochs)]
    as_is = torch.stack([(images == plain).flatten(1).all(1) for images in passes])
    mirrored = torch.stack([(images == plain.flip(3)).flatten(1).all(1) for images in passes])
    assert torch.equal(mirrored, ~as_is)
    assert torch.equal(loader.images, splits.train.images)  # and nothing is left turned round
    return as_is


def test_alternating_flips_show_each_image_both_ways_in_any_two_passes(splits):
    found = ways(splits, 4)
    for first, second in pairwise(found):
        assert torch.equal(first, ~second)
    assert 0.25 < found[0].float().mean() < 0.75
    assert not torch.equal(found[0], ways(splits, 1, seed=4)[0])


def test_alternating_flips_go_on_where_a_run_was_resumed(splits):
    loader = ideas.AlternatingFlip(splits.train, splits.normalisation, batch_size=96, seed=3)
    first, second = ([images for images, _ in loader] for _ in range(2))
    loader.epoch = 1
    (again,) = loader
    assert torch.equal(again[0], next(iter(second)))
    assert not torch.equal(again[0], next(iter(first)))


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_batches_are_mixed_until_the_epoch_that_was_named(splits, mix):
    (plain, labels), *_ = served(BatchLoader, splits, 1)
    first, second = served(partial(ideas.Mixed, mix=mix, classes=3, until=1), splits, 2)
    torch.testing.assert_close(first[1].sum(1), torch.ones(len(labels)))
    assert not torch.equal(first[0], plain)
    assert torch.equal(second[0], plain)
    assert torch.equal(second[1], labels)


def test_half_of_a_distilled_label_is_the_teachers(splits, monkeypatch):
    monkeypatch.setattr("eva.precision.bfloat16_units", lambda: False)  # the same in float32 on every processor
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3), nn.Dropout(0.5))
    (images, labels), *_ = served(partial(ideas.Distilled, teacher=teacher), splits, 1)
    expected = (F.one_hot(labels.argmax(1), 3) + teacher(images).softmax(1)) / 2
    assert torch.equal(F.one_hot(splits.train.labels, 3), F.one_hot(labels.argmax(1), 3))
    torch.testing.assert_close(labels, expected)
    assert not labels.requires_grad


def test_adamw_takes_the_recipes_rate():
    optimizer = ideas.adamw(nn.Linear(2, 2), replace(SMOKE, learning_rate=0.003))
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 0.003
    assert optimizer.param_groups[0]["weight_decay"] == 0.05


@pytest.mark.parametrize("name", ["cpu", "gpu", "best", "smoke"])
def test_each_change_changes_one_thing(splits, name):
    recipe = RECIPES[name]
    tried = one_change.changes(recipe, splits, teacher=lambda: nn.Identity())
    usual = tried.pop(one_change.AS_IS)
    assert usual == one_change.Change(recipe)
    for what, change in tried.items():
        before, after = asdict(usual.recipe), asdict(change.recipe)
        fields = {field for field in before if before[field] != after[field]}
        parts = {"network": change.network is not usual.network,
                 "batches": change.make_loader is not usual.make_loader,
                 "optimizer": change.make_optimizer is not usual.make_optimizer}  # fmt: skip
        if what == "full size throughout":
            assert fields == {"sizes", "epochs"}  # as many pixels in all
        elif parts["optimizer"]:
            assert fields - {"matrix_rate"} == {"learning_rate"}  # there is no Muon in it
        elif what == "alternating flips":
            assert fields == {"augmentations"}  # a flip of its own in place of the other one
            assert parts["batches"]
        else:
            assert len(fields) + sum(parts.values()) == 1, what
    assert len(tried) >= 20


def test_the_first_seed_of_every_change_comes_first_and_a_call_goes_on(tmp_path, splits, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(one_change, "load", lambda: splits)
    monkeypatch.setattr(one_change, "device_here", lambda: CPU)
    only = ["--only", "cutmix", "distillation from Net of twice the width"]
    arguments = ["--smoke", "--seeds", "2", "--folder", str(tmp_path), *only]
    one_change.main(arguments)
    lines = [json.loads(text) for text in (tmp_path / "smoke" / "one_change.jsonl").read_text().splitlines()]
    order = [(line["key"]["seed"], line["key"]["change"]) for line in lines]
    assert order == [(seed, name) for seed in (0, 1) for name in (one_change.AS_IS, *only[1:])]
    assert capsys.readouterr().out.count("the teacher\n") == 1
    one_change.main(arguments)
    assert "has 6 finished runs, which are not made again" in caplog.text
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
    recipe = {**asdict(SMOKE), "width": WIDTH}
    report = {"runs": runs, "recipe": recipe, "recipe_name": "smoke", "data": "toy", "hardware": "", "torch": "",
              "date": ""}  # fmt: skip
    page = one_change.page(report)
    assert "| the recipe | 81.00 ± 1.41 |  | 5 | 1.0 | 10 | 0, 1 |" in page
    assert "| one | 82.00 ± 1.41 | +1.00 (+1.0 to +1.0) |" in page
    assert "| two | 80.00 | -2.00 |" in page
    assert "| three | did not train |  | 5 | 1.0 |  | 0 |" in page
