import pytest
import torch

from eva.budget import budget


def test_the_budget_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("EVA_BUDGET", "cpu")
    assert budget() == "cpu"
    monkeypatch.setenv("EVA_BUDGET", "huge")
    with pytest.raises(ValueError, match=r"EVA_BUDGET must be one of .*got 'huge'"):
        budget()
    monkeypatch.delenv("EVA_BUDGET")
    assert budget() == ("gpu" if torch.cuda.is_available() or torch.backends.mps.is_available() else "cpu")
    assert budget(torch.device("cpu")) == "cpu"
    assert budget(torch.device("cuda")) == "gpu"
