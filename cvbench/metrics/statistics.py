"""Intervals, paired tests and the smallest difference a set can show, on one value a clip; float64, seeded.

The clip is the unit. Where clips come from common source videos, name the source of each in `groups`: the source
is the unit then, for clips of one video are no independent evidence. No result depends on the order of the clips.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped, UInt8

from cvbench.core.errors import UnsuitableInput

Values = Sequence[float] | Float[np.ndarray, " _n"]
Groups = Sequence[object] | Shaped[np.ndarray, " _n"] | None

FEWEST = 8  # clusters below which resampling says nothing and Student's interval is given
MOST = 1024  # clusters above which they are merged at random, so that any set costs the same
EXACT = 16  # clusters up to which all sign patterns are tried


class Difference(NamedTuple):
    """Mean of paired differences with its interval; the bounds are None for a single pair."""

    mean: float
    low: float | None
    high: float | None


class Clusters(NamedTuple):
    """Sum and number of the values of each source, in an order that does not depend on the input's."""

    sums: Float64[np.ndarray, " _g"]
    counts: Float64[np.ndarray, " _g"]


def bootstrap_mean(
    values: Values, groups: Groups = None, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Interval of the mean over clips by the studentised bootstrap; None for a single clip (or a single source).

    Each resample's mean is divided by its own standard error, which mends both the narrowness at small n and the
    skewness that percentile intervals suffer from. With `groups` whole sources are resampled and the mean stays the
    mean of clips. Below 8 clips, or where ties make resamples constant, the quantiles are Student's. From 8 clips on
    the interval never leaves the range of the values: no PSNR above the ceiling. Above 1024 clips, they are merged
    at random into 1024.

    Raises UnsuitableInput for no values, NaN or infinity, or groups of another length.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), 12.5; ratio form for clusters of unequal size.
    """
    from scipy.special import stdtrit  # half a second, which no table needs

    clusters = _clusters(values, groups, seed)
    mean, error = _ratio(clusters)
    count = len(clusters.sums)
    if count < 2:
        return None
    student = float(stdtrit(count - 1, (1 + level) / 2))
    resampled = _studentised(clusters, level, resamples, seed) if count >= FEWEST else None
    lowest, highest = resampled or (-student, student)
    low, high = mean - highest * error, mean - lowest * error
    return (low, high) if count < FEWEST else (max(low, float(np.min(values))), min(high, float(np.max(values))))


def paired_difference(
    a: Values,
    b: Values,
    groups: Groups = None,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
    weights: Values | None = None,
) -> Difference:
    """Mean of a - b over clips that both were measured on, and all shifts that `paired_permutation` does not reject.

    With `weights` (all above 0) the mean is weighted, and so is the shift.

    0 lies in the interval exactly when p >= 1 - level. Without bounds where there are too few clips for any
    difference to be rejected (fewer than six at 95 %). Source: Tritchler, J. Am. Stat. Assoc. 79:200 (1984).
    """
    clusters = _clusters(_differences(a, b), groups, seed, most=None, weights=weights)
    lows, highs = _bridged(clusters, resamples, seed)
    rank = math.ceil((1 - level) * len(lows) * (1 - 1e-12))
    low, high = np.partition(lows, rank - 1)[rank - 1], np.partition(highs, -rank)[-rank]
    bounds = (float(low), float(high)) if np.isfinite([low, high]).all() else (None, None)
    return Difference(_ratio(clusters)[0], *bounds)


def paired_permutation(a: Values, b: Values, groups: Groups = None, resamples: int = 9999, seed: int = 0) -> float:
    """Two-sided p of the paired permutation test: how often random signs give a mean difference as far from 0.

    Exact up to 16 clips (sources, with `groups`, which then change sign together), else from `resamples` seeded
    draws with the observed one counted among them, so that p is never 0.
    Source: Fisher's randomisation test; scipy.stats.permutation_test with permutation_type="samples".
    """
    sums = _clusters(_differences(a, b), groups, seed, most=None).sums
    turned = _turned(sums, resamples, seed)
    as_far = np.abs(sums.sum() - 2 * turned) >= abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    return float(as_far.mean())


def holm(pvalues: Sequence[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down rule, in the order given: compare each with alpha.

    Source: Holm, Scand. J. Statist. 6:65 (1979); R's p.adjust(method="holm").
    """
    p = np.asarray(pvalues, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise UnsuitableInput(f"p values lie in [0, 1], got {list(pvalues)}")
    order = p.argsort(kind="stable")
    corrected = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return [float(value) for value in corrected[order.argsort()]]


def detectable_difference(
    differences: Values,
    groups: Groups = None,
    power: float = 0.8,
    alpha: float = 0.05,
    weights: Values | None = None,
) -> float | None:
    """Smallest true mean difference that a two-sided paired t test on such clips finds with this power.

    None for a single clip. Source: noncentral t; Cohen, Statistical Power Analysis (1988), chapter 2.
    """
    from scipy.special import nctdtrinc, stdtrit  # half a second, which no table needs

    clusters = _clusters(differences, groups, seed=0, weights=weights)
    freedom = len(clusters.sums) - 1
    if freedom < 1:
        return None
    critical = stdtrit(freedom, 1 - alpha / 2)
    return float(nctdtrinc(freedom, 1 - power, critical)) * _ratio(clusters)[1]


def folds(rows: int, groups: Groups, count: int, rng: np.random.Generator) -> Int[np.ndarray, " _n"]:
    """A random fold number for each row, folds of equal size; the rows of one source share a fold."""
    labels = np.arange(rows) if groups is None else _labels(groups, rows)
    return (rng.permutation(labels.max() + 1) % count)[labels]


def student_mean(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean; None for a single value. For parts of a table, of which there are many."""
    from scipy.special import stdtrit

    freedom = len(values) - 1
    if freedom < 1:
        return None
    half = float(stdtrit(freedom, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(len(values)))
    mean = float(np.mean(values))
    return mean - half, mean + half


def jackknife(value: float, replicas: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student interval around `value` from the replicas that each leave one fold out.

    Its variance is on average not too small. Source: Efron & Stein, Ann. Statist. 9:586 (1981).
    """
    from scipy.special import stdtrit  # half a second, which no table needs

    freedom = len(replicas) - 1
    half = float(stdtrit(freedom, (1 + level) / 2) * np.sqrt(freedom * np.var(replicas)))
    return value - half, value + half


def _finite(values: Values) -> Float64[np.ndarray, " _n"]:
    array: Float64[np.ndarray, " _n"] = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise UnsuitableInput(f"{np.isfinite(array).sum()} of {array.size} values are finite; give one number a clip")
    return array


def _differences(a: Values, b: Values) -> Float64[np.ndarray, " _n"]:
    if len(a) != len(b):
        raise UnsuitableInput(f"{len(a)} and {len(b)} values do not pair; give both for the same clips")
    return np.asarray(_finite(a) - _finite(b))


def _labels(groups: Sequence[object] | Shaped[np.ndarray, " _n"], rows: int) -> Int[np.ndarray, " _n"]:
    if len(groups) != rows:
        raise UnsuitableInput(f"{len(groups)} group names for {rows} values; name the source of each clip")
    if isinstance(groups, np.ndarray) and groups.dtype.kind == "i":  # a number a row: no text for each of them
        numbers, places = np.unique(groups, return_inverse=True)
        return np.asarray(_labels([str(number) for number in numbers], len(numbers))[places])
    labels: Int[np.ndarray, " _n"] = np.unique([str(group) for group in groups], return_inverse=True)[1]
    return labels


def _clusters(
    values: Values, groups: Groups, seed: int, most: int | None = MOST, weights: Values | None = None
) -> Clusters:
    """Sums and counts by source (of weighted values, and of the weights), sorted; above `most` they merge by lot."""
    weight = np.ones(len(values)) if weights is None else _finite(weights)
    array = np.asarray(_finite(values) * weight)
    labels = np.arange(len(array)) if groups is None else _labels(groups, len(array))
    order = np.lexsort((weight, array, labels))  # so that sums do not depend on the order even in the last bit
    sums = np.bincount(labels[order], weights=array[order])
    counts = np.bincount(labels[order], weights=weight[order])
    order = np.lexsort((counts, sums))
    sums, counts = sums[order], counts[order]
    if most is None or len(sums) <= most:
        return Clusters(sums, counts)
    lot = np.random.default_rng(seed).permutation(len(sums)) % most
    return Clusters(np.bincount(lot, weights=sums), np.bincount(lot, weights=counts))


def _ratio(clusters: Clusters) -> tuple[float, float]:
    """Mean of all values and its standard error (linearised when clusters differ in size; infinite for one)."""
    sums, counts = clusters
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return mean, float("inf")
    residual = sums - mean * counts
    return mean, float(np.sqrt(len(sums) / (len(sums) - 1) * (residual @ residual)) / counts.sum())


def _studentised(clusters: Clusters, level: float, resamples: int, seed: int) -> tuple[float, float] | None:
    """Quantiles of (mean* - mean) / error* over resamples of clusters; None where they are not finite."""
    mean, error = _ratio(clusters)
    size, deviation = clusters.counts, clusters.sums - mean * clusters.counts
    moments = np.stack((size, deviation, deviation**2, deviation * size, size**2), axis=1)
    n, s, ss, sn, nn = (_resamples(len(size), resamples, seed) @ moments).T
    shift = s / n
    squares = (ss - 2 * shift * sn + shift**2 * nn) * len(size) / (len(size) - 1) / n**2
    told = squares > (1e-6 * error) ** 2  # a constant resample has no error: its ratio is infinite
    ratio = np.copysign(np.inf, shift)
    ratio[told] = shift[told] / np.sqrt(squares[told])
    low, high = np.quantile(ratio, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


@lru_cache(maxsize=2)  # the rows of a table have the same number of clips
def _resamples(clusters: int, resamples: int, seed: int) -> Float64[np.ndarray, "_b _g"]:
    """How often each cluster is drawn in each resample."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, clusters, size=(resamples, clusters), dtype=np.uint16)
    counts = np.empty((resamples, clusters))
    for row, draw in zip(counts, drawn, strict=True):
        row[:] = np.bincount(draw, minlength=clusters)
    counts.flags.writeable = False
    return counts


def _bridged(
    clusters: Clusters, resamples: int, seed: int
) -> tuple[Float64[np.ndarray, " _p"], Float64[np.ndarray, " _p"]]:
    """The shifts of the differences, from low to high, under which each pattern of signs is as far from 0 as none.

    Turning the signs of some clusters gives a mean as far from 0 when the shift lies between their mean and the
    mean of the others, so p of a shift is the share of patterns whose two means bridge it.
    """
    sums, counts = _turned(clusters.sums, resamples, seed), _turned_counts(tuple(clusters.counts), resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        turned, others = sums / counts, (clusters.sums.sum() - sums) / (clusters.counts.sum() - counts)
    share = counts / clusters.counts.sum()  # weights sum up to the last bits only
    every = (share < 1e-12) | (share > 1 - 1e-12)  # turning none, or all, bridges every shift
    return np.where(every, -np.inf, np.minimum(turned, others)), np.where(every, np.inf, np.maximum(turned, others))


def _turned(values: Float64[np.ndarray, " _g"], resamples: int, seed: int) -> Float64[np.ndarray, " _p"]:
    """Sum of the values whose sign is turned, a pattern: all there are, or drawn ones and that which turns none."""
    table, drawn = _partial_sums(values), len(values) > EXACT
    patterns = _random_patterns(len(table), resamples, seed) if drawn else _all_patterns(len(table))
    totals = np.zeros(patterns.shape[1] + drawn)
    for row, pattern in zip(table, patterns, strict=True):
        totals[: patterns.shape[1]] += row[pattern]
    return totals


@lru_cache(maxsize=2)  # the rows of a table have the same number of clips
def _turned_counts(counts: tuple[float, ...], resamples: int, seed: int) -> Float64[np.ndarray, " _p"]:
    return _turned(np.array(counts), resamples, seed)


def _partial_sums(values: Float64[np.ndarray, " _g"]) -> Float64[np.ndarray, "_k 256"]:
    """Sums of each eight values that a byte picks, for all 256 bytes."""
    picked = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float64)
    return np.asarray(np.pad(values, (0, -len(values) % 8)).reshape(-1, 8) @ picked.T)


@lru_cache(maxsize=2)
def _all_patterns(width: int) -> UInt8[np.ndarray, "_k _p"]:
    return np.indices((256,) * width, dtype=np.uint8).reshape(width, -1)


@lru_cache(maxsize=2)
def _random_patterns(width: int, resamples: int, seed: int) -> UInt8[np.ndarray, "_k _p"]:
    return np.random.default_rng(seed).integers(0, 256, size=(width, resamples), dtype=np.uint8)
