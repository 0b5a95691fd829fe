"""Driven as a browser drives it: through the value of a control and the click of a button."""

import base64
import io
import re

import ipywidgets
import matplotlib.pyplot as plt
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from ipywidgets import Button
from PIL import Image

from eva.widgets.field_explorer import ReceptiveFieldExplorer
from eva.widgets.gallery import View
from eva.widgets.marks import VERDICTS, Mark, MarksError
from eva.widgets.mistake_explorer import ANY, MOST, PAGE, UNMARKED, MistakeExplorer
from eva.mistakes import confusion
from tests.widgets.test_gallery import Told, network, random_logits, splits_of


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(classes: int = 4, count: int = 60, **options) -> MistakeExplorer:
    before = Told(random_logits(count, classes, 1))
    return MistakeExplorer(Told(random_logits(count, classes, 0)), splits_of(classes, count), before=before, **options)


@pytest.fixture
def explorer(monkeypatch) -> MistakeExplorer:
    monkeypatch.setattr("eva.widgets.gallery.grad_cam", lambda model, images, target: torch.rand(2, 8, 8))  # Told has no maps
    return made()


def captions(explorer) -> list[str]:
    return [tile.description for tile in explorer.grid.children if isinstance(tile, Button)]


def test_it_opens_on_the_mistakes_the_largest_loss_first(explorer):
    said = explorer.gallery.predictions
    wrong = sorted(said.mistakes.tolist(), key=lambda i: -said.loss[i])
    assert explorer.chosen.tolist() == wrong
    assert captions(explorer) == [f"class {said.labels[i]} → class {said.predicted[i]}" for i in wrong[:PAGE]]
    assert explorer.selected == wrong[0]
    assert f"60 images, {len(wrong)} mistakes ({len(wrong) / 60:.1%})" in explorer.told.value
    fixed, broken, both = explorer.gallery.compared().values()
    assert f"{fixed} fixed, {broken} broken, {both} both wrong" in explorer.told.value


@pytest.mark.parametrize(("name", "value"), [
    ("show", "broken"), ("sort", "margin"), ("label", 2), ("predicted", 1), ("confidence", (40, 80)),
])  # fmt: skip
def test_a_control_changes_the_view_and_the_images(explorer, name, value):
    before = explorer.pixels.value
    explorer.turn(1)
    explorer.controls[name].value = value
    assert explorer.view == View(**{name: value if name != "confidence" else (0.4, 0.8)})
    assert explorer.page == 0
    assert explorer.chosen.tolist() == explorer.gallery.positions(explorer.view).tolist()
    assert explorer.pixels.value != before


def test_the_tiles_show_the_pixels_of_their_images(explorer):
    explorer.set(show="all images")
    explorer.turn(2)
    encoded = re.findall(r"base64,([^)]+)\)", explorer.pixels.value)
    assert len(encoded) == PAGE
    for position, png in zip(explorer.shown.tolist(), encoded, strict=True):
        shown = Image.open(io.BytesIO(base64.b64decode(png)))
        image = explorer.gallery.split.images[position].permute(1, 2, 0).contiguous().numpy()
        assert shown.tobytes() == image.tobytes()


def test_pages_hold_every_image_once(explorer):
    explorer.set(show="all images")
    seen = explorer.shown.tolist()
    assert explorer.back.disabled
    while not explorer.on.disabled:
        explorer.on.click()
        seen += explorer.shown.tolist()
    assert seen == explorer.chosen.tolist()
    assert explorer.where.value.count(f"of {len(seen)}") == 1
    explorer.back.click()
    assert explorer.page == explorer.pages - 2


def test_a_cell_of_the_matrix_shows_its_images(explorer):
    counts = confusion(explorer.gallery.predictions)
    explorer.controls["confidence"].value = (90, 100)
    for (label, predicted), cell in explorer.cells.items():
        assert cell.description == (str(int(counts[label, predicted])) if counts[label, predicted] else "")
        if counts[label, predicted]:
            cell.click()
            assert len(explorer.chosen) == counts[label, predicted]
            assert (explorer.controls["label"].value, explorer.controls["predicted"].value) == (label, predicted)
            assert "eva-chosen" in cell._dom_classes
    assert sum("eva-chosen" in cell._dom_classes for cell in explorer.cells.values()) == 1


