import pytest
import torch

from eva.exercises import check_mixup
from tests.exercises.test_first import stub, told  # noqa: F401 - a fixture


def mixup(images, onehot, partner, share, back=None, labels=True):
    """Both parts, with the mistakes that a learner makes on the way to them."""
    back = 1 - share if back is None else back
    by_image, by_row = share.view(-1, 1, 1, 1), share[:, None]
    mixed = by_image * images + back.view(-1, 1, 1, 1) * images[partner]
    return mixed, by_row * onehot + back[:, None] * onehot[partner] if labels else onehot


def by_lerp(images, onehot, partner, share):
    mixed = torch.lerp(images[partner], images, share[:, None, None, None])
    return mixed, torch.lerp(onehot[partner], onehot, share[:, None])


def by_loop(images, onehot, partner, share):
    for given in (images, onehot):
        before = given.clone()
        for n, part in enumerate(share):
            given[n] = part * before[n] + (1 - part) * before[partner[n]]
    return [images, onehot]


@pytest.mark.parametrize("solution", [mixup, by_lerp, by_loop])
def test_the_check_takes_the_solution_and_greets_the_stub(solution, told):  # noqa: F811
    check_mixup(solution)
    assert told() == "Right, on 20 random batches, partners and shares.\n"
    check_mixup(stub)
    assert "Not yet: `stub` returned nothing." in told()


def along_columns(images, onehot, partner, share):
    return share * images + (1 - share) * images[partner], mixup(images, onehot, partner, share)[1]


WRONG = [
    (lambda i, o, p, s: mixup(i, o, p, s, labels=False), "the labels came back as they were"),
    (lambda i, o, p, s: (i, mixup(i, o, p, s)[1]), "the images came back as they were"),
    (lambda i, o, p, s: (i[p], o[p]), "the partners' images alone"),
    (lambda i, o, p, s: mixup(i, o, p, 1 - s), "the images are mixed the wrong way round"),
    (lambda i, o, p, s: (mixup(i, o, p, s)[0], mixup(i, o, p, 1 - s)[1]), "the labels are mixed the wrong way round"),
    (lambda i, o, p, s: mixup(i, o, p, s, back=torch.ones(len(i))), "the partners' images count in full"),
    (lambda i, o, p, s: mixup(i, o, p, 0 * s + 0.5), "has the same part of both"),
    (lambda i, o, p, s: mixup(i, o, p, s.mean().expand(len(i))), "all images have one share"),
    (lambda i, o, p, s: mixup(i, o, p, s[:1].expand(len(i))), "all images have one share"),
    (along_columns, "the shares lie along the columns"),
    (lambda i, o, p, s: mixup(i, o, torch.arange(len(i)).flip(0), s), "with the batch turned round"),
    (lambda i, o, p, s: mixup(i + 1, o, p, s), "the images differ from share"),
    (lambda i, o, p, s: (mixup(i, o, p, s)[0], s * o + (1 - s) * o[p]), "The size of tensor"),
    (lambda i, o, p, s: mixup(i, o, p, s)[0], "must return two things, images and labels, and returned Tensor"),
    (lambda i, o, p, s: (mixup(i, o, p, s)[0], None), "nothing for the images or the labels"),
    (lambda i, o, p, s: (i.mean(0), o), "must return the shape"),
    (lambda i, o, p, s: (i.numpy(), o), "must return a tensor, and returned ndarray"),
]


@pytest.mark.parametrize(("answer", "message"), WRONG)
def test_wrong_answers_are_rejected_with_the_right_words(answer, message, told):  # noqa: F811
    check_mixup(answer)
    out = told()
    assert out.startswith("Not yet: ")
    assert message in out
