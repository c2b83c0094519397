"""Run the crossings of every pair of models on every sample; rows are stored, records reduce them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch

from cvbench import metrics
from cvbench.core.errors import BadOutput, CvbenchError, UnsuitableInput, UsageError
from cvbench.core.records import DataFacts, Failure, ModelFacts, RunRecord, SampleRecord, Score, digest
from cvbench.core.types import Traits
from cvbench.data import Dataset, open_dataset
from cvbench.engine.coding import check_output, describe, measure, pad, quantize, to_videos
from cvbench.engine.loop import Clip, Progress, Request, environment, is_measured, look, now, silent, unavailable
from cvbench.engine.prefetch import prefetch
from cvbench.engine.probing import Probes, pick_device
from cvbench.engine.subject import Contender, Setting
from cvbench.metrics import latents as statistics
from cvbench.metrics import resolve as resolve_metrics
from cvbench.nets.tensors import Videos
from cvbench.store import RowStore, row_key, write_record
from cvbench.tasks.crossdecoding.plan import Cross, crossings, mismatch, noisy, view
from cvbench.tasks.reconstruction import line_up

VERSION = 2  # of the crossings: raise it when their rows may change
Rows = dict[str, np.ndarray]


def run(request: Request, progress: Progress = silent, store: RowStore | None = None) -> list[RunRecord]:
    """Cross every two of the request's models and return a record for each crossing and view.

    A pair whose latents cannot be exchanged has one record, whose error is the reason. Records are written to
    `request.out`; rows found in the store are not made again. Raises UsageError for fewer than two models.
    """
    if len(request.models) < 2:
        raise UsageError("the compat suite crosses models: name two or more that share a latent shape")
    device = pick_device(request.device)
    setting = Setting(request.protocol, device, request.weights, request.init)
    contenders, refused = line_up(request.models, setting, request.strict)
    probes = Probes(resolve_metrics(request.metrics, request.protocol), device, request.weights)
    probes.pair_probes(probes.names)  # what cannot be loaded is known before a clip is measured for it again
    records: list[RunRecord] = []
    for spec in request.data:
        dataset = open_dataset(spec, request.roots, request.limit, request.protocol.reader)
        found = [unavailable(facts, error, dataset, request) for facts, error in refused]
        found += Crossing(request, dataset, contenders, probes, store or RowStore(), progress).records()
        for record in found if request.out else ():
            write_record(request.out, record)  # type: ignore[arg-type]
        records += found
    return records


class Crossing:
    """One data set on its way through all pairs of models."""

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
        self.probes, self.store, self.progress = probes, store, progress
        self.private: dict[tuple[str, Cross], Rows] = {}
        self.failed: dict[Cross, list[Failure]] = {}
        self.unread: list[Failure] = []
        self.clips: list[Clip] = []
        self.refused: list[RunRecord] = []
        self.models = dict(self._loaded(contenders))
        self.traits = {name: contender.traits for name, contender in self.models.items()}
        self.crosses = self._plan()
        self.grid = self._grid()

    def _loaded(self, contenders: Sequence[Contender]) -> Iterator[tuple[str, Contender]]:
        """Yield the models that can be built; the others get the record that says why not."""
        for contender in contenders:
            try:
                _ = contender.vae
                yield contender.name, contender
            except UsageError:
                raise  # an option out of range is a mistake of the request
            except Exception as error:  # a network library may raise anything while it builds
                if self.request.strict:
                    raise
                self.refused.append(unavailable(contender.facts, error, self.dataset, self.request))

    def _plan(self) -> list[Cross]:
        """Return the crossings of all pairs, each once."""
        crosses: dict[Cross, None] = {}
        paired: dict[str, None] = {}
        for a, b in combinations(self.models, 2):
            if reason := mismatch(self.traits[a], self.traits[b]):
                self.refused.append(self._refusal(a, b, reason))
                continue
            crosses |= dict.fromkeys(crossings((a, b), (self.traits[a], self.traits[b])))
            paired |= dict.fromkeys((a, b))
        for name in paired:
            crosses |= dict.fromkeys(noisy(name, self.traits[name]))
        return list(crosses)

    def described(self, cross: Cross) -> tuple[tuple[str, str], ...]:
        """Return the (model, view) whose latents a crossing's rows describe: one for itself, two to be compared."""
        traits = self.traits[cross.encoder], self.traits[cross.decoder]
        if cross.is_own and cross.source in ("images", "clips"):
            return ((cross.encoder, cross.source),)
        if cross.encoder != cross.decoder and not traits[0].codebook and traits[1].temporal <= traits[0].temporal:
            return (cross.encoder, cross.source), (cross.decoder, cross.target)
        return ()

    def _refusal(self, a: str, b: str, reason: str) -> RunRecord:
        facts = ModelFacts(f"{a}>{b}", "", role="crossing", about=f"latents of {a} decoded by {b}")
        return unavailable(facts, UnsuitableInput(f"{a} and {b}: {reason}"), self.dataset, self.request)

    def _grid(self) -> Traits:
        """Return what height and width of all pictures are padded to, so that every latent has one shape."""
        sides = [traits.multiple or traits.spatial for traits in self.traits.values()]
        least = max((traits.least_side for traits in self.traits.values()), default=1)
        return Traits(multiple=math.lcm(*sides), least_side=least)

    def records(self) -> list[RunRecord]:
        """Make what rows are missing and return a record for each crossing, those that were refused first."""
        total = len(self.dataset.items)
        for clip in prefetch(self._survey()) if self.crosses else ():
            self.progress(self.dataset.name, len(self.clips), total)
            if clip.pixels is not None:
                self._work(clip)
            self.clips.append(replace(clip, pixels=None))
        self.progress(self.dataset.name, total, total)
        made = [self._record(cross) for cross in self.crosses]
        return self.refused + [record for record in made if record]

    def _survey(self) -> Iterator[Clip]:
        for index, item in enumerate(self.dataset.items):
            try:
                yield look(index, item, self.protocol, self.store, lambda clip: not self._missing(clip))
            except CvbenchError as error:
                if self.request.strict:
                    raise
                self.unread.append(Failure(item.id, describe(error)))

    def _missing(self, clip: Clip) -> list[Cross]:
        """Return the crossings of which this clip lacks rows."""
        columns = [self.probes.column(name) for name in self.probes.names if name not in self.probes.reasons]
        return [
            cross
            for cross in self.crosses
            if _suits(cross, clip)
            and not {*columns, *(["latents"] if self.described(cross) else [])} <= self._rows(clip, cross).keys()
        ]

    def _key(self, clip: Clip, cross: Cross) -> str | None:
        """Return the key of rows; None where a model must be measured anew each time."""
        keys = [self.models[name].key for name in (cross.encoder, cross.decoder)]
        views = [cross.source, cross.target, cross.ratio, cross.noise]
        held = [VERSION, keys, views, self.grid.multiple, self.grid.least_side]
        return None if None in keys else row_key(clip.sha256, digest(held), self.protocol.reconstruction)

    def _rows(self, clip: Clip, cross: Cross) -> Rows:
        key = self._key(clip, cross)
        return self.private.get((clip.sha256, cross), {}) if key is None else self.store.rows(key)

    def _keep(self, clip: Clip, cross: Cross, rows: Rows) -> None:
        if (key := self._key(clip, cross)) is None:
            self.private.setdefault((clip.sha256, cross), {}).update(rows)
        else:
            self.store.add(key, rows)

    def _work(self, clip: Clip) -> None:
        """Make the rows that a clip lacks; every view is encoded once by each model."""
        studio = Studio(self, clip)
        for cross in self._missing(clip):
            try:
                self._keep(clip, cross, self._measured(cross, studio))
            except Exception as error:  # a model's failure on one clip does not end the run
                if self.request.strict:
                    raise
                self.failed.setdefault(cross, []).append(Failure(clip.item.id, describe(error)))

    def _measured(self, cross: Cross, studio: "Studio") -> Rows:
        target = studio.view(cross.target, cross.ratio)[0]
        made = studio.decoded(cross)[0]
        wanted = [name for name in self.probes.names if name not in self.probes.reasons]
        found, unsuited = measure({"": made}, target, self.probes.pair_probes(wanted), {"": wanted})
        rows = {self.probes.column(name): row for name, row in found[""].items()}
        rows |= {self.probes.column(name): np.array(reason) for name, reason in unsuited.items()}
        return rows | ({"latents": studio.sums(cross)} if self.described(cross) else {})

    def _record(self, cross: Cross) -> RunRecord | None:
        """Return a crossing's record; None where the data set holds nothing it applies to."""
        clips = [clip for clip in self.clips if _suits(cross, clip)]
        if not clips:
            return None
        samples = [s for s in (self._sample(clip, cross) for clip in clips) if s]
        failures = [*self.unread, *self.failed.get(cross, [])]
        name = f"{self.dataset.name}:{cross.data}"
        data = DataFacts(name, digest([[s.id, s.sha256] for s in samples]), len(samples), self.dataset.note)
        return RunRecord(
            model=self._facts(cross),
            data=data,
            protocol=self.protocol.as_dict(),
            probes={name: version for name, version in self.probes.versions.items() if version},
            scores=self._scores(samples, data),
            samples=samples,
            failures=failures,
            unavailable=self._unavailable(samples),
            error=None if samples else f"no sample gave a number: {failures[0].error if failures else ''}",
            crossing={**asdict(cross), "latents": self._latents(clips, cross)},
            environment=environment(self.probes.device),
            created=now(),
        )

    def _facts(self, cross: Cross) -> ModelFacts:
        ours, theirs = self.models[cross.encoder].facts, self.models[cross.decoder].facts
        if cross.is_own:
            return ours
        about = f"latents of {cross.encoder}, {cross.source}, decoded by {cross.decoder}"
        params = (ours.params[0], theirs.params[1]) if ours.params and theirs.params else None
        held = digest([ours.digest, theirs.digest, cross.source, cross.noise])
        init = "random" if "random" in (ours.init, theirs.init) else "weights"
        return replace(ours, name=cross.name, digest=held, role="crossing", about=about, params=params, init=init)

    def _sample(self, clip: Clip, cross: Cross) -> SampleRecord | None:
        stored = self._rows(clip, cross)
        found = {name: stored.get(self.probes.column(name)) for name in self.probes.names}
        rows = {name: row.tolist() for name, row in found.items() if row is not None and is_measured(row)}
        if not stored:
            return None
        shown = digest([clip.sha256, cross.target, cross.ratio, self.protocol.seed])
        frames = len(next(iter(rows.values()), []))
        return SampleRecord(clip.item.id, frames, *clip.shape[1:], shown, clip.facts, rows)

    def _scores(self, samples: Sequence[SampleRecord], data: DataFacts) -> dict[str, Score]:
        scores = {}
        for name in self.probes.metrics:
            probe = metrics.METRICS[name].probe
            if rows := [np.asarray(s.rows[probe]) for s in samples if probe in s.rows]:
                version = self.probes.versions[probe]
                text = metrics.signature(name, data.name, data.manifest, self.protocol, version)
                scores[name] = metrics.score(name, rows, self.protocol, text)
        return scores

    def _unavailable(self, samples: Sequence[SampleRecord]) -> dict[str, str]:
        probes = {name: metrics.METRICS[name].probe for name in self.probes.metrics}
        lost = {name: sum(probe not in s.rows for s in samples) for name, probe in probes.items()}
        return {
            name: self.probes.reasons.get(probes[name], f"{count} of {len(samples)} samples do not suit it")
            for name, count in lost.items()
            if count
        }

    def _latents(self, clips: Sequence[Clip], cross: Cross) -> dict[str, Any] | None:
        """Return what is known of the latents that a crossing passes on."""
        stored = [rows["latents"] for rows in (self._rows(clip, cross) for clip in clips) if "latents" in rows]
        if not stored:
            return None
        if len(self.described(cross)) == 2:
            return {"correlation": statistics.correlation(stored).tolist()}
        return _reduced(stored, self.traits[cross.encoder].codebook)