def test_any_class_again_is_any_class(explorer):
    controls = [explorer.controls[name] for name in ("label", "predicted")]
    for back in (
        lambda: explorer.set(label=None, predicted=None),
        lambda: [setattr(c, "value", ANY) for c in controls],
    ):
        explorer.cell(1, 2)
        back()
        assert explorer.view == View("all images")
        assert len(explorer.chosen) == 60
        assert [control.label for control in controls] == ["any", "any"], "the lists are not empty"


def test_a_click_on_an_image_explains_it(explorer):
    explorer.grid.children[4].click()
    position = explorer.shown.tolist()[4]
    said = explorer.gallery.predictions
    assert explorer.selected == position
    assert "eva-chosen" in explorer.grid.children[4]._dom_classes
    words = explorer.detail.value
    assert f"Image {explorer.gallery.index(position)}: label <b>class {said.labels[position]}</b>" in words
    assert words.count("<img") == 3
    for one, share in explorer.gallery.likely(position):
        assert f"class {one}" in words
        assert f"{share:.1%}" in words


def test_a_mark_survives_filters_and_a_new_explorer(explorer):
    position = explorer.shown.tolist()[3]
    explorer.grid.children[3].click()
    assert explorer.note.disabled
    explorer.verdict.value = "label wrong"
    assert not explorer.note.disabled
    explorer.note.value = "<b>a lorry</b>"
    kept = Mark("label wrong", "<b>a lorry</b>")
    index = explorer.gallery.index(position)
    assert dict(explorer.gallery.marks) == {index: kept}
    assert captions(explorer)[3].startswith("✎ ")
    explorer.controls["label"].value = (int(explorer.gallery.predictions.labels[position]) + 1) % 4
    explorer.grid.children[0].click()
    assert explorer.verdict.value == UNMARKED
    assert explorer.note.value == ""
    explorer.set(show="marked", label=None)
    explorer.grid.children[0].click()
    assert (explorer.verdict.value, explorer.note.value) == ("label wrong", "<b>a lorry</b>")
    again = made()
    assert dict(again.gallery.marks) == {index: kept}
    assert "1 label wrong, ≈ 0 ambiguous" in again.tally.value


def test_moving_between_marked_images_changes_no_mark(explorer):
    marks = {}
    for place, verdict in enumerate([*VERDICTS, *VERDICTS]):
        explorer.grid.children[place].click()
        explorer.mark(verdict, f"note {place % 2}")
        marks[explorer.gallery.index(explorer.selected)] = Mark(verdict, f"note {place % 2}")
    for place in (0, 5, 1, 4, 2, 3, 7, 0):
        explorer.grid.children[place].click()
    assert dict(explorer.gallery.marks) == marks


def test_a_verdict_taken_back_by_accident_has_not_lost_its_note(explorer):
    explorer.mark("ambiguous", "half a dog")
    explorer.verdict.value = UNMARKED
    assert len(explorer.gallery.marks) == 0
    explorer.verdict.value = "ambiguous"
    assert explorer.gallery.marks[explorer.gallery.index(explorer.selected)].note == "half a dog"


def test_an_image_that_loses_its_mark_leaves_the_marked_ones(explorer):
    explorer.mark("ambiguous")
    explorer.set(show="marked")
    assert len(explorer.chosen) == 1
    explorer.unmark()
    assert captions(explorer) == []
    assert "Nothing is marked yet" in explorer.grid.children[0].value


def test_marks_that_cannot_be_written_are_kept_and_the_reason_is_shown(explorer, tmp_path):
    explorer.gallery.marks.path = tmp_path / "gone" / "marks.csv"
    (tmp_path / "gone").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="your 1 marks are kept in memory only"):
        explorer.mark("model wrong")
    assert "kept in memory only" in explorer.error.value
    assert "1 model wrong" in explorer.tally.value
    assert captions(explorer)[0].startswith("✗")


def test_a_file_of_other_marks_is_refused(tmp_path):
    (tmp_path / "mine.csv").write_text("index,verdict,colour\n1,ambiguous,red\n")
    with pytest.raises(MarksError, match="the columns must be data,index,verdict,note"):
        made(marks=tmp_path / "mine.csv")


