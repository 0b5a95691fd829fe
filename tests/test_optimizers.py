import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from eva.data import loaders
from eva.model import LADDER, Net
from eva.optimizers import Muon, muon, optimizer_for, orthogonalised
from eva.recipes import Recipe
from eva.training import fit, train

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=16, learning_rate=0.05)


def drawn(rng, low, high):
    return int(torch.randint(low, high + 1, (), generator=rng))


def with_singular_values(values, rows, columns, rng):
    left, right = (
        torch.linalg.qr(torch.randn(side, side, generator=rng, dtype=torch.float64))[0][:, : len(values)]
        for side in (rows, columns)
    )
    return (left * values) @ right.T


@pytest.mark.parametrize("seed", range(8))
def test_singular_values_come_near_to_one(seed):
    rng = torch.Generator().manual_seed(seed)
    rows, columns = drawn(rng, 1, 80), drawn(rng, 1, 80)
    values = torch.rand(min(rows, columns), generator=rng, dtype=torch.float64) + 0.02
    matrix = 10.0 ** drawn(rng, -5, 5) * with_singular_values(values, rows, columns, rng)
    out = torch.linalg.svdvals(orthogonalised(matrix.float()))
    assert out.min() > 0.6
    assert out.max() < 1.3


@pytest.mark.parametrize(("rows", "columns"), [(16, 48), (48, 16), (64, 576), (7, 1)])
def test_a_gaussian_matrix_keeps_its_directions(rows, columns):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).double()
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalised(matrix) @ right.T  # diagonal where the singular vectors are the same
    assert inner.diagonal().min() > 0.6
    assert inner.diagonal().max() < 1.3
    torch.testing.assert_close(inner, inner.diagonal().diag(), atol=1e-9, rtol=0)


def test_many_matrices_at_once_and_none_of_them_touches_another():
    matrices = torch.randn(2, 3, 12, 5, generator=torch.Generator().manual_seed(0))
    matrices[0, 1] = 0
    out = orthogonalised(matrices)
    assert not out[0, 1].any()
    for at in ((0, 0), (0, 2), (1, 1)):
        torch.testing.assert_close(out[at], orthogonalised(matrices[at]))


def moved(optimizer, parameters, steps=6):
    """`parameters` after some steps with gradients that are drawn alike each time."""
    rng = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=rng)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def start(*shapes, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]


@pytest.mark.parametrize(("rate", "momentum", "decay"), [(0.02, 0.95, 0.1), (0.3, 0.6, 0.0), (0.1, 0.0, 0.5)])
def test_matrices_move_as_pytorchs_muon_moves_them(rate, momentum, decay):
    shapes = (8, 24), (40, 10), (8, 24), (16, 64), (8, 24)  # those of one shape are done together
    ours, theirs = start(*shapes), start(*shapes)
    ours_moved = moved(Muon(ours, lr=rate, momentum=momentum, weight_decay=decay, matrices=True), ours)
    theirs_moved = moved(torch.optim.Muon(theirs, lr=rate, momentum=momentum, weight_decay=decay), theirs)
    for one, other, begun in zip(ours_moved, theirs_moved, start(*shapes), strict=True):
        assert (one - other).norm() < 0.02 * (other - begun).norm()  # PyTorch's rounds to bfloat16 on the way


def test_a_convolution_moves_as_its_matrix_in_any_memory_format():
    (matrix,) = moved(Muon(flat := start((12, 45)), matrices=True), flat)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        (weight,) = start((12, 45))
        weight = nn.Parameter(weight.detach().view(12, 5, 3, 3).to(memory_format=memory_format))
        optimizer, rng = Muon([weight], matrices=True), torch.Generator().manual_seed(1)
        for _ in range(6):
            gradient = torch.randn(12, 45, generator=rng).view(12, 5, 3, 3)
            weight.grad = gradient.to(memory_format=memory_format)
            optimizer.step()
        assert weight.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(weight.detach().flatten(1), matrix, rtol=1e-4, atol=1e-6)


def test_weights_that_are_alike_as_matrices_only_keep_their_own_shapes():
    shapes = (8, 2, 3, 3), (8, 18, 1, 1), (8, 18)
    together = start(*shapes)
    apart = start(*shapes)
    moved_together = moved(Muon(together, matrices=True), together)
    moved_apart = moved(Muon([{"params": [each]} for each in apart], matrices=True), apart)
    for one, other, shape in zip(moved_together, moved_apart, shapes, strict=True):
        assert one.shape == shape
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.9, 0.01), (0.0, 0.01)])
def test_other_groups_move_as_sgd_moves_them(momentum, decay):
    shapes = (4, 3, 3, 3), (7,), (10, 6), ()
    ours, theirs = start(*shapes), start(*shapes)
    sgd = torch.optim.SGD(theirs, lr=0.1, momentum=momentum, weight_decay=decay, nesterov=momentum > 0)
    ours_moved = moved(Muon(ours, lr=0.1, momentum=momentum, weight_decay=decay), ours)
    for one, other in zip(ours_moved, moved(sgd, theirs), strict=True):
        assert torch.equal(one, other)


