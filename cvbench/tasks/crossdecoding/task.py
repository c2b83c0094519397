"""Run the cross-decodings of every pair of models on every sample; rows are stored, records reduce them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch

from cvbench.core.digest import digest
from cvbench.core.errors import BadOutput, UnsuitableInput, UsageError
from cvbench.core.fields import EvalProtocol
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, SampleRecord
from cvbench.core.run import Run
from cvbench.core.types import Traits
from cvbench.engine.coding import check_output, cropped, decoded, encoded, pad, to_videos
from cvbench.engine.device import now, runtime
from cvbench.engine.loop import Made, Prepared, Progress, Unit, Work, silent
from cvbench.engine.measuring import Probes, measure_pairs
from cvbench.engine.ranks import current
from cvbench.engine.shown import Showing
from cvbench.metrics import METRICS, resolve
from cvbench.metrics import latents as latent_statistics
from cvbench.nets.fetching import Row
from cvbench.nets.tensors import Video, Videos
from cvbench.probes import PROBES
from cvbench.store import FileStore, Store
from cvbench.tasks.assembly import Stored, inapplicable, reduced, sample_record
from cvbench.tasks.crossdecoding.plan import CrossDecoding, cross_decodings, mismatch, noisy, other_form, view
from cvbench.tasks.request import (
    DataTask,
    Refused,
    Request,
    Tell,
    environment_of,
    failed_record,
    held_still,
    line_up,
    loaded,
)
from cvbench.tasks.targets import named

VERSION = 4  # of the cross-decodings: raise it when their rows may change
LATENTS = "latents"
"""The column of the sums that latents are described by."""


NOT_CROSSED = ("window", "padding", "eight_nets", "remap", "through", "through_side")
"""Fields of the protocol that cross-decodings do not heed: a number under them would not be what they say."""


def run(
    request: Request, progress: Progress = silent, store: Store | None = None, tell: Tell | None = None
) -> list[RunRecord]:
    """Decode every model's latents by every other and return a record for each cross-decoding and view.

    A pair whose latents cannot be exchanged has one record, whose error is the reason. Records are written to
    `request.out`; rows found in the store are not made again. Raises UsageError for fewer than two models, and for
    metrics that do not compare frames.
    """
    return run_crossed(CrossDecodingTask, request, progress, store, tell)


def run_crossed(
    kind: "type[CrossDecodingTask]", request: Request, progress: Progress, store: Store | None, tell: Tell | None
) -> list[RunRecord]:
    """Run a kind of cross-decoding on every data set of a request, and write its records. Raises as `run` does."""
    if len(request.models) < 2:
        raise UsageError("the compat suite crosses models: name two or more that share a latent shape")
    names = resolve(request.metrics, request.protocol)
    if other := [name for name in names if not _compares_frames(name)]:
        raise UsageError(f"the compat suite compares frames: {', '.join(other)} is measured by other suites")
    if unmet := [name for name in NOT_CROSSED if getattr(request.protocol, name) != getattr(EvalProtocol("", 1), name)]:
        raise UsageError(f"the compat suite knows no {', '.join(unmet)}; leave these fields of the protocol out")
    datasets, setting = request.datasets(), request.setting
    subjects, refused = line_up(request, setting)
    probes = Probes(names, setting.device, request.weights, protocol=request.protocol)
    probes.pair_probes(probes.names)  # what cannot be loaded is known before a clip is measured for it again
    records: list[RunRecord] = []
    for dataset in datasets:
        task = kind(request, dataset, subjects, probes, store or FileStore(), progress, refused=refused)
        records += [task.write(record, tell) for record in task.records()]
    return records


def _compares_frames(name: str) -> bool:
    probe = METRICS[name].probe
    return probe in PROBES and PROBES[probe].looks_at == "frames"


@dataclass
class CrossDecodingTask(DataTask):
    """One data set on its way through all pairs of models."""

    refused: Sequence[Refused] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.models = {s.name: s for s in self.subjects if loaded(s, self.request, self.loop)}
        self.traits = {name: subject.traits for name, subject in self.models.items()}
        self.unlike: list[RunRecord] = []
        self.crosses = self._plan()
        self.grid = self._grid()

    def _plan(self) -> list[CrossDecoding]:
        """Return the cross-decodings of all pairs, each once."""
        crosses: dict[CrossDecoding, None] = {}
        paired: dict[str, None] = {}
        for a, b in combinations(self.models, 2):
            forms = {name: self.models[name].latents for name in (a, b)}
            if reason := mismatch(self.traits[a], self.traits[b]) or other_form(forms):
                self.unlike.append(self._refusal(a, b, reason))
                continue
            crosses |= dict.fromkeys(cross_decodings((a, b), (self.traits[a], self.traits[b])))
            paired |= dict.fromkeys((a, b))
        for name in paired:
            crosses |= dict.fromkeys(noisy(name, self.traits[name]))
        return list(crosses)

    def _refusal(self, a: str, b: str, reason: str) -> RunRecord:
        facts = ModelFacts(f"{a}>{b}", "", role="crossing", about=f"latents of {a} decoded by {b}")
        return failed_record(facts, UnsuitableInput(f"{a} and {b}: {reason}"), self.dataset, self.request)

    def _grid(self) -> Traits:
        """Return what height and width of all pictures are padded to, so that every latent has one shape."""
        sides = [traits.multiple or traits.spatial for traits in self.traits.values()]
        least = max((traits.least_side for traits in self.traits.values()), default=1)
        return Traits(multiple=math.lcm(*sides), least_side=least)

    # what is stored of a sample

    def described(self, cross: CrossDecoding) -> tuple[tuple[str, str], ...]:
        """Return the (model, view) whose latents a cross-decoding's rows describe: one, or two to be compared."""
        traits = self.traits[cross.encoder], self.traits[cross.decoder]
        if cross.is_own and cross.source in ("images", "clips"):
            return ((cross.encoder, cross.source),)
        if cross.encoder != cross.decoder and not traits[0].codebook and traits[1].temporal <= traits[0].temporal:
            return (cross.encoder, cross.source), (cross.decoder, cross.target)
        return ()

    def units(self, sample: Prepared) -> Iterator[Unit]:
        """Yield the rows of each cross-decoding that applies to a sample."""
        yield from (self._unit(cross, sample) for cross in self.crosses if suits(cross, sample))

    def _unit(self, cross: CrossDecoding, sample: Prepared) -> Unit:
        keys = [self.key(self.models[name], sample.shape) for name in (cross.encoder, cross.decoder)]
        columns = frozenset([*self.probes.columns(), *([LATENTS] if self.described(cross) else [])])
        named = tuple(key or name for key, name in zip(keys, (cross.encoder, cross.decoder), strict=True))
        run = self.run_of(cross, sample, named)
        return Unit(cross.place, columns, run.key("measure"), self.private if None in keys else self.store)

    def run_of(self, cross: CrossDecoding, sample: Prepared, named_as: tuple[str, ...]) -> Run:
        """Return what decides a cross-decoding's rows."""
        views = [cross.source, cross.target, cross.ratio, cross.noise]
        done = {"views": views, "grid": [self.grid.multiple, self.grid.least_side], "version": VERSION}
        return Run(self.protocol, sample.sha256, named_as, runtime(self.device), done)

    # how it is made

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Make the rows that samples lack; every view is encoded once by each model."""
        crosses = {cross.place: cross for cross in self.crosses}
        for work in works:
            views = CodedViews(self, work.sample)
            for unit, missing in work.missing.items():
                try:
                    rows, errors = self._measured(crosses[unit.owner], views, missing)
                except Exception as error:  # a model's failure on one clip does not end the run
                    rows, errors = {}, [error]
                yield Made(work.sample, unit, rows, errors)

    def _measured(
        self, cross: CrossDecoding, views: "CodedViews", missing: frozenset[str]
    ) -> tuple[dict[str, Row], list[Exception]]:
        target, recon = views.target(cross), views.decoded(cross)
        names = [name for column, name in self.probes.columns().items() if column in missing]
        found = measure_pairs(self.probes, {"": recon}, target, {"": names})[""]
        latents = {LATENTS: views.sums(cross)} if LATENTS in missing else {}
        rows: dict[str, Row] = {**found.rows, **latents}
        return rows, [named(name, error) for name, error in found.failed.items()]

    # how the records are assembled

    def records(self) -> Iterator[RunRecord]:
        """Make what rows are missing and yield a record for each cross-decoding, those that were refused first."""
        with held_still(self.subjects):
            if self.crosses:
                self.loop.run()
            if not current().assembles:
                return
            for facts, error in self.refused:
                yield failed_record(facts, error, self.dataset, self.request)
            for subject in (s for s in self.subjects if s.name in self.loop.broken):
                yield failed_record(subject.facts, self.loop.broken[subject.name].failure, self.dataset, self.request)
            yield from self.unlike
            yield from (record for cross in self.crosses if (record := self._record(cross)))

    def _record(self, cross: CrossDecoding) -> RunRecord | None:
        """Return a cross-decoding's record; None where the data set holds nothing it applies to."""
        samples = [sample for sample in self.loop.samples if suits(cross, sample)]
        if not samples:
            return None
        stored = [s for sample in samples if (s := self._stored(cross, sample)).rows]
        kept = [self._sample(cross, each) for each in stored]
        failures, data = self.loop.failures(cross.place), self._data(cross, kept)
        scores, reasons = reduced(self.probes, self.protocol, data, stored)
        return RunRecord(
            model=self._facts(cross),
            data=data,
            protocol=self.protocol,
            probes={name: version for name, version in self.probes.versions.items() if version},
            scores=scores,
            samples=kept,
            failures=failures,
            unavailable=reasons,
            inapplicable=inapplicable(self.probes, stored),
            error=None if kept else f"no sample gave a number: {failures[0].error if failures else ''}",
            crossing={**asdict(cross), "latents": self._latents(stored, cross)},
            environment=environment_of([s.rows for s in stored], self.here),
            created=now(),
        )

    def _data(self, cross: CrossDecoding, kept: Sequence[SampleRecord]) -> DataFacts:
        name = f"{self.dataset.name}:{cross.data}"
        return DataFacts(name, digest([[s.id, s.sha256] for s in kept]), len(kept), self.dataset.note)

    def _stored(self, cross: CrossDecoding, sample: Prepared) -> Stored:
        return Stored(sample, self.loop.rows(sample, self._unit(cross, sample)), {})

    def _sample(self, cross: CrossDecoding, stored: Stored) -> Any:
        """Return what a record keeps: of the view that was compared, which has frames and pixels of its own."""
        shown = digest([stored.sample.sha256, cross.target, cross.ratio, self.protocol.seed])
        made = sample_record(self.probes, stored, sha256=shown)
        seen = view(torch.zeros(1, 3, stored.sample.shape[0], 1, 1), cross.target, cross.ratio, self.protocol.seed)
        return replace(made, frames=seen.shape[2])

    def _facts(self, cross: CrossDecoding) -> ModelFacts:
        ours, theirs = self.models[cross.encoder].facts, self.models[cross.decoder].facts
        if cross.is_own:
            return ours
        about = f"latents of {cross.encoder}, {cross.source}, decoded by {cross.decoder}"
        params = (ours.params[0], theirs.params[1]) if ours.params and theirs.params else None
        held = digest([ours.digest, theirs.digest, cross.source, cross.noise])
        init = "random" if "random" in (ours.init, theirs.init) else "weights"
        return replace(ours, name=cross.name, digest=held, role="crossing", about=about, params=params, init=init)

    def _latents(self, stored: Sequence[Stored], cross: CrossDecoding) -> dict[str, Any] | None:
        """Return what is known of the latents that a cross-decoding passes on."""
        sums = [each.rows[LATENTS] for each in stored if LATENTS in each.rows]
        if not sums:
            return None
        if len(self.described(cross)) == 2:
            return {"correlation": latent_statistics.correlation(sums).tolist()}
        return _reduced(sums, self.traits[cross.encoder].codebook)


