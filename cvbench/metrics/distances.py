"""Distances between two sets of feature rows in float64: Fréchet (FID, FVD), MMD (KID, KVD, CMMD).

Rows are samples, columns are features. Nothing here is averaged over batches, and no matrix root is ever taken.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.linalg import blas, eigvalsh, lapack
from scipy.spatial.distance import cdist

from cvbench.core.errors import UnsuitableInput
from cvbench.metrics.moments import BLOCK as MOST_ROWS
from cvbench.metrics.moments import Moments, moments_of_rows
from cvbench.metrics.statistics import Groups, folds, jackknife
from cvbench.metrics.streams import Streamed

Array = Float[np.ndarray, "_n _d"]
Features = Array | Streamed
"""One row a sample, any float type, computed in float64; or rows that do not fit into memory."""
Kernel = Callable[[Float64[np.ndarray, "..."]], Float64[np.ndarray, "..."]]

BLOCK, BESIDE = 1024, 8192  # rows and columns of a Gram matrix at once: bounds memory
FRACTIONS = np.repeat([1 / 2, 3 / 5, 3 / 4, 1], [8, 4, 2, 1])  # sizes of the extrapolation: most where it is noisy


class MeanAndStd(NamedTuple):
    """Mean and population standard deviation over subsets."""

    mean: float
    std: float


class Extrapolated(NamedTuple):
    """A distance at infinitely many samples; `interval` is None where none would be honest."""

    value: float
    interval: tuple[float, float] | None


def frechet(x: Features, y: Features) -> float:
    """Fréchet distance of two feature sets, |μx-μy|² + tr Σx + tr Σy - 2 tr (Σx Σy)^½, with unbiased covariances.

    tr (Σx Σy)^½ is the nuclear norm of Rx Ryᵀ for any RᵀR = Σ. With n ≤ d on either side R is the centred rows
    themselves: exact for singular covariances, where `sqrtm` errs in the sixth digit. Heavily biased upwards by
    small n (Chong & Forsyth, arXiv 1911.07023): compare only at equal n.

    Raises UnsuitableInput for NaN or infinity, differing widths, or fewer than two rows.
    Source: Heusel et al., arXiv 1706.08500; same value as pytorch-fid's `calculate_frechet_distance`.
    """
    check_features(x, y)
    if min(len(x), len(y)) > x.shape[1]:
        return frechet_of_moments(*moments(x), *moments(y))
    (mean_x, root_x), (mean_y, root_y) = _root(x), _root(y)
    return _distance(mean_x - mean_y, np.vdot(root_x, root_x) + np.vdot(root_y, root_y), _nuclear(root_x, root_y))


def frechet_of_moments(
    mean_x: Float[np.ndarray, " _d"],
    cov_x: Float[np.ndarray, "_d _d"],
    mean_y: Float[np.ndarray, " _d"],
    cov_y: Float[np.ndarray, "_d _d"],
) -> float:
    """Fréchet distance of two Gaussians, for statistics that come without their rows (the `mu`, `sigma` of npz files).

    With Σx = LLᵀ the eigenvalues of LᵀΣyL are those of ΣxΣy, so one symmetric, values-only solve is enough. Where
    their roots would be rounding (nearly singular covariances) the singular values of the two factors are taken.
    """
    if not mean_x.shape == mean_y.shape == cov_x.shape[:1] == cov_y.shape[1:]:
        raise UnsuitableInput(f"moments of {len(mean_x)} and {len(mean_y)} features cannot be compared: two networks?")
    cov_x, cov_y = np.asarray(cov_x, np.float64), np.asarray(cov_y, np.float64)
    overlap = _trace_of_root(cov_x, cov_y)
    if overlap is None:
        overlap = _nuclear(_factor(cov_x), _factor(cov_y))
    return _distance(mean_x - mean_y, cov_x.trace() + cov_y.trace(), overlap)


def moments(x: Features) -> tuple[Float64[np.ndarray, " _d"], Float64[np.ndarray, "_d _d"]]:
    """Mean and unbiased covariance in float64; of rows that are streamed, block by block, each read once."""
    found = moments_of(x)
    return found.mean, found.covariance


def moments_of(x: Features) -> Moments:
    """Return what `moments` is made of, which merges."""
    parts = x.chunks(MOST_ROWS) if isinstance(x, Streamed) else [x]
    return reduce(Moments.merged, map(moments_of_rows, parts))


def frechet_interval(
    x: Features, y: Features, groups: Groups = None, level: float = 0.95, count: int = 20, seed: int = 0
) -> tuple[float, float] | None:
    """Interval of `frechet` at this n by the delete-a-fold jackknife; None with too few rows. Costs `count` distances.

    It says how far the score would move with other samples, as many as these; it does not remove the bias of n.
    Its variance is on average not too small (Efron & Stein, Ann. Statist. 9:586, 1981); in simulations 95 % intervals
    covered the expected score in 93 % (n well above d) to 100 % (n below d) of the cases. There is no bootstrap: a
    resample repeats rows, which lowers the rank of its covariance and moves the resampled distances upwards, so that
    a percentile interval need not even contain the score.

    Sets of equal length are taken as pairs (reconstruction, target). `groups` names the source of each pair
    (frames of one clip): rows of one source leave together.
    """
    return frechet_and_interval(x, y, groups, level, count, seed)[1]


def frechet_and_interval(
    x: Features, y: Features, groups: Groups = None, level: float = 0.95, count: int = 20, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """Return `frechet` with `frechet_interval`, which share their work."""
    check_features(x, y)
    out_x, out_y = _fold_pair(x, y, groups, min(count, len(x), len(y)), np.random.default_rng(seed))
    return frechet_without_folds(x, y, out_x, out_y, level)


def frechet_without_folds(
    x: Features, y: Features, out_x: Int[np.ndarray, " _n"], out_y: Int[np.ndarray, " _m"], level: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """Return `frechet`, and its interval from the distances without each fold of rows; None with too few rows.

    Where more rows than features are left, moments are taken of all rows and of each fold, and parted: two passes over
    the rows, and no more in memory than a few covariances.
    """
    counts = [np.bincount(out) for out in (out_x, out_y)]
    least = min((out.sum() - out).min() for out in counts)
    if len(counts[0]) < 2 or least < 2:
        return frechet(x, y), None
    if least > x.shape[1]:
        whole = moments_of(x), moments_of(y)
        value = _frechet(*whole)
        parts = (tuple(moments_of(z[out == k]) for z, out in ((x, out_x), (y, out_y))) for k in range(len(counts[0])))
        replicas = [_frechet(*(m.without(part) for m, part in zip(whole, each, strict=True))) for each in parts]
    else:
        value = frechet(x, y)
        replicas = [frechet(x[out_x != fold], y[out_y != fold]) for fold in range(len(counts[0]))]
    low, high = jackknife(value, replicas, level)
    return value, (max(low, 0.0), high)


def _frechet(x: Moments, y: Moments) -> float:
    return frechet_of_moments(x.mean, x.covariance, y.mean, y.covariance)


def frechet_extrapolated(x: Features, y: Features, level: float = 0.95, count: int = 20, seed: int = 0) -> Extrapolated:
    """FID∞, FVD∞: the distance at infinite n, from a straight line in 1/n through random subsets of half to all rows.

    Both sets shrink together, so the bias of both is removed; sets of equal length are taken as pairs. The value
    may be slightly negative and is not clamped. The law is linear only when every subset has many more rows than
    features: below 2 d rows in the smallest subset the value is an indication and has no interval. Above, the
    interval is the delete-a-fold jackknife of the whole procedure with the same subsets; the regression's own error
    would be far too small, for subsets share rows. Costs 15 distances, and 15 for each of `count` folds where there
    is an interval.

    Source: Chong & Forsyth, arXiv 1911.07023 (who shrink the generated set only).
    """
    check_features(x, y, least=4)
    rng = np.random.default_rng(seed)
    keys_x = rng.random((len(FRACTIONS), len(x)))
    keys_y = keys_x if len(x) == len(y) else rng.random((len(FRACTIONS), len(y)))
    value = _intercept(x, y, keys_x, keys_y)
    if min(len(x), len(y)) < max(4 * x.shape[1], 2 * count):
        return Extrapolated(value, None)
    out_x, out_y = _fold_pair(x, y, None, count, rng)
    kept = [(out_x != fold, out_y != fold) for fold in range(count)]
    replicas = [_intercept(x[i], y[j], keys_x[:, i], keys_y[:, j]) for i, j in kept]
    return Extrapolated(value, jackknife(value, replicas, level))


def polynomial_mmd(
    x: Features,
    y: Features,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    unbiased: bool = True,
) -> float:
    """Squared MMD with the kernel (γ a·b + coef0)^degree, γ = 1/d unless given: KVD on I3D logits.

    The whole sets at once, no subsets. The unbiased value may be negative and is never clamped.
    Raises UnsuitableInput as `frechet` does.
    Source: Bińkowski et al., arXiv 1801.01401; same value as `polynomial_mmd` of TATS and LVDM.
    """
    check_features(x, y, least=2 if unbiased else 1)
    kernel = _polynomial(degree, 1 / x.shape[1] if gamma is None else gamma, coef0)
    if isinstance(x, Streamed) or isinstance(y, Streamed):
        return mmd_of_chunks(kernel, x, y, unbiased)
    return float(_mmd(kernel, x, y, np.ones((1, len(x))), np.ones((1, len(y))), unbiased)[0])


def mmd_of_chunks(kernel: Kernel, x: Features, y: Features, unbiased: bool) -> float:
    """Squared MMD of whole sets, of each no more than a chunk in memory, which is held against all others."""
    within = sum(_mean_within(kernel, rows, unbiased) for rows in (x, y))
    across = sum(_sum_across(kernel, a, b) for a in _chunks(x) for b in _chunks(y))
    return within - 2 * across / (len(x) * len(y))


def _mean_within(kernel: Kernel, x: Features, unbiased: bool) -> float:
    total = 0.0
    for place, chunk in enumerate(_chunks(x)):
        total += float(_sums_within(kernel, chunk, np.ones((1, len(chunk))))[0])
        total += 2 * sum(_sum_across(kernel, chunk, before) for before in islice(_chunks(x), place))
        if unbiased:
            squares = np.concatenate([np.einsum("nd,nd->n", block, block) for block in blocks(chunk)])
            total -= float(kernel(squares).sum())
    return total / (len(x) * (len(x) - 1) if unbiased else len(x) ** 2)


def _sum_across(kernel: Kernel, x: Array, y: Array) -> float:
    return float(_subset_sums(kernel, x, y, np.ones((1, len(x))), np.ones((1, len(y))))[0])


def _chunks(x: Features) -> Iterable[Float[np.ndarray, "_k _d"]]:
    return x.chunks() if isinstance(x, Streamed) else [x]


def kid(x: Features, y: Features, subsets: int = 100, size: int = 1000, seed: int = 2020) -> MeanAndStd:
    """Kernel inception distance: mean and spread of the unbiased `polynomial_mmd` over random subsets.

    Draws the subsets of torch-fidelity's `kid_features_to_metric` (RandomState(seed); x, then y, without
    replacement), so equal seeds give equal values. Not multiplied by 1000.
    Raises UnsuitableInput as `frechet` does, and when a set has fewer than `size` rows.
    """
    check_features(x, y, least=max(size, 2))
    rng = np.random.RandomState(seed)
    draws = [tuple(np.array(rng.choice(len(z), size, replace=False)) for z in (x, y)) for _ in range(subsets)]
    costly = max(len(x), len(y)) ** 2 > subsets * size**2  # the whole Gram matrix would cost more than all subsets
    if costly or isinstance(x, Streamed) or isinstance(y, Streamed):
        pairs = zip(*(_drawn(z, [draw[side] for draw in draws]) for side, z in enumerate((x, y))), strict=True)
        values = np.array([polynomial_mmd(*pair) for pair in pairs])
    else:
        in_x, in_y = (_indicators([draw[side] for draw in draws], len(z)) for side, z in enumerate((x, y)))
        values = _mmd(_polynomial(3, 1 / x.shape[1], 1.0), x, y, in_x, in_y, unbiased=True)
    return MeanAndStd(float(values.mean()), float(values.std()))


def gaussian_mmd(x: Features, y: Features, sigma: float = 10.0, scale: float = 1000.0) -> float:
    """Squared MMD with the kernel exp(-|a - b|² / 2σ²), of the whole sets, pairs with themselves included: CMMD.

    CMMD's σ is 10 and its scale 1,000, for embeddings of unit length. The estimator is the biased one, so it is
    never negative and about 1000 (1 - mean kernel) (1/n + 1/m) for equal distributions: compare at equal n.
    Raises UnsuitableInput as `frechet` does. Source: Jayasumana et al., arXiv 2401.09603, and its code.
    """
    check_features(x, y, least=1)
    within = sum(_gaussian_sum(z, z, sigma) / len(z) ** 2 for z in (x, y))
    return scale * max(within - 2 * _gaussian_sum(x, y, sigma) / (len(x) * len(y)), 0.0)


def _gaussian_sum(x: Features, y: Features, sigma: float) -> float:
    """Sum of the kernel over all pairs, by blocks of both; of differences, for squares lose the digits of near rows."""
    pairs = ((block, beside) for a in _chunks(x) for b in _chunks(y) for block in blocks(a) for beside in blocks(b))
    return sum(float(np.exp(cdist(*pair, "sqeuclidean") / (-2 * sigma**2)).sum()) for pair in pairs)


def _drawn(x: Features, draws: Sequence[Int[np.ndarray, " _k"]]) -> Iterator[Float[np.ndarray, "_k _d"]]:
    return x.subsets(draws) if isinstance(x, Streamed) else (x[draw] for draw in draws)


def check_features(x: Features, y: Features, least: int = 2) -> None:
    """Raise UnsuitableInput for NaN or infinity, differing widths, or fewer than `least` rows.

    Streamed rows were looked over for NaN and infinity when they were counted.
    """
    for which, rows in (("first", x), ("second", y)):
        if rows.ndim != 2 or not rows.shape[1]:
            raise UnsuitableInput(f"the {which} feature set has shape {rows.shape}; give one row a sample: (n, d)")
        if len(rows) < least:
            raise UnsuitableInput(f"the {which} feature set has {len(rows)} rows; this distance needs {least} or more")
        if not isinstance(rows, Streamed) and (bad := int((~np.isfinite(rows)).any(axis=1).sum())):
            raise UnsuitableInput(f"{bad} of {len(rows)} rows of the {which} feature set hold NaN or infinity")
    if x.shape[1] != y.shape[1]:
        raise UnsuitableInput(
            f"feature sets of {x.shape[1]} and {y.shape[1]} columns cannot be compared: two networks?"
        )


def blocks(x: Features, rows: int = BLOCK) -> Iterator[Float64[np.ndarray, "_b _d"]]:
    """Return the rows in float64, so many at a time, or of streamed ones about so many: none are copied whole."""
    if isinstance(x, Streamed):
        return (block.astype(np.float64, copy=False) for block in x.chunks(rows))
    return (x[start : start + rows].astype(np.float64, copy=False) for start in range(0, len(x), rows))


def _distance(shift: Float[np.ndarray, " _d"], spread: float, overlap: float) -> float:
    """Put the terms together. A Fréchet distance is not negative; what is below zero is rounding."""
    return max(float(shift @ shift + spread - 2 * overlap), 0.0)


def _root(x: Features) -> tuple[Float64[np.ndarray, " _d"], Float64[np.ndarray, "_k _d"]]:
    """Mean, and R with RᵀR the covariance: the centred rows while they are few, else the covariance's factor."""
    if len(x) > x.shape[1]:
        mean, covariance = moments(x)
        return mean, _factor(covariance)
    rows = np.asarray(x)
    mean = rows.mean(axis=0, dtype=np.float64)
    return mean, (rows - mean) / np.sqrt(len(rows) - 1)


