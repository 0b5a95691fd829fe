"""A learner at notebook 15's mistake explorer."""

import csv
import re
import time
from typing import NamedTuple

import pytest

from eva.mistakes import RANKINGS
from eva.widgets.gallery import COMPARED, DOUBTFUL, SHOWN
from eva.widgets.marks import COLUMNS, VERDICTS
from eva.widgets.panels import PAGE, SIGNS, UNMARKED
from tests.browser.lab import ROOT, box, expect

EXPLORER = '.eva-mistake-explorer:has(option[data-value="fixed"])'  # the notebook's other one compares no models
SCREEN = {"width": 1280, "height": 1500}  # all of it is seen at once
ALL_VERDICTS = (UNMARKED, *VERDICTS)
LISTS = ("show", "sort", "label", "predicted")
TILES = "tiles => tiles.map(tile => [tile.title, tile.innerText])"
# Each tile's background, once it is one that the browser could decode.
BACKGROUNDS = r"""tiles => Promise.all(tiles.map(async tile => {
    const image = new Image();
    image.src = getComputedStyle(tile).backgroundImage.match(/^url\("(data:image.*)"\)$/)[1];
    await image.decode();
    return [image.src, image.naturalWidth];
}))"""
# Until the kernel has answered all: the messages of a control wait for the answer to its last one, hence twice.
ANSWERED = """async () => {
    const {kernel} = window.jupyterapp.shell.currentWidget.sessionContext.session;
    for (const _ of [1, 2]) await kernel.requestKernelInfo();
}"""
# What is drawn beyond the right edge of the explorer, and words that their box cuts off.
CUT_OFF = """explorer => {
    const {right} = explorer.getBoundingClientRect();
    const parts = 'button, select, input, img, td, .eva-row, .widget-html-content, .widget-label, .widget-readout';
    return [...explorer.querySelectorAll(parts)].filter(part => part.offsetParent && (
        part.getBoundingClientRect().right > right + 1 || part.scrollWidth > part.clientWidth
        || part.matches('.eva-tile') && part.scrollHeight > part.clientHeight + 1
    )).map(part => `${part.tagName} ${part.className}: ${part.innerText}`);
}"""


class Tile(NamedTuple):
    """What a tile says of its image: where the pointer rests, and under it."""

    index: int
    label: str
    predicted: str
    confidence: int
    verdict: str | None
    caption: str


@pytest.fixture(scope="module")
def copy(lab):
    lab.page.set_viewport_size(SCREEN)
    copy = lab.open(ROOT / "notebooks" / "15_what_it_gets_wrong.ipynb")
    lab.run_all()
    return copy


@pytest.fixture
def explorer(lab, copy):
    """The explorer as it starts, with nothing marked."""
    explorer = lab.widget(EXPLORER)
    reset(explorer)
    if any(tally(explorer).values()):
        choose(explorer, show="marked")
        for left in range(sum(tally(explorer).values()), 0, -1):
            expect_count(explorer, left)
            select(explorer, 0)
            judge(explorer, UNMARKED)
        reset(explorer)
    select(explorer, 0)
    return explorer


def reset(explorer):
    for name, key in (("lower", "Home"), ("upper", "End")):
        handle(explorer, name).press(key)
    choose(explorer, show="mistakes", sort="loss", label="any", predicted="any")
    explorer.page.evaluate(ANSWERED)  # views of another order may have as many images: the count alone tells nothing
    expect_count(explorer, summary(explorer)["mistakes"])


def choose(explorer, **values):
    for name, value in values.items():
        explorer.locator(f".eva-{name} select").select_option(value)


def handle(explorer, name):
    return explorer.locator(f".eva-confidence .noUi-handle-{name}")