def test_no_mistakes_at_all_is_a_friendly_page():
    splits = splits_of(3)
    perfect = torch.nn.functional.one_hot(splits.validation.labels, 3).float()
    explorer = MistakeExplorer(Told(perfect), splits)
    assert "the model is right about every image" in explorer.grid.children[0].value
    assert explorer.where.value.count("no images") == 1
    assert explorer.back.disabled
    assert explorer.on.disabled
    assert explorer.to_figure() is not None
    explorer.controls["show"].value = "all images"
    assert captions(explorer)[0].endswith("✓")
    explorer.controls["confidence"].value = (0, 10)
    assert "a wider range of confidence" in explorer.grid.children[0].value


def test_one_class_only():
    explorer = MistakeExplorer(network(1), splits_of(1, 10))
    assert "No mistakes at all" in explorer.grid.children[0].value
    explorer.cells[0, 0].click()
    assert len(captions(explorer)) == 10


def test_many_classes_have_no_matrix_but_the_two_lists(explorer):
    many = made(MOST + 1, 100)
    assert many.cells == {}
    many.controls["label"].value, many.controls["predicted"].value = 20, ANY
    assert (many.gallery.predictions.labels[many.chosen] == 20).all()
    assert len(made(MOST, 100).cells) == MOST**2


@pytest.mark.parametrize(("act", "error", "words"), [
    (lambda e: e.turn(-1), IndexError, "there is no page 0: this view has pages 1 to"),
    (lambda e: e.select(60), IndexError, "there is no image at 60"),
    (lambda e: e.set(sort="<colour>"), ValueError, "cannot sort by '<colour>'"),
    (lambda e: e.mark("wrong"), ValueError, "the verdict must be one of 'label wrong'"),
])  # fmt: skip
def test_what_cannot_be_done_is_raised_and_shown(explorer, act, error, words):
    view = explorer.view
    with pytest.raises(error, match=words):
        act(explorer)
    assert "color" in explorer.error.value
    assert "<colour>" not in explorer.error.value, "escaped"
    assert explorer.view == view
    explorer.set(show="all images")
    assert explorer.error.value == ""


def test_class_names_are_escaped():
    splits = splits_of(3)
    object.__setattr__(splits, "classes", ("<i>a</i>", "b&b", "c"))
    explorer = MistakeExplorer(network(3), splits)
    explorer.cells[0, int(explorer.gallery.predictions.predicted[0])].click()
    explorer.select(0)
    assert "<i>" not in explorer.detail.value
    assert "&lt;i&gt;" in explorer.detail.value


def test_the_figure_shows_the_page(explorer):
    explorer.turn(1)
    figure = explorer.to_figure()
    assert "toy, validation: mistakes, 19 to 36 of" in figure.get_suptitle()
    drawn = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    image = explorer.gallery.split.images[explorer.shown[0]].permute(1, 2, 0).numpy()
    assert (drawn[0] == image).all()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("opened", [ReceptiveFieldExplorer, made])
def test_a_widget_brings_a_picture_for_where_it_does_not_run(opened, monkeypatch, capsys):
    monkeypatch.setattr("eva.widgets.gallery.grad_cam", lambda model, images, target: torch.rand(2, 8, 8))
    shown, _ = DisplayFormatter().format(opened())
    if int(ipywidgets.__version__.split(".")[0]) < 8:  # a widget shows itself, and nothing beside
        assert "application/vnd.jupyter.widget-view+json" in capsys.readouterr().out
        return
    assert Image.open(io.BytesIO(base64.b64decode(shown["image/png"]))).width > 400
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_two_explorers_on_a_page_keep_their_images_apart(explorer):
    other = made()
    names = [re.search(r"\.(eva-\w+)-0\{", one.pixels.value)[1] for one in (explorer, other)]
    assert names[0] != names[1]
    assert f"{names[0]}-0" in explorer.tiles[0]._dom_classes


def test_exploring_leaves_the_model_and_the_random_state_alone():
    model = network(3).train()
    explorer = MistakeExplorer(model, splits_of(3))
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explorer.select(5)
    explorer.turn(1)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
