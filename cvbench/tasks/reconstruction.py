"""Every model reconstructs every sample; what it made is compared with what it was given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from cvbench.core.digest import digest
from cvbench.core.errors import BadRange, CvbenchError
from cvbench.core.records import DataFacts, RunRecord
from cvbench.core.run import Run
from cvbench.engine import pictures, speed
from cvbench.engine.coding import Coded, code, describe, quantize, to_videos
from cvbench.engine.device import device_name, now, runtime
from cvbench.engine.loop import Made, Prepared, Progress, Unit, Work, silent
from cvbench.engine.measuring import Probes, compared, measure_latents, measure_pairs, measure_video
from cvbench.engine.ranks import current
from cvbench.engine.subject import Listed, Subject
from cvbench.engine.watch import Working, tell
from cvbench.metrics import resolve
from cvbench.nets.tensors import Video
from cvbench.store import FileStore, Store
from cvbench.tasks.assembly import Stored, inapplicable, reduced, sample_record
from cvbench.tasks.request import (
    DataTask,
    Request,
    Tell,
    environment_of,
    failed_record,
    held_still,
    line_up,
    loaded,
    say,
)
from cvbench.tasks.targets import TARGET, describe_target, named, target_unit

ALWAYS = ("bpp",)
"""Metrics of every run: what they need is there once a model has run."""


def run(
    request: Request, progress: Progress = silent, store: Store | None = None, tell: Tell | None = None
) -> list[RunRecord]:
    """Evaluate every model on every data set and return one record each, also for models that could not run.

    Records are written to `request.out` when given. Work found in the store is not done again. `tell` is called with
    what a user should know beside. Raises UsageError for a request that makes no sense, and with `strict` the first
    failure of any kind.
    """
    datasets, setting = request.datasets(), request.setting
    names = resolve([*request.metrics, *ALWAYS], request.protocol)
    subjects, refused = line_up(request, setting)
    probes = Probes(names, setting.device, request.weights)
    records: list[RunRecord] = []
    for dataset in datasets:
        task = Reconstruction(request, dataset, subjects, probes, store or FileStore(), progress)
        failed = (failed_record(facts, error, dataset, request) for facts, error in refused if current().assembles)
        found = [task.write(record, tell) for record in chain(failed, task.records())]
        records += sorted(found, key=lambda record: request.names.index(record.model.name))
        if not current().computes:
            say(tell, f"no pictures of {dataset.name}: they need the models; type the run's line again without --shard")
            continue
        try:
            task.keep_pictures(found)
            for model, why in task.unpictured.items():
                say(tell, f"no picture by {model} for the report: {why}")
        except (OSError, CvbenchError, RuntimeError) as error:
            if request.strict:
                raise
            say(tell, f"no pictures of {dataset.name} for the report: {describe(error)}")
    return records


@dataclass
class Reconstruction(DataTask):
    """One data set on its way through all models of a run; `unpictured` says of which models pictures failed."""

    unpictured: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.loop.leave = self._leave_beside

    # what is stored of a sample

    def units(self, sample: Prepared) -> Iterator[Unit]:
        """Yield the rows of each model, and those of the target by the probes that describe single videos."""
        yield target_unit(self.probes, self.probes.of_videos, self.protocol, sample, self.store)
        for subject in self.subjects:
            yield self._unit(subject, sample)

    def _unit(self, subject: Subject, sample: Prepared) -> Unit:
        key = self.key(subject, sample.shape)
        run = self._run(sample, key or subject.name)
        store = self.store if key else self.private
        return Unit(subject.name, frozenset(self.probes.columns()), run.key("measure"), store)

    def _run(self, sample: Prepared, *keys: str, task: Mapping[str, object] | None = None) -> Run:
        return Run(self.protocol, sample.sha256, keys, runtime(self.device), task or {})

    def at_once(self, sample: Prepared) -> int:
        """Return how many samples of this shape are coded together."""
        if self.request.batch:
            return self.request.batch
        return 16 if sample.shape[0] == 1 and self.device.type != "cpu" else 1

    # how it is made

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Reconstruct and measure what samples of one shape lack, model by model, sample by sample."""
        targets = to_videos([w.sample.pixels for w in works if w.sample.pixels is not None], self.device)
        coded: list[dict[str, Coded]] = [{} for _ in works]
        for place, subject in enumerate(self.subjects, 1):
            wanted = [i for i, work in enumerate(works) if _unit_of(work, subject.name)]
            if wanted:
                tell(Working(subject.name, place, len(self.subjects), [works[i].sample.id for i in wanted]))
            if wanted and loaded(subject, self.request, self.loop):
                for i, made in self._coded(subject, works, targets, wanted):
                    if isinstance(made, Coded):
                        coded[i][subject.name] = made
                    elif unit := _unit_of(works[i], subject.name):
                        yield Made(works[i].sample, unit, {}, [made])
        for work, target, recons in zip(works, targets, coded, strict=True):
            yield from self._measured(work, target, recons)

    def _coded(
        self, subject: Subject, works: Sequence[Work], targets: torch.Tensor, wanted: Sequence[int]
    ) -> Iterator[tuple[int, Coded | Exception]]:
        """Yield what a model made of samples; a batch that fails is tried one by one before a sample is given up."""
        seeds = [works[i].sample.seed(self.protocol) for i in wanted]
        try:
            yield from zip(wanted, code(subject, targets[wanted], seeds), strict=True)
        except BadRange as error:
            self.loop.give_up(subject.name, error, works[wanted[0]].sample)
            yield wanted[0], error
        except Exception as error:  # a model's failure on one sample does not end the run
            self._free()
            if len(wanted) == 1:
                yield wanted[0], error
                return
            for i in wanted:
                if not self.loop.gave_up(subject.name, works[i].sample):
                    yield from self._coded(subject, works, targets, [i])

    def _free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _measured(self, work: Work, target: Video, coded: Mapping[str, Coded]) -> Iterator[Made]:
        """Measure a sample's reconstructions, and the target itself where that is missing."""
        columns = self.probes.columns()
        units = {unit.owner: unit for unit in work.missing}
        names = {unit.owner: [columns[c] for c in missing if c in columns] for unit, missing in work.missing.items()}
        if TARGET in units:
            yield describe_target(self.probes, work.sample, target, units[TARGET], work.missing[units[TARGET]])
        recons = {owner: quantize(c.recon) if self.protocol.round8 else c.recon for owner, c in coded.items()}
        pairs = measure_pairs(self.probes, recons, target, names)
        for subject in (s for s in self.subjects if s.name in coded):
            asked, codebook = names[subject.name], subject.traits.codebook
            parts = [
                pairs[subject.name],
                measure_video(self.probes, recons[subject.name], asked),
                measure_latents(self.probes, coded[subject.name], codebook, target, asked),
            ]
            rows = {column: row for part in parts for column, row in part.rows.items()}
            errors = [named(name, error) for part in parts for name, error in part.failed.items()]
            yield Made(work.sample, units[subject.name], rows, errors)

    # how the record is assembled

    def records(self) -> Iterator[RunRecord]:
        """Compute what is missing, then yield each model's record as it is finished."""
        with held_still(self.subjects):
            self.loop.run()
            for subject in self.subjects if current().assembles else ():
                yield self._record(subject)

    def _record(self, subject: Subject) -> RunRecord:
        """Assemble the record of one model from the stored rows."""
        if broken := self.loop.broken.get(subject.name):
            return failed_record(subject.facts, broken.failure, self.dataset, self.request)
        stored = [s for sample in self.loop.samples if (s := self._stored(subject, sample)).rows]
        samples = [sample_record(self.probes, each) for each in stored]
        manifest = digest([[s.id, s.sha256] for s in samples])
        data = DataFacts(self.dataset.name, manifest, len(samples), self.dataset.note)
        scores, reasons = reduced(self.probes, self.protocol, data, stored)
        failures = self.loop.failures(subject.name)
        first = f": {failures[0].error}" if failures else ""
        lost = f"none of {len(self.dataset.items)} samples of {self.dataset.name} gave a number{first}"
        beside = self._beside(subject) if samples else Beside()
        return RunRecord(
            model=replace(subject.facts, computes_in=beside.computes_in),
            data=data,
            protocol=self.protocol,
            probes={name: version for name, version in self.probes.versions.items() if version},
            scores=scores,
            samples=samples,
            failures=failures,
            unavailable=reasons,
            inapplicable=inapplicable(self.probes, stored),
            error=None if samples else lost,
            speed=beside.speed,
            precision_db=beside.precision_db,
            environment=environment_of([s.rows for s in stored], self.here),
            created=now(),
            notes=beside.notes,
        )

    def _stored(self, subject: Subject, sample: Prepared) -> Stored:
        """Return a sample with its rows; its target's only where the model has any."""
        units = {unit.owner: unit for unit in self.units(sample)}
        rows = self.loop.rows(sample, units[subject.name]) if subject.name in units else {}
        target = self.loop.rows(sample, units[TARGET]) if rows and TARGET in units else {}
        return Stored(sample, rows, target)

    def _beside(self, subject: Subject) -> "Beside":
        """Measure what stands beside the scores; what fails is a note, and costs no score."""
        if not current().computes:
            left = self.loop.asides.get(self._name_beside(subject))
            return Beside(**left) if left else Beside(notes=["speed and precision are in no share"])
        found = Beside()
        for what, measure in (("precision", self._precision), ("speed", self._speed)):
            try:
                measure(subject, found)
            except Exception as error:  # out of memory, say
                if self.request.strict:
                    raise
                found.notes.append(f"{what} was not measured: {describe(error)}")
        return found

    def _leave_beside(self) -> None:
        """Leave what stands beside the scores, measured on this share's first clip: the first share's is the run's."""
        for subject in self.subjects if self.loop.samples else ():
            if subject.name not in self.loop.broken:
                self.loop.asides[self._name_beside(subject)] = asdict(self._beside(subject))

    def _name_beside(self, subject: Subject) -> str:
        return f"beside {subject.name} on {self._first().id}"

    def _first(self) -> Prepared:
        """Return the first clip, or an image when there is no clip."""
        return next((s for s in self.loop.samples if s.shape[0] > 1), self.loop.samples[0])

    def _video(self, sample: Prepared) -> torch.Tensor:
        pixels = self.loop.read(sample.index, sample.item).pixels
        return to_videos([pixels] if pixels is not None else [], self.device)

    def _precision(self, subject: Subject, found: "Beside") -> None:
        """Find out how far, in dB, half precision is from float32 on the first clip; remembered."""
        full = subject.in_float32() if isinstance(subject, Listed) else None
        if full is None:
            return
        sample = self._first()
        key = self._run(sample, subject.key(sample.shape) or "", task={"precision": 1}).key("code")
        known = self.store.facts(key)
        if known is None:
            video, seed = self._video(sample), [sample.seed(self.protocol)]
            half, exact = (quantize(code(each, video, seed)[0].recon) for each in (subject, full))
            row = compared(self.probes.pair("psnr"), {"": half}, exact)[""]
            known = [float(row.mean()), subject.computes_in]
            self.store.remember(key, known)
        found.precision_db, found.computes_in = known

    def _speed(self, subject: Subject, found: "Beside") -> None:
        """Time the model on the first clip; remembered for this machine."""
        if not self.request.speed or subject.facts.role == "reference":
            return
        sample = self._first()
        machine = {"device": device_name(self.device), "threads": torch.get_num_threads(), "version": speed.VERSION}
        reusable = subject.key(sample.shape)
        key = self._run(sample, reusable or "", task={"speed": machine}).key("code")
        known = self.store.facts(key) if reusable else None
        if known is None:
            self.progress(f"speed of {subject.name}", len(self.dataset.items), len(self.dataset.items))
            known = speed.measure_speed(subject, self._video(sample))
            if reusable:
                self.store.remember(key, known)
        found.speed = known

    # pictures for the report

    def keep_pictures(self, records: Sequence[RunRecord]) -> None:
        """Store pictures of the worst, median and best samples for the report, where they are not stored yet."""
        out, share = self.request.out, pictures.BUDGET // len(self.request.data)  # the budget is the whole report's
        choice = pictures.choose(records, self.request.pictures)
        if out and choice and not pictures.stored(out, records, choice, share):
            with held_still(self.subjects):
                pictures.save(out, records, choice, self.shots(choice), share)

    def shots(self, choice: Mapping[str, Sequence[str]]) -> Iterator[pictures.Shot]:
        """Yield pixels, reconstructions and latents of the chosen samples, each by the models named with it."""
        samples = {sample.id: sample for sample in self.loop.samples}
        for done, (name, wanted) in enumerate(choice.items()):
            self.progress(f"pictures of {self.dataset.name}", done, len(choice))
            sample, recons, latents = samples[name], {}, {}
            target = self._video(sample)
            for subject in (s for s in self.subjects if s.name in wanted):
                try:
                    (coded,) = code(subject, target, [sample.seed(self.protocol)])
                except Exception as error:  # out of memory, say: the sample stands without this model
                    if self.request.strict:
                        raise
                    self.unpictured[subject.name] = f"{name}: {describe(error)}"
                    continue
                recons[subject.name] = (coded.recon * 255).round().byte().cpu().numpy()
                if isinstance(coded.latents, torch.Tensor):
                    latents[subject.name] = _shown(coded.latents[0])
            yield pictures.Shot(name, (target[0] * 255).round().byte().cpu().numpy(), recons, latents)


@dataclass
class Beside:
    """What a record holds beside scores, and what of it could not be measured."""

    speed: dict[str, Any] | None = None
    precision_db: float | None = None
    computes_in: str = ""
    notes: list[str] = field(default_factory=list)


def _unit_of(work: Work, owner: str) -> Unit | None:
    return next((unit for unit in work.missing if unit.owner == owner), None)


def _shown(latents: torch.Tensor) -> np.ndarray:
    array: np.ndarray = (latents.float() if latents.is_floating_point() else latents).cpu().numpy()
    return array
