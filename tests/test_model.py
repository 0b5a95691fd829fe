import itertools
from importlib import resources

import pytest
import torch
from torch import nn

from eva.checkpoint import pretrained, pretrained_card
from eva.measure import count_macs, count_parameters
from eva.model import IDEAS, LADDER, Conv, Net, PlainConv, PreConv, PreSeparableConv, Residual, Rung, SeparableConv
from eva.receptive_field import receptive_field
from eva.recipes import WIDTHS


@pytest.mark.parametrize("width", sorted(set(WIDTHS.values())))
def test_the_twin_has_at_least_two_and_a_half_times_the_parameters(width):
    assert count_parameters(Net(width, conv="standard")) >= 2.5 * count_parameters(Net(width))


def test_net_is_as_the_course_says():
    net = Net()
    assert count_parameters(net) < 1_000_000
    assert net.stem.weight.shape[:2] == (32, 3)
    kinds = {
        block: [
            (m.dilation[0], m.groups > 1, m.kernel_size[0])
            for m in getattr(net, block).modules()
            if type(m) is nn.Conv2d
        ]
        for block in ("initial", "middle", "final")
    }
    assert kinds["initial"] == [(2, False, 3)] * 3, "dilated at rate 2"
    assert kinds["middle"] == [(1, True, 3), (1, False, 1)] * 9, "nine depthwise separable convolutions"
    assert kinds["final"] == [(1, False, 1), *[(1, False, 3)] * 2], "standard convolutions"
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.03}
    assert sum(isinstance(m, nn.MaxPool2d) for m in net.modules()) == 2
    assert all(any(isinstance(m, Residual) for m in getattr(net, block)) for block in kinds)


def test_the_stem_stays_at_every_width():
    for width in (0.1, 0.3, 0.5, 1.0, 1.2):
        assert Net(width).stem.weight.shape == (32, 3, 3, 3)


