"""One model measured from Python: everything `run` can, nothing printed, mistakes refused before any work."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import torch

from cvbench.core.config import check_names, load_config
from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, NothingScored, Unavailable
from cvbench.core.protocol import EvalProtocol, as_text, derive
from cvbench.core.protocol import protocol as named_protocol
from cvbench.core.records import RunRecord
from cvbench.core.types import Pixels
from cvbench.data import DATASETS, Dataset
from cvbench.engine.coding import describe
from cvbench.engine.device import pick_device
from cvbench.engine.kept import KeptClips
from cvbench.engine.loop import Made, Progress, Work, silent
from cvbench.engine.measuring import Probes
from cvbench.engine.pictures import evenly
from cvbench.engine.subject import Init, Own, Setting, Subject, device_of, protocol_for, subject_of
from cvbench.metrics import METRICS, resolve
from cvbench.nets.tensors import VideoVAE
from cvbench.probes import known_weights
from cvbench.store import FileStore, Store
from cvbench.tasks.reconstruction import ALWAYS, Reconstruction
from cvbench.tasks.request import Request, held_still

Model = str | VideoVAE | torch.nn.Module
"""What can be measured: a name, any object with `encode` and `decode`, or a network of diffusers."""
DEFAULT = ("psnr", "ssim", "lpips")
"""Metrics where none are asked for; of these alone one that cannot be had here is left out, and the record says so."""
PATIENCE = 3
"""Samples on which an object may fail, from the first on, before it is given up."""


@dataclass(frozen=True)
class SamplePair:
    """A sample as it was measured and its reconstruction, both uint8 RGB (3, t, h, w); a logger's pictures."""

    data: str
    id: str
    target: Pixels
    reconstruction: Pixels


@dataclass(frozen=True)
class Plan:
    """What is measured and how, whatever the model; it may be measured many times.

    `kept` holds prepared clips and `probes` loaded networks from one time to the next.
    """

    data: tuple[str, ...]
    metrics: tuple[str, ...]
    protocol: EvalProtocol
    strictly: bool = True
    limit: int | None = None
    device: str = "auto"
    batch: int = 0
    speed: bool = False
    strict: bool = False
    init: Init = "weights"
    weights: Mapping[str, Path] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)
    out: Path | None = None
    kept: KeptClips = field(default_factory=KeptClips)
    probes: dict[str, Probes] = field(default_factory=dict)

    def measure(self, model: Model, label: str = "", progress: Progress = silent) -> "Measured":
        """Set a model up for this plan, without measuring anything yet.

        Raises UsageError for what is no model, MissingWeights or BadWeights for one of the registry, Unavailable for
        a metric that cannot be computed here.
        """
        protocol, device = protocol_for(model, self.protocol), self._device(model)
        subject = subject_of(model, Setting(protocol, device, self.weights, self.init), label)
        request = Request(
            (subject.name,), self.data, self.metrics, protocol, self.speed, self.limit, str(device), self.batch,
            self.strict, weights=self.weights, roots=self.roots, out=self.out, init=self.init,
        )  # fmt: skip
        return Measured(request, subject, self._probes(protocol, device), self.kept, progress)

    def _device(self, model: Model) -> torch.device:
        held = None if isinstance(model, str) else device_of(model)
        return held if held is not None and self.device == "auto" else pick_device(self.device)

    def _probes(self, protocol: EvalProtocol, device: torch.device) -> Probes:
        """Return the probes, loaded. Raises Unavailable for one that cannot be had and was asked for."""
        names = resolve([*self.metrics, *ALWAYS], protocol)
        if str(device) not in self.probes:
            probes = Probes(names, device, self.weights, protocol=protocol)
            probes.pair_probes(probes.names)
            probes.feature_probes(probes.names)
            lost = [name for name in names if METRICS[name].network in probes.reasons]
            if lost and self.strictly:
                raise Unavailable(f"{lost[0]} cannot be measured: {probes.reasons[METRICS[lost[0]].network]}")
            self.probes[str(device)] = probes
        return self.probes[str(device)]


