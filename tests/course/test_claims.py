import numpy as np
import pytest
import torch

from eva.course import claim


@pytest.fixture
def printed(capsys):
    return lambda: capsys.readouterr().out


@pytest.mark.parametrize("holds", [True, np.bool_(True), np.array(True), torch.tensor(True)])
def test_a_claim_that_holds(printed, holds):
    claim("it holds", holds)
    assert printed() == "✓  it holds\n"


@pytest.mark.parametrize("holds", [False, np.bool_(False), torch.tensor(False)])
def test_a_claim_that_does_not_hold(holds):
    with pytest.raises(AssertionError, match="does not hold: water is dry"):
        claim("water is dry", holds)


@pytest.mark.parametrize("holds", [1, 0.5, "yes", None, torch.tensor([True]), np.array([True, True]), torch.tensor(1)])
def test_a_claim_of_something_that_is_no_truth_value(holds):
    with pytest.raises(TypeError, match=r"expected a bool"):
        claim("x", holds)


def test_a_claim_that_needs_more_than_this_budget_never_passes(printed, monkeypatch):
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    claim("accurate", False, needs="cpu")
    assert printed() == "–  not checked here (needs the cpu budget): accurate\n"
    monkeypatch.setenv("EVA_BUDGET", "gpu")
    with pytest.raises(AssertionError):
        claim("accurate", False, needs="cpu")
    with pytest.raises(ValueError, match=r"needs must be one of smoke, cpu, gpu, got 'lots'"):
        claim("x", True, needs="lots")


def test_claims_are_counted_for_the_test_run(printed, monkeypatch, tmp_path):
    monkeypatch.setenv("EVA_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    claim("one", True)
    claim("two", True, needs="cpu")
    with pytest.raises(AssertionError):
        claim("three", False)
    assert (tmp_path / "claims").read_text().split() == ["checked", "unchecked", "failed"]
