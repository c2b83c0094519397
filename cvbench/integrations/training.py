"""Scores while a model trains: every N steps, from few samples, on all ranks, and without a trace in the training."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch.distributed as dist

from cvbench.core.errors import CvbenchError, NothingScored, UsageError, says_nothing
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import RunRecord, SampleRecord
from cvbench.data import Dataset, open_dataset
from cvbench.engine.pictures import evenly
from cvbench.metrics import METRICS, resolve, sample_values
from cvbench.metrics.sequential import Estimate, Sampling
from cvbench.tasks.evaluation import Measured, SamplePair, planned

Value = tuple[str, int, float | None]
"""Of a metric, by its name, the value of the sample at an index; None where it says nothing of such samples."""


@dataclass(frozen=True)
class Monitored:
    """What was found at a step: by DATA/METRIC the estimate of the full score, and pictures, on the first rank alone.

    `failed` says which samples gave no number, which metrics have no estimate for want of them, and why.
    """

    step: int
    scores: Mapping[str, Estimate]
    pictures: Sequence[SamplePair] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float]:
        """The numbers alone, by DATA/METRIC, as loggers take them."""
        return {name: estimate.value for name, estimate in self.scores.items()}


@runtime_checkable
class Logger(Protocol):
    """Where scores and pictures go; called on the first rank alone."""

    def log(self, found: Monitored) -> None:
        """Pass on what was found."""
        ...


class EveryN:
    """Measures a model every `every` steps of its training; call it at the end of each step, on every rank.

    data, metrics, protocol and further options are those of `cvbench.evaluate`. budget: samples of each data set that
    are looked at, all of them where none is said. within: by metric the half width of the 95 % interval at which
    looking stops early, as {"psnr": 0.1}. loggers get what was found, with `pictures` samples of the first data set.
    Ranks share the samples, and all get the same estimates. strict: what fails while the training runs is raised; else
    it is a warning, as no training should end for its monitor.

    Nothing of the training changes: modes, random numbers, gradients, autocast and weights are as if there were no
    monitor. Raises UsageError, UnknownName, Unavailable at once for what cannot be measured.
    """

    def __init__(
        self,
        every: int,
        data: str | Sequence[str] = "sample",
        metrics: Sequence[str] = ("psnr", "ssim"),
        protocol: EvalProtocol | str = "cvvae-2405",
        *,
        budget: int | None = None,
        within: Mapping[str, float] | None = None,
        loggers: Sequence[Logger] = (),
        pictures: int = 0,
        seed: int = 0,
        strict: bool = False,
        changes: Mapping[str, object] | Sequence[str] = (),
        device: str = "auto",
        batch: int = 0,
        weights: Mapping[str, str | Path] | None = None,
    ) -> None:
        if every < 1:
            raise UsageError(f"every {every} steps makes no sense; give 1 or more")
        self.every, self.loggers, self.pictures, self.strict = every, loggers, pictures, strict
        self.plan = planned(data, metrics, protocol, changes, device=device, batch=batch, weights=weights)
        self.metrics = resolve(metrics, self.plan.protocol)
        self.within = {resolve([name], self.plan.protocol)[0]: width for name, width in (within or {}).items()}
        _check(self.metrics, self.within)
        self.datasets = [open_dataset(d, self.plan.roots, None, self.plan.protocol.reader) for d in self.plan.data]
        self.samplings = [Sampling.of(len(d.items), budget, once=not within, seed=seed) for d in self.datasets]
        self.history: list[Monitored] = []
        self.last = 0

    def __call__(self, step: int, model: Any) -> Monitored | None:
        """Measure where it is time to; return what was found, None between."""
        if step <= 0 or step % self.every or step == self.last:
            return None
        self.last = step
        try:
            return self.measure(step, model)
        except CvbenchError as error:
            if self.strict:
                raise
            warnings.warn(f"cvbench at step {step}: {error}", stacklevel=2)
            return None

    def measure(self, step: int, model: Any) -> Monitored:
        """Measure now. Raises NothingScored, or what the model raised, where no sample gave a number, on all ranks."""
        measured = _together(lambda: self.plan.measure(model))
        scores: dict[str, Estimate] = {}
        failed: dict[str, str] = {}
        for dataset, sampling in zip(self.datasets, self.samplings, strict=True):
            estimates, lost = self._looked(measured, dataset, sampling)
            scores |= {f"{dataset.name}/{name}": estimate for name, estimate in estimates.items()}
            failed |= {f"{dataset.name}/{name}": why for name, why in lost.items()}
        if not scores:
            raise NothingScored("; ".join(f"{name}: {why}" for name, why in failed.items()))
        found = Monitored(step, scores, _together(lambda: self._pictured(measured)), failed)
        self.history.append(found)
        for logger in self.loggers if _rank()[0] == 0 else ():
            logger.log(found)
        return found

    def _looked(
        self, measured: Measured, dataset: Dataset, sampling: Sampling
    ) -> tuple[dict[str, Estimate], dict[str, str]]:
        """Look at more and more samples until every interval is narrow enough, or the budget is spent."""
        values: dict[str, dict[int, float | None]] = {name: {} for name in self.metrics}
        failed: dict[str, str] = {}
        seen: set[int] = set()
        estimates: dict[str, Estimate] = {}
        lacking: dict[str, str] = {}
        for look in sampling.looks:
            new = [i for i in look if i not in seen]
            seen.update(new)
            for name, index, value in self._shared(measured, dataset, new, failed):
                values[name][index] = value
            estimates, lacking = self._estimated(sampling, values)
            if self.within and all(n in estimates and estimates[n].half <= width for n, width in self.within.items()):
                break
        return estimates, failed | lacking

    def _estimated(
        self, sampling: Sampling, values: Mapping[str, Mapping[int, float | None]]
    ) -> tuple[dict[str, Estimate], dict[str, str]]:
        """Return by metric the estimate, and of those that have none why."""
        estimates, lacking = dict[str, Estimate](), dict[str, str]()
        for name, found in values.items():
            numbers = {i: value for i, value in found.items() if value is not None}
            try:
                mean = sampling.estimate(numbers, found.keys() - numbers.keys())
                estimates[name] = _scored(name, mean, self.plan.protocol)
            except NothingScored as error:
                lacking[name] = str(error)
        return estimates, lacking

    def _shared(
        self, measured: Measured, dataset: Dataset, wanted: Sequence[int], failed: dict[str, str]
    ) -> list[Value]:
        """Measure this rank's share of samples; return the values of all, and add to `failed` what failed anywhere."""
        rank, ranks = _rank()
        mine = wanted[rank::ranks]
        values, lost = _together(lambda: _values(measured, dataset, mine, self.metrics) if mine else ([], {}))
        everything: list[Any] = [(values, lost)]
        if ranks > 1:
            everything = [None] * ranks
            dist.all_gather_object(everything, (values, lost))
        for _, each in everything:
            failed.update(each)
        return [value for found, _ in everything for value in found]

    def _pictured(self, measured: Measured) -> list[SamplePair]:
        """Return the same few samples every time, on the first rank."""
        if not self.pictures or _rank()[0]:
            return []
        dataset = self.datasets[0]
        chosen = replace(dataset, items=tuple(dataset.items[i] for i in evenly(len(dataset.items), self.pictures)))
        return measured.on(chosen, self.pictures)[1]


