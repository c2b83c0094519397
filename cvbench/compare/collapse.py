"""Samples that collapse: what no test of a mean can prove, because few samples carry it."""

import numpy as np
from jaxtyping import Float64, Int

WORST = 25
"""Tolerances by which a sample is worse at least when the mean is within its own; when the mean is not, one suffices.
"""
ALONE = 40.0
"""Spreads, times the cube root of the number of values that a check tests, at which one sample collapsed.

Noise with tails as heavy as those of Student's t with 3 degrees of freedom goes beyond x spreads with a chance of
about 3 / x³, so that a check that tests N values raises a false alarm less than once in 10,000 times; the rest is for
mixtures, in which one sample in ten scatters ten times as far as the others.
"""
TOGETHER = 4
APART = 25.0
"""Spreads, times the sixth root of the number of tests, at which `TOGETHER` samples collapsed at once.

No other may be better by a third of that: noise has two sides.
"""
FEWEST = 4  # other samples that show how much noise there is; two do when neither moved


def collapsed(
    worse: Float64[np.ndarray, " n"], tolerance: float, tests: int, *, beyond: bool = False
) -> Int[np.ndarray, " k"]:
    """Return which samples collapsed, the worst first; `worse` says by how much each got worse, in the metric's unit.

    They are worse by `WORST` tolerances, or by one where the mean is worse `beyond` its own, and far from the median
    of the others, in units of their spread, the third quartile of their distances from that median.
    """
    suspects = np.flatnonzero(worse > (1 if beyond else WORST) * tolerance)
    others = np.delete(worse, suspects)
    if not suspects.size or len(others) < (FEWEST if others.any() else 2):
        return suspects[:0]
    middle = float(np.median(others))
    spread = float(np.quantile(np.abs(others - middle), 0.75, method="higher"))
    order = suspects[np.argsort(-worse[suspects], kind="stable")]
    far = order[worse[order] - middle > ALONE * float(np.cbrt(tests * len(worse))) * spread]
    near = order[worse[order] - middle > APART * tests ** (1 / 6) * spread]
    together = len(near) >= TOGETHER and middle - others.min() < worse[near[TOGETHER - 1]] / 3
    return near if together else far
