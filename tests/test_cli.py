import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

import eva
from eva import __main__ as cli
from eva import checkpoint
from eva.__main__ import _run_folder, main
from eva.course import ledger
from eva.course.climb import PLANS
from eva.course.studies import STUDIES, Study
from eva.model import IDEAS, Rung
from eva.recipes import Recipe
from eva.training.run import _Run


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_train_leaves_a_report_metrics_a_model_and_curves(image_folder, tmp_path, capsys):
    assert main(["train", "--recipe", "smoke", "--data", str(image_folder), "--out", "run", "--device", "cpu"]) == 0
    out = tmp_path / "run"
    report = json.loads((out / "report.json").read_text())
    assert report["data"] == "images (image folder)"
    assert report["split_sizes"] == {"train": 22, "validation": 2, "test": 4}
    assert report["epochs"] == len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert 0 <= report["test_accuracy"] <= 1
    assert report["seconds"] > 0
    assert report["recipe"]["name"] == "smoke"
    assert report["versions"]["torch"] == str(torch.__version__)
    saved = checkpoint.load(out / "model.pt")
    assert saved.results == {key: report[key] for key in ("validation_accuracy", "test_accuracy")}
    with Image.open(out / "curves.png") as image:
        assert image.width > 500
    assert "test accuracy" in capsys.readouterr().out

    photo = image_folder / "test" / "zebra" / "0.png"
    assert main(["predict", "--model", str(out / "model.pt"), str(photo), str(photo)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith(f"{photo}: ")
    assert "teapot" in first
    assert "zebra" in first


def test_training_does_not_need_matplotlib(image_folder, tmp_path):
    """On a bare GPU machine only torch, torchvision, numpy and tqdm are there."""
    script = (
        "import sys\n"
        "for name in ('matplotlib', 'ipywidgets', 'IPython', 'torchsummary'): sys.modules[name] = None\n"
        "from eva.__main__ import main\n"
        "sys.exit(main(['train', '--recipe', 'smoke', '--epochs', '1', '--data', sys.argv[1], '--out', 'run']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(image_folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no curves.png: " in done.stdout
    assert (tmp_path / "run" / "report.json").exists()


def test_resume_goes_on_with_the_newest_run(image_folder, capsys):
    arguments = ["train", "--recipe", "smoke", "--data", str(image_folder), "--device", "cpu"]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0
    assert "epoch" not in capsys.readouterr().out.split("\n", 1)[1], "all its epochs were done already"


def test_one_line_begins_goes_on_and_ends_at_once(image_folder, capsys, caplog, monkeypatch):
    """What a scheduler repeats until it succeeds."""
    line = ["train", "--recipe", "smoke", "--data", str(image_folder), "--device", "cpu", "--out", "run", "--resume"]
    caplog.set_level("INFO")
    with monkeypatch.context() as patch:
        patch.setattr("eva.training.run.train", interrupted)
        assert main(line) == 130
    assert "there is no run in run to go on with yet: it begins now" in caplog.text
    with monkeypatch.context() as patch:
        saved = _Run.save
        patch.setattr("eva.training.run._Run.save", lambda run, *rest: (saved(run, *rest), interrupted()))
        assert main(line) == 130
    assert main(line) == 0
    result = capsys.readouterr().out.splitlines()[-1]
    report = (Path("run") / "report.json").read_bytes()
    monkeypatch.setattr("eva.__main__.test", lambda *_, **__: pytest.fail("tested again"))
    assert main(line) == 0
    assert capsys.readouterr().out.splitlines()[-1] == result
    assert (Path("run") / "report.json").read_bytes() == report


def started(folder, *options):
    """`python -m eva train` on a folder of images, in a process of its own."""
    command = [sys.executable, "-m", "eva", "train", "--recipe", "smoke", "--device", "cpu", "--data", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(eva.__file__).parent.parent)}
    return subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True)


def test_four_runs_in_one_second_have_four_folders(image_folder):
    runs = [started(image_folder, "--seed", str(seed)) for seed in range(4)]
    assert [(run.communicate(), run.returncode)[1] for run in runs] == [0] * 4
    reports = [json.loads(path.read_text()) for path in Path("runs").glob("*/report.json")]
    assert sorted(report["seed"] for report in reports) == [0, 1, 2, 3]


def test_folders_of_the_same_second_differ(monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls):
            return datetime(2026, 11, 26, 8, 0, 0)

    monkeypatch.setattr("eva.__main__.datetime", Stopped)
    folders = [_run_folder(None, resume=False) for _ in range(3)]
    assert [folder.name for folder in folders] == ["2026-11-26-080000", "2026-11-26-080000-2", "2026-11-26-080000-3"]


def test_resume_without_any_run_begins_one(image_folder, capsys):
    assert main(["train", "--recipe", "smoke", "--data", str(image_folder), "--device", "cpu", "--resume"]) == 0
    (report,) = Path("runs").glob("*/report.json")
    assert json.loads(report.read_text())["seed"] == 0


def test_two_runs_with_one_out_are_one_run_and_a_refusal(image_folder):
    runs = [started(image_folder, "--out", "run", "--seed", str(seed)) for seed in range(2)]
    errors = [run.communicate()[1] for run in runs]
    statuses = [run.returncode for run in runs]
    assert sorted(statuses) == [0, 1]
    refusal = errors[statuses.index(1)]
    assert "error: run is being written by a run" in refusal or "error: run holds a run already" in refusal
    report = json.loads((Path("run") / "report.json").read_text())
    assert report["seed"] == statuses.index(0)
    saved = checkpoint.load(Path("run") / "model.pt")
    assert saved.training["settings"]["seed"] == statuses.index(0)


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_ctrl_c_says_how_to_go_on_and_that_works(image_folder, capsys, monkeypatch):
    arguments = ["train", "--recipe", "smoke", "--data", str(image_folder), "--out", "run"]
    with monkeypatch.context() as patch:
        patch.setattr("eva.training.run.train", interrupted)
        assert main(arguments) == 130
        assert "nothing to go on from" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(
            "eva.training.run._Run.save", lambda run, *rest, save=_Run.save: (save(run, *rest), interrupted())
        )
        assert main(arguments) == 130
    assert f"eva train --recipe smoke --data {image_folder} --out run --resume" in capsys.readouterr().out
    assert main([*arguments, "--resume"]) == 0
    assert len((Path("run") / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "error: EVA_DATA or --data names nowhere, which is not a folder"),
        (["train", "--epochs", "0"], "error: --epochs must be at least 1, got 0"),
        (["train", "--device", "quantum"], "error: --device quantum cannot be used here"),
        (["predict", "--model", "no.pt", "a.png"], "error: no.pt does not exist"),
        (["predict", "a.png"], "error: a.png cannot be read as an image"),
        (["data", "--data", "DATA", "--jpeg", "DATA"], "is not empty: name a new folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, message, image_folder, capsys):
    arguments = [str(image_folder) if argument == "DATA" else argument for argument in arguments]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_ctrl_c_elsewhere_and_a_misspelt_budget(image_folder, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("eva.data.load", interrupted)
        assert main(["data"]) == 130
    monkeypatch.setenv("EVA_BUDGET", "Smoke")
    assert main(["data", "--data", str(image_folder)]) == 1
    assert "EVA_BUDGET must be one of smoke, cpu, gpu, got 'Smoke'" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_gpu(capsys):
    assert main(["train", "--device", "cuda"]) == 1
    assert "error: --device cuda cannot be used here" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_in_other_scripts_than_the_terminals_are_escaped(tmp_path, image_folder, encoding):
    (image_folder / "train" / "zebra").rename(image_folder / "train" / "斑马 $x_1$")
    (image_folder / "test" / "zebra").rename(image_folder / "test" / "斑马 $x_1$")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(eva.__file__).parent.parent)}
    command = [sys.executable, "-m", "eva", "data", "--data", str(image_folder)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("斑马" if encoding == "utf-8" else r"\u6591\u9a6c") in done.stdout.decode(encoding)


def test_a_folder_with_a_run_is_not_written_over(image_folder, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_text("precious")
    assert main(["train", "--data", str(image_folder), "--out", "run"]) == 1
    assert "run holds a run already: resume it (--resume" in capsys.readouterr().err
    assert (tmp_path / "run" / "model.pt").read_text() == "precious"


def test_data_says_what_and_where(image_folder, capsys):
    assert main(["data", "--data", str(image_folder), "--jpeg", "copy"]) == 0
    out = capsys.readouterr().out
    assert f"images (image folder) from {image_folder}: train 22, validation 2, test 4 images of 2 classes" in out
    assert "EVA_DATA=copy" in out


def test_the_shipped_network_predicts(image_folder, capsys):
    photo = image_folder / "test" / "zebra" / "0.png"
    assert main(["predict", str(photo)]) == 0
    assert "%" in capsys.readouterr().out


def test_the_ladder_at_the_smoke_budget_leaves_the_repositorys_ledger_alone(tmp_path, monkeypatch, capsys):
    before = ledger.LEDGER.read_text()
    monkeypatch.setattr("eva.course.climb.LADDER", {"plain": Rung})
    monkeypatch.setitem(PLANS, "smoke", replace(PLANS["smoke"], images=32))
    assert main(["ledger", "--seeds", "1", "--device", "cpu"]) == 0
    assert "| plain | 189,642 |" in capsys.readouterr().out
    assert len((tmp_path / "runs" / "ladder-smoke.jsonl").read_text().splitlines()) == 1
    assert ledger.LEDGER.read_text() == before
    assert main(["ledger", "--seeds", "0"]) == 1
    assert "--seeds must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["CIFAR-10 (toy)", "teapots"])
def test_the_ladder_refreshes_the_readme_and_its_figure_where_it_was_cifar(name, tmp_path, monkeypatch, splits):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!--ladder-->\nold\n<!--/ladder-->\nb\n")
    path = tmp_path / "results" / "ledger.jsonl"
    read = ledger.read
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    monkeypatch.setattr(ledger, "LEDGER", path)
    monkeypatch.setattr(ledger, "read", lambda chosen=path: read(chosen))
    monkeypatch.setattr("eva.course.climb.LADDER", {"plain": Rung})
    monkeypatch.setattr("eva.data.load", lambda folder: replace(splits, name=name))
    monkeypatch.setitem(PLANS, "cpu", replace(PLANS["smoke"], images=32, seeds=1))
    monkeypatch.setenv("EVA_BUDGET", "cpu")
    assert main(["ledger", "--device", "cpu"]) == 0
    assert len(read(path)) == 1
    assert ("| plain | 160,963 |" in readme.read_text()) == (name != "teapots")  # for three classes
    assert (path.parent / "ladder.png").exists() == (name != "teapots")
    assert readme.read_text().startswith("a\n<!--ladder-->\n")


def test_the_evidence_is_made_once(image_folder, tmp_path, monkeypatch, capsys):
    small = Recipe(epochs=1, sizes=(8,))
    toy = Study({"Rung": partial(Rung, *IDEAS)}, against="Rung", recipe=small, images=16, seeds=1, rates=(0.03, 0.1))
    monkeypatch.setitem(STUDIES, "toy", toy)
    monkeypatch.setattr(cli, "EVIDENCE", tmp_path / "results" / "evidence.jsonl")
    monkeypatch.setattr(cli, "page", lambda: "the tables")
    monkeypatch.setattr(cli, "worth", lambda: "what it is worth")
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!--worth-->\n<!--/worth-->\n<!--evidence-->\n<!--/evidence-->\nb\n")
    asked = ["evidence", "--only", "toy", "--data", str(image_folder), "--device", "cpu"]
    assert main(asked) == main(asked) == 0
    out = capsys.readouterr().out
    assert "3 runs made" in out
    assert "0 runs made" in out
    assert len((tmp_path / "results" / "evidence.jsonl").read_text().splitlines()) == 3
    assert readme.read_text() == (
        "a\n<!--worth-->\nwhat it is worth\n<!--/worth-->\n<!--evidence-->\nthe tables\n<!--/evidence-->\nb\n"
    )
