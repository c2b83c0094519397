"""A full score estimated from few samples, looked at as it grows, until its interval is narrow enough. No torch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cvbench.core.errors import NothingScored, UsageError

FIRST = 16
"""Samples of the first look; each further look doubles them."""
STRATA = 4
LEAST = 4
"""Samples that a stratum has at least, of all there are and of those at the first look."""


@dataclass(frozen=True)
class Estimate:
    """What the mean over all `of` samples is, from `n` of them, with its interval; they agree where n is all."""

    value: float
    low: float
    high: float
    n: int
    of: int

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Sampling:
    """Which samples are looked at, and when: a stratified draw without replacement that grows from look to look.

    Strata are runs of neighbours in the data set's order, which are often alike: clips of one film, or of one class.
    """

    strata: Sequence[Sequence[int]]
    looks: Sequence[Sequence[int]]
    level: float

    @classmethod
    def of(cls, total: int, budget: int | None = None, *, once: bool = False, seed: int = 0) -> "Sampling":
        """Plan looks at up to `budget` of `total` samples, a single one where `once` is said.

        The intervals hold together at 95 %: each has its share of the 5 % (Bonferroni), so that stopping at the first
        narrow one is fair. Raises UsageError for a budget too small for an interval.
        """
        most = total if budget is None else min(budget, total)
        if most < min(total, LEAST):
            raise UsageError(f"a budget of {most} samples gives no interval; give {LEAST} or more")
        sizes = [most] if once else _sizes(most)
        edges = np.linspace(0, total, max(1, min(STRATA, sizes[0] // LEAST, total // LEAST)) + 1).round().astype(int)
        strata = [list(range(start, stop)) for start, stop in pairwise(edges.tolist())]
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(stratum).tolist() for stratum in strata]
        looks = [sorted(_taken(orders, size, total)) for size in sizes]
        return cls(strata, looks, 1 - 0.05 / len(looks))

    def estimate(self, values: Mapping[int, float], outside: Collection[int] = ()) -> Estimate:
        """Estimate the mean over all samples from those whose values are known; a sample that failed is not there.

        Samples `outside` have no value by their nature, and are none of the population; of a stratum's unseen ones as
        many are taken to be outside as of those seen. Stratified mean with the finite population's correction,
        Student's quantile with Satterthwaite's freedom (Cochran, Sampling Techniques, 1977, 5.4). Raises NothingScored
        where a stratum has fewer than two values.
        """
        from scipy.special import stdtrit  # half a second, which no table needs

        total = sum(map(len, self.strata)) - len(outside)
        if values and len(values) == total:
            mean = float(np.mean([values[i] for i in sorted(values)]))
            return Estimate(mean, mean, mean, total, total)
        held = [(stratum, [values[i] for i in stratum if i in values]) for stratum in self.strata]
        sizes = np.array([_inside(stratum, len(found), outside) for stratum, found in held])
        groups = [np.array(found) for (_, found), size in zip(held, sizes, strict=True) if size]
        sizes, total = sizes[sizes > 0], round(sizes.sum())
        if min(map(len, groups), default=0) < 2:
            raise NothingScored(f"{len(values)} of {total} samples gave a number: too few for an interval")
        weights = sizes / sizes.sum()
        counts = np.array([len(group) for group in groups])
        free = 1 - counts / sizes
        parts = weights**2 * free * np.array([group.var(ddof=1) for group in groups]) / counts
        mean, variance = float(weights @ [group.mean() for group in groups]), float(parts.sum())
        if variance == 0:
            return Estimate(mean, mean, mean, len(values), total)
        freedom = variance**2 / float((parts**2 / (counts - 1)).sum())
        half = float(stdtrit(freedom, (1 + self.level) / 2)) * variance**0.5
        return Estimate(mean, mean - half, mean + half, len(values), total)


def _inside(stratum: Sequence[int], known: int, outside: Collection[int]) -> float:
    """Return how many samples of a stratum are of the population, where `known` have values."""
    beyond = sum(i in outside for i in stratum)
    share = known / (known + beyond) if beyond else 1.0
    return known + (len(stratum) - known - beyond) * share


def _sizes(most: int) -> list[int]:
    sizes = [min(FIRST, most)]
    while sizes[-1] < most:
        sizes.append(min(2 * sizes[-1], most))
    return sizes


def _taken(orders: Sequence[Sequence[int]], size: int, total: int) -> list[int]:
    """Take of each stratum its share, from the front of its order."""
    shares = [max(min(LEAST, len(order)), round(size * len(order) / total)) for order in orders]
    return [i for order, share in zip(orders, shares, strict=True) for i in order[:share]]
