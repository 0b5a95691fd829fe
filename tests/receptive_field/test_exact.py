"""The calculator against the NaN probe of benchmarks/receptive_field.py, which knows nothing of kernels and strides."""

import re
import threading
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.receptive_field import PAGE, probe
from eva.model import Conv, Net, Residual, SeparableConv
from eva.receptive_field import ReceptiveFieldError, effective_receptive_field, receptive_field
from tests.receptive_field.truth import Calls


def conv(*arguments, **options):
    return nn.Conv2d(*arguments, **options)


def agree(model, trunk=None, short=32):
    """Assert that the probe agrees with `receptive_field(model)`. `trunk` maps images to the last spatial tensor."""
    model = model.eval().double()
    field = receptive_field(model, (3, 64, 64))
    torch.manual_seed(0)
    for axis in (0, 1):
        assert probe(model, field, trunk or model, axis, short), f"axis {axis}: {field}"


GRAPHS = {
    "one convolution": lambda: conv(3, 4, 3),
    "a stack": lambda: nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), conv(4, 4, 5, padding=2)),
    "strides": lambda: nn.Sequential(conv(3, 4, 3, stride=2, padding=1), conv(4, 4, 3, stride=2), conv(4, 4, 1)),
    "dilation": lambda: nn.Sequential(conv(3, 4, 3, dilation=2, padding=2), conv(4, 4, 3, dilation=3, padding=3)),
    "asymmetric": lambda: nn.Sequential(conv(3, 4, (3, 5), stride=(1, 2), padding=(1, 0)), conv(4, 4, (1, 3))),
    "same padding of an even kernel": lambda: conv(3, 4, 4, padding="same"),
    "grouped": lambda: nn.Sequential(conv(3, 6, 3, padding=1), conv(6, 6, 3, groups=3, padding=1)),
    "a residual": lambda: nn.Sequential(conv(3, 4, 3, padding=1), Residual(conv(4, 4, 5, padding=2), nn.ReLU())),
    "branches shifted against each other": lambda: Calls(
        lambda layers, x: layers[0](F.pad(x, (4, 0, 4, 0))) + layers[1](F.pad(x, (0, 4, 0, 4))),
        conv(3, 2, 5),
        conv(3, 2, 5),
    ),
    "concatenation": lambda: Calls(
        lambda layers, x: torch.cat([x, layers[0](x), layers[1](x)], 1),
        conv(3, 2, 3, padding=1),
        conv(3, 2, 7, padding=3),
    ),
    "functional pooling": lambda: Calls(
        lambda layers, x: F.avg_pool2d(F.max_pool2d(layers[0](x), 3, 2, 1), 2), conv(3, 4, 3)
    ),
    "ceil_mode": lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, padding=1)),
    "a dilated pool": lambda: nn.MaxPool2d(3, 1, dilation=2),
    "the option-A shortcut": lambda: Calls(
        lambda layers, x: layers[0](x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)),
        conv(3, 6, 3, stride=2, padding=1),
    ),
    "slices": lambda: Calls(lambda layers, x: layers[0](x)[:, :, 1::3, 2:-2], conv(3, 4, 3)),
    "a module used twice": lambda: Calls(lambda layers, x: layers[0](layers[0](x)), conv(3, 3, 3, padding=1)),
    "adaptive pooling that divides": lambda: Calls(
        lambda layers, x: F.adaptive_avg_pool2d(layers[0](x), (x.shape[2] // 4, x.shape[3] // 4)),
        conv(3, 4, 3, padding=1),
    ),
    "channels shuffled": lambda: Calls(
        lambda layers, x: layers[1](layers[0](x).view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)),
        conv(3, 4, 3, padding=1),
        conv(4, 2, 3, padding=1),
    ),
    "split and joined": lambda: Calls(
        lambda layers, x: torch.cat([layers[0](a) if i else a for i, a in enumerate(x.split(1, 1))], 1),
        conv(1, 1, 5, padding=2),
    ),
    "rows and columns exchanged": lambda: Calls(
        lambda layers, x: layers[0](x.transpose(2, 3)).transpose(2, 3), conv(3, 4, (3, 7), padding=(1, 3))
    ),
    "channels last, a linear layer at each pixel": lambda: Calls(
        lambda layers, x: layers[1](layers[0](x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        conv(3, 4, 3, padding=1),
        nn.Linear(4, 5),
    ),
    "linear layers at each pixel of two branches": lambda: Calls(
        lambda layers, x: sum(
            pixelwise(a(x).permute(0, 2, 3, 1)) for a, pixelwise in zip(*layers, strict=True)
        ).permute(0, 3, 1, 2),
        nn.ModuleList([conv(3, 4, 3, padding=1), conv(3, 4, 7, padding=3)]),
        nn.ModuleList([nn.Linear(4, 5), nn.Linear(4, 5)]),
    ),
    "the course's blocks": lambda: nn.Sequential(Conv(3, 4, dilation=2), SeparableConv(4, 4), Residual(Conv(4, 4))),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_probe_agrees(name):
    agree(GRAPHS[name]())


@pytest.mark.parametrize("conv_kind", ["separable", "standard"])
def test_the_probe_agrees_on_net(conv_kind):
    net = Net(0.125, conv=conv_kind)
    agree(net, trunk=lambda images: net.final(net.middle(net.initial(net.stem(images)))))
    assert min(receptive_field(Net()).size) > 44


@pytest.mark.parametrize("name", ["squeezenet1_0", "alexnet", "vgg11"])
def test_the_probe_agrees_on_torchvisions_networks(name):
    model = getattr(torchvision.models, name)(weights=None)
    agree(nn.Sequential(model.features), short=96)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 435),
        ("resnet50", 427),
        ("resnext50_32x4d", 427),
        ("vgg16", 212),
        ("alexnet", 195),
        ("convnext_tiny", 1688),
    ],
)
def test_published_sizes_of_torchvisions_networks(name, size):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None)
    field = receptive_field(model, (3, 224, 224))
    assert field.size == (size, size)
    assert field.whole_image
    assert field.clipped == (min(size, 224),) * 2


