"""The table of layers, against torchsummary's own where that is right."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchsummary
import torchvision
from torch import nn

from eva.measure import count_macs, count_parameters
from eva.model import Net
from eva.receptive_field import receptive_field, shown
from eva.summary import summary
from tests.receptive_field.truth import Calls


class Shared(nn.Module):
    """One convolution that runs twice, and a parameter that torchsummary does not know of."""

    def __init__(self):
        super().__init__()
        self.first = self.again = nn.Conv2d(3, 3, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(7))

    def forward(self, x):
        return F.max_pool2d(self.again(self.first(x)), 2)


def squeezed(text):
    """The lines of a table, with single spaces."""
    return [" ".join(line.split()) for line in str(text).splitlines()]


@pytest.mark.parametrize("make", [
    lambda: Net(0.125), lambda: torchvision.models.squeezenet1_1(), lambda: torchvision.models.mobilenet_v3_small(),
])  # fmt: skip
def test_the_table_is_torchsummarys_with_two_columns_more(make, capsys):
    model, size = make(), (3, 64, 64)
    table = squeezed(summary(model, size, columns=("layer", "output", "params")))
    torchsummary.summary(copy.deepcopy(model).eval(), size, device="cpu")
    theirs = [line for line in squeezed(capsys.readouterr().out.strip()) if set(line) > {"-"} or "=" not in line]
    ours = [line for line in table if not line.startswith(("MACs", "*"))]

    def text(lines):
        return [line for line in lines if set(line) - {"-", "="}]

    assert text(ours) == text(theirs)
    macs = summary(model, size)
    assert sum(row.macs for row in macs.rows) == macs.total_macs == count_macs(model, size)


def test_fields_are_those_of_the_trunk():
    net = Net(0.125)
    rows = summary(net).rows
    convolutions = [row.field for row in rows if row.layer.startswith(("Conv2d", "MaxPool"))]
    assert convolutions == [shown(layer.size) for layer in receptive_field(net).layers]
    assert [row.field for row in rows[-2:]] == ["all", "all"], "after global pooling"


def test_a_gate_is_marked_and_the_trunk_goes_on():
    gate = Calls(lambda layers, x: x * layers[0](x.mean((2, 3), keepdim=True)), nn.Conv2d(4, 4, 1))
    table = summary(nn.Sequential(nn.Conv2d(3, 4, 3), gate, nn.Conv2d(4, 4, 3)), (3, 16, 16))
    assert [row.field for row in table.rows] == ["3", "all", "3*", "5*"]
    assert table.notes == ("* A gate, attention or statistics saw the whole image as well.",)


def test_what_runs_twice_has_its_parameters_once():
    table = summary(Shared(), (3, 8, 8))
    assert [(row.layer, row.params, row.macs, row.field) for row in table.rows] == [
        ("Conv2d-1", 84, 81 * 64, "3"), ("Conv2d-2", 0, 81 * 64, "5"), ("Shared itself-3", 7, 0, "6"),
    ]  # fmt: skip
    assert (table.total_params, table.total_macs) == (91, 2 * 81 * 64)


def test_functional_products_and_attention_count():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.kernel = (
                nn.MultiheadAttention(8, 2, batch_first=True),
                nn.Parameter(torch.ones(8, 3, 2, 2)),
            )

        def forward(self, x):
            tokens = F.conv2d(x, self.kernel, stride=2).flatten(2).transpose(1, 2)
            return self.attention(tokens, tokens, tokens)[0]

    table = summary(Mixed(), (3, 8, 8))
    assert [(row.layer, row.macs) for row in table.rows] == [
        ("MultiheadAttention-1", 4 * 16 * 64 + 2 * 16 * 16 * 8), ("Mixed itself-2", 16 * 8 * 12),
    ]  # fmt: skip


def test_frozen_weights_and_parametrisations_are_told_apart():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 5, 3)))
    model[0].weight.requires_grad_(False)
    table = summary(model, (3, 16, 16))
    assert (table.total_params, table.trainable_params) == (112 + 185, 4 + 185)
    assert sum(row.params for row in table.rows) == table.total_params


@pytest.mark.parametrize("name", ["densenet121", "googlenet", "vit_b_16", "swin_t"])
def test_networks_on_which_torchsummary_stops_or_counts_wrong(name):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None)
    table = summary(model, (3, 224, 224))
    assert table.total_params == count_parameters(model)
    assert table.total_macs == count_macs(model, (3, 224, 224)) > 1e9
    assert not [note for note in table.notes if "not told" in note]


def test_a_field_that_is_refused_leaves_its_column_blank_and_says_why():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), Calls(lambda layers, x: F.grid_sample(x, x.permute(0, 2, 3, 1))))
    table = summary(model, (3, 8, 8))
    assert [row.field for row in table.rows] == ["", ""]
    assert "Fields not told: the operation grid_sampler_2d in 1" in str(table)
    assert table.total_macs == 36 * 54


def test_one_layer_alone_children_that_give_dictionaries_and_lists():
    assert [row.layer for row in summary(nn.Conv2d(3, 4, 3)).rows] == ["Conv2d-1"]
    model = nn.Sequential(
        Calls(lambda layers, x: {"a": x, "b": [layers[0](x)]}, nn.ReLU()), Calls(lambda layers, x: x["a"])
    )
    assert [row.output for row in summary(model, (3, 8, 8)).rows] == [(3, 8, 8)] * 3


def test_a_tree_of_modules_with_all_that_is_inside():
    net = Net(0.25)
    table = summary(net, depth=1)
    assert [row.layer for row in table.rows][:3] == ["Net", "stem (Conv2d)", "initial (Sequential)"]
    assert [row.params for row in table.rows] == [count_parameters(net), *map(count_parameters, net.children())]
    assert table.rows[0].macs == sum(row.macs for row in table.rows[1:]) == count_macs(net)
    assert "\n  stem (Conv2d)" in str(table)


def test_columns_are_chosen_and_html_shows_the_same():
    table = summary(Net(0.125), columns=("name", "macs"))
    assert squeezed(table)[1] == "Name MACs"
    assert f"initial.0.2 {32 * 32 * 9 * 32 * 8:,}" in squeezed(table)
    assert f"<td>initial.0.2</td><td>{32 * 32 * 9 * 32 * 8:,}</td>" in table._repr_html_()
    assert f"MACs of one image: {count_macs(Net(0.125)):,}" in table._repr_html_()
    with pytest.raises(
        ValueError, match="there is no column 'flops': choose some of layer, name, output, params, macs"
    ):
        summary(Net(0.125), columns=("flops",))


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.embedding = nn.Conv2d(3, 4, 3), nn.Embedding(5, 4)

        def forward(self, x, label):
            return self.conv(x) + self.embedding(label)[:, :, None, None]

    table = summary(Two(), input_data=(torch.zeros(2, 3, 8, 8), torch.tensor([1, 2])))
    assert [(row.layer, row.macs, row.params) for row in table.rows] == [
        ("Conv2d-1", 2 * 36 * 108, 112), ("Embedding-2", 0, 20),
    ]  # fmt: skip


def test_the_summary_leaves_the_model_and_torchs_random_state_alone():
    def changed(look):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())
        before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        look(model)
        statistics = any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
        hooks = any(module._forward_hooks for module in model.modules())
        return statistics, not torch.equal(torch.get_rng_state(), state), hooks, not model.training

    assert changed(lambda model: torchsummary.summary(model, (3, 8, 8), device="cpu"))[:2] == (True, True)
    assert changed(lambda model: summary(model, (3, 8, 8))) == (False, False, False, False)


def test_a_model_that_fails_raises_its_own_error():
    with pytest.raises(RuntimeError, match="channels"):
        summary(nn.Sequential(nn.Conv2d(5, 4, 3)))
