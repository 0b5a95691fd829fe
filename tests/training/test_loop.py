import copy
import math
import weakref
from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from eva.augment import mixup
from eva.data import BatchLoader, loaders
from eva.model import Net
from eva.precision import Precision
from eva.training import TrainingError, train
from eva.training import test as evaluate

CPU = torch.device("cpu")
WIDTH = 0.125  # of the networks here


def linear(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))


def batches(count, *, size=10, classes=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [(torch.randn(size, 3, 8, 8, generator=rng), torch.randint(0, classes, (size,), generator=rng))
            for _ in range(count)]  # fmt: skip


def sgd(model, lr=0.01):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def test_the_snippet_of_the_course_runs_as_it_stands(splits, capsys):
    train_loader, validation_loader, _ = loaders(splits, batch_size=16, device=CPU)
    torch.manual_seed(0)
    model = Net(0.125, classes=3).to(CPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(1, 4):
        train(model, CPU, train_loader, optimizer, epoch)
        result = evaluate(model, CPU, validation_loader)
    assert result.accuracy > 0.9, "three classes of different brightness are quickly learned"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("epoch 1: training loss ")
    assert lines[1].startswith("test: loss ")


def test_train_takes_the_same_steps_as_a_loop_written_out():
    data = batches(7)
    ours, theirs = linear(), linear()
    result = train(ours, CPU, data, sgd(ours), 1, quiet=True)
    optimizer, losses, right = sgd(theirs), [], 0
    for images, labels in data:
        logits = theirs(images)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        right += (logits.argmax(1) == labels).sum().item()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert result.loss == pytest.approx(sum(losses) / 7)
    assert (result.accuracy, result.images) == (right / 70, 70)


@pytest.mark.parametrize("seconds", [0, 1e-3, 1e9])
@pytest.mark.parametrize("count", [1, 40])
def test_every_loss_is_counted_once_however_often_they_are_read(count, seconds, monkeypatch):
    monkeypatch.setattr("eva.training.meter.READ_AFTER", seconds)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    optimizer = sgd(model, lr=0.0)
    data = batches(count)
    expected = sum(F.cross_entropy(model(images), labels).item() for images, labels in data) / count
    assert train(model, CPU, data, optimizer, 1, quiet=True).loss == pytest.approx(expected, rel=1e-5)


def test_test_changes_nothing_and_agrees_with_arithmetic():
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(192, 3)
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = batches(3, size=7) + batches(1, size=2)
    result = evaluate(model, CPU, data, quiet=True)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    logits = torch.cat([model(images) for images, _ in data])
    labels = torch.cat([labels for _, labels in data])
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result.accuracy == (logits.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("stops", [False, True])
def test_test_leaves_every_module_in_its_own_mode(stops):
    """A frozen backbone stays in evaluation mode while its head trains: the modes of a model are not one."""
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), nn.Flatten(), nn.Dropout(0.5))
    model.append(nn.Linear(192, 3)).train()
    model[0].eval()
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    data = batches(2)
    if stops:
        data[1][1][0] = 7
        with pytest.raises(ValueError, match="got 0 to 7"):
            evaluate(model, CPU, data, quiet=True)
    else:
        evaluate(model, CPU, data, quiet=True)
    assert [module.training for module in model.modules()] == modes


def test_labels_of_mixup_are_taken(rng):
    images, labels = batches(1)[0]
    model = linear()
    result = train(model, CPU, [mixup(images, labels, rng, classes=3)], sgd(model), 1, quiet=True)
    assert result.images == 10


def test_after_step_is_called_after_each_step():
    model = linear()
    optimizer = sgd(model, lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(model, CPU, batches(3), optimizer, 1, after_step=schedule.step, quiet=True)
    assert optimizer.param_groups[0]["lr"] == 0.125


PASSES = [lambda model, data: train(model, CPU, data, sgd(model), 1), lambda model, data: evaluate(model, CPU, data)]


@pytest.mark.parametrize("pass_over", PASSES)
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]), "labels must be from 0 to 2 .* got 0 to 3"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([-1, 1]), "got -1 to 1"),
        (torch.zeros(2, 8, 8, 3), torch.tensor([0, 1]), r"got \(2, 8, 8, 3\): the channels come last here; use"),
        (torch.zeros(3, 8, 8), torch.tensor([0, 1, 2]), r"images must be \(N, C, H, W\), got \(3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), r"normalised floats, got torch\.uint8"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([0, 1, 2]), "2 images and 3 labels"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([0.0, 1.0]), r"labels must be int64 .* got torch\.float32 \(2,\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1]), r"got float64.* use images.float\(\)"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([[0], [1]]), r"labels must be int64 \(N,\) .* got torch.int64 \(2, 1\)"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 4), r"labels are \(N, 4\) and the network has 3 outputs"),
    ],
)
def test_batches_that_do_not_fit_are_refused(pass_over, images, labels, message):
    with pytest.raises(ValueError, match=message):
        pass_over(linear(), [(images, labels)])


