"""Pictures a run keeps for its report: which samples, which frames, and how they lie in the folder. No torch."""

import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, Shaped, UInt8
from PIL import Image, features

from cvbench.core.digest import digest
from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.core.records import RunRecord
from cvbench.core.text import legible, visible
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
    """What a run stored of one data set; `models` holds the digest of each of its models."""

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
    tried = map(_try, _indices(folder / "pictures"))
    return _key(records, choice, budget) in (gallery.key for gallery, problem in tried if gallery and not problem)


def save(
    folder: Path, records: Sequence[RunRecord], choice: Choice, shots: Iterable[Shot], budget: int = BUDGET
) -> Path:
    """Write pictures of `shots` into `folder`/pictures, lossless WebP (PNG without it); return the index, written last.

    Of each clip up to FRAMES frames, evenly spaced, fewer where `budget` bytes would be exceeded; where not even
    LEAST_FRAMES fit, pictures are averaged down by 2, 4, ... first.

    Every set of models has its own index and folder, so that runs of other models into one folder, also at the same
    time, leave each other's pictures alone. What an earlier choice of the same models stored is removed.
    """
    data, protocol, key = records[0].data.name, records[0].protocol.name, _key(records, choice, budget)
    models = {r.model.name: r.model.digest for r in records}
    name = file_name(visible(data), visible(protocol), digest(legible(sorted(models)))[:12])
    home = folder / "pictures" / name / key[:12]
    left, series = budget, sum(1 + len(kept) for kept in choice.values())
    clips = []
    for number, shot in enumerate(shots):
        own = 1 + len(shot.recons)
        clip, size = _save_shot(home, f"{number:03}", shot, left * own // max(series, own))
        clips.append(asdict(clip))
        left, series = left - size, series - own
    index = {
        "schema": SCHEMA, "data": data, "protocol": protocol, "key": key, "folder": f"{name}/{key[:12]}",
        "models": models, "clips": clips,
    }  # fmt: skip
    path = folder / "pictures" / f"{name}.json"
    before = _places(path.parent, data, protocol, set(models))
    write_text(path, json.dumps(index, indent=1, allow_nan=False) + "\n")
    _remove(path, home, before)
    return path


def _places(root: Path, data: str, protocol: str, models: set[str]) -> dict[Path, str]:
    """Return by index the folders of what was stored for the very same models, wherever its index lies."""
    galleries = {path: gallery for path in _indices(root) if (gallery := _try(path)[0])}
    same = {p: g for p, g in galleries.items() if (g.data, g.protocol, set(g.models)) == (data, protocol, models)}
    return {path: gallery.folder.relative_to(root).as_posix() for path, gallery in same.items()}


def _remove(new: Path, kept: Path, before: Mapping[Path, str]) -> None:
    """Remove what the index `new` of the folder `kept` has replaced, unless another index names it."""
    for path in before:
        if path != new:
            path.unlink(missing_ok=True)
    named = {gallery.folder.resolve() for path in _indices(new.parent) if (gallery := _try(path)[0])}
    named.add(kept.resolve())
    for place in before.values():
        home = new.parent / place
        if home.resolve() not in named:
            shutil.rmtree(home, ignore_errors=True)
            with suppress(OSError):  # not empty: others' pictures lie beside it
                home.parent.rmdir()


def _key(records: Sequence[RunRecord], choice: Choice, budget: int) -> str:
    """Digest of all that decides the stored pictures."""
    made = [[r.model.name, r.model.digest, r.data.manifest, r.protocol.as_dict()] for r in records]
    return digest(legible([SCHEMA, budget, made, choice]))


def _save_shot(home: Path, number: str, shot: Shot, share: int) -> tuple[Stored, int]:
    """Write one sample within `share` bytes; return its entry and the bytes it took."""
    videos = {"": shot.target, **shot.recons}
    _, total, height, width = shot.target.shape
    scale, count = _fit(list(videos.values()), share)
    frames = evenly(total, count)
    spent, files = 0, {}
    for place, (model, video) in enumerate(videos.items()):
        stem = f"{number}-{place:02}-{file_name(visible(model or 'target'))}"
        shown = [shrink(video[:, i], scale) for i in frames]
        written = [_write(home / f"{stem}-{i:04}", picture) for i, picture in zip(frames, shown, strict=True)]
        files[model] = [path.name for path, _ in written]
        spent += sum(size for _, size in written)
    latents = {}
    for place, (model, values) in enumerate(shot.latents.items()):
        with suppress(UnsuitableInput):  # a preview is no result: without one the sample still stands
            strip = _strip(latent_preview(values))
            path, size = _write(home / f"{number}-{place:02}-{file_name(visible(model))}-latents", strip)
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
        # A sixth larger than the slowest, 150 times faster.
        image.save(out, "WEBP", lossless=True, method=0, quality=20)
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
    galleries, problems = read_all(folder)
    if problems:
        raise UsageError(problems[0])
    return galleries


def read_all(*folders: Path) -> tuple[list[Gallery], list[str]]:
    """Read what can be read of `pictures` folders, and say of each index what cannot, naming the file."""
    tried = [_try(path) for folder in folders for path in _indices(folder)]
    return [gallery for gallery, _ in tried if gallery], [problem for _, problem in tried if problem]


def _indices(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


AGAIN = "run with --pictures again"


def _try(path: Path) -> tuple[Gallery | None, str]:
    """Read an index; return what of it can be shown, and what is wrong with it."""
    try:
        gallery = _read_index(path)
    except UsageError as error:
        return None, str(error)
    faults = [(clip.id, fault) for clip in gallery.clips if (fault := _fault(clip, gallery.folder, path.parent))]
    if not faults:
        return gallery, ""
    kept = [clip for clip in gallery.clips if clip.id not in dict(faults)]
    return (replace(gallery, clips=kept) if kept else None), f"{path} {faults[0][1]}; {AGAIN}"


def _read_index(path: Path) -> Gallery:
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["schema"] != SCHEMA:
            raise UsageError(f"{path}: schema {str(raw['schema'])[:20]}, this cvbench reads schema {SCHEMA}; {AGAIN}")
        texts = [raw[key] for key in ("data", "protocol", "key", "folder")]
        _expect(all(isinstance(text, str) for text in texts), "data, protocol, key or folder is no text")
        _expect(_of_texts(raw["models"]), "models are no digests by name")
        clips = [_stored(clip) for clip in raw["clips"]]
        home = path.parent / raw["folder"]
        _expect(home.resolve().parent.is_relative_to(path.parent.resolve()), f"{raw['folder']!r} lies elsewhere")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is no index of pictures: {str(error)[:200]!r}; {AGAIN}") from error
    return Gallery(raw["data"], raw["protocol"], raw["key"], raw["models"], clips, home)


def _stored(raw: Any) -> Stored:
    """Return the entry of a sample. Raises ValueError or TypeError for one that no run wrote."""
    clip = Stored(**raw)
    sizes = (clip.total, clip.height, clip.width, clip.scale)
    _expect(isinstance(clip.id, str), f"id {clip.id!r} is no text")
    _expect(all(type(size) is int and size > 0 for size in sizes), f"{clip.id}: total, height, width or scale")
    _expect(_are_frames(clip.frames, clip.total), f"{clip.id}: frames {clip.frames!r}")
    _expect(isinstance(clip.recons, dict) and _of_texts(clip.latents), f"{clip.id}: recons or latents")
    _expect(all(_are_texts(files) for files in (clip.target, *clip.recons.values())), f"{clip.id}: files")
    return clip


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _are_frames(value: object, total: int) -> bool:
    """Tell whether these are indices of frames, ascending."""
    if not isinstance(value, list) or not all(type(frame) is int and 0 <= frame < total for frame in value):
        return False
    return bool(value) and value == sorted(set(value))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def files_of(clip: Stored) -> list[str]:
    """Return the names of all pictures of a sample."""
    return [*clip.target, *clip.latents.values(), *(name for files in clip.recons.values() for name in files)]


def _fault(clip: Stored, home: Path, root: Path) -> str:
    """Say what keeps a sample from being shown: a file that is no picture inside `root`, or not one a frame."""
    for name in files_of(clip):
        if not _is_picture(root, home / name):
            return f"names {name!r}, a picture which is not in that folder"
    uneven = any(len(files) != len(clip.frames) for files in (clip.target, *clip.recons.values()))
    return f"has not one picture a frame of {clip.id}" if uneven else ""


def _is_picture(root: Path, path: Path) -> bool:
    try:
        if not (path.is_file() and path.resolve().is_relative_to(root.resolve())):
            return False
        with path.open("rb") as file:
            begin = file.read(12)
    except (OSError, ValueError):
        return False
    return begin.startswith(b"\x89PNG\r\n") or (begin[:4], begin[8:]) == (b"RIFF", b"WEBP")