def cells(explorer):
    """The counts of the confusion matrix, by label and predicted class."""
    buttons = explorer.locator(".eva-cell").evaluate_all(TILES)
    parsed = [re.fullmatch(r"label (.+), predicted (.+): (\d+)", title).groups() for title, _ in buttons]
    assert [text for _, text in buttons] == [count if count != "0" else "" for _, _, count in parsed]
    return {(label, predicted): int(count) for label, predicted, count in parsed}


def cell(explorer, label, predicted):
    return explorer.locator(f'.eva-cell[title^="label {label}, predicted {predicted}:"]')


def tiles(explorer):
    buttons = explorer.locator(".eva-tile").evaluate_all(TILES)
    pattern = r"image (\d+): label (.+), predicted (.+) \((\d+)%\)(?:; (.+))?"
    parsed = [(*re.fullmatch(pattern, title).groups(), caption) for title, caption in buttons]
    return [
        Tile(int(index), label, predicted, int(percent), *rest) for index, label, predicted, percent, *rest in parsed
    ]


def summary(explorer):
    """The numbers of the line on top, by what they count."""
    line = explorer.locator(".eva-told").inner_text().replace(",", "")
    return {name: int(count) for count, name in re.findall(r"(\d+) (images|mistakes|fixed|broken|both wrong)", line)}


def tally(explorer):
    words = explorer.locator(".eva-tally").inner_text()
    return {name: int(re.search(rf"{sign} (\d+) {name}", words)[1]) for name, sign in SIGNS.items()}


def expect_tally(explorer, kept=True, **counts):
    given = ", ".join(f"{sign} {counts.get(name.replace(' ', '_'), 0)} {name}" for name, sign in SIGNS.items())
    words = f"Marked: {given}. Kept in marks-" if kept else f"Marked: {given}.marks-"
    expect(explorer.locator(".eva-tally")).to_contain_text(words)


def expect_count(explorer, count, page=0):
    """Wait until so many images are chosen, and this page of them is shown."""
    first, last = page * PAGE + 1, min((page + 1) * PAGE, count)
    words = f"{first:,} to {last:,} of {count:,}" if count else "no images"
    expect(explorer.locator(".eva-where")).to_have_text(words)
    expect(explorer.locator(".eva-tile")).to_have_count(last - first + 1)
    expect(explorer.locator(".eva-error")).to_have_text("")


def shown_count(explorer):
    words = explorer.locator(".eva-where").inner_text()
    return 0 if words == "no images" else int(words.split()[-1].replace(",", ""))


def until(explorer, actual, expected):
    """Wait until `actual()` is `expected`."""
    end = time.monotonic() + 20
    while (value := actual()) != expected and time.monotonic() < end:
        explorer.page.wait_for_timeout(50)
    assert value == expected


def expect_other_tiles(explorer, before):
    until(explorer, lambda: tiles(explorer) != before, True)


def select(explorer, place):
    """Click on an image, and wait until it is explained."""
    tile = tiles(explorer)[place]
    explorer.locator(".eva-tile").nth(place).click()
    expect(explorer.locator(".eva-detail")).to_contain_text(f"Image {tile.index}: label {tile.label}")
    chosen = explorer.locator(".eva-tile.eva-chosen")
    expect(chosen).to_have_count(1)  # for a moment there may be two: each is told by a message of its own
    expect(chosen).to_have_attribute("title", re.compile(f"^image {tile.index}:"))
    expect_verdict(explorer, tile.verdict or UNMARKED)
    return tile


def judge(explorer, name):
    """Click on a verdict, and wait until it is counted."""
    before = tally(explorer)
    old = explorer.locator(".eva-verdict .mod-active").inner_text()
    explorer.locator(".eva-verdict").get_by_role("button", name=name).click()
    expect_verdict(explorer, name)
    after = {verdict: count + (verdict == name) - (verdict == old) for verdict, count in before.items()}
    until(explorer, lambda: tally(explorer), after)


def expect_verdict(explorer, name):
    expect(explorer.locator(".eva-verdict .mod-active")).to_have_text(name)
    (expect(note(explorer)).to_be_disabled if name == UNMARKED else expect(note(explorer)).to_be_enabled)()


