"""Predictions against loops over plain numbers, and torch's own losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eva.data import DataError, Split
from eva.mistakes import (
    RANKINGS,
    SUSPICIONS,
    Predictions,
    calibration,
    confident_class,
    confusion,
    find_mistakes,
    most_confused,
    ranked,
    suspected_label_errors,
)
from eva.model import Net
from tests.conftest import random_split


def random_predictions(seed: int, spread: float = 2.0) -> Predictions:
    rng = torch.Generator().manual_seed(seed)
    count, classes = (int(torch.randint(low, high, (), generator=rng)) for low, high in ((20, 60), (2, 9)))
    logits = spread * torch.randn(count, classes, generator=rng)
    labels = logits.softmax(1).multinomial(1, generator=rng)[:, 0]
    return Predictions(torch.randperm(1000, generator=rng)[:count], labels, logits)


def from_table(labels, *rows) -> Predictions:
    """Predictions with these probabilities."""
    return Predictions(torch.arange(len(rows)), torch.tensor(labels), torch.tensor(rows).double().log())


def small_network(classes: int = 3) -> nn.Sequential:
    layers = nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))


@pytest.fixture
def uniform() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((3,), 0.4), torch.full((3,), 0.25)


# The pass over the split


def test_every_image_is_predicted_once_in_order_whatever_the_batch_size(splits):
    torch.manual_seed(0)
    model, split = small_network(), splits.train.take(torch.randperm(96)[:50])
    predictions = find_mistakes(model, split, splits.normalisation, batch_size=7)
    mean, std = (value.view(1, 3, 1, 1) for value in splits.normalisation)
    with torch.no_grad():
        expected = model.eval()((split.images / 255 - mean) / std)
    torch.testing.assert_close(predictions.logits, expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(predictions.indices, split.indices)
    assert torch.equal(predictions.labels, split.labels)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_state_are_left_alone(splits, fails):
    model = small_network(classes=2 if fails else 3).train()  # two logits are too few for three classes
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    if fails:
        with pytest.raises(ValueError, match="labels must be from 0 to 1 for a network of 2 outputs, got 0 to 2"):
            find_mistakes(model, splits.test, splits.normalisation)
    else:
        find_mistakes(model, splits.test, splits.normalisation)
    assert [module.training for module in model] == [True, False, True, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_the_model_may_be_on_another_device_than_the_data(splits):
    model = small_network()
    expected = find_mistakes(model, splits.test, splits.normalisation)
    predictions = find_mistakes(model.cuda(), splits.test, splits.normalisation)
    assert predictions.logits.device.type == "cpu"
    torch.testing.assert_close(predictions.logits, expected.logits, atol=1e-2, rtol=1e-2)
    split = splits.test
    there = find_mistakes(model.cpu(), Split(split.images.cuda(), split.labels.cuda(), split.indices.cuda()),
                          splits.normalisation)  # fmt: skip
    torch.testing.assert_close(there.logits, expected.logits, atol=1e-5, rtol=1e-4)


def test_a_model_without_parameters_predicts_too(splits, uniform):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert find_mistakes(model, splits.test, uniform).logits.shape == (30, 3)


def test_logits_with_nan_say_how_many_and_what_to_do(splits, uniform):
    class Broken(nn.Module):
        def forward(self, images):
            dark = images.mean((1, 2, 3)) < -0.9
            return images.mean((2, 3)).masked_fill(dark[:, None], math.nan)

    split = splits.test.take(slice(1, None))
    dark = int((split.images.float().mean((1, 2, 3)) / 255 < 0.175).sum())
    assert 0 < dark < 29
    message = rf"the logits of {dark} of 29 images are NaN or infinite \(the first: image 3\)"
    with pytest.raises(ValueError, match=message + ".*an earlier checkpoint"):
        find_mistakes(Broken(), split, uniform)
    diverged = small_network()
    nn.init.constant_(diverged[-1].bias, math.inf)
    with pytest.raises(ValueError, match="the logits of 29 of 29 images"):
        find_mistakes(diverged, split, uniform)


def test_a_split_without_images_is_refused(splits, uniform):
    with pytest.raises(DataError, match="no images"):
        find_mistakes(small_network(), splits.test.take(slice(0)), uniform)


@pytest.mark.parametrize(("logits", "labels"), [((4, 3, 1), 4), ((4, 3), 5), ((4,), 4), ((0, 3), 0)])
def test_shapes_that_do_not_fit_are_shown(logits, labels):
    zeros = torch.zeros(labels, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"logits \(N, classes\).* of at least one image, got \(\d, ?"):
        Predictions(zeros, zeros, torch.zeros(logits))


# What is computed from the logits


@pytest.mark.parametrize("seed", range(5))
def test_every_quantity_agrees_with_a_loop_over_plain_numbers(seed):
    predictions = random_predictions(seed)
    torch.testing.assert_close(
        predictions.loss.float(), F.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    )
    for i, (label, logits) in enumerate(zip(predictions.labels.tolist(), predictions.logits.tolist(), strict=True)):
        total = sum(map(math.exp, logits))
        p = [math.exp(value) / total for value in logits]
        others = p[:label] + p[label + 1 :]
        order = sorted(range(len(p)), key=lambda c: -p[c])
        assert predictions.predicted[i] == order[0]
        assert predictions.wrong[i] == (order[0] != label)
        assert predictions.probabilities[i].tolist() == pytest.approx(p)
        assert predictions.confidence[i].item() == pytest.approx(max(p))
        assert predictions.true_probability[i].item() == pytest.approx(p[label])
        assert predictions.margin[i].item() == pytest.approx(p[label] - max(others))
        assert predictions.entropy[i].item() == pytest.approx(-sum(q * math.log(q) for q in p))
        probabilities, classes = predictions.top()
        assert classes[i].tolist() == order[:5]
        assert probabilities[i].tolist() == pytest.approx([p[c] for c in order[:5]])
    assert predictions.mistakes.tolist() == [i for i, wrong in enumerate(predictions.wrong) if wrong]
    assert torch.equal(predictions.margin < 0, predictions.wrong)


def test_surest_images_keep_apart_and_show_no_minus_zero():
    predictions = Predictions(torch.arange(3), torch.tensor([0, 0, 1]), torch.tensor([[30.0, 0], [20, 0], [900, 0]]))
    assert predictions.loss.tolist() == pytest.approx([math.log1p(math.exp(-30)), math.log1p(math.exp(-20)), 900])
    assert ranked(predictions, "confidence").tolist() == [2, 0, 1]
    assert predictions.entropy.isfinite().all()
    sure = Predictions(torch.arange(1), torch.tensor([0]), torch.tensor([[900.0, 0]]))
    assert [f"{value.item():.1f}" for value in (sure.loss, sure.entropy)] == ["0.0", "0.0"]


def test_equal_logits_go_to_the_first_class_everywhere():
    predictions = Predictions(torch.arange(2), torch.tensor([1, 0]), torch.zeros(2, 7))
    assert predictions.predicted.tolist() == [0, 0]
    assert predictions.top()[1].tolist() == [[0, 1, 2, 3, 4]] * 2
    assert predictions.margin.tolist() == [0, 0]
    assert predictions.entropy.tolist() == pytest.approx([math.log(7)] * 2)


def test_one_class_and_no_mistakes_work():
    only = Predictions(torch.arange(4), torch.zeros(4, dtype=torch.int64), torch.randn(4, 1))
    assert only.margin.tolist() == [1, 1, 1, 1]
    assert confusion(only).tolist() == [[4]]
    right = from_table([1, 1], [0.2, 0.8], [0.4, 0.6])
    for predictions in (only, right):
        assert predictions.mistakes.tolist() == most_confused(predictions) == []
        count = len(predictions.labels)
        for order in (*(ranked(predictions, by) for by in RANKINGS), suspected_label_errors(predictions)):
            assert sorted(order.tolist()) == list(range(count))
        assert calibration(predictions).count.sum() == count
    assert calibration(only).error == pytest.approx(0)


# Confusion and rankings


@pytest.mark.parametrize("seed", range(5))
def test_confusion_counts_labels_in_rows(seed):
    predictions = random_predictions(seed)
    counts = confusion(predictions)
    expected = torch.zeros_like(counts)
    for label, predicted in zip(predictions.labels, predictions.predicted, strict=True):
        expected[label, predicted] += 1
    assert torch.equal(counts, expected)
    pairs = most_confused(predictions, 1000)
    assert sum(count for *_, count in pairs) == len(predictions.mistakes)
    assert all(counts[label, predicted] == count and label != predicted for label, predicted, count in pairs)
    assert [(-count, label, predicted) for label, predicted, count in pairs] == sorted(
        (-count, label, predicted) for label, predicted, count in pairs
    )
    assert most_confused(predictions, 3) == pairs[:3]
    assert most_confused(predictions, 0) == []


def test_the_commonest_mistake_is_first_and_equals_are_in_the_order_of_the_classes():
    predicted = torch.tensor([1, 0, 2, 2, 2, 1, 0, 0])
    labels = torch.tensor([0, 1, 1, 1, 0, 2, 2, 0])
    predictions = Predictions(torch.arange(8), labels, F.one_hot(predicted, 3).float())
    assert most_confused(predictions) == [(1, 2, 2), (0, 1, 1), (0, 2, 1), (1, 0, 1), (2, 0, 1), (2, 1, 1)]
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        most_confused(predictions, -1)


def test_rankings_put_what_to_look_at_first():
    predictions = from_table([0, 0, 0, 1], [0.9, 0.1], [0.05, 0.95], [0.4, 0.6], [0.3, 0.7])
    assert ranked(predictions).tolist() == ranked(predictions, "loss").tolist() == [1, 2, 3, 0]
    assert ranked(predictions, "margin").tolist() == [1, 2, 3, 0]
    assert ranked(predictions, "confidence").tolist() == [1, 0, 3, 2]
    assert ranked(predictions, "entropy").tolist() == [2, 3, 0, 1]
    order = ranked(predictions, "confidence")
    assert order[predictions.wrong[order]].tolist() == [1, 2]


@pytest.mark.parametrize("by", RANKINGS)
def test_equals_keep_the_order_of_the_split(by):
    predictions = Predictions(torch.arange(40), torch.zeros(40, dtype=torch.int64), torch.ones(40, 4))
    assert ranked(predictions, by).tolist() == list(range(40))


@pytest.mark.parametrize("function", [ranked, suspected_label_errors])
def test_an_unknown_order_is_answered_with_the_list(function):
    known = RANKINGS if function is ranked else SUSPICIONS
    with pytest.raises(ValueError, match=f"by 'luck': choose one of {', '.join(map(repr, known))}"):
        function(random_predictions(0), by="luck")


# Label errors


@pytest.mark.parametrize("seed", range(5))
def test_the_confident_class_agrees_with_its_definition(seed):
    predictions = random_predictions(seed)
    p, labels = predictions.probabilities.tolist(), predictions.labels.tolist()
    classes = len(p[0])
    own = [[row[c] for row, label in zip(p, labels, strict=True) if label == c] for c in range(classes)]
    expected = []
    for row in p:
        enough = [c for c in range(classes) if own[c] and row[c] >= max(sum(own[c]) / len(own[c]), 0.1 / classes)]
        expected.append(max(enough, key=row.__getitem__) if enough else -1)
    assert confident_class(predictions).tolist() == expected
    assert -1 in expected


@pytest.mark.parametrize("seed", range(5))
def test_the_least_believed_label_is_the_most_suspected(seed):
    predictions = random_predictions(seed)
    rows, labels = predictions.logits.softmax(1).tolist(), predictions.labels.tolist()
    of_label = [row[label] for row, label in zip(rows, labels, strict=True)]
    margins = [
        row[label] - max(p for c, p in enumerate(row) if c != label) for row, label in zip(rows, labels, strict=True)
    ]
    for by, score in (("self-confidence", of_label), ("normalised margin", margins)):
        assert suspected_label_errors(predictions, by).tolist() == sorted(range(len(rows)), key=score.__getitem__)
    assert torch.equal(suspected_label_errors(predictions), ranked(predictions, by="loss"))


def test_a_class_without_images_is_nobodys_confident_class():
    predictions = from_table([0, 1], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8])
    assert confident_class(predictions).tolist() == [0, 0], "both reach the mean of classes 0 and 1, and not that of 2"


@pytest.mark.parametrize("count", [1, 3, 7, 13, 41])
def test_equals_reach_their_own_mean_however_it_is_rounded(count):
    for share in (0.1, 0.3, 0.37, 0.71):
        assert confident_class(from_table([0] * count, *[[share, 1 - share]] * count)).tolist() == [0] * count


@pytest.mark.parametrize("tiny", [1e-30, 1e-12, 1e-9, 1e-4])
def test_a_class_that_the_model_never_thinks_of_is_suspected_nowhere(tiny):
    """Its images have next to no probability of it, and so has every other image: nothing reaches its mean by that."""
    sure, torn = [0.9 - tiny, 0.1, tiny], [0.6 - tiny, 0.4, tiny]
    table = [sure, sure, [0.2, 0.8 - tiny, tiny], torn, sure, torn]
    assert confident_class(from_table([0, 0, 1, 0, 2, 2], *table))[3] == -1


def test_a_class_that_the_model_is_shy_of_is_held_to_less():
    """Of class 1 the model is never surer than 0.4, so an image at 0.45 is one, though 0 is the larger."""
    shy = [[0.6, 0.4]] * 4
    predictions = from_table([0] * 4 + [1] * 4 + [0], *[[0.9, 0.1]] * 4, *shy, [0.55, 0.45])
    assert predictions.predicted[-1] == 0
    assert confident_class(predictions)[-1] == 1


@pytest.mark.parametrize("by", SUSPICIONS)
@pytest.mark.parametrize("seed", range(3))
def test_half_of_twenty_flipped_labels_are_among_the_hundred_most_suspected_of_a_model_that_errs(by, seed):
    """1,000 images of ten classes, and a model that is right about three quarters of them and as sure as it may be."""
    rng = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(1000, 10, generator=rng)).softmax(1)
    labels = probabilities.multinomial(1, generator=rng)[:, 0]
    assert 0.6 < (probabilities.argmax(1) == labels).float().mean() < 0.85
    flipped = torch.randperm(1000, generator=rng)[:20]
    labels[flipped] = (labels[flipped] + torch.randint(1, 10, (20,), generator=rng)) % 10
    predictions = Predictions(torch.arange(1000), labels, probabilities.log())
    suspects = suspected_label_errors(predictions, by)[:100]
    assert torch.isin(flipped, suspects).sum() >= 10


@pytest.mark.parametrize("by", SUSPICIONS)
def test_flipped_labels_are_found_with_a_trained_network(splits, by):
    torch.manual_seed(0)
    model, split = small_network(), splits.train
    mean, std = (value.view(1, 3, 1, 1) for value in splits.normalisation)
    images = (split.images / 255 - mean) / std
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(30):
        loss = F.cross_entropy(model(images), split.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held_out = random_split(600, seed=7)
    flipped = torch.randperm(600)[:20]
    labels = held_out.labels.clone()
    labels[flipped] = (labels[flipped] + torch.randint(1, 3, (20,))) % 3
    noisy = Split(held_out.images, labels, held_out.indices)
    predictions = find_mistakes(model, noisy, splits.normalisation)
    suspects = noisy.indices[suspected_label_errors(predictions, by)[:100]]
    assert torch.isin(flipped, suspects).sum() >= 10


# Calibration


def test_calibration_of_four_images_by_hand():
    #                       0.55 wrong    0.59 right    0.9 right   0.95 wrong
    predictions = from_table([1, 0, 1, 0], [0.55, 0.45], [0.59, 0.41], [0.1, 0.9], [0.05, 0.95])
    curve = calibration(predictions, bins=5)
    assert curve.edges.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert curve.count.tolist() == [0, 0, 2, 0, 2]
    assert curve.confidence[[2, 4]].tolist() == pytest.approx([0.57, 0.925])
    assert curve.accuracy[[2, 4]].tolist() == [0.5, 0.5]
    assert curve.confidence[[0, 1, 3]].isnan().all()
    assert curve.accuracy[[0, 1, 3]].isnan().all()
    assert curve.error == pytest.approx((2 * 0.07 + 2 * 0.425) / 4)
    undecided = Predictions(torch.arange(1), torch.tensor([0]), torch.zeros(1, 2))
    assert calibration(undecided, bins=2).count.tolist() == [1, 0], "a half is in the bin that ends there"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bins", [1, 2, 15, 100])
def test_calibration_agrees_with_a_loop(seed, bins):
    predictions = random_predictions(seed)
    curve, error = calibration(predictions, bins), 0.0
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = [j for j, p in enumerate(predictions.confidence.tolist()) if low < p <= high]
        assert curve.count[i] == len(inside)
        if inside:
            accuracy = sum(not predictions.wrong[j] for j in inside) / len(inside)
            confidence = sum(predictions.confidence[j].item() for j in inside) / len(inside)
            assert curve.accuracy[i].item() == pytest.approx(accuracy)
            assert curve.confidence[i].item() == pytest.approx(confidence)
            error += len(inside) / len(predictions.labels) * abs(accuracy - confidence)
    assert curve.error == pytest.approx(error)


def test_a_model_whose_labels_are_drawn_from_its_probabilities_is_calibrated_and_an_overconfident_one_is_not():
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 10, generator=rng)
    labels = logits.softmax(1).multinomial(1, generator=rng)[:, 0]
    assert calibration(Predictions(torch.arange(20_000), labels, logits)).error < 0.02
    assert calibration(Predictions(torch.arange(20_000), labels, 3 * logits)).error > 0.15


def test_calibration_needs_a_bin():
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        calibration(random_predictions(0), bins=0)


def test_the_courses_network_with_more_classes_than_ten(splits):
    predictions = find_mistakes(Net(0.125, classes=12), splits.test, splits.normalisation)
    assert confusion(predictions).shape == (12, 12)
    assert predictions.top()[1].shape == (30, 5)
