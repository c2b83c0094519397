"""Statistics of latents against NumPy, SciPy and known distributions."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from cvbench.core.errors import UnsuitableInput
from cvbench.metrics.latents import code_counts, code_use, correlation, gaussian, pair_sums, sums

RNG = np.random.default_rng(0)
MEAN, STD = np.array([0.5, -2.0, 0.0, 10.0]), np.array([1.0, 0.25, 3.0, 0.5])


def drawn(n: int) -> np.ndarray:
    return MEAN[:, None, None, None] + STD[:, None, None, None] * RNG.standard_normal((4, n, 32, 32))


def test_known_gaussian_latents_give_known_statistics() -> None:
    found = gaussian([sums(drawn(9)) for _ in range(20)])  # 184,320 values a channel
    error = 5 / np.sqrt(found.n)  # five standard errors of a unit normal
    assert found.n == 20 * 9 * 32 * 32
    np.testing.assert_allclose(found.mean, MEAN, atol=error * STD.max())
    np.testing.assert_allclose(found.std, STD, rtol=error)
    np.testing.assert_allclose(found.kl, (MEAN**2 + STD**2 - 1) / 2 - np.log(STD), atol=0.05)
    mixture = np.sqrt((STD**2 + MEAN**2).mean() - MEAN.mean() ** 2)
    assert found.shift_factor == pytest.approx(MEAN.mean(), abs=error * STD.max())
    assert found.scaling_factor == pytest.approx(1 / mixture, rel=error)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 1000))
def test_sums_of_clips_equal_all_values_at_once(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    clips = [rng.normal(3, 2, (2, n, 5)) for n in lengths]
    whole = np.concatenate([clip.reshape(2, -1) for clip in clips], axis=1)
    found = gaussian([sums(clip) for clip in clips])
    np.testing.assert_allclose(found.mean, whole.mean(1), rtol=1e-10)
    np.testing.assert_allclose(found.std, whole.std(1), rtol=1e-8)
    assert found.shift_factor == pytest.approx(whole.mean(), rel=1e-10)
    assert found.scaling_factor == pytest.approx(1 / whole.std(), rel=1e-8)


def test_scaled_latents_have_mean_0_and_standard_deviation_1() -> None:
    z = drawn(3)
    found = gaussian([sums(z)])
    scaled = (z - found.shift_factor) * found.scaling_factor
    assert scaled.mean() == pytest.approx(0, abs=1e-9)
    assert scaled.std() == pytest.approx(1, abs=1e-9)


def test_dead_channels_are_named() -> None:
    z = drawn(2)
    z[1] = 7 + 0.02 * RNG.standard_normal(z[1].shape)  # below 1 % of the largest, 3
    z[3] = 1.5
    found = gaussian([sums(z)])
    assert found.dead == [1, 3]
    assert found.kl[3] == np.inf


def test_correlation_equals_scipys_channel_by_channel() -> None:
    x = RNG.normal(1, 2, (3, 40))
    y = np.stack([x[0] * -2 + 1, x[1] + RNG.standard_normal(40), RNG.standard_normal(40)])
    found = correlation([pair_sums(x[:, :15], y[:, :15]), pair_sums(x[:, 15:], y[:, 15:])])
    expected = [scipy.stats.pearsonr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_constant_channel_correlates_with_nothing() -> None:
    x = RNG.standard_normal((2, 10))
    y = np.stack([x[0], np.full(10, 0.25)])
    assert correlation([pair_sums(x, y)]).tolist() == pytest.approx([1.0, 0.0], abs=1e-12)


def test_use_of_a_codebook_by_hand() -> None:
    use = code_use([code_counts(np.array([[0, 0], [1, 1]]), 8), code_counts(np.array([2, 3, 2, 3]), 8)])
    assert (use.seen, use.codebook, use.n) == (4, 8, 8)
    assert use.entropy == pytest.approx(2.0)
    assert use.perplexity == pytest.approx(4.0)
    assert code_use([code_counts(np.zeros(5, int), 8)]).entropy == 0.0


@given(st.lists(st.integers(0, 15), min_size=1, max_size=60))
def test_entropy_equals_scipys(indices: list[int]) -> None:
    counts = code_counts(np.array(indices), 16)
    assert code_use([counts]).entropy == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-9)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UnsuitableInput, match="shapes"):
        pair_sums(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(UnsuitableInput, match="code 8 in a codebook of 8"):
        code_counts(np.array([8]), 8)
    with pytest.raises(UnsuitableInput, match="no clip"):
        gaussian([])
