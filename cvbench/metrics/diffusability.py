"""What is said to predict how well a latent space can be generated in, of latents alone and in float64.

Predictors, no verdicts: each went with the quality of generated pictures in the study that it is from.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.fft import dctn

Latents = Float[np.ndarray, "n c h w"]
WINDOW = 8
"""Side of the windows of latents whose covariance is estimated."""
ROUNDS = 10
"""Of the flip-flop between both factors of a covariance, which settles long before."""


class Spectrum(NamedTuple):
    """Slope of the energy over frequency, both logarithmic, and shares of the energy above two frequencies."""

    slope: float
    above_quarter: float
    above_half: float


def spectrum(latents: Latents) -> Spectrum:
    """Return the spectrum of latents by the orthonormal DCT of each channel, energies averaged over all.

    The shares are of the energy at u + v above a quarter and above half of its largest (0 for constant latents, 3/8
    above half for four by four of white noise): SEC of Zhong et al., arXiv 2606.03578, equation 9. The slope is the
    least squares line through the logarithms of energy and radius but for the mean, 0 for white noise and about -2 for
    photographs: Skorokhodov et al., arXiv 2502.14831. Flat latents have slope 0.
    """
    energy = np.square(dctn(latents.astype(np.float64), axes=(2, 3), norm="ortho")).mean(axis=(0, 1))
    h, w = energy.shape
    u, v = np.arange(h)[:, None], np.arange(w)[None]
    radius, total = np.hypot(u / h, v / w), max(float(energy.sum()), np.finfo(np.float64).tiny)
    shares = [float(energy[u + v > share * (h + w - 2)].sum()) / total for share in (0.25, 0.5)]
    used = (radius > 0) & (energy > 1e-12 * total)
    slope = float(np.polyfit(np.log(radius[used]), np.log(energy[used]), 1)[0]) if used.sum() > 2 else 0.0
    return Spectrum(slope, *shares)


def mismatch(found: Float[np.ndarray, "*shape"], expected: Float[np.ndarray, "*shape"]) -> float:
    """Return the mean squared difference over the variance of what was expected: 0 alike, 1 no better than its mean."""
    x, y = (np.asarray(z, np.float64) for z in (found, expected))
    return float(np.square(x - y).mean() / max(float(y.var()), np.finfo(np.float64).tiny))


def velocity_variance(latents: Latents) -> float:
    """Velocity irreducible variance of a Gaussian with the latents' covariance: π/2 times the mean of the roots of λ.

    What no flow that is given x_t can know of the velocity from noise to latents, a dimension, averaged over time; π/2
    for white noise, less where variance is small or gathered in few directions. λ are the eigenvalues of the covariance
    of WINDOW × WINDOW windows of standardised channels, a Kronecker product of one over channels and one over places,
    estimated by maximum likelihood in turns and scaled to the trace. The study takes whole latents of one class and has
    thousands: of windows, and of all data, the values are others; compare them with each other.

    Source: Zhong et al., arXiv 2606.03578, equations 3 to 5.
    """
    windows = _windows(latents)
    over_places = np.eye(windows.shape[2])
    for _ in range(ROUNDS):
        over_channels = _factor(windows, over_places)
        over_places = _factor(windows.swapaxes(1, 2), over_channels)
    eigenvalues = np.outer(*(np.linalg.eigvalsh(each).clip(min=0) for each in (over_channels, over_places)))
    total = float(windows.var(axis=0).sum())
    scaled = eigenvalues * total / max(float(eigenvalues.sum()), np.finfo(np.float64).tiny)
    return float(np.pi / 2 * np.sqrt(scaled).mean())


def window_count(latents: Latents) -> int:
    """Return how many windows the covariance is estimated from."""
    n, _, h, w = latents.shape
    return int(n * (h // WINDOW) * (w // WINDOW))


def _windows(latents: Latents) -> Float64[np.ndarray, "m c s"]:
    """Cut standardised latents into windows, their mean taken away."""
    z = latents.astype(np.float64)
    z = (z - z.mean(axis=(0, 2, 3), keepdims=True)) / np.maximum(z.std(axis=(0, 2, 3), keepdims=True), 1e-8)
    n, c, h, w = z.shape
    rows, columns = h // WINDOW, w // WINDOW
    cut = z[:, :, : rows * WINDOW, : columns * WINDOW].reshape(n, c, rows, WINDOW, columns, WINDOW)
    windows = cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, c, WINDOW * WINDOW)
    return np.asarray(windows - windows.mean(axis=0))


def _factor(x: Float64[np.ndarray, "m a b"], other: Float64[np.ndarray, "b b"]) -> Float64[np.ndarray, "a a"]:
    """Return one factor of the covariance given the other: the mean of X other⁻¹ Xᵀ / b (Dutilleul 1999)."""
    floor = 1e-6 * np.trace(other) / len(other) * np.eye(len(other))
    solved = np.linalg.solve(other + floor, x.swapaxes(1, 2))
    return np.asarray(np.einsum("mab,mbc->ac", x, solved) / (len(x) * len(other)))