class Studio:
    """One clip in work: its views, and their latents by each model, made once."""

    def __init__(self, crossing: Crossing, clip: Clip) -> None:
        self.crossing, self.protocol = crossing, crossing.protocol
        self.seed = int(digest([self.protocol.seed, clip.sha256])[:8], 16)
        pixels = [clip.pixels] if clip.pixels is not None else []
        self.clip = to_videos(pixels, crossing.probes.device)
        self.codes: dict[tuple[str, str, int], torch.Tensor] = {}

    def view(self, name: str, ratio: int) -> Videos:
        """Return a view of the clip."""
        return view(self.clip, name, ratio, self.seed)

    def encoded(self, model: str, source: str, ratio: int) -> torch.Tensor:
        """Return the latents of a view, padded as the run's grid and the model's frame rule ask."""
        key = (model, source, ratio)
        if key not in self.codes:
            grid, rule = self.crossing.grid, self.crossing.traits[model].frame_rule
            padded = pad(self.view(source, ratio), replace(grid, frame_rule=rule))
            latents = self._seeded(lambda: self.crossing.models[model].vae.encode(padded))
            if not isinstance(latents, torch.Tensor):
                raise BadOutput(f"{model} encodes to {type(latents).__name__}, which no other model can decode")
            self.codes[key] = latents
        return self.codes[key]

    def decoded(self, cross: Cross) -> Videos:
        """Return the target's view as the crossing reconstructs it, in [0, 1]. Raises BadOutput for no picture."""
        target = self.view(cross.target, cross.ratio)
        latents = self.encoded(cross.encoder, cross.source, cross.ratio)
        if cross.target == "first":
            latents = latents.narrow(_time_axis(latents), 0, 1)
        if cross.noise:
            latents = latents + cross.noise * latents.std() * self._noise(latents)
        padded = self.crossing.traits[cross.decoder].frame_rule.fit(target.shape[2])
        made = self._seeded(lambda: self.crossing.models[cross.decoder].vae.decode(latents, padded))
        _, _, t, h, w = target.shape
        if made.shape[2] < t or not torch.isfinite(made).all():
            raise BadOutput(f"{cross.name} gave {tuple(made.shape)} for {tuple(target.shape)}, or NaN or infinity")
        made = made[:, :, :t, :h, :w].to(target.device, torch.float32)
        if cross.is_own:  # another model's latents may well come out flat or far off: that is what a crossing measures
            check_output(made, target)
        made = made.clamp(0, 1)
        return quantize(made) if self.protocol.round8 else made

    def sums(self, cross: Cross) -> np.ndarray:
        """Return the sums from which the statistics of a crossing's latents are made."""
        made = [self.encoded(model, source, cross.ratio) for model, source in self.crossing.described(cross)]
        if cross.target == "first":
            made = [latents.narrow(_time_axis(latents), 0, 1) for latents in made]
        arrays = [latents[0].float().cpu().numpy() for latents in made]
        codebook = self.crossing.traits[cross.encoder].codebook
        if codebook:
            return statistics.code_counts(arrays[0].astype(np.int64), codebook)
        return statistics.sums(arrays[0]) if len(arrays) == 1 else statistics.pair_sums(*arrays)

    @torch.inference_mode()
    def _seeded(self, step: Callable[[], Any]) -> Any:
        """Run a half of a model with the clip's seed, as plain reconstruction does."""
        devices = [self.clip.device] if self.clip.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            return step()

    def _noise(self, like: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(self.seed))
        return drawn.to(like)


def _suits(cross: Cross, clip: Clip) -> bool:
    """Tell whether a crossing is of images or of clips, as the sample is."""
    return (cross.source == "images") == (clip.shape[0] == 1)


def _time_axis(latents: torch.Tensor) -> int:
    """Latents are (b, c, t, h, w), codes (b, t, h, w)."""
    return latents.ndim - 3


def _reduced(stored: Sequence[np.ndarray], codebook: int | None) -> dict[str, Any]:
    """Reduce the sums of all clips to what a record keeps; strict JSON knows no infinity."""
    if codebook:
        use = statistics.code_use(stored)
        return {"codebook": codebook, "codes_seen": use.seen, "entropy_bits": use.entropy, "n": use.n}
    known = statistics.gaussian(stored)
    return {
        "mean": known.mean.tolist(),
        "std": known.std.tolist(),
        "kl": [value if math.isfinite(value) else None for value in known.kl.tolist()],
        "dead": known.dead,
        "shift_factor": known.shift_factor,
        "scaling_factor": known.scaling_factor if math.isfinite(known.scaling_factor) else None,
        "n": known.n,
    }
