"""The failure atlas: worst clips, frames and tiles of each model, and scores by what the clips show.

Means hide failures. Clips, frames and slices come from the records' rows; tiles from the pictures that a run kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

import numpy as np

from cvbench.core.records import RunRecord, SampleRecord
from cvbench.engine.pictures import Gallery, quality_metric, sample_scores, worst_first
from cvbench.metrics import METRICS
from cvbench.metrics.statistics import student_mean
from cvbench.report.clips import merged, own_records, written
from cvbench.report.content import Group, competes
from cvbench.report.tiles import Tile, worst_tiles

WORST = 5
"""Clips and frames that are named of each model."""
TILES, ALL_TILES = 4, 60
"""That are shown of each model, and of all together: a report stays below 30 MB."""
FEWEST = 6
"""Samples below which thirds say nothing."""
DARK = 64
"""Mean luma, of 255, below which a clip is dark."""

Facts = Callable[[SampleRecord], object]


@dataclass(frozen=True)
class Failure:
    """A clip or frame that came out badly, with its value; `link` leads to its picture where there is one."""

    text: str
    value: str
    link: str = ""


@dataclass(frozen=True)
class Portrait:
    """What one model fails on."""

    model: str
    clips: Sequence[Failure]
    frames: Sequence[Failure]
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Slice:
    """Samples that have something in common: how many, and each model's score on them, with its interval."""

    name: str
    n: int
    scores: Sequence[str]


@dataclass(frozen=True)
class Atlas:
    """The failures of all models on one data set by one metric."""

    label: str
    metric: str
    models: Sequence[str]
    portraits: Sequence[Portrait]
    slices: Sequence[Slice] = field(default_factory=tuple)


def atlas(owner: Group, galleries: Sequence[Gallery] = ()) -> Atlas | None:
    """Return the atlas of a group by its first metric of single samples; None where no record has rows of one."""
    records = [r for r in owner.records if r.samples and competes(r)]
    name = quality_metric(records)
    if name is None:
        return None
    records = [r for r in records if sample_scores(r, name)]
    kept = merged(owner, galleries)
    portraits = [_portrait(owner.label, r, name, kept, min(TILES, ALL_TILES // len(records))) for r in records]
    slices = _slices(records, name)
    return Atlas(owner.label, METRICS[name].title, [r.model.name for r in records], portraits, slices)


def _portrait(label: str, record: RunRecord, name: str, galleries: Sequence[Gallery], most: int) -> Portrait:
    mine = [g for g in galleries if record in own_records(Group(label, [record]), g)]
    shown = {clip.id for g in mine for clip in g.clips if record.model.name in clip.recons}
    link = {s: f"#clips?{urlencode({'data': label, 'sample': s, 'model': record.model.name})}" for s in shown}
    scores = sample_scores(record, name)
    clips = [Failure(s, written(name, scores[s]), link.get(s, "")) for s in worst_first(record, name)[:WORST]]
    frames = [Failure(f"{s}, frame {k}", written(name, v), link.get(s, "")) for v, s, k in _worst_frames(record, name)]
    tiles = worst_tiles([(g, clip) for g in mine for clip in g.clips], record.model.name, most)
    return Portrait(record.model.name, clips, frames, tiles)


def _worst_frames(record: RunRecord, name: str) -> list[tuple[float, str, int]]:
    """Return value, sample and number of the worst frames of clips, at most one a clip."""
    metric = METRICS[name]
    worst = min if metric.better == "higher" else max
    rows = [(s.id, list(s.by_frame(metric.probe))) for s in record.samples if s.frames > 1]
    found = [(worst(row), sample, row.index(worst(row))) for sample, row in rows if row]
    return sorted(found, key=lambda each: each[0], reverse=metric.better == "lower")[:WORST]


def _slices(records: Sequence[RunRecord], name: str) -> list[Slice]:
    """Return the slices that hold some of the samples, and not all, below a line of all."""
    samples = list({s.id: s for r in records for s in r.samples}.values())
    found = {what: {s.id for s in samples if has(s)} for what, has in _kinds(samples).items()}
    parts = {what: ids for what, ids in found.items() if 0 < len(ids) < len(samples)}
    if not parts:
        return []
    scores = [sample_scores(r, name) for r in records]
    return [
        Slice(what, len(ids), [_score([v for s, v in each.items() if s in ids], name) for each in scores])
        for what, ids in {"all": {s.id for s in samples}, **parts}.items()
    ]


def _kinds(samples: Sequence[SampleRecord]) -> dict[str, Facts]:
    """Return what may be said of a sample; thirds are of those that have the fact."""
    kinds: dict[str, Facts] = {
        "images": lambda s: s.frames == 1,
        "clips": lambda s: s.frames > 1,
        "dark": lambda s: (luma := _scene(s, "luma")) is not None and luma < DARK,
        "portrait": lambda s: (size := s.facts.get("source")) and size[-2] > size[-1],
        "with text": lambda s: "text" in s.rows,
    }
    for fact, what in (("ti", "motion (TI"), ("si", "detail (SI")):
        values = sorted(v for s in samples if (v := _scene(s, fact)) is not None)
        if len(values) >= FEWEST:
            low, high = values[len(values) // 3], values[-(len(values) // 3) - 1]
            kinds[f"little {what} ≤ {low:g})"] = _within(fact, -np.inf, low)
            kinds[f"much {what} ≥ {high:g})"] = _within(fact, high, np.inf)
    return kinds


def _within(fact: str, low: float, high: float) -> Facts:
    return lambda s: (value := _scene(s, fact)) is not None and low <= value <= high


def _scene(sample: SampleRecord, fact: str) -> float | None:
    told = sample.facts.get("scene")
    value = told.get(fact) if isinstance(told, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _score(values: Sequence[float], name: str) -> str:
    if not values:
        return "–"
    digits, bounds = METRICS[name].digits, student_mean(values)
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} [{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]" if bounds else mean
