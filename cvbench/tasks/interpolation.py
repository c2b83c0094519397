"""Interpolating files: a clip of n frames becomes one of 1 + (n - 1) · factor, its own frames kept bit for bit.

A clip in a file becomes FFV1 in Matroska (NAME.mkv: lossless RGB, frame rate times `factor`, evenly spaced, silent); a
folder of numbered frames becomes a folder of PNG. Clips are read and written frame by frame: memory holds one pair of
frames and what lies between them, however long the clip (of GIFs and other animated pictures all frames).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import torch
from filelock import FileLock
from PIL import Image

from cvbench import models
from cvbench.core.digest import digest
from cvbench.core.errors import BadWeights, UnreadableSample, UnsuitableInput, UsageError
from cvbench.core.text import visible
from cvbench.core.types import Sampling
from cvbench.data.files import refuse, refusing
from cvbench.data.folder import IMAGES, in_order, is_media, is_numbered, natural, relative, walk
from cvbench.data.images import Picture, is_animated, open_image, read_animation, read_image
from cvbench.data.video import describe, frames_of, opened, to_rgb, turned
from cvbench.engine.coding import describe as in_one_line
from cvbench.engine.device import pick_device
from cvbench.engine.loop import Progress, silent
from cvbench.engine.ranks import current
from cvbench.engine.shares import Ended, Message, Sampled
from cvbench.models.entry import Loading
from cvbench.models.interp import Between, Frames, Interpolator
from cvbench.models.interp_entries import FACTOR, at_factor
from cvbench.store import atomic, write_text
from cvbench.weights import fetch, file_digest, path_digest

FORMAT = 1
"""Of the outputs: raise it when the same clip, model and factor may give other files."""
MANIFEST = "interpolated.json"
ENDING = ".mkv"
LONGEST = 255
"""Bytes of a name that file systems take."""
FASTEST = 1000
"""Frames per second: Matroska counts in milliseconds."""
FFV1 = {"level": "3", "slices": "4", "slicecrc": "1"}
BYTE_EXACT = {"fflags": "+bitexact"}
"""Otherwise Matroska holds a random number and FFmpeg's version; equal clips give equal files."""


@dataclass(frozen=True)
class Clip:
    """What is to be interpolated: one file, or the frames of a numbered folder; `name` is the path below the source."""

    name: str
    paths: tuple[Path, ...]
    numbered: bool = False

    def target(self, out: Path) -> Path:
        """Return where the result goes."""
        if self.numbered:
            return out / self.name
        return (out / self.name).with_name(result_name(Path(self.name).stem))

    def fingerprint(self) -> str:
        """Return a digest of what is in the files."""
        return digest([_sha256(path) for path in self.paths]) if self.numbered else file_digest(self.paths[0])


def result_name(stem: str) -> str:
    """Return the name of a result, cut where file systems take none so long."""
    raw = os.fsencode(stem)
    if len(raw) + len(ENDING) <= LONGEST:
        return stem + ENDING
    return f"{raw[: LONGEST - 20].decode(errors='ignore')}-{digest(visible(stem))[:8]}{ENDING}"


@dataclass(frozen=True)
class Interpolated:
    """What became of a clip: frames read and written, or the error. `reused`: an earlier call had made the file."""

    source: str
    target: Path
    frames: tuple[int, int] = (0, 0)
    fps: float | None = None
    reused: bool = False
    error: str | None = None


def interpolate_path(
    source: Path,
    out: Path,
    factor: int = FACTOR,
    model: str = "rife",
    device: str = "auto",
    weights: Mapping[str, Path] | None = None,
    progress: Progress = silent,
) -> list[Interpolated]:
    """Interpolate a clip, a folder of numbered frames, or all clips in a folder and below, into the folder `out`.

    One result a clip, in natural order of names; a clip that fails gives an error and stops no other. What an earlier
    call made of the same content with the same model, weights and factor is not made again; files that no call made
    are never replaced. Of several processes each takes its share, and the first returns what all have made, the others
    and a share of `--shard` what they have made themselves.

    Raises UsageError for what makes no sense, UnknownName, MissingWeights, BadWeights.
    """
    clips = find_clips(source, out)
    check_targets(clips, source, out)
    engine = Engine(model, factor, pick_device(device), weights)
    make_folder(out)
    shared, ranks, manifest = SharedClips(clips, digest(engine.key), progress), current(), Manifest(out)
    places = ranks.begin(shared)
    for place, _ in ranks.claims(places):
        clip, inner = clips[place], progress if len(clips) == 1 else silent
        shared.results[clip.name] = interpolate_clip(clip, clip.target(out), engine, manifest, inner)
        shared.waiting()
    ranks.exchange(shared)
    return [shared.results[clip.name] for clip in clips if clip.name in shared.results]