@dataclass
class Measured:
    """A model under a plan, measured data set by data set."""

    request: Request
    subject: Subject
    probes: Probes
    kept: KeptClips
    progress: Progress = silent
    store: Store = field(default_factory=FileStore)

    def on(self, dataset: Dataset, pictures: int = 0) -> tuple[RunRecord, list[SamplePair]]:
        """Return the record on a data set, and `pictures` of its samples, spread evenly over the set.

        Raises what the model raised, or NothingScored, where no sample gave a number.
        """
        task = Patient(
            self.request, dataset, [self.subject], self.probes, self.store, self.progress, reader=self.kept
        )  # fmt: skip
        (record,) = task.records()
        if record.error:
            broken = task.loop.broken.get(self.subject.name)
            _raise(record, broken.error if broken else None)
        return task.write(record, None), list(_pairs(task, record, pictures))


@dataclass
class Patient(Reconstruction):
    """A reconstruction that gives an object up when it fails on each of the first PATIENCE samples."""

    worked: bool = False
    failures: int = 0

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Make what is missing. Raises NothingScored for an object that is given up."""
        (subject,) = self.subjects
        for made in super().make(works):
            yield made
            if made.unit.owner == subject.name and isinstance(subject, Own) and subject.code is None:
                self.worked, self.failures = self.worked or bool(made.rows), self.failures + (not made.rows)
                if not self.worked and self.failures >= PATIENCE:
                    _give_up(subject.name, self.failures, made.errors[0])


def _give_up(name: str, count: int, error: Exception) -> None:
    raise NothingScored(f"{name} failed on each of the first {count} samples: {describe(error)}") from error


def _raise(record: RunRecord, cause: Exception | None) -> None:
    """Raise what kept a model from being measured."""
    if isinstance(cause, CvbenchError):
        raise cause
    raise NothingScored(f"{record.model.name} on {record.data.name}: {record.error}") from cause


def _pairs(task: Reconstruction, record: RunRecord, count: int) -> Iterator[SamplePair]:
    if count < 1:
        return
    ids = [record.samples[i].id for i in evenly(len(record.samples), count)]
    with held_still(task.subjects):
        for shot in task.shots(dict.fromkeys(ids, (record.model.name,))):
            for reconstruction in shot.recons.values():
                yield SamplePair(record.data.name, shot.id, shot.target, reconstruction)


def planned(
    data: str | Sequence[str],
    metrics: Sequence[str] | None,
    protocol: EvalProtocol | str,
    changes: Mapping[str, object] | Sequence[str] = (),
    *,
    seed: int | None = None,
    dtype: str | None = None,
    weights: Mapping[str, str | Path] | None = None,
    out: str | Path | None = None,
    **more: Any,
) -> Plan:
    """Turn what a caller asks for into a plan, with what cvbench.toml says of data and weights.

    Raises UsageError and UnknownName for what makes no sense.
    """
    named = named_protocol(protocol) if isinstance(protocol, str) else protocol
    texts = [f"{k}={as_text(v)}" for k, v in changes.items()] if isinstance(changes, Mapping) else list(changes)
    texts += [f"{k}={v}" for k, v in (("seed", seed), ("dtype", dtype)) if v is not None]
    config, asked = load_config(Path.cwd(), DATASETS, known_weights()), DEFAULT if metrics is None else tuple(metrics)
    given = {name: Path(path) for name, path in (weights or {}).items()}
    check_names(given, known_weights(), "model or metric with weights")
    chosen = derive(named, texts)
    resolve(asked, chosen)
    return Plan(
        (data,) if isinstance(data, str) else tuple(data), asked, chosen, metrics is not None,
        weights={**config.weights, **given}, roots=config.data, out=Path(out) if out is not None else None, **more,
    )  # fmt: skip


KEPT, LOADED = KeptClips(), dict[str, dict[str, Probes]]()
"""Prepared clips, and networks that measure by plan, from one call to the next."""
LARGEST = 4
"""Plans whose networks are kept."""


def _probes_kept(plan: Plan) -> dict[str, Probes]:
    key = digest([resolve(plan.metrics, plan.protocol), {name: str(path) for name, path in plan.weights.items()}])
    LOADED[key] = LOADED.pop(key, {})
    while len(LOADED) > LARGEST:
        del LOADED[next(iter(LOADED))]
    return LOADED[key]


def titled(model: Model, label: str, step: int | None) -> str:
    """Return the name under which a model is measured: `label`, or its own, and the step of its training."""
    name = label or (model if isinstance(model, str) else type(model).__name__)
    return f"{name}@step={step}" if step is not None else label


class Options(TypedDict, total=False):
    """What `evaluate` takes by name; see there."""

    changes: Mapping[str, object] | Sequence[str]
    limit: int | None
    device: str
    dtype: str | None
    seed: int | None
    batch: int
    weights: Mapping[str, str | Path] | None
    init: Init
    label: str
    step: int | None
    speed: bool
    strict: bool
    out: str | Path | None
    progress: Progress | None


@overload
def evaluate(
    model: Model, data: str = ..., metrics: Sequence[str] | None = ..., protocol: EvalProtocol | str = ...,
    *, return_samples: int, **options: Unpack[Options],
) -> tuple[RunRecord, list[SamplePair]]: ...  # fmt: skip
@overload
def evaluate(
    model: Model, data: str = ..., metrics: Sequence[str] | None = ..., protocol: EvalProtocol | str = ...,
    **options: Unpack[Options],
) -> RunRecord: ...  # fmt: skip
@overload
def evaluate(
    model: Model, data: list[str] | tuple[str, ...], metrics: Sequence[str] | None = ...,
    protocol: EvalProtocol | str = ..., **options: Unpack[Options],
) -> list[RunRecord]: ...  # fmt: skip


def evaluate(
    model: Model,
    data: str | list[str] | tuple[str, ...] = "sample",
    metrics: Sequence[str] | None = None,
    protocol: EvalProtocol | str = "cvvae-2405",
    *,
    changes: Mapping[str, object] | Sequence[str] = (),
    limit: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    seed: int | None = None,
    batch: int = 0,
    weights: Mapping[str, str | Path] | None = None,
    init: Init = "weights",
    label: str = "",
    step: int | None = None,
    speed: bool = False,
    strict: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
    return_samples: int | None = None,
) -> Any:
    """Measure one model: a name, any object with `encode` and `decode`, or a network of diffusers.

    data: a data set's name, a folder, a file, or NAME=PATH; of a list of them, a list of records comes back.
    metrics: psnr, ssim and lpips, the last left out where its weights are not on this machine; one that is asked for
    and cannot be had is an error. protocol, changes: its name, or one of your own, and what to change in it, as
    {"size": 128}; dtype and seed are two of these. batch: clips coded together, 0: as the device suggests. weights:
    paths by name. label, step: the name in tables, and the step of the training, which becomes part of it. strict:
    raise the first failure of a sample. out: a folder for records, as `cvbench run --out` leaves them. progress: called
    with what is being done, steps done, and steps in all. return_samples: so many samples with their reconstructions
    come back beside the record, spread evenly over each data set.

    Nothing is printed, and nothing written but cached rows and what `out` asks for; an object stays where it is, and
    its modes, random numbers and gradients are as they were. A network of half precision is measured as it is, which
    the protocol's name then says. Clips are decoded once: another call costs the model and the metrics.

    Raises UsageError and UnknownName for a wrong request, MissingWeights or Unavailable for what is not there: before
    anything is measured; NothingScored, or what the model raised, where no sample gave a number. Single samples that
    failed are in `record.failures`.
    """
    plan = planned(
        data, metrics, protocol, changes, seed=seed, dtype=dtype, weights=weights, out=out, limit=limit, device=device,
        batch=batch, init=init, speed=speed, strict=strict, kept=KEPT,
    )  # fmt: skip
    plan = replace(plan, probes=_probes_kept(plan))
    measured = plan.measure(model, titled(model, label, step), progress or silent)
    made = [measured.on(dataset, return_samples or 0) for dataset in measured.request.datasets()]
    records = [record for record, _ in made]
    if plan.strictly:
        check_scored(records, resolve(plan.metrics, plan.protocol))
    found = records[0] if isinstance(data, str) else records
    return found if return_samples is None else (found, [pair for _, pairs in made for pair in pairs])


def check_scored(records: Sequence[RunRecord], names: Sequence[str]) -> None:
    """Raise Unavailable for a metric that has a score on none of the data sets."""
    for name in names:
        if not any(name in record.scores for record in records):
            reasons = dict.fromkeys(record.unavailable.get(name, "not measured") for record in records)
            raise Unavailable(f"{name} has no score: {'; '.join(reasons)}")
