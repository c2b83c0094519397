from itertools import pairwise

import numpy as np
import pytest

from cvbench.core.errors import NothingScored, UsageError
from cvbench.metrics.sequential import Estimate, Sampling


def stopped(sampling: Sampling, values: np.ndarray, half: float) -> Estimate:
    """Look until the interval is narrow enough."""
    for look in sampling.looks:
        estimate = sampling.estimate({i: float(values[i]) for i in look})
        if estimate.half <= half:
            break
    return estimate


POPULATIONS = {
    "normal": np.random.default_rng(0).normal(30, 4, 400),
    "skewed": 20 + np.random.default_rng(1).gamma(1.0, 3.0, 400),
    "in runs": np.repeat(np.random.default_rng(2).normal(30, 4, 4), 100) + np.random.default_rng(3).normal(0, 1, 400),
    "few": np.random.default_rng(4).normal(30, 4, 21),
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("half", [0.0, 0.8, 3.0])
def test_the_interval_holds_the_full_score_in_95_of_100_repeats_however_it_stops(name: str, half: float) -> None:
    values = POPULATIONS[name]
    budget = 96 if half == 0 else None
    found = [stopped(Sampling.of(len(values), budget, seed=seed), values, half) for seed in range(300)]
    held = np.mean([e.low - 1e-12 <= values.mean() <= e.high + 1e-12 for e in found])
    assert held >= 0.95
    assert half == 0 or all(e.half <= half for e in found)


def test_strata_make_the_interval_narrower_where_neighbours_are_alike() -> None:
    values = POPULATIONS["in runs"]
    plain = Sampling([list(range(400))], [sorted(np.random.default_rng(0).permutation(400)[:64].tolist())], 0.95)
    stratified = Sampling.of(400, 64, once=True)
    wide = plain.estimate({i: float(values[i]) for i in plain.looks[0]})
    narrow = stratified.estimate({i: float(values[i]) for i in stratified.looks[0]})
    assert narrow.half < wide.half / 3


def test_all_samples_give_the_score_itself() -> None:
    values = POPULATIONS["few"]
    sampling = Sampling.of(21)
    found = sampling.estimate(dict(enumerate(values.tolist())))
    assert (found.value, found.low, found.high, found.n) == (values.mean(), values.mean(), values.mean(), 21)
    assert sampling.looks[-1] == list(range(21))


def test_looks_grow_and_keep_what_was_seen() -> None:
    looks = Sampling.of(1000, 128).looks
    assert [len(look) for look in looks] == [16, 32, 64, 128]
    assert all(set(a) < set(b) for a, b in pairwise(looks))
    assert Sampling.of(1000, 128).looks == looks
    assert Sampling.of(1000, 128, seed=1).looks != looks
    assert Sampling.of(1000, 128).level == pytest.approx(1 - 0.05 / 4)
    assert len(Sampling.of(1000, 128, once=True).looks) == 1


def test_equal_values_are_known_at_once() -> None:
    sampling = Sampling.of(100, 16)
    assert sampling.estimate(dict.fromkeys(sampling.looks[0], 5.0)) == Estimate(5.0, 5.0, 5.0, 16, 100)


def test_too_little_is_refused() -> None:
    with pytest.raises(UsageError, match="budget of 3"):
        Sampling.of(100, 3)
    with pytest.raises(NothingScored, match="too few"):
        Sampling.of(100, 16).estimate({0: 1.0, 1: 2.0})
    with pytest.raises(NothingScored, match="0 of 0 samples"):
        Sampling.of(8).estimate({}, range(8))


def test_what_is_outside_is_none_of_the_population() -> None:
    values = {i: float(i) for i in range(10, 100)}
    whole = Sampling.of(100).estimate(values, range(10))
    assert (whole.value, whole.n, whole.of) == (np.mean([*values.values()]), 90, 90)
    sampling = Sampling.of(100, 40, once=True)
    seen = sampling.looks[0]
    part = sampling.estimate({i: 5.0 + (i >= 50) for i in seen if i % 2}, [i for i in seen if not i % 2])
    assert part.of == pytest.approx(50, abs=12)
    assert part.low < 5.5 < part.high or part.value == pytest.approx(5.5, abs=0.2)
