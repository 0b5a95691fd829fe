import io
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from eva.widgets.chain import CANVAS, PRESETS, LayerChoice, picture
from eva.widgets.field_explorer import OWN, ReceptiveFieldExplorer

SHRINKING = [LayerChoice(pool=True)] * 6  # 32 pixels can be halved five times


@pytest.fixture
def explorer() -> ReceptiveFieldExplorer:
    return ReceptiveFieldExplorer()


def control(explorer, index, name):
    """The widget that a learner would move: found by its class, as a browser would find it."""
    row = explorer.table.children[1 + index]
    (widget,) = [child for child in row.children if f"eva-{name}" in child._dom_classes]
    return widget


def drawn_picture(explorer) -> Image.Image:
    return Image.open(io.BytesIO(explorer.picture.value))


def test_a_larger_dilation_widens_the_box_and_costs_nothing(explorer):
    before = explorer.measured()
    control(explorer, 1, "dilation").value = 4
    after = explorer.measured()
    assert after.field.size[0] == before.field.size[0] + 2 * 3
    assert (after.parameters, after.macs) == (before.parameters, before.macs)


@pytest.mark.parametrize(("name", "value"), [
    ("kernel", 5), ("stride", 2), ("dilation", 3), ("pool", True), ("separable", True), ("maps", 48),
])  # fmt: skip
def test_a_control_changes_its_own_layer_and_what_is_shown(explorer, name, value):
    before, picture_before, readout_before = explorer.layers, explorer.picture.value, explorer.readout.value
    control(explorer, 2, name).value = value
    assert getattr(explorer.layers[2], name) == value
    assert [layer for i, layer in enumerate(explorer.layers) if i != 2] == [*before[:2], before[3]]
    assert explorer.readout.value != readout_before
    assert (explorer.picture.value != picture_before) == (name not in ("separable", "maps")), "these two move no box"
    assert explorer.preset.value == OWN


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_every_control(explorer, name):
    explorer.preset.value = name
    assert explorer.layers == PRESETS[name]
    assert len(explorer.table.children) == 1 + len(PRESETS[name])
    for index, layer in enumerate(PRESETS[name]):
        for field in ("kernel", "stride", "dilation", "pool", "separable", "maps"):
            assert control(explorer, index, field).value == getattr(layer, field)


def test_a_new_layer_has_as_many_maps_as_the_last(explorer):
    explorer.choose("VGG-like with pooling")
    explorer.add()
    assert explorer.layers[-1] == LayerChoice(maps=128)
    assert control(explorer, 6, "maps").value == 128


def test_layers_are_added_and_removed_by_their_buttons(explorer):
    explorer.choose("one 7x7")
    (button,) = [widget for widget in explorer.children if "eva-add" in widget._dom_classes]
    button.click()
    assert explorer.layers == (*PRESETS["one 7x7"], LayerChoice())
    assert explorer.measured().field.size == (9, 9)
    control(explorer, 0, "remove").click()
    assert explorer.layers == (LayerChoice(7), LayerChoice())
    assert [control(explorer, index, "kernel").value for index in range(2)] == [7, 3]
    explorer.add()
    control(explorer, 2, "kernel").value = 1  # a row that is shown a second time still drives its layer
    assert explorer.layers == (LayerChoice(7), LayerChoice(), LayerChoice(1))


def test_a_chain_built_by_hand_that_is_a_preset_is_called_so(explorer):
    explorer.set(3, kernel=7)
    assert explorer.preset.value == OWN
    explorer.remove(1)
    explorer.remove(1)
    assert explorer.preset.value == "one 7x7"


def test_the_numbers_are_written(explorer):
    explorer.choose("the trunk of Net")
    analysis = explorer.measured()
    for words in ("102 x 102", "32 x 32", "jump 4", f"{analysis.parameters:,} parameters", f"{analysis.macs:,} MACs"):
        assert words in explorer.readout.value
    assert explorer.readout.value.count("<tr>") == 1 + len(explorer.layers)


def test_a_chain_that_shrinks_to_nothing_says_so_and_can_be_mended(explorer):
    explorer.choose("VGG-like with pooling")
    control(explorer, 0, "stride").value = 2
    control(explorer, 2, "stride").value = 2
    with pytest.raises(ValueError, match=r"layer 5 cannot pool 2x2: the maps have shrunk to 1 x 1"):
        control(explorer, 4, "stride").value = 2
    assert "layer 5 cannot pool" in explorer.error.value
    assert explorer.readout.value == "", "no numbers of the chain before"
    assert drawn_picture(explorer).size == (CANVAS, CANVAS)
    control(explorer, 4, "stride").value = 1
    assert explorer.error.value == ""
    assert "jump 32" in explorer.readout.value


