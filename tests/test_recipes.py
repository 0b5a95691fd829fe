import re
from dataclasses import fields, replace

import pytest

from eva.recipes import RECIPES, WIDTHS, Recipe

TINY = Recipe(epochs=2, batch_size=16, learning_rate=0.05)
WIDTH = 0.125


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_rate_rises_falls_and_ends_near_zero(decay):
    recipe = replace(TINY, decay=decay, warmup=0.25)
    rates = [recipe.rate(step, 100) for step in range(101)]
    top = rates.index(max(rates))
    assert max(rates) == 1
    assert 23 <= top <= 26
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] > 0, "no step is wasted"
    assert rates[99] < 0.02
    assert rates[100] == 0


def test_sizes_are_spread_over_any_number_of_epochs():
    assert [replace(TINY, epochs=6, sizes=(16, 24, 32)).size(epoch) for epoch in range(6)] == [16, 16, 24, 24, 32, 32]
    assert [replace(TINY, epochs=5, sizes=(16, 24)).size(epoch) for epoch in range(5)] == [16, 16, 24, 24, 24]


@pytest.mark.parametrize("epochs", range(1, 12))
@pytest.mark.parametrize("sizes", [(16,), (16, 32), (16, 20, 24, 28, 32), tuple(range(8, 33, 2))])
def test_a_run_of_any_length_never_shrinks_its_images_and_ends_at_full_size(epochs, sizes):
    recipe = replace(TINY, epochs=epochs, sizes=sizes)
    seen = [recipe.size(epoch) for epoch in range(epochs)]
    assert seen == sorted(seen)
    assert seen[-1] == sizes[-1]
    counts = [seen.count(size) for size in sizes]
    assert max(counts) - min(counts) <= 1, "equal parts"


def test_choices_are_what_it_takes_to_make_a_recipe_again():
    recipe = replace(TINY, sizes=(16, 24))
    assert recipe.choices == {"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "sizes": (16, 24)}
    assert Recipe(**recipe.choices) == recipe


def test_stored_runs_lean_on_these_defaults():
    """What a run was trained by is kept without the values that are the defaults: changing one would rewrite them."""
    assert {field.name: field.default for field in fields(Recipe) if field.name != "epochs"} == {
        "batch_size": 128, "learning_rate": 0.1, "warmup": 0.2, "decay": "linear", "matrix_rate": None, "momentum": 0.9,
        "weight_decay": 5e-4, "label_smoothing": 0.1, "ema": None, "sizes": (32,), "cpu_bfloat16": False,
        "augmentations": ("flip", "translate"), "compiled": False,
    }  # fmt: skip


def test_each_recipe_has_a_width():
    assert WIDTHS.keys() == RECIPES.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("learning_rate", 0.0), ("learning_rate", float("nan")), ("matrix_rate", -0.1),
     ("warmup", 2), ("warmup", -0.1), ("momentum", 1.0), ("weight_decay", -1e-4), ("label_smoothing", 1.0),
     ("ema", 1.0), ("ema", 0.0), ("sizes", ()), ("sizes", (32, 0))],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {re.escape(str(value))}$"):
        replace(TINY, **{name: value})


def test_a_bad_recipe_is_refused():
    with pytest.raises(ValueError, match='"linear" or "cosine", got \'steps\''):
        replace(TINY, decay="steps")
    with pytest.raises(ValueError, match="no augmentation 'rotate': choose from 'flip', 'translate', 'cutout'"):
        replace(TINY, augmentations=("flip", "rotate"))
    with pytest.raises(ValueError, match="compiled takes 3 sizes at most"):
        replace(RECIPES["cpu"], compiled=True)
    with pytest.raises(KeyError, match="no recipe 'tpu': choose one of 'cpu', 'hour', 'gpu', 'best', 'smoke'"):
        RECIPES["tpu"]
