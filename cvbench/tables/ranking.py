"""Which scores of a column are best and second, on the samples that all of them have, and which of them tie."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from cvbench.core.records import RunRecord, Score
from cvbench.metrics import METRICS, Metric, sample_values
from cvbench.metrics.registry import average_of, averaged
from cvbench.tables.table import Cell

Key = tuple[str, str]
"""Id of a sample, and hash of its pixels."""
FEWEST = 8  # samples below which differences say nothing
TIES = "Bold: best, underlined: second, each with all that tie with it (see `cvbench table --help`)."
TOO_FEW = f"Too few samples to rank: where fewer than {FEWEST} are common to a column, nothing is marked."
COMMON = (
    "Best and second are taken on the samples that all ranked of a column have; (9/12) stands beside a mean of fewer. "
    "What lacks more than half of the samples is not ranked."
)


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
    def values(self) -> Mapping[Key, float]:
        """One value a sample, on the scale on which samples are averaged."""
        return sample_values(self.record, self.name)

    @cached_property
    def clips(self) -> Mapping[Key, str]:
        """The clip of each sample."""
        return {(s.id, s.sha256): s.clip for s in self.record.samples}

    def sources(self, samples: Collection[Key]) -> list[str]:
        """Return the clips of these samples: windows of one are no independent evidence."""
        return [self.clips[key] for key in samples]

    def on(self, samples: Collection[Key]) -> Float64[np.ndarray, " n"]:
        """Return the values of these samples, whose mean is the one that the protocol asks for."""
        values = np.array([self.values[key] for key in samples], np.float64)
        return averaged(values, self.sources(samples), average_of(self.metric, self.record.protocol))


class Ranking(NamedTuple):
    """For each score 1 when it is best, 2 when it is second, else 0; and what a reader must know of it."""

    marks: list[int]
    remark: str = ""


def ranks(scores: Sequence[Ranked | None]) -> Ranking:
    """Mark the best of a column and all that tie with it, then the best of the others and theirs.

    Models that were measured on the same samples are compared on those that all of them have; a model that lacks more
    than half of the samples is not ranked and takes none from the others. Metrics of whole sets, and of samples that
    each model generated for itself, are compared by the scores. Nothing is marked where fewer than two compete (None
    does not), nor with fewer than eight samples.
    """
    competing = [s for s in scores if s is not None]
    if competing and is_paired(competing[0].metric):
        everything = set().union(*(s.values for s in competing))
        lacking = any(len(s.values) < len(everything) for s in competing)
        competing = [s for s in competing if 2 * len(s.values) >= len(everything)]
        common = [key for key in competing[0].values if all(key in s.values for s in competing)] if competing else []
        count = len(set(competing[0].sources(common))) if common else 0
    else:
        common, lacking = [], False
        count = min((len(s.record.samples) or s.score.n for s in competing), default=0)
    if len(competing) < 2 or count < FEWEST:
        return Ranking([0] * len(scores), TOO_FEW if len(competing) > 1 else "")
    first = _leaders(competing, common)
    second = _leaders([s for s in competing if s not in first], common)
    return Ranking([1 if s in first else 2 if s in second else 0 for s in scores], COMMON if lacking else "")


def is_paired(metric: Metric) -> bool:
    """Tell whether models share the samples of a metric, each with a value of its own."""
    return metric.distance is None and metric.task == "reconstruction"


def tie_remark(columns: Iterable[Sequence[Cell]]) -> list[str]:
    """Return what a reader must know of a table in which a mark stands more than once in a column."""
    marks = [[cell.rank for cell in column] for column in columns]
    return [TIES] if any(m.count(1) > 1 or m.count(2) > 1 for m in marks) else []


def _leaders(competing: list[Ranked], common: Sequence[Key]) -> list[Ranked | None]:
    if not competing:
        return []
    pick = max if competing[0].metric.better == "higher" else min
    best = pick(competing, key=lambda s: s.on(common).mean() if common else s.score.value)
    return [s for s in competing if tied(best, s, common)]


def tied(best: Ranked, other: Ranked, common: Sequence[Key]) -> bool:
    """Tell whether `other` cannot be told from `best`: the 95 % interval of their paired differences holds 0.

    Without samples in `common`, whether the scores' own intervals overlap; without intervals, whether they are equal.
    Not corrected for the number of models: a mark in a table is no test, `cvbench compare` makes one.
    """
    if best is other:
        return True
    return _same_on(best, other, common) if common else _overlap(best.score, other.score)


def _overlap(a: Score, b: Score) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return a.value == b.value
    return a.low <= b.high and b.low <= a.high


def _same_on(a: Ranked, b: Ranked, common: Sequence[Key]) -> bool:
    """Tell whether the paired t interval over clips holds 0."""
    difference = a.on(common) - b.on(common)
    groups = np.unique(a.sources(common), return_inverse=True)[1]
    sums = np.bincount(groups, weights=difference - difference.mean())
    error = math.sqrt(len(sums) / (len(sums) - 1) * float(sums @ sums)) / len(common)
    return bool(abs(difference.mean()) <= student(len(sums) - 1) * error)


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
