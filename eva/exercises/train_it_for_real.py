"""The exercises of notebook 14. PyTorch's own tensors and NumPy's least squares are the truth."""

import math

import numpy
import torch
from torch import Generator, nn

from eva.exercises.grading import Question, Table, Trial, exercise, growing, integer


@exercise(20, "on 20 random layers")
def check_training_bytes(rng: Generator, turn: int) -> Trial:
    inputs, outputs, batch = growing(rng, turn, 2, 40), growing(rng, turn, 3, 40), growing(rng, turn, 2, 64)
    layer = nn.Linear(inputs, outputs)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    kept = torch.zeros(batch, growing(rng, 200 * turn, 10, 4000))  # an activation, of all images
    layer(torch.zeros(batch, inputs)).sum().backward()
    optimizer.step()
    weights = list(layer.parameters())
    velocities = [optimizer.state[weight]["momentum_buffer"] for weight in weights]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    truth = sum(tensor.nbytes for tensor in [*weights, *gradients, *velocities, kept])

    parameters, activations = sum(weight.numel() for weight in weights), kept.shape[1]
    images = batch * activations

    def bytes_of(per_parameter: int, kept: int = images) -> int:
        return 4 * (per_parameter * parameters + kept)

    wrong_ideas: Table = [
        (truth // 4, "that counts numbers. A float32 has 4 bytes."),
        (4 * 3 * parameters + images, "an activation is a float32 too, and has 4 bytes."),
        (3 * parameters + 4 * images, "weights, gradients and velocities are float32 too, and have 4 bytes."),
        (2 * truth, truth // 2, "a float32 has 4 bytes, 32 bits of 8 each."),
        (bytes_of(3, activations), "the activations are kept for each image of the batch."),
        (bytes_of(3 * batch), "weights, gradients and velocities are there once, whatever the batch."),
        (bytes_of(1), "each parameter has a gradient and a velocity beside its weight."),
        (bytes_of(2), "two numbers per parameter, and there are three: weight, gradient and velocity."),
        (bytes_of(4), "four numbers per parameter would be Adam's; momentum keeps one, the velocity."),
        (bytes_of(3, 0), "the activations are missing."),
        (bytes_of(0), "weights, gradients and velocities are missing."),
        (
            bytes_of(3, 3 * images),
            "an activation has no velocity: only what belongs to a parameter is there three times.",
        ),
        (bytes_of(3, 2 * images), "the gradient of an activation is there for a moment only: count what is kept."),
    ]
    step = f"{parameters:,} parameters and {activations:,} activations per image, {batch} images: {truth:,} bytes"
    yield Question((parameters, activations, batch), truth, wrong_ideas, lambda count: f"{step}, not {count:,}")


@exercise(20, "on 20 random series of runs")
def check_predict_error(rng: Generator, turn: int) -> Trial:
    count = growing(rng, turn, 3, 6)
    amounts = [float(2**step * integer(rng, 90, 110)) for step in range(count)]
    power, noise = -integer(rng, 15, 60) / 100, torch.randn(count, generator=rng) * 0.05
    errors = [0.8 * (x / amounts[0]) ** power * math.exp(e) for x, e in zip(amounts, noise.tolist(), strict=True)]
    at = amounts[-1] * integer(rng, 20, 60) / 10
    x, y, log_at = numpy.log(amounts), numpy.log(errors), math.log(at)
    slope, height = numpy.polyfit(x, y, 1)
    in_logs = height + slope * log_at

    def through(first: int, last: int) -> float:
        """By the line through two of the points."""
        return math.exp(y[last] + (y[last] - y[first]) / (x[last] - x[first]) * (log_at - x[last]))

    truth, no_logs = math.exp(in_logs), numpy.polyval(numpy.polyfit(amounts, errors, 1), at)
    no_log_of_errors = numpy.polyval(numpy.polyfit(x, errors, 1), log_at)
    no_log_of_amounts = math.exp(numpy.polyval(numpy.polyfit(amounts, y, 1), at))
    no_log_of_at, exchanged = math.exp(height + slope * at), math.exp(slope + height * log_at)
    inverse, beginning = numpy.polyfit(y, x, 1)
    wrong_ideas: Table = [
        (in_logs, "that is still the logarithm of the error. Take numpy.exp of it."),
        (no_logs, "that line went through the numbers as they are. Take the logarithm of both first."),
        (no_log_of_errors, "the errors need their logarithm too, not only the amounts."),
        (no_log_of_amounts, "the amounts need their logarithm too, not only the errors."),
        (no_log_of_at, "the line was fitted to logarithms, so it wants the logarithm of `at`."),
        (
            math.exp(beginning + inverse * log_at),
            "the amounts stand for the errors there, and the errors for the amounts: numpy.polyfit(x, y, 1) wants the "
            "amounts first.",
        ),
        (exchanged, "numpy.polyfit returns the slope first, then the height."),
        (10**in_logs, "numpy.log is the natural logarithm, so numpy.exp undoes it, not 10 to the power."),
        (through(-2, -1), "that line goes through the last two points alone. Least squares takes all of them."),
        (through(0, -1), "that line goes through the first and the last point. Least squares takes all of them."),
        (math.exp(height - slope * log_at), "the slope is negative as it is: add slope times the logarithm of `at`."),
        (100 * truth, "those are per cent: the errors you were given are shares."),
        (math.exp(slope * log_at), "the height of the line is missing."),
        (errors[-1], "that is the last error again. The line goes on falling."),
    ]
    setting = f"For {at:g} the line predicts an error of {truth:.4g}"
    yield Question((amounts, errors, at), truth, wrong_ideas, lambda error: f"{setting}, not {error:.4g}", within=0.0)
