"""MIND against its definition, recomputed in float64 row by row, and against what it must be for known sets."""

import numpy as np
import pytest
from conftest import signature

from cvbench.core.errors import UnsuitableInput
from cvbench.metrics import METRICS, set_score
from cvbench.metrics.sliced import DIRECTIONS, SEED, mind, mind_interval


def defined(x: np.ndarray, y: np.ndarray) -> float:
    """The paper's equation line by line, in equal parts of both sets where their lengths differ."""
    rng = np.random.default_rng(SEED)
    found = []
    for line in rng.standard_normal((DIRECTIONS, x.shape[1])):
        px, py = (z.astype(np.float64) @ (line / np.sqrt(line @ line)) for z in (x, y))
        copies = np.lcm(len(px), len(py))  # as many equal parts of each as both divide
        px, py = (sorted(np.repeat(p, copies // len(p))) for p in (px, py))
        found.append(np.mean([(a - b) ** 2 for a, b in zip(px, py, strict=True)]))
    return float(3 * x.shape[1] * np.mean(found))


@pytest.mark.parametrize(("n", "m"), [(12, 12), (6, 9), (10, 4)])
def test_mind_equals_its_definition_in_float64(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 5)).astype(np.float32), (2 + rng.normal(size=(m, 5))).astype(np.float32)
    assert mind(x, y) == pytest.approx(defined(x, y), rel=1e-12)
    assert mind(y, x) == pytest.approx(mind(x, y), rel=1e-12)


def test_in_one_dimension_it_is_three_times_the_squared_wasserstein_distance() -> None:
    """Sets {0, 1} and {3}: mean squared way 6.5."""
    assert mind(np.array([[0.0], [1.0]]), np.array([[3.0], [3.0]])) == pytest.approx(3 * 6.5)
    with pytest.raises(UnsuitableInput, match="1 rows"):
        mind(np.array([[0.0], [1.0]]), np.array([[3.0]]))


def test_a_shift_has_its_closed_form_and_equal_sets_are_0_apart() -> None:
    """By μ in each of d features: 3 d μ², to the error of 1,000 directions."""
    x = np.random.default_rng(0).normal(size=(300, 64))
    assert mind(x, x) == 0
    assert mind(x, x + 0.5) == pytest.approx(3 * 64 * 0.25, rel=0.1)


def test_the_order_of_rows_and_how_many_lines_at_a_time_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 30, 4))
    whole = mind(x, y)
    monkeypatch.setattr("cvbench.metrics.sliced.AT_ONCE", 333)
    assert mind(x[rng.permutation(30)], y) == pytest.approx(whole, rel=1e-12)


def test_its_interval_leaves_samples_out_with_all_their_rows() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 3))
    y = x + 0.3 * rng.normal(size=x.shape)
    groups = np.repeat(np.arange(10), 4)
    low, high = mind_interval(x, y, groups, groups) or (0.0, 0.0)
    assert 0 <= low < mind(x, y) < high
    kept = [groups != k for k in range(10)]
    replicas = [mind(x[i], y[i]) for i in kept]
    half = 2.262157 * np.sqrt(9 * np.var(replicas))  # Student's t of 9 degrees
    assert high - mind(x, y) == pytest.approx(half, rel=1e-6)
    assert mind_interval(x[:8], y[:8], groups[:8], groups[:8]) is None


@pytest.mark.parametrize("name", ["rmind", "mind", "rmind-i3d", "mind-i3d", "rcmmd", "cmmd", "rfdd", "fdd"])
def test_scores_say_their_dependence_on_n(name: str) -> None:
    rng = np.random.default_rng(3)
    x, y = ([rng.normal(size=(1, 4)) for _ in range(12)] for _ in range(2))
    score = set_score(name, x, y, signature(name))
    assert "n = 12 < " in score.note
    assert score.value > 0
    assert (score.low is None) == ("cmmd" in name)
    assert METRICS[name].task == ("reconstruction" if name.startswith("r") else "generation")
