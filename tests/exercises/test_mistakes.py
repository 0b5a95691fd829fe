import pytest
import torch

from eva.exercises import check_cam, check_share_interval
from tests.exercises.test_first import stub, told  # noqa: F401 - a fixture

Z = 1.96


def cam(maps, weight, classes):
    return torch.einsum("nchw,nc->nhw", maps, weight[classes])


def cam_by_loops(maps, weight, classes):
    return torch.stack([(one * weight[which][:, None, None]).sum(0) for one, which in zip(maps, classes, strict=True)])


def share_interval(count, total, z=Z):
    """The roots p of (share - p)^2 = z^2 p (1 - p) / total."""
    a, b, c = 1 + z**2 / total, -(2 * count / total + z**2 / total), (count / total) ** 2
    root = (b**2 - 4 * a * c) ** 0.5
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def wald(count, total):
    share = count / total
    half = Z * (share * (1 - share) / total) ** 0.5
    return share - half, share + half


def cut(low, high):
    return max(0, low), min(1, high)


def agresti_coull(count, total):
    return wald(count + Z**2 / 2, total + Z**2)


@pytest.mark.parametrize(
    ("check", "solution"),
    [
        (check_cam, cam),
        (check_cam, cam_by_loops),
        (check_share_interval, share_interval),
        (check_share_interval, lambda count, total: torch.tensor(share_interval(count, total))),
    ],
)
def test_each_check_takes_the_solution_and_greets_the_stub(check, solution, told):  # noqa: F811
    check(solution)
    assert told().startswith("Right, ")
    check(stub)
    assert "Not yet: `stub` returned nothing." in told()


WRONG = [
    (check_cam, lambda m, w, c: torch.einsum("nchw,kc->nkhw", m, w), "pick each image's own row"),
    (check_cam, lambda m, w, c: cam(m, w, c).mean((1, 2)), "it gives a logit"),
    (check_cam, lambda m, w, c: cam(m, w, c).sum((1, 2)), "the sum over the places is taken"),
    (check_cam, lambda m, w, c: torch.einsum("nchw,nc->hw", m, w[c]), "the images are added up"),
    (check_cam, lambda m, w, c: cam(m, w, c).mean(0), "the images are averaged"),
    (check_cam, lambda m, w, c: torch.einsum("nchw,nc->nwh", m, w[c]), "h comes first"),
    (check_cam, lambda m, w, c: torch.einsum("nchw,nc->hwn", m, w[c]), "N comes first"),
    (check_cam, lambda m, w, c: m * w[c][:, :, None, None], "but not added up yet"),
    (check_cam, lambda m, w, c: m.sum(1), "weigh each by the class's weight"),
    (check_cam, lambda m, w, c: cam(m, w, c) / m.shape[2] / m.shape[3], "as Grad-CAM's is"),
    (check_cam, lambda m, w, c: cam(m, w, c) / m.shape[1], "a linear layer adds them up"),
    (check_cam, lambda m, w, c: cam(m, w, c).relu(), "keeps its sign"),
    (check_cam, lambda m, w, c: cam(m, w, torch.arange(len(m))), "should have row classes[n]"),
    (check_cam, lambda m, w, c: torch.einsum("nchw,c->nhw", m, w[c[0]]), "all images have one row"),
    (check_cam, lambda m, w, c: torch.einsum("nchw,nc->nhw", m, w.T[c]), "stopped with"),
    (check_cam, lambda m, w, c: cam(m, w, c) + 1, "the values differ"),
    (check_cam, lambda m, w, c: cam(m, w, c).numpy(), "must return a tensor, and returned ndarray"),
    (check_cam, lambda m, w, c: m, "must return the shape"),
    (check_share_interval, wald, "at the share that was found"),
    (
        check_share_interval,
        lambda c, n: cut(*wald(c, n)),
        "Of 4,000 simulated sets of 20 images it held the true share in 8",
    ),
    (check_share_interval, lambda c, n: share_interval(c, n, 1.0), "go 1.96 standard errors"),
    (check_share_interval, lambda c, n: share_interval(c, n)[::-1], "the lower end comes first"),
    (check_share_interval, lambda c, n: [100 * end for end in share_interval(c, n)], "those are per cent"),
    (check_share_interval, agresti_coull, "no share is below 0 or above 1"),
    (check_share_interval, lambda c, n: cut(*agresti_coull(c, n)), "an interval to be trusted, but another one"),
    (check_share_interval, lambda c, n: cut(c / n - 0.5, c / n + 0.5), "wider than it need be"),
    (check_share_interval, lambda c, n: cut(c / n - 0.05, c / n + 0.05), "too seldom for 95 %"),
    (check_share_interval, lambda c, n: (c / n, c / n), "without width"),
    (check_share_interval, lambda c, n: (0.0, c / n - 0.001), "leaves out the share"),
    (check_share_interval, lambda c, n: (0.0, 1.0), "Wilson's interval is"),
    (check_share_interval, lambda c, n: share_interval(c, n) if c in (0, n) or n != 20 else (0, 1), "should in about"),
    (check_share_interval, lambda c, n: c / n, "must return two numbers"),
    (check_share_interval, lambda c, n: ("0", "1"), "must return a number, and returned str"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_wrong_answers_are_rejected_with_the_right_words(check, answer, message, told):  # noqa: F811
    check(answer)
    out = told()
    assert out.startswith("Not yet: ")
    assert message in out
