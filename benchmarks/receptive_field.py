"""Does the receptive-field calculator agree with the NaN probe on torchvision's networks?

    python benchmarks/receptive_field.py            # a few minutes on two cores; writes results/receptive_field.md
    python benchmarks/receptive_field.py resnet18   # some of them, printed only

The probe knows nothing of kernels and strides: it poisons one row (then column) of a long thin input with NaN, and sees
whether a unit of the trunk turns NaN. The lowest and the highest pixel that the calculator names must reach the unit,
and the pixels just outside of them must not. Gates that see the whole image (squeeze and excite) are left out of the
probed network, since they let NaN through to everything; the calculator is given the network as it is.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops.misc import SqueezeExcitation

from eva.files import replacing
from eva.model import Net
from eva.receptive_field import ReceptiveField, receptive_field

PAGE = Path(__file__).parent.parent / "results" / "receptive_field.md"
# Where each family's trunk ends: the module whose output is pooled globally.
TRUNKS = {
    "alexnet vgg11 vgg13 vgg16 vgg19 vgg16_bn squeezenet1_0 squeezenet1_1": "features",
    "densenet121 densenet161 densenet169 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large": "features",
    "efficientnet_b0 efficientnet_b1 efficientnet_v2_s convnext_tiny convnext_small": "features",
    "resnet18 resnet34 resnet50 resnet101 resnet152 wide_resnet50_2 resnext50_32x4d resnext101_32x8d": "layer4",
    "regnet_x_400mf regnet_x_800mf regnet_y_400mf regnet_y_800mf": "trunk_output",
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "mnasnet0_5 mnasnet1_0": "layers",
    "shufflenet_v2_x0_5 shufflenet_v2_x1_0": "conv5",
}


def probe(model: nn.Module, field: ReceptiveField, trunk: Callable[[Tensor], Tensor], axis: int, short: int) -> bool:
    """Whether the NaN probe agrees with `field` along `axis` (0: rows). `trunk` maps images to the trunk's output."""
    jump, lo, size = field.jump[axis], field.start[axis], field.size[axis]
    channels = field.input_size[0]
    long = -(-(size + abs(lo) + 6 * jump) // (4 * jump)) * 4 * jump
    unit = max(0, -(-(1 - lo) // jump))  # the first one whose field begins inside the image
    lo, hi = lo + unit * jump, lo + unit * jump + size - 1
    if not 0 < lo <= hi < long - 1:
        raise AssertionError("this input is too short for the probe")
    shape = (long, short) if axis == 0 else (short, long)
    reached = []
    for pixel in (lo - 1, lo, hi, hi + 1):
        image = torch.rand(1, channels, *shape, dtype=torch.float64)
        image.select(2 + axis, pixel).fill_(float("nan"))
        with torch.no_grad():
            reached.append(bool(trunk(image).select(2 + axis, unit).isnan().any()))
    return reached == [False, True, True, False]


def ungated(model: nn.Module) -> nn.Module:
    """`model` with its squeeze-and-excite gates replaced by nothing."""
    for name, child in model.named_children():
        if isinstance(child, SqueezeExcitation):
            setattr(model, name, nn.Identity())
        else:
            ungated(child)
    return model


def compare(name: str, model: nn.Module, end: str) -> str:
    """One row of the table."""
    began = time.perf_counter()
    field = receptive_field(model, (3, 224, 224))
    seconds = time.perf_counter() - began
    ungated(model).eval().double()
    caught: list[Tensor] = []
    model.get_submodule(end).register_forward_hook(lambda module, inputs, output: caught.append(output))

    def trunk(images: Tensor) -> Tensor:
        caught.clear()
        model(images)
        return caught[-1]

    agreed = [probe(model, field, trunk, axis, short=96) for axis in (0, 1)]
    agrees = "yes" if all(agreed) else "NO"
    whole = "yes" if field.whole_image else "no"
    return f"| {name} | {field.size[0]} | {field.jump[0]} | {field.start[0]} | {whole} | {agrees} | {seconds:.2f} |"


def cost() -> str:
    """What ResNet-152 takes: seconds, and by how much the calculation raises the process's peak of resident memory."""
    model = torchvision.models.resnet152(weights=None)
    receptive_field(nn.Conv2d(3, 3, 3))  # what torch imports on its first use is not the network's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    receptive_field(model, (3, 224, 224))
    seconds = time.perf_counter() - began
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # Linux counts in kB
    return f"ResNet-152 at 224x224 pixels, in a process of its own: {seconds:.2f} seconds, {extra:.1f} MB more memory."


def main(chosen: list[str]) -> None:
    lines = [
        "# Receptive fields of torchvision's networks",
        "",
        "Of the trunk, in pixels, unclipped; the same along rows and columns. *Agrees*: the NaN probe sees the same",
        "first and last pixel, along both axes. Made by `benchmarks/receptive_field.py`, which says how; torchvision "
        f"{torchvision.__version__}, torch {torch.__version__}.",
        "",
        "| network | size | jump | start | output sees all | agrees | seconds to calculate |",
        "|---|---|---|---|---|---|---|",
    ]
    jobs = [(name, end) for names, end in TRUNKS.items() for name in names.split() if not chosen or name in chosen]
    for name, end in jobs:
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = getattr(torchvision.models, name)(weights=None, **options)
        lines.append(compare(name, model, end))
        print(lines[-1], flush=True)
    if not chosen:
        lines += [compare("eva's Net", Net(), "final"), compare("its standard twin", Net(conv="standard"), "final")]
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            lines += ["", fresh.apply(cost)]
        with replacing(PAGE, "w") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
