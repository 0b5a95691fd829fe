"""The exercises of notebook 12. Each check says what a wrong answer forgot. PyTorch and NumPy are the truth."""

import math
from collections.abc import Callable

import numpy
import torch
from torch import nn

from eva.exercises.grading import Wrong, a_number, a_random, exercise


def _try_training_bytes(answer: Callable, rng: torch.Generator) -> None:
    inputs, outputs, batch = a_random(rng, 5, 40), a_random(rng, 5, 40), a_random(rng, 2, 64)
    layer = nn.Linear(inputs, outputs)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    kept = torch.zeros(batch, a_random(rng, 100, 4000))  # an activation, of all images
    layer(torch.zeros(batch, inputs)).sum().backward()
    optimizer.step()
    weights = list(layer.parameters())
    velocities = [optimizer.state[weight]["momentum_buffer"] for weight in weights]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    truth = sum(tensor.nbytes for tensor in [*weights, *gradients, *velocities, kept])

    parameters, activations = sum(weight.numel() for weight in weights), kept.shape[1]
    said = a_number(answer, answer(parameters, activations, batch))
    if said == truth:
        return
    setting = (
        f"{parameters:,} parameters and {activations:,} activations an image, {batch} images: "
        f"{truth:,} bytes, not {said:,}"
    )
    images = batch * activations
    if said == 3 * parameters + images:
        raise Wrong(f"{setting}: that counts numbers. A float32 has 4 bytes.")
    if said in (8 * (3 * parameters + images), 2 * (3 * parameters + images)):
        raise Wrong(f"{setting}: a float32 has 4 bytes, 32 bits of 8 each.")
    if said == 4 * (3 * parameters + activations):
        raise Wrong(f"{setting}: the activations are kept for each image of the batch.")
    if said == 4 * batch * (3 * parameters + activations):
        raise Wrong(f"{setting}: weights, gradients and velocities are there once, whatever the batch.")
    if said == 4 * (parameters + images):
        raise Wrong(f"{setting}: each parameter has a gradient and a velocity beside its weight.")
    if said == 4 * (2 * parameters + images):
        raise Wrong(f"{setting}: two numbers a parameter, and there are three: weight, gradient and velocity.")
    if said == 4 * (4 * parameters + images):
        raise Wrong(f"{setting}: four numbers a parameter would be Adam's; momentum keeps one, the velocity.")
    if said == 12 * parameters:
        raise Wrong(f"{setting}: the activations are missing.")
    if said == 4 * images:
        raise Wrong(f"{setting}: weights, gradients and velocities are missing.")
    if said == 12 * (parameters + images):
        raise Wrong(f"{setting}: an activation has no velocity; only what belongs to a parameter is there three times.")
    raise Wrong(f"{setting}.")


check_training_bytes = exercise(_try_training_bytes, 20, "on 20 random layers")


def _try_predict_error(answer: Callable, rng: torch.Generator) -> None:
    count = a_random(rng, 3, 6)
    amounts = [float(2**step * a_random(rng, 90, 110)) for step in range(count)]
    power, noise = -a_random(rng, 15, 60) / 100, torch.randn(count, generator=rng) * 0.05
    errors = [0.8 * (x / amounts[0]) ** power * math.exp(e) for x, e in zip(amounts, noise.tolist(), strict=True)]
    at = amounts[-1] * a_random(rng, 20, 60) / 10
    x, y = numpy.log(amounts), numpy.log(errors)
    slope, height = numpy.polyfit(x, y, 1)
    in_logs = height + slope * math.log(at)
    truth = math.exp(in_logs)
    said = a_number(answer, answer(list(amounts), list(errors), at))

    def is_(value: float) -> bool:
        return math.isclose(said, value, rel_tol=1e-6)

    if is_(truth):
        return
    setting = f"For {at:g} the line predicts an error of {truth:.4f}, not {said:.4f}"
    plain = numpy.polyfit(amounts, errors, 1)
    if is_(in_logs):
        raise Wrong(f"{setting}: that is still the logarithm of the error. Take numpy.exp of it.")
    if is_(float(numpy.polyval(plain, at))):
        raise Wrong(f"{setting}: that line went through the numbers as they are. Take the logarithm of both first.")
    if is_(float(numpy.polyval(numpy.polyfit(x, errors, 1), math.log(at)))):
        raise Wrong(f"{setting}: the errors need their logarithm too, not only the amounts.")
    if is_(math.exp(numpy.polyval(numpy.polyfit(amounts, y, 1), at))):
        raise Wrong(f"{setting}: the amounts need their logarithm too, not only the errors.")
    if is_(math.exp(height + slope * at)) or (said == 0 and slope * at < -600):
        raise Wrong(f"{setting}: the line was fitted to logarithms, so it wants the logarithm of `at`.")
    if is_(math.exp(slope + height * math.log(at))):
        raise Wrong(f"{setting}: numpy.polyfit returns the slope first, then the height.")
    if is_(10**in_logs):
        raise Wrong(f"{setting}: numpy.log is the natural logarithm, so numpy.exp undoes it, not 10 to the power.")
    if is_(float(numpy.exp(y[-1] + (y[-1] - y[-2]) / (x[-1] - x[-2]) * (math.log(at) - x[-1])))):
        raise Wrong(f"{setting}: that line goes through the last two points alone. Least squares takes all of them.")
    if is_(float(numpy.exp(y[-1] + (y[-1] - y[0]) / (x[-1] - x[0]) * (math.log(at) - x[-1])))):
        raise Wrong(f"{setting}: that line goes through the first and the last point. Least squares takes all of them.")
    if is_(math.exp(slope * math.log(at))):
        raise Wrong(f"{setting}: the height of the line is missing.")
    if is_(errors[-1]):
        raise Wrong(f"{setting}: that is the last error again. The line goes on falling.")
    raise Wrong(f"{setting}.")


check_predict_error = exercise(_try_predict_error, 20, "on 20 random series of runs")
