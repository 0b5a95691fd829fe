import json
import math
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from eva.course import duels, evidence
from eva.course.evidence import CHOOSING, EvidenceError, rate_of
from eva.course.studies import POOL, RECIPE, STUDIES, Study, stack
from eva.course.worth import page
from eva.data import normalised
from eva.files import read_json
from eva.measure import count_macs, count_parameters
from eva.model import Net, Residual, Rung
from eva.receptive_field import receptive_field
from eva.training import History, fit

CPU = torch.device("cpu")


@pytest.fixture
def toy(monkeypatch, splits):
    """A study of two small networks with two seeds, on images that are called CIFAR-10 here."""
    study = Study(
        {"narrow": partial(stack, [4, POOL, 4]), "wide": partial(stack, [8, POOL, 8])},
        against="narrow", recipe=replace(RECIPE, epochs=1, sizes=(8,)), images=64, seeds=2, rates=(0.03, 0.1),
    )  # fmt: skip
    monkeypatch.setitem(STUDIES, "toy", study)
    monkeypatch.setattr(evidence, "CHOOSING_IMAGES", 32)
    return replace(splits, name="CIFAR-10 (toy)")


def parameters(study, network):
    return count_parameters(STUDIES[study].networks[network](classes=10))


def test_runs_are_made_once_and_hold_what_was_right(toy, tmp_path, monkeypatch):
    path = tmp_path / "evidence.jsonl"
    assert evidence.make(toy, CPU, ["toy"], path) == 2 * (2 + 2)
    assert evidence.make(toy, CPU, ["toy"], path) == 0
    lines = read_json(path)
    choices = [run for run in lines if run["key"]["seed"] == CHOOSING]
    assert [(run["key"]["images"], "right" in run, "test_accuracy" in run) for run in choices] == [
        (32, False, False)
    ] * 4
    runs = [run for run in lines if run["key"]["seed"] != CHOOSING]
    assert [run["key"]["seed"] for run in runs] == [0, 0, 1, 1]
    for run in runs:
        tried = {rate_of(c): c["validation_accuracy"] for c in choices
                 if c["key"]["network"] == run["key"]["network"]}  # fmt: skip
        assert tried[rate_of(run)] == max(tried.values())
        assert run["key"]["images"] == 64


