"""What each value of an output is told to see, against what changes it when the image is changed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.receptive_field_timm import PAGE, RECORD, page
from eva.files import read_json
from eva.receptive_field import ReceptiveFieldError, receptive_field
from tests.receptive_field.graphs import DRAWN, GRAPHS
from tests.receptive_field.truth import Calls, held_to_the_truth


@pytest.mark.parametrize("name", GRAPHS)
def test_each_value_sees_what_changes_it(name):
    held_to_the_truth(GRAPHS[name], images=16 if name in DRAWN else 1)


class Swapped(nn.Module):
    """Two convolutions, of which the one runs where values are computed and the other where they are not."""

    def __init__(self, computed, followed):
        super().__init__()
        self.computed, self.followed = computed, followed

    def forward(self, x):
        return (self.computed if type(x) is torch.Tensor else self.followed)(x)


@pytest.mark.parametrize(("kernel", "words"), [(3, None), (1, "see more than was told"), (5, "see less than was told")])
def test_the_truth_notices_a_calculator_that_is_wrong(kernel, words):
    model = Swapped(nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, kernel, padding=kernel // 2))
    if words is None:
        assert held_to_the_truth(model) == 2 * 22 * 18
    else:
        with pytest.raises(AssertionError, match=words):
            held_to_the_truth(model)


KINDS = ("conv", "pool", "flatten", "write", "split", "crop", "norm", "again", "stride", "up", "shuffle", "tokens")


@st.composite
def networks(draw):
    """Chains of what people do to maps: of six channels, kept so."""
    steps = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    layers = [nn.Conv2d(3, 6, 1)]
    for kind in steps:
        kernel = draw(st.sampled_from([1, 3, 5]))
        same = nn.Conv2d(6, 6, kernel, padding=kernel // 2, groups=draw(st.sampled_from([1, 2, 6])))
        layers.append(step(kind, same, draw(st.integers(1, 3))))
    return nn.Sequential(*layers)


def step(kind, same, number):
    """One of KINDS, as a module; `same` keeps the size of a map."""

    def written(layers, x):
        y = x.clone()
        y[:, :number] += layers[0](x)[:, :number]
        return y

    def split(layers, x):
        a, b = x.split([number, 6 - number], 1)
        return torch.cat([b, layers[0](x)[:, :number] * a], 1)

    def tokens(layers, x):
        flat = layers[0](x).flatten(2).transpose(1, 2)
        return layers[1](flat).transpose(1, 2).reshape(x.shape)

    forward = {
        "conv": lambda layers, x: layers[0](x),
        "pool": lambda layers, x: nn.functional.max_pool2d(layers[0](x), 3, 1, 1),
        "flatten": lambda layers, x: layers[0](x.flatten(2).view(x.shape)) + x,
        "write": written,
        "split": split,
        "crop": lambda layers, x: layers[0](x)[:, :, number:, : x.shape[3] - number],
        "norm": lambda layers, x: layers[0](nn.functional.layer_norm(x, x.shape[number:])),
        "again": lambda layers, x: layers[0](layers[0](x)),
        "stride": lambda layers, x: layers[0](x)[:, :, ::2, number % 2 :: 2],
        "up": lambda layers, x: layers[0](nn.functional.interpolate(x, scale_factor=2)),
        "shuffle": lambda layers, x: layers[0](x).view(len(x), 2, 3, *x.shape[2:]).transpose(1, 2).flatten(1, 2),
        "tokens": tokens,
    }[kind]
    return Calls(forward, same, nn.Linear(6, 6))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(networks())
def test_each_value_of_random_graphs_sees_what_changes_it(model):
    held_to_the_truth(model, (3, 14, 12))


# What a caller gets


def test_the_field_after_upsampling_is_a_range():
    field = receptive_field(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(4), nn.Upsample(scale_factor=4), nn.Conv2d(4, 4, 3)), (3, 34, 34)
    )
    assert (field.size, field.least, field.jump, field.everywhere) == ((10, 10), (6, 6), (1, 1), False)
    assert "sees 6 to 10 pixels (it varies with the place)" in str(field)


@pytest.mark.parametrize("head", [
    nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(20), nn.Conv2d(4, 2, 20), nn.Conv2d(4, 2, 45, padding=22),
    Calls(lambda layers, x: x.mean(3).mean(2)), Calls(lambda layers, x: x.flatten(1).sum(1)),
])  # fmt: skip
def test_a_head_that_sees_everything_does_so_however_it_is_spelled(head):
    assert receptive_field(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), head), (3, 20, 20)).whole_image


@pytest.mark.parametrize("model", [
    Calls(lambda layers, x: layers[0](x)[:, :, 2:].mean((2, 3)), nn.Conv2d(3, 2, 1)),
    Calls(lambda layers, x: layers[0](x).mean((2, 3)), nn.Conv2d(3, 2, 2, stride=3)),
    Calls(lambda layers, x: nn.functional.layer_norm(layers[0](x), (20,)), nn.Conv2d(3, 2, 3, padding=1)),
])  # fmt: skip
def test_a_crop_gaps_or_one_row_are_not_everything(model):
    assert not receptive_field(model, (3, 20, 20)).whole_image


def test_of_several_outputs_the_deepest_counts_or_the_one_that_is_named():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5)

        def forward(self, x):
            x = self.first(x)
            return {"aux": x, "main": self.second(x)}

    field = receptive_field(Heads())
    assert field.size == (7, 7)
    assert [output.size for output in field.outputs] == [(3, 3), (7, 7)]
    assert receptive_field(Heads(), layer="first").size == (3, 3)
    with pytest.raises(KeyError, match=r"no module 'third' ran .*'first', 'second'"):
        receptive_field(Heads(), layer="third")


# The model stays as it is


class Caching(nn.Module):
    """Keeps what it made in a first pass, in the ways that people do."""

    def __init__(self):
        super().__init__()
        self.conv, self.window, self.sizes, self.seen = nn.Conv2d(3, 4, 3), None, [], {"deep": [{}]}
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("table", torch.zeros(2, 3))
        self.register_buffer("row", self.table[1])  # which shares its memory

    def forward(self, x):
        if self.window is None:
            self.window = torch.arange(x.shape[3], device=x.device) / x.shape[3]
        self.sizes.append(x.shape)
        self.seen["deep"][0][x.shape] = self.conv(x)
        self.steps += 1
        self.table.fill_(3)
        return self.conv(x * self.window) + self.row[0]


def test_measuring_leaves_what_a_model_keeps_alone():
    model = Caching()
    assert receptive_field(model, (3, 16, 16)).size == (3, 3)
    assert (model.window, model.sizes, model.seen) == (None, [], {"deep": [{}]})
    assert model.steps == 0
    assert model.row.tolist() == [0, 0, 0]
    model(torch.zeros(1, 3, 16, 16)).sum().backward()


@pytest.mark.parametrize(("model", "words"), [
    (torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)), "is scripted: measure the model that it was made"),
    (nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3))), "is scripted"),
    (Calls(lambda layers, x: layers[0](x) * sum(x.mean((0, 2, 3)).tolist()), nn.Conv2d(3, 4, 3)), "values of pixels"),
    (Calls(lambda layers, x: layers[0](x) + torch.from_numpy(x.numpy()).sum(), nn.Conv2d(3, 4, 3)), "numpy in"),
])  # fmt: skip
def test_what_cannot_be_followed_says_so(model, words):
    with pytest.raises(ReceptiveFieldError, match=words):
        receptive_field(model, (3, 16, 16))


def test_constants_and_contexts_of_the_models_own_work():
    class Usual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mean = nn.Conv2d(3, 4, 3), torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)  # not a buffer

        def forward(self, x):
            with torch.autocast(x.device.type, torch.bfloat16):
                y = self.conv((x - self.mean) / torch.tensor([0.2, 0.2, 0.3]).view(3, 1, 1).to(x.device))
            return y * torch.arange(y.shape[3]) * torch.tensor(2.0).item()

    for model in (Usual(), Usual().double(), Usual().bfloat16(), Usual().to("meta")):
        assert receptive_field(model, (3, 16, 12)).size == (3, 3)


def test_the_page_on_timms_architectures_says_what_its_record_holds():
    rows = read_json(RECORD)
    assert page(rows) == PAGE.read_text()
    assert not [row["name"] for row in rows if row.get("agrees") is False or "crashed" in row]
