"""Driven as a browser drives it: through the value of a control and the click of a button."""

import base64
import io
import re

import ipywidgets
import matplotlib.pyplot as plt
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from ipywidgets import HTML, Button
from PIL import Image

from eva.cam import grad_cam
from eva.mistakes import confusion
from eva.widgets.field_explorer import ReceptiveFieldExplorer
from eva.widgets.gallery import View
from eva.widgets.marks import VERDICTS, Mark, MarksError
from eva.widgets.mistake_explorer import MistakeExplorer
from eva.widgets.panels import MOST, PAGE, UNMARKED
from tests.widgets.test_gallery import FixedLogits, network, random_logits, splits_of


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def maps_of_a_model_that_makes_none(monkeypatch):
    def heats(model, images, target):
        return torch.rand(2, 8, 8) if isinstance(model, FixedLogits) else grad_cam(model, images, target=target)

    monkeypatch.setattr("eva.widgets.gallery.grad_cam", heats)


def made(classes: int = 4, count: int = 60, **options) -> MistakeExplorer:
    model, before = (FixedLogits(random_logits(count, classes, seed)) for seed in (0, 1))
    return MistakeExplorer(model, splits_of(classes, count), before=before, **options)


@pytest.fixture
def explorer() -> MistakeExplorer:
    return made()


def widgets(explorer):
    yield explorer
    for child in getattr(explorer, "children", ()):
        yield from widgets(child)


def parts(explorer, name):
    """The widgets of a class: found as a browser would find them."""
    return [widget for widget in widgets(explorer) if f"eva-{name}" in widget._dom_classes]


def part(explorer, name):
    (widget,) = parts(explorer, name)
    return widget


def captions(explorer) -> list[str]:
    return [tile.description for tile in parts(explorer, "tile")]


def message(explorer) -> str:
    """What stands in place of the images where there are none."""
    (line,) = part(explorer, "grid").children
    return line.value


def style(explorer) -> str:
    """The images of a page, as the backgrounds of their tiles."""
    values = [widget.value for widget in widgets(explorer) if isinstance(widget, HTML)]
    (value,) = [value for value in values if value.startswith("<style>.eva-") or value == "<style></style>"]
    return value


def cells(explorer) -> dict[tuple[int, int], Button]:
    """The buttons of the confusion matrix, row by row."""
    buttons = parts(explorer, "cell")
    return {divmod(number, len(explorer.gallery.classes)): cell for number, cell in enumerate(buttons)}


def index(explorer) -> int:
    return explorer.gallery.index(explorer.selected)


def test_it_opens_on_the_mistakes_the_largest_loss_first(explorer):
    predictions = explorer.gallery.predictions
    wrong = sorted(predictions.mistakes.tolist(), key=lambda i: -predictions.loss[i])
    assert explorer.chosen.tolist() == wrong
    expected = [f"class {predictions.labels[i]} → class {predictions.predicted[i]}" for i in wrong[:PAGE]]
    assert captions(explorer) == expected
    assert explorer.selected == wrong[0]
    summary = part(explorer, "told").value
    assert f"60 images, {len(wrong)} mistakes ({len(wrong) / 60:.1%})" in summary
    fixed, broken, both = explorer.gallery.compared().values()
    assert f"{fixed} fixed, {broken} broken, {both} both wrong" in summary


@pytest.mark.parametrize(("name", "value"), [
    ("show", "broken"), ("sort", "margin"), ("label", 2), ("predicted", 1), ("confidence", (40, 80)),
])  # fmt: skip
def test_a_control_changes_the_view_and_the_images(explorer, name, value):
    before = style(explorer)
    explorer.turn(1)
    part(explorer, name).value = value
    assert explorer.view == View(**{name: value if name != "confidence" else (0.4, 0.8)})
    assert explorer.page == 0
    assert explorer.chosen.tolist() == explorer.gallery.positions(explorer.view).tolist()
    assert style(explorer) != before


