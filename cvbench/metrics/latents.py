"""What latents are like, from sums kept clip by clip: distribution, dead channels, use of a codebook. No torch.

The sums of one clip are an array; those of several add up, so statistics are reductions of stored rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from cvbench.core.errors import UnsuitableInput

Sums = Float64[np.ndarray, "c 3"]
"""By channel: the number of values, their sum, and the sum of their squares."""
PairSums = Float64[np.ndarray, "c 6"]
"""By channel of two encoders x and y: n, Σx, Σy, Σx², Σy², Σxy."""
Channels = Float64[np.ndarray, " c"]
Counts = Int64[np.ndarray, " codes"]

DEAD = 0.01
"""A channel is dead when its standard deviation is below this share of the largest one's."""


@dataclass(frozen=True)
class Gaussian:
    """A channel by channel Gaussian: what a diffusion model is told of a latent space.

    `scaling_factor` and `shift_factor` are those of a diffusers config, (z - shift) * scaling has mean 0 and standard
    deviation 1 over all channels together.
    """

    n: int
    mean: Channels
    std: Channels
    shift_factor: float
    scaling_factor: float

    @property
    def kl(self) -> Channels:
        """Divergence from the standard normal, nats per latent; infinite for a constant channel."""
        with np.errstate(divide="ignore"):
            return np.asarray((self.mean**2 + self.std**2 - 1) / 2 - np.log(self.std))

    @property
    def dead(self) -> list[int]:
        """Channels that carry nothing: their spread is below DEAD of the largest."""
        return [int(channel) for channel in np.flatnonzero(self.std <= DEAD * self.std.max())]


def sums(latents: Shaped[np.ndarray, "c ..."]) -> Sums:
    """Sum what `gaussian` needs of one clip's latents."""
    x = latents.reshape(len(latents), -1).astype(np.float64)
    return np.stack([np.full(len(x), float(x.shape[1])), x.sum(1), (x * x).sum(1)], axis=1)


def gaussian(of_clips: Sequence[Sums]) -> Gaussian:
    """Mean and (population) standard deviation of each channel over all clips. Raises UnsuitableInput for none."""
    if not of_clips:
        raise UnsuitableInput("no clip has latents to describe")
    n, x, xx = np.sum(of_clips, axis=0).T
    mean, total = x / n, n.sum()
    shift = x.sum() / total
    spread = float(np.sqrt(_variance(np.array([xx.sum() / total]), np.array([shift]))[0]))
    std = np.sqrt(_variance(xx / n, mean))
    return Gaussian(int(n[0]), mean, std, float(shift), float(1 / spread) if spread else float("inf"))


ROUNDING = 1e-12
"""Share of a mean square below which a variance is what rounding left of the difference of two sums."""


def _variance(square: Channels, mean: Channels) -> Channels:
    """Mean square minus squared mean; 0 where that is rounding alone: a constant channel has no spread."""
    variance = square - mean**2
    return np.asarray(np.where(variance > ROUNDING * square, variance, 0.0))


def pair_sums(x: Shaped[np.ndarray, "c ..."], y: Shaped[np.ndarray, "c ..."]) -> PairSums:
    """Sum what `correlation` needs of one clip's latents by two encoders. Raises UnsuitableInput for unequal shapes."""
    if x.shape != y.shape:
        raise UnsuitableInput(f"latents of shapes {x.shape} and {y.shape} cannot be compared value by value")
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (x, y))
    n = np.full(len(a), float(a.shape[1]))
    return np.stack([n, a.sum(1), b.sum(1), (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)], axis=1)


def correlation(of_clips: Sequence[PairSums]) -> Channels:
    """Pearson's correlation of each channel over all clips; 0 where one of the two is constant."""
    n, x, y, xx, yy, xy = np.sum(of_clips, axis=0).T
    covariance, left, right = xy - x * y / n, n * _variance(xx / n, x / n), n * _variance(yy / n, y / n)
    spread = np.sqrt(left * right)
    found: Channels = np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)
    return found


def code_counts(indices: Shaped[np.ndarray, "..."], codebook: int) -> Counts:
    """Count how often each code occurs in one clip. Raises UnsuitableInput for an index beyond the codebook."""
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < codebook:
        raise UnsuitableInput(f"code {int(indices.max())} in a codebook of {codebook}")
    return np.bincount(indices.ravel().astype(np.int64), minlength=codebook)


@dataclass(frozen=True)
class CodeUse:
    """How a codebook is used: codes seen at all, and the entropy of the codes in bits."""

    codebook: int
    seen: int
    entropy: float
    n: int

    @property
    def perplexity(self) -> float:
        """The number of equally frequent codes with this entropy."""
        return float(2**self.entropy)


def code_use(of_clips: Sequence[Counts]) -> CodeUse:
    """Use of the codebook over all clips, entropy by plain counting: a set of few clips bounds it from below."""
    counts = np.sum(of_clips, axis=0)
    share = counts[counts > 0] / counts.sum()
    return CodeUse(len(counts), len(share), float(-(share * np.log2(share)).sum()) + 0.0, int(counts.sum()))
