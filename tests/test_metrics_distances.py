"""Fréchet distance, MMD and KID against recorded values, hand values and formulas that need no trick.

`golden/distances.json` describes each feature set as [name, n, d, shift 0, scale 1, "mix"?]: normal numbers of that
name, mixed by a fixed d x d matrix where it says so, times scale, plus shift. `nuclear_float64` agrees with 50 digits
of mpmath to 1e-14; `formula_float64` is TATS's and LVDM's `polynomial_mmd` in float64; `kid` is torch-fidelity's
5e211a9 metric_kid in float64; `pytorch_fid` is pytorch-fid 0.3.0, low by 1e-8 where n < d.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from golden import weights
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from cvbench.core.errors import UnsuitableInput
from cvbench.metrics.distances import (
    frechet,
    frechet_extrapolated,
    frechet_interval,
    frechet_of_moments,
    gaussian_mmd,
    kid,
    moments,
    polynomial_mmd,
)

RECORDED = json.loads((Path(__file__).parent / "golden" / "distances.json").read_text())
EXACT = 1e-9  # relative
A = np.arange(1.0, 10).reshape(3, 3)
B = np.array([[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]], float)


def features(name: str, n: int, d: int, shift: float = 0, scale: float = 1, mix: str = "") -> np.ndarray:
    rows = weights.rng(name).standard_normal((n, d))
    return (rows @ mixing(d) if mix else rows) * scale + shift


@cache
def mixing(d: int) -> np.ndarray:
    return weights.rng(f"distances/mix{d}").standard_normal((d, d)) / np.sqrt(d)


def pair(part: str, case: str) -> tuple[dict, np.ndarray, np.ndarray]:
    recorded = RECORDED[part][case]
    return recorded, features(*recorded["x"]), features(*recorded["y"])


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """The distance from singular values of the centred product, whatever the shapes."""
    a, b = x - x.mean(0), y - y.mean(0)
    n, m = len(x) - 1, len(y) - 1
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt(n * m)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() / n + (b**2).sum() / m - 2 * overlap)


def spread(x: np.ndarray) -> float:
    return float(x.var(axis=0, ddof=1).sum())


def normal_pair(rng: np.random.Generator, n: int, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """N(0, 1) and N(0.3, 1.2²): their Fréchet distance is d (0.3² + 0.2²)."""
    return rng.standard_normal((n, d)), 1.2 * rng.standard_normal((n, d)) + 0.3


@pytest.mark.parametrize("case", [name for name in RECORDED["frechet"] if not name.startswith("identical")])
def test_frechet_equals_the_recorded_value_to_1e_9(case: str) -> None:
    recorded, x, y = pair("frechet", case)
    assert (x.sum(), y.sum()) == pytest.approx((recorded["x_sum"], recorded["y_sum"]), rel=1e-12)
    assert frechet(x, y) == pytest.approx(recorded["nuclear_float64"], rel=EXACT)
    assert frechet(y, x) == pytest.approx(recorded["nuclear_float64"], rel=EXACT)


@pytest.mark.parametrize("case", ["n64d16", "n64d16mix"])
def test_frechet_equals_fifty_digit_arithmetic_to_1e_12(case: str) -> None:
    recorded, x, y = pair("frechet", case)
    assert frechet(x, y) == pytest.approx(float(recorded["mpmath_50_digits"]), rel=1e-12)


@pytest.mark.parametrize(("case", "tolerance"), [("n2048d400", 1e-9), ("n300d400", 1e-4)])
def test_frechet_equals_pytorch_fid_as_closely_as_a_matrix_root_allows(case: str, tolerance: float) -> None:
    recorded, x, y = pair("frechet", case)
    assert frechet(x, y) == pytest.approx(recorded["pytorch_fid"], abs=tolerance)


@pytest.mark.parametrize(("n", "d"), [(300, 400), (2048, 400), (50, 64), (100, 64), (64, 64), (65, 64), (2, 7)])
def test_identical_sets_are_0_apart_to_1e_9_of_their_variance(n: int, d: int) -> None:
    x = features(f"distances/n{n}d{d}/x", n, d)
    assert frechet(x, x.copy()) <= EXACT * spread(x)


@pytest.mark.parametrize("rows", [40, 3000])
def test_means_that_differ_by_ones_give_the_number_of_features(rows: int) -> None:
    width = 2048 if rows == 40 else 128
    x = features("ones", rows, width)
    assert frechet(x, x + 1) == pytest.approx(width, rel=EXACT)


def test_equal_moments_with_means_ones_apart_give_2048() -> None:
    width = 2048
    zero, one, covariance = np.zeros(width), np.ones(width), np.diag(np.linspace(1, 2, width))
    assert frechet_of_moments(zero, covariance, one, covariance) == pytest.approx(2048, rel=EXACT)


def test_a_shift_and_a_doubling_have_their_hand_values() -> None:
    x = features("distances/n64d16/x", 64, 16)
    assert frechet(x, x + 0.5) == pytest.approx(RECORDED["analytic"]["shift0.5_n64d16"]["true"], rel=EXACT)
    assert frechet(x, 2 * x) == pytest.approx(RECORDED["analytic"]["double_n64d16"]["true"], rel=EXACT)
    assert frechet(x, 2 * x) == pytest.approx((x.mean(0) ** 2).sum() + spread(x), rel=EXACT)


@pytest.mark.parametrize(("n", "m"), [(20, 200), (200, 20), (20, 30), (200, 300), (48, 49), (2, 500)])
def test_either_side_may_have_fewer_rows_than_features(n: int, m: int) -> None:
    x, y = features("short", n, 48, mix="mix"), features("long", m, 48, 0.2, 1.3, "mix")
    assert frechet(x, y) == pytest.approx(by_definition(x, y), rel=1e-11)


@pytest.mark.parametrize(
    "damage", ["dead", "different dead", "dead in one", "doubled", "graded", "constant", "one constant", "far"]
)
def test_frechet_keeps_its_digits_where_covariances_are_singular(damage: str) -> None:
    x, y = features("singular/x", 200, 40), features("singular/y", 150, 40, 0.1, 1.2)
    if "dead" in damage:
        x[:, :10] *= damage == "dead in one"
        y[:, slice(5, 15) if damage == "different dead" else slice(10)] = 0
    elif damage == "doubled":
        x[:, 20:], y[:, 20:] = x[:, :20], y[:, :20]
    elif damage == "graded":
        x, y = x * np.logspace(0, -9, 40) @ mixing(40), y * np.logspace(0, -9, 40) @ mixing(40)
    elif "constant" in damage:
        x[:] = 1.0
        y[:] = y if damage == "one constant" else 3.0
    elif damage == "far":
        x, y = x + 1e5, y + 1e5
    assert frechet(x, y) == pytest.approx(by_definition(x, y), rel=1e-9 if damage == "far" else 1e-11)


def test_frechet_of_moments_equals_the_textbook_formula() -> None:
    x, y = features("text/x", 200, 24, mix="mix"), features("text/y", 300, 24, 0.1, 0.8, "mix")
    (mx, cx), (my, cy) = moments(x), moments(y)
    expected = ((mx - my) ** 2).sum() + np.trace(cx + cy - 2 * np.real(sqrtm(cx @ cy)))
    assert frechet_of_moments(mx, cx, my, cy) == pytest.approx(expected, rel=1e-9)
    assert cx == pytest.approx(np.cov(x, rowvar=False), rel=1e-12)


def test_frechet_does_not_change_what_it_is_given() -> None:
    x, y = features("same/x", 90, 30), features("same/y", 80, 30)
    given = (*moments(x), *moments(y))
    copies = [x.copy(), y.copy(), *(moment.copy() for moment in given)]
    frechet(x, y), frechet(x[:9], y[:9]), frechet_of_moments(*given), polynomial_mmd(x, y), kid(x, y, 3, 20)
    assert all((now == then).all() for now, then in zip([x, y, *given], copies, strict=True))


def test_single_precision_features_are_computed_in_double() -> None:
    x, y = features("f32/x", 90, 30).astype(np.float32), features("f32/y", 20, 30, 0.5).astype(np.float32)
    assert frechet(x, y) == frechet(x.astype(float), y.astype(float))
    assert polynomial_mmd(x, y) == polynomial_mmd(x.astype(float), y.astype(float))


def test_sets_longer_than_a_block_are_summed_completely() -> None:
    x, y = features("blocks/x", 9000, 3), features("blocks/y", 2500, 3, 0.2)
    assert moments(x)[1] == pytest.approx(np.cov(x, rowvar=False), rel=1e-12)
    x = x[:1500]
    xx, yy, xy = ((left @ right.T / 3 + 1) ** 3 for left, right in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - xx.trace()) / (1500 * 1499) + (yy.sum() - yy.trace()) / (2500 * 2499) - 2 * xy.mean()
    assert polynomial_mmd(x, y) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.array([[1.0, np.nan], [1, 2]]), np.eye(2), "1 of 2 rows of the first feature set hold NaN"),
        (np.eye(2), np.array([[1.0, 2], [np.inf, np.nan], [-np.inf, 0]]), "2 of 3 rows of the second"),
        (np.ones((5, 3)), np.ones((5, 4)), "3 and 4 columns"),
        (np.ones((1, 3)), np.ones((5, 3)), "first feature set has 1 rows"),
        (np.ones((5, 3)), np.ones((0, 3)), "second feature set has 0 rows"),
        (np.ones((5, 0)), np.ones((5, 0)), "one row a sample"),
    ],
)
def test_unsuitable_features_are_refused_with_the_reason(x: np.ndarray, y: np.ndarray, message: str) -> None:
    for distance in (frechet, polynomial_mmd, frechet_interval, lambda a, b: kid(a, b, 2, 2)):
        with pytest.raises(UnsuitableInput, match=message):
            distance(x, y)


def test_moments_of_different_networks_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match="2 and 3 features"):
        frechet_of_moments(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))


@pytest.mark.parametrize(
    ("degree", "coef0", "unbiased", "value"),
    [(2, 0.0, False, 270.7222), (3, 1.0, True, -5062.0432), (3, 1.0, False, 23088.0833)],
)
def test_mmd_of_a_hand_case(degree: int, coef0: float, unbiased: bool, value: float) -> None:
    assert polynomial_mmd(A, B, degree, 1 / 3, coef0, unbiased) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("case", list(RECORDED["kvd"]))
def test_kvd_equals_the_recorded_value_to_1e_9(case: str) -> None:
    recorded, x, y = pair("kvd", case)
    assert polynomial_mmd(x, y) == pytest.approx(recorded["formula_float64"], rel=EXACT)


@pytest.mark.parametrize("case", list(RECORDED["kid"]))
def test_kid_equals_the_recorded_value_to_1e_9(case: str) -> None:
    recorded, x, y = pair("kid", case)
    value = kid(x, y, recorded["kid_subsets"], recorded["kid_subset_size"], recorded["rng_seed"])
    assert value == pytest.approx((recorded["mean_float64"], recorded["std_float64"]), rel=EXACT)


@pytest.mark.parametrize("size", [10, 60])
def test_kid_is_the_mean_over_subsets_whether_small_or_large(size: int) -> None:
    x, y, rng, values = features("kid/x", 300, 6), features("kid/y", 70, 6, 0.3), np.random.RandomState(7), []
    for _ in range(30):
        a, b = x[rng.choice(300, size, replace=False)], y[rng.choice(70, size, replace=False)]
        xx, yy, xy = ((left @ right.T / 6 + 1) ** 3 for left, right in ((a, a), (b, b), (a, b)))
        off = ~np.eye(size, dtype=bool)
        values.append(xx[off].mean() + yy[off].mean() - 2 * xy.mean())
    assert kid(x, y, 30, size, seed=7) == pytest.approx((np.mean(values), np.std(values)), rel=EXACT)


def test_kid_of_too_few_rows_is_refused() -> None:
    with pytest.raises(UnsuitableInput, match="50 rows; this distance needs 1000"):
        kid(np.ones((50, 2)), np.ones((2000, 2)))


def test_unbiased_kvd_of_equal_distributions_is_0_on_average_while_frechet_is_not() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.standard_normal((40, 8)), rng.standard_normal((40, 8))) for _ in range(200)]
    kvd = [polynomial_mmd(x, y) for x, y in pairs]
    assert min(kvd) < 0
    assert abs(np.mean(kvd)) < 3 * np.std(kvd) / np.sqrt(200)
    assert np.mean([frechet(x, y) for x, y in pairs]) > 0.5


def test_jackknife_interval_covers_the_mean_score_at_this_n() -> None:
    rng = np.random.default_rng(1)
    expected = np.mean([frechet(*normal_pair(rng, 60)) for _ in range(1000)])
    intervals = [frechet_interval(*normal_pair(rng, 60), seed=seed) for seed in range(150)]
    covered = np.mean([low <= expected <= high for low, high in intervals])
    assert 0.9 <= covered <= 1.0


def test_frames_of_one_clip_need_their_group_for_an_honest_interval() -> None:
    rng = np.random.default_rng(2)
    clips = np.repeat(np.arange(30), 8)
    x = rng.standard_normal((30, 3))[clips] + 0.1 * rng.standard_normal((240, 3))
    y = x + rng.standard_normal((30, 3))[clips]
    (low, high), (naive_low, naive_high) = frechet_interval(x, y, clips), frechet_interval(x, y)
    assert high - low > 1.5 * (naive_high - naive_low)


def test_no_interval_without_samples_to_leave_out() -> None:
    x, y = features("few/x", 6, 3), features("few/y", 6, 3)
    assert frechet_interval(x, y) is not None
    assert frechet_interval(x[:2], y[:2]) is None
    assert frechet_interval(x, y, groups=["one clip"] * 6) is None


def test_groups_of_unpaired_sets_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match="6 and 5 rows"):
        frechet_interval(np.eye(6), np.eye(6)[:5], groups=list("aabbcc"))


def test_extrapolation_removes_the_bias_of_n() -> None:
    rng = np.random.default_rng(3)
    sets = [normal_pair(rng, 39) for _ in range(100)]
    truth = 4 * (0.3**2 + 0.2**2)
    values = [frechet_extrapolated(x, y, seed=seed).value for seed, (x, y) in enumerate(sets)]
    assert np.mean(values) == pytest.approx(truth, abs=3 * np.std(values) / 10)
    assert np.mean([frechet(x, y) for x, y in sets]) > truth + 3 * np.std(values) / 10


def test_extrapolation_gives_an_interval_only_where_the_law_is_linear() -> None:
    rng = np.random.default_rng(4)
    assert frechet_extrapolated(*normal_pair(rng, 50, d=16)).interval is None
    truth = 4 * (0.3**2 + 0.2**2)
    intervals = [frechet_extrapolated(*normal_pair(rng, 64), seed=seed).interval for seed in range(8)]
    assert sum(low <= truth <= high for low, high in intervals) >= 7


def test_extrapolation_is_seeded() -> None:
    x, y = normal_pair(np.random.default_rng(5), 30)
    assert frechet_extrapolated(x, y, seed=1) == frechet_extrapolated(x, y, seed=1)
    assert frechet_extrapolated(x, y, seed=1) != frechet_extrapolated(x, y, seed=2)


def test_extrapolation_keeps_pairs_together() -> None:
    x, _ = normal_pair(np.random.default_rng(7), 30)
    assert frechet_extrapolated(x, x).value == pytest.approx(0, abs=1e-9)


def test_extrapolation_takes_sets_of_different_sizes() -> None:
    rng = np.random.default_rng(6)
    x, y = normal_pair(rng, 400)
    value, (low, high) = frechet_extrapolated(x[:300], y)
    assert low < value < high
    assert low < 4 * (0.3**2 + 0.2**2) < high


@pytest.mark.parametrize(("n", "m"), [(5, 9), (40, 40)])
def test_cmmd_equals_its_definition_in_float64(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    x, y = (rng.normal(size=(rows, 7)) for rows in (n, m))
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[np.exp(-((p - q) ** 2).sum() / 200) for q in b] for p in a]))

    expected = 1000 * (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
    assert gaussian_mmd(x.astype(np.float32), y.astype(np.float32)) == pytest.approx(expected, rel=1e-5)
    assert gaussian_mmd(x, y) == pytest.approx(expected, abs=1e-9)
    assert gaussian_mmd(x, x) == 0


def test_cmmd_of_two_points_has_its_hand_value_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit vectors at right angles lie √2 apart: 1000 (1 + 1 - 2 exp(-2 / 200))."""
    assert gaussian_mmd(np.eye(2)[:1], np.eye(2)[1:]) == pytest.approx(2000 * (1 - np.exp(-0.01)), rel=1e-12)
    x, y = np.random.default_rng(0).normal(size=(1100, 3)), np.ones((20, 3))  # more rows than a block
    within, between, others = (np.exp(cdist(a, b, "sqeuclidean") / -200).mean() for a, b in ((x, x), (x, y), (y, y)))
    assert gaussian_mmd(x, y) == pytest.approx(1000 * (within + others - 2 * between), rel=1e-9)
