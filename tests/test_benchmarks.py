"""The benchmarks at the smallest scale: what they count, what they write, and that they go on where they stopped."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import accuracy_per_parameter, anchors, one_change, throughput, time_to_accuracy, tta
from benchmarks.common import Deadline
from benchmarks.networks import NETWORKS, WIDTHS, densenet_bc, resnet
from benchmarks.roofline import Layer, Machine, layers, memory_bound, shortest
from benchmarks.throughput_page import page as throughput_page
from benchmarks.tutorial import tutorial_loader
from benchmarks.ways import OURS, Geometric, InSteps, Way, ways
from eva.course.runs import Runs
from eva.files import read_json
from eva.measure import count_macs, count_parameters
from eva.model import Net
from eva.recipes import RECIPES
from eva.training import fit

CPU = torch.device("cpu")
PUBLISHED = {
    "ResNet-20": "0.27",
    "ResNet-56": "0.85",
    "ConvMixer-256/8": "0.59",
    "DenseNet-BC-100-12": "0.77",
    "ResNet-18": "11.17",
    "separable ResNet": "0.45",
    "MobileNetV2, 3x3 stem": "0.46",
    "small airbench": "0.50",
}  # millions; fmt: skip
SIZES = {"Net, 0.1 M": 0.1e6, "Net, 0.4 M": 0.4e6, "Net, 0.95 M": 0.95e6}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_as_many_parameters_as_their_papers_say(name):
    assert f"{count_parameters(NETWORKS[name]()) / 1e6:.2f}" == PUBLISHED[name]


def test_net_in_three_widths_is_as_large_as_its_name_says():
    assert set(WIDTHS) == set(SIZES)
    for name, width in WIDTHS.items():
        assert count_parameters(Net(width)) == pytest.approx(SIZES[name], rel=0.06)
        assert count_parameters(Net(width)) < 1_000_000


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_one_logit_per_class_and_every_weight_learns(name):
    model = NETWORKS[name](classes=3)
    model(torch.randn(2, 3, 16, 16)).square().sum().backward()
    with torch.no_grad():
        assert model.eval()(torch.randn(2, 3, 32, 32, device="cpu")[:, :, ::2, ::2]).shape == (2, 3)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("make", "depth"), [(resnet, 18), (densenet_bc, 99)])
def test_depths_that_do_not_divide_are_refused(make, depth):
    with pytest.raises(ValueError, match=f"got {depth}"):
        make(depth)


def test_known_macs():
    """ResNet-18 for CIFAR takes 0.56 and ResNet-20 0.041 billion multiply-accumulates, as widely counted."""
    assert count_macs(NETWORKS["ResNet-18"]()) == pytest.approx(0.556e9, rel=0.01)
    assert count_macs(NETWORKS["ResNet-20"]()) == pytest.approx(0.0406e9, rel=0.01)


# Test-time augmentation


def test_views_are_weighted_as_airbench_does_it(rng):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4), nn.Tanh())
    images = torch.rand(5, 3, 8, 8, generator=rng)
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    expected = torch.zeros(5, 4)
    for view, weight in ((images, 1 / 4), (padded[:, :, :8, :8], 1 / 8), (padded[:, :, 2:, 2:], 1 / 8)):
        expected += weight * (model(view) + model(view.flip(-1)))
    torch.testing.assert_close(tta.logits(model, images, "mirror and shifts"), expected)
    torch.testing.assert_close(tta.logits(model, images, "none"), model(images))
    torch.testing.assert_close(tta.logits(model, images, "mirror"), (model(images) + model(images.flip(3))) / 2)
    with pytest.raises(ValueError, match="level must be one of"):
        tta.logits(model, images, "five crops")


def test_an_accuracy_for_each_level_and_the_model_stays_in_its_mode():
    class Left(nn.Module):
        """Class 1 where the left half is the brighter one: its mirror image says the opposite, and so a tie."""

        def forward(self, x):
            score = x[..., :4].mean((1, 2, 3)) - x[..., 4:].mean((1, 2, 3))
            return torch.stack([torch.full_like(score, 0.1), score], 1)

    images = torch.zeros(4, 3, 8, 8)
    images[..., :4] = 1
    model = Left().train()
    found = tta.accuracies(model, [(images, torch.ones(4, dtype=torch.int64))])
    assert found == {"none": 1.0, "mirror": 0.0, "mirror and shifts": 0.0}
    assert model.training


# Going on where a call stopped


def test_a_deadline_allows_what_ends_in_time():
    assert Deadline(1).allows(30)
    assert not Deadline(1).allows(90)


@pytest.fixture
def small(monkeypatch, splits):
    """The benchmarks on the toy images, with small networks where a large one is not the point."""
    for module in (accuracy_per_parameter, time_to_accuracy, throughput):
        monkeypatch.setattr(module, "load", lambda: splits)
        monkeypatch.setattr(module, "device_here", lambda: CPU)
    return splits


def tiny(classes: int = 10) -> nn.Module:
    return Net(0.125, classes)


def comparison(folder: Path, splits, deadline: Deadline | None = None) -> accuracy_per_parameter.Comparison:
    runs = Runs(folder / "a.jsonl")
    return accuracy_per_parameter.Comparison(splits, CPU, runs, folder, 0.5, deadline or Deadline(1))


@pytest.fixture
def toy(monkeypatch):
    """A small network that is trained for two epochs, at three rates and then for good, in our way alone."""
    way = Way(replace(RECIPES["smoke"], sizes=(8,)))
    monkeypatch.setitem(accuracy_per_parameter.NETWORKS, "tiny", tiny)
    monkeypatch.setattr(accuracy_per_parameter, "ways", lambda name: {OURS: way})
    monkeypatch.setattr(accuracy_per_parameter, "bought", lambda recipe, paces, seconds: 2)
    return "tiny"


def test_epochs_are_as_many_as_the_price_buys():
    recipe = replace(RECIPES["smoke"], sizes=(16, 32))
    paces = {"16": 1.0, "32": 4.0}
    assert accuracy_per_parameter.bought(recipe, paces, 10.0) == 4  # 1 + 1 + 4 + 4
    assert accuracy_per_parameter.bought(recipe, paces, 13.9) == 4  # a fifth one: 1 + 1 + 4 + 4 + 4
    assert accuracy_per_parameter.bought(recipe, paces, 14.0) == 5
    assert accuracy_per_parameter.bought(recipe, paces, 0.1) == 1


def test_a_comparison_goes_on_in_the_middle_of_a_run(tmp_path, splits, toy):
    class AfterOneEpoch(Deadline):
        def allows(self, seconds: float) -> bool:
            return not any((tmp_path / "one" / "running").glob("*/model.pt"))

    def call(folder: str, deadline: Deadline | None = None):
        made = comparison(tmp_path / folder, splits, deadline)
        made.pace(toy, OURS, steps=1)
        ((*_, done, missing),) = made.all([toy], 2)
        return [run["test_accuracy"] for run in done], missing

    assert call("one", AfterOneEpoch(1)) == ([], 2)
    (running,) = (tmp_path / "one" / "running").iterdir()
    assert len((running / "metrics.jsonl").read_text().splitlines()) == 1
    assert call("one") == call("whole")
    assert not any((tmp_path / "one" / "running").iterdir())
    assert call("one", AfterOneEpoch(1)) == call("whole", AfterOneEpoch(1))


def test_the_rate_is_the_one_that_a_third_of_the_price_chose(tmp_path, splits, toy, monkeypatch):
    asked = []

    def run(self, name, way_name, seconds, faster, seed):
        asked.append((seconds, faster, seed))
        return {"failed": "nan"} if faster == 2 else {"validation_accuracy": 1 - faster / 2}

    monkeypatch.setattr(accuracy_per_parameter.Comparison, "run", run)
    assert comparison(tmp_path, splits).chosen(toy, OURS) == 0.5
    assert accuracy_per_parameter._rate(0.5) == "x 0.5, the lowest tried"
    assert accuracy_per_parameter._rate(1.0) == "x 1"
    assert asked == [(0.5 / 3, faster, accuracy_per_parameter.CHOOSING) for faster in (0.5, 1, 2)]


def test_on_another_processor_the_price_stays_and_the_page_says_so(tmp_path, splits, toy, monkeypatch):
    measured = comparison(tmp_path, splits).pace(toy, OURS, steps=1)
    monkeypatch.setattr(accuracy_per_parameter, "origin", lambda *_: {
        "data": splits.name, "hardware": "another processor", "torch": "2"})  # fmt: skip
    there = comparison(tmp_path, splits)
    assert there.pace(toy, OURS) == measured
    assert there.run(toy, OURS, 0.5, 1.0, seed=0)["hardware"] == "another processor"
    page = accuracy_per_parameter.page(there.runs.lines, 0.5)
    assert f"training, and one epoch at least, on {measured['hardware']}, by the pace measured there" in page
    assert "the runs were made on another processor." in page


def test_ctrl_c_ends_it_and_a_pace_is_not_measured_by_the_way(tmp_path, splits, toy, monkeypatch):
    made = comparison(tmp_path, splits)
    with pytest.raises(SystemExit, match="call with --pace first"):
        made.run(toy, OURS, 0.5, 1.0, seed=0)
    made.pace(toy, OURS, steps=1)
    real = accuracy_per_parameter.fit

    def interrupted(*args, **options):
        history = real(*args, **options)
        history.interrupted = True
        return history

    monkeypatch.setattr(accuracy_per_parameter, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run(toy, OURS, 0.5, 1.0, seed=0)
    assert [line["key"]["what"] for line in made.runs.lines] == ["pace"]


def test_what_was_measured_of_an_earlier_network_is_not_on_the_page(tmp_path, splits, toy, monkeypatch):
    made = comparison(tmp_path, splits)
    made.pace(toy, OURS, steps=1)
    made.run(toy, OURS, 0.5, 1.0, seed=0)
    monkeypatch.setitem(accuracy_per_parameter.NETWORKS, toy, lambda classes: Net(0.25, classes))
    made.pace(toy, OURS, steps=1)
    assert "| tiny |" not in accuracy_per_parameter.page(made.runs.lines, 0.5)
    made.run(toy, OURS, 0.5, 1.0, seed=0)
    page = accuracy_per_parameter.page(made.runs.lines, 0.5)
    assert page.count("| tiny |") == 1
    assert f"| {count_parameters(Net(0.25, 3)):,} |" in page


def test_a_run_that_did_not_train_is_told(tmp_path, splits, toy, monkeypatch):
    class Broken(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.linear = nn.Linear(3, classes)

        def forward(self, x):
            return self.linear(x.mean((2, 3))) * torch.nan

    made = comparison(tmp_path, splits)
    pace = made.pace(toy, OURS, steps=1)
    monkeypatch.setitem(accuracy_per_parameter.NETWORKS, toy, Broken)
    monkeypatch.setattr(accuracy_per_parameter.Comparison, "pace", lambda *_: pace)
    assert "nan" in made.run(toy, OURS, 0.5, 1.0, seed=0)["failed"]
    assert "tiny our recipe, rate x 1, seed 0, did not train: the loss became nan" in accuracy_per_parameter.page(
        made.runs.lines, 0.5
    )


def test_accuracy_per_parameter_end_to_end(tmp_path, small, capsys):
    arguments = ["--smoke", "--folder", str(tmp_path)]
    accuracy_per_parameter.main([*arguments, "--pace"])
    assert "| seeds |" in (tmp_path / "smoke" / "accuracy_per_parameter.md").read_text()
    accuracy_per_parameter.main(arguments)
    page = (tmp_path / "smoke" / "accuracy_per_parameter.md").read_text()
    assert "| Net, 0.1 M | our recipe | " in page
    assert "| small airbench | its paper's way | " in page
    assert "all runs are done" in capsys.readouterr().out
    lines = (tmp_path / "smoke" / "accuracy_per_parameter.jsonl").read_text().splitlines()
    assert len(lines) == 3 * (1 + 3 + 1), "a pace, three rates and the run of each network and way"


@pytest.mark.parametrize("name", accuracy_per_parameter.COMPARED)
def test_each_network_has_a_way_that_moves_it(name, splits):
    assert count_parameters(NETWORKS[name]()) < 1_000_000
    for way in ways(name).values():
        recipe = replace(way.at(epochs=1, faster=0.5), sizes=(16,), cpu_bfloat16=False)
        assert recipe.learning_rate == way.recipe.learning_rate / 2
        model = NETWORKS[name](classes=3)
        weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        before = [weight.detach().clone() for weight in weights]
        fit(model, splits, recipe, device=CPU, make_optimizer=way.make_optimizer)
        assert not any(torch.equal(*pair) for pair in zip(before, weights, strict=True))


def test_the_papers_schedules():
    steps = InSteps(epochs=8)
    assert [steps.rate(step, 8) for step in range(8)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    falling = [Geometric(epochs=1).rate(step, 100) for step in range(101)]
    assert falling[0] == 1
    assert falling[100] == pytest.approx(1 / 500)
    assert falling[51] / falling[50] == pytest.approx(falling[1])


# Time to accuracy


def run(style: str, seed: int, passed: list, **more) -> dict:
    return {"style": style, "seed": seed, "passed": passed, **more}


def report(*runs, **more) -> dict:
    return {"data": "toy", "validation": 24, "hardware": "none", "torch": "2", "date": "today", "runs": runs, **more}


def test_targets_that_nobody_reached_have_no_column():
    mine = run("eva, recipe cpu", 0, [[10.0, 0.5], [20.0, 0.83]], test_accuracy=0.8)
    theirs = run(time_to_accuracy.COURSE, 0, [[90.0, 0.72]])
    page = time_to_accuracy.table(report(mine, theirs, network="Net"))
    assert "| style | seed | to 70 % | to 80 % | seconds in all |" in page
    assert "to 90 %" not in page
    assert "mirror" not in page
    assert f"| {time_to_accuracy.COURSE} | 0 | 90 | > 90 | 90 | 72.00% | - |" in page
    assert "- To 70 %, eva, recipe cpu: 4.5 times as fast as the course's own" in page
    assert "- To 80 %, eva, recipe cpu: more than 4.5 times as fast as the course's own" in page


def test_like_is_compared_with_like():
    levels = dict(zip(tta.LEVELS, (0.94, 0.945, 0.95), strict=True))
    less = dict(zip(tta.LEVELS, (0.93, 0.935, 0.955), strict=True))
    mine = run("eva, recipe gpu", 0, [[9.5, 0.94]], test=levels, parameters=900_000)
    theirs = run("airbench train94", 0, [[4.0, 0.95]], test=less, parameters=2_000_000)
    page = time_to_accuracy.table(report(mine, theirs, not_run=["it: no reason"], missing=3))
    assert "+1.00 points (no augmentation), +1.00 points (mirror), -0.50 points (mirror and shifts), with 45.0%" in page
    assert "| eva, recipe gpu | 900,000 | 0 | 9.5 | 9.5 |" in page
    assert "to 94 %" in page
    assert "- Not run: it: no reason.\n- 3 runs are still to be made." in page


def test_time_to_accuracy_end_to_end(tmp_path, small, capsys, caplog):
    caplog.set_level("INFO")
    arguments = ["--smoke", "--seeds", "2", "--folder", str(tmp_path)]
    time_to_accuracy.main(arguments)
    found = json.loads((tmp_path / "smoke" / "time_to_accuracy.json").read_text())
    assert [(run["style"], run["seed"]) for run in found["runs"]] == [
        ("eva, recipe smoke", 0), ("eva, recipe smoke", 1), (time_to_accuracy.COURSE, 0),
        ("ResNet-20, usual recipe", 0)]  # fmt: skip
    assert all(set(run["test"]) == set(tta.LEVELS) for run in found["runs"])
    page = (tmp_path / "smoke" / "time_to_accuracy.md").read_text()
    assert page == time_to_accuracy.table(found)
    assert "- Not run: airbench train96: airbench " in page
    time_to_accuracy.main(arguments)
    assert "has 4 finished runs, which are not made again" in caplog.text
    assert json.loads((tmp_path / "smoke" / "time_to_accuracy.json").read_text()) == found


def test_a_recipe_that_is_not_there_yet_is_named(small, monkeypatch):
    monkeypatch.setattr(time_to_accuracy, "RECIPES", {"gpu": RECIPES["gpu"]})
    asked = time_to_accuracy.arguments("", 1).parse_args([])
    asked.seeds, asked.give_up, asked.resnet_epochs = 3, None, 1
    found, left_out = time_to_accuracy.styles(small, torch.device("cuda"), asked)
    assert "eva, recipe best: there is no such recipe yet" in left_out
    assert [style.name for style in found][:3] == [
        "eva, recipe gpu",
        time_to_accuracy.COURSE,
        "ResNet-18, usual recipe",
    ]


def test_the_usual_resnet_recipe_trains(splits, monkeypatch):
    monkeypatch.setitem(anchors.NETWORKS, "tiny", tiny)
    monkeypatch.setattr(anchors.os, "cpu_count", lambda: 1)
    found = anchors.usual_recipe(splits, 0, CPU, "tiny", epochs=2)
    assert len(found["passed"]) == 2
    assert set(found["test"]) == set(tta.LEVELS)


def test_airbench_reads_the_same_images_and_is_measured_like_us(splits, monkeypatch):
    """In the package's place stands one that does with its files and its printing what the package does."""
    seen = {}
    package, utils = ModuleType("airbench"), ModuleType("airbench.utils")
    utils.CIFAR_MEAN, utils.CIFAR_STD = torch.full((3,), 0.5), torch.full((3,), 0.25)
    utils.print_columns = utils.print_training_details = lambda *args, **options: pytest.fail("it printed")

    def train94(run: int, epochs: float = 9.9, verbose: bool = True) -> nn.Module:
        if not verbose:
            seen["before"] = (run, epochs)
            return nn.Identity()
        for name in ("train", "test"):
            seen[name] = torch.load(Path("cifar10") / f"{name}.pt", weights_only=True)
        utils.print_training_details({"epoch": 0, "val_acc": 0.5, "total_time_seconds": 1.234}, is_final_entry=False)
        utils.print_training_details({"epoch": "eval", "tta_val_acc": 0.6}, is_final_entry=True)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3).half())

    package.train94 = train94
    monkeypatch.setitem(sys.modules, "airbench", package)
    monkeypatch.setitem(sys.modules, "airbench.utils", utils)
    before = Path.cwd()
    found = anchors.airbench(splits, 0, CPU, "train94")
    assert found["passed"] == [[1.23, 0.5]]
    assert seen.pop("before") == (-1, 1)
    assert found["parameters"] == 12
    assert 0 <= found["test"]["mirror and shifts"] <= 1
    assert Path.cwd() == before
    assert seen["train"]["images"].dtype == torch.uint8
    assert torch.equal(seen["train"]["images"].permute(0, 3, 1, 2), splits.train.images)
    assert torch.equal(seen["test"]["labels"], splits.validation.labels)  # never the test split