@dataclass
class SharedClips:
    """What processes tell each other of the clips that they interpolate."""

    clips: Sequence[Clip]
    identity: str
    progress: Progress
    results: dict[str, Interpolated] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many clips there are."""
        return len(self.clips)

    @property
    def items(self) -> str:
        """A digest of the clips' names."""
        return digest([clip.name for clip in self.clips])

    def costs(self) -> list[int]:
        """Return the bytes of each clip."""
        return [sum(path.stat().st_size for path in clip.paths) for clip in self.clips]

    def messages(self, shared: bool) -> Iterator[Message]:
        """Yield what became of each clip."""
        for name, made in self.results.items():
            facts = {**asdict(made), "target": str(made.target)}
            yield Sampled(name, "", (0, 0, 0), facts, {})
        yield Ended(self.identity, self.items)

    def absorb(self, message: Message) -> None:
        """Take over what became of a clip."""
        if isinstance(message, Sampled):
            made = message.facts
            frames = (made["frames"][0], made["frames"][1])
            self.results[message.id] = Interpolated(**{**made, "target": Path(made["target"]), "frames": frames})

    def cache_root(self) -> None:
        """There is no store: results are files."""

    def closing(self) -> None:
        """Nothing is left beside the files."""

    def waiting(self) -> None:
        """Report how many clips all processes have finished."""
        self.progress("interpolated clips", current().advance(len(self.results)), len(self.clips))


def find_clips(source: Path, out: Path) -> list[Clip]:
    """Return the clips at `source`, those in `out` left out. Raises UsageError when there are none."""
    if source.is_file():
        return [Clip(source.name, (source,))]
    if not source.is_dir():
        raise UsageError(f"no file or folder {str(source)!r}; name a clip, a folder of clips, or a folder of frames")
    clips: list[Clip] = []
    for folder, files in walk(source):
        if folder == source or not folder.resolve().is_relative_to(out.resolve()):
            clips += _clips_in(folder, [path for path in files if is_media(path)], source)
    if not clips:
        raise UsageError(f"no clips in {source}: neither videos nor folders of numbered frames (00000.png, ...)")
    return sorted(clips, key=lambda clip: natural(clip.name))


def _clips_in(folder: Path, media: list[Path], root: Path) -> list[Clip]:
    if is_numbered(media):
        name = root.resolve().name if folder == root else relative(folder, root)
        return [Clip(name, tuple(in_order(media)), numbered=True)]
    return [Clip(relative(path, root), (path,)) for path in media]


def check_targets(clips: Iterable[Clip], source: Path, out: Path) -> None:
    """Raise UsageError when results would replace what they are made from, or each other."""
    if _exists(out) and (not out.is_dir() or out.resolve() == source.resolve()):
        what = "the folder of the clips themselves" if out.is_dir() else "a file"
        raise UsageError(f"--out {out} is {what}; name another folder")
    owners: dict[Path, str] = {}
    for clip in filter(_moves, clips):
        target = clip.target(out)
        if target.resolve() in (clip.paths[0].resolve(), clip.paths[0].parent.resolve()):
            raise UsageError(f"{clip.name} would be replaced by its own interpolation; name another folder than {out}")
        if target in owners:
            raise UsageError(f"{owners[target]} and {clip.name} would both become {target.name}; rename one")
        owners[target] = clip.name


def _exists(out: Path) -> bool:
    try:
        return out.exists()
    except OSError as error:  # a name too long, or a folder that may not be looked into
        raise UsageError(f"--out {out} cannot be used: {error.strerror}") from error