@pytest.mark.parametrize(("conv", "axis"), list(itertools.product(("separable", "standard"), (0, 1))))
def test_the_trunk_sees_more_than_44_pixels(conv, axis):
    """The NaN probe: poison one row, see which outputs notice. No gradients, no arithmetic of ours."""
    torch.manual_seed(0)
    net = Net(0.125, conv=conv).eval().double()
    side, short = 192, 16
    size = (side, short) if axis == 0 else (short, side)
    clean = torch.rand(1, 3, *size, dtype=torch.float64)

    def trunk(images):
        return net.final(net.middle(net.initial(net.stem(images))))

    seen = []  # for each poisoned row, whether the middle output unit notices it
    outputs = trunk(clean).shape[2 + axis]
    for row in range(side):
        poisoned = clean.clone()
        poisoned.select(2 + axis, row).fill_(float("nan"))
        seen.append(trunk(poisoned).isnan().select(2 + axis, outputs // 2).any().item())
    field = sum(seen)
    assert 44 < field < side
    assert seen[seen.index(True) :][:field] == [True] * field, "the field has no holes"


@pytest.mark.parametrize("size", [4, 16, 24, 32, 41])
def test_images_of_several_sizes_give_logits(size):
    assert Net(0.125, classes=7).eval()(torch.rand(2, 3, size, size)).shape == (2, 7)


def test_a_separable_convolution_is_the_standard_one_of_rank_one_kernels(rng):
    """Its two steps equal one standard convolution whose kernels are products of the two: F.conv2d as the truth."""
    separable = SeparableConv(5, 7)
    standard = Conv(5, 7)
    depthwise, pointwise = separable[0].weight, separable[1].weight  # (5, 1, 3, 3) and (7, 5, 1, 1)
    with torch.no_grad():
        standard[0].weight.copy_(pointwise * depthwise[:, 0])
    images = torch.rand(2, 5, 9, 9, generator=rng)
    torch.testing.assert_close(separable(images), standard(images))


def test_a_residual_adds_its_input(rng):
    layer = nn.Conv2d(4, 4, 3, padding=1)
    maps = torch.rand(2, 4, 6, 6, generator=rng)
    torch.testing.assert_close(Residual(layer)(maps), maps + layer(maps))


def test_channels_last_gives_the_same_logits(rng):
    net = Net(0.25).eval()
    images = torch.rand(4, 3, 32, 32, generator=rng)
    expected = net(images)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        net(images.contiguous(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=1e-4
    )


def test_macs_agree_with_parameters_and_sizes():
    """By hand, at width 1: 32x32 pixels in the stem and the first dilated layer, then 16x16, then 8x8."""
    dense = 32 * 32 * 9 * (3 * 32 + 32 * 48) + 16 * 16 * 2 * 9 * 48 * 48 + 8 * 8 * (192 * 128 + 2 * 9 * 128 * 128)
    separable = 16 * 16 * (9 * 48 + 48 * 192) + (2 * 16 * 16 + 6 * 8 * 8) * (9 * 192 + 192 * 192)
    assert count_macs(Net()) == dense + separable + 128 * 10


def test_a_fresh_pair_is_the_identity_and_learns_all_the_same(rng):
    net = Net(0.125)
    pairs = [module for module in net.modules() if isinstance(module, Residual)]
    assert len(pairs) == 6
    for pair in pairs:
        maps = torch.randn(2, pair[0][0].num_features, 8, 8, generator=rng)
        assert torch.equal(pair(maps), maps)
    net(torch.rand(4, 3, 16, 16, generator=rng)).square().sum().backward()
    assert all(pair[-1][-1].weight.grad.any() for pair in pairs), "the layer that starts at zero has a gradient"


@pytest.mark.parametrize(("before", "after"), [
    (PreConv(4, 6, dilation=3), Conv(4, 6, dilation=3)),
    (PreSeparableConv(4, 6), SeparableConv(4, 6)),
])  # fmt: skip
def test_pre_activation_is_the_same_layers_in_another_order(before, after, rng):
    before, norm = before.eval(), nn.BatchNorm2d(4).eval()
    *layers, _, _ = after.eval()  # without its own batch norm and ReLU
    convolutions = nn.Sequential(*layers)
    nn.init.normal_(norm.weight, generator=rng)
    nn.init.normal_(norm.bias, generator=rng)
    before[0].load_state_dict(norm.state_dict())
    for here, there in zip(list(before)[2:], convolutions, strict=True):
        here.load_state_dict(there.state_dict())
    maps = torch.randn(2, 4, 9, 9, generator=rng)
    torch.testing.assert_close(before(maps), convolutions(norm(maps).relu()))


def test_a_kernel_of_one_pixel_needs_no_padding():
    assert PreConv(4, 6, kernel=1)[2].padding == (0, 0)
    assert PreConv(4, 6, kernel=1)(torch.rand(2, 4, 5, 7)).shape == (2, 6, 5, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"conv": "dense"}, "got 'dense'"), ({"width": 0}, "got 0"), ({"width": float("nan")}, "got nan")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Net(**arguments)


def test_the_shipped_network_says_what_it_is():
    card, net = pretrained_card(), pretrained()
    assert not net.training
    assert (resources.files("eva") / "pretrained.pt").stat().st_size <= 4_000_000
    assert card.data, "its data's name"
    assert card.results["test_accuracy"] > 0.8
    assert card.training is None
    assert net.arguments == card.arguments
    assert len(card.classes) == net.classifier.out_features
    assert count_parameters(net) < 1_000_000


def kinds(model):
    """How many of each sort of layer a network has."""
    convolutions = [m for m in model.modules() if type(m) is nn.Conv2d]
    return {
        "global average pooling": sum(isinstance(m, nn.AdaptiveAvgPool2d) for m in model.modules()),
        "batch norm": sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()),
        "dropout": sum(isinstance(m, nn.Dropout) for m in model.modules()),
        "dilated": sum(m.dilation == (2, 2) for m in convolutions),
        "depthwise separable": sum(m.groups > 1 for m in convolutions),
        "residual": sum(isinstance(m, Residual) for m in model.modules()),
    }


def test_each_step_of_the_ladder_adds_one_idea():
    assert list(LADDER) == ["plain", *IDEAS, "Net"]
    counts = {step: kinds(make()) for step, make in LADDER.items()}
    assert set(counts["plain"].values()) == {0}
    assert counts["Net"].keys() == {*IDEAS}
    assert min(counts["Net"].values()) > 0
    for place, idea in enumerate(IDEAS):
        had = {name for name, count in counts[list(LADDER)[place + 1]].items() if count}
        assert had == {*IDEAS[: place + 1]}, f"step {idea}"


def test_what_an_idea_costs_in_parameters_and_field():
    parameters = {step: count_parameters(make()) for step, make in LADDER.items()}
    assert parameters["plain"] - parameters["global average pooling"] == 64 * 63 * 10
    norms = (32 * 3 + 64 * 4) * (2 - 1)  # scale and shift come, the bias goes
    assert parameters["batch norm"] - parameters["global average pooling"] == norms
    assert parameters["batch norm"] == parameters["dropout"] == parameters["dilated"]
    saved = 9 * 32 * 64 + 9 * 64 * 64 - (9 * 32 + 32 * 64 + 9 * 64 + 64 * 64)
    assert parameters["dilated"] - parameters["depthwise separable"] == saved
    assert parameters["depthwise separable"] == parameters["residual"]
    fields = {step: receptive_field(make()).size[0] for step, make in LADDER.items()}
    by_hand = 1 + 2 + 2 + 1 + 4 + 4 + 2 + 3 * 8  # stem, conv, pool, conv, conv, pool, three convs at jump 4
    assert fields["plain"] == by_hand
    assert fields["dilated"] == by_hand + 2 + 4


def test_a_shortcut_changes_nothing_but_the_sum(rng):
    """With the same weights, the step with shortcuts and the one without differ by the blocks' inputs alone."""
    without, having = LADDER["depthwise separable"]().eval(), LADDER["residual"]().eval()
    having.load_state_dict(without.state_dict())
    x = torch.rand(2, 32, 16, 16, generator=rng)
    torch.testing.assert_close(having.initial[2](x), x + without.initial[2](x))


def test_an_idea_that_is_none_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"no idea 'batchnorm': name some of global average pooling, batch norm"):
        Rung("batchnorm")
    assert Rung(*IDEAS, classes=7)(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_plain_convolutions_keep_the_size_of_the_signal(rng):
    """He et al.: through ten layers the mean square stays within a small factor; PyTorch's own start would lose it."""
    layers = nn.Sequential(*(PlainConv(64, 64) for _ in range(10)))
    x = torch.randn(4, 64, 32, 32, generator=rng)
    with torch.no_grad():
        assert 0.1 < layers(x).square().mean() < 10
