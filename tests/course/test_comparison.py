import math
import statistics

import pytest
import torch

from eva.course import comparison
from eva.course.comparison import differences, holm, packed, pooled_spread, quantile, seeds_needed, two_sided, unpacked

# Fisher and Yates' table, two-sided 5 % and 1 %.
TABLE = {1: (12.706, 63.657), 2: (4.303, 9.925), 3: (3.182, 5.841), 4: (2.776, 4.604), 7: (2.365, 3.499),
         10: (2.228, 3.169), 15: (2.131, 2.947), 30: (2.042, 2.750), 120: (1.980, 2.617)}  # fmt: skip


@pytest.mark.parametrize("freedom", TABLE)
def test_students_t_is_that_of_the_tables(freedom):
    for share, t in zip((0.05, 0.01), TABLE[freedom], strict=True):
        assert two_sided(t, freedom) == pytest.approx(share, abs=2e-4 * share / 0.01)
        assert two_sided(-t, freedom) == two_sided(t, freedom)
        assert quantile(freedom, 1 - share) == pytest.approx(t, abs=6e-4)
    assert two_sided(0.0, freedom) == 1


def test_students_t_with_one_and_two_degrees_has_a_closed_form():
    for t in (0.1, 1.0, 3.7, 40.0):
        assert two_sided(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t))
        assert two_sided(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t))
    with pytest.raises(ValueError, match="got 0: make more runs"):
        two_sided(1.0, 0)


def made(rng, accuracy, seeds, images=400, hard=0.0):
    """Runs that are right with probability `accuracy`, less up to `hard` by image and the same for all seeds."""
    chance = accuracy - hard * torch.rand(images, generator=rng)
    return torch.rand(seeds, images, generator=rng) < chance


def test_the_spread_is_pooled_over_networks(rng):
    runs = {"a": made(rng, 0.6, 3), "b": made(rng, 0.8, 5), "one": made(rng, 0.7, 1)}
    of = {name: [row.double().mean().item() for row in right] for name, right in runs.items()}
    expected = (2 * statistics.variance(of["a"]) + 4 * statistics.variance(of["b"])) / 6
    spread, freedom = pooled_spread(runs)
    assert (spread**2, freedom) == (pytest.approx(expected), 6)
    with pytest.raises(ValueError, match="one seed each has no spread"):
        pooled_spread({"one": runs["one"]})


def test_intervals_hold_the_truth_as_often_as_they_say(rng):
    """Three networks of known accuracies, 300 times: seeds and images drawn anew each time."""
    held, fooled, trials = 0, 0, 300
    for _ in range(trials):
        runs = {"base": made(rng, 0.7, 3), "equal": made(rng, 0.7, 3), "better": made(rng, 0.75, 3)}
        found = differences(runs, "base")
        held += (found["equal"].low <= 0 <= found["equal"].high) + (found["better"].low <= 0.05 <= found["better"].high)
        fooled += found["equal"].p < 0.05
    assert 0.93 < held / (2 * trials) < 0.975
    assert fooled / trials < 0.07


def test_a_difference_that_is_large_is_found_and_one_that_is_not_there_is_bounded(rng):
    runs = {"base": made(rng, 0.70, 5, 5000), "same": made(rng, 0.70, 5, 5000), "better": made(rng, 0.74, 5, 5000)}
    found = differences(runs, "base")
    assert found["better"].low > 0.02
    assert found["better"].p < 0.001
    assert found["same"].excluded == max(-found["same"].low, found["same"].high) < 0.02
    assert found["better"].mean == pytest.approx(
        runs["better"].double().mean().item() - runs["base"].double().mean().item()
    )


def test_other_images_count_where_seeds_agree(rng):
    """Networks that never change with the seed are still known on these images alone."""
    one, other = made(rng, 0.7, 1, 100), made(rng, 0.75, 1, 100)
    found = differences({"one": one.expand(4, -1), "other": other.expand(4, -1)}, "one")["other"]
    apart = other[0].double() - one[0].double()
    half = quantile(6) * math.sqrt(apart.var().item() / 100)
    assert (found.low, found.high) == (pytest.approx(found.mean - half), pytest.approx(found.mean + half))


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_what_does_not_compare_is_refused(rng):
    with pytest.raises(ValueError, match="same images, got a: 400, b: 300"):
        differences({"a": made(rng, 0.7, 2), "b": made(rng, 0.7, 2, 300)}, "a")
    with pytest.raises(KeyError):
        differences({"a": made(rng, 0.7, 2)}, "b")


def test_one_run_of_each_has_a_difference_and_no_interval(rng):
    runs = {"a": made(rng, 0.7, 1), "b": made(rng, 0.8, 1), "c": made(rng, 0.9, 1)}
    for name, apart in differences(runs, "a").items():
        assert apart.mean == pytest.approx((runs[name].double().mean() - runs["a"].double().mean()).item())
        assert all(math.isnan(value) for value in (apart.low, apart.high, apart.p))


@pytest.mark.parametrize(("points", "seeds"), [(1.0, 5), (0.5, 19), (0.2, 119)])
def test_how_many_seeds(points, seeds):
    assert seeds_needed(0.55, points) == seeds


@pytest.mark.parametrize("images", [1, 7, 8, 9, 5000])
def test_answers_are_kept_in_a_line(rng, images):
    right = torch.rand(images, generator=rng) < 0.5
    assert torch.equal(unpacked(packed(right), images), right)
    assert len(packed(right)) == 2 * -(-images // 8)
    assert comparison.packed(torch.tensor([True] + [False] * 7)) == "80"