def _factor(covariance: Float64[np.ndarray, "_d _d"]) -> Float64[np.ndarray, "_r _d"]:
    """R with RᵀR = Σ and as many rows as Σ has rank, by Cholesky with pivots."""
    upper, pivots, rank, _ = lapack.dpstrf(covariance.T, lower=0)
    factor = np.empty((rank, len(covariance)))
    factor[:, pivots - 1] = np.triu(upper[:rank])
    return factor


def _similar(
    factor: Float64[np.ndarray, "_r _d"], covariance: Float64[np.ndarray, "_d _d"]
) -> Float64[np.ndarray, "_r _r"]:
    """R Σ Rᵀ, of which the lower triangle alone is filled: with Σ = H + Hᵀ it is (RH) Rᵀ and its transpose."""
    half = np.tril(covariance)
    half[np.diag_indices(len(half))] /= 2
    product = blas.dtrmm(1.0, half.T, factor.T)  # transposed views are in the memory order that BLAS wants
    return np.asarray(blas.dsyr2k(1.0, product, factor.T, trans=1, lower=1))


def _nuclear(root_x: Float64[np.ndarray, "_k _d"], root_y: Float64[np.ndarray, "_l _d"]) -> float:
    product = root_x @ root_y.T
    return float(np.linalg.svd(product, compute_uv=False).sum()) if product.size else 0.0