def make_folder(out: Path) -> None:
    """Make the folder of results. Raises UsageError where none can be made, or nothing written into it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be made: {error.strerror}; name another folder") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out} may not be written to; name another folder")


def _moves(clip: Clip) -> bool:
    """Tell what may be a clip from a still picture, such as the poster beside a film, which gets no result."""
    path = clip.paths[0]
    if clip.numbered or path.suffix.lower() not in IMAGES:
        return True
    try:
        with refusing(path), open_image(path) or nullcontext() as image:
            return image is not None and is_animated(image)
    except UnreadableSample:  # which the reader will say again
        return False


class Engine:
    """The model of a call, loaded when the first clip needs it; `key` is all that decides the frames it makes."""

    def __init__(self, name: str, factor: int, device: torch.device, given: Mapping[str, Path] | None) -> None:
        self.entry, self.factor, self.device = at_factor(name, factor), factor, device
        self.path = fetch(name, self.entry.source, given) if self.entry.source else None
        held = path_digest(self.path) if self.path else None
        self.key = {"model": name, "factor": factor, "weights": held, "version": self.entry.version, "format": FORMAT}

    @cached_property
    def model(self) -> Interpolator:
        """Build the network, in float32. Raises BadWeights."""
        build, options = models.resolve(self.entry.build), {**self.entry.config, **self.entry.options}
        loading = Loading(self.device, torch.float32, path=self.path, options=options)
        built: Interpolator = build(loading) if self.entry.source else build(**options)
        return built


class Manifest:
    """The list, in the folder of results, of what was made of what; a result enters it before its file appears."""

    def __init__(self, out: Path) -> None:
        self.path = out / MANIFEST
        self.made = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        """Return what the list holds. Raises UsageError for a file that is none."""
        if not self.path.exists():
            return {}
        try:
            made = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{self.path} is no list of interpolated clips ({error}); remove it") from error
        if not (isinstance(made, dict) and all(isinstance(entry, dict) for entry in made.values())):
            raise UsageError(f"{self.path} is no list of interpolated clips, a table by file; remove it")
        return made

    def find(self, key: str, target: Path) -> dict[str, Any] | None:
        """Return what was said of `target`, when `key` made it and it is there as it was made."""
        entry = self.made.get(self._name(target), {})
        whole = entry.get("key") == key and isinstance(entry.get("frames"), list) and len(entry["frames"]) == 2
        return entry if whole and target.exists() and entry.get("bytes") == _size(target) else None

    def begin(self, target: Path) -> None:
        """Say that `target` is being made. Raises UnsuitableInput when something else is there already."""
        if target.exists() and self._name(target) not in self.made:
            raise UnsuitableInput(f"{target} is there already and was not made here; remove it or name another folder")
        self._write(target, {})

    def end(self, target: Path, facts: Mapping[str, object]) -> None:
        """Say that `target` is complete."""
        self._write(target, {**facts, "bytes": _size(target)})

    def _write(self, target: Path, entry: dict[str, object]) -> None:
        """Enter a result; one that cannot be written down, as on a full disk, is not entered either.

        Several processes may write the list: each adds to what the others have written.
        """
        ranks = current()
        is_shared = ranks.world > 1 or ranks.shard is not None
        with FileLock(self.path.with_name(f".{self.path.name}.lock")) if is_shared else nullcontext():
            made = {**self.made, **self._read(), self._name(target): entry}
            write_text(self.path, json.dumps(made, indent=1, allow_nan=False) + "\n")  # ASCII: names may be no UTF-8
        self.made = made

    def _name(self, target: Path) -> str:
        return target.relative_to(self.path.parent).as_posix()


def interpolate_clip(
    clip: Clip, target: Path, engine: Engine, manifest: Manifest, progress: Progress = silent
) -> Interpolated:
    """Interpolate one clip unless that is done. Raises BadWeights; other failures are part of the result."""
    try:
        key = digest([clip.fingerprint(), engine.key])
        if done := manifest.find(key, target):
            before, after = done["frames"]
            return Interpolated(clip.name, target, (before, after), done.get("fps"), reused=True)
        footage = open_clip(clip)
        manifest.begin(target)
        result = _make(clip, target, engine, footage, progress)
        facts = {"key": key, "source": clip.name, **engine.key, "frames": list(result.frames), "fps": result.fps}
        manifest.end(target, facts)
    except BadWeights:
        raise
    except Exception as error:  # a clip that fails must not stop the others
        return Interpolated(clip.name, target, error=in_one_line(error))
    return result


def _make(clip: Clip, target: Path, engine: Engine, footage: "Footage", progress: Progress) -> Interpolated:
    pictures = interpolate_frames(_watched(footage, progress), engine.model, engine.device)
    if clip.numbered:
        rate, after = None, write_folder(target, pictures)
    else:
        rate = _faster(footage.rate, engine.factor)
        after = write_video(target, pictures, rate)
    before = 1 + (after - 1) // engine.factor
    return Interpolated(clip.name, target, (before, after), None if rate is None else round(float(rate), 4))


def _faster(rate: Fraction | None, factor: int) -> Fraction:
    if not rate:
        raise UnsuitableInput("states no frame rate; save it with one, or as a folder of numbered frames")
    if rate * factor > FASTEST:
        fast = f"{float(rate * factor):.6g} frames a second"
        raise UnsuitableInput(f"{fast} are more than Matroska can time ({FASTEST}); take a smaller factor")
    return rate * factor


def interpolate_frames(pictures: Iterable[Picture], model: Interpolator, device: torch.device) -> Iterator[Picture]:
    """Yield the pictures given, as they are, and between neighbours those that `model` makes, rounded to 8 bits.

    Raises UnsuitableInput when the size changes, and when there is one picture only.
    """
    last: Frames | None = None
    count = 0
    for count, picture in enumerate(pictures, start=1):
        frame = torch.tensor(picture, device=device).permute(2, 0, 1)[None].float() / 255
        if last is not None:
            if last.shape != frame.shape:
                raise UnsuitableInput(f"the size changes at frame {count - 1}; cut the clip there")
            yield from _to_pictures(model.between(last, frame))
        yield picture
        last = frame
    if count == 1:
        raise UnsuitableInput("has one frame only; there is nothing to interpolate between")


def _to_pictures(between: Between) -> Iterator[Picture]:
    levels = (between[0] * 255).round().to(torch.uint8)
    yield from levels.permute(1, 2, 3, 0).cpu().numpy()


@dataclass(frozen=True)
class Footage:
    """A clip opened: its frames in order, their number as its header says (0: it does not), their rate if stated."""

    pictures: Iterator[Picture]
    count: int
    rate: Fraction | None = None


def open_clip(clip: Clip) -> Footage:
    """Open a clip, of which no frame is decoded yet, an animated picture excepted. Raises UnreadableSample."""
    if clip.numbered:
        return Footage((_picture(path) for path in clip.paths), len(clip.paths))
    (path,) = clip.paths
    with refusing(path):
        image = open_image(path)
        if image is not None:
            with image:
                return _animation(image, path)
        with opened(path) as (_, stream):
            return Footage(decoded(path), stream.frames, stream.average_rate or stream.guessed_rate)


def _picture(path: Path) -> Picture:
    return read_image(path).pixels[:, 0].transpose(1, 2, 0)


def _animation(image: Image.Image, path: Path) -> Footage:
    if not is_animated(image):
        refuse(path, "is a single picture; frames of a clip lie in a folder, numbered without a gap, and of one size")
    count: int = getattr(image, "n_frames", 1)
    sample = read_animation(image, path, Sampling(frames=count, stride=1))
    rate = Fraction(sample.fps).limit_denominator(1001) if sample.fps else None
    return Footage(iter(sample.pixels.transpose(1, 2, 3, 0)), count, rate)


def decoded(path: Path) -> Iterator[Picture]:
    """Yield every frame of a clip as `cvbench.data.video` decodes it, held to the same checks."""
    with refusing(path), opened(path) as (container, stream):
        for place, frame in enumerate(frames_of(path, container, stream)):
            yield turned(path, frame, to_rgb(frame, {} if place else describe(path, frame)))


def _watched(footage: Footage, progress: Progress) -> Iterator[Picture]:
    for done, picture in enumerate(footage.pictures, start=1):
        yield picture
        progress("interpolated frames", done, max(done, footage.count))


def write_video(target: Path, pictures: Iterator[Picture], rate: Fraction) -> int:
    """Write a clip without loss (FFV1, RGB) and return how many frames it has; it appears whole or not at all."""
    with atomic(target) as file, av.open(file, "w", format="matroska", options=BYTE_EXACT) as container:
        stream = container.add_stream("ffv1", rate=rate, options=FFV1)
        stream.pix_fmt, stream.time_base = "bgr0", 1 / rate
        count = 0
        for count, picture in enumerate(pictures, start=1):
            if count == 1:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = count - 1, stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return count


def write_folder(target: Path, pictures: Iterable[Picture]) -> int:
    """Write a clip as PNG, 00000.png and on, and return how many; the folder appears whole or not at all."""
    part = target.with_name(f".{target.name[:40]}-{digest(visible(target.name))[:8]}.part")  # as long a name as fits
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    count = 0
    try:
        for count, picture in enumerate(pictures, start=1):
            Image.fromarray(picture).save(part / f"{count - 1:05d}.png")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return count


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.iterdir())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
