"""Scores of whole sets: what is batched, and what is the unit of an interval."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import PROTOCOL, signature

from cvbench.core.errors import UsageError
from cvbench.core.protocol import protocol
from cvbench.metrics import METRICS, resolve, set_score
from cvbench.metrics.distances import frechet, polynomial_mmd

OF_FVD = ("rfvd", "rfvd-stylegan", "rfvd-prefixes", "rfvd-stylegan-prefixes")


def features(n: int, rows: int = 1, width: int = 6) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(rows, width)) for _ in range(n)]
    return x, [row + 0.3 + 0.2 * rng.normal(size=row.shape) for row in x]


def test_batches_are_of_frechet_distances_of_clips_alone() -> None:
    (x, y), batched = features(12), replace(PROTOCOL, fvd_batch=4)
    runs = [frechet(np.concatenate(x[k : k + 4]), np.concatenate(y[k : k + 4])) for k in (0, 4, 8)]
    assert set_score("rfvd", x, y, signature("rfvd", protocol=batched)).value == pytest.approx(np.mean(runs))
    for name in ("rkvd", "rkid", "rfid", "fvd", "kvd"):
        same = [set_score(name, x, y, signature(name, protocol=p)).value for p in (PROTOCOL, batched)]
        assert same[0] == same[1]
    for size in (1, 4):
        rkvd = set_score("rkvd", x, y, signature("rkvd", protocol=replace(PROTOCOL, fvd_batch=size)))
        assert rkvd.value == pytest.approx(polynomial_mmd(np.concatenate(x), np.concatenate(y)))
    assert [name for name, metric in METRICS.items() if "fvd_batch" in metric.reduced_by] == list(OF_FVD)


@pytest.mark.parametrize("name", ["rfvd", "fvd"])
def test_the_interval_of_a_distance_takes_clips_for_its_unit(name: str) -> None:
    """Each of six clips forty times: the distance is the same, and so is what can be known of it."""
    rng = np.random.default_rng(1)
    clips = [rng.normal(size=(1, 3)) for _ in range(6)]
    x = [clip + 1e-3 * rng.normal(size=(1, 3)) for clip in clips for _ in range(40)]
    y = [clip + 0.5 * clip**2 + 1e-3 * rng.normal(size=(1, 3)) for clip in clips for _ in range(40)]
    sources = [f"clip{k // 40}" for k in range(240)]
    alone = set_score(name, x, y, signature(name))
    clustered = set_score(name, x, y, signature(name), (sources, sources))
    assert clustered.value == alone.value
    assert clustered.high - clustered.value > 3 * (alone.high - alone.value)
    single = [str(k) for k in range(240)]
    assert set_score(name, x, y, signature(name), (single, single)) == alone


@pytest.mark.parametrize(("name", "task", "field"), [
    ("rkid", "reconstruction", "fid_resize=tf1"), ("kid", "generation", "fid_resize=tf1"),
    ("fid", "generation", "fid_resize=tf1"), ("fid-inf", "generation", "fid_resize=tf1"),
    ("fvd", "generation", "fvd_batch=2"), ("kvd", "generation", "fvd_prefixes=true"),
    ("fvd-aligned", "drawing", "fvd_batch=2"),
])  # fmt: skip
def test_a_metric_is_refused_under_a_field_that_it_would_sign_and_not_heed(name: str, task: Any, field: str) -> None:
    chosen = protocol("cvvae-2405", [field])
    with pytest.raises(UsageError, match=f"{name} is not measured with {field}; say --set {field.partition('=')[0]}="):
        resolve([name], chosen, task)
    assert resolve([name], PROTOCOL, task) == [name]
    assert resolve(["rfid", "rfvd", "rkvd"], chosen)


def test_prefixes_are_still_of_single_windows() -> None:
    x, y = features(6, rows=3)
    sources = ["a", "a", "a", "b", "b", "c"]
    p = replace(PROTOCOL, fvd_prefixes=True)
    text = signature("rfvd-prefixes", protocol=p)
    assert set_score("rfvd-prefixes", x, y, text, (sources, sources)) == set_score("rfvd-prefixes", x, y, text)
