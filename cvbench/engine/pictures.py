"""Pictures a run keeps for its report: which samples, which frames, and how they lie in the folder. No torch."""

import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, Shaped, UInt8
from PIL import Image, features

from cvbench.core.digest import digest
from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.core.records import RunRecord
from cvbench.core.types import Pixels
from cvbench.metrics import METRICS
from cvbench.store import atomic, file_name, write_text

SCHEMA = 1
BUDGET = 20_000_000
"""Bytes of all pictures of a run; base64 makes 27 MB of them, which keeps a report under 30 MB."""
FRAMES, LEAST_FRAMES, LEAST_SIDE = 9, 3, 64
SERIES = 150
"""Targets and reconstructions up to which every model is kept on every chosen sample."""
LATENT_SIDE = 96

Choice = Mapping[str, Sequence[str]]
"""Chosen sample ids, hardest first, each with the models whose reconstruction is kept."""
Picture = UInt8[np.ndarray, "_height _width 3"]


@dataclass(frozen=True)
class Shot:
    """One chosen sample: prepared target, and by model its reconstruction and the latents of this one sample.

    Latents are (c, t, h, w) numbers or (t, h, w) code indices; models whose latents are none of these have no preview.
    """

    id: str
    target: Pixels
    recons: Mapping[str, Pixels]
    latents: Mapping[str, Shaped[np.ndarray, "..."]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """The stored pictures of one sample: `frames` of its `total`, each side divided by `scale`; files lie in `folder`.

    `target` and each of `recons` have one file a frame shown; `latents` one strip a model.
    """

    id: str
    frames: Sequence[int]
    total: int
    height: int
    width: int
    scale: int
    target: Sequence[str]
    recons: Mapping[str, Sequence[str]]
    latents: Mapping[str, str]


@dataclass(frozen=True)
class Gallery:
    """What a run stored of one data set; `models` holds the digest of each model pictured."""

    data: str
    protocol: str
    key: str
    models: Mapping[str, str]
    clips: Sequence[Stored]
    folder: Path


def quality_metric(records: Sequence[RunRecord]) -> str | None:
    """Return the first metric of METRICS that judges single samples and that records have rows of; None without one."""
    present = {probe for r in records for s in r.samples[:1] for probe in s.rows}
    usable = (name for name, m in METRICS.items() if m.probe in present and not m.distance and m.ranked)
    return next(usable, None)


def sample_scores(record: RunRecord, metric: str) -> dict[str, float]:
    """Return the mean over frames of `metric` by sample id."""
    probe = METRICS[metric].probe
    return {s.id: sum(row) / len(row) for s in record.samples if (row := s.rows.get(probe))}


def worst_first(record: RunRecord, metric: str) -> list[str]:
    """Return the ids of a record's samples from worst to best by `metric`; equals stay in the order of the data set."""
    scores = sample_scores(record, metric)
    sign = 1 if METRICS[metric].better == "higher" else -1
    return sorted(scores, key=lambda name: sign * scores[name])


def choose(records: Sequence[RunRecord], n: int) -> dict[str, tuple[str, ...]]:
    """Choose at most `n` samples of one data set: which are pictured, hardest first, and for which models.

    First the worst, median and best by mean rank over the models, then each model's own worst, median and best, then
    samples spread evenly between. All models are kept on all of them while that makes at most SERIES series; beyond,
    on those chosen for one model alone, that model only. References (the identity) are not pictured beside others, and
    models that score all samples alike have no say. Raises UsageError when the records are of several data sets.
    """
    if len({r.data.name for r in records}) > 1:
        raise UsageError("pictures are chosen for one data set at a time; pass the records of one")
    metric = quality_metric(records)
    scored = [r for r in records if r.samples and not r.error]
    usable = [r for r in scored if r.model.role != "reference"] or scored
    if metric is None or not usable or n < 1:
        return {}
    orders = {r.model.name: worst_first(r, metric) for r in usable if len(set(sample_scores(r, metric).values())) > 1}
    ranking = _mean_ranking(usable, orders)
    own = {name: _landmarks(order) for name, order in orders.items()}
    by_turns = [own[name][turn] for turn in range(3) for name in own]
    spread = [ranking[i] for i in evenly(len(ranking), n)]
    chosen = set(list(dict.fromkeys([*_landmarks(ranking), *by_turns, *spread, *ranking]))[:n])
    return {s: _kept(s, usable, own, ranking, len(chosen)) for s in ranking if s in chosen}


def _kept(
    sample: str,
    records: Sequence[RunRecord],
    own: Mapping[str, Sequence[str]],
    ranking: Sequence[str],
    chosen: int,
) -> tuple[str, ...]:
    """Return the models whose reconstruction of a chosen sample is kept, of those that it did not fail on."""
    names = tuple(r.model.name for r in records if any(s.id == sample for s in r.samples))
    owners = tuple(name for name in names if sample in own.get(name, ()))
    everybody = chosen * (1 + len(records)) <= SERIES or sample in _landmarks(ranking) or not owners
    return names if everybody else owners


def _mean_ranking(records: Sequence[RunRecord], orders: Mapping[str, Sequence[str]]) -> list[str]:
    """Rank all samples from hardest to easiest by their mean relative rank over the models."""
    places: dict[str, list[float]] = {s.id: [] for r in records for s in r.samples}
    for order in orders.values():
        for place, name in enumerate(order):
            places[name].append(place / len(order))
    return sorted(places, key=lambda name: np.mean(places[name]) if places[name] else 1.0)


def _landmarks(order: Sequence[str]) -> tuple[str, str, str]:
    """Return worst, median and best."""
    return order[0], order[(len(order) - 1) // 2], order[-1]


def evenly(total: int, count: int) -> list[int]:
    """Return at most `count` different indices below `total`, first and last included, evenly spaced."""
    return sorted({round(i) for i in np.linspace(0, total - 1, max(1, min(total, count))).tolist()})


def latent_preview(latents: Num[np.ndarray, "..."]) -> Pixels:
    """Show latents as colours, (c, t, h, w) to (3, t, h, w): the three main axes of their channels as red, green, blue.

    Each axis spans its 1st to 99th percentile; the channel that weighs most on it counts positive, so equal latents
    give equal pictures. Code indices (t, h, w) get one colour a code. Raises UnsuitableInput for other shapes.
    """
    if latents.ndim == 3 and latents.dtype.kind in "iu":
        return _code_colours(latents)
    if latents.ndim != 4 or latents.dtype.kind not in "fiu":
        raise UnsuitableInput(f"no preview of latents {latents.shape}; give (c, t, h, w) or code indices (t, h, w)")
    channels = np.nan_to_num(latents.reshape(len(latents), -1).astype(np.float64))
    channels -= channels.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(channels @ channels.T)
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(axes.shape[1])])
    low, high = np.percentile(axes.T @ channels, (1, 99), axis=1)[:, :, None]
    span = np.where(high - low > 1e-9 * (high - low).max(), high - low, np.inf)  # an axis of rounding errors stays dark
    levels = np.clip((axes.T @ channels - low) / span, 0, 1) * 255
    rows = np.round(levels).astype(np.uint8).reshape(-1, *latents.shape[1:])
    return rows[[0, 0, 0]] if len(rows) == 1 else np.concatenate([rows, np.full_like(rows[:1], 128)])[:3]