def _trace_of_root(cov_x: Float64[np.ndarray, "_d _d"], cov_y: Float64[np.ndarray, "_d _d"]) -> float | None:
    """Trace of (Σx Σy)^½, or None where an eigenvalue is too small for its root to mean anything."""
    lower, singular = lapack.dpotrf(cov_x.T, lower=1)  # the same matrix, in the memory order LAPACK wants
    if singular:
        factor = _factor(cov_x)  # of fewer rows than columns: n below d
        similar = _similar(factor, cov_y) if factor.size else factor
    else:
        similar, _ = lapack.dsygst(cov_y.T, lower, itype=3, lower=1)  # LᵀΣyL
    if not similar.size:
        return 0.0
    values = eigvalsh(similar, driver="evd", overwrite_a=True, check_finite=False)
    smallest_told = len(values) * np.finfo(np.float64).eps * values[-1]
    return float(np.sqrt(values).sum()) if values[0] > smallest_told else None


def _fold_pair(
    x: Features, y: Features, groups: Groups, count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " _n"], Int[np.ndarray, " _m"]]:
    """The fold in which each row of x and of y is left out; pairs and groups stay together."""
    if len(x) == len(y):
        together = folds(len(x), groups, count, rng)
        return together, together
    if groups is not None:
        raise UnsuitableInput(f"groups name the source of pairs, but the sets have {len(x)} and {len(y)} rows")
    return folds(len(x), None, count, rng), folds(len(y), None, count, rng)