def test_a_parameter_without_a_gradient_stays():
    (still, moving), before = start((3, 3), (3, 3)), start((3, 3), (3, 3))
    moving.grad = torch.ones(3, 3)
    Muon([still, moving], weight_decay=0.1, matrices=True).step()
    assert torch.equal(still, before[0])
    assert not torch.equal(moving, before[1])


def test_a_closure_is_called_with_gradients_and_its_loss_comes_back():
    (weight,) = start((3, 4))

    def closure():
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert Muon([weight], matrices=True).step(closure) == (start((3, 4))[0] ** 2).sum()


def test_after_its_state_is_loaded_it_goes_on_with_the_same_bits():
    whole = start((6, 4, 3, 3), (5,))
    groups = [{"params": whole[:1], "matrices": True, "lr": 0.05}, {"params": whole[1:], "weight_decay": 0.1}]
    optimizer = Muon(groups)
    moved(optimizer, whole)
    half, saved = [nn.Parameter(each.detach().clone()) for each in whole], copy.deepcopy(optimizer.state_dict())
    other = Muon([{"params": half[:1]}, {"params": half[1:]}])
    other.load_state_dict(saved)
    for one, two in zip(moved(optimizer, whole), moved(other, half), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("shape", [(7,), ()])
def test_a_vector_among_matrices_is_refused(shape):
    with pytest.raises(ValueError, match=r"2 or more dimensions, got \((7,)?\): put biases"):
        Muon([{"params": start((3, 3), shape), "matrices": True}])


def test_muon_sorts_the_parameters_of_a_network():
    net = Net(0.25)
    optimizer = muon(net, learning_rate=0.1, matrix_rate=0.02, momentum=0.8, weight_decay=0.3)
    names = {parameter: name for name, parameter in net.named_parameters()}
    weights, rest, matrices = ([names[each] for each in group["params"]] for group in optimizer.param_groups)
    assert matrices[0] == "initial.0.2.weight"
    assert "middle.0.3.weight" in matrices, "a 1x1 convolution mixes maps too"
    assert weights[:2] == ["stem.weight", "middle.0.2.weight"]  # colours, and a depthwise one
    assert weights[-1] == "classifier.weight"
    assert all(parameter.ndim == 1 for parameter, name in names.items() if name in rest)
    assert sorted(matrices + weights + rest) == sorted(names.values())
    said = [tuple(group[name] for name in ("lr", "weight_decay", "matrices")) for group in optimizer.param_groups]
    assert said == [(0.1, 0.3, False), (0.1, 0.0, False), (0.02, 0.3, True)]
    assert {group["momentum"] for group in optimizer.param_groups} == {0.8}


def test_muon_of_a_network_without_inner_convolutions_is_sgd():
    optimizer = muon(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)))
    assert not any(group["matrices"] for group in optimizer.param_groups)


def test_it_trains_with_the_course_s_loop_and_a_schedule(splits):
    train_loader, _, _ = loaders(splits, batch_size=16, device=CPU)
    torch.manual_seed(0)
    model = LADDER["batch norm"](classes=3)
    optimizer = muon(model, learning_rate=0.05)
    schedule = LambdaLR(optimizer, lambda step: 1 / (step + 1))
    results = [
        train(model, CPU, train_loader, optimizer, epoch, after_step=schedule.step, quiet=True) for epoch in (1, 2, 3)
    ]
    assert results[-1].accuracy > 0.9
    first, *_, last = optimizer.param_groups
    assert last["lr"] / first["lr"] == pytest.approx(0.02 / 0.05), "each group keeps its own rate"


def test_fit_resumes_with_the_same_bits(splits, tmp_path):
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.05, matrix_rate=0.02)

    def interrupt(rows):
        raise KeyboardInterrupt

    def run(out, **options):
        torch.manual_seed(0)
        model = Net(0.125, classes=3)
        return model, fit(model, splits, recipe, device=CPU, out=out, **options)

    whole, _ = run(tmp_path / "whole")
    run(tmp_path / "parts", on_epoch=interrupt)
    resumed, history = run(tmp_path / "parts", resume=True)
    assert len(history.rows) == 2
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_decay_touches_weights_only():
    model = Net(0.125)
    decayed, kept = optimizer_for(model, RECIPE).param_groups
    assert {p.ndim for p in kept["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) == 2
    assert (decayed["weight_decay"], kept["weight_decay"]) == (RECIPE.weight_decay, 0)
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


def test_a_matrix_rate_puts_muon_on_the_convolutions_inside():
    model = Net(0.125)
    groups = optimizer_for(model, replace(RECIPE, matrix_rate=0.02)).param_groups
    (matrices,) = [group["params"] for group in groups if group["matrices"]]
    inside = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1 and m.in_channels > 3]
    assert {id(parameter) for parameter in matrices} == {id(weight) for weight in inside}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert {group["lr"] for group in groups} == {0.02, RECIPE.learning_rate}


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, matrix_rate=0.02)])
def test_a_model_without_anything_to_train_is_refused_and_one_without_matrices_is_not(recipe):
    frozen = nn.Linear(3, 3).requires_grad_(False)
    for model in (nn.ReLU(), frozen):
        with pytest.raises(ValueError, match="has no parameter that could be trained"):
            optimizer_for(model, recipe)
    (group,) = optimizer_for(nn.BatchNorm2d(3), recipe).param_groups
    assert (len(group["params"]), group["weight_decay"]) == (2, 0)
