"""The exercises of notebooks 01 to 05. Each check says what a wrong answer forgot.

PyTorch, or the receptive-field calculator, is the truth that answers are compared with.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from eva.augment import flip
from eva.exercises.grading import Wrong, a_number, a_random, a_tensor, close, exercise, named
from eva.receptive_field import receptive_field


def _try_normalise(answer: Callable, rng: torch.Generator) -> None:
    count, height, width = (a_random(rng, 2, 9) for _ in range(3))
    images = torch.randint(0, 256, (count, 3, height, width), generator=rng, dtype=torch.uint8)
    mean, std = torch.rand(3, generator=rng) * 0.4 + 0.3, torch.rand(3, generator=rng) * 0.2 + 0.1
    out = a_tensor(answer, answer(images, mean, std), tuple(images.shape))
    shaped_mean, shaped_std = mean.view(3, 1, 1), std.view(3, 1, 1)
    if close(out, (images - shaped_mean) / shaped_std):
        raise Wrong("the bytes go up to 255 and the mean is a fraction: divide the images by 255 first.")
    if close(out, images / 255 - shaped_mean):
        raise Wrong("the mean is gone, but the spread is not 1 yet: divide by the standard deviation.")
    if close(out, (images / 255 - shaped_mean) / shaped_std**2):
        raise Wrong("that divides by the variance: the standard deviation is its root, and is what you were given.")
    if not close(out, (images / 255 - shaped_mean) / shaped_std):
        raise Wrong("the values differ from (image / 255 - mean) / std of each pixel's own channel.")


check_normalise = exercise(_try_normalise, 10, "on 10 random batches")


def _try_prepare(answer: Callable, rng: torch.Generator) -> None:
    part = ("train", "validation", "test")[a_random(rng, 0, 2)]
    seed, shape = a_random(rng, 0, 10**6), (a_random(rng, 8, 16), 3, a_random(rng, 4, 9), a_random(rng, 4, 9))
    images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    out = a_tensor(answer, answer(images.clone(), part, torch.Generator().manual_seed(seed)), shape)
    expected = flip(images, torch.Generator().manual_seed(seed)) if part == "train" else images
    if torch.equal(out, expected):
        return
    if part != "train":
        raise Wrong(
            f'some images of the part "{part}" came back changed: an accuracy on them would be another each time.'
        )
    if torch.equal(out, images):
        raise Wrong('the images of the part "train" came back as they were: flip(images, rng) mirrors half of them.')
    raise Wrong('the images of the part "train" are not those of flip(images, rng), with the generator that was given.')


check_prepare = exercise(_try_prepare, 20, "on 20 random batches of all three parts")


def _try_output_size(answer: Callable, rng: torch.Generator) -> None:
    kernel, stride, size = a_random(rng, 1, 5), a_random(rng, 1, 3), a_random(rng, 6, 40)
    padding = 6 * a_random(
        rng, 0, 1
    )  # with less, some wrong formulas agree by chance, and the hint would be a wrong one
    truth = F.conv2d(torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel), None, stride, padding).shape[-1]
    said = a_number(answer, answer(size, kernel, stride, padding))
    if not isinstance(said, int):
        raise Wrong(
            f"`{named(answer)}` returned {said!r}: a step that does not fit is left out, so round down, with //."
        )
    if said == truth:
        return
    setting = f"A {kernel}x{kernel} kernel with stride {stride} and padding {padding} makes {truth} of {size} pixels"
    if said == (size + 2 * padding - kernel) // stride:
        raise Wrong(f"{setting}, not {said}: the first position counts too, before any step.")
    if said == (size + padding - kernel) // stride + 1:
        raise Wrong(f"{setting}, not {said}: padding goes on both sides.")
    raise Wrong(f"{setting}, not {said}.")


check_output_size = exercise(_try_output_size, 40, "on 40 random kernels, strides, paddings and sizes")


def _try_count_weights(answer: Callable, rng: torch.Generator) -> None:
    inputs, outputs, kernel = a_random(rng, 2, 64), a_random(rng, 2, 64), a_random(rng, 2, 7)
    layer = nn.Conv2d(inputs, outputs, kernel)
    truth = sum(parameter.numel() for parameter in layer.parameters())
    said = a_number(answer, answer(inputs, outputs, kernel))
    setting = f"nn.Conv2d({inputs}, {outputs}, {kernel}) has {truth:,} parameters, not {said:,}"
    if said == truth - outputs:
        raise Wrong(f"{setting}: each output map has a bias too.")
    if said in (outputs * kernel**2, outputs * kernel**2 + outputs):
        raise Wrong(f"{setting}: each output map has a kernel for each of the {inputs} input maps.")
    if said in (inputs * outputs * kernel, inputs * outputs * kernel + outputs):
        raise Wrong(f"{setting}: the kernel is a square.")
    if said != truth:
        raise Wrong(f"{setting}.")


check_count_weights = exercise(_try_count_weights, 40, "on 40 random layers")


def _try_cross_entropy(answer: Callable, rng: torch.Generator) -> None:
    count, classes = a_random(rng, 2, 9), a_random(rng, 3, 12)
    logits = torch.randn(count, classes, generator=rng) * 4
    labels = torch.randint(0, classes, (count,), generator=rng)
    said = torch.as_tensor(a_number(answer, answer(logits, labels)))
    truth = F.cross_entropy(logits, labels)
    if close(said, F.cross_entropy(logits.softmax(1), labels)):
        raise Wrong("that applies softmax twice: log_softmax wants the raw logits. This mistake trains, only badly.")
    if close(said, -truth):
        raise Wrong("the sign is wrong: a loss falls when the right class becomes more likely.")
    if close(said, truth * count):
        raise Wrong("that is the sum over the images: the loss is their mean, so that batches of any size compare.")
    if not close(said, truth):
        raise Wrong(f"the loss of a random batch came out as {said:.4f} and should be {truth:.4f}.")


check_cross_entropy = exercise(_try_cross_entropy, 20, "on 20 random batches")


def _chain(layers: Sequence[tuple[int, int, int]]) -> nn.Sequential:
    """One map in, one map out; (kernel, stride, dilation) each, padded to keep the size at stride 1."""
    return nn.Sequential(*(nn.Conv2d(1, 1, k, s, padding=d * (k // 2), dilation=d) for k, s, d in layers))


def _try_field(answer: Callable, rng: torch.Generator) -> None:
    count = a_random(rng, 1, 5)
    layers = [(2 * a_random(rng, 0, 3) + 1, a_random(rng, 1, 2), a_random(rng, 1, 3)) for _ in range(count)]
    truth = receptive_field(_chain(layers), (1, 64, 64)).size[0]
    said = a_number(answer, answer(list(layers)))
    if said == truth:
        return
    setting = f"The layers {layers} see {truth} pixels, not {said}"
    size = jump = early = undilated = unjumped = 1
    for kernel, stride, dilation in layers:
        unjumped += dilation * (kernel - 1)
        undilated += (kernel - 1) * jump
        size += dilation * (kernel - 1) * jump
        jump *= stride
        early += dilation * (kernel - 1) * jump
    if said == unjumped:
        raise Wrong(
            f"{setting}: after a stride, one step in the map is a larger step in the image. Multiply by the jump."
        )
    if said == undilated:
        raise Wrong(f"{setting}: a kernel with dilation d reaches over d * (kernel - 1) + 1 pixels.")
    if said == early:
        raise Wrong(f"{setting}: a layer's own stride counts from the next layer on. Add first, then change the jump.")
    if said == truth - 1:
        raise Wrong(f"{setting}: before any layer a unit is one pixel, and sees one.")
    raise Wrong(f"{setting}.")


check_field = exercise(_try_field, 40, "on 40 random chains of convolutions")


def _try_corner_field(answer: Callable, rng: torch.Generator) -> None:
    side = a_random(rng, 4, 40)
    said = a_number(answer, answer(side))
    truth = next(field for field in range(1, 4 * side, 2) if field // 2 >= side - 1)  # it reaches field // 2 to a side
    setting = f"In an image of {side} pixels, the unit in the corner needs a field of {truth}, not {said}"
    if said == side:
        raise Wrong(f"{setting}: the field is centred on the corner, and half of it lies beyond the border.")
    if said in (2 * side, 2 * side + 1):
        raise Wrong(f"{setting}: the corner pixel itself is the middle, and counts once.")
    if said != truth:
        raise Wrong(f"{setting}.")


check_corner_field = exercise(_try_corner_field, 20, "for 20 random sizes")


def _try_same_padding(answer: Callable, rng: torch.Generator) -> None:
    kernel, dilation, size = 2 * a_random(rng, 1, 3) + 1, a_random(rng, 1, 5), a_random(rng, 31, 48)
    said = a_number(answer, answer(kernel, dilation))
    if not isinstance(said, int) or said < 0:
        raise Wrong(f"`{named(answer)}` returned {said!r}: padding is a whole number of pixels, 0 or more. Use //.")
    map_, weight = torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel)
    out = F.conv2d(map_, weight, padding=said, dilation=dilation).shape[-1]
    if out != size:
        span = dilation * (kernel - 1) + 1
        raise Wrong(
            f"a {kernel}x{kernel} kernel with dilation {dilation} spans {span} pixels: "
            f"with padding {said} a map of {size}x{size} came out {out}x{out}."
        )


check_same_padding = exercise(_try_same_padding, 40, "on 40 random kernels, dilations and sizes")


def _try_dilations(answer: Callable, rng: torch.Generator) -> None:
    said = answer()
    if said is None or said is Ellipsis:
        raise Wrong(f"`{named(answer)}` returned nothing.")
    if not isinstance(said, tuple | list) or len(said) != 3 or not all(isinstance(d, int) and d > 0 for d in said):
        raise Wrong(f"`{named(answer)}` must return three whole numbers from 1 up, and returned {said!r}.")
    layers = _chain([(3, 1, dilation) for dilation in said])
    size = receptive_field(layers, (1, 64, 64)).size[0]
    image = torch.zeros(1, 1, 2 * size + 1, 1, requires_grad=True)
    for weight in layers.parameters():
        nn.init.ones_(weight)  # so that no two paths cancel
    layers(image)[0, 0, size, 0].backward()
    read = int((image.grad != 0).sum()) if image.grad is not None else 0
    if read < size:
        raise Wrong(f"with {said} the field is {size} pixels wide, but only {read} of each row of them are read.")
    if size < 27:
        raise Wrong(f"{said} leaves no hole, and the field is {size} pixels: 27 can be had.")


check_dilations = exercise(_try_dilations, 1, "27 pixels without a hole")
