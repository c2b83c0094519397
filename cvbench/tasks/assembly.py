"""From stored rows to a record's scores, and to the reasons where there are none."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from cvbench.core.errors import UnsuitableInput, says_nothing
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import DataFacts, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.engine.loop import Prepared, Rows
from cvbench.engine.measuring import Probes, is_measured
from cvbench.metrics import METRICS, Metric, score, set_score
from cvbench.metrics.registry import in_batches
from cvbench.metrics.streams import Reread
from cvbench.probes import FEATURES


def no_rows() -> Rows:
    """Return none."""
    return {}


class Stored(NamedTuple):
    """A sample, its rows, and those of its target.

    Features of many clips do not fit into memory: of theirs, no more than whether there are any is held, as an array
    without rows, and `read` and `read_target` give them when they are needed.
    """

    sample: Prepared
    rows: Rows
    target: Rows
    read: Callable[[], Rows] = no_rows
    read_target: Callable[[], Rows] = no_rows


def stored_of(
    probes: Probes, sample: Prepared, read: Callable[[], Rows], read_target: Callable[[], Rows] = no_rows
) -> Stored:
    """Return a sample with what is held of its rows; of its target's only where it has any itself."""
    large = tuple(probes.columns(probes.of_videos))
    rows = without_features(read(), large)
    return Stored(sample, rows, without_features(read_target(), large) if rows else {}, read, read_target)


def without_features(rows: Rows, large: tuple[str, ...]) -> Rows:
    """Return rows, with arrays without rows for the numbers of columns that end in one of `large`."""
    return {name: row[:0].copy() if name.endswith(large) and is_measured(row) else row for name, row in rows.items()}


def sample_record(probes: Probes, stored: Stored, frames: int | None = None, sha256: str = "") -> SampleRecord:
    """Return what a record keeps of a sample: the rows of all probes that compare it, not those of features."""
    compared = [METRICS[name] for name in probes.metrics if METRICS[name].distance is None]
    rows = {metric.probe: row_of(metric, probes, stored) for metric in compared}
    kept = {name: row.tolist() for name, row in rows.items() if row is not None and is_measured(row) and row.size}
    t, height, width = stored.sample.shape
    sha256 = sha256 or stored.sample.sha256
    return SampleRecord(
        stored.sample.id, t if frames is None else frames, height, width, sha256, stored.sample.facts, kept
    )


def row_of(metric: Metric, probes: Probes, stored: Stored) -> np.ndarray | None:
    """Return a sample's row of a metric that compares it with its target, or as a text why there is none."""
    column = probes.column(metric.network)
    if metric.derive is None:
        return stored.rows.get(column)
    both = [rows.get(column) for rows in (stored.rows, stored.target)]
    lacking = [row for row in both if row is None or not is_measured(row)]
    return lacking[0] if lacking else metric.derive(stored.read()[column], stored.read_target()[column])


def reduced(
    probes: Probes, protocol: EvalProtocol, data: DataFacts, stored: Sequence[Stored]
) -> tuple[dict[str, Score], dict[str, str]]:
    """Return the scores of the run's metrics, and for each that lacks samples, or has no score, the reason."""
    scores: dict[str, Score] = {}
    reasons: dict[str, str] = {}
    for name in probes.metrics:
        if lost := _lacking(probes, name, stored):
            reasons[name] = lost
        signature = Signature(name, probes.versions[METRICS[name].network], data.name, data.manifest, protocol)
        try:
            if found := _score(name, probes, protocol, stored, signature):
                scores[name] = found
        except UnsuitableInput as error:
            reasons[name] = str(error)
    return scores, reasons


def _score(
    name: str, probes: Probes, protocol: EvalProtocol, stored: Sequence[Stored], signature: Signature
) -> Score | None:
    if METRICS[name].distance is None:
        rows = [(s.sample.clip, row_of(METRICS[name], probes, s)) for s in stored]
        found = [(clip, row) for clip, row in rows if row is not None and is_measured(row)]
        clips = [clip for clip, _ in found]
        return score(name, [row for _, row in found], protocol, signature, clips) if found else None
    column = probes.column(METRICS[name].probe)
    held = [s for s in stored if _is_there(s.rows, column)]
    if not held:
        return None
    if not in_batches(name, protocol):
        held.sort(key=lambda s: s.sample.sha256)  # by content: neither names nor order of files move a bit
    both = [s for s in held if _is_there(s.target, column)]
    clips = [s.sample.clip for s in both]
    reads = [s.read for s in both], [s.read_target for s in both]
    x, y = (Reread([partial(_one, read, column) for read in side]) for side in reads)
    return set_score(name, x, y, signature, (clips, clips))


def _one(read: Callable[[], Rows], column: str) -> np.ndarray:
    return read()[column]


def _is_there(rows: Mapping[str, np.ndarray], column: str) -> bool:
    return column in rows and is_measured(rows[column])


def _lacking(probes: Probes, metric: str, stored: Sequence[Stored]) -> str:
    """Say how many samples lack a metric's rows, or their targets', and why; nothing when none does."""
    probe, of_both = METRICS[metric].network, METRICS[metric].network in FEATURES
    needed = [(s.rows, s.target) if of_both else (s.rows,) for s in stored]
    found = [[_reason(rows.get(probes.column(probe)), probes, probe) for rows in each] for each in needed]
    reasons = [next(filter(None, each)) for each in found if any(each)]
    if not reasons:
        return ""
    share = "" if len(reasons) == len(stored) else f"{len(reasons)} of {len(stored)} samples: "
    return share + "; ".join(sorted(set(reasons)))


def inapplicable(probes: Probes, stored: Sequence[Stored]) -> list[str]:
    """Return the metrics that lack nothing but numbers of samples of which they say nothing: images, or no text."""
    return [name for name in probes.metrics if _is_of_others(probes, METRICS[name].network, stored)]


def _is_of_others(probes: Probes, probe: str, stored: Sequence[Stored]) -> bool:
    lacking = [(s, reason) for s in stored if (reason := _reason(s.rows.get(probes.column(probe)), probes, probe))]
    return bool(lacking) and all(says_nothing(reason, s.sample.shape[0]) for s, reason in lacking)


def _reason(row: np.ndarray | None, probes: Probes, probe: str) -> str | None:
    if row is None:
        return probes.reasons.get(probe, "not measured")
    return None if is_measured(row) else str(row)
