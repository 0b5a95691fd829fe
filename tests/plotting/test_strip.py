"""A drawing says what the network does: compared with torch's own modules, and never with names of layers."""

import pytest
import torch
import torchvision
from torch import nn

from eva.course.studies import STUDIES
from eva.dry_run import DryRunError
from eva.model import LADDER, Net, PreConv, residual_pair
from eva.plotting import draw
from eva.plotting.strip import KINDS, strip_of


def kind_of(module):
    if isinstance(module, nn.Linear):
        return "linear"
    if not isinstance(module, nn.Conv2d):
        return "pooling"
    if module.groups > 1:
        return "depthwise"
    return "1x1" if module.kernel_size == (1, 1) else "dilated" if module.dilation > (1, 1) else "convolution"


@pytest.mark.parametrize(
    "make", [*LADDER.values(), *(make for study in STUDIES.values() for make in study.networks.values())]
)
def test_a_box_for_each_layer_of_the_course_s_networks(make):
    network = make()
    expected, sizes = [], []

    def hear(module, inputs, output):
        expected.append((kind_of(module), output.shape[1]))
        sizes.append(output.shape[-1] if output.ndim == 4 else 1)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            module.register_forward_hook(hear)
    network.eval()(torch.zeros(1, 3, 32, 32))
    boxes = strip_of(make()).boxes
    assert [(box.kind, box.maps) for box in boxes] == expected
    assert [box.size for box in boxes] == sizes


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_an_arc_for_each_shortcut(pairs):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), *(residual_pair(PreConv, 8) for _ in range(pairs)))
    assert strip_of(network).arcs == [(2 * pair, 2 * pair + 2) for pair in range(pairs)]


def test_no_arc_where_nothing_goes_past_another():
    assert strip_of(LADDER["plain"]()).arcs == []


def test_resnet_18_has_a_shortcut_in_each_block_and_branches_that_start_further_back():
    strip = strip_of(torchvision.models.resnet18(), (3, 64, 64))
    blocks = [m for m in torchvision.models.resnet18().modules() if type(m).__name__ == "BasicBlock"]
    branches = [block for block in blocks if block.downsample is not None]
    assert len(strip.arcs) == len(blocks) + len(branches)


def test_a_network_s_blocks_are_those_of_its_first_names():
    assert [*dict.fromkeys(box.block for box in strip_of(Net(0.25)).boxes)] == [
        "stem", "initial", "middle", "final", "pool", "classifier"]  # fmt: skip


def test_draw_makes_a_figure_700_pixels_wide_and_leaves_the_network_alone():
    network = Net(0.25).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    figure = draw(network, "Net")
    assert figure.get_size_inches()[0] * 100 == 700
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_colours_differ_in_grey_or_in_hatching():
    told = {(round(sum(int(colour[i : i + 2], 16) * share for i, share in zip((1, 3, 5), (0.3, 0.59, 0.11),
            strict=True)) / 25), hatch) for colour, hatch in KINDS.values()}  # fmt: skip
    assert len(told) == len(KINDS)


def test_a_network_with_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="Flatten has no convolution, pooling or linear layer: nothing to draw"):
        draw(nn.Flatten())


def test_a_network_that_cannot_be_followed_is_refused():
    with pytest.raises(DryRunError, match="scripted"):
        draw(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3))))