def _check(metrics: Sequence[str], within: Mapping[str, float]) -> None:
    if sets := [name for name in metrics if METRICS[name].distance]:
        raise UsageError(f"{sets[0]} compares whole sets, and few samples estimate it wrongly; use cvbench.evaluate")
    if alien := [name for name in within if name not in metrics]:
        raise UsageError(f"within: {alien[0]} is none of the metrics {', '.join(metrics)}")
    if wrong := [name for name, width in within.items() if not width > 0]:
        raise UsageError(f"within: {wrong[0]} is to be known within more than 0, not {within[wrong[0]]}")


def _values(
    measured: Measured, dataset: Dataset, indices: Sequence[int], metrics: Sequence[str]
) -> tuple[list[Value], dict[str, str]]:
    """Return the values of some samples by metric and index, and why others have none."""
    items = [dataset.items[i] for i in indices]
    record, _ = measured.on(replace(dataset, items=tuple(items)))
    place = {item.id: i for item, i in zip(items, indices, strict=True)}
    found: list[Value] = [
        (m, place[i], v) for m in metrics if m in record.scores for (i, _), v in sample_values(record, m).items()
    ]
    found += [(m, place[sample.id], None) for m in metrics for sample in _images(record, m)]
    return found, {failure.id: failure.error for failure in record.failures}


def _images(record: RunRecord, metric: str) -> list[SampleRecord]:
    """Return the images of which a metric of clips says nothing, and what has no text for one of text."""
    without = [s for s in record.samples if METRICS[metric].probe not in s.rows]
    return [s for s in without if says_nothing(record.unavailable.get(metric, ""), s.frames)]


def _scored(name: str, mean: Estimate, protocol: EvalProtocol) -> Estimate:
    """Return the score that a mean of values stands for."""
    m = METRICS[name]
    low, high = sorted((m.score(mean.low, protocol), m.score(mean.high, protocol)))
    return replace(mean, value=m.score(mean.value, protocol), low=low, high=high)


def _rank() -> tuple[int, int]:
    ready = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if ready else (0, 1)


def _together(step: Any) -> Any:
    """Do a step on every rank; where one fails, all raise, so that none waits for ever."""
    error: Exception | None = None
    made = None
    try:
        made = step()
    except Exception as caught:  # whatever the model raises
        error = caught
    rank, ranks = _rank()
    if ranks > 1:
        told: list[str | None] = [None] * ranks
        dist.all_gather_object(told, None if error is None else f"rank {rank}: {error}")
        if error is None and any(told):
            raise CvbenchError("; ".join(filter(None, told)))
    if error is not None:
        raise error
    return made
