"""Predictors against the values that latents of a known distribution must have."""

import numpy as np
import pytest
from scipy.fft import idctn

from cvbench.metrics.diffusability import mismatch, spectrum, velocity_variance, window_count


def drawn(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_white_noise_has_slope_0_and_the_shares_of_its_cells() -> None:
    found = spectrum(drawn((400, 4, 16, 16)))
    u, v = np.mgrid[:16, :16]
    assert found.slope == pytest.approx(0, abs=0.02)
    assert found.above_quarter == pytest.approx((u + v > 7.5).mean(), abs=0.005)
    assert found.above_half == pytest.approx((u + v > 15).mean(), abs=0.005)


@pytest.mark.parametrize("slope", [-1.0, -2.0])
def test_a_power_law_has_its_slope(slope: float) -> None:
    h, w = 12, 20
    radius = np.hypot(np.arange(h)[:, None] / h, np.arange(w)[None] / w)
    energy = np.where(radius > 0, np.maximum(radius, 1e-9) ** slope, 0.0)
    latents = idctn(np.sqrt(energy) * np.sign(drawn((3, 2, h, w))), axes=(2, 3), norm="ortho")
    assert spectrum(latents).slope == pytest.approx(slope, abs=1e-9)


def test_constant_latents_have_no_high_frequencies() -> None:
    assert spectrum(np.ones((2, 3, 8, 8))) == (0.0, 0.0, 0.0)


def test_the_velocity_of_white_noise_is_half_pi_and_of_known_covariance_its_root() -> None:
    """λ are products of both factors; standardised channels have trace 1 a place and channel."""
    white = drawn((400, 3, 8, 8))
    assert velocity_variance(white) == pytest.approx(np.pi / 2, rel=0.03)
    places = np.diag(np.linspace(0.2, 1.8, 64))
    mixing = np.sqrt(places)
    latents = np.einsum("ncs,st->nct", white.reshape(400, 3, 64), mixing).reshape(white.shape)
    expected = np.pi / 2 * np.sqrt(np.diag(places)).mean()
    assert velocity_variance(latents) == pytest.approx(expected, rel=0.03)
    assert velocity_variance(7 * latents + 3) == pytest.approx(velocity_variance(latents), rel=1e-6)


def test_what_channels_share_lowers_the_velocity() -> None:
    """Two equal channels: λ 2 and 0 in place of 1 and 1."""
    white = drawn((600, 1, 8, 8), 1)
    twice = np.concatenate([white, white + 1e-4 * drawn(white.shape, 2)], 1)
    assert velocity_variance(twice) == pytest.approx(np.pi / 2 * np.sqrt(2) / 2, rel=0.03)


def test_windows_are_counted_and_mismatch_is_a_share_of_variance() -> None:
    assert window_count(np.zeros((3, 4, 17, 16))) == 3 * 2 * 2
    z = drawn((2, 3, 4))
    assert mismatch(z, z) == 0
    assert mismatch(np.full_like(z, z.mean()), z) == pytest.approx(1)
    assert mismatch(z + 2, z) == pytest.approx(4 / z.var())