# Throughput


def test_the_roofline_takes_the_longer_of_arithmetic_and_memory():
    machine = Machine(flops=100.0, bandwidth=10.0, dtype=torch.float32)
    assert shortest([Layer(1000, 10), Layer(100, 50)], machine) == 10 + 5
    assert memory_bound([Layer(1000, 10), Layer(100, 50)], machine) == pytest.approx(5 / 15)


@pytest.mark.parametrize("name", ["Net, 0.1 M", "ResNet-20", "ConvMixer-256/8"])
def test_layers_take_the_operations_that_torch_counts(name):
    model = NETWORKS[name]()
    assert sum(layer.flops for layer in layers(model, 4, 2)) == 4 * 2 * count_macs(model)
    in_bytes = layers(nn.Conv2d(3, 8, 3, padding=1, bias=False), 4, 2)[0].bytes
    assert in_bytes == 2 * (4 * 3 * 32 * 32 + 4 * 8 * 32 * 32 + 8 * 3 * 3 * 3)


def test_the_exponent_of_a_power_law():
    assert throughput.exponent({1: 3.0, 2: 12.0, 4: 48.0}) == pytest.approx(2)


def test_throughput_end_to_end(tmp_path, small):
    throughput.main(["--smoke", "--folder", str(tmp_path)])
    found = json.loads((tmp_path / "smoke" / "throughput.json").read_text())
    assert [line["batch"] for line in found["speeds"]] == [4, 8, 8]
    for line in found["speeds"]:
        assert line["training"]["peak_memory"] > line["inference"]["peak_memory"] > 0
    assert [line["against"] for line in found["growth"]] == ["images", "width", "batch"]
    assert (tmp_path / "smoke" / "throughput.md").read_text() == throughput_page(found)


