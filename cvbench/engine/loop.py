"""One data set on its way through the models of a run: what is missing is computed, every row is stored at once."""

import datetime
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvbench import __version__, metrics
from cvbench.core.errors import CvbenchError, UnsuitableInput, UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import DataFacts, Failure, ModelFacts, RunRecord, SampleRecord, Score, digest
from cvbench.core.types import Pixels
from cvbench.data import Dataset, Item
from cvbench.data.frames import prepare
from cvbench.engine import pictures, speed
from cvbench.engine.coding import describe, measure, reconstruct, reconstruct_for_show, to_videos
from cvbench.engine.prefetch import prefetch
from cvbench.engine.probing import Probes, pick_device
from cvbench.engine.subject import Contender, Init, Listed
from cvbench.probes import (
    PROBES,
    FeatureProbe,
)
from cvbench.store import RowStore, prepared_key, row_key

Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


def silent(_label: str, _done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Request:
    """What a run is asked for. `batch` 0 means: as the device suggests."""

    models: Sequence[str]
    data: Sequence[str]
    metrics: Sequence[str]
    protocol: EvalProtocol
    speed: bool = False
    limit: int | None = None
    device: str = "auto"
    batch: int = 0
    strict: bool = False
    pictures: int = 0
    init: Init = "weights"
    weights: Mapping[str, Path] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)
    out: Path | None = None


@dataclass(frozen=True)
class Clip:
    """A prepared sample: what the record keeps of it, and its pixels once they are needed."""

    index: int
    item: Item
    sha256: str
    shape: tuple[int, int, int]
    facts: Mapping[str, Any]
    pixels: Pixels | None = None


