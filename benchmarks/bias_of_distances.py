"""Bias of FVD and KVD by sample size: two samples of one distribution, whose true distance is 0; prints Markdown.

    OMP_NUM_THREADS=1 python benchmarks/bias_of_distances.py [--repeats 6] [--exponent 1.0]

Features are Gaussian, 400 wide as I3D's logits, with the variances of a power law (the k-th is proportional to
k^-exponent) and a variance of 1 a feature on average. Each cell is the mean of the repeats ± their standard
deviation. A Fréchet distance grows with the variance: read it against the total of 400, not as a prediction for I3D.
FVD∞ stands only where `frechet_extrapolated` gives an interval; below that it would be an indication.
"""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cvbench.metrics.distances import frechet, frechet_extrapolated, polynomial_mmd

WIDTH = 400
SIZES = tuple(2**k for k in range(4, 13))
FOLDS = 3  # of the interval, which only tells whether the extrapolation is honest: few are cheap


class Distances(NamedTuple):
    fvd: float
    extrapolated: float | None
    kvd: float


def deviations(exponent: float) -> np.ndarray:
    """Standard deviation of each feature; the variances sum to WIDTH."""
    variances = np.arange(1, WIDTH + 1) ** -exponent
    return np.asarray(np.sqrt(variances * WIDTH / variances.sum()))


def measured(size: int, scale: np.ndarray, seed: int) -> Distances:
    rng = np.random.default_rng([seed, size])
    x, y = (rng.standard_normal((size, WIDTH)) * scale for _ in range(2))
    return Distances(frechet(x, y), extrapolated(x, y), polynomial_mmd(x, y))


def extrapolated(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < 4 * WIDTH:
        return None  # there would be no interval
    value, interval = frechet_extrapolated(x, y, count=FOLDS)
    return None if interval is None else value


def cell(values: list[float | None], digits: int) -> str:
    found = [value for value in values if value is not None]
    return f"{np.mean(found):.{digits}f} ± {np.std(found, ddof=1):.{digits}f}" if found else "–"


def lines(repeats: int, exponent: float) -> Iterator[str]:
    scale = deviations(exponent)
    yield "| n | FVD | FVD∞ | KVD |"
    yield "|---:|---:|---:|---:|"
    for size in SIZES:
        fvd, infinite, kvd = zip(*[measured(size, scale, seed) for seed in range(repeats)], strict=True)
        yield f"| {size} | {cell(list(fvd), 2)} | {cell(list(infinite), 2)} | {cell(list(kvd), 4)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6, choices=range(2, 101), metavar="2..100")
    parser.add_argument("--exponent", type=float, default=1.0)
    given = parser.parse_args()
    for line in lines(given.repeats, given.exponent):
        print(line, flush=True)


if __name__ == "__main__":
    main()