def note(explorer):
    return explorer.locator(".eva-note input")


def write(explorer, words):
    note(explorer).fill(words)
    note(explorer).press("Enter")


def marks_file(explorer, copy):
    return copy.parent / explorer.locator(".eva-tally").inner_text().split("Kept in ")[1]


def kept(path):
    """The rows of a file of marks, less the name of the data."""
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == COLUMNS
    assert {row[0] for row in rows} <= {"Shapes-10, training images"}
    return [(int(index), verdict, words) for _, index, verdict, words in rows]


@pytest.mark.parametrize("width", [1280, 900])
def test_every_control_is_drawn(explorer, lab, width):
    lab.page.set_viewport_size(SCREEN | {"width": width})
    try:
        lab.widget(EXPLORER)
        for name in ("told", "matrix", "detail", "verdict", "note", "tally", "grid", "where", "back", "next"):
            box(explorer.locator(f".eva-{name}"))
        for name in LISTS:
            box(explorer.locator(f".eva-{name} select"))
        assert box(explorer.locator(".eva-confidence"))["width"] > 300
        box(explorer.locator(".eva-confidence .widget-readout"))
        for name in ("lower", "upper"):
            box(handle(explorer, name))
        for name, offered in (("show", (*SHOWN, *COMPARED)), ("sort", [*RANKINGS])):
            expect(explorer.locator(f".eva-{name} option")).to_have_text(offered)
        verdicts = [box(explorer.locator(".eva-verdict").get_by_role("button", name=name)) for name in ALL_VERDICTS]
        assert len({place["y"] for place in verdicts}) == 1, "in a row"
        assert explorer.locator(".eva-tile").count() == PAGE
        for tile in explorer.locator(".eva-tile").all():
            box(tile)
        lab.screenshot(f"mistake explorer {width} wide")
        assert explorer.evaluate(CUT_OFF) == []
    finally:
        lab.page.set_viewport_size(SCREEN)


def test_the_confusion_matrix_is_a_grid_under_its_heads(explorer):
    counts = cells(explorer)
    classes = list(dict.fromkeys(label for label, _ in counts))
    assert explorer.locator(".eva-column").all_inner_texts() == classes
    assert explorer.locator(".eva-row").all_inner_texts()[1:] == classes
    rectangles = "parts => parts.map(part => part.getBoundingClientRect().toJSON())"
    heads, names, buttons = (
        explorer.locator(part).evaluate_all(rectangles) for part in (".eva-column", ".eva-row", ".eva-cell")
    )
    for number, button in enumerate(buttons):
        row, column = divmod(number, len(classes))
        name, head = names[1 + row], heads[column]
        assert abs(button["x"] + button["width"] / 2 - head["x"] - head["width"] / 2) < 4, f"column {column}"
        assert abs(button["y"] + button["height"] / 2 - name["y"] - name["height"] / 2) < 4, f"row {row}"
    disabled = explorer.locator(".eva-cell").evaluate_all("cells => cells.map(cell => cell.disabled)")
    assert disabled == [count == 0 for count in counts.values()]
    totals = summary(explorer)
    assert sum(counts.values()) == totals["images"]
    assert sum(count for pair, count in counts.items() if pair[0] != pair[1]) == totals["mistakes"]


def test_a_cell_shows_the_images_that_it_counts(explorer, lab):
    counts = cells(explorer)
    wrong = {pair: count for pair, count in counts.items() if count and pair[0] != pair[1]}
    right = {pair: count for pair, count in counts.items() if count and pair[0] == pair[1]}
    for pair in [max(wrong, key=wrong.get), min(wrong, key=wrong.get), *list(right)[:1]]:
        cell(explorer, *pair).click()
        expect_count(explorer, counts[pair])
        assert {(tile.label, tile.predicted) for tile in tiles(explorer)} == {pair}
        chosen = explorer.locator(".eva-cell.eva-chosen")
        expect(chosen).to_have_count(1)
        expect(chosen).to_have_attribute("title", re.compile(", ".join(
            [f"^label {pair[0]}", f"predicted {pair[1]}: {counts[pair]}$"])))  # fmt: skip
        for name, value in zip(LISTS, ("all images", "loss", *pair), strict=True):
            expect(explorer.locator(f".eva-{name} select")).to_have_value(value)
        lab.screenshot(f"mistake explorer a cell of {counts[pair]}")