class Answers(nn.Module):
    """A network that gives whatever `make` makes of its logits."""

    def __init__(self, make):
        super().__init__()
        self.network, self.make = linear(), make

    def forward(self, images):
        return self.make(self.network(images))


@pytest.mark.parametrize("pass_over", PASSES)
@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda logits: (logits, logits), "tuple"),
        (lambda logits: {"logits": logits}, "dict"),
        (lambda logits: logits[:, 0], r"\(5,\)"),
        (lambda logits: logits[:, :, None], r"\(5, 3, 1\)"),
        (lambda logits: logits[:4], r"\(4, 3\)"),
    ],
)
def test_a_network_that_gives_something_else_than_logits_is_refused(pass_over, make, got):
    with pytest.raises(ValueError, match=rf"Answers must give logits \(5, classes\) for 5 images, got {got}"):
        pass_over(Answers(make), batches(1, size=5))


@pytest.mark.parametrize("pass_over", PASSES)
@pytest.mark.parametrize("labels", [torch.rand(6, 1), torch.zeros(6, dtype=torch.int64)])
def test_one_output_is_refused(pass_over, labels):
    """Of one, argmax is always right: the accuracy would be 100 % on noise."""
    with pytest.raises(ValueError, match="Sequential has one output, and there is no choice among one"):
        pass_over(linear(classes=1), [(torch.randn(6, 3, 8, 8), labels)])


@pytest.mark.parametrize("pass_over", PASSES)
@pytest.mark.parametrize("row", [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.5, -0.5, 0.0], [0.3, 0.3, 0.3]])
def test_labels_that_are_no_distribution_are_refused(pass_over, row):
    labels = torch.tensor([[0.2, 0.8, 0.0], row])
    with pytest.raises(ValueError, match="must be shares that make 1 for each image"):
        pass_over(linear(), [(torch.randn(2, 3, 8, 8), labels)])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_image_that_is_not_finite_is_named_and_nothing_is_learned_from_its_batch(value):
    model = nn.Sequential(nn.BatchNorm2d(3), linear())
    data = batches(3, size=8)
    data[1][0][5, 2, 3, 3] = value
    data[1][0][6, 1, 0, 0] = value
    whole = copy.deepcopy(model)
    train(whole, CPU, data[:1], sgd(whole), 1, quiet=True)
    with pytest.raises(ValueError, match=r"image 5 of a batch .* NaN or infinite \(2 of its 8 images do\)"):
        train(model, CPU, data, sgd(model), 1, quiet=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), "as after the batch before"


def test_large_finite_images_are_taken():
    images, labels = batches(1, size=4)[0]
    images[:2] = 3e38  # the sum is infinite, and no pixel is
    model = nn.Sequential(nn.Tanh(), linear())
    assert train(model, CPU, [(images, labels)], sgd(model), 1, quiet=True).images == 4


@pytest.mark.parametrize("shape", [(4, 64, 8, 3), (4, 5, 9, 1), (4, 3, 3, 3), (4, 1, 8, 1)])
def test_maps_that_only_look_like_channels_last_are_taken(shape):
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape[1:]), 3))
    assert train(model, CPU, [(torch.randn(shape), torch.tensor([0, 1, 2, 0]))], sgd(model), 1, quiet=True).images == 4


