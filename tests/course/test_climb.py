import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from eva.course import climb as module
from eva.course import ledger
from eva.course.climb import PLANS, climb
from eva.data import Split, Splits, shapes
from eva.model import LADDER

CPU = torch.device("cpu")


def tiny(classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


@pytest.fixture
def splits():
    parts = [Split.numbered(*shapes.render(count, seed)) for seed, count in enumerate((120, 40, 40))]
    return Splits("Shapes-10", "built in", shapes.CLASSES, *parts)


@pytest.fixture
def trained(monkeypatch):
    """What was trained, as (step's place in the ladder, seed); the ladder has two small steps here."""
    monkeypatch.setattr(module, "LADDER", {"first": tiny, "second": tiny})
    monkeypatch.setitem(PLANS, "smoke", replace(PLANS["smoke"], images=50))
    runs, real = [], module.fit

    def counted(model, splits, recipe, *, device, seed):
        runs.append(seed)
        assert len(splits.train) <= 50
        return real(model, splits, recipe, device=device, seed=seed)

    monkeypatch.setattr(module, "fit", counted)
    return runs


def test_each_step_is_trained_with_each_seed_and_recorded(splits, trained, tmp_path):
    path = tmp_path / "ledger.jsonl"
    lines = climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    assert trained == [0, 1, 0, 1]
    assert list(lines) == ["first", "second"]
    assert ledger.read(path) == list(lines.values())
    line = lines["first"]
    assert line["seeds"] == [0, 1]
    assert line["parameters"] == sum(p.numel() for p in tiny().parameters())
    assert line["receptive_field"] == [3, 3]
    assert line["splits"] == {"train": 40, "validation": 40, "test": 40, "contents": line["splits"]["contents"]}
    assert line["accuracies"] == lines["second"]["accuracies"], "the same network and seeds: the same bits"


def test_it_goes_on_where_it_was_stopped(splits, trained, tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    real = module.test
    monkeypatch.setattr(module, "test", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt()) if len(trained) == 4
                        else real(*a, **k))  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    assert [line["step"] for line in ledger.read(path)] == ["first"]
    monkeypatch.setattr(module, "test", real)
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    assert trained == [0, 1, 0, 1, 1], "only the run that was cut off"
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    assert len(trained) == 5
    assert len(ledger.read(path)) == 2
    climb(splits, "smoke", CPU, seeds=3, runs=tmp_path / "runs.jsonl", path=path)
    assert trained[5:] == [2, 2], "more seeds: those that are there stay"


def test_runs_of_another_recipe_are_made_again(splits, trained, tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    plan = PLANS["smoke"]
    monkeypatch.setitem(PLANS, "smoke", replace(plan, recipe=replace(plan.recipe, learning_rate=0.001)))
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    assert len(trained) == 8


def test_the_climb_leaves_the_random_state_alone(splits, trained, tmp_path):
    before = torch.get_rng_state()
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=tmp_path / "ledger.jsonl")
    assert torch.equal(before, torch.get_rng_state())


def test_steps_that_were_measured_before_a_recipe_had_a_field_are_not_measured_again(splits, trained, tmp_path):
    path = tmp_path / "ledger.jsonl"
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    old = [json.loads(line) for line in path.read_text().splitlines()]
    for line in old:
        for field in ("ema", "matrix_rate", "compiled", "augmentations"):
            del line["recipe"][field]
        del line["splits"]["contents"]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    assert len(trained) == 4
    old[0]["recipe"]["ema"] = 0.5
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    climb(splits, "smoke", CPU, runs=tmp_path / "other.jsonl", path=path)
    assert len(trained) == 6, "that one was another recipe"


def test_steps_on_other_contents_of_the_same_name_are_measured_again(splits, trained, tmp_path):
    path = tmp_path / "ledger.jsonl"
    climb(splits, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    corrected = replace(splits, validation=replace(splits.validation, labels=splits.validation.labels.flip(0)))
    climb(corrected, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=path)
    assert len(trained) == 8


@pytest.mark.parametrize("classes", [2, 12])
def test_the_real_ladder_is_built_for_as_many_classes_as_there_are(classes):
    images = torch.zeros(2, 3, 32, 32)
    for step, build in LADDER.items():
        assert build(classes=classes).eval()(images).shape == (2, classes), step


def test_a_climb_on_twelve_classes(tmp_path, trained):
    labels = torch.arange(36) % 12
    split = Split.numbered(torch.randint(0, 256, (36, 3, 32, 32), dtype=torch.uint8), labels)
    twelve = Splits("a dozen", "made up", tuple("abcdefghijkl"), split, split, split)
    lines = climb(twelve, "smoke", CPU, runs=tmp_path / "runs.jsonl", path=tmp_path / "ledger.jsonl")
    assert lines["first"]["parameters"] == sum(p.numel() for p in tiny(12).parameters())