class CodedViews:
    """One sample in work: its views, and their latents by each model, made once."""

    def __init__(self, task: CrossDecodingTask, sample: Prepared) -> None:
        self.task, self.seed = task, sample.seed(task.protocol)
        self.clip = to_videos([sample.pixels] if sample.pixels is not None else [], task.device)
        self.codes: dict[tuple[str, str, int], torch.Tensor] = {}
        self.showing = Showing(task.protocol)

    def view(self, name: str, ratio: int) -> Videos:
        """Return a view of the clip."""
        return view(self.clip, name, ratio, self.seed)

    def target(self, cross: CrossDecoding) -> Video:
        """Return the view that a reconstruction is compared with, of the clip as the protocol measures it."""
        shown: Video = self.showing.target(self.clip[0]).pixels
        return view(shown[None], cross.target, cross.ratio, self.seed)[0]

    def padded(self, model: str, shown: Videos) -> Videos:
        """Return a view padded as the run's grid and the model's frame rule ask."""
        return pad(shown, replace(self.task.grid, frame_rule=self.task.traits[model].frame_rule))

    def encoded(self, model: str, source: str, ratio: int) -> torch.Tensor:
        """Return the latents of a view."""
        key = (model, source, ratio)
        if key not in self.codes:
            padded = self.padded(model, self.view(source, ratio))
            latents, _ = encoded(self.task.models[model], padded.clone(), self.seed)
            if not isinstance(latents, torch.Tensor):
                raise BadOutput(f"{model} encodes to {type(latents).__name__}, which no other model can decode")
            self.codes[key] = latents
        return self.codes[key]

    def decoded(self, cross: CrossDecoding) -> Video:
        """Return the target's view as it is reconstructed, as the protocol measures it. Raises BadOutput."""
        target = self.view(cross.target, cross.ratio)
        latents = self._passed_on(cross)
        padded = self.padded(cross.decoder, target).shape
        made, _ = decoded(self.task.models[cross.decoder], latents, padded[2], self.seed, target.device)
        recon = cropped(made, padded, target)
        if cross.is_own:  # another model's latents may well come out flat or far off: that is what is measured
            check_output(recon[0], target[0])
        if not torch.isfinite(recon).all():
            raise BadOutput(f"{cross.name} gave NaN or infinity")
        made_video: Video = self.showing.recon(recon[0].clamp(0, 1), recon[0]).pixels
        return made_video

    def _passed_on(self, cross: CrossDecoding) -> torch.Tensor:
        """Return what the decoder is given: a copy, for another cross-decoding is given the same latents."""
        latents = self.encoded(cross.encoder, cross.source, cross.ratio).clone()
        if cross.target == "first":
            latents = latents.narrow(_time_axis(latents), 0, 1)
        return latents + cross.noise * latents.std() * self._noise(latents) if cross.noise else latents

    def sums(self, cross: CrossDecoding) -> np.ndarray:
        """Return the sums from which the statistics of a cross-decoding's latents are made."""
        made = [self.encoded(model, source, cross.ratio) for model, source in self.task.described(cross)]
        if cross.target == "first":
            made = [latents.narrow(_time_axis(latents), 0, 1) for latents in made]
        arrays = [latents[0].float().cpu().numpy() for latents in made]
        codebook = self.task.traits[cross.encoder].codebook
        if codebook:
            return latent_statistics.code_counts(arrays[0].astype(np.int64), codebook)
        return latent_statistics.sums(arrays[0]) if len(arrays) == 1 else latent_statistics.pair_sums(*arrays)

    def _noise(self, like: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(self.seed))
        return drawn.to(like)


def suits(cross: CrossDecoding, sample: Prepared) -> bool:
    """Tell whether a cross-decoding is of images or of clips, as the sample is."""
    return (cross.source == "images") == (sample.shape[0] == 1)


def _time_axis(latents: torch.Tensor) -> int:
    """Latents are (b, c, t, h, w), codes (b, t, h, w)."""
    return latents.ndim - 3


def _reduced(stored: Sequence[np.ndarray], codebook: int | None) -> dict[str, Any]:
    """Reduce the sums of all clips to what a record keeps; strict JSON knows no infinity."""
    if codebook:
        use = latent_statistics.code_use(stored)
        return {"codebook": codebook, "codes_seen": use.seen, "entropy_bits": use.entropy, "n": use.n}
    known = latent_statistics.gaussian(stored)
    return {
        "mean": known.mean.tolist(),
        "std": known.std.tolist(),
        "kl": [value if math.isfinite(value) else None for value in known.kl.tolist()],
        "dead": known.dead,
        "shift_factor": known.shift_factor,
        "scaling_factor": known.scaling_factor if math.isfinite(known.scaling_factor) else None,
        "n": known.n,
    }