def test_a_last_batch_of_one_image_behind_batch_norm_says_what_to_do(splits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    images, labels = torch.randn(9, 3, 32, 32), torch.arange(9) % 3
    plain = DataLoader(TensorDataset(images, labels), batch_size=4)
    with pytest.raises(ValueError, match=r"one value per channel in a batch of 1.* drop_last=True"):
        train(model, CPU, plain, sgd(model), 1, quiet=True)
    ours = BatchLoader(splits.train.take(slice(33)), splits.normalisation, batch_size=8, shuffle=True)
    assert [len(labels) for _, labels in ours] == [8, 8, 8, 9]
    assert len(ours) == 4
    assert train(model, CPU, ours, sgd(model), 1, quiet=True).images == 33


def test_a_bad_label_in_a_later_batch_is_found_too():
    data = batches(3)
    data[2][1][5] = 7
    model = linear()
    with pytest.raises(ValueError, match="from 0 to 2 for a network of 3 outputs, got 7 to 7"):
        train(model, CPU, DataLoader(TensorDataset(*(torch.cat(t) for t in zip(*data, strict=True)))), sgd(model), 1)


def test_labels_of_a_split_are_compared_with_the_network_before_the_first_step(splits):
    model = Net(0.125, classes=2)
    with pytest.raises(ValueError, match="from 0 to 1 for a network of 2 outputs, got 0 to 2"):
        train(model, CPU, loaders(splits, batch_size=16)[0], sgd(model), 1)


@pytest.mark.parametrize(
    "pass_over", [lambda model: train(model, CPU, [], sgd(model), 1), lambda m: evaluate(m, CPU, [])]
)
def test_an_empty_loader(pass_over):
    with pytest.raises(ValueError, match="the loader gave no batch"):
        pass_over(linear())


@pytest.mark.parametrize("seconds", [0, 1e9])
@pytest.mark.parametrize("bad_step", [1, 7, 20])
def test_a_loss_that_became_nan_names_its_own_step_and_learning_rate(bad_step, seconds, monkeypatch):
    monkeypatch.setattr("eva.training.meter.READ_AFTER", seconds)
    steps = count(1)

    def loss_fn(logits, labels):
        return F.cross_entropy(logits, labels) * (float("nan") if next(steps) == bad_step else 1)

    data, model = batches(20), linear()
    optimizer = sgd(model, lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    with pytest.raises(
        TrainingError, match=f"became nan at step {bad_step} of epoch 4, at a learning rate of"
    ) as caught:
        train(model, CPU, data, optimizer, 4, loss_fn=loss_fn, after_step=schedule.step)
    assert f"{1 / bad_step:.4g}" in str(caught.value)


@pytest.mark.parametrize(("seconds", "reads"), [(1e9, 1), (0, 31)])
def test_the_device_is_waited_for_once_a_second_and_at_the_end(seconds, reads, monkeypatch):
    """Each way from a tensor to a Python number makes a GPU's queue run dry: count them all."""
    monkeypatch.setattr("eva.training.meter.READ_AFTER", seconds)
    waits = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(tensor, *args, original=original, name=name):
            waits.append(name)
            return original(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)

    class OnADevice(list):
        label_range = (0, 2)

    model = linear()
    optimizer, data = sgd(model), OnADevice(batches(30))
    waits.clear()
    train(model, CPU, data, optimizer, 1, quiet=True)
    assert waits == ["tolist"] * reads


def test_too_little_memory_names_the_batch_and_a_smaller_one():
    def too_large(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    model = linear()
    with pytest.raises(TrainingError, match="memory at a batch of 10 images of 8x8: try a batch of 5"):
        train(model, CPU, batches(1), sgd(model), 1, loss_fn=too_large)
    with pytest.raises(TrainingError, match="a batch of 1 images of 8x8: try a smaller network"):
        train(model, CPU, batches(1, size=1), sgd(model), 1, loss_fn=too_large)


def test_what_the_layers_made_is_let_go_where_memory_ran_out():
    """A notebook keeps the last error. What it holds must not keep the smaller batch from fitting."""
    kept = []

    def too_large(logits, labels):
        large = torch.zeros(1000)
        kept.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = linear()
    with pytest.raises(TrainingError) as caught:
        train(model, CPU, batches(1), sgd(model), 1, loss_fn=too_large)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert kept[0]() is None


def test_mixed_precision_trains_in_its_dtype(splits):
    seen = []
    model = Net(WIDTH, classes=3)
    model.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    precision = Precision(torch.bfloat16, torch.amp.GradScaler("cpu", enabled=False))
    result = train(model, CPU, loaders(splits, batch_size=32)[0], sgd(model), 1, precision=precision, quiet=True)
    assert set(seen) == {torch.bfloat16}
    assert result.loss < 2
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_the_loss_is_computed_in_float32_though_the_network_is_not():
    seen = set()

    def loss_fn(logits, labels):
        seen.add(logits.dtype)
        return F.cross_entropy(logits, labels)

    model = linear()
    precision = Precision(torch.bfloat16, torch.amp.GradScaler("cpu", enabled=False))
    train(model, CPU, batches(2), sgd(model), 1, loss_fn=loss_fn, precision=precision, quiet=True)
    assert seen == {torch.float32}
