import copy
import time

import pytest
import torch
import torch.nn.functional as F
import torchsummary
from torch import nn

from eva.measure import count_macs, count_parameters, latency, peak_memory, summary
from eva.model import Net
from eva.receptive_field import receptive_field, shown


def test_macs_of_one_convolution_by_arithmetic():
    for inputs, outputs, kernel, stride, groups in (
        (3, 8, 3, 1, 1),
        (8, 12, 5, 2, 4),
        (6, 6, 3, 1, 6),
        (4, 9, 1, 1, 1),
    ):
        layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)
        side = -(-20 // stride)
        expected = outputs * side * side * (inputs // groups) * kernel * kernel
        assert count_macs(layer, (inputs, 20, 20)) == expected


def test_counting_leaves_the_model_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    count_macs(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_shared_parameter_counts_once():
    layer = nn.Linear(5, 5)
    assert count_parameters(nn.Sequential(layer, layer)) == 30


class Shared(nn.Module):
    """One convolution that runs twice, and a parameter that torchsummary does not know of."""

    def __init__(self):
        super().__init__()
        self.first = self.again = nn.Conv2d(3, 3, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(7))

    def forward(self, x):
        return F.max_pool2d(self.again(self.first(x)), 2)


def columns(table):
    """MACs and field of each row of a summary, as text."""
    rows = table.split("=" * 88)[1].strip().splitlines()
    return [tuple(row.split()[-2:]) for row in rows]


def test_the_summary_has_torchsummarys_rows_and_ours_beside_them(capsys):
    net = Net(0.125)
    table = summary(net)
    torchsummary.summary(copy.deepcopy(net).eval(), (3, 32, 32), device="cpu")
    theirs = capsys.readouterr().out.strip().splitlines()
    rule = next(i for i, line in enumerate(theirs) if line.startswith("==="))
    rows = theirs[rule + 1 : theirs.index("=" * 64, rule + 1)]
    ours = table.splitlines()[2 : 2 + len(rows)]
    assert [row[:64].rstrip() for row in ours] == [row.rstrip() for row in rows]
    macs, fields = zip(*columns(table), strict=True)
    assert sum(int(count.replace(",", "")) for count in macs) == count_macs(net)
    traced = [shown(layer.size) for layer in receptive_field(net).layers]
    convolutions = [field for row, field in zip(rows, fields, strict=True) if "Conv2d" in row or "MaxPool" in row]
    assert convolutions == traced
    assert fields[-2:] == ("all", "all"), "after global pooling"
    assert f"Total params: {count_parameters(net):,}" in table
    assert "the model has" not in table


def test_the_summary_corrects_torchsummarys_total():
    table = summary(Shared(), (3, 8, 8))
    assert [field for _, field in columns(table)] == ["3", "5"], "it runs twice"
    assert "torchsummary counts 168 parameters; the model has 91." in table


def test_a_layer_shared_between_blocks_has_its_own_field_at_each_run():
    layer = nn.Conv2d(3, 3, 3)
    table = summary(nn.Sequential(nn.Sequential(layer), nn.Sequential(layer)), (3, 9, 9))
    assert [field for _, field in columns(table)] == ["3", "3", "5", "5"], "torchsummary prints each run twice"
    assert sum(int(macs.replace(",", "")) for macs, _ in columns(table)) == 81 * (49 + 25)


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


def test_a_model_that_fails_raises_its_own_error_in_a_summary():
    with pytest.raises(RuntimeError, match=r"input_size=\(3, 32, 32\)"):
        summary(nn.Sequential(nn.Conv2d(5, 4, 3)))


def test_latency_is_about_what_the_model_takes():
    class Slow(nn.Sequential):
        def forward(self, x):
            assert not self.training, "measured as it will be used"
            time.sleep(0.01)
            return x

    model = Slow()
    assert 0.009 < latency(model, torch.zeros(1), seconds=0.1) < 0.1
    assert model.training


def test_memory_is_counted_on_cuda_and_cpu_only():
    with pytest.raises(ValueError, match="on cuda and cpu, not on meta"):
        peak_memory(lambda: None, "meta")


def test_peak_memory_is_of_what_lives_at_one_time():
    kept = torch.zeros(1000)

    def work():
        first = torch.zeros(50_000)  # 200 kB
        second = first + 1
        del first
        third = second * kept[0]  # the first is gone by now: two at a time, never three
        return third.sum()

    assert 400_000 <= peak_memory(work, "cpu") < 410_000