@pytest.mark.parametrize(("act", "error", "words"), [
    (lambda e: e.set(0, kernel=4), ValueError, "kernel must be an odd number from 1 to 7, got 4"),
    (lambda e: e.set(0, dilation=9), ValueError, "dilation must be a whole number from 1 to 8, got 9"),
    (lambda e: e.set(0, maps=1.5), ValueError, "maps must be a whole number from 1 to 512, got 1.5"),
    (lambda e: e.set(4, kernel=3), IndexError, "no layer 4: this chain has layers 0 to 3"),
    (lambda e: e.remove(-1), IndexError, "no layer -1"),
    (lambda e: e.choose("resnet<50>"), ValueError, "choose one of 'three 3x3', 'one 7x7'"),
    (lambda e: [e.remove(0) for _ in range(4)], ValueError, "the only layer of a chain cannot be removed"),
])  # fmt: skip
def test_what_cannot_be_done_is_raised_and_shown(explorer, act, error, words):
    with pytest.raises(error, match=words):
        act(explorer)
    assert "color" in explorer.error.value
    assert "<50>" not in explorer.error.value, "escaped"
    explorer.add()
    assert explorer.error.value == ""


@pytest.mark.parametrize(("image", "words"), [
    (torch.zeros(3, 32, 32), "must be a uint8 tensor, got torch.float32"),
    ([[1]], "must be a uint8 tensor, got list"),
    (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r"got \(2, 3, 32, 32\): of a batch take images\[0\]"),
    (torch.zeros(32, 32, 3, dtype=torch.uint8), r"got \(32, 32, 3\).*permute"),
    (torch.zeros(3, 0, 32, dtype=torch.uint8), r"got \(3, 0, 32\)"),
    (torch.zeros(3, 32, 257, dtype=torch.uint8), "H and W up to 256"),
])  # fmt: skip
def test_a_bad_image_is_refused(image, words):
    with pytest.raises(ValueError, match=words):
        ReceptiveFieldExplorer(image)


@pytest.mark.parametrize(("layers", "words"), [
    ("resnet", "no preset 'resnet': choose one of"), ((), "at least one layer"), (SHRINKING, "layer 5 cannot pool"),
])  # fmt: skip
def test_a_bad_chain_is_refused(layers, words):
    with pytest.raises(ValueError, match=words):
        ReceptiveFieldExplorer(layers=layers)


def test_an_image_of_ones_own_and_layers_of_ones_own(rng):
    image = torch.randint(0, 256, (3, 48, 24), generator=rng, dtype=torch.uint8)
    explorer = ReceptiveFieldExplorer(image, [LayerChoice(pool=True)])
    assert explorer.measured().map_size == (24, 12)
    assert drawn_picture(explorer).tobytes() == picture(image, explorer.measured()).tobytes()


def test_moving_a_slider_leaves_the_random_state_alone(explorer):
    before = torch.get_rng_state()
    control(explorer, 0, "dilation").value = 5
    explorer.choose("the trunk of Net")
    assert torch.equal(before, torch.get_rng_state())


def test_handlers_in_several_threads_leave_rows_and_layers_alike(explorer):
    """As JupyterLab has them: a control's first message in the main thread, later ones beside it."""
    explorer.choose("dilations 1 2 4 8")
    failures = []

    def move(index, name, values):
        try:
            for value in values:
                control(explorer, index, name).value = value
        except Exception as error:
            failures.append(error)

    jobs = [(0, "dilation", range(2, 8)), (1, "kernel", (5, 7, 1)), (2, "maps", range(40, 46)), (3, "dilation", (3, 5))]
    with ThreadPoolExecutor(len(jobs)) as pool:
        [*pool.map(move, *zip(*jobs, strict=True))]
    assert failures == []
    last = [
        LayerChoice(dilation=7),
        LayerChoice(1, dilation=2),
        LayerChoice(dilation=4, maps=45),
        LayerChoice(dilation=5),
    ]
    assert [*explorer.layers] == last
    for index, layer in enumerate(last):
        assert {name: control(explorer, index, name).value for name in vars(layer)} == vars(layer)


def test_the_figure_shows_the_same_picture_and_numbers(explorer):
    explorer.choose("the trunk of Net")
    figure = explorer.to_figure()
    left, right = figure.axes
    assert left.images[0].get_array().tobytes() == drawn_picture(explorer).tobytes()
    assert "102 x 102" in figure.get_suptitle()
    cells = right.tables[0].get_celld()
    assert cells[len(explorer.layers), 2].get_text().get_text() == "102"
    assert plt.get_fignums() == []