def test_the_tiles_are_pictures_of_their_images(explorer):
    drawn = explorer.locator(".eva-tile").evaluate_all(BACKGROUNDS)
    assert [width for _, width in drawn] == [32] * PAGE
    assert len({source for source, _ in drawn}) == PAGE
    for tile in tiles(explorer):
        assert tile.label != tile.predicted
        assert tile.caption.replace("\n", " ") == f"{tile.label} → {tile.predicted}"


@pytest.mark.parametrize("name", ["label", "predicted"])
def test_a_list_of_classes_keeps_the_mistakes_of_one(explorer, lab, name):
    wrong = {pair: count for pair, count in cells(explorer).items() if pair[0] != pair[1]}
    place = ("label", "predicted").index(name)
    chosen = max(wrong, key=wrong.get)[place]
    choose(explorer, **{name: chosen})
    expect_count(explorer, sum(count for pair, count in wrong.items() if pair[place] == chosen))
    assert {getattr(tile, name) for tile in tiles(explorer)} == {chosen}
    choose(explorer, **{name: "any"})
    expect_count(explorer, summary(explorer)["mistakes"])
    lab.page.evaluate(ANSWERED)
    expect(explorer.locator(f".eva-{name} select")).to_have_value("any")


def test_the_slider_moves_by_the_keyboard_and_cuts_at_a_confidence(explorer, lab):
    images = summary(explorer)["images"]
    choose(explorer, show="all images", sort="entropy")
    expect_count(explorer, images)
    before = tiles(explorer)
    choose(explorer, sort="confidence")
    expect_other_tiles(explorer, before)
    top = tiles(explorer)[0].confidence  # rounded: some are above top - 1, none is above top + 1

    def press(name, key, low, high):
        handle(explorer, name).press(key)
        lab.page.evaluate(ANSWERED)  # to who is faster, ipywidgets hands an earlier value back
        expect(explorer.locator(".eva-confidence .widget-readout")).to_have_text(re.compile(rf"^{low}\D+{high}$"))

    for percent in range(1, top):
        press("lower", "ArrowRight", percent, 100)
    above = shown_count(explorer)
    assert above > 0
    assert min(tile.confidence for tile in tiles(explorer)) >= top - 1
    lab.screenshot("mistake explorer confidence from an edge on")
    press("lower", "ArrowRight", top, 100)
    press("lower", "ArrowRight", top + 1, 100)
    expect_count(explorer, 0)
    expect(explorer.locator(".eva-grid")).to_contain_text("a wider range of confidence")
    press("upper", "Home", top + 1, top + 1)
    press("lower", "Home", 0, top + 1)
    expect_count(explorer, images)
    press("upper", "ArrowLeft", 0, top)
    press("upper", "ArrowLeft", 0, top - 1)
    expect_count(explorer, images - above)


def test_each_order_is_another_one(explorer):
    orders = []
    for sort in RANKINGS:
        before = tiles(explorer)
        choose(explorer, sort=sort)
        if sort != "loss":
            expect_other_tiles(explorer, before)
        expect_count(explorer, summary(explorer)["mistakes"])
        orders.append(tiles(explorer))
    for sort, order in zip(RANKINGS, orders, strict=True):
        if sort == "confidence":
            assert [tile.confidence for tile in order] == sorted((tile.confidence for tile in order), reverse=True)
    assert len({order[0].index for order in orders}) > 1, "the first tile changes"


