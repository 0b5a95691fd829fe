import json
import logging
import math
import statistics

import pytest
import torch

from eva.course import ledger
from eva.course.ledger import LedgerError, difference, latest, read, record


def measured(step="plain", accuracies=(0.7, 0.72, 0.74), **other):
    return {
        "step": step,
        "data": "CIFAR-10 (toy)",
        "splits": {"train": 45_000, "validation": 5_000, "test": 10_000},
        "budget": "cpu",
        "recipe": {"epochs": 3},
        "seeds": list(range(len(accuracies))),
        "accuracies": list(accuracies),
        "test_accuracies": list(accuracies),
        "parameters": 1234,
        "macs": 5_600_000,
        "receptive_field": [40, 40],
        "seconds": 80.0,
        "peak_memory": 10**8,
        "hardware": "a toy",
        **other,
    }


def test_what_is_recorded_is_read_back_with_what_was_computed(path):
    line = record(path, **measured())
    assert read(path) == [line]
    assert line["accuracy"] == pytest.approx(0.72)
    assert line["accuracy_sd"] == pytest.approx(statistics.stdev([0.7, 0.72, 0.74]))
    assert line["versions"]["torch"] == torch.__version__
    assert set(line) == set(ledger.FIELDS)


def test_lines_are_added_and_the_last_of_a_step_counts(path):
    for accuracy in (0.5, 0.6):
        record(path, **measured(accuracies=[accuracy]))
    record(path, **measured(budget="gpu"))
    assert len(path.read_text().splitlines()) == 3
    assert latest(read(path), "cpu", "CIFAR-10 (toy)")["plain"]["accuracy"] == 0.6
    assert latest(read(path), "cpu", "other data") == {}


@pytest.mark.parametrize(("change", "words"), [
    ({"speed": 3}, "unknown: speed"),
    ({"seeds": [0]}, "one accuracy per seed, got 1 seeds, 3 accuracies, 3 test_accuracies"),
    ({"accuracies": [], "seeds": [], "test_accuracies": []}, "one accuracy per seed, got 0 seeds"),
])  # fmt: skip
def test_a_line_that_is_not_fit_is_refused_and_nothing_is_written(path, change, words):
    with pytest.raises(LedgerError, match=words):
        record(path, **measured(**change))
    incomplete = measured()
    del incomplete["macs"]
    with pytest.raises(LedgerError, match="missing: macs"):
        record(path, **incomplete)
    assert not path.exists()


def test_lines_that_cannot_be_read_are_named_by_number_and_left_alone(path, caplog):
    first = record(path, **measured())
    whole = path.read_text()
    path.write_text(f'{whole}{{"step": "cut o\n[1]\n{{"step": "x"}}')
    before = path.read_text()
    with caplog.at_level(logging.WARNING):
        assert read(path) == [first]
    words = [message.getMessage() for message in caplog.records]
    assert [word.split(" is left out")[0] for word in words] == [f"ledger.jsonl, line {n}" for n in (2, 3, 4)]
    assert "must be a JSON object, got list" in words[1]
    assert "missing: data" in words[2]
    second = record(path, **measured("batch norm"))
    assert path.read_text().startswith(before), "never rewritten"
    assert read(path) == [first, second], "the cut-off line did not swallow the new one"


def test_the_interval_holds_the_truth_in_95_of_100_cases():
    rng = torch.Generator().manual_seed(0)
    trials, inside = 4000, {2: 0, 3: 0, 5: 0}
    for seeds in inside:
        shared = torch.randn(trials, seeds, generator=rng, dtype=torch.float64)  # what a seed does to both steps
        pairs = torch.randn(2, trials, seeds, generator=rng, dtype=torch.float64) * 0.3 + shared
        for one, other in zip((pairs[0] + 2).tolist(), pairs[1].tolist(), strict=True):
            line, before = measured(accuracies=one), measured(accuracies=other)
            _, low, high = difference(line, before)
            inside[seeds] += low <= 2 <= high
    for count in inside.values():
        assert abs(count / trials - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)


def test_other_seeds_do_not_pair():
    with pytest.raises(LedgerError, match=r"seeds \[0, 1, 2\] and \[0, 1\] do not pair"):
        difference(measured(), measured(accuracies=(0.7, 0.8)))


def test_the_stored_ledger_can_be_read_whole():
    assert len(read()) == len(ledger.LEDGER.read_text().splitlines())
    for text in ledger.LEDGER.read_text().splitlines():
        assert json.loads(text)["revision"] not in ("unknown", "")
