"""Time of the distances beside pytorch-fid's and torchmetrics', and of the statistics; prints ratios.

Run with the threads pinned, once is enough:

    OMP_NUM_THREADS=1 python benchmarks/bench_distances.py [--rounds 1]

Compared, in one process and in turn:
* distance: `frechet_of_moments` against `pytorch_fid.fid_score.calculate_frechet_distance`, both from the same means
  and covariances (what pytorch-fid calls the distance; neither side pays for the covariances);
* rows: `frechet` against numpy.mean, numpy.cov and the same function, as pytorch-fid does with its features.
Times are CPU seconds, so that other work on the machine moves the ratios little.
30 rows of 400 have a singular covariance, so there `frechet` of the rows stands in both lines.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable

import numpy as np
from pytorch_fid.fid_score import calculate_frechet_distance

from cvbench.metrics.distances import frechet, frechet_of_moments, kid, moments, polynomial_mmd
from cvbench.metrics.statistics import bootstrap_mean, paired_permutation

Timed = tuple[float, float]


def timed(compute: Callable[[], float]) -> Timed:
    start = time.process_time()
    value = compute()
    return float(value), time.process_time() - start


def pytorch_fid_of_rows(x: np.ndarray, y: np.ndarray) -> float:
    return calculate_frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))


def compare(label: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> None:
    mine, peer = zip(*[(timed(ours), timed(theirs)) for _ in range(rounds)], strict=True)
    ratio = np.median([b[1] / a[1] for a, b in zip(mine, peer, strict=True)])
    seconds = [np.median([run[1] for run in side]) for side in (mine, peer)]
    gap = mine[0][0] - peer[0][0]
    print(f"{label:34} {seconds[0]:10.5f} s {seconds[1]:10.5f} s {ratio:8.1f} x  values differ by {gap:.1e}")


def compare_frechet(rows: int, width: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, width)), 1.1 * rng.standard_normal((rows, width)) + 0.1
    of_x, of_y = moments(x), moments(y)
    distance = (lambda: frechet(x, y)) if rows <= width else (lambda: frechet_of_moments(*of_x, *of_y))
    label = f"{rows} x {width}"
    compare(f"distance, {label}", distance, lambda: calculate_frechet_distance(*of_x, *of_y), rounds)
    compare(f"rows, {label}", lambda: frechet(x, y), lambda: pytorch_fid_of_rows(x, y), rounds)


def compare_singular(rows: int, width: int) -> None:
    """Covariances of fewer rows than columns, without the rows."""
    rng = np.random.default_rng(2)
    of_x, of_y = (moments(scale * rng.standard_normal((rows, width))) for scale in (1.0, 1.1))
    ours, theirs = (lambda: frechet_of_moments(*of_x, *of_y)), (lambda: calculate_frechet_distance(*of_x, *of_y))
    compare(f"moments, {rows} x {width}", ours, theirs, 1)


def compare_kernels(x: np.ndarray, y: np.ndarray) -> None:
    """KID over 100 subsets of 1,000, and KVD of the whole sets, beside torchmetrics in its float32 and in float64."""
    import torch
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.RandomState(2020)
    draws = [(rng.choice(len(x), 1000, replace=False), rng.choice(len(y), 1000, replace=False)) for _ in range(100)]
    for kind in (torch.float32, torch.float64):
        a, b = torch.from_numpy(x).to(kind), torch.from_numpy(y).to(kind)
        whole = lambda a=a, b=b: float(poly_mmd(a, b))  # noqa: E731
        subsets = lambda a=a, b=b: float(np.mean([float(poly_mmd(a[i], b[j])) for i, j in draws]))  # noqa: E731
        compare(f"KVD, {len(x)} x {x.shape[1]}, {kind}"[:34], lambda: polynomial_mmd(x, y), whole, 3)
        compare(f"KID, {len(x)} x {x.shape[1]}, {kind}"[:34], lambda: kid(x, y).mean, subsets, 1)


def report(label: str, compute: Callable[[], object]) -> None:
    times = []
    for _ in range(3):
        start = time.process_time()
        compute()
        times.append(time.process_time() - start)
    print(f"{label:34} {times[0]:10.5f} s first, {min(times):.5f} s best of 3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="rounds of the 5,000 x 2,048 case (20 s each)")
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore", DeprecationWarning)  # pytorch-fid's call of sqrtm
    print(f"threads: OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, numpy {np.__version__}")
    print(f"{'Fréchet':34} {'cvbench':>12} {'pytorch-fid':>12}")
    compare_frechet(30, 400, 20)
    compare_frechet(2048, 400, 5)
    compare_frechet(5000, 2048, rounds)
    rng = np.random.default_rng(1)
    x, y, clips = rng.standard_normal((2048, 400)), rng.standard_normal((2048, 400)), rng.gamma(4, size=5000)
    compare_singular(1000, 2048)
    compare_kernels(x, y)
    report("KVD, 2048 x 400", lambda: polynomial_mmd(x, y))
    report("KID, 100 subsets of 1000 of these", lambda: kid(x, y))
    report("bootstrap interval, 5000 clips", lambda: bootstrap_mean(clips))
    report("permutation test, 5000 clips", lambda: paired_permutation(clips, np.roll(clips, 1)))


if __name__ == "__main__":
    main()