class Evaluation:
    """One data set on its way through all models of a run."""

    def __init__(
        self,
        request: Request,
        dataset: Dataset,
        contenders: Sequence[Contender],
        probes: Probes,
        store: RowStore,
        progress: Progress,
    ) -> None:
        self.request, self.protocol, self.dataset = request, request.protocol, dataset
        self.contenders, self.probes, self.store, self.progress = contenders, probes, store, progress
        self.private: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self.clips: list[Clip] = []
        self.unread: list[tuple[int, Failure]] = []
        self.failed: dict[str, list[tuple[int, Failure]]] = {c.name: [] for c in contenders}
        self.broken: dict[str, Exception] = {}

    def records(self) -> list[RunRecord]:
        """Compute what is missing and return one record per contender."""
        total = len(self.dataset.items)
        self.progress(self.dataset.name, 0, total)
        for group in self._groups(prefetch(self._survey())):
            self._work(group)
            self.progress(self.dataset.name, len(self.clips) + len(self.unread), total)
        self.progress(self.dataset.name, total, total)
        return [self._record(contender) for contender in self.contenders]

    def _survey(self) -> Iterator[Clip]:
        """Yield each readable clip in order, with pixels where rows are missing."""
        for index, item in enumerate(self.dataset.items):
            try:
                yield self._look(index, item)
            except CvbenchError as error:
                if self.request.strict:
                    raise
                self.unread.append((index, Failure(item.id, describe(error))))

    def _look(self, index: int, item: Item) -> Clip:
        """Return the clip as the store knows it, or read it."""
        return look(index, item, self.protocol, self.store, lambda clip: not self._missing(clip))

    def _missing(self, clip: Clip) -> dict[str, list[str]]:
        """Return by model the probes whose rows this clip lacks."""
        result = {}
        for contender in self.contenders:
            if contender.name in self.broken:
                continue
            rows = self._rows(contender, clip)
            lacking = [
                name
                for name in self.probes.names
                if self.probes.column(name) not in rows and name not in self.probes.reasons
            ]
            if lacking or "bits" not in rows:
                result[contender.name] = lacking
        return result

    def _rows(self, contender: Contender, clip: Clip) -> dict[str, np.ndarray]:
        if contender.key is None:
            return self.private.get((contender.name, clip.sha256), {})
        return self.store.rows(row_key(clip.sha256, contender.key, self.protocol.reconstruction))

    def _keep(self, contender: Contender, clip: Clip, rows: dict[str, np.ndarray]) -> None:
        if contender.key is None:
            self.private.setdefault((contender.name, clip.sha256), {}).update(rows)
        else:
            self.store.add(row_key(clip.sha256, contender.key, self.protocol.reconstruction), rows)

    def _groups(self, clips: Iterator[Clip]) -> Iterator[list[Clip]]:
        """Group neighbours of one shape into batches; a clip with nothing to do is a group of its own."""
        group: list[Clip] = []
        for clip in clips:
            self.clips.append(replace(clip, pixels=None))
            if group and (clip.pixels is None or clip.shape != group[0].shape or len(group) >= self._batch(clip)):
                yield group
                group = []
            group.append(clip)
            if clip.pixels is None:
                yield group
                group = []
        if group:
            yield group

    def _batch(self, clip: Clip) -> int:
        if self.protocol.posterior == "sample":
            return 1  # each clip has its own seed
        if self.request.batch:
            return self.request.batch
        if self.probes.device.type == "cpu":
            return 1
        return 16 if clip.shape[0] == 1 else 1

    def _work(self, group: list[Clip]) -> None:
        """Reconstruct and measure what the clips of a group lack, model by model, clip by clip."""
        todo = [self._missing(clip) if clip.pixels is not None else {} for clip in group]
        recons: list[dict[str, tuple[torch.Tensor, int | None]]] = [{} for _ in group]
        if not any(todo):
            return
        targets = to_videos([clip.pixels for clip in group if clip.pixels is not None], self.probes.device)
        for contender in self.contenders:
            wanted = [i for i, missing in enumerate(todo) if contender.name in missing]
            for i, result in self._reconstruct(contender, [group[i] for i in wanted], targets[wanted], wanted):
                recons[i][contender.name] = result
        for clip, target, made, missing in zip(group, targets, recons, todo, strict=True):
            self._measure(clip, target, made, missing)

    def _reconstruct(
        self, contender: Contender, clips: list[Clip], targets: torch.Tensor, positions: list[int]
    ) -> Iterator[tuple[int, tuple[torch.Tensor, int | None]]]:
        """Yield position, reconstruction and bits; a batch that fails is tried clip by clip before one is given up."""
        if not clips or contender.name in self.broken:
            return
        try:
            vae = contender.vae
        except UsageError:
            raise  # an option out of range is a mistake of the request
        except Exception as error:  # a network library may raise anything while it builds
            if self.request.strict:
                raise
            self.broken[contender.name] = error
            return
        try:
            made, bits = reconstruct(vae, targets, self.protocol, self._seed(clips[0]))
            yield from zip(positions, zip(made, bits, strict=True), strict=True)
        except Exception as error:  # nor does a model's failure on one clip end the run
            if self.request.strict:
                raise
            self._free()
            if len(clips) == 1:
                self.failed[contender.name].append((clips[0].index, Failure(clips[0].item.id, describe(error))))
                return
            for clip, target, position in zip(clips, targets, positions, strict=True):
                yield from self._reconstruct(contender, [clip], target[None], [position])

    def _free(self) -> None:
        if self.probes.device.type == "cuda":
            torch.cuda.empty_cache()

    def _measure(
        self,
        clip: Clip,
        target: torch.Tensor,
        made: dict[str, tuple[torch.Tensor, int | None]],
        missing: dict[str, list[str]],
    ) -> None:
        needed = [name for name in self.probes.names if any(name in missing[model] for model in made)]
        videos = {model: recon for model, (recon, _) in made.items()}
        rows, unsuited = measure(videos, target, self.probes.pair_probes(needed), missing)
        for name, probe in self.probes.feature_probes(needed).items():
            try:
                self._target_rows(clip, name, probe, target)
                for model in made:
                    if name in missing[model]:
                        rows[model][name] = probe.rows(videos[model])
            except UnsuitableInput as error:
                unsuited[name] = str(error)
        refusals = {self.probes.column(name): np.array(reason) for name, reason in unsuited.items()}
        for contender in self.contenders:
            if contender.name in made:
                bits = made[contender.name][1]
                found = {self.probes.column(name): row for name, row in rows[contender.name].items()}
                found["bits"] = np.array([] if bits is None else [bits], np.float64)
                self._keep(contender, clip, {**refusals, **found})

    def _target_rows(self, clip: Clip, name: str, probe: FeatureProbe, target: torch.Tensor) -> None:
        """Measure the target where that is not done: its rows serve all models and later runs."""
        key = row_key(clip.sha256, "target", {})
        if self.probes.column(name) not in self.store.rows(key):
            self.store.add(key, {self.probes.column(name): probe.rows(target)})

    def _record(self, contender: Contender) -> RunRecord:
        """Assemble the record of one contender from the stored rows."""
        if contender.name in self.broken:
            return unavailable(contender.facts, self.broken[contender.name], self.dataset, self.request)
        stored = [(clip, self._rows(contender, clip)) for clip in self.clips]
        stored = [(clip, rows) for clip, rows in stored if "bits" in rows]
        samples = [self._sample(contender, clip, rows) for clip, rows in stored]
        data = DataFacts(
            self.dataset.name, digest([[s.id, s.sha256] for s in samples]), len(samples), self.dataset.note
        )
        failures = [f for _, f in sorted(self.unread + self.failed[contender.name], key=lambda pair: pair[0])]
        first = f": {failures[0].error}" if failures else ""
        lost = f"none of {len(self.dataset.items)} samples of {self.dataset.name} gave a number{first}"
        return RunRecord(
            model=contender.facts,
            data=data,
            protocol=self.protocol.as_dict(),
            probes={name: version for name, version in self.probes.versions.items() if version},
            scores=self._scores(samples, stored, data),
            samples=samples,
            failures=failures,
            unavailable=self._missing_metrics([rows for _, rows in stored]),
            error=None if samples else lost,
            speed=self._speed(contender) if self._is_timed(contender) and samples else None,
            precision_db=self._precision(contender) if samples else None,
            environment=environment(self.probes.device),
            created=now(),
        )

    def _sample(self, contender: Contender, clip: Clip, stored: dict[str, np.ndarray]) -> SampleRecord:
        rows = {
            name: stored[self.probes.column(name)].tolist()
            for name in self.probes.names
            if name in PROBES and self.probes.column(name) in stored and is_measured(stored[self.probes.column(name)])
        }
        frames, height, width = clip.shape
        bits = stored["bits"]
        bpp = float(bits[0]) / (frames * height * width) if len(bits) else contender.facts.bpp
        if bpp is not None:
            rows["bpp"] = [bpp]
        return SampleRecord(clip.item.id, frames, height, width, clip.sha256, clip.facts, rows)

    def _scores(
        self, samples: list[SampleRecord], stored: list[tuple[Clip, dict[str, np.ndarray]]], data: DataFacts
    ) -> dict[str, Score]:
        scores = {}
        for name in [*self.probes.metrics, "bpp"]:
            metric = metrics.METRICS[name]
            version = self.probes.versions[metric.probe] if name != "bpp" else "1"
            text = metrics.signature(name, data.name, data.manifest, self.protocol, version)
            if metric.distance:
                rows, targets = self._feature_rows(metric.probe, stored)
                if sum(map(len, rows)) > 1:
                    scores[name] = metrics.set_score(name, rows, targets, text)
            elif rows := [np.asarray(s.rows[metric.probe]) for s in samples if metric.probe in s.rows]:
                scores[name] = metrics.score(name, rows, self.protocol, text)
        return scores

    def _feature_rows(
        self, probe: str, stored: list[tuple[Clip, dict[str, np.ndarray]]]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the feature rows of the reconstructions and of their targets, sample by sample."""
        column = self.probes.column(probe)
        found = [(rows[column], clip) for clip, rows in stored if column in rows and is_measured(rows[column])]
        found.sort(key=lambda pair: pair[1].sha256)  # by content: neither names nor order of files move a bit
        targets = [self.store.rows(row_key(clip.sha256, "target", {}))[column] for _, clip in found]
        return [rows for rows, _ in found], targets

    def _missing_metrics(self, stored: list[dict[str, np.ndarray]]) -> dict[str, str]:
        """Return for each metric that lacks samples the reason."""
        missing = {}
        for name in self.probes.metrics:
            probe = metrics.METRICS[name].probe
            rows = [row.get(self.probes.column(probe)) for row in stored]
            lacking = [row for row in rows if row is None or not is_measured(row)]
            if lacking:
                reasons = {str(row) for row in lacking if row is not None} or {
                    self.probes.reasons.get(probe, "not measured")
                }
                share = "" if len(lacking) == len(rows) else f"{len(lacking)} of {len(rows)} samples: "
                missing[name] = share + "; ".join(sorted(reasons))
        return missing

    def shots(self, choice: Mapping[str, Sequence[str]]) -> Iterator[pictures.Shot]:
        """Yield pixels, reconstructions and latents of the chosen samples, each by the models named with it."""
        items = {item.id: (index, item) for index, item in enumerate(self.dataset.items)}
        for done, (name, wanted) in enumerate(choice.items()):
            self.progress(f"pictures of {self.dataset.name}", done, len(choice))
            clip = read_clip(*items[name], self.protocol)
            if clip.pixels is None:
                continue
            target = to_videos([clip.pixels], self.probes.device)
            recons, latents = {}, {}
            for contender in self.contenders:
                if contender.name in wanted:
                    made, code = reconstruct_for_show(contender.vae, target, self.protocol, self._seed(clip))
                    recons[contender.name] = (made[0] * 255).round().byte().cpu().numpy()
                    if code is not None:
                        latents[contender.name] = code.numpy()
            yield pictures.Shot(name, clip.pixels, recons, latents)

    def _seed(self, clip: Clip) -> int:
        """Return the seed of one clip's random draws."""
        return int(digest([self.protocol.seed, clip.sha256])[:8], 16)

    def _first_clip(self) -> Clip:
        return next((c for c in self.clips if c.shape[0] > 1), self.clips[0])

    def _precision(self, contender: Contender) -> float | None:
        """Return how far, in dB, half precision is from float32 on the first clip; remembered."""
        full = contender.in_float32() if isinstance(contender, Listed) else None
        if full is None:
            return None
        clip = self._first_clip()
        key = digest(["precision", contender.key, clip.sha256, self.protocol.reconstruction])
        if (known := self.store.facts(key)) is None:
            pixels = read_clip(clip.index, clip.item, self.protocol).pixels
            video = to_videos([pixels] if pixels is not None else [], self.probes.device)
            half, exact = (reconstruct(c.vae, video, self.protocol)[0][0] for c in (contender, full))
            psnr = self.probes.pair("psnr")
            known = float(psnr.rows(half, psnr.prepare(exact)).mean())
            self.store.remember(key, known)
        return float(known)

    def _is_timed(self, contender: Contender) -> bool:
        return self.request.speed and contender.facts.role != "reference"

    def _speed(self, contender: Contender) -> dict[str, Any] | None:
        """Time the contender on the first clip (an image when there is no clip); remembered for this machine."""
        clip = self._first_clip()
        machine = [
            speed.device_name(self.probes.device),
            torch.get_num_threads(),
            self.protocol.dtype,
            self.protocol.tiling,
        ]
        key = digest(["speed", speed.VERSION, contender.key, clip.sha256, machine])
        known = self.store.facts(key) if contender.key else None
        if known:
            return dict(known)
        self.progress(f"speed of {contender.name}", len(self.dataset.items), len(self.dataset.items))
        pixels = read_clip(clip.index, clip.item, self.protocol).pixels
        found = speed.measure_speed(
            contender.vae, to_videos([pixels] if pixels is not None else [], self.probes.device)
        )
        if contender.key:
            self.store.remember(key, found)
        return found


def is_measured(row: np.ndarray) -> bool:
    """Tell numbers from the stored reason why there are none."""
    return row.dtype.kind == "f"


def look(index: int, item: Item, protocol: EvalProtocol, store: RowStore, is_done: Callable[[Clip], bool]) -> Clip:
    """Return a clip as the store knows it, without pixels when it is done, else read. Raises UnreadableSample."""
    key = prepared_key(item.fingerprint, protocol.preparation)
    known = store.facts(key)
    if known:
        clip = Clip(index, item, known["sha256"], tuple(known["shape"]), known["facts"])
        if is_done(clip):
            return clip
    clip = read_clip(index, item, protocol)
    store.remember(key, {"sha256": clip.sha256, "shape": clip.shape, "facts": dict(clip.facts)})
    return clip


def read_clip(index: int, item: Item, protocol: EvalProtocol) -> Clip:
    """Read and prepare a sample. Raises UnreadableSample."""
    sample = item.read(protocol.sampling)
    pixels = prepare(sample.pixels, protocol.size, protocol.filter, protocol.antialias, protocol.crop)
    facts = {"fps": sample.fps, "source": list(sample.pixels.shape[1:]), **sample.facts}
    sha = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    return Clip(index, item, sha, (pixels.shape[1], pixels.shape[2], pixels.shape[3]), facts, pixels)


def unavailable(facts: ModelFacts, error: Exception, dataset: Dataset, request: Request) -> RunRecord:
    """Return the record of a model that could not run."""
    return RunRecord(
        model=facts,
        data=DataFacts(dataset.name, "", 0, dataset.note),
        protocol=request.protocol.as_dict(),
        probes={},
        scores={},
        samples=[],
        error=describe(error),
        error_kind=type(error).__name__,
        environment=environment(pick_device(request.device)),
        created=now(),
    )


def environment(device: torch.device) -> dict[str, str]:
    """Return what ran: versions and machine."""
    packages = ("torch", "torchvision", "diffusers", "av", "pillow", "numpy", "scipy", "lpips")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "cvbench": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": speed.device_name(device),
        **versions,
    }


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
