"""Record against record, sample by sample."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from cvbench.core.errors import UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import RunRecord, SampleRecord, Score
from cvbench.metrics import METRICS, Metric
from cvbench.metrics.pairing import Paired, paired, sources_of
from cvbench.metrics.registry import Values
from cvbench.metrics.statistics import Difference

Kind = Literal["missing", "extra", "changed", "unlike"]
Pairs = Sequence[tuple[SampleRecord, SampleRecord]]
RESAMPLES = 9999  # of a permutation test
ELSEWHERE = ("MissingWeights", "Unavailable")
"""Kinds of errors for which a model was not even tried: what the machine lacks."""
NOT_ITS_OWN = ("", "UnreadableSample", "OutOfMemoryError", "MemoryError")
"""Kinds of failures that are the file's or the machine's, not the model's; of older records ("") nothing is known."""


@dataclass(frozen=True)
class Unpaired:
    """What has no counterpart, and why.

    missing: only in a. extra: only in b. changed: a sample with other prepared pixels. unlike: a metric that was
    measured in another way. `own` tells that the model itself failed on the sample.
    """

    kind: Kind
    why: str
    sample: str = ""
    metric: str = ""
    own: bool = False

    @property
    def what(self) -> str:
        """Names the sample, the metric, or the metric of the sample."""
        return f"{self.metric} of {self.sample}" if self.metric and self.sample else self.metric or self.sample


@dataclass(frozen=True, eq=False)
class MetricDifference:
    """One metric on the samples that a and b share; `change` is b - a, `a` and `b` are means over those samples.

    `p` is of the paired permutation test, `corrected` of Holm's correction of it; `detectable` is the smallest true
    difference that such a set shows in four of five cases. `differing` names the fields of the signatures that
    differ. A metric of whole sets has no samples: its interval and p come from the scores' own intervals.

    `before` and `after` are what each sample alone would score, `steps` after - before on the scale on which samples
    are averaged, weighted as the protocol's `average` says. `clips` names the clip of each sample: tests and intervals
    take that as their unit.
    """

    metric: str
    a: float
    b: float
    change: Difference
    p: float | None
    corrected: float | None
    detectable: float | None
    samples: Sequence[str]
    before: Float64[np.ndarray, " n"]
    after: Float64[np.ndarray, " n"]
    steps: Float64[np.ndarray, " n"]
    differing: str = ""
    clips: Sequence[str] = ()

    @property
    def sources(self) -> Sequence[str] | None:
        """The clip of each sample, None where every sample is one."""
        return sources_of(self.clips)

    @property
    def worse(self) -> Float64[np.ndarray, " n"]:
        """By how much each sample got worse, in the metric's unit; negative where it got better."""
        fell = np.asarray(self.before - self.after)
        return fell if METRICS[self.metric].better == "higher" else -fell

    @property
    def gain(self) -> float:
        """How much better b is, in the metric's unit; negative when it is worse."""
        return self.change.mean if METRICS[self.metric].better == "higher" else -self.change.mean

    @property
    def moved(self) -> int:
        """How many samples differ at all."""
        return int(np.count_nonzero(self.after != self.before))

    @property
    def has_moved(self) -> bool:
        """True when anything differs at all."""
        return bool(self.moved or self.change.mean)

    @property
    def wins(self) -> int:
        """Samples on which b is better."""
        higher = int(np.count_nonzero(self.after > self.before))
        return higher if METRICS[self.metric].better == "higher" else self.moved - higher

    @property
    def losses(self) -> int:
        """Samples on which b is worse."""
        return self.moved - self.wins


@dataclass(frozen=True, eq=False)
class Comparison:
    """Record b against record a: every metric that both have, and all that could not be paired."""

    a: RunRecord
    b: RunRecord
    metrics: Sequence[MetricDifference]
    unpaired: Sequence[Unpaired]

    @property
    def models(self) -> str:
        """Names the model, or both."""
        first, second = self.a.model.name, self.b.model.name
        return first if first == second else f"{first} → {second}"

    @property
    def label(self) -> str:
        """Names models and data."""
        return f"{self.models} on {self.a.data.name}"


def compare(a: RunRecord, b: RunRecord) -> Comparison:
    """Compare two records of one data set, sample by sample: same id and same SHA-256 of the prepared pixels.

    They may be two models of one run or one model in two runs, also under protocols that differ after the
    preparation (dtype, posterior, ...): differing fields are named in each metric's `differing`.
    Raises UsageError for records of two data sets.
    """
    if a.data.name != b.data.name:
        raise UsageError(f"{a.data.name} and {b.data.name} are two data sets; compare records of one")
    if a.error or b.error:
        return Comparison(a, b, [], [_of_error(a, b)])
    pairs, unpaired = _pair_samples(a, b)
    found: list[MetricDifference] = []
    for name in dict.fromkeys([*a.scores, *b.scores]):
        difference, lost = _metric(name, a, b, pairs)
        found += [difference] if difference else []
        unpaired += lost
    order = list(METRICS)
    return Comparison(a, b, sorted(found, key=lambda d: order.index(d.metric)), unpaired)


def _of_error(a: RunRecord, b: RunRecord) -> Unpaired:
    own = not a.error and b.error_kind not in ELSEWHERE
    return Unpaired("extra" if a.error else "missing", a.error or b.error or "", "every sample", own=own)


