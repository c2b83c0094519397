"""The pictured samples of a report: stored pictures joined with the scores of what they show."""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from cvbench.core.records import RunRecord
from cvbench.engine.pictures import Gallery, Stored, files_of, quality_metric, sample_scores, worst_first
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
    for owner in groups:
        for gallery in merged(owner, galleries):
            kept, left = _within(gallery, left)
            found.append(_join(owner, gallery, kept))
    return found


def merged(owner: Group, galleries: Sequence[Gallery]) -> list[Gallery]:
    """Return the pictures of a group's models as one gallery, whatever runs kept them; none where there are none.

    Models are shown together where the sample is the same: same target, size and some of the same frames. Runs that
    have a model of one name with different weights each get a gallery of their own.
    """
    kept: list[list[Gallery]] = []
    for gallery in (_of_records(owner, gallery) for gallery in _of_group(owner, galleries)):
        place = next((others for others in kept if all(_agree(other, gallery) for other in others)), None)
        if place is None:
            kept.append(place := [])
        place.append(gallery)
    return [_as_one(group) for group in kept if any(gallery.clips for gallery in group)]


def _agree(a: Gallery, b: Gallery) -> bool:
    """Tell whether no model of both has other weights in one than in the other."""
    return all(a.models[name] == found for name, found in b.models.items() if name in a.models)


def _as_one(galleries: Sequence[Gallery]) -> Gallery:
    models = {name: found for gallery in galleries for name, found in gallery.models.items()}
    return replace(galleries[0], models=models, clips=_together([c for gallery in galleries for c in gallery.clips]))


def _of_group(owner: Group, galleries: Sequence[Gallery]) -> list[Gallery]:
    return [g for g in galleries if (g.data, g.protocol) == (owner.data, owner.protocol)]


def _of_records(owner: Group, gallery: Gallery) -> Gallery:
    """Return a gallery without the models that its records show to be others now, every file by its whole path."""
    held = {(r.model.name, r.model.digest) for r in owner.records}
    others = {name for name, _ in held} - {name for name, found in gallery.models.items() if (name, found) in held}
    models = {name: found for name, found in gallery.models.items() if name not in others}
    clips = [_placed(clip, gallery.folder.absolute(), others) for clip in gallery.clips]
    return replace(gallery, models=models, clips=[clip for clip in clips if clip.recons])


def _placed(clip: Stored, folder: Path, without: Collection[str]) -> Stored:
    recons = {m: [str(folder / name) for name in files] for m, files in clip.recons.items() if m not in without}
    latents = {m: str(folder / name) for m, name in clip.latents.items() if m in recons}
    return replace(clip, target=[str(folder / name) for name in clip.target], recons=recons, latents=latents)


def _together(clips: Sequence[Stored]) -> list[Stored]:
    """Join the series of each sample, in the order in which samples first appear."""
    found: list[Stored] = []
    for clip in clips:
        place = next((i for i, other in enumerate(found) if _same(other, clip)), None)
        if place is None:
            found.append(clip)
        else:
            found[place] = _joined(found[place], clip)
    return found


def _same(a: Stored, b: Stored) -> bool:
    """Tell whether two entries show the same pixels of the same sample."""
    if (a.id, a.total, a.height, a.width, a.scale) != (b.id, b.total, b.height, b.width, b.scale):
        return False
    common = sorted(set(a.frames) & set(b.frames))
    return bool(common) and _same_picture(*(clip.target[list(clip.frames).index(common[0])] for clip in (a, b)))


def _same_picture(a: str, b: str) -> bool:
    if Path(a).read_bytes() == Path(b).read_bytes():
        return True
    try:
        with Image.open(a) as first, Image.open(b) as second:  # the same pixels, written by another version
            return first.size == second.size and first.convert("RGB").tobytes() == second.convert("RGB").tobytes()
    except (OSError, ValueError, SyntaxError):  # a damaged picture is like no other
        return False


def _joined(a: Stored, b: Stored) -> Stored:
    """Return all models of both on the frames that both show; of a model that both have, the first's."""
    frames = sorted(set(a.frames) & set(b.frames))

    def on_frames(clip: Stored, files: Sequence[str]) -> list[str]:
        return [files[list(clip.frames).index(frame)] for frame in frames]

    recons = {name: on_frames(clip, files) for clip in (b, a) for name, files in clip.recons.items()}
    ordered = {name: recons[name] for name in dict.fromkeys([*a.recons, *b.recons])}
    return replace(a, frames=frames, target=on_frames(a, a.target), recons=ordered, latents={**b.latents, **a.latents})


def unlike(owner: Group, galleries: Sequence[Gallery]) -> list[str]:
    """Say of which models there are only pictures of other weights."""
    own = _of_group(owner, galleries)
    names = list(dict.fromkeys(r.model.name for r in owner.records))
    pictured_ones = {r.model.name for r in owner.records for g in own if g.models.get(r.model.name) == r.model.digest}
    other = [name for name in names if name not in pictured_ones and any(name in g.models for g in own)]
    text = f"{owner.data}: pictures of {', '.join(other)} are of other weights or versions and are left out"
    return [text] if other else []


def own_records(owner: Group, gallery: Gallery) -> list[RunRecord]:
    """Return the records of the very models that were pictured."""
    return [r for r in owner.records if gallery.models.get(r.model.name) == r.model.digest]


def _join(owner: Group, gallery: Gallery, kept: Sequence[Stored]) -> Pictured:
    records = own_records(owner, gallery)
    notes = []
    if len(kept) < len(gallery.clips):
        lost = f"{len(gallery.clips) - len(kept)} of {len(gallery.clips)}"
        notes.append(f"{gallery.data}: {lost} pictured samples are left out to keep this file below 30 MB")
    return Pictured(owner.label, [_clip(gallery, clip, records) for clip in kept], cards(kept, records), notes)


def _within(gallery: Gallery, left: int) -> tuple[list[Stored], int]:
    """Return the clips whose pictures fit into `left` bytes, and what is left then."""
    kept: list[Stored] = []
    for clip in gallery.clips:
        left -= sum((gallery.folder / name).stat().st_size for name in files_of(clip))
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
    return {**facts, "target": target, "models": models, "sides": sides(records)}


def sides(records: Sequence[RunRecord]) -> list[str]:
    """Return what pictures are held against, and what they are: of a generator's samples its own VAE's come first."""
    return (
        ["the generator's own VAE", "decoded"] if any(r.generation for r in records) else ["target", "reconstruction"]
    )


def frame_scores(record: RunRecord, clip: Stored) -> list[str]:
    """Return for each frame shown its scores as one line."""
    sample = next((s for s in record.samples if s.id == clip.id and s.frames == clip.total), None)
    ranked = [m for m in METRICS if METRICS[m].ranked and not METRICS[m].distance]
    per_frame = {m: row for m in ranked if sample and (row := sample.by_frame(METRICS[m].probe))}
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