def test_the_probe_notices_a_field_that_is_one_pixel_off():
    model = nn.Sequential(conv(3, 4, 3, padding=1), nn.MaxPool2d(2), conv(4, 4, 3)).eval().double()
    field = receptive_field(model, (3, 64, 64))
    for wrong in ({"size": (7, 8)}, {"size": (9, 8)}, {"start": (0, -1)}, {"start": (-2, -1)}):
        assert probe(model, field, model, axis=0, short=32)
        assert not probe(model, replace(field, **wrong), model, axis=0, short=32)


@st.composite
def graphs(draw, channels=2):
    """A random network of convolutions, pools, sums and concatenations."""
    layers: list[nn.Module] = [conv(3, channels, 1)]
    for _ in range(draw(st.integers(1, 5))):
        kernel, stride = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 1, 2]))
        dilation = draw(st.integers(1, 3))
        padding = dilation * (kernel // 2)
        layer = conv(channels, channels, kernel, stride, padding, dilation)
        kind = draw(st.sampled_from(["conv", "pool", "residual", "concatenation"]))
        if kind == "conv":
            layers.append(layer)
        elif kind == "pool":
            layers.append(draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(3, stride, 1))
        else:
            other = conv(channels, channels, (3, 1), stride, (1, 0))
            join = (lambda a, b: a + b) if kind == "residual" else (lambda a, b: torch.cat([a, b], 1))
            layers.append(Calls(lambda pair, x, join=join: join(pair[0](x), pair[1](x)), layer, other))
            if kind == "concatenation":
                layers.append(conv(2 * channels, channels, 1))
    return nn.Sequential(*layers)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(graphs())
def test_the_probe_agrees_on_random_graphs(model):
    agree(model, short=64)


# What sees everything


class Gate(nn.Module):
    """Squeeze and excite: each map is scaled by what the average of all maps says."""

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()


@pytest.mark.parametrize(
    ("head", "whole"),
    [
        ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)], True),
        ([nn.Flatten(), nn.Linear(4 * 12 * 12, 2)], True),
        ([Gate()], True),
        ([Calls(lambda layers, x: x.flatten(2).mean(-1))], True),
        ([Calls(lambda layers, x: x.flatten(2))], False),
        ([nn.GroupNorm(2, 4)], True),
        ([nn.InstanceNorm2d(4)], True),
        ([nn.BatchNorm2d(4)], False),
        ([nn.BatchNorm2d(4, track_running_stats=False)], True),
        ([nn.ReLU()], False),
    ],
)
def test_heads_that_see_the_whole_image(head, whole):
    field = receptive_field(nn.Sequential(conv(3, 4, 5), *head), (3, 16, 16))
    assert field.whole_image == whole
    assert field.size == (5, 5), "the trunk's, along local paths"


