"""Intervals, tests and detectable differences against simulation, SciPy and hand values. All seeds are fixed."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from cvbench.core.errors import UnsuitableInput
from cvbench.metrics.statistics import (
    bootstrap_mean,
    detectable_difference,
    folds,
    holm,
    jackknife,
    paired_difference,
    paired_permutation,
)

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
SHAPES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(30, 2, size), 30),
    "gamma, shape 4": (lambda rng, size: rng.gamma(4, size=size), 4),
    "lognormal, sigma 0.3": (lambda rng, size: rng.lognormal(0, 0.3, size), np.exp(0.045)),
}


def mean_difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(a - b, axis=axis)


@pytest.mark.parametrize("clips", [20, 32, 100])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_interval_covers_the_mean_in_93_to_97_percent_of_1000_sets(shape: str, clips: int) -> None:
    draw, mean = SHAPES[shape]
    sets = draw(np.random.default_rng(clips), (1000, clips))
    intervals = [bootstrap_mean(values, resamples=1000, seed=i // 100) for i, values in enumerate(sets)]
    assert 930 <= sum(low <= mean <= high for low, high in intervals) <= 970


def test_the_interval_of_the_paired_difference_covers_it() -> None:
    rng = np.random.default_rng(0)
    clips = rng.normal(30, 3, (400, 32, 1))
    a, b = np.moveaxis(clips + rng.normal([0.1, 0], 0.2, (400, 32, 2)), 2, 0)
    found = [paired_difference(*pair, resamples=1000, seed=i // 100) for i, pair in enumerate(zip(a, b, strict=True))]
    assert 372 <= sum(low <= 0.1 <= high for _, low, high in found) <= 388
    assert np.mean([high - low for _, low, high in found]) < 0.25  # unpaired, the clips' own spread gives 3


def test_clips_of_one_source_need_their_group_to_cover() -> None:
    rng, covered = np.random.default_rng(1), np.zeros(2)
    for _ in range(300):
        sources = np.repeat(np.arange(30), rng.integers(1, 6, 30))
        values = rng.standard_normal(30)[sources] + rng.standard_normal(len(sources))
        for way, groups in enumerate((sources, None)):
            low, high = bootstrap_mean(values, groups, resamples=500)
            covered[way] += low <= 0 <= high
    assert 0.91 <= covered[0] / 300 <= 0.98
    assert covered[1] / 300 < 0.87


def test_many_clips_have_the_interval_of_the_normal_law() -> None:
    values = np.random.default_rng(2).normal(30, 2, 5000)
    half = 1.959964 * values.std(ddof=1) / np.sqrt(5000)
    expected = (values.mean() - half, values.mean() + half)
    assert bootstrap_mean(values) == pytest.approx(expected, abs=0.12 * half)


def test_a_higher_level_is_wider() -> None:
    values = np.random.default_rng(3).gamma(4, size=50)
    (low, high), (lowest, highest) = bootstrap_mean(values, level=0.8), bootstrap_mean(values, level=0.99)
    assert lowest < low < values.mean() < high < highest


def test_two_clips_have_students_interval() -> None:
    assert bootstrap_mean([1.0, 2.0]) == pytest.approx((1.5 - 12.7062 * 0.5, 1.5 + 12.7062 * 0.5), abs=1e-4)


@pytest.mark.parametrize(("values", "groups"), [([30.0], None), ([30.0, 31.0, 32.0], ["a", "a", "a"])])
def test_one_clip_or_one_source_has_no_interval(values: list[float], groups: list[str] | None) -> None:
    assert bootstrap_mean(values, groups) is None
    assert paired_difference(values, [0.0] * len(values), groups) == (pytest.approx(np.mean(values)), None, None)
    assert detectable_difference(values, groups) is None


def test_equal_clips_have_an_interval_of_no_width() -> None:
    assert bootstrap_mean([100.0] * 40) == (100.0, 100.0)


@pytest.mark.parametrize("odd", [1, 3, 20])
def test_ties_at_the_ceiling_give_a_finite_interval_below_it(odd: int) -> None:
    low, high = bootstrap_mean([100.0] * (60 - odd) + [40.0] * odd)
    assert 40 <= low < 100 - odd < high <= 100


@pytest.mark.parametrize("clips", [5, 40, 1500])
def test_the_order_of_the_clips_changes_no_bit(clips: int) -> None:
    rng = np.random.default_rng(4)
    a, b, groups = rng.gamma(4, size=clips), rng.gamma(4, size=clips), rng.integers(0, clips // 2, clips)
    mixed = rng.permutation(clips)
    assert bootstrap_mean(a) == bootstrap_mean(a[mixed])
    assert bootstrap_mean(a, groups) == bootstrap_mean(a[mixed], groups[mixed])
    assert paired_difference(a, b, groups) == paired_difference(a[mixed], b[mixed], groups[mixed])
    assert paired_permutation(a, b) == paired_permutation(a[mixed], b[mixed])


@pytest.mark.parametrize("clips", [6, 9, 14, 40])
@pytest.mark.parametrize("groups", [False, True])
def test_the_paired_interval_is_all_shifts_that_the_test_does_not_reject(clips: int, groups: bool) -> None:
    rng = np.random.default_rng(clips)
    values = rng.gamma(2, size=2 * clips) if groups else rng.gamma(2, size=clips)
    sources = np.repeat(np.arange(clips), 2) if groups else None
    _, low, high = paired_difference(values, 0 * values, sources)
    for bound, outwards in ((low, -1e-6), (high, 1e-6)):
        p = [paired_permutation(values, 0 * values + bound + s * outwards, sources) for s in (-1, 1)]
        assert p[0] >= 0.05 > p[1]


@pytest.mark.parametrize(("clips", "bounded"), [(5, False), (6, True)])
def test_no_interval_where_no_difference_could_be_rejected(clips: int, bounded: bool) -> None:
    assert (paired_difference(np.arange(1.0, clips + 1), np.zeros(clips)).low is not None) == bounded


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    values = np.random.default_rng(5).gamma(4, size=30)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_every_clip_its_own_source_is_as_no_groups() -> None:
    values = np.random.default_rng(6).gamma(4, size=30)
    assert bootstrap_mean(values, groups=[f"video {i}" for i in range(30)]) == bootstrap_mean(values)


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([], None, "0 of 0 values are finite"),
        ([1.0, np.nan, 2.0], None, "2 of 3 values are finite"),
        ([1.0, np.inf], None, "1 of 2 values are finite"),
        ([1.0, 2.0], ["a"], "1 group names for 2 values"),
    ],
)
def test_unsuitable_values_are_refused_with_the_reason(
    values: list[float], groups: list[str] | None, message: str
) -> None:
    for statistic in (bootstrap_mean, detectable_difference, lambda v, g: paired_permutation(v, v, g)):
        with pytest.raises(UnsuitableInput, match=message):
            statistic(values, groups)


def test_values_that_do_not_pair_are_refused() -> None:
    for statistic in (paired_difference, paired_permutation):
        with pytest.raises(UnsuitableInput, match="3 and 2 values do not pair"):
            statistic([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("differences", "p"),
    [([1.0, 2.0, 3.0], 2 / 8), ([1.0, 2.0, -3.0], 1.0), ([1.0, 1.0, -1.0], 1.0), ([5.0], 1.0), ([1.0] * 10, 2 / 1024)],
)
def test_permutation_p_of_hand_cases(differences: list[float], p: float) -> None:
    assert paired_permutation(differences, [0.0] * len(differences)) == p


@pytest.mark.parametrize("clips", [4, 8, 9, 13, 16])
def test_the_exact_permutation_test_equals_scipys(clips: int) -> None:
    rng = np.random.default_rng(clips)
    a, b = rng.normal(30.2, 1, clips), rng.normal(30, 1, clips)
    found = stats.permutation_test((a, b), mean_difference, permutation_type="samples", n_resamples=2**17)
    assert paired_permutation(a, b) == pytest.approx(found.pvalue, abs=1e-12)


def test_the_drawn_permutation_test_equals_scipys_within_its_noise() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(30.3, 1, 60), rng.normal(30, 1, 60)
    found = stats.permutation_test((a, b), mean_difference, permutation_type="samples", n_resamples=49999, rng=rng)
    assert 0.01 < found.pvalue < 0.5
    assert paired_permutation(a, b, resamples=49999) == pytest.approx(found.pvalue, abs=0.01)


def test_a_drawn_p_is_never_0() -> None:
    assert paired_permutation(np.arange(1.0, 41), np.zeros(40), resamples=999) == 1 / 1000


def test_the_permutation_test_finds_nothing_in_noise_more_often_than_it_says() -> None:
    noise = np.random.default_rng(8).standard_normal((1000, 24))
    p = np.array([paired_permutation(row, np.zeros(24), resamples=999, seed=seed) for seed, row in enumerate(noise)])
    assert 30 <= (p <= 0.05).sum() <= 70
    assert 3 <= (p <= 0.01).sum() <= 19


def test_clips_of_one_source_change_sign_together() -> None:
    assert paired_permutation([1.0, 2.0, 3.0, 4.0], [0.0] * 4, groups=["a", "a", "b", "b"]) == 2 / 4


@pytest.mark.parametrize(
    ("pvalues", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2], [0.2]),
        ([0.6, 0.9], [1.0, 1.0]),
        ([0.01, 0.01], [0.02, 0.02]),
        ([], []),
    ],
)
def test_holm_of_hand_cases(pvalues: list[float], corrected: list[float]) -> None:
    assert holm(pvalues) == pytest.approx(corrected, abs=1e-12)


@pytest.mark.parametrize("pvalue", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(pvalue: float) -> None:
    with pytest.raises(UnsuitableInput, match=r"p values lie in \[0, 1\]"):
        holm([0.5, pvalue])


@pytest.mark.parametrize(
    ("clips", "power", "alpha"), [(2, 0.8, 0.05), (10, 0.8, 0.05), (32, 0.9, 0.01), (800, 0.8, 0.05)]
)
def test_a_t_test_finds_the_detectable_difference_with_the_stated_power(clips: int, power: float, alpha: float) -> None:
    differences = np.random.default_rng(9).normal(0, 2, clips)
    noncentrality = detectable_difference(differences, power=power, alpha=alpha) / stats.sem(differences)
    critical = stats.t.isf(alpha / 2, clips - 1)
    assert stats.nct.sf(critical, clips - 1, noncentrality) == pytest.approx(power, abs=1e-6)


def test_the_detectable_difference_of_many_clips_is_that_of_the_normal_law() -> None:
    differences = np.random.default_rng(10).normal(0, 2, 5000)
    expected = (1.959964 + 0.841621) * differences.std(ddof=1) / np.sqrt(5000)
    assert detectable_difference(differences) == pytest.approx(expected, rel=0.02)
    assert detectable_difference([0.5] * 20) == 0


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.random.default_rng(11).gamma(4, size=12)
    replicas = [float(np.delete(values, i).mean()) for i in range(12)]
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert jackknife(float(values.mean()), replicas) == pytest.approx(expected, rel=1e-12)


def test_folds_are_even_and_keep_a_source_whole() -> None:
    rng, sources = np.random.default_rng(12), np.array(list("aaabbbcddddefgh"))
    assert sorted(np.bincount(folds(23, None, 5, rng))) == [4, 4, 5, 5, 5]
    parted = folds(15, sources, 4, rng)
    assert all(len(set(parted[sources == source])) == 1 for source in sources)
    assert set(parted) == {0, 1, 2, 3}
