import torch
from torch import nn

from eva.measure import count_macs, count_parameters


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
