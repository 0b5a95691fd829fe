import json
import re

import pytest

from eva.course import evidence, worth
from eva.course.evidence import CHOOSING, EvidenceError, accuracies, of
from eva.course.studies import STUDIES
from eva.course.worth import NOTHING, ROWS, page
from eva.files import read_json


@pytest.fixture
def table():
    return worth()


def test_the_rows_name_networks_that_there_are():
    for row in ROWS:
        assert {row.network, row.against} <= STUDIES[row.study].networks.keys()


def measured():
    for row in ROWS:
        try:
            yield row, accuracies(row.study), of(row.study)
        except EvidenceError:
            continue


def test_points_and_prices_are_those_of_the_runs(table):
    rows = [*measured()]
    assert len(table.rows) == len(rows)
    for (row, found, runs), cells in zip(rows, table.rows, strict=True):
        mean = {name: sum(found[name]) / len(found[name]) for name in (row.network, row.against)}
        told = float(re.match(r"[+-]\d+\.\d", cells[2])[0])
        assert told == pytest.approx(100 * (mean[row.network] - mean[row.against]), abs=0.051)
        for price, cell in zip(("parameters", "macs"), cells[3:], strict=True):
            one, other = (runs[name][0]["key"][price] for name in (row.network, row.against))
            share = 0 if cell == "the same" else float(cell.removesuffix(" %"))
            assert share == pytest.approx(100 * (one / other - 1), abs=0.51)


def test_only_what_is_measured_has_a_row(tmp_path, monkeypatch):
    lines = [line for line in read_json(evidence.EVIDENCE) if line["key"]["study"] == "dilation"]
    path = tmp_path / "evidence.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(evidence, "EVIDENCE", path)
    assert {cells[0] for cells in worth().rows} == {"dilation", "a second pooling"}
    assert re.findall(r"### (.*)", page()) == ["Dilation"]
    path.write_text("")
    assert worth().rows == []
    assert worth().note == page() == NOTHING


def test_a_study_of_which_some_networks_have_no_run_yet_is_left_out(tmp_path, monkeypatch):
    lines = [line for line in read_json(evidence.EVIDENCE) if line["key"]["study"] == "dilation"]
    path = tmp_path / "evidence.jsonl"
    one = [line for line in lines if line["key"]["network"].startswith("late") or line["key"]["seed"] == CHOOSING]
    path.write_text("".join(json.dumps(line) + "\n" for line in one))
    monkeypatch.setattr(evidence, "EVIDENCE", path)
    assert page() == NOTHING
