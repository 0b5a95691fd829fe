import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eva import course
from eva.course import Guess, check_count_weights, check_cross_entropy, check_normalise, check_output_size, claim


@pytest.fixture
def told(capsys):
    return lambda: capsys.readouterr().out


@pytest.mark.parametrize("holds", [True, np.bool_(True), np.array(True), torch.tensor(True)])
def test_a_claim_that_holds(told, holds):
    claim("it holds", holds)
    assert told() == "✓  it holds\n"


@pytest.mark.parametrize("holds", [False, np.bool_(False), torch.tensor(False)])
def test_a_claim_that_does_not_hold(holds):
    with pytest.raises(AssertionError, match="does not hold: water is dry"):
        claim("water is dry", holds)


@pytest.mark.parametrize("holds", [1, 0.5, "yes", None, torch.tensor([True]), np.array([True, True]), torch.tensor(1)])
def test_a_claim_of_something_that_is_no_truth_value(holds):
    with pytest.raises(TypeError, match=r"expected a bool"):
        claim("x", holds)


def test_a_claim_that_needs_more_than_this_budget_never_passes(told, monkeypatch):
    monkeypatch.setenv("EVA_BUDGET", "smoke")
    claim("accurate", False, needs="cpu")
    assert told() == "–  not checked here (needs the cpu budget): accurate\n"
    monkeypatch.setenv("EVA_BUDGET", "gpu")
    with pytest.raises(AssertionError):
        claim("accurate", False, needs="cpu")
    with pytest.raises(ValueError, match=r"needs must be one of smoke, cpu, gpu, got 'lots'"):
        claim("x", True, needs="lots")


def test_the_budget_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("EVA_BUDGET", "cpu")
    assert course.budget() == "cpu"
    monkeypatch.setenv("EVA_BUDGET", "huge")
    with pytest.raises(ValueError, match=r"EVA_BUDGET must be one of .*got 'huge'"):
        course.budget()
    monkeypatch.delenv("EVA_BUDGET")
    assert course.budget() == ("cpu" if course.default_device().type == "cpu" else "gpu")


def test_a_guess_is_kept_and_scored(told):
    guess = Guess("How many?", unit="pixels", value=900)
    assert "Your guess: 900 pixels" in told()
    guess.reveal(961)
    assert told() == "How many? 961 pixels; you said 900 pixels, 61 pixels off: close enough.\n"
    guess.reveal(2000)
    assert "1,100 pixels off." in told()
    empty = Guess("How many?", value=None)
    assert "Write your guess in place of None" in told()
    empty.reveal(12345)
    assert "How many? 12,345." in told()


@pytest.mark.parametrize("value", ["7", True, [1]])
def test_a_guess_that_is_no_number(value):
    with pytest.raises(TypeError, match="must be a number"):
        Guess("How many?", value=value)


# Each check is tried on its solution and on wrong answers that it must reject with the right words.


def stub(*_):
    return ...


SOLUTIONS = [
    (check_normalise, lambda images, mean, std: (images / 255 - mean[:, None, None]) / std[:, None, None]),
    (check_output_size, lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride + 1),
    (check_count_weights, lambda inputs, outputs, kernel: outputs * (inputs * kernel * kernel + 1)),
    (check_cross_entropy, lambda logits, labels: -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()),
]


@pytest.mark.parametrize(("check", "solution"), SOLUTIONS)
def test_each_check_takes_the_solution_and_greets_the_stub(check, solution, told):
    check(solution)
    assert told().startswith("Right, on ")
    check(stub)
    assert "Not yet: `stub` returned nothing." in told()


def raises(*_):
    raise RuntimeError("oh")


WRONG = [
    (check_normalise, raises, "stopped with RuntimeError: oh"),
    (check_normalise, lambda images, mean, std: (images - mean[:, None, None]) / std[:, None, None], "by 255 first"),
    (check_normalise, lambda images, mean, std: images / 255 - mean[:, None, None], "the spread is not 1 yet"),
    (check_normalise, lambda i, mean, std: (i / 255 - mean[:, None, None]) / std[:, None, None] ** 2, "the variance"),
    (check_normalise, lambda images, mean, std: (images / 255 - mean) / std, "Error: The size of tensor"),
    (check_normalise, lambda images, mean, std: images.numpy(), "must return a tensor, and returned ndarray"),
    (check_normalise, lambda images, mean, std: images[0] / 255, "must return the shape"),
    (check_normalise, lambda i, mean, std: (i / 255 - mean.mean()) / std.mean(), "each pixel's own channel"),
    (check_output_size, lambda size, kernel, stride, padding: (size + padding - kernel) // stride + 1, "both sides"),
    (check_output_size, lambda size, kernel, stride, padding: (size + 2 * padding - kernel) / stride + 1, "round down"),
    (
        check_output_size,
        lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride,
        "first position",
    ),
    (check_output_size, lambda size, kernel, stride, padding: size, "A "),
    (check_output_size, lambda *_: "5", "must return a number, and returned str"),
    (check_count_weights, lambda inputs, outputs, kernel: outputs * inputs * kernel**2, "has a bias too"),
    (check_count_weights, lambda inputs, outputs, kernel: outputs * kernel**2 + outputs, "for each of the"),
    (check_count_weights, lambda inputs, outputs, kernel: inputs * outputs * kernel, "the kernel is a square"),
    (check_count_weights, lambda inputs, outputs, kernel: 7, "parameters, not 7"),
    (check_cross_entropy, lambda logits, labels: F.cross_entropy(logits.softmax(1), labels), "softmax twice"),
    (check_cross_entropy, lambda logits, labels: -F.cross_entropy(logits, labels), "the sign is wrong"),
    (check_cross_entropy, lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"), "is the sum over"),
    (check_cross_entropy, lambda logits, labels: F.cross_entropy(logits, labels) + 1, "came out as"),
    (check_cross_entropy, lambda logits, labels: logits, "must return a number, and returned Tensor"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_wrong_answers_are_rejected_with_the_right_words(check, answer, message, told):
    check(answer)
    out = told()
    assert out.startswith("Not yet: ")
    assert message in out
