import pytest
import torch

from eva.course.comparison import holm as by_eva
from eva.exercises import check_holm


def stepped(p_values, *, stops=True, first=None, later=0):
    found = torch.zeros(len(p_values), dtype=torch.bool)
    for place, index in enumerate(p_values.argsort() if first is None else first(p_values)):
        if p_values[index] >= 0.05 / max(1, len(p_values) - place - later):
            if stops:
                break
            continue
        found[index] = True
    return found


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda p: p < 0.05, "each by itself"),
        (lambda p: p < 0.05 / len(p), "Bonferroni"),
        (lambda p: stepped(p, stops=False), "have failed with it: stop"),
        (lambda p: stepped(p, first=lambda p: range(len(p))), "begin with the smallest"),
        (lambda p: stepped(p, first=lambda p: p.argsort(descending=True)), "begin with the smallest"),
        (lambda p: stepped(p, later=1), "the next below 0.05 / (m - 1)"),
        (lambda p: ~stepped(p), "the wrong way round"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(function, words, refused):
    refused(check_holm, function, words)


def test_right_code_is_right_and_agrees_with_evas(verdict):
    assert verdict(check_holm, stepped).startswith("Right, ")

    def by_correction(p_values):
        corrected = by_eva({str(place): p for place, p in enumerate(p_values.tolist())})
        return torch.tensor([p < 0.05 for p in corrected.values()])

    assert verdict(check_holm, by_correction).startswith("Right, ")
