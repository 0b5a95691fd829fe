import json

import pytest

from eva import __main__ as cli
from eva import checkpoint
from tools import ship


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.setattr(ship, "TARGET", tmp_path / "shipped.pt")
    monkeypatch.setattr(ship, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("before\n<!--promise-->\nold\n<!--/promise-->\nafter\n")
    return tmp_path / "shipped.pt"


def test_a_run_is_shipped_with_its_report_and_curve_and_without_its_state(target, tmp_path, image_folder):
    run = tmp_path / "run"
    assert cli.main(["train", "--recipe", "smoke", "--data", str(image_folder), "--out", str(run)]) == 0
    assert ship.main([str(run)]) == 0
    card, report = checkpoint.load(target), json.loads((run / "report.json").read_text())
    assert card.training is None
    assert {name: card.results[name] for name in report} == report
    assert [row["epoch"] for row in card.results["rows"]] == [1, 2]
    assert card.results["rows"][-1]["validation_accuracy"] == report["validation_accuracy"]
    assert checkpoint.restore(card).arguments == checkpoint.load(run / "model.pt").arguments
    readme = (tmp_path / "README.md").read_text()
    assert f"**{report['parameters']:,} parameters, {100 * report['test_accuracy']:.1f} % of the test images" in readme
    assert "train --recipe smoke --epochs 2 --seed 0` on " in readme
    assert readme.startswith("before\n")
    assert readme.endswith("after\n")


def test_a_network_that_is_too_large_is_not_shipped(target, tmp_path, capsys, image_folder, monkeypatch):
    run = tmp_path / "run"
    cli.main(["train", "--recipe", "smoke", "--data", str(image_folder), "--out", str(run)])
    monkeypatch.setattr(ship, "LARGEST", 10_000)
    assert ship.main([str(run)]) == 1
    assert "and 10,000 may be shipped: train a narrower Net" in capsys.readouterr().err
    assert not target.exists()
    assert "old" in (tmp_path / "README.md").read_text()


def test_a_run_that_is_not_finished_is_not_shipped(target, tmp_path, capsys, image_folder):
    run = tmp_path / "run"
    cli.main(["train", "--recipe", "smoke", "--data", str(image_folder), "--out", str(run)])
    (run / "report.json").unlink()
    assert ship.main([str(run)]) == 1
    assert "has no report: let `python -m eva train` finish it first" in capsys.readouterr().err
    assert not target.exists()
