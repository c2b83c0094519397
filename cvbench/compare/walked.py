"""What each step of a walk between two protocols changes, clip by clip; the steps sum exactly. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cvbench.core.records import RunRecord
from cvbench.core.walk import Step
from cvbench.metrics import METRICS
from cvbench.metrics.registry import average_of, meant, weights
from cvbench.metrics.statistics import bootstrap_mean


@dataclass(frozen=True)
class Change:
    """By how much a step changes a metric, with the 95 % interval over the clips that both sides have.

    `value` is the score after the step; None where there is none, and `why` then says so. `reverse` is the change of
    the same step on the walk back, with its sign turned: what differs from `change` is interaction.
    """

    value: float | None
    change: float | None
    low: float | None = None
    high: float | None = None
    reverse: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Row:
    """A step of a walk, what it changes by metric, on how many clips and items; `note` says where that set changes."""

    label: str
    changes: str
    by_metric: Mapping[str, Change]
    clips: int
    items: int
    note: str = ""


@dataclass(frozen=True)
class Walked:
    """A walk of one model on one data set: the scores at the start, then the steps; samples that failed on one."""

    model: str
    data: str
    first: str
    last: str
    metrics: Sequence[str]
    rows: Sequence[Row]
    error: str = ""
    failed: Sequence[str] = ()

    @property
    def start(self) -> Row:
        """What was measured under the first protocol."""
        return self.rows[0]

    @property
    def goes_back(self) -> bool:
        """True where the walk back was measured, too."""
        return any(change.reverse is not None for row in self.rows for change in row.by_metric.values())

    def total(self, metric: str) -> float | None:
        """Return the change from the first protocol to the last."""
        ends = [row.by_metric[metric].value for row in (self.rows[0], self.rows[-1])]
        return None if ends[0] is None or ends[1] is None else ends[1] - ends[0]


def walked(
    first: str, steps: Sequence[Step], records: Sequence[RunRecord], metrics: Sequence[str],
    back: Mapping[str, tuple[RunRecord, RunRecord]] | None = None,
) -> Walked:  # fmt: skip
    """Return a model's walk: `records` are of the first protocol and of each step's, `back` of those before and
    after the same step on the way back, by its name.

    `metrics` are names as a user says them, "ssim" or "lpips": each protocol says which of them it means.
    """
    head, last = records[0], steps[-1].protocol.name if steps else first
    if error := next((f"{r.protocol.name}: {r.error}" for r in records if r.error), ""):
        return Walked(head.model.name, head.data.name, first, last, metrics, [], error)
    rows = [_start(records[0], metrics)]
    for step, (before, after) in zip(steps, pairwise(records), strict=False):
        rows.append(_row(step, before, after, metrics, (back or {}).get(step.label)))
    failed = list(dict.fromkeys(failure.told for record in records for failure in record.failures))
    return Walked(head.model.name, head.data.name, first, last, metrics, rows, failed=failed)


def _start(record: RunRecord, metrics: Sequence[str]) -> Row:
    found = {name: Change(*_score(record, name), why=_why(record, name)) for name in metrics}
    return Row("", record.protocol.name, found, _clips(record), len(record.samples), record.data.note)


def _score(record: RunRecord, name: str) -> tuple[float | None, None]:
    score = record.scores.get(meant(name, record.protocol))
    return (score.value if score else None), None


def _why(record: RunRecord, name: str) -> str:
    own = meant(name, record.protocol)
    return "" if own in record.scores else f"{own}: {record.unavailable.get(own, 'not measured')}"


def _clips(record: RunRecord) -> int:
    return len({sample.clip for sample in record.samples})


def _row(
    step: Step, before: RunRecord, after: RunRecord, metrics: Sequence[str], back: tuple[RunRecord, RunRecord] | None
) -> Row:
    changes = {name: _change(name, before, after, back) for name in metrics}
    told = _set_change(before, after)
    if back and (other := _set_change(back[1], back[0])) != told:
        told = "; ".join(filter(None, (told, f"on the way back: {other or 'the same clips'}")))
    return Row(step.label, step.changes, changes, _clips(after), len(after.samples), told)


def _change(name: str, before: RunRecord, after: RunRecord, back: tuple[RunRecord, RunRecord] | None) -> Change:
    old, new = _score(before, name)[0], _score(after, name)[0]
    if old is None or new is None:
        return Change(new, None, why=_why(after, name) or _why(before, name))
    low, high = _interval(name, before, after)
    turned = [_score(record, name)[0] for record in back or ()]
    reverse = None if len(turned) < 2 or turned[0] is None or turned[1] is None else turned[0] - turned[1]
    return Change(new, new - old, low, high, reverse)


def _interval(name: str, before: RunRecord, after: RunRecord) -> tuple[float | None, float | None]:
    """Return the paired interval of a change over the clips of both; none of distances and of `psnr_mean=set`."""
    sides = [contributions(record, meant(name, record.protocol)) for record in (before, after)]
    common = [clip for clip in sides[0] if clip in sides[1]]
    if len(common) < 2:
        return None, None
    differences = np.array([sides[1][clip] - sides[0][clip] for clip in common], np.float64)
    return bootstrap_mean(differences) or (None, None)


def contributions(record: RunRecord, name: str) -> dict[str, float]:
    """Return what each clip stands for in a score: the plain mean of all of them is the score."""
    metric = METRICS[name]
    if metric.distance or (name == "psnr" and record.protocol.psnr_mean == "set"):
        return {}
    samples = [sample for sample in record.samples if metric.probe in sample.rows]
    if not samples:
        return {}
    clips = [sample.clip for sample in samples]
    values = metric.values([np.asarray(s.rows[metric.probe], np.float64) for s in samples], record.protocol)
    weight = weights(clips, average_of(metric, record.protocol))
    mean = float((weight * values).mean())
    shares = (
        weight * (values - mean) / len(samples)
    )  # of the distance from the mean: a clip of many items is no outlier
    count, found = len(set(clips)), dict.fromkeys(clips, mean)
    for clip, share in zip(clips, shares, strict=True):
        found[clip] += count * float(share)
    return found


def _set_change(before: RunRecord, after: RunRecord) -> str:
    """Say where a step changes which clips there are, or how many items they are."""
    old, new = ({sample.clip for sample in record.samples} for record in (before, after))
    parts = []
    if lost := sorted(old - new):
        parts.append(f"without {', '.join(lost[:3])}{' …' if len(lost) > 3 else ''}")
    if gained := sorted(new - old):
        parts.append(f"with {', '.join(gained[:3])}{' …' if len(gained) > 3 else ''}")
    if len(before.samples) != len(after.samples):
        parts.append(f"n {len(before.samples)} → {len(after.samples)}")
    return "; ".join(parts)


def lines(walk: Walked) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a walk with what each is called."""
    for k, row in enumerate(walk.rows):
        yield (f"at {walk.first}" if k == 0 else row.label), row
