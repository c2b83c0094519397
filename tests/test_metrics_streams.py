"""Sets of rows that do not fit into memory give what those in memory give, and take no more of it than is said."""

import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from cvbench.core.protocol import EvalProtocol
from cvbench.core.signature import Signature
from cvbench.metrics import METRICS, set_score, streams
from cvbench.metrics.moments import moments_of_rows
from cvbench.metrics.streams import Reread, Streamed, looked_over

SIGNATURE = Signature("", "1", "made", "", EvalProtocol("cvbench-1", 1))
OF_SETS = sorted(name for name, metric in METRICS.items() if metric.distance)


def samples(seed: int, count: int, width: int, shift: float = 0.0) -> list[np.ndarray]:
    """Rows of `count` samples, 3 to 7 of each, in float32 as networks leave them."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((width, width))
    return [
        (rng.standard_normal((rng.integers(3, 8), width)) @ mixing + shift).astype(np.float32) for _ in range(count)
    ]


def reread(rows: list[np.ndarray]) -> Reread:
    return Reread([partial(np.copy, row) for row in rows])


def pairs(count: int, width: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    x = samples(1, count, width)
    rng = np.random.default_rng(2)
    return x, [(row + 0.3 + 0.5 * rng.standard_normal(row.shape)).astype(np.float32) for row in x]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LARGEST", 0)
    monkeypatch.setattr(streams, "CHUNK", 8 * 6 * 100)


@pytest.mark.parametrize("metric", OF_SETS)
@pytest.mark.parametrize("count", [25, 2], ids=["many rows", "fewer rows than features"])
def test_a_score_of_rows_read_anew_is_that_of_rows_in_memory_to_1e_10(metric: str, count: int, request) -> None:
    x, y = pairs(count, 6 if count > 2 else 40)
    signature = replace(SIGNATURE, metric=metric)
    if metric.endswith("inf") and count == 2:
        x, y = x * 2, y * 2
    held = set_score(metric, x, y, signature)
    request.getfixturevalue("small")
    again = set_score(metric, reread(x), reread(y), signature)
    assert (again.n, again.note) == (held.n, held.note)
    for a, b in ((held.value, again.value), (held.low, again.low), (held.high, again.high)):
        assert (a is None) == (b is None)
        assert b is None or b == pytest.approx(a, rel=1e-10, abs=1e-10 * abs(held.value) + 1e-12)


def test_rows_by_mask_and_by_number_are_those_of_the_array() -> None:
    rows = samples(3, 9, 4)
    whole, side = np.concatenate(rows), looked_over(rows)
    streamed = Streamed(rows, side.lengths, 4)
    assert np.array_equal(side.rows, whole)
    mask = np.random.default_rng(0).random(len(whole)) < 0.4
    numbers = np.random.default_rng(1).permutation(len(whole))[:11]
    assert np.array_equal(np.asarray(streamed[mask]), whole[mask])
    assert np.array_equal(np.asarray(streamed[mask][mask[mask]]), whole[mask])
    assert np.array_equal(streamed[numbers], whole[numbers])
    assert np.array_equal(streamed[mask][np.array([2, 0])], whole[mask][[2, 0]])
    assert np.array_equal(np.concatenate(list(streamed[mask].chunks(3))), whole[mask])


def test_moments_merge_and_part_to_those_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 5)) + 1e3, 2 * rng.standard_normal((1, 5))
    both = moments_of_rows(np.concatenate([x, y]))
    merged = moments_of_rows(x).merged(moments_of_rows(y))
    parted = both.without(moments_of_rows(y))
    for found, wanted in ((merged, both), (parted, moments_of_rows(x))):
        assert found.n == wanted.n
        assert np.allclose(found.mean, wanted.mean, rtol=1e-12)
        assert np.allclose(found.covariance, wanted.covariance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("metric", ["rfid", "fid"])
def test_memory_does_not_grow_with_the_rows(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LARGEST", 1 << 20)
    width, each = 64, 400

    def rows(number: int) -> np.ndarray:
        return np.random.default_rng(number).standard_normal((each, width), np.float32)

    def peak(clips: int) -> int:
        sides = [Reread([partial(rows, start + k) for k in range(clips)]) for start in (0, 1000)]
        tracemalloc.start()
        set_score(metric, *sides, replace(SIGNATURE, metric=metric))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    more = 2 * 75 * each  # rows
    assert peak(100) - peak(25) < 80 * more < more * width * 4  # numbers and folds of rows, not rows
