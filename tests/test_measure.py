import time

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from eva.measure import count_macs, count_parameters, latency, peak_memory
from tests.receptive_field.truth import Calls


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


def macs_of(forward, *layers, size=(3, 6, 5)):
    return count_macs(Calls(forward, *layers), size)


@pytest.mark.parametrize(("macs", "expected"), [
    (lambda: macs_of(lambda layers, x: x[0, 0] @ x[0, 0, 0]), 6 * 5),
    (lambda: macs_of(lambda layers, x: x[0, 0, 0].dot(x[0, 1, 2])), 5),
    (lambda: macs_of(lambda layers, x: torch.addmv(x[0, 0, :, 0], x[0, 1], x[0, 2, 3])), 6 * 5),
    (lambda: macs_of(lambda layers, x: torch.addbmm(x[0, 0] @ x[0, 0].T, x[0], x[0].mT)), 6 * 5 * 6 * 4),
    (lambda: macs_of(lambda layers, x: torch.baddbmm(torch.zeros(1), x[0], x[0].mT)), 3 * 6 * 5 * 6),
    (lambda: macs_of(lambda layers, x: layers[0](x[0, 0], x[0, 1]), nn.Bilinear(5, 5, 7)), 6 * 5 * 5 * 7),
    (lambda: macs_of(lambda layers, x: torch.cdist(x[0, 0], x[0, 1])), 6 * 6 * 5),
    (lambda: macs_of(lambda layers, x: torch.cdist(x[0, 0].repeat(9, 1), x[0, 1].repeat(8, 1))), 54 * 48 * 5),
    (lambda: macs_of(lambda layers, x: torch.einsum("nchw,dc->ndhw", x, layers[0].weight), nn.Linear(3, 8)), 720),
    (lambda: macs_of(lambda layers, x: layers[0](x), nn.ConvTranspose2d(3, 4, 3, 2)), 3 * 4 * 9 * 30),
    (lambda: macs_of(lambda layers, x: layers[0](x), nn.Linear(5, 8)), 18 * 5 * 8),
    (lambda: macs_of(lambda layers, x: F.scaled_dot_product_attention(x, x, x)), 2 * 3 * 6 * 6 * 5),
    (lambda: macs_of(attended, nn.MultiheadAttention(12, 3, batch_first=True)), 4 * 7 * 12 * 12 + 2 * 7 * 7 * 12),
    (lambda: macs_of(deformed, nn.Conv2d(3, 18, 3, padding=1)), 30 * (18 * 27 + 4 * 27)),
    (lambda: macs_of(lambda layers, x: x * x + x.sum()), 0),
])  # fmt: skip
def test_macs_by_arithmetic(macs, expected):
    assert macs() == expected


def attended(layers, x):
    tokens = x.flatten(1)[:, :84].view(1, 7, 12)
    return layers[0](tokens, tokens, tokens)[0]


def deformed(layers, x):
    return torchvision.ops.deform_conv2d(x, layers[0](x), torch.ones(4, 3, 3, 3), padding=1)


def test_what_cannot_be_counted_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Calls(lambda layers, x: torch.fft.rfft2(x).abs()))
    with pytest.warns(UserWarning, match=r"not counted among the MACs: _fft_r2c in 1"):
        assert count_macs(model, (3, 8, 8)) == 36 * 4 * 27


def test_macs_of_models_of_any_dtype_with_views_of_parameters_and_memories():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.last = nn.Parameter(torch.zeros(4, 27)), None

        def forward(self, x):
            self.last = F.conv2d(x, self.weight.view(4, 3, 3, 3))
            return self.last

    for model in (Odd(), Odd().double(), Odd().half(), Odd().bfloat16(), Odd().to("meta")):
        assert count_macs(model, (3, 8, 8)) == 36 * 4 * 27
        assert model.last is None


def test_a_model_can_train_after_its_latency_was_measured():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.window = nn.Linear(4, 1), None

        def forward(self, x):
            self.window = x * 2 if self.window is None else self.window
            return self.layer(x * self.window)

    model = Remembers()
    latency(model, torch.ones(2, 4), seconds=0.01)
    model(torch.ones(2, 4)).sum().backward()


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