def _intercept(
    x: Features, y: Features, keys_x: Float64[np.ndarray, "_s _n"], keys_y: Float64[np.ndarray, "_s _m"]
) -> float:
    """Distance at 1/n = 0; subset s holds the rows with the smallest keys of line s, so it varies smoothly."""
    distances = []
    for fraction, order_x, order_y in zip(FRACTIONS, keys_x.argsort(axis=1), keys_y.argsort(axis=1), strict=True):
        size_x, size_y = round(fraction * len(x)), round(fraction * len(y))
        distances.append(frechet(x[_mask(order_x, size_x)], y[_mask(order_y, size_y)]))
    return float(np.polynomial.polynomial.polyfit(1 / FRACTIONS, distances, 1)[0])


def _mask(order: Int[np.ndarray, " _n"], size: int) -> Bool[np.ndarray, " _n"]:
    """True for the rows that come first in an order."""
    mask = np.zeros(len(order), bool)
    mask[order[:size]] = True
    return mask


def _indicators(draws: Iterable[Int[np.ndarray, " _s"]], rows: int) -> Float64[np.ndarray, "_k _n"]:
    """1 where a row belongs to a subset, else 0."""
    return np.stack([np.bincount(draw, minlength=rows) for draw in draws]).astype(np.float64)


def _polynomial(degree: int, gamma: float, coef0: float) -> Kernel:
    """The kernel as a function of inner products; repeated products are ten times faster than `power`."""

    def kernel(products: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        base = gamma * products
        base += coef0
        power = base.copy()
        for _ in range(degree - 1):
            power *= base
        return power

    return kernel


def _mmd(
    kernel: Kernel,
    x: Array,
    y: Array,
    in_x: Float64[np.ndarray, "_k _n"],
    in_y: Float64[np.ndarray, "_k _m"],
    unbiased: bool,
) -> Float64[np.ndarray, " _k"]:
    """Squared MMD of each pair of subsets (rows of the indicators) from one pass over the Gram matrices."""
    size_x, size_y = in_x.sum(axis=1), in_y.sum(axis=1)
    within = np.zeros(len(in_x))
    for rows, members, size in ((x, in_x, size_x), (y, in_y, size_y)):
        total = _sums_within(kernel, rows, members)
        if unbiased:
            squares = np.concatenate([np.einsum("nd,nd->n", block, block) for block in blocks(rows)])
            within += (total - members @ kernel(squares)) / (size * (size - 1))
        else:
            within += total / size**2
    return np.asarray(within - 2 * _subset_sums(kernel, x, y, in_x, in_y) / (size_x * size_y))


def _sums_within(kernel: Kernel, x: Array, members: Float64[np.ndarray, "_k _n"]) -> Float64[np.ndarray, " _k"]:
    """Sum of the kernel over each subset times itself: the Gram matrix is symmetric, half of its blocks are enough."""
    total = np.zeros(len(members))
    for start, block in enumerate(blocks(x)):
        mine = members[:, start * BLOCK : (start + 1) * BLOCK]
        for other, beside in enumerate(blocks(x[: (start + 1) * BLOCK])):
            theirs = members[:, other * BLOCK : (other + 1) * BLOCK]
            sums = np.einsum("km,km->k", mine @ kernel(block @ beside.T), theirs)
            total += sums if other == start else 2 * sums
    return total


def _subset_sums(
    kernel: Kernel,
    x: Array,
    y: Array,
    in_x: Float64[np.ndarray, "_k _n"],
    in_y: Float64[np.ndarray, "_k _m"],
) -> Float64[np.ndarray, " _k"]:
    """Sum of the kernel over each subset of x times the subset of y, Gram matrix by blocks."""
    total = np.zeros(len(in_x))
    for other, beside in enumerate(blocks(y, BESIDE)):
        theirs = in_y[:, other * BESIDE : (other + 1) * BESIDE]
        for start, block in enumerate(blocks(x)):
            mine = in_x[:, start * BLOCK : (start + 1) * BLOCK]
            total += np.einsum("km,km->k", mine @ kernel(block @ beside.T), theirs)
    return total