def _pair_samples(a: RunRecord, b: RunRecord) -> tuple[Pairs, list[Unpaired]]:
    """Return the samples that both scored on the same pixels, and the others with the reason."""
    ours, theirs = _by_id(a), _by_id(b)
    pairs, unpaired = [], []
    for name, sample in ours.items():
        other = theirs.get(name)
        if other is None:
            own = any(f.id == name and f.kind not in NOT_ITS_OWN for f in b.failures)
            unpaired.append(Unpaired("missing", _why_absent(b, name), name, own=own))
        elif other.sha256 != sample.sha256:
            unpaired.append(Unpaired("changed", "other prepared pixels", name))
        else:
            pairs.append((sample, other))
    return pairs, unpaired + [Unpaired("extra", _why_absent(a, name), name) for name in theirs if name not in ours]


def _by_id(record: RunRecord) -> dict[str, SampleRecord]:
    found = {sample.id: sample for sample in record.samples}
    if len(found) < len(record.samples):
        raise UsageError(f"the record of {record.model.name} on {record.data.name} names a sample twice; run it again")
    return found


def _why_absent(record: RunRecord, sample: str) -> str:
    return next((f.error for f in record.failures if f.id == sample), "not in the data")


def _metric(name: str, a: RunRecord, b: RunRecord, pairs: Pairs) -> tuple[MetricDifference | None, list[Unpaired]]:
    """Compare one metric; return it, or nothing where it cannot be compared, and what was left out."""
    if absent := _absent(name, a, b):
        return None, [absent]
    differing = a.scores[name].signature.without_samples().difference(b.scores[name].signature.without_samples())
    if METRICS[name].distance:
        return _of_sets(name, a.scores[name], b.scores[name], differing), []
    probe = METRICS[name].probe
    both = [(s, o) for s, o in pairs if probe in s.rows and probe in o.rows]
    lost = [_lost(name, b, "missing", s.id) for s, o in pairs if probe in s.rows and probe not in o.rows]
    lost += [_lost(name, a, "extra", s.id) for s, o in pairs if probe in o.rows and probe not in s.rows]
    if not both:
        return None, lost or [Unpaired("missing", "no sample could be paired", metric=name)]
    shared = paired(name, a, b)
    return _of_samples(name, shared, a.protocol, differing) if shared else None, lost


def _absent(name: str, a: RunRecord, b: RunRecord) -> Unpaired | None:
    """Say why a metric cannot be compared at all."""
    if name not in METRICS:
        return Unpaired("unlike", "this version of cvbench knows no such metric", metric=name)
    if name not in b.scores:
        return Unpaired("missing", b.unavailable.get(name, "not measured"), metric=name)
    if name not in a.scores:
        return Unpaired("extra", a.unavailable.get(name, "not measured"), metric=name)
    first, second = a.scores[name].signature.head, b.scores[name].signature.head
    if first != second:
        return Unpaired("unlike", f"measured as {second} instead of {first}", metric=name)
    fields = [
        (field, getattr(a.protocol, field), getattr(b.protocol, field))
        for field in (*METRICS[name].reduced_by, "average", "average_nets")
    ]
    if unlike := [f"{field}={theirs} instead of {ours}" for field, ours, theirs in fields if ours != theirs]:
        return Unpaired("unlike", f"measured as {', '.join(unlike)}", metric=name)
    if METRICS[name].distance and a.data.manifest != b.data.manifest:
        return Unpaired("unlike", "a score of the whole set, and the sets differ", metric=name)
    return None


def _lost(name: str, record: RunRecord, kind: Kind, sample: str) -> Unpaired:
    return Unpaired(kind, record.unavailable.get(name, "not measured"), sample, name)


def _of_samples(name: str, shared: Paired, protocol: EvalProtocol, differing: str) -> MetricDifference:
    p, metric = shared.p(RESAMPLES), METRICS[name]
    a, b = (metric.score(mean, protocol) for mean in shared.means)
    return MetricDifference(
        metric=name,
        a=a,
        b=b,
        change=_change(metric, shared, protocol),
        p=p,
        corrected=p,
        detectable=shared.detectable(),
        samples=shared.samples,
        before=_alone(metric, shared.before, protocol),
        after=_alone(metric, shared.after, protocol),
        steps=shared.steps,
        differing=differing,
        clips=shared.clips,
    )


def _alone(metric: Metric, values: Values, protocol: EvalProtocol) -> Values:
    return np.array([metric.score(float(v), protocol) for v in values], np.float64)


def _change(metric: Metric, shared: Paired, protocol: EvalProtocol) -> Difference:
    """Return how the score changes, with the interval of the mean paired difference taken to the score's scale."""
    difference, start = shared.difference(), shared.means[0]
    score = metric.score(start, protocol)
    ends = [None if d is None else metric.score(start + d, protocol) - score for d in difference]
    return Difference(ends[0] or 0.0, *ends[1:])


def _of_sets(name: str, a: Score, b: Score, differing: str) -> MetricDifference:
    """Compare two scores of whole sets as if they were independent: cautious, for most of what made them is shared."""
    change, none = b.value - a.value, np.empty(0)
    p, difference = (None if change else 1.0), Difference(change, None, None)
    if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
        half = math.hypot(a.high - a.low, b.high - b.low) / 2
        p = math.erfc(1.96 * abs(change) / half / math.sqrt(2)) if half else float(change == 0)
        difference = Difference(change, change - half, change + half)
    return MetricDifference(name, a.value, b.value, difference, p, p, None, [], none, none, none, differing)


def told(unpaired: Sequence[Unpaired]) -> list[str]:
    """Say what could not be paired, one line a reason, the first three names of each."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for item in unpaired:
        groups.setdefault((item.kind, item.metric, item.why), []).append(item.sample)
    lines = []
    for (kind, metric, why), samples in groups.items():
        names = [name for name in samples if name]
        lines.append(f"{kind}: {metric}{' of ' if metric and names else ''}{some(names)} ({why})")
    return lines


def some(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