# Refusals: never a silent guess


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Calls(lambda layers, x: F.grid_sample(x, layers[0](x).permute(0, 2, 3, 1)), conv(3, 2, 3)), "grid_sampler"),
        (Calls(lambda layers, x: x.scatter_add(3, torch.zeros(1, 3, 30, 30).long(), layers[0](x)), conv(3, 3, 3)),
         "scatter_add in the model itself: it is not known"),
        (Calls(lambda layers, x: layers[0](x) * x.mean().item(), conv(3, 4, 3)), "depends on the values of pixels"),
        (Calls(lambda layers, x: x if x.sum() > 0 else layers[0](x), conv(3, 4, 3)), "depends on the values of pixels"),
        (Calls(lambda layers, x: layers[0](x)[x[:, :1, 1:-1, 1:-1].expand(-1, 4, -1, -1) > 0], conv(3, 4, 3)),
         "depends on the values of pixels"),
        (nn.Sequential(conv(3, 4, 3), Calls(lambda layers, x: x.gather(3, x.argmax(3, keepdim=True)))), "in 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_by_name(model, words):
    with pytest.raises(ReceptiveFieldError, match=words):
        receptive_field(model, (3, 32, 32))


@pytest.mark.parametrize("size", [(32, 32), (3, 32), (3, 0, 32), (1, 3, 32, 32), (3, 32.0, 32)])
def test_an_input_size_of_the_wrong_kind(size):
    with pytest.raises(ValueError, match=r"input_size must be \(C, H, W\)"):
        receptive_field(conv(3, 4, 3), size)


def test_a_model_that_fails_raises_its_own_error_with_the_size_that_was_tried():
    with pytest.raises(RuntimeError, match="channel") as caught:
        receptive_field(conv(5, 4, 3), (3, 32, 32))
    if hasattr(caught.value, "__notes__"):
        assert "input_size=(3, 32, 32)" in caught.value.__notes__[0]


def test_models_without_a_field():
    with pytest.raises(ReceptiveFieldError, match="no spatial operation"):
        receptive_field(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), (3, 4, 4))
    with pytest.raises(ReceptiveFieldError, match=r"0\.weight has no shape yet: run the model once"):
        receptive_field(nn.Sequential(nn.LazyConv2d(4, 3)))


