import pytest
import torch

from eva.exercises import check_cam, check_share_interval

Z = 1.96


def cam(maps, weight, classes):
    return torch.einsum("nchw,nc->nhw", maps, weight[classes])


def share_interval(count, total, z=Z):
    """The roots p of (share - p)^2 = z^2 p (1 - p) / total."""
    a, b, c = 1 + z**2 / total, -(2 * count / total + z**2 / total), (count / total) ** 2
    root = (b**2 - 4 * a * c) ** 0.5
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def beside(count, total, half):
    return count / total - half, count / total + half


def wald(count, total, z=Z):
    share = count / total
    half = z * (share * (1 - share) / total) ** 0.5
    return beside(count, total, half)


def cut(low, high):
    return max(0, low), min(1, high)


def agresti_coull(count, total):
    return wald(count + Z**2 / 2, total + Z**2)


def only_where_asked(count, total):
    return share_interval(count, total) if count in (0, 3, total) or total != 20 else (0, 1)


def only_for_some(count, total):
    return share_interval(count, total) if count in (0, 3, total) or total != 20 else None


@pytest.mark.parametrize(
    ("check", "function", "words"),
    [
        (check_cam, lambda m, w, c: torch.einsum("nchw,nc->hw", m, w[c]), "the images are added up"),
        (check_cam, lambda m, w, c: torch.einsum("nchw,nc->nwh", m, w[c]), "h comes first"),
        (check_cam, lambda m, w, c: torch.einsum("nchw,nc->hwn", m, w[c]), "N comes first"),
        (check_cam, lambda m, w, c: (m * w[c][:, :, None, None]).mean(1), "a linear layer adds them up"),
        (check_cam, lambda m, w, c: cam(m, w, torch.arange(len(m))), "should have row classes[n]"),
        (check_cam, lambda m, w, c: torch.einsum("nchw,c->nhw", m, w[c[0]]), "all images have one row"),
        (check_cam, lambda m, w, c: torch.einsum("nchw,nc->nhw", m, w.T[c]), "with IndexError: "),
        (check_cam, lambda m, w, c: cam(m, w, c)[:, None], "there is an axis too many"),
        (check_cam, lambda m, w, c: cam(m, w, c) + 1, "the values differ"),
        (check_share_interval, wald, "at the share that was found"),
        (check_share_interval, lambda *a: cut(*wald(*a)), "sets of 20 images it held the true share in 8"),
        (check_share_interval, lambda c, n: share_interval(c, n, 1.0), "go 1.96 standard errors"),
        (check_share_interval, lambda *a: share_interval(*a)[::-1], "the lower end comes first"),
        (check_share_interval, lambda c, n: share_interval(c, n, 2), "notebook 01's two standard errors are 1.96"),
        (check_share_interval, lambda *a: wald(*a, z=2), "at the share that was found"),
        (check_share_interval, lambda c, n: beside(c, n, Z * (0.25 / n) ** 0.5), "at p = 1/2, where it is largest"),
        (
            check_share_interval,
            lambda c, n: cut(*beside(c, n, Z * (0.25 / n) ** 0.5)),
            "at p = 1/2, where it is largest",
        ),
        (check_share_interval, lambda c, n: beside(c, n, n**-0.5), "at p = 1/2, where it is largest"),
        (check_share_interval, lambda c, n: beside(c, n, 0.4), "no share is below 0 or above 1"),
        (check_share_interval, lambda c, n: [n * end for end in share_interval(c, n)], "divide by the total"),
        (check_share_interval, lambda c, n: (torch.nan, 1), "there is a nan in it"),
        (check_share_interval, only_for_some, "`only_for_some` returned nothing"),
        (check_share_interval, agresti_coull, "an interval to be trusted, but another one"),
        (check_share_interval, lambda *a: cut(*agresti_coull(*a)), "an interval to be trusted, but another one"),
        (check_share_interval, lambda c, n: cut(c / n - 0.5, c / n + 0.5), "wider than it need be"),
        (check_share_interval, lambda c, n: cut(c / n - 0.05, c / n + 0.05), "too seldom for 95 %"),
        (check_share_interval, only_where_asked, "should in about"),
        (check_share_interval, lambda c, n: c / n, "must return two numbers"),
        (check_share_interval, lambda c, n: ("0", "1"), "must return a number, and returned a str"),
    ],
)
def test_wrong_code_is_met_with_the_right_words(check, function, words, refused):
    refused(check, function, words)


def test_other_right_code_is_right(verdict):
    def by_loops(maps, weight, classes):
        pairs = zip(maps, weight[classes], strict=True)
        return torch.stack([(image * row[:, None, None]).sum(0) for image, row in pairs])

    assert verdict(check_cam, by_loops).startswith("Right, ")
    assert verdict(check_share_interval, lambda *a: torch.tensor(share_interval(*a))).startswith("Right, ")
