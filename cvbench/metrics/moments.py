"""Mean and scatter of feature rows, which merge and part again without the rows; float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

BLOCK = 4096
"""Rows that are converted to float64 at once."""


class Moments(NamedTuple):
    """Number and mean of rows, and the sum of the outer products of what differs from the mean.

    Source: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """

    n: int
    mean: Float64[np.ndarray, " _d"]
    scatter: Float64[np.ndarray, "_d _d"]

    @property
    def covariance(self) -> Float64[np.ndarray, "_d _d"]:
        """The unbiased covariance."""
        return self.scatter / (self.n - 1)

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of these rows and others together."""
        n = self.n + other.n
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(shift * (self.n * other.n / n), shift)
        return Moments(n, self.mean + shift * (other.n / n), scatter)

    def without(self, other: "Moments") -> "Moments":
        """Return the moments of these rows but some of them: what `merged` with those gives these again."""
        n = self.n - other.n
        mean = self.mean + (self.mean - other.mean) * (other.n / n)
        shift = other.mean - mean
        scatter = self.scatter - other.scatter
        scatter -= np.outer(shift * (n * other.n / self.n), shift)
        return Moments(n, mean, scatter)


def moments_of_rows(x: Float[np.ndarray, "_n _d"]) -> Moments:
    """Return the moments of rows in two passes: a large mean costs no digits, and float32 is never copied whole."""
    mean = x.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), BLOCK):
        centred = x[start : start + BLOCK].astype(np.float64, copy=False) - mean
        scatter += centred.T @ centred
    return Moments(len(x), mean, scatter)