def test_memory_that_runs_out_is_a_row_and_not_the_end(monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(throughput, "seconds_of", full)
    line = throughput.speed(tiny(), 4, Machine(1e9, 1e9, torch.float32), CPU, 0.0)
    assert line["failed"] == "out of memory"
    assert "out of memory | - | - | out of memory | - | - |" in throughput_page(
        {"machine": {"dtype": "", "flops": 1, "bandwidth": 1}, "hardware": "", "data": "", "torch": "", "date": "",
         "speeds": [{"network": "tiny", **line}], "loaders": [], "batch": 4, "growth": [],
         "loop": {"train": 1, "bare": 1, "overhead": 0, "repeats": 1, "steps": 1}})  # fmt: skip


def test_the_tutorials_loader_serves_the_training_split(splits):
    images, labels = next(iter(tutorial_loader(splits, batch_size=16, workers=0)))
    assert images.shape == (16, 3, 32, 32)
    assert images.dtype == torch.float32
    assert labels.max() < 3


# What stands in results/


@pytest.mark.parametrize(
    ("path", "page"),
    [(throughput.REPORT, throughput_page), (one_change.REPORT, one_change.page),
     (throughput.GPU_REPORT, throughput_page),
     (one_change.GPU_REPORT, one_change.page), (time_to_accuracy.GPU_REPORT, time_to_accuracy.table)],
    ids=lambda value: getattr(value, "name", ""))  # fmt: skip
def test_pages_are_of_what_was_measured(path, page):
    takes_a_gpu = path not in (throughput.REPORT, one_change.REPORT)
    if takes_a_gpu and not path.exists():
        pytest.skip("not measured on a GPU yet")
    assert path.with_suffix(".md").read_text() == page(json.loads(path.read_text())), "run it with --table"


@pytest.mark.parametrize(("path", "device"), [
    (accuracy_per_parameter.REPORT, "cpu"), (accuracy_per_parameter.GPU_REPORT, "cuda"),
])  # fmt: skip
def test_the_page_of_the_comparison_is_of_its_lines(path, device):
    if not path.exists():
        pytest.skip("not measured yet")
    expected = accuracy_per_parameter.page(read_json(path), accuracy_per_parameter.SECONDS[device])
    assert path.with_suffix(".md").read_text() == expected, "run it with --table"


def test_every_benchmark_is_in_the_readmes():
    folder = Path(throughput.__file__).parent
    readme = (folder / "README.md").read_text()
    runnable = [path.stem for path in folder.glob("*.py") if "__main__" in path.read_text()]
    assert [name for name in runnable if f"benchmarks.{name}" not in readme] == []
    for path in folder.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", sorted(Path(one_change.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_can_be_imported(path):
    assert importlib.import_module(f"benchmarks.{path.stem}").__doc__