def test_a_study_that_was_stopped_goes_on_with_the_runs_that_are_missing(toy, tmp_path, monkeypatch):
    path, whole = tmp_path / "stopped.jsonl", tmp_path / "whole.jsonl"
    real, calls = evidence.fit, []

    def fit(*args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(evidence, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        evidence.make(toy, CPU, ["toy"], path)
    assert len(read_json(path)) == 3
    evidence.make(toy, CPU, ["toy"], path)
    evidence.make(toy, CPU, ["toy"], whole)
    assert [line["validation_accuracy"] for line in read_json(path)] == [
        line["validation_accuracy"] for line in read_json(whole)
    ]


RATE = {"narrow": 0.03, "wide": 0.1}  # the best of each in the runs that are made up here


def line(network, seed, rate, right=None, **changed):
    plan = evidence.plan(STUDIES["toy"].networks[network]())
    key = {"study": "toy", "network": network, "plan": plan, "seed": seed,
           "recipe": replace(STUDIES["toy"].recipe, learning_rate=rate).choices, "parameters": 100, "macs": 10**6,
           "images": 64 if seed != CHOOSING else 32, "data": "CIFAR-10 (toy)", "contents": "abc",
           **changed}  # fmt: skip
    right = torch.zeros(80, dtype=torch.bool) if right is None else right
    return json.loads(json.dumps({
        "key": key, "validation_accuracy": right.double().mean().item(), "right": evidence.packed(right),
        "validation_images": 80, "field": 9, "hardware": "none", "torch": "2",
    }))  # fmt: skip


def made(**counts):
    """Lines as `make` writes them, with so many seeds of each network, each at its rate."""
    lines = []
    for network, count in counts.items():
        for rate in (0.03, 0.1):
            lines.append(line(network, CHOOSING, rate, torch.arange(80) < (40 if rate == RATE[network] else 20)))
        for seed in range(count):
            rng = torch.Generator().manual_seed(seed)
            right = torch.rand(80, generator=rng) < (0.9 if network == "wide" else 0.3)
            lines.append(line(network, seed, RATE[network], right))
    return lines


def test_a_table_says_what_was_found(toy, monkeypatch):
    monkeypatch.setattr(evidence, "_lines", lambda: made(narrow=3, wide=3))
    answers = evidence.answers("toy")
    assert answers["wide"].shape == (3, 80)
    apart = evidence.compared("toy")["wide"]
    expected = answers["wide"].double().mean() - answers["narrow"].double().mean()
    assert apart.mean == pytest.approx(expected.item())
    assert evidence.accuracies("toy")["narrow"] == answers["narrow"].double().mean(1).tolist()
    assert evidence.rates("toy") == RATE
    assert evidence.tried("toy") == {"narrow": {0.03: 0.5, 0.1: 0.25}, "wide": {0.03: 0.25, 0.1: 0.5}}
    assert evidence.prices("toy")["wide"] == "1.0 million MACs, 100 parameters"
    narrow, wide = evidence.results("toy").rows
    assert narrow[0] == "narrow"
    assert narrow[-1] == ""
    assert wide[-1] == evidence.said(apart)
    assert "seeds 0, 1, 2; mean" in evidence.results("toy").note
    assert page() == f"### Toy\n\n{evidence.results('toy')}", "the others have no runs here"


def test_a_learner_trains_each_network_once_at_its_own_rate(toy, monkeypatch, capsys):
    monkeypatch.setattr(evidence, "_lines", lambda: made(narrow=0, wide=0))
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    monkeypatch.setitem(duels.IMAGES, "smoke", 40)
    found = duels.duel("toy", toy, CPU)
    assert re.match("narrow\nepoch  1 of 1.*\nwide\nepoch  1 of 1", capsys.readouterr().out)
    few = replace(toy, train=toy.train.take(torch.randperm(len(toy.train), generator=torch.manual_seed(0))[:40]))
    for network, rate in RATE.items():
        torch.manual_seed(0)
        model = STUDIES["toy"].networks[network](classes=3)
        recipe = replace(STUDIES["toy"].recipe, learning_rate=rate)
        assert found[network] == fit(model, few, recipe, device=CPU, seed=0).rows[-1]["validation_accuracy"]


def test_a_duel_that_is_stopped_does_not_go_on_with_the_next(toy, monkeypatch):
    monkeypatch.setattr(evidence, "_lines", lambda: made(narrow=0, wide=0))
    monkeypatch.setattr(duels, "fit", lambda *args, **options: History(interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        duels.duel("toy", toy, CPU)


def test_a_duel_needs_rates(toy, monkeypatch):
    monkeypatch.setattr(evidence, "_lines", lambda: made(narrow=0))
    with pytest.raises(EvidenceError, match="no rate was tried for 'wide' of 'toy'"):
        duels.duel("toy", toy, CPU)


def test_no_difference_is_told_as_what_is_excluded():
    none, some = evidence.Difference(0.001, -0.004, 0.006, 0.7), evidence.Difference(0.02, 0.01, 0.03, 0.001)
    assert evidence.said(none) == "+0.1 (-0.4 to +0.6): none found; more than 0.6 is excluded"
    assert evidence.said(some) == "+2.0 (+1.0 to +3.0)"
    corrected = evidence.Difference(0.02, 0.001, 0.039, 0.12)
    assert "none found after Holm's correction; more than 3.9" in evidence.said(corrected)
    alone = evidence.Difference(0.02, math.nan, math.nan, math.nan)
    assert evidence.said(alone) == "+2.0 (one seed: no interval, no verdict)"


def test_what_does_not_compare_is_refused(toy):
    with pytest.raises(EvidenceError, match=r"no seed that all share, runs of each: 'narrow' 2, 'wide' 0\. Go on with"):
        evidence.of("toy", made(narrow=2, wide=0))
    with pytest.raises(EvidenceError, match="'narrow' 0, 'wide' 0"):
        evidence.of("toy", [])


def test_a_seed_counts_where_every_network_has_it(toy):
    lines = made(narrow=3, wide=3)
    gone = next(run for run in lines if run["key"]["network"] == "wide" and run["key"]["seed"] == 1)
    lines.remove(gone)
    for more in ([], [{"key": gone["key"], "failed": "the loss is nan"}]):
        found = evidence.of("toy", [*lines, *more])
        assert {network: [run["key"]["seed"] for run in runs] for network, runs in found.items()} == {
            "narrow": [0, 2], "wide": [0, 2],
        }  # fmt: skip


def test_runs_that_did_not_train_are_told(toy, monkeypatch):
    lines = made(narrow=2, wide=2)
    lines.append({"key": line("wide", 2, 0.1)["key"], "failed": "the loss is nan"})
    monkeypatch.setattr(evidence, "_lines", lambda: lines)
    assert "runs that did not train: 'wide' 1." in evidence.results("toy").note
    every = [{"key": run["key"], "failed": "nan"} if run["key"]["network"] == "wide" else run for run in lines]
    with pytest.raises(EvidenceError, match="'narrow' 2, 'wide' 0; runs that did not train: 'wide' 3"):
        evidence.of("toy", every)


@pytest.mark.parametrize("change", [
    {"plan": "another"}, {"data": "Shapes-10"}, {"images": 63}, {"contents": "def"}, {"study": "other"},
    {"data": "CIFAR-10", "contents": "def"}, {"seed": CHOOSING}, {"network": "gone"},
    {"recipe": {**RECIPE.choices, "epochs": 1, "sizes": [8], "warmup": 0.3}},
    {"recipe": {**RECIPE.choices, "epochs": 1, "sizes": [8], "learning_rate": 0.3}},  # not the best one
])  # fmt: skip
def test_lines_of_something_else_do_not_mix(toy, change):
    lines = made(narrow=2, wide=2)
    run = next(run for run in lines if run["key"]["seed"] == 0)
    other = json.loads(json.dumps({**run, "validation_accuracy": 0.0, "key": {**run["key"], **change}}))
    assert evidence.of("toy", [other, *lines]) == evidence.of("toy", lines)


def test_a_rate_that_is_not_tried_any_more_is_not_the_best(toy, monkeypatch):
    lines = [*made(narrow=1, wide=1), line("wide", CHOOSING, 1.0, torch.ones(80, dtype=torch.bool))]
    monkeypatch.setattr(evidence, "_lines", lambda: lines)
    assert evidence.tried("toy")["wide"].keys() == {0.03, 0.1}
    assert evidence.rates("toy")["wide"] == RATE["wide"]


def test_a_network_that_did_not_train_is_kept_as_that(toy, tmp_path, monkeypatch):
    class Broken(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.linear = nn.Linear(3, classes)

        def forward(self, images):
            return self.linear(images.mean((2, 3))) * math.nan

    monkeypatch.setitem(STUDIES, "toy", replace(STUDIES["toy"], networks={"broken": Broken}, against="broken"))
    path = tmp_path / "evidence.jsonl"
    evidence.make(toy, CPU, ["toy"], path)
    assert {"nan" in line["failed"] for line in read_json(path)} == {True}


def test_right_is_what_the_network_says(toy):
    torch.manual_seed(0)
    model = stack([4], classes=3)
    images = normalised(toy.validation.images, toy.normalisation)
    expected = model.eval()(images).argmax(1) == toy.validation.labels
    assert torch.equal(evidence._right(model.train(), toy, "validation", CPU), expected)
    assert model.training


# The studies themselves


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "toy"])
def test_each_network_takes_images_and_learns(name):
    study = STUDIES[name]
    assert study.against in study.networks
    for make in study.networks.values():
        model = make(classes=4)
        logits = model(torch.randn(2, 3, 32, 32))
        assert logits.shape == (2, 4)
        logits.square().sum().backward()


def costs(study):
    return {name: (count_parameters(make()), count_macs(make())) for name, make in STUDIES[study].networks.items()}


def test_the_duels_are_fair():
    """What is to be alike in each comparison is alike: parameters or MACs, by arithmetic where there is one."""
    heads = costs("batch norm and head")
    norms = 16 + 24 + 24 + 48 + 48 * 3
    assert heads["batch norm, flat"][0] - heads["flat"][0] == norms  # a bias goes, a scale and a shift come
    assert heads["flat"][0] - heads["average"][0] == 48 * 63 * 10
    assert {macs for _, macs in costs("dropout").values()} == {costs("dropout")["p = 0"][1]}
    dilated = costs("dilation")
    assert len({parameters for parameters, _ in dilated.values()}) == 1
    assert len({dilated[name] for name in dilated if name != "a second pooling"}) == 1
    assert dilated["a second pooling"][1] < 0.61 * dilated["rates 1 1 | 1 1 1"][1]
    spent = costs("separable")
    (standard, macs), (separable, fewer) = spent["standard, 32 maps"], spent["separable, 96 maps"]
    assert 0.95 < separable / standard <= 1
    assert fewer < macs
    depths = costs("depth")
    for layers in (9, 21, 33):
        assert depths[f"{layers} layers"] == depths[f"{layers} layers, shortcuts"]
        assert (
            sum(isinstance(m, nn.Conv2d) for m in STUDIES["depth"].networks[f"{layers} layers"]().modules()) == layers
        )
    assert depths["21 layers"] == depths["21 layers, shortcuts round one each"]


def test_nothing_costs_more_than_plain_convolutions():
    price = costs("the price of plain")
    plain = price["plain"]
    for parameters, macs in price.values():
        assert parameters <= 1.001 * plain[0] + 400, "batch norm has a shift more than a bias"
        assert macs <= 1.1 * plain[1]
    assert count_macs(Rung()) == plain[1]
    assert price["Net(0.5)"] == (count_parameters(Net(0.5)), count_macs(Net(0.5)))
    assert price["dilated in front"] == price["Net(0.5)"], "Net is that network, with dropout"


def test_the_fields_of_the_dilation_duel():
    fields = {name: receptive_field(make()).size[0] for name, make in STUDIES["dilation"].networks.items()}
    assert list(fields.values()) == [18, 24, 34, 28]


def test_shortcuts_go_round_what_their_names_say():
    networks = STUDIES["depth"].networks
    lengths = {name: {len(m) for m in make().modules() if isinstance(m, Residual)} for name, make in networks.items()}
    assert lengths["21 layers"] == set()
    assert lengths["21 layers, shortcuts"] == {2}
    assert lengths["21 layers, shortcuts round one each"] == {1}
