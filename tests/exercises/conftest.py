import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """A thousand tiny convolutions: on a busy machine, threads that wait for each other take seconds over them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def verdict(capsys):
    """What a check prints of a function."""

    def verdict(check, function):
        check(function)
        return capsys.readouterr().out

    return verdict


@pytest.fixture
def refused(verdict):
    """Asserts that a check refuses a function with the right words."""

    def refused(check, function, words):
        printed = verdict(check, function)
        assert printed.startswith("Not yet: ")
        assert words in printed

    return refused
