"""From stored rows to a record's scores, and to the reasons where there are none."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cvbench.core.errors import OF_CLIPS, UnsuitableInput
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import DataFacts, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.engine.loop import Prepared, Rows
from cvbench.engine.measuring import Probes, is_measured
from cvbench.metrics import METRICS, score, set_score
from cvbench.metrics.registry import in_batches
from cvbench.probes import PROBES


class Stored(NamedTuple):
    """A sample, its rows, and those of its target."""

    sample: Prepared
    rows: Rows
    target: Rows


def sample_record(probes: Probes, stored: Stored, frames: int | None = None, sha256: str = "") -> SampleRecord:
    """Return what a record keeps of a sample: the rows of all probes that compare it, not those of features."""
    rows = {name: stored.rows.get(probes.column(name)) for name in probes.names if name in PROBES}
    kept = {name: row.tolist() for name, row in rows.items() if row is not None and is_measured(row) and row.size}
    t, height, width = stored.sample.shape
    sha256 = sha256 or stored.sample.sha256
    return SampleRecord(
        stored.sample.id, t if frames is None else frames, height, width, sha256, stored.sample.facts, kept
    )


def reduced(
    probes: Probes, protocol: EvalProtocol, data: DataFacts, stored: Sequence[Stored]
) -> tuple[dict[str, Score], dict[str, str]]:
    """Return the scores of the run's metrics, and for each that lacks samples, or has no score, the reason."""
    scores: dict[str, Score] = {}
    reasons: dict[str, str] = {}
    for name in probes.metrics:
        if lost := _lacking(probes, name, stored):
            reasons[name] = lost
        signature = Signature(name, probes.versions[METRICS[name].probe], data.name, data.manifest, protocol)
        try:
            if found := _score(name, probes, protocol, stored, signature):
                scores[name] = found
        except UnsuitableInput as error:
            reasons[name] = str(error)
    return scores, reasons


def _score(
    name: str, probes: Probes, protocol: EvalProtocol, stored: Sequence[Stored], signature: Signature
) -> Score | None:
    column = probes.column(METRICS[name].probe)
    held = [s for s in stored if _is_there(s.rows, column)]
    if not held:
        return None
    if METRICS[name].distance is None:
        return score(name, [s.rows[column] for s in held], protocol, signature, [s.sample.clip for s in held])
    if not in_batches(name, protocol):
        held.sort(key=lambda s: s.sample.sha256)  # by content: neither names nor order of files move a bit
    both = [s for s in held if _is_there(s.target, column)]
    clips = [s.sample.clip for s in both]
    x, y = [s.rows[column] for s in both], [s.target[column] for s in both]
    return set_score(name, x, y, signature, (clips, clips))


def _is_there(rows: Mapping[str, np.ndarray], column: str) -> bool:
    return column in rows and is_measured(rows[column])


def _lacking(probes: Probes, metric: str, stored: Sequence[Stored]) -> str:
    """Say how many samples lack a metric's rows, or their targets', and why; nothing when none does."""
    probe, of_sets = METRICS[metric].probe, METRICS[metric].distance is not None
    needed = [(s.rows, s.target) if of_sets else (s.rows,) for s in stored]
    found = [[_reason(rows.get(probes.column(probe)), probes, probe) for rows in each] for each in needed]
    reasons = [next(filter(None, each)) for each in found if any(each)]
    if not reasons:
        return ""
    share = "" if len(reasons) == len(stored) else f"{len(reasons)} of {len(stored)} samples: "
    return share + "; ".join(sorted(set(reasons)))


def inapplicable(probes: Probes, stored: Sequence[Stored]) -> list[str]:
    """Return the metrics that lack nothing but numbers of images, of which they say nothing."""
    return [name for name in probes.metrics if _is_of_clips(probes, METRICS[name].probe, stored)]


def _is_of_clips(probes: Probes, probe: str, stored: Sequence[Stored]) -> bool:
    lacking = [(s, reason) for s in stored if (reason := _reason(s.rows.get(probes.column(probe)), probes, probe))]
    return bool(lacking) and all(s.sample.shape[0] == 1 and reason.endswith(OF_CLIPS) for s, reason in lacking)


def _reason(row: np.ndarray | None, probes: Probes, probe: str) -> str | None:
    if row is None:
        return probes.reasons.get(probe, "not measured")
    return None if is_measured(row) else str(row)
