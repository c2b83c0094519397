"""The pictured samples of a report: stored pictures joined with the scores of what they show."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cvbench.core.records import RunRecord
from cvbench.engine.pictures import Gallery, Stored, quality_metric, sample_scores, worst_first
from cvbench.metrics import METRICS
from cvbench.report.content import Group

EMBEDDED = 21_000_000
"""Bytes of pictures beyond which a report leaves samples out: base64 makes 28 MB of them."""


@dataclass
class Pictured:
    """The pictured samples of one data set, ready for JSON, and what had to be left out and why."""

    label: str
    clips: list[dict[str, Any]] = field(default_factory=list)
    cards: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pictured(groups: Sequence[Group], galleries: Sequence[Gallery]) -> list[Pictured]:
    """Join stored pictures with the records they belong to, within EMBEDDED bytes in all."""
    found, left = [], EMBEDDED
    for gallery in galleries:
        for owner in groups:
            if (owner.data, owner.protocol) == (gallery.data, gallery.protocol):
                kept, left = _within(gallery, left)
                found.append(_join(owner, gallery, kept))
    return found


def own_records(owner: Group, gallery: Gallery) -> list[RunRecord]:
    """Return the records of the very models that were pictured."""
    return [r for r in owner.records if gallery.models.get(r.model.name) == r.model.digest]


def _join(owner: Group, gallery: Gallery, kept: Sequence[Stored]) -> Pictured:
    records = own_records(owner, gallery)
    other = [r.model.name for r in owner.records if r not in records and r.model.name in gallery.models]
    notes = []
    if other:
        notes.append(
            f"{gallery.data}: pictures of {', '.join(other)} are of other weights or versions and are left out"
        )
    if len(kept) < len(gallery.clips):
        lost = f"{len(gallery.clips) - len(kept)} of {len(gallery.clips)}"
        notes.append(f"{gallery.data}: {lost} pictured samples are left out to keep this file below 30 MB")
    return Pictured(owner.label, [_clip(gallery, clip, records) for clip in kept], cards(kept, records), notes)


def _within(gallery: Gallery, left: int) -> tuple[list[Stored], int]:
    """Return the clips whose pictures fit into `left` bytes, and what is left then."""
    kept: list[Stored] = []
    for clip in gallery.clips:
        names = [*clip.target, *clip.latents.values(), *(n for files in clip.recons.values() for n in files)]
        left -= sum((gallery.folder / name).stat().st_size for name in names)
        if left < 0:
            return kept, 0
        kept.append(clip)
    return kept, left


def data_uri(gallery: Gallery, name: str) -> str:
    """Return a picture as a URI that needs no file."""
    kind = "png" if name.endswith(".png") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode((gallery.folder / name).read_bytes()).decode()}"


def _clip(gallery: Gallery, clip: Stored, records: Sequence[RunRecord]) -> dict[str, Any]:
    """Return a sample with its pictures; models in a list, as a name may be any text, `__proto__` too."""
    models = [
        {
            "name": r.model.name,
            "pictures": [data_uri(gallery, name) for name in clip.recons[r.model.name]],
            "latents": data_uri(gallery, clip.latents[r.model.name]) if r.model.name in clip.latents else None,
            "scores": frame_scores(r, clip),
        }
        for r in records
        if r.model.name in clip.recons
    ]
    target = [data_uri(gallery, name) for name in clip.target]
    facts = {key: getattr(clip, key) for key in ("id", "frames", "total", "height", "width", "scale")}
    return {**facts, "target": target, "models": models}


def frame_scores(record: RunRecord, clip: Stored) -> list[str]:
    """Return for each frame shown its scores as one line."""
    rows = next((s.rows for s in record.samples if s.id == clip.id), {})
    of = {m: rows.get(METRICS[m].probe, ()) for m in METRICS if METRICS[m].ranked and not METRICS[m].distance}
    per_frame = {m: row for m, row in of.items() if len(row) == clip.total}
    return [" · ".join(f"{METRICS[m].label} {written(m, row[f])}" for m, row in per_frame.items()) for f in clip.frames]


def written(metric: str, value: float) -> str:
    """Return a value with the metric's digits and unit."""
    return f"{value:.{METRICS[metric].digits}f} {METRICS[metric].unit}".strip()


def cards(clips: Sequence[Stored], records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return for each model the worst and the median of its pictured samples, with their true place among all."""
    metric = quality_metric(records)
    return [card for r in records for card in _model_cards(clips, r, metric)] if metric else []


def _model_cards(clips: Sequence[Stored], record: RunRecord, metric: str) -> list[dict[str, Any]]:
    order, scores = worst_first(record, metric), sample_scores(record, metric)
    here = {clip.id: i for i, clip in enumerate(clips) if record.model.name in clip.recons and clip.id in scores}
    if not here:
        return []
    places = {name: place for place, name in enumerate(order) if name in here}
    middle = (len(order) - 1) // 2
    goals = {"worst": 0, "median": middle}
    picked = {kind: min(places, key=lambda name: abs(places[name] - goal)) for kind, goal in goals.items()}
    return [
        {
            "model": record.model.name,
            "kind": kind if places[name] == goals[kind] else f"nearest to the {kind}",
            "clip": here[name],
            "id": name,
            "score": f"{METRICS[metric].label} {written(metric, scores[name])}",
            "place": f"{places[name] + 1} of {len(order)} from the worst",
        }
        for kind, name in picked.items()
    ]