def _code_colours(codes: Num[np.ndarray, "t h w"]) -> Pixels:
    """Scatter code indices over the colours by Knuth's multiplicative hash."""
    hashed = codes.astype(np.uint64) * np.uint64(2_654_435_761)
    return np.stack([(hashed >> np.uint64(shift)) & np.uint64(255) for shift in (8, 16, 24)]).astype(np.uint8)


def stored(folder: Path, records: Sequence[RunRecord], choice: Choice, budget: int = BUDGET) -> bool:
    """Tell whether the pictures that `save` would write are all there, so that a finished run does no work again."""
    try:
        return any(gallery.key == _key(records, choice, budget) for gallery in read(folder / "pictures"))
    except UsageError:
        return False


def save(
    folder: Path, records: Sequence[RunRecord], choice: Choice, shots: Iterable[Shot], budget: int = BUDGET
) -> Path:
    """Write pictures of `shots` into `folder`/pictures, lossless WebP (PNG without it); return the index, written last.

    Of each clip up to FRAMES frames, evenly spaced, fewer where `budget` bytes would be exceeded; where not even
    LEAST_FRAMES fit, pictures are averaged down by 2, 4, ... first. What an earlier choice stored is removed.
    """
    data, protocol, key = records[0].data.name, records[0].protocol.name, _key(records, choice, budget)
    name = file_name(data, protocol)
    home = folder / "pictures" / name / key[:12]
    left, series = budget, sum(1 + len(models) for models in choice.values())
    clips = []
    for number, shot in enumerate(shots):
        own = 1 + len(shot.recons)
        clip, size = _save_shot(home, f"{number:03}", shot, left * own // max(series, own))
        clips.append(asdict(clip))
        left, series = left - size, series - own
    index = {
        "schema": SCHEMA, "data": data, "protocol": protocol, "key": key, "folder": f"{name}/{key[:12]}",
        "models": {r.model.name: r.model.digest for r in records}, "clips": clips,
    }  # fmt: skip
    path = folder / "pictures" / f"{name}.json"
    write_text(path, json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _remove_others(home)
    return path


def _remove_others(home: Path) -> None:
    """Remove what earlier choices stored beside `home`."""
    for old in home.parent.iterdir() if home.parent.is_dir() else ():
        if old != home:
            shutil.rmtree(old, ignore_errors=True)


def _key(records: Sequence[RunRecord], choice: Choice, budget: int) -> str:
    """Digest of all that decides the stored pictures."""
    made = [[r.model.name, r.model.digest, r.data.manifest, r.protocol.as_dict()] for r in records]
    return digest([SCHEMA, budget, made, {k: list(v) for k, v in choice.items()}])


def _save_shot(home: Path, number: str, shot: Shot, share: int) -> tuple[Stored, int]:
    """Write one sample within `share` bytes; return its entry and the bytes it took."""
    videos = {"": shot.target, **shot.recons}
    _, total, height, width = shot.target.shape
    scale, count = _fit(list(videos.values()), share)
    frames = evenly(total, count)
    spent, files = 0, {}
    for place, (model, video) in enumerate(videos.items()):
        stem = f"{number}-{place:02}-{file_name(model or 'target')}"
        shown = [shrink(video[:, i], scale) for i in frames]
        written = [_write(home / f"{stem}-{i:04}", picture) for i, picture in zip(frames, shown, strict=True)]
        files[model] = [path.name for path, _ in written]
        spent += sum(size for _, size in written)
    latents = {}
    for place, (model, values) in enumerate(shot.latents.items()):
        with suppress(UnsuitableInput):  # a preview is no result: without one the sample still stands
            strip = _strip(latent_preview(values))
            path, size = _write(home / f"{number}-{place:02}-{file_name(model)}-latents", strip)
            latents[model], spent = path.name, spent + size
    target = files.pop("")
    return Stored(shot.id, frames, total, height, width, scale, target, files, latents), spent


def _fit(videos: Sequence[Pixels], share: int) -> tuple[int, int]:
    """Return the scale and the number of frames whose pictures fit into `share`, judged by the middle frames."""
    _, total, height, width = videos[0].shape
    scale = 1
    while True:
        cost = sum(len(encode(shrink(video[:, total // 2], scale))[0]) for video in videos)
        count = min(FRAMES, total, share // cost)
        if count >= min(LEAST_FRAMES, total) or min(height, width) < 2 * scale * LEAST_SIDE:
            return scale, max(1, count)
        scale *= 2


def shrink(frame: UInt8[np.ndarray, "3 h w"], scale: int) -> Picture:
    """Average `scale` × `scale` pixels into one; what does not fill a block on the right and below is cut."""
    _, h, w = frame.shape
    whole = frame[:, : h - h % scale, : w - w % scale]
    blocks = whole.reshape(3, h // scale, scale, w // scale, scale).mean((2, 4)) if scale > 1 else whole
    return np.ascontiguousarray(np.round(blocks).astype(np.uint8).transpose(1, 2, 0))


def _strip(preview: Pixels) -> Picture:
    """Lay up to FRAMES latent frames side by side."""
    _, total, height, width = preview.shape
    scale = max(1, -(-max(height, width) // LATENT_SIDE))
    scale = min(scale, height, width)
    return np.concatenate([shrink(preview[:, i], scale) for i in evenly(total, FRAMES)], axis=1)


def encode(picture: Picture) -> tuple[bytes, str]:
    """Return a picture as lossless WebP, or PNG where that is missing or cannot hold the size, and the suffix."""
    webp = features.check("webp") and max(picture.shape) < 16384
    out = io.BytesIO()
    image = Image.fromarray(picture)
    if webp:
        image.save(out, "WEBP", lossless=True, method=2, quality=50)  # 8 % larger than the slowest, 15 times faster
    else:
        image.save(out, "PNG", optimize=True)
    return out.getvalue(), ".webp" if webp else ".png"


def _write(path: Path, picture: Picture) -> tuple[Path, int]:
    """Write a picture, its suffix added; return where it lies and its bytes."""
    content, suffix = encode(picture)
    path = path.with_name(path.name + suffix)
    with atomic(path) as file:
        file.write(content)
    return path, len(content)


def read(folder: Path) -> list[Gallery]:
    """Read every index in a `pictures` folder, sorted by name; none when there is no such folder.

    Raises UsageError for an index that is damaged or of another schema, and for files that are missing or lie
    outside the folder.
    """
    return [_read_index(path) for path in sorted(folder.glob("*.json"))]


def _read_index(path: Path) -> Gallery:
    again = "run with --pictures again"
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["schema"] != SCHEMA:
            raise UsageError(f"{path}: schema {raw['schema']}, this cvbench reads schema {SCHEMA}; {again}")
        clips = [Stored(**clip) for clip in raw["clips"]]
        home = path.parent / raw["folder"]
        wrong = [name for clip in clips for name in _files(clip) if not _inside(path.parent, home / name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no index of pictures: {error!r}; {again}") from error
    if wrong:
        raise UsageError(f"{path} names {wrong[0]!r}, which is not in that folder; {again}")
    return Gallery(raw["data"], raw["protocol"], raw["key"], raw["models"], clips, home)


def _files(clip: Stored) -> list[str]:
    return [*clip.target, *clip.latents.values(), *(name for files in clip.recons.values() for name in files)]


def _inside(root: Path, path: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(root.resolve())