def test_the_tiles_show_the_pixels_of_their_images(explorer):
    explorer.set(show="all images")
    explorer.turn(2)
    encoded = re.findall(r"base64,([^)]+)\)", style(explorer))
    assert len(encoded) == PAGE
    for position, png in zip(explorer.shown.tolist(), encoded, strict=True):
        background = Image.open(io.BytesIO(base64.b64decode(png)))
        image = explorer.gallery.split.images[position].permute(1, 2, 0).contiguous().numpy()
        assert background.tobytes() == image.tobytes()


def test_pages_hold_every_image_once(explorer):
    explorer.set(show="all images")
    back, forward = part(explorer, "back"), part(explorer, "next")
    positions = explorer.shown.tolist()
    assert back.disabled
    while not forward.disabled:
        forward.click()
        positions += explorer.shown.tolist()
    assert positions == explorer.chosen.tolist()
    assert sorted(positions) == list(range(60))
    assert f"of {len(positions)}<" in part(explorer, "where").value
    back.click()
    assert explorer.page == explorer.pages - 2


def test_a_cell_of_the_matrix_shows_its_images(explorer):
    counts = confusion(explorer.gallery.predictions)
    part(explorer, "confidence").value = (90, 100)
    for (label, predicted), cell in cells(explorer).items():
        assert cell.description == (str(int(counts[label, predicted])) if counts[label, predicted] else "")
        assert cell.disabled == (counts[label, predicted] == 0)
        if counts[label, predicted]:
            cell.click()
            assert len(explorer.chosen) == counts[label, predicted]
            assert (part(explorer, "label").value, part(explorer, "predicted").value) == (label, predicted)
            assert "eva-chosen" in cell._dom_classes
    assert sum("eva-chosen" in cell._dom_classes for cell in cells(explorer).values()) == 1


def test_any_class_again_is_any_class(explorer):
    controls = [part(explorer, name) for name in ("label", "predicted")]

    def by_hand():
        for control in controls:
            control.label = "any"

    for back in (lambda: explorer.set(label=None, predicted=None), by_hand):
        explorer.cell(1, 2)
        back()
        assert explorer.view == View("all images")
        assert len(explorer.chosen) == 60
        assert [control.label for control in controls] == ["any", "any"], "the lists are not empty"


def test_a_click_on_an_image_explains_it(explorer):
    tile, position = parts(explorer, "tile")[4], explorer.shown.tolist()[4]
    tile.click()
    assert explorer.selected == position
    assert [other for other in parts(explorer, "tile") if "eva-chosen" in other._dom_classes] == [tile]
    detail, label = part(explorer, "detail").value, explorer.gallery.predictions.labels[position]
    assert f"Image {index(explorer)}: label <b>class {label}</b>" in detail
    assert detail.count("<img") == 3
    for number, share in explorer.gallery.likely(position):
        assert f"class {number}" in detail
        assert f"{share:.1%}" in detail


def test_a_mark_survives_filters_and_a_new_explorer(explorer):
    verdict, note = part(explorer, "verdict"), part(explorer, "note")
    position = explorer.shown.tolist()[3]
    parts(explorer, "tile")[3].click()
    assert note.disabled
    verdict.value = "label wrong"
    assert not note.disabled
    note.value = "<b>a lorry</b>"
    expected = {explorer.gallery.index(position): Mark("label wrong", "<b>a lorry</b>")}
    assert dict(explorer.gallery.marks) == expected
    assert captions(explorer)[3].startswith("✎ ")
    part(explorer, "label").value = (int(explorer.gallery.predictions.labels[position]) + 1) % 4
    parts(explorer, "tile")[0].click()
    assert (verdict.value, note.value) == (UNMARKED, "")
    explorer.set(show="marked", label=None)
    parts(explorer, "tile")[0].click()
    assert (verdict.value, note.value) == ("label wrong", "<b>a lorry</b>")
    again = made()
    assert dict(again.gallery.marks) == expected
    assert "1 label wrong, ≈ 0 ambiguous" in part(again, "tally").value


