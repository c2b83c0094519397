"""Two records on the samples that both have: values, weights and sources, made once for both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvbench.core.records import RunRecord
from cvbench.metrics.registry import METRICS, Values, average_of, sample_values, weights
from cvbench.metrics.statistics import Difference, detectable_difference, paired_difference, paired_permutation


@dataclass(frozen=True, eq=False)
class Paired:
    """Values of a metric on the samples that records a and b share, in a's order; `clips` names the source of each.

    A sample weighs the same on both sides, as the field `average` asks of the shared samples: what only one side
    has changes nothing. Windows of one clip are no independent evidence.
    """

    samples: Sequence[str]
    clips: Sequence[str]
    weights: Values
    before: Values
    after: Values

    @property
    def steps(self) -> Values:
        """b - a, weighted: their mean is the difference of the means."""
        return np.asarray(self.weights * (self.after - self.before))

    @property
    def means(self) -> tuple[float, float]:
        """Weighted means of a and b."""
        before, after = (float((self.weights * side).mean()) for side in (self.before, self.after))
        return before, after

    @property
    def sources(self) -> Sequence[str] | None:
        """The clip of each sample, None where every sample is one."""
        return sources_of(self.clips)

    def difference(self) -> Difference:
        """Return the mean of b - a with its interval."""
        return paired_difference(self.after, self.before, self.sources, weights=self.weights)

    def p(self, resamples: int = 9999) -> float:
        """Return p of the paired permutation test."""
        return paired_permutation(self.steps, 0 * self.steps, self.sources, resamples)

    def detectable(self) -> float | None:
        """Return the smallest true difference that these samples show in four of five cases."""
        return detectable_difference(self.after - self.before, self.sources, weights=self.weights)


def paired(name: str, a: RunRecord, b: RunRecord) -> Paired | None:
    """Pair two records' values of metric `name` by id and hash of the pixels; None without a common sample."""
    ours, theirs = sample_values(a, name), sample_values(b, name)
    shared = [s for s in a.samples if (s.id, s.sha256) in ours and (s.id, s.sha256) in theirs]
    if not shared:
        return None
    clips = [s.clip for s in shared]
    before, after = (np.array([side[s.id, s.sha256] for s in shared], np.float64) for side in (ours, theirs))
    return Paired([s.id for s in shared], clips, weights(clips, average_of(METRICS[name], a.protocol)), before, after)


def sources_of(clips: Sequence[str]) -> Sequence[str] | None:
    """Return the groups of a test or an interval: the clips, None where no two samples are of one."""
    return clips if len(set(clips)) < len(clips) else None
