"""What a report shows, as plain values: groups of records, points and their fronts, curves over frames."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS, Metric

Better = Literal["higher", "lower"]
POINTS = 120
"""Points to which a curve over more frames is averaged."""


@dataclass(frozen=True)
class Group:
    """Records that may share a chart: one data set, one protocol."""

    label: str
    records: Sequence[RunRecord]

    @property
    def data(self) -> str:
        """Name of the data set."""
        return self.records[0].data.name

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return self.records[0].protocol.name

    @property
    def metrics(self) -> list[str]:
        """Quality metrics with scores, in the order of METRICS."""
        return [m for m in METRICS if METRICS[m].ranked and any(m in r.scores for r in self.records)]


def group(records: Sequence[RunRecord]) -> list[Group]:
    """Group records by data set and protocol, in their order; the protocol is named where there are several."""
    protocols = {r.protocol.name for r in records}
    found: dict[str, list[RunRecord]] = {}
    for r in records:
        label = r.data.name if len(protocols) == 1 else f"{r.data.name} · {r.protocol.name}"
        found.setdefault(label, []).append(r)
    return [Group(label, members) for label, members in found.items()]


@dataclass(frozen=True)
class Axis:
    """What quality is plotted against; `missing` says why a chart may be empty."""

    key: str
    label: str
    unit: str
    better: Better
    missing: str


AXES = (
    Axis("bpp", "bits per pixel", "bit/px", "lower", "no model has a rate"),
    Axis("params", "parameters", "parameters", "lower", "no model has parameters"),
    Axis("fps", "frames/s, encoding and decoding", "frames/s", "higher", "no speed was measured; run with --speed"),
)


@dataclass(frozen=True)
class Point:
    """A model in a chart of quality against `x`; `front` when no other dominates it."""

    model: str
    role: str
    x: float
    y: float
    low: float | None
    high: float | None
    front: bool = False


def position(record: RunRecord, axis: Axis) -> float | None:
    """Return where a record stands on an axis, None when it has no such number above 0."""
    value: float | None = None
    if axis.key == "bpp":
        value = record.scores["bpp"].value if "bpp" in record.scores else record.model.bpp
    elif axis.key == "params":
        value = float(sum(record.model.params)) if record.model.params else None
    elif record.speed:
        value = throughput(record.speed.get("encode_fps"), record.speed.get("decode_fps"))
    return value if value and value > 0 else None


def throughput(encode: float | None, decode: float | None) -> float | None:
    """Return frames a second of coding and decoding one after the other."""
    return 1 / (1 / encode + 1 / decode) if encode and decode else None


def competes(record: RunRecord) -> bool:
    """Tell whether a record's quality says something: references and untrained networks are not drawn."""
    return record.model.role != "reference" and record.model.init != "random"


def points(records: Sequence[RunRecord], metric: str, axis: Axis) -> list[Point]:
    """Return the models that have both numbers, the Pareto front marked."""
    found = []
    for r in records:
        x = position(r, axis)
        if competes(r) and metric in r.scores and x is not None:
            s = r.scores[metric]
            found.append(Point(r.model.name, r.model.role, x, s.value, s.low, s.high))
    marks = front([(p.x, p.y) for p in found], axis.better, METRICS[metric].better)
    return [Point(p.model, p.role, p.x, p.y, p.low, p.high, mark) for p, mark in zip(found, marks, strict=True)]


def front(points: Sequence[tuple[float, float]], better_x: Better, better_y: Better) -> list[bool]:
    """Mark the points that no other dominates: is at least as good in both and better in one."""
    signs = np.array([1 if better == "higher" else -1 for better in (better_x, better_y)])
    values = np.array(points, np.float64).reshape(-1, 2) * signs
    return [not bool(((values >= p).all(1) & (values > p).any(1)).any()) for p in values]


@dataclass(frozen=True)
class Curve:
    """A metric over frames: the clips' mean deviation from their own means, and its middle half, about the mean of all.

    `spans` are the frames, first and last, that share a latent frame; none where each frame is coded alone. `total`
    frames are averaged to at most POINTS.
    """

    model: str
    frames: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    clips: int
    total: int
    temporal: int = 1
    spans: Sequence[tuple[int, int]] = ()


def curves(records: Sequence[RunRecord], metric: str) -> list[Curve]:
    """Return a curve for each model that has clips of more than one frame."""
    found = [_curve(record, METRICS[metric]) for record in records if competes(record) and not METRICS[metric].distance]
    return [curve for curve in found if curve]


def _curve(record: RunRecord, metric: Metric) -> Curve | None:
    rows = [row for s in record.samples if s.frames > 1 and (row := s.by_frame(metric.probe))]
    if not rows:
        return None
    values = _ragged(rows)
    own = np.nanmean(values, 1, keepdims=True)
    about = values - own
    low, high = np.nanpercentile(about, (25, 75), axis=0)
    step = -(-values.shape[1] // POINTS)
    frames = list(range(0, values.shape[1], step))
    middle, below, above = (_averaged(own.mean() + v, step) for v in (np.nanmean(about, 0), low, high))
    temporal = record.model.temporal or 1
    spans = temporal_groups(values.shape[1], temporal, record.model.frame_rule) if step == 1 else ()
    return Curve(record.model.name, frames, middle, below, above, len(rows), values.shape[1], temporal, spans)


def _ragged(rows: Sequence[Sequence[float]]) -> Float64[np.ndarray, "n t"]:
    """Stack rows of different length, what is missing as NaN."""
    values = np.full((len(rows), max(map(len, rows))), np.nan)
    for into, row in zip(values, rows, strict=True):
        into[: len(row)] = row
    return values


def _averaged(values: Float64[np.ndarray, " t"], step: int) -> list[float]:
    starts = np.arange(0, len(values), step)
    sums = np.add.reduceat(values, starts)
    return [float(f"{v:.6g}") for v in sums / np.minimum(step, len(values) - starts)]


def temporal_groups(frames: int, temporal: int, rule: str) -> list[tuple[int, int]]:
    """Return first and last frame of each group that shares a latent frame; a rule of 1 + k codes the first alone."""
    if temporal < 2:
        return []
    base = int(match[1]) % temporal if (match := re.match(r"(\d+) \+", rule)) else 0
    starts = [*([0] if base else []), *range(base, frames, temporal)]
    return [(start, stop - 1) for start, stop in zip(starts, [*starts[1:], frames], strict=True)]