def test_going_from_one_marked_image_to_another_changes_no_mark(explorer):
    marks = {}
    for place, verdict in enumerate([*VERDICTS, *VERDICTS]):
        parts(explorer, "tile")[place].click()
        explorer.mark(verdict, f"note {place % 2}")
        marks[index(explorer)] = Mark(verdict, f"note {place % 2}")
    for place in (0, 5, 1, 4, 2, 3, 7, 0):
        parts(explorer, "tile")[place].click()
    assert dict(explorer.gallery.marks) == marks


def test_a_verdict_taken_back_by_accident_has_not_lost_its_note(explorer):
    explorer.mark("ambiguous", "half a dog")
    part(explorer, "verdict").value = UNMARKED
    assert len(explorer.gallery.marks) == 0
    part(explorer, "verdict").value = "ambiguous"
    assert explorer.gallery.marks[index(explorer)].note == "half a dog"


def test_an_image_that_loses_its_mark_leaves_the_marked_ones(explorer):
    explorer.mark("ambiguous")
    explorer.set(show="marked")
    assert len(explorer.chosen) == 1
    explorer.unmark()
    assert captions(explorer) == []
    assert "Nothing is marked yet" in message(explorer)


def test_the_last_page_is_left_when_its_only_image_loses_its_mark(explorer):
    explorer.set(show="all images")
    for position in explorer.chosen[: PAGE + 1].tolist():
        explorer.select(position)
        explorer.mark("ambiguous")
    explorer.set(show="marked")
    explorer.turn(1)
    explorer.select(int(explorer.shown[0]))
    explorer.unmark()
    assert (explorer.page, len(captions(explorer))) == (0, PAGE)


def test_marks_that_cannot_be_written_are_kept_and_the_reason_is_shown(explorer, tmp_path):
    explorer.gallery.marks.path = tmp_path / "gone" / "marks.csv"
    (tmp_path / "gone").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="your 1 marks are kept in memory only"):
        explorer.mark("model wrong")
    assert "kept in memory only" in explorer.error.value
    assert "1 model wrong" in part(explorer, "tally").value
    assert captions(explorer)[0].startswith("✗")
    explorer.select(int(explorer.shown[3]))
    assert explorer.error.value == ""
    assert "Kept in" not in part(explorer, "tally").value
    assert "your 1 marks are kept in memory only" in part(explorer, "tally").value, "as long as that is so"
    (tmp_path / "gone").unlink()
    explorer.mark("ambiguous")
    assert part(explorer, "tally").value.endswith(f"Kept in {tmp_path / 'gone' / 'marks.csv'}")


def test_a_file_that_changed_elsewhere_is_told_until_it_is_mended(explorer):
    explorer.mark("model wrong")
    path = explorer.gallery.marks.path
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"model wrong", b"label wrong"))
    with pytest.raises(MarksError, match="kept in memory only"):
        explorer.unmark()
    explorer.set(show="all images")
    assert "holds something else" in part(explorer, "tally").value
    path.write_bytes(kept)
    explorer.mark("ambiguous")
    assert "Kept in" in part(explorer, "tally").value


def test_a_file_of_other_marks_is_refused(tmp_path):
    (tmp_path / "mine.csv").write_text("index,verdict,colour\n1,ambiguous,red\n")
    with pytest.raises(MarksError, match="the columns must be data,index,verdict,note"):
        made(marks=tmp_path / "mine.csv")


def test_no_mistakes_at_all_is_a_friendly_page():
    splits = splits_of(3)
    perfect = torch.nn.functional.one_hot(splits.validation.labels, 3).float()
    explorer = MistakeExplorer(FixedLogits(perfect), splits)
    assert "the model is right about every image" in message(explorer)
    assert "no images" in part(explorer, "where").value
    assert f"Image {index(explorer)}:" in part(explorer, "detail").value, "what a mark would be on is seen"
    assert part(explorer, "back").disabled
    assert part(explorer, "next").disabled
    assert explorer.to_figure() is not None
    part(explorer, "show").value = "all images"
    assert captions(explorer)[0].endswith("✓")
    part(explorer, "confidence").value = (0, 10)
    assert "a wider range of confidence" in message(explorer)


