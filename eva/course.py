"""What only the notebooks use: claims that are checked, guesses that are scored, exercises that answer."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva.device import default_device
from eva.recipes import BUDGETS, default_recipe


def budget() -> str:
    """How much to run: EVA_BUDGET, or "gpu" where there is one and "cpu" otherwise. It changes amounts, never code."""
    return default_recipe(default_device())


def claim(text: str, holds: Any, needs: str = "smoke") -> None:
    """State in a notebook what its prose says, and check it.

    `holds` is a bool, or a 0-d boolean array or tensor. `needs` is the smallest budget at which it can be checked;
    below that it shows as not checked, never as passed. Raises AssertionError where it does not hold, TypeError where
    `holds` is not a truth value (a forgotten comparison), ValueError for a budget that does not exist.
    """
    if needs not in BUDGETS:
        raise ValueError(f"needs must be one of {', '.join(BUDGETS)}, got {needs!r}")
    if getattr(holds, "shape", None) == () and str(getattr(holds, "dtype", "")).endswith("bool"):
        holds = bool(holds)
    if not isinstance(holds, bool):
        raise TypeError(f"a claim holds or does not: expected a bool, got {type(holds).__name__} {holds!r}")
    if BUDGETS.index(budget()) < BUDGETS.index(needs):
        print(f"–  not checked here (needs the {needs} budget): {text}")
        return
    if not holds:  # no assert: python -O would pass over it
        raise AssertionError(f"this claim does not hold: {text}")
    print(f"✓  {text}")


class Guess:
    """A prediction, written down before the truth is run. Run All never waits for one."""

    def __init__(self, question: str, unit: str = "", value: float | None = None) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"value must be a number, got {value!r}: write it without its unit")
        self.question, self.unit, self.value = question, unit, value
        said = "Write your guess in place of None." if value is None else f"Your guess: {self._told(value)}."
        print(f"{question} {said}")

    def reveal(self, truth: float) -> None:
        """Show the truth beside the guess, and by how much they differ."""
        if self.value is None:
            print(f"{self.question} {self._told(truth)}. (no guess)")
            return
        difference = abs(self.value - truth)
        print(
            f"{self.question} {self._told(truth)}; you said {self._told(self.value)}, {self._told(difference)} "
            + ("off: close enough." if difference <= 0.1 * abs(truth) else "off.")
        )

    def _told(self, value: float) -> str:
        return f"{value:,.4g} {self.unit}".strip() if abs(value) < 1e4 else f"{value:,.0f} {self.unit}".strip()


class _Wrong(Exception):
    """What is wrong with a learner's answer, in words for the learner."""


def _exercise(
    trial: Callable[[Callable, torch.Generator], None], trials: int, right: str
) -> Callable[[Callable], None]:
    """Make a check of `trial`, which asks a learner's function one random question and raises _Wrong."""

    def check(answer: Callable) -> None:
        rng = torch.Generator().manual_seed(0)
        try:
            for _ in range(trials):
                trial(answer, rng)
        except _Wrong as wrong:
            print(f"Not yet: {wrong}")
        except Exception as error:  # the learner's code, or what it did to ours: either way theirs to mend
            print(f"Not yet: `{answer.__name__}` stopped with {type(error).__name__}: {error}")
        else:
            print(f"Right, {right}.")

    check.__doc__ = f"Try a learner's function {right}; print what is wrong with it, or that it is right."
    return check


def _tensor(answer: Callable, value: Any, shape: tuple[int, ...]) -> Tensor:
    name = answer.__name__
    if value is None or value is Ellipsis:
        raise _Wrong(f"`{name}` returned nothing.")
    if not isinstance(value, Tensor):
        raise _Wrong(f"`{name}` must return a tensor, and returned {type(value).__name__}.")
    if tuple(value.shape) != shape:
        raise _Wrong(f"`{name}` must return the shape {shape} here, and returned {tuple(value.shape)}.")
    return value


def _number(answer: Callable, value: Any) -> float:
    if value is None or value is Ellipsis:
        raise _Wrong(f"`{answer.__name__}` returned nothing.")
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(f"`{answer.__name__}` must return a number, and returned {type(value).__name__}.")
    return value