# The model stays as it is


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_state_are_left_alone(fails):
    model = nn.Sequential(
        conv(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(),
        Calls(lambda layers, x: x * x.sum().item()) if fails else nn.ReLU(),
    )
    model[1].eval()
    modes = [module.training for module in model.modules()]
    values = {name: (value, value.clone()) for name, value in model.state_dict(keep_vars=True).items()}
    state = torch.get_rng_state()
    if fails:
        with pytest.raises(ReceptiveFieldError):
            receptive_field(model)
    else:
        receptive_field(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict(keep_vars=True).items():
        assert value is values[name][0]
        assert torch.equal(value, values[name][1])
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_a_network_that_runs_in_another_thread_meanwhile_is_not_followed():
    """As when a slider moves while a cell trains: the other one is in the middle of its pass all the while."""
    inside, measured = threading.Event(), threading.Event()

    def wait_inside(layers, x):
        inside.set()
        assert measured.wait(10)
        return x

    def run_other():
        with torch.no_grad():
            nn.Sequential(Calls(wait_inside))(torch.zeros(1, 3, 8, 8))

    def let_it_run(layers, x):
        x = layers[0](x)
        thread.start()
        assert inside.wait(10)
        return layers[1](x)

    thread = threading.Thread(target=run_other)
    field = receptive_field(nn.Sequential(Calls(let_it_run, conv(3, 3, 3), conv(3, 3, 5))))
    measured.set()
    thread.join()
    assert [layer.module for layer in field.layers] == ["0.layers.0", "0.layers.1"]
    assert {*field.modules} == {"", "0", "0.layers.0", "0.layers.1"}
    assert field.size == (7, 7)


def test_shared_modules_and_tied_weights_are_followed_and_left_alone():
    model = nn.Sequential(conv(3, 3, 3), conv(3, 3, 3), conv(3, 3, 3, dilation=2))
    model[1] = model[0]
    model[2].weight = model[0].weight
    before = [(name, id(value)) for name, value in model.named_parameters(remove_duplicate=False)]
    assert receptive_field(model).size == (9, 9)
    assert [(name, id(value)) for name, value in model.named_parameters(remove_duplicate=False)] == before


def test_wrapped_models_are_unwrapped():
    net = Net(0.125)
    expected = receptive_field(net)
    assert receptive_field(nn.DataParallel(net)) == expected
    assert receptive_field(torch.compile(net)) == expected


def test_the_table_names_modules_and_sizes():
    table = str(receptive_field(nn.Sequential(conv(3, 4, 3, padding=1), nn.MaxPool2d(2), conv(4, 8, (3, 5)))))
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["module", "operation", "output", "kernel", "stride", "dilation", "size", "jump", "start"]
    assert rows[1] == ["0", "convolution", "4x32x32", "3", "1", "1", "3", "1", "-1"]
    assert rows[3] == ["2", "convolution", "8x14x12", "3x5", "1", "1", "8x12", "2", "-1"]
    assert table.endswith("A unit of the trunk sees 8x12 pixels.")


def test_a_notebook_shows_the_same_table_in_html():
    field = receptive_field(nn.Sequential(conv(3, 4, 3), nn.AdaptiveAvgPool2d(1)))
    page = field._repr_html_()
    cells = re.findall(r"<t[hd]>(.*?)</t[hd]>", page)
    assert cells == [cell for row in field.rows() for cell in row]
    assert "sees 3 pixels, and the output sees the whole image" in page


# The effective field


@pytest.mark.parametrize(("kernel", "depth"), [(3, 5), (3, 10), (3, 20), (5, 6)])
def test_uniform_weights_give_the_closed_form(kernel, depth):
    """A stack of boxes: the variances of n uniform distributions over k pixels add up to n (k^2 - 1) / 12."""
    stack = nn.Sequential(*(conv(1, 1, kernel, padding=kernel // 2, bias=False) for _ in range(depth))).double()
    for layer in stack:
        nn.init.constant_(layer.weight, 1.0)
    field = effective_receptive_field(stack, torch.randn(2, 1, 65, 65, dtype=torch.float64))
    expected = (depth * (kernel**2 - 1) / 12) ** 0.5
    assert field.std == pytest.approx((expected, expected), rel=1e-6)
    assert field.heat.sum().item() == pytest.approx(1)
    # In the limit a round bell: half of it lies within 1.18 standard deviations, 95 % within 2.45.
    assert field.radius_50 == pytest.approx(1.177 * expected, abs=0.8)
    assert field.radius_95 == pytest.approx(2.448 * expected, abs=0.8)


def test_the_effective_field_lies_inside_the_theoretical_one():
    torch.manual_seed(0)
    model = nn.Sequential(conv(3, 8, 3, padding=1), nn.ReLU(), conv(8, 8, 5, padding=2), nn.ReLU())
    heat = effective_receptive_field(model, torch.randn(4, 3, 33, 33)).heat
    rows, columns = heat.nonzero().T
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == receptive_field(model).size == (7, 7)
    heat = effective_receptive_field(model, torch.randn(4, 3, 33, 33), layer=model[0]).heat
    assert (heat > 0).sum() == 9


def test_measuring_the_effective_field_leaves_the_model_alone():
    model = nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(2, 3, 16, 16)
    effective_receptive_field(model, images)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert images.grad is None
    assert all(not module._forward_hooks for module in model.modules())


def test_layers_without_a_map_or_a_gradient_are_named():
    model = nn.Sequential(conv(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
    with pytest.raises(ReceptiveFieldError, match="Linear gives no map of more than one pixel"):
        effective_receptive_field(model, torch.randn(1, 3, 16, 16), layer=model[2])
    dead = nn.Sequential(conv(3, 4, 3), nn.ReLU(inplace=True))
    nn.init.constant_(dead[0].bias, -1e6)
    with pytest.raises(ReceptiveFieldError, match="no gradient comes back"):
        effective_receptive_field(dead, torch.randn(1, 3, 16, 16), layer=dead[1])
    assert (effective_receptive_field(dead, torch.randn(1, 3, 16, 16)).heat > 0).sum() == 9, "before the activation"


def test_the_table_of_torchvisions_networks_is_of_this_calculator():
    """The big networks' probe stays out of the tests; that the table still holds what the calculator says does not."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 30
    assert {row[5] for row in rows} == {"yes"}
    for name, size, jump, start, *_ in rows:
        if name in ("googlenet", "densenet121", "mobilenet_v3_small", "shufflenet_v2_x1_0", "regnet_x_400mf"):
            field = receptive_field(getattr(torchvision.models, name)(weights=None), (3, 224, 224))
            assert (field.size[0], field.jump[0], field.start[0]) == (int(size), int(jump), int(start))


@pytest.mark.parametrize("seed", range(8))
def test_the_box_of_a_unit_is_what_turns_it_nan(seed):
    """Of a random chain, other along rows than along columns: units in the corners, over the padding, and inside."""
    rng = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return tuple(torch.randint(low, high + 1, (2,), generator=rng).tolist())

    model = nn.Sequential(*(conv(1, 1, draw(1, 4), draw(1, 2), draw(0, 3), draw(1, 2)) for _ in range(1 + seed % 3)))
    for weight in model.double().parameters():
        nn.init.ones_(weight)  # no path is lost to a zero
    image = torch.zeros(1, 1, 61, 53, dtype=torch.float64)
    field, (rows, columns) = receptive_field(model, (1, 61, 53)), model(image).shape[2:]
    for axis, length in enumerate(image.shape[2:]):
        poisoned = image.repeat(length, 1, 1, 1)  # row (or column) i of image i
        poisoned.transpose(1, 2 + axis)[range(length), range(length)] = float("nan")
        outputs = model(poisoned)[:, 0].isnan()
        for unit in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2), (0, columns - 1)):
            first, last = field.box(unit)[1 - axis :: 2]
            reached = {unit[axis]}
            for layer in reversed(model):
                kernel, stride, padding, dilation = (
                    getattr(layer, name)[axis] for name in ("kernel_size", "stride", "padding", "dilation")
                )
                reached = {i * stride - padding + tap * dilation for i in reached for tap in range(kernel)}
            assert (first, last - 1) == (min(reached), max(reached)), "by hand, into the padding"
            touched = outputs[:, unit[0], unit[1]].nonzero().flatten().tolist()
            assert all(first <= pixel < last for pixel in touched), "no pixel outside of the box"
            if first >= 0 and last <= length:  # there may be holes, but its ends are read
                assert (touched[0], touched[-1]) == (first, last - 1)


@pytest.mark.parametrize("unit", [(0, 0), (3, 5), (7, 7)])
def test_the_box_by_hand(unit):
    """3x3, pooled, 5x5 with padding: a unit sees 12 pixels, every second pixel one of them, the first from -5."""
    model = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 5, padding=2))
    left, top, right, bottom = receptive_field(model, (3, 16, 16)).box(unit)
    assert (left, top) == (2 * unit[1] - 5, 2 * unit[0] - 5)
    assert (right - left, bottom - top) == (12, 12)