def test_one_class_only():
    explorer = MistakeExplorer(network(1), splits_of(1, 10))
    assert "No mistakes at all" in message(explorer)
    part(explorer, "cell").click()
    assert len(captions(explorer)) == 10


def test_many_classes_have_no_matrix_but_the_two_lists():
    many = made(MOST + 1, 100)
    assert cells(many) == {}
    assert f"{MOST + 1} classes are too many" in part(many, "matrix").children[0].value
    part(many, "label").label, part(many, "predicted").label = "class 20", "any"
    assert (many.gallery.predictions.labels[many.chosen] == 20).all()
    assert len(cells(made(MOST, 100))) == MOST**2


@pytest.mark.parametrize(("act", "error", "words"), [
    (lambda e: e.turn(-1), IndexError, "there is no page 0: this view has pages 1 to"),
    (lambda e: e.select(60), IndexError, "there is no image at 60"),
    (lambda e: e.set(sort="<colour>"), ValueError, "cannot sort by '<colour>'"),
    (lambda e: e.mark("wrong"), ValueError, "the verdict must be one of 'label wrong'"),
])  # fmt: skip
def test_what_cannot_be_done_is_raised_and_shown(explorer, act, error, words):
    state = explorer.view, explorer.page, explorer.selected
    with pytest.raises(error, match=words):
        act(explorer)
    assert "color" in explorer.error.value
    assert "<colour>" not in explorer.error.value, "escaped"
    assert (explorer.view, explorer.page, explorer.selected) == state
    explorer.set(show="all images")
    assert explorer.error.value == ""


def test_class_names_are_escaped():
    splits = splits_of(3)
    object.__setattr__(splits, "classes", ("<i>a</i>", "b&b", "c"))
    explorer = MistakeExplorer(network(3), splits)
    cells(explorer)[0, int(explorer.gallery.predictions.predicted[0])].click()
    explorer.select(0)
    assert "<i>" not in part(explorer, "detail").value
    assert "&lt;i&gt;" in part(explorer, "detail").value


def test_the_figure_shows_the_page(explorer):
    explorer.turn(1)
    figure = explorer.to_figure()
    assert "toy, validation: mistakes, 19 to 36 of" in figure.get_suptitle()
    pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    image = explorer.gallery.split.images[explorer.shown[0]].permute(1, 2, 0).numpy()
    assert (pictures[0] == image).all()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("explorer_of", [ReceptiveFieldExplorer, made])
def test_a_widget_brings_a_picture_for_where_it_does_not_run(explorer_of, capsys):
    bundle, _ = DisplayFormatter().format(explorer_of())
    if int(ipywidgets.__version__.split(".")[0]) < 8:  # a widget shows itself, and nothing beside
        assert "application/vnd.jupyter.widget-view+json" in capsys.readouterr().out
        return
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).width > 400
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_two_explorers_on_a_page_keep_their_images_apart(explorer):
    names = [re.search(r"\.eva-(\w+)-0\{", style(shown))[1] for shown in (explorer, made())]
    assert names[0] != names[1]
    assert part(explorer, f"{names[0]}-0") is parts(explorer, "tile")[0]


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


@pytest.mark.parametrize("confidence", [(0.1249, 0.5), (1 / 3, 2 / 3), (0.0, 0.004)])
def test_a_confidence_that_the_slider_cannot_show_is_kept(explorer, confidence):
    explorer.set(show="all images", confidence=confidence)
    assert explorer.view.confidence == confidence
    found = explorer.gallery.predictions.confidence[explorer.chosen]
    everything = explorer.gallery.predictions.confidence
    assert len(found) == int(((everything >= confidence[0]) & (everything <= confidence[1])).sum())
    part(explorer, "confidence").value = (10, 90)
    assert explorer.view.confidence == (0.1, 0.9), "and where a learner moves it, it counts"