def _random(rng: torch.Generator, low: int, high: int) -> int:
    """An integer from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-4)


def _try_normalise(answer: Callable, rng: torch.Generator) -> None:
    count, height, width = (_random(rng, 2, 9) for _ in range(3))
    images = torch.randint(0, 256, (count, 3, height, width), generator=rng, dtype=torch.uint8)
    mean, std = torch.rand(3, generator=rng) * 0.4 + 0.3, torch.rand(3, generator=rng) * 0.2 + 0.1
    out = _tensor(answer, answer(images, mean, std), tuple(images.shape))
    shaped_mean, shaped_std = mean.view(3, 1, 1), std.view(3, 1, 1)
    if _close(out, (images - shaped_mean) / shaped_std):
        raise _Wrong("the bytes go up to 255 and the mean is a fraction: divide the images by 255 first.")
    if _close(out, images / 255 - shaped_mean):
        raise _Wrong("the mean is gone, but the spread is not 1 yet: divide by the standard deviation.")
    if _close(out, (images / 255 - shaped_mean) / shaped_std**2):
        raise _Wrong("that divides by the variance: the standard deviation is its root, and is what you were given.")
    if not _close(out, (images / 255 - shaped_mean) / shaped_std):
        raise _Wrong("the values differ from (image / 255 - mean) / std of each pixel's own channel.")


check_normalise = _exercise(_try_normalise, 10, "on 10 random batches")


def _try_output_size(answer: Callable, rng: torch.Generator) -> None:
    kernel, stride, size = _random(rng, 1, 5), _random(rng, 1, 3), _random(rng, 6, 40)
    padding = 6 * _random(
        rng, 0, 1
    )  # with less, some wrong formulas agree by chance, and the hint would be a wrong one
    truth = F.conv2d(torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel), None, stride, padding).shape[-1]
    said = _number(answer, answer(size, kernel, stride, padding))
    if not isinstance(said, int):
        raise _Wrong(
            f"`{answer.__name__}` returned {said!r}: a step that does not fit is left out, so round down, with //."
        )
    if said == truth:
        return
    setting = f"A {kernel}x{kernel} kernel with stride {stride} and padding {padding} makes {truth} of {size} pixels"
    if said == (size + 2 * padding - kernel) // stride:
        raise _Wrong(f"{setting}, not {said}: the first position counts too, before any step.")
    if said == (size + padding - kernel) // stride + 1:
        raise _Wrong(f"{setting}, not {said}: padding goes on both sides.")
    raise _Wrong(f"{setting}, not {said}.")


check_output_size = _exercise(_try_output_size, 40, "on 40 random kernels, strides, paddings and sizes")


def _try_count_weights(answer: Callable, rng: torch.Generator) -> None:
    inputs, outputs, kernel = _random(rng, 2, 64), _random(rng, 2, 64), _random(rng, 2, 7)
    layer = nn.Conv2d(inputs, outputs, kernel)
    truth = sum(parameter.numel() for parameter in layer.parameters())
    said = _number(answer, answer(inputs, outputs, kernel))
    setting = f"nn.Conv2d({inputs}, {outputs}, {kernel}) has {truth:,} parameters, not {said:,}"
    if said == truth - outputs:
        raise _Wrong(f"{setting}: each output map has a bias too.")
    if said in (outputs * kernel**2, outputs * kernel**2 + outputs):
        raise _Wrong(f"{setting}: each output map has a kernel for each of the {inputs} input maps.")
    if said in (inputs * outputs * kernel, inputs * outputs * kernel + outputs):
        raise _Wrong(f"{setting}: the kernel is a square.")
    if said != truth:
        raise _Wrong(f"{setting}.")


check_count_weights = _exercise(_try_count_weights, 40, "on 40 random layers")


def _try_cross_entropy(answer: Callable, rng: torch.Generator) -> None:
    count, classes = _random(rng, 2, 9), _random(rng, 3, 12)
    logits = torch.randn(count, classes, generator=rng) * 4
    labels = torch.randint(0, classes, (count,), generator=rng)
    said = torch.as_tensor(_number(answer, answer(logits, labels)))
    truth = F.cross_entropy(logits, labels)
    if _close(said, F.cross_entropy(logits.softmax(1), labels)):
        raise _Wrong("that applies softmax twice: log_softmax wants the raw logits. This mistake trains, only badly.")
    if _close(said, -truth):
        raise _Wrong("the sign is wrong: a loss falls when the right class becomes more likely.")
    if _close(said, truth * count):
        raise _Wrong("that is the sum over the images: the loss is their mean, so that batches of any size compare.")
    if not _close(said, truth):
        raise _Wrong(f"the loss of a random batch came out as {said:.4f} and should be {truth:.4f}.")


check_cross_entropy = _exercise(_try_cross_entropy, 20, "on 20 random batches")