def test_pages_are_turned_forth_and_back(explorer):
    count = summary(explorer)["mistakes"]
    back, forward = (explorer.locator(f".eva-{name}") for name in ("back", "next"))
    first = tiles(explorer)
    expect(back).to_be_disabled()
    forward.click()
    expect_count(explorer, count, page=1)
    second = tiles(explorer)
    assert not {tile.index for tile in first} & {tile.index for tile in second}
    back.click()
    expect_count(explorer, count)
    assert tiles(explorer) == first
    smallest, size = min(((pair, n) for pair, n in cells(explorer).items() if n), key=lambda cell: cell[1])
    cell(explorer, *smallest).click()
    expect_count(explorer, size)
    assert forward.is_disabled() == (size <= PAGE)


def test_a_click_on_an_image_explains_it(explorer, lab):
    for place in (5, 2):
        tile = select(explorer, place)
        expect(explorer.locator(".eva-tile").nth(place)).to_have_css("outline-width", "3px")
        detail = explorer.locator(".eva-detail")
        expect(detail).to_contain_text(f"predicted {tile.predicted}.")
        expect(detail.locator("img")).to_have_count(3)
        widths = detail.locator("img").evaluate_all("all => all.map(image => image.complete && image.naturalWidth)")
        assert widths == [160] * 3
        assert len({image.get_attribute("src") for image in detail.locator("img").all()}) == 3
        captions = detail.locator("figcaption").all_inner_texts()
        assert captions == ["the image", f"for {tile.predicted}", f"for {tile.label} (label)"]
        bars = detail.locator("tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.innerText || cell.firstChild.offsetWidth))"
        )
        assert len(bars) in (5, 6)
        shares = [float(share.rstrip("%")) for _, _, share in bars]
        assert bars[0][0] == tile.predicted
        assert round(shares[0]) == tile.confidence
        assert shares == sorted(shares, reverse=True)
        for (_, width, _), share in zip(bars, shares, strict=True):
            assert abs(width - 2 * share) <= 1, "200 pixels are 100 %"
        assert f"{tile.label} (label)" in [name for name, *_ in bars]
    lab.screenshot("mistake explorer an image selected")


def test_a_mark_and_its_note_stay_through_every_filter_and_can_be_taken_back(explorer, lab, copy):
    tile = select(explorer, 3)
    judge(explorer, "label wrong")
    expect_tally(explorer, label_wrong=1)
    write(explorer, "<b>a lorry</b>, not a car")
    path, row = marks_file(explorer, copy), (tile.index, "label wrong", "<b>a lorry</b>, not a car")
    until(explorer, lambda: kept(path), [row])
    marked = tiles(explorer)[3]
    assert marked.verdict == "label wrong"
    assert marked.caption.startswith(f"{SIGNS['label wrong']} ")
    lab.screenshot("mistake explorer marked with a note")

    other = next(pair for pair, count in cells(explorer).items() if count and pair[0] != tile.label)
    cell(explorer, *other).click()
    expect(explorer.locator(".eva-label select")).to_have_value(other[0])
    until(explorer, lambda: {tile.label for tile in tiles(explorer)}, {other[0]})
    select(explorer, 0)
    expect(note(explorer)).to_have_value("")
    expect_tally(explorer, label_wrong=1)
    choose(explorer, label="any", predicted="any", show="marked")
    expect_count(explorer, 1)
    select(explorer, 0)
    expect(note(explorer)).to_have_value(row[2])

    judge(explorer, "ambiguous")
    expect_tally(explorer, ambiguous=1)
    until(explorer, lambda: kept(path), [(tile.index, "ambiguous", row[2])])
    judge(explorer, UNMARKED)
    expect_count(explorer, 0)
    expect(explorer.locator(".eva-grid")).to_contain_text("Nothing is marked yet: select an image")
    expect_tally(explorer)
    assert kept(path) == []
    lab.screenshot("mistake explorer nothing marked")


