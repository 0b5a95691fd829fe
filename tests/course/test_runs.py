import pytest

from eva.course.runs import Runs


def test_a_run_is_found_by_its_key_in_a_later_call_too(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"
    runs = Runs(path)
    assert runs.find({"seed": 0}) is None
    added = runs.add({"seed": 0, "sizes": (16, 32)}, {"accuracy": 0.5})
    assert added["accuracy"] == 0.5
    for again in (runs, Runs(path)):
        assert again.find({"sizes": (16, 32), "seed": 0}) == added
        assert again.find({"sizes": (16, 32), "seed": 1}) is None


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_run_that_was_cut_off_is_made_again_and_the_others_stay(tmp_path, cut, caplog):
    path = tmp_path / "runs.jsonl"
    for seed in (0, 1):
        Runs(path).add({"seed": seed}, {"accuracy": seed / 10})
    path.write_bytes(path.read_bytes()[:-cut])
    runs = Runs(path)
    kept = cut == 1  # only the line's end is missing
    assert (runs.find({"seed": 1}) is not None) == kept
    assert ("line 2 is left out" in caplog.text) != kept
    runs.add({"seed": 2}, {"accuracy": 0.2})
    assert [Runs(path).find({"seed": seed}) is not None for seed in (0, 1, 2)] == [True, kept, True]


def test_fresh_forgets(tmp_path):
    path = tmp_path / "runs.jsonl"
    Runs(path).add({"seed": 0}, {})
    assert Runs(path, fresh=True).find({"seed": 0}) is None
    assert not path.exists()
