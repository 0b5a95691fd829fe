"""Which images are shown, in which order, and what explains one of them: against loops over plain numbers."""

import pytest
import torch
from torch import nn

from eva.data import Split, Splits
from eva.mistakes import RANKINGS, confident_class, ranked
from eva.model import Net
from eva.receptive_field import receptive_field
from eva.widgets.gallery import COMPARED, SCALE, SHOWN, Gallery, View
from eva.widgets.marks import Mark, MarksError
from tests.conftest import random_split


class FixedLogits(nn.Module):
    """A model that answers with these logits, in order, and asks nothing of the images."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits, self.answered = logits, 0

    def forward(self, images):
        self.answered += len(images)
        return self.logits[self.answered - len(images) : self.answered]


def splits_of(classes: int, count: int = 60) -> Splits:
    names = tuple(f"class {number}" for number in range(classes))
    train, test = (random_split(count, seed, classes) for seed in (0, 2))
    held_out = random_split(count, 1, classes)
    validation = Split(held_out.images, held_out.labels, torch.randperm(1000)[:count])
    return Splits("toy", "made up", names, train, validation, test)


def random_logits(count: int, classes: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def gallery() -> Gallery:
    splits = splits_of(4)
    return Gallery(FixedLogits(random_logits(60, 4, 0)), splits, before=FixedLogits(random_logits(60, 4, 1)))


def test_every_view_shows_what_a_loop_would_pick(gallery):
    predictions, before = gallery.predictions, gallery.before
    labels, predicted = predictions.labels, predictions.predicted
    gallery.marks[gallery.index(7)] = Mark("ambiguous")
    rng = torch.Generator().manual_seed(3)
    suspects = confident_class(predictions).tolist()

    def drawn(options):
        return options[int(torch.randint(len(options), (), generator=rng))]

    for _ in range(60):
        low, high = torch.rand(2, generator=rng).sort().values.tolist()
        label, prediction = drawn([None, 0, 1, 2, 3]), drawn([None, None, 2])
        view = View(drawn(gallery.shows), drawn([*RANKINGS]), label, prediction, (low / 2, high))
        is_shown = {
            "mistakes": lambda i: predicted[i] != labels[i],
            "all images": lambda i: True,
            "doubtful labels": lambda i: suspects[i] not in (-1, labels[i]),
            "marked": lambda i: i == 7,
            "fixed": lambda i: before.predicted[i] != labels[i] == predicted[i],
            "broken": lambda i: before.predicted[i] == labels[i] != predicted[i],
            "both wrong": lambda i: before.predicted[i] != labels[i] and labels[i] != predicted[i],
        }[view.show]
        expected = [
            i
            for i in range(60)
            if is_shown(i)
            and label in (None, int(labels[i]))
            and prediction in (None, int(predicted[i]))
            and low / 2 <= predictions.confidence[i] <= high
        ]
        positions = gallery.positions(view).tolist()
        assert sorted(positions) == expected, view
        assert positions == [i for i in ranked(predictions, view.sort).tolist() if i in set(expected)], view


def test_fixed_broken_and_both_wrong_are_all_that_either_model_gets_wrong(gallery):
    before, now = gallery.before.wrong, gallery.predictions.wrong
    assert sum(gallery.compared().values()) == int((before | now).sum())
    assert list(gallery.compared()) == list(COMPARED)


def test_without_a_model_before_nothing_is_compared():
    gallery = Gallery(FixedLogits(random_logits(60, 4, 0)), splits_of(4))
    assert gallery.shows == SHOWN
    assert gallery.compared() == {}
    with pytest.raises(
        ValueError, match="cannot show 'fixed': choose one of 'mistakes', 'all images', 'doubtful labels', 'marked'"
    ):
        gallery.positions(View(show="fixed"))


@pytest.mark.parametrize(("view", "words"), [
    (View(sort="colour"), "cannot sort by 'colour': choose one of 'loss'"),
    (View(label=4), "label must be None or from 0 to 3, got 4"),
    (View(predicted=-1), "predicted must be None or from 0 to 3, got -1"),
    (View(confidence=(0.5, 0.4)), r"confidence must be from and to.*got \(0.5, 0.4\)"),
    (View(confidence=(0, 50)), r"fractions from 0 to 1, got \(0, 50\)"),
])  # fmt: skip
def test_a_view_that_is_not_offered_is_refused(gallery, view, words):
    with pytest.raises(ValueError, match=words):
        gallery.positions(view)


def test_the_five_likeliest_classes_come_in_order_and_the_label_too():
    gallery = Gallery(FixedLogits(random_logits(60, 9, 0)), splits_of(9))
    outside = 0
    for position in range(60):
        probabilities = gallery.predictions.logits[position].softmax(0)
        label = int(gallery.predictions.labels[position])
        best = probabilities.topk(5).indices.tolist()
        outside += label not in best
        classes, shares = zip(*gallery.likely(position), strict=True)
        assert list(classes) == (best if label in best else [*best, label])
        torch.testing.assert_close(torch.tensor(shares), probabilities[list(classes)])
    assert outside


def test_an_image_is_named_by_where_it_stands_in_the_data_set(gallery):
    assert [gallery.index(i) for i in range(60)] == gallery.split.indices.tolist()
    with pytest.raises(IndexError, match="no image at 60: this split has positions 0 to 59"):
        gallery.index(60)


def network(classes: int = 3) -> Net:
    torch.manual_seed(0)
    return Net(width=0.125, classes=classes).eval()


def test_the_maps_are_of_the_predicted_class_and_of_the_label(splits):
    gallery = Gallery(network(), splits)
    position = int(gallery.predictions.mistakes[0])
    heats = gallery.heats(position)
    assert heats.shape == (2, 8, 8)
    right = int((~gallery.predictions.wrong).nonzero()[0, 0])
    assert torch.equal(*gallery.heats(right)), "where the model is right, both are the same class"
    assert not torch.equal(*heats)


def test_three_pictures_show_the_image_and_both_maps(splits):
    gallery = Gallery(network(), splits)
    pictures, line = gallery.pictures(3)
    assert [picture.size for picture in pictures] == 3 * [(32 * SCALE, 32 * SCALE)]
    shrunk = pictures[0].resize((32, 32), 0)
    expected = gallery.split.images[3].permute(1, 2, 0).contiguous().numpy().tobytes()
    assert shrunk.tobytes() == expected, "nearest-neighbour"
    assert "102 x 102 pixels, cut to the image" in line


def test_the_box_is_what_the_strongest_unit_can_see(splits):
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(4, 3))
    gallery = Gallery(model, splits)
    field = receptive_field(model)
    assert (field.size, field.jump, field.start) == ((7, 7), (2, 2), (0, 0))
    heat = torch.zeros(13, 13)
    heat[2, 5] = 1
    assert gallery.box(heat) == (10, 4, 17, 11)
    assert gallery.box(torch.zeros(13, 13)) is None, "nothing is hot"
    assert gallery.box(torch.ones(4, 4)) is None, "the field of other maps is not known"
    assert "7 x 7 pixels." in gallery.pictures(0)[1]


def test_no_box_is_described_where_none_is_drawn(splits, monkeypatch):
    gallery = Gallery(network(), splits)
    monkeypatch.setattr(gallery, "heats", lambda position: torch.ones(2, 4, 4))  # not the maps that the field is of
    assert gallery.pictures(0)[1] == "What each unit could see is not known for this network."
    monkeypatch.setattr(gallery, "heats", lambda position: torch.zeros(2, 8, 8))
    assert gallery.pictures(0)[1] == "Nothing speaks for either class: both maps are empty."


def test_the_box_is_cut_to_the_image(splits):
    heat = torch.zeros(8, 8)
    heat[0, 7] = 1
    assert Gallery(network(), splits).box(heat) == (0, 0, 32, 32)


def test_a_model_without_convolutions_shows_the_image_and_says_why(splits):
    gallery = Gallery(nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), splits)
    pictures, line = gallery.pictures(0)
    assert len(pictures) == 1
    assert line.startswith("No Grad-CAM: Sequential has no convolution")


def test_a_last_map_of_one_pixel_uses_the_one_before(splits):
    layers = nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(4, 4, 4), nn.Flatten(), nn.Linear(4, 3)
    assert Gallery(nn.Sequential(*layers), splits).heats(0).shape == (2, 4, 4)


def test_a_network_whose_field_is_not_known_shows_maps_without_a_box(splits):
    class Enlarging(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, images):
            maps = nn.functional.interpolate(self.conv(images), size=17, mode="bilinear")
            return self.head(maps.mean((2, 3)))

    pictures, line = Gallery(Enlarging(), splits).pictures(0)
    assert len(pictures) == 3
    assert line == "What each unit could see is not known for this network."


def test_marks_are_kept_by_index_in_a_file_named_for_the_data(splits, tmp_path):
    gallery = Gallery(network(), splits)
    gallery.marks[int(splits.validation.indices[2])] = Mark("label wrong", "a b")
    assert gallery.marks.path.name == "marks-toy-training-images.csv"
    again = Gallery(network(), splits)
    assert again.positions(View(show="marked")).tolist() == [2]
    assert Gallery(network(), splits, "test").marks.path.name == "marks-toy-test-images.csv"


def test_marks_on_other_data_are_refused_and_left_alone(splits, tmp_path):
    kept = tmp_path / "mine.csv"
    Gallery(network(), splits, marks=kept).marks[0] = Mark("ambiguous")
    before = kept.read_bytes()
    with pytest.raises(MarksError, match="these marks are on 'toy, training images', and not on 'toy, test images'"):
        Gallery(network(), splits, "test", marks=kept)
    assert kept.read_bytes() == before


def test_bad_arguments_are_explained(splits):
    with pytest.raises(ValueError, match="there is no split 'val': choose one of 'train', 'validation', 'test'"):
        Gallery(network(), splits, "val")
    with pytest.raises(ValueError, match="this model knows 10 classes, and toy has 3"):
        Gallery(network(10), splits)
    two = Splits("toy", "", ("a", "b", "c"), *(random_split(12, seed, 2) for seed in range(3)))
    with pytest.raises(ValueError, match="`before` knows 2 classes, and toy has 3"):
        Gallery(network(3), two, before=network(2))


def test_a_model_that_answers_nan_is_explained(splits):
    model = network()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="training diverged: go back to an earlier checkpoint"):
        Gallery(model, splits)


def test_one_class_is_never_wrong():
    gallery = Gallery(network(1), splits_of(1, 10))
    assert len(gallery.positions(View())) == 0
    assert gallery.positions(View(show="all images")).tolist() == list(range(10))
    assert gallery.likely(0) == [(0, 1.0)]
    assert len(gallery.pictures(0)[0]) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: the model and the data are on two devices")
def test_a_model_on_a_gpu_and_images_on_the_cpu(splits):
    gallery = Gallery(network().cuda(), splits)
    assert gallery.heats(0).device.type == "cpu"