@pytest.mark.parametrize("show", COMPARED)
def test_as_many_are_fixed_or_broken_as_the_line_on_top_says(explorer, lab, show):
    totals = summary(explorer)
    assert totals["broken"] + totals["both wrong"] == totals["mistakes"]
    choose(explorer, show=show)
    expect_count(explorer, totals[show])
    for tile in tiles(explorer):
        assert (tile.label == tile.predicted) == (show == "fixed")
        assert tile.caption.endswith("✓") == (show == "fixed")
    lab.screenshot(f"mistake explorer {show}")


def test_a_choice_that_no_image_fits_says_what_to_do(explorer, lab):
    empty = next(pair for pair, count in cells(explorer).items() if not count)
    choose(explorer, show="all images", label=empty[0], predicted=empty[1])
    expect_count(explorer, 0)
    expect(explorer.locator(".eva-grid")).to_contain_text("No image is like that: choose “any” class")
    expect(explorer.locator(".eva-next")).to_be_disabled()
    lab.screenshot("mistake explorer no image is like that")


def test_a_file_that_is_not_of_marks_any_more_is_named_in_red_and_left_alone(explorer, lab, copy):
    select(explorer, 1)
    judge(explorer, "model wrong")
    path = marks_file(explorer, copy)
    good, other = path.read_bytes(), b"what another program wrote"
    path.write_bytes(other)
    try:
        select(explorer, 2)
        judge(explorer, "ambiguous")
        message = explorer.locator(".eva-error").get_by_text("holds something else than what was last read")
        box(message)
        red, green, blue = map(int, re.findall(r"\d+", message.evaluate("line => getComputedStyle(line).color"))[:3])
        assert red > 2 * max(green, blue), "red"
        expect_tally(explorer, kept=False, ambiguous=1, model_wrong=1)
        expect(explorer.locator(".eva-tally")).to_contain_text("your 2 marks are kept in memory only")
        assert path.read_bytes() == other
        lab.screenshot("mistake explorer a file of something else")
    finally:
        path.write_bytes(good)
    write(explorer, "written once it can be")
    expect(explorer.locator(".eva-error")).to_have_text("")
    until(explorer, lambda: {row[1:] for row in kept(path)},
          {("model wrong", ""), ("ambiguous", "written once it can be")})  # fmt: skip


def test_someone_new_finds_and_marks_three_label_errors(explorer, lab, copy):
    choose(explorer, show=DOUBTFUL)
    lab.page.evaluate(ANSWERED)
    assert shown_count(explorer) >= 3
    lab.screenshot("three label errors 1 doubtful")
    marked = []
    for place in range(3):
        marked.append(select(explorer, place).index)
        expect(explorer.locator(".eva-detail")).to_contain_text("doubts the label")
        judge(explorer, "label wrong")
        expect_tally(explorer, label_wrong=place + 1)
        lab.screenshot(f"three label errors {2 + place} marked {place + 1}")
    choose(explorer, show="marked")
    expect_count(explorer, 3)
    assert [tile.index for tile in tiles(explorer)] == marked
    assert kept(marks_file(explorer, copy)) == [(index, "label wrong", "") for index in sorted(marked)]
    lab.screenshot("three label errors 5 viewed")


def test_marks_outlive_the_kernel(explorer, lab, copy):
    tile = select(explorer, 4)
    judge(explorer, "ambiguous")
    write(explorer, "half a dog")
    until(explorer, lambda: kept(marks_file(explorer, copy)), [(tile.index, "ambiguous", "half a dog")])
    lab.restart_kernel()
    lab.run_all()
    again = lab.widget(EXPLORER)
    expect_tally(again, ambiguous=1)
    choose(again, show="marked")
    expect_count(again, 1)
    assert select(again, 0).index == tile.index
    expect(note(again)).to_have_value("half a dog")
    lab.screenshot("mistake explorer after a restart")
