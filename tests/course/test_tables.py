import pytest
import torch

from eva.course import ladder, ledger, table
from eva.course.ledger import LedgerError, latest, read, record
from tests.course.test_ledger import measured


@pytest.fixture
def lines(path):
    record(path, **measured("plain", (0.70, 0.72, 0.74)))
    record(path, **measured("batch norm", (0.80, 0.821, 0.842), parameters=99_999))
    record(path, **measured("dropout", (0.81, 0.80, 0.85), macs=7_000_000))
    return latest(read(path), "cpu", "CIFAR-10 (toy)")


def test_the_table_says_what_each_step_cost_and_gained(lines):
    rows = table(lines).rows
    assert [row[0] for row in rows] == ["plain", "batch norm", "dropout"]
    assert rows[0][1:] == ("1,234", "5.6", "40", "80", "72.0 ± 2.0", "")
    assert rows[1][1] == "99,999"
    assert rows[1][-1] == "+10.1 (+9.9 to +10.3)"  # 10.0, 10.1, 10.2 points: 10.1 ± 4.303 * 0.1 / sqrt(3)
    assert rows[2][2] == "7.0"
    assert "no difference that could be measured" in rows[2][-1]


def test_the_table_in_markdown_and_html(lines):
    text = str(table(lines, upto="batch norm"))
    assert text.count("\n|") == 3
    assert "dropout" not in text
    assert "CIFAR-10 (toy), 45,000 training" in text
    assert "a toy" in text
    html = table({"plain": {**lines["plain"], "hardware": "<b>"}})._repr_html_()
    assert html.count("<tr>") == 2
    assert "&lt;b&gt;" in html


def test_with_one_seed_there_is_no_interval(path):
    for step, accuracy in (("plain", 0.5), ("Net", 0.6)):
        record(path, **measured(step, [accuracy]))
    assert table(latest(read(path), "cpu", "CIFAR-10 (toy)")).rows[1][-1] == "+10.0 (one seed)"


@pytest.mark.parametrize("name", ["data", "hardware", "recipe"])
def test_what_was_not_measured_alike_is_not_compared(lines, name):
    lines["dropout"] = {**lines["dropout"], name: "other"}
    with pytest.raises(LedgerError, match=f"{name} of 'dropout' is 'other'"):
        table(lines)


def test_a_table_of_nothing_and_of_a_step_that_is_not_there(lines, path):
    assert "python -m eva ledger" in str(table(latest(read(path.parent / "none.jsonl"), "cpu", "x")))
    with pytest.raises(LedgerError, match="'Net' is not measured: the ledger has 'plain', 'batch norm'"):
        table(lines, upto="Net")


def test_the_reference_is_what_was_climbed_furthest(path, monkeypatch):
    monkeypatch.setattr(ledger, "read", lambda: read(path))
    assert ladder().rows == []
    for step in ("plain", "batch norm"):
        record(path, **measured(step))
        record(path, **measured(step, data="Shapes-10"))
    record(path, **measured("plain", budget="gpu", hardware="a gpu"))
    assert len(ladder().rows) == 2
    record(path, **measured("batch norm", budget="gpu", hardware="a gpu"))
    assert "a gpu" in ladder().note
    record(path, **measured("plain", budget="gpu", hardware="another gpu"))
    assert "a gpu" in ladder().note, "one that was begun elsewhere does not mix with it"


def test_the_note_names_every_version_of_pytorch(lines):
    lines["dropout"] = {**lines["dropout"], "versions": {**lines["dropout"]["versions"], "torch": "9.9.9"}}
    assert f"PyTorch {torch.__version__} and 9.9.9, " in table(lines).note
    assert "9.9.9" not in table(lines, upto="batch norm").note
