"""Is one network better than another? Differences with intervals that count seeds and images, and many at once.

pooled_spread   how much an accuracy moves with the seed, estimated from all networks of an experiment together
differences     each network less one of them: mean, 95 % interval, p-value, corrected for how many there are
two_sided       how often chance alone makes Student's t as large as this
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Runs = Mapping[str, Tensor]  # of each network: was it right? bool (seeds, images), all on the same images


@dataclass(frozen=True)
class Difference:
    """A network's accuracy less another's, as fractions, with the interval that holds the true one in 95 of 100 cases.

    `p` is the share of experiments in which two equal networks would differ as much, corrected by Holm (1979) for the
    number of networks that are compared. After one run of each the ends and `p` are NaN: nothing is known of luck.
    """

    mean: float
    low: float
    high: float
    p: float

    @property
    def excluded(self) -> float:
        """A difference larger than this, in either direction, is excluded by the interval."""
        return max(abs(self.low), abs(self.high))


def pooled_spread(runs: Runs) -> tuple[float, int]:
    """The standard deviation of an accuracy over seeds, and its degrees of freedom.

    Squares are averaged over all networks: three seeds of one say little about their spread, three of ten say more.
    Raises ValueError where no network has two seeds.
    """
    spreads = [(len(right) - 1, right.double().mean(1).var().item()) for right in runs.values() if len(right) > 1]
    freedom = sum(count for count, _ in spreads)
    if not freedom:
        raise ValueError("one seed each has no spread: make each run with two seeds at least")
    return math.sqrt(sum(count * variance for count, variance in spreads) / freedom), freedom


def differences(runs: Runs, against: str) -> dict[str, Difference]:
    """Each network less the one named `against`.

    Two sources of error are counted: other seeds, by the pooled spread, and other images, by how much the two
    networks' answers differ from image to image. With one seed each, all but the means is NaN. Raises KeyError for a
    name that is not there, ValueError where images differ in number.
    """
    base = runs[against].double()
    if any(right.shape[1] != base.shape[1] for right in runs.values()):
        counts = ", ".join(f"{name}: {right.shape[1]}" for name, right in runs.items())
        raise ValueError(f"all must be measured on the same images, got {counts}")
    repeated = any(len(right) > 1 for right in runs.values())
    spread, freedom = pooled_spread(runs) if repeated else (math.nan, 0)
    found, chances = {}, {}
    for name, right in runs.items():
        if name == against:
            continue
        apart = right.double().mean(0) - base.mean(0)  # of each image
        mean = apart.mean().item()
        seeds = spread**2 * (1 / len(right) + 1 / len(base))
        error = math.sqrt(seeds + max(0.0, apart.var().item() - _flips(right) - _flips(base)) / len(apart))
        half = quantile(freedom) * error if freedom else math.nan
        found[name] = (mean, mean - half, mean + half)
        chances[name] = math.nan if not freedom else two_sided(mean / error, freedom) if error else float(mean == 0)
    corrected = holm(chances) if freedom else chances
    return {name: Difference(*values, p=corrected[name]) for name, values in found.items()}


def _flips(right: Tensor) -> float:
    """By how much the mean answer to an image varies with the seeds: luck that the spread over seeds has counted."""
    return right.double().var(0).mean().item() / len(right) if len(right) > 1 else 0.0


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number: the smallest times their count, the next times one less, and so on."""
    corrected, so_far = {}, 0.0
    for place, name in enumerate(sorted(chances, key=chances.__getitem__)):
        so_far = max(so_far, min(1.0, (len(chances) - place) * chances[name]))
        corrected[name] = so_far
    return {name: corrected[name] for name in chances}


def two_sided(t: float, freedom: int) -> float:
    """P(|T| >= |t|) for Student's t with `freedom` degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).

    Raises ValueError where there is no degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"there must be at least one degree of freedom, got {freedom}: make more runs")
    angle = math.atan(abs(t) / math.sqrt(freedom))
    odd = freedom % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for power in range(odd + 2, freedom + 1, 2):  # term: of the cosine to the power - 2
        total += term
        term *= math.cos(angle) ** 2 * (power - 1) / power
    inside = math.sin(angle) * total
    return 1 - (2 / math.pi * (angle + inside) if odd else inside)


def quantile(freedom: int, level: float = 0.95) -> float:
    """The t within which the share `level` of Student's distribution lies."""
    low, high = 0.0, 1000.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - level else (low, middle)
    return high


def seeds_needed(spread: float, difference: float, power: float = 0.8) -> int:
    """How many seeds each of two networks needs, so that a true `difference` is found in the share `power` of cases.

    By the normal approximation, at 95 %: twice the squared spread over the squared difference, times 7.85.
    """
    normal = statistics.NormalDist()
    return math.ceil(2 * ((normal.inv_cdf(0.975) + normal.inv_cdf(power)) * spread / difference) ** 2)


def packed(right: Tensor) -> str:
    """Bool (images,) as hexadecimal digits, four images in each, for a line of JSON."""
    padded = torch.nn.functional.pad(right.to(torch.uint8), (0, -len(right) % 8)).view(-1, 8)
    return bytes((padded * (2 ** torch.arange(7, -1, -1, dtype=torch.uint8))).sum(1).tolist()).hex()


def unpacked(digits: str, images: int) -> Tensor:
    """What `packed` was given, of so many `images`."""
    values = torch.frombuffer(bytearray.fromhex(digits), dtype=torch.uint8)
    bits = values[:, None] >> torch.arange(7, -1, -1, dtype=torch.uint8) & 1
    return bits.flatten()[:images].bool()
