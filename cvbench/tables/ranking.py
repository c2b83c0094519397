"""Which scores of a column are best and second, and which of them tie."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvbench.core.records import RunRecord, Score
from cvbench.metrics import METRICS, Metric, sample_values
from cvbench.tables.table import Cell

FEWEST = 8  # clips below which paired differences say nothing
TIES = "Bold: best, underlined: second, each with all that tie with it (see `cvbench table --help`)."


@dataclass(frozen=True, eq=False)
class Ranked:
    """A score that competes, with the record that holds what it was averaged from."""

    record: RunRecord
    name: str

    @property
    def score(self) -> Score:
        """The score as it was recorded."""
        return self.record.scores[self.name]

    @property
    def metric(self) -> Metric:
        """What is known of the metric."""
        return METRICS[self.name]

    @cached_property
    def values(self) -> Mapping[tuple[str, str], float]:
        """One value a sample, by id and hash of its pixels; none for metrics of whole sets."""
        return sample_values(self.record, self.name)


def ranks(scores: Sequence[Ranked | None]) -> list[int]:
    """Return 1 for the best of a column and all that tie with it, 2 for the best of the others and theirs, else 0.

    Nothing is marked where fewer than two compete (None does not). See `tied`.
    """
    competing = [s for s in scores if s is not None]
    if len(competing) < 2:
        return [0] * len(scores)
    first = _leaders(competing)
    second = _leaders([s for s in competing if s not in first])
    return [1 if s in first else 2 if s in second else 0 for s in scores]


def tie_remark(columns: Iterable[Sequence[Cell]]) -> list[str]:
    """Return what a reader must know of a table in which a mark stands more than once in a column."""
    marks = [[cell.rank for cell in column] for column in columns]
    return [TIES] if any(m.count(1) > 1 or m.count(2) > 1 for m in marks) else []


def _leaders(competing: list[Ranked]) -> list[Ranked | None]:
    if not competing:
        return []
    pick = max if competing[0].metric.better == "higher" else min
    best = pick(competing, key=lambda s: s.score.value)
    return [s for s in competing if tied(best, s)]


def tied(best: Ranked, other: Ranked) -> bool:
    """Tell whether `other` cannot be told from `best`: their 95 % intervals overlap, and so does what they share.

    Overlap alone is cautious: clips differ far more from each other than models do on one clip. So where both were
    measured on the same clips (8 or more), the 95 % interval of the paired differences must hold 0 as well.
    Scores without intervals tie only when they are equal. Not corrected for the number of models: a mark in a
    table is no test, `cvbench compare` makes one.
    """
    if best.score.value == other.score.value:
        return True
    return _overlap(best.score, other.score) and _same_on_clips(best, other)


def _overlap(a: Score, b: Score) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low <= b.high and b.low <= a.high


def _same_on_clips(a: Ranked, b: Ranked) -> bool:
    """Tell whether the paired t interval holds 0; True where there are too few common clips to tell."""
    common = [key for key in a.values if key in b.values]
    if len(common) < FEWEST:
        return True
    difference = np.array([a.values[key] - b.values[key] for key in common])
    error = difference.std(ddof=1) / math.sqrt(len(common))
    return bool(abs(difference.mean()) <= student(len(common) - 1) * error)


def student(freedom: int) -> float:
    """97.5 % quantile of Student's t, to 0.001 from 7 degrees of freedom on. SciPy's costs half a second to import.

    Source: Abramowitz & Stegun 26.7.5.
    """
    z = 1.959964
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / freedom**k for k, term in enumerate(terms)))
