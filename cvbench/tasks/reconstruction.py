"""Every model reconstructs every sample; what it made is compared with what it was given."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch

from cvbench.core.digest import digest
from cvbench.core.errors import BadRange, CvbenchError
from cvbench.core.records import DataFacts, RunRecord
from cvbench.core.run import Run
from cvbench.core.types import FloatPixels, Pixels
from cvbench.engine import pictures, speed
from cvbench.engine.coding import Batch, Coded, Feeding, at_rest, code, describe, in_flight, judge, quantize
from cvbench.engine.device import now, runtime
from cvbench.engine.loop import Made, Prepared, Progress, Unit, Work, silent
from cvbench.engine.measuring import (
    Clip,
    Measured,
    Probes,
    compared,
    measure_latents,
    measure_pairs,
    measure_video,
)
from cvbench.engine.memory import available
from cvbench.engine.ranks import current
from cvbench.engine.readers import budget_for
from cvbench.engine.residents import Batches, Residents, free_on, is_out_of_memory
from cvbench.engine.shown import Showing, Side, fitting
from cvbench.engine.subject import Listed, Subject
from cvbench.engine.watch import Working, tell
from cvbench.metrics import resolve
from cvbench.nets.fetching import Row, arrived
from cvbench.store import FileStore, Store
from cvbench.tasks.assembly import Stored, inapplicable, no_rows, reduced, sample_record, stored_of
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
from cvbench.tasks.shots import Shots, Shown, shown
from cvbench.tasks.targets import TARGET, describe_target, named, target_unit

TURN = 16
"""Samples that a model works on before it leaves, where not all fit together."""
SHOTS = 768 << 20
"""Bytes of pixels and latents that are kept for pictures, which then need no second pass, where memory is plenty."""
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
    probes = Probes(names, setting.device, request.weights, protocol=request.protocol)
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
        self.residents, self.batches = Residents(self.device), Batches(self.request.batch, self.device)
        pictured = self.request.pictures and self.request.out
        self.kept_shots = Shots(min(SHOTS, available() // 8) if pictured else 0)
        self.warm: set[str] = set()
        self._again: dict[int, Pixels | FloatPixels | None] = {}

    # what is stored of a sample

    def units(self, sample: Prepared) -> Iterator[Unit]:
        """Yield the rows of each model, and those of the target by the probes that describe single videos."""
        yield target_unit(self.probes, self.probes.of_videos, self.protocol, sample, self.store)
        for subject in self.subjects:
            yield self._unit(subject, sample)

    def _unit(self, subject: Subject, sample: Prepared) -> Unit:
        key = self.key(subject, sample.shape)
        run = self._run(sample, key or subject.name, task=Showing(self.protocol, sample.stride).task)
        store = self.store if key else self.private
        return Unit(subject.name, frozenset(self.probes.columns()), run.key("measure"), store)

    def _run(self, sample: Prepared, *keys: str, task: Mapping[str, object] | None = None) -> Run:
        return Run(self.protocol, sample.sha256, keys, runtime(self.device), task or {})

    @property
    def rounds(self) -> bool:
        """Whether reconstructions are bytes as soon as they are made."""
        return Showing(self.protocol).rounds

    @property
    def feeding(self) -> Feeding:
        """How the protocol feeds a model."""
        return Feeding(self.protocol.window, self.protocol.padding)

    def at_once(self, sample: Prepared) -> int:
        """Return how many samples of a shape are worked on together: more than are coded, where models take turns."""
        count = self.batches.size(sample.shape)
        if not self.residents.took_turns:
            return count
        return max(count, min(TURN, budget_for(current().local_world) // (3 * math.prod(sample.shape))))

    # how it is made

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Reconstruct and measure what samples of one shape lack, by as many models at a time as fit memory."""
        targets = at_rest([w.sample.pixels for w in works if w.sample.pixels is not None], self.device)
        for work, target in zip(works, targets, strict=True):
            yield from self._target(work, target)
        subjects = self.residents.in_order(s for s in self.subjects if any(unit_of(work, s.name) for work in works))
        count = max(1, budget_for(current().local_world) // targets.numel())
        for start in range(0, len(subjects), count):
            yield from self._turn(subjects[start : start + count], works, targets)

    def _turn(self, subjects: Sequence[Subject], works: Sequence[Work], targets: Batch) -> Iterator[Made]:
        """Let some models reconstruct all samples, and measure what they made."""
        coded: list[dict[str, Reconstructed]] = [{} for _ in works]
        for subject in subjects:
            wanted = [i for i, work in enumerate(works) if unit_of(work, subject.name)]
            place = 1 + self.subjects.index(subject)
            tell(Working(subject.name, place, len(self.subjects), [works[i].sample.id for i in wanted]))
            for i, made in self._reconstructed(subject, works, targets, wanted):
                if isinstance(made, Reconstructed):
                    coded[i][subject.name] = made
                elif unit := unit_of(works[i], subject.name):
                    yield Made(works[i].sample, unit, {}, [made])
        for work, target, recons in zip(works, targets, coded, strict=True):
            yield from self._measured(work, target, recons)

    def _reconstructed(
        self, subject: Subject, works: Sequence[Work], targets: Batch, wanted: Sequence[int]
    ) -> Iterator[tuple[int, "Reconstructed | Exception"]]:
        """Yield what a model made of samples, and what is measured of its latents, which are not kept."""
        if not self._is_loaded(subject):
            return
        count = self.batches.size(works[0].sample.shape)
        for start in range(0, len(wanted), count):
            for i, made in self._coded(subject, works, targets, wanted[start : start + count]):
                yield i, self._with_latents(subject, works[i], made) if isinstance(made, Coded) else made

    def _is_loaded(self, subject: Subject) -> bool:
        """Load a model, others leaving where they must, and tell whether it can run."""
        self.residents.prepare(subject)
        while True:
            try:
                if not loaded(subject, self.request, self.loop, is_out_of_memory):
                    return False
            except Exception:  # out of memory, the only kind that comes here
                if self.residents.make_room(subject):
                    continue
                if not loaded(subject, self.request, self.loop):
                    return False
            self.residents.settled(subject)
            return True

    def _with_latents(self, subject: Subject, work: Work, made: Coded) -> "Reconstructed":
        unit = unit_of(work, subject.name)
        asked = self._asked(unit, work) if unit else []
        found = measure_latents(self.probes, made, subject.traits.codebook, math.prod(work.sample.shape), asked)
        self.warm.add(subject.name)
        if subject.facts.role != "reference":  # which is not pictured beside others
            self.kept_shots.keep(work.sample, subject, made)
        return Reconstructed(made.recon, found, made.clips, made.raw, made.sight)

    def _coded(
        self, subject: Subject, works: Sequence[Work], targets: Batch, wanted: Sequence[int]
    ) -> Iterator[tuple[int, Coded | Exception]]:
        """Yield what a model made of samples; a batch that fails is tried in parts before a sample is given up."""
        wanted = [i for i in wanted if not self.loop.gave_up(subject.name, works[i].sample)]
        if not wanted:
            return
        seeds = [works[i].sample.seed(self.protocol) for i in wanted]
        try:
            batch = targets[wanted] if len(wanted) < len(targets) else targets
            yield from zip(wanted, self._measuring_memory(subject, batch, seeds), strict=True)
        except BadRange as error:
            self.loop.give_up(subject.name, error, works[wanted[0]].sample)
            yield wanted[0], error
        except Exception as error:  # a model's failure on one sample does not end the run
            short = is_out_of_memory(error)
            if not (short and self.residents.make_room(subject)) and len(wanted) == 1:
                yield wanted[0], error
                return
            self._free()
            shape = works[0].sample.shape
            count = max(1, self.batches.shrink(shape, len(wanted))) if short and len(wanted) > 1 else 1
            for start in range(0, len(wanted), count):
                yield from self._coded(subject, works, targets, wanted[start : start + count])

    def _measuring_memory(self, subject: Subject, targets: Batch, seeds: Sequence[int]) -> list[Coded]:
        """Code samples, and see on a GPU whether more would fit."""
        if self.device.type != "cuda":
            return code(subject, targets, seeds, self.feeding, round8=self.rounds, later=True)
        before, free = torch.cuda.memory_allocated(self.device), free_on(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        made = code(subject, targets, seeds, self.feeding, round8=self.rounds, later=True)
        taken = torch.cuda.max_memory_allocated(self.device) - before
        t, h, w = targets.shape[2:]
        self.batches.held((t, h, w), len(targets), taken, free)
        return made

    def _free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _asked(self, unit: Unit, work: Work) -> list[str]:
        """Return the probes whose rows a unit lacks."""
        columns = self.probes.columns()
        return [columns[column] for column in work.missing[unit] if column in columns]

    def _target(self, work: Work, target: Clip) -> Iterator[Made]:
        """Describe the target itself, where that is missing."""
        if unit := unit_of(work, TARGET):
            yield describe_target(self.probes, self.protocol, work.sample, target, unit, work.missing[unit])

    def _measured(self, work: Work, target: Clip, made: Mapping[str, "Reconstructed"]) -> Iterator[Made]:
        """Measure a sample's reconstructions."""
        units = {unit.owner: unit for unit in work.missing if unit.owner in made}
        asked = {owner: self._asked(unit, work) for owner, unit in units.items()}
        showing = Showing(self.protocol, work.sample.stride)
        sides, refused = self._sides(showing, made)
        for owner, error in refused.items():
            yield Made(work.sample, units[owner], {}, [error])
        pairs = self._pairs(sides, showing.target(target), asked)
        for owner, unit in units.items():
            if owner in refused:
                continue
            features = measure_video(self.probes, sides[owner].features, asked[owner])
            if lost := self._refused(owner, work.sample, made[owner].sight):
                yield Made(work.sample, unit, {}, [lost])
                continue
            parts = [pairs[owner], features, made[owner].of_latents]
            rows = {column: row for part in parts for column, row in part.rows.items()}
            errors = [named(name, error) for part in parts for name, error in part.failed.items()]
            yield Made(work.sample, unit, rows, errors, made[owner].together)

    def _refused(self, owner: str, sample: Prepared, sight: Row | None) -> Exception | None:
        """Return why a reconstruction is none, where that was left until its probes were queued."""
        try:
            if sight is not None:
                judge(arrived(sight))
        except CvbenchError as error:
            if isinstance(error, BadRange):
                self.loop.give_up(owner, error, sample)
            return error
        return None

    def _sides(
        self, showing: Showing, made: Mapping[str, "Reconstructed"]
    ) -> tuple[dict[str, Side], dict[str, Exception]]:
        """Return reconstructions as the protocol measures them, and of those that cannot be shown so the reason."""
        sides: dict[str, Side] = {}
        refused: dict[str, Exception] = {}
        for owner, each in made.items():
            try:
                sides[owner] = showing.recon(each.recon, each.raw)
            except Exception as error:  # an encoder that refuses the size, say
                refused[owner] = error
        return sides, refused

    def _pairs(
        self, recons: Mapping[str, Side], target: Side, names: Mapping[str, Sequence[str]]
    ) -> dict[str, Measured]:
        """Compare reconstructions with their target, each probe on the side that it sees."""
        if not recons:
            return {}
        fit = fitting(target, next(iter(recons.values())))
        pixels = {owner: side.pixels for owner, side in recons.items()}
        if all(side.nets is side.pixels for side in (fit, *recons.values())):
            return measure_pairs(self.probes, pixels, fit.pixels, names)
        nets = {owner: side.nets for owner, side in recons.items()}
        found = measure_pairs(self.probes, pixels, fit.pixels, names, "pixels")
        for owner, more in measure_pairs(self.probes, nets, fit.nets, names, "nets").items():
            found[owner].rows.update(more.rows)
            found[owner].failed.update(more.failed)
        return found

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
        held = [s for sample in self.loop.samples if (s := self._stored(subject, sample)).rows]
        samples = [sample_record(self.probes, each) for each in held]
        manifest = digest([[s.id, s.sha256] for s in samples])
        data = DataFacts(self.dataset.name, manifest, len(samples), self._note())
        scores, reasons = reduced(self.probes, self.protocol, data, held)
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
            inapplicable=inapplicable(self.probes, held),
            error=None if samples else lost,
            speed=beside.speed,
            precision_db=beside.precision_db,
            environment=environment_of([s.rows for s in held], self.here),
            created=now(),
            notes=beside.notes,
        )

    def _note(self) -> str:
        """Return what a reader must know of the data, and how many clips the protocol leaves out."""
        count = len(self.loop.left_out)
        left = f"{count} of {len(self.dataset.items)} clips too short and left out" if count else ""
        return "; ".join(filter(None, (self.dataset.note, left)))

    def _stored(self, subject: Subject, sample: Prepared) -> Stored:
        """Return a sample with its rows; its target's only where the model has any."""
        target = target_unit(self.probes, self.probes.of_videos, self.protocol, sample, self.store)
        read_target = partial(self.loop.rows, sample, target) if target.columns else no_rows
        return stored_of(self.probes, sample, partial(self.loop.rows, sample, self._unit(subject, sample)), read_target)

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

    def _pixels(self, sample: Prepared) -> Pixels | FloatPixels | None:
        """Return a sample's pixels: those kept for pictures, or read again, the last of these being kept, too."""
        kept = self.kept_shots.target(sample)
        if kept is None and self._again.get(sample.index) is None:
            self._again = {sample.index: self.loop.read(sample.index, sample.item).pixels}
        return kept if kept is not None else self._again[sample.index]

    def _resting(self, sample: Prepared) -> Batch:
        pixels = self._pixels(sample)
        return at_rest([pixels] if pixels is not None else [], self.device)

    def _precision(self, subject: Subject, found: "Beside") -> None:
        """Find out how far, in dB, half precision is from float32 on the first clip; remembered."""
        full = subject.in_float32() if isinstance(subject, Listed) else None
        if full is None:
            return
        sample = self._first()
        key = self._run(sample, subject.key(sample.shape) or "", task={"precision": 1}).key("code")
        known = self.store.facts(key)
        if known is None:
            video, seed = self._resting(sample), [sample.seed(self.protocol)]
            half, exact = (quantize(code(each, video, seed, self.feeding)[0].recon) for each in (subject, full))
            row = compared(self.probes.pair("psnr"), {"": half}, exact)[""]
            known = [float(row.mean()), subject.computes_in]
            self.store.remember(key, known)
        found.precision_db, found.computes_in = known

    def _speed(self, subject: Subject, found: "Beside") -> None:
        """Time the model on the first clip; remembered for this machine."""
        if not self.request.speed or subject.facts.role == "reference":
            return
        sample = self._first()
        reusable = subject.key(sample.shape)
        key = self._speed_key(sample, reusable or "")
        known = self.store.facts(key) if reusable else None
        if known is None:
            self.progress(f"speed of {subject.name}", len(self.dataset.items), len(self.dataset.items))
            known = speed.measure_speed(subject, in_flight(self._resting(sample)), warm=subject.name in self.warm)
            if reusable:
                self.store.remember(key, known)
        found.speed = known

    def _speed_key(self, sample: Prepared, model: str) -> str:
        return self._run(sample, model, task={"speed": speed.conditions(self.device)}).key("code")

    def known_speed(self, subject: Subject, sample: Prepared) -> float | None:
        """Return the seconds a frame that a model took when it was timed on a sample here; None when it was not."""
        known = self.store.facts(self._speed_key(sample, subject.key(sample.shape) or ""))
        rates = [known.get(side) for side in ("encode_fps", "decode_fps")] if isinstance(known, dict) else []
        return sum(1 / rate for rate in rates if rate) or None

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
            target: Batch | None = None
            for subject in (s for s in self.subjects if s.name in wanted):
                shot = self.kept_shots.find(sample, subject)
                if shot is None:
                    target = self._resting(sample) if target is None else target
                    shot = self._shot(subject, sample, target)
                if shot is not None:
                    recons[subject.name], latents[subject.name] = shot
            pixels = self._pixels(sample)
            if pixels is not None:
                shown = {model: each for model, each in latents.items() if each is not None}
                pixels = pixels if pixels.dtype == "uint8" else (255 * pixels).round().astype("uint8")
                yield pictures.Shot(name, pixels, recons, shown)

    def _shot(self, subject: Subject, sample: Prepared, target: Batch) -> Shown | None:
        """Let a model reconstruct a sample for its picture; what fails costs that picture alone."""
        self.residents.prepare(subject)
        try:
            (coded,) = code(subject, target, [sample.seed(self.protocol)], self.feeding, round8=True)
        except Exception as error:  # out of memory, say: the sample stands without this model
            if self.request.strict:
                raise
            self.unpictured[subject.name] = f"{sample.id}: {describe(error)}"
            return None
        return shown(coded)


class Reconstructed(NamedTuple):
    """What a model made of a sample, at rest where it was rounded, and what was measured of its latents."""

    recon: Clip
    of_latents: Measured
    together: int
    raw: Clip | None = None
    sight: Row | None = None


@dataclass
class Beside:
    """What a record holds beside scores, and what of it could not be measured."""

    speed: dict[str, Any] | None = None
    precision_db: float | None = None
    computes_in: str = ""
    notes: list[str] = field(default_factory=list)


def unit_of(work: Work, owner: str) -> Unit | None:
    """Return what a sample lacks of an owner, None where it lacks nothing."""
    return next((unit for unit in work.missing if unit.owner == owner), None)
