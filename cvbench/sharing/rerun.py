"""Samples of a bundle measured again, with the models and data that its records name."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cvbench.core.records import RunRecord, SampleRecord
from cvbench.metrics import METRICS
from cvbench.models import MODELS, is_own, labelled
from cvbench.models.local import is_local
from cvbench.sharing.verify import is_generated

SHARE = 0.01
"""Relative difference that a metric without a tolerance may have on another machine."""


@dataclass
class Repeat:
    """Of one record: what differs here, and how many values agree."""

    wrong: list[str] = field(default_factory=list)
    agreeing: int = 0
    equal: int = 0


def picked(record: RunRecord, count: int) -> list[SampleRecord]:
    """Return the samples whose names have the smallest SHA-256: the same for everyone, and nobody's choice."""
    return sorted(record.samples, key=lambda s: hashlib.sha256(s.id.encode("utf-8", "surrogatepass")).digest())[:count]


def beyond(record: RunRecord, *, trusted: bool = False) -> str:
    """Say why a record is not measured again; "" where it is. Only for who is `trusted` its model may be any."""
    if not trusted and not _of_registry(record.model.spec or record.model.name):
        return "its model is not of the registry, and would run what a stranger names: --trust-code, once you read it"
    if record.crossing is not None:
        return "one model's latents in another's decoder: run the compat suite"
    if record.scores and (record.generation or is_generated(record)):
        return "generated samples, which are not in a bundle"
    return "" if _metrics(record) else "it has no score of single samples"


def _of_registry(model: str) -> bool:
    """Tell whether a model is an entry, with options at most: neither somebody's code, nor files, nor of the hub."""
    _, spec = labelled(model)
    return spec in MODELS or (spec.partition("@")[0] in MODELS and not is_own(spec) and not is_local(spec))


def _metrics(record: RunRecord) -> list[str]:
    probes = {probe for sample in record.samples for probe in sample.rows}
    return [m for m in record.scores if m in METRICS and not METRICS[m].distance and METRICS[m].probe in probes]


def repeat(record: RunRecord, count: int, data: Mapping[str, str], weights: Mapping[str, Path], device: str) -> Repeat:
    """Measure `count` samples of a record again; `data` tells by name where sets lie that are not built in.

    Values are never taken from the cache. Raises CvbenchError for models, weights, data or metrics that are not here.
    """
    from cvbench.store import MemoryStore
    from cvbench.tasks.evaluation import planned

    chosen, found, facts = {s.id: s for s in picked(record, count)}, Repeat(), record.model
    where, init = data.get(record.data.name, record.data.name), "random" if facts.init == "random" else "weights"
    plan = planned(where, _metrics(record), record.protocol, weights=weights, device=device, init=init)
    measured = replace(plan.measure(facts.spec or facts.name, facts.name if facts.spec else ""), store=MemoryStore())
    (dataset,) = measured.request.datasets()
    items = tuple(item for item in dataset.items if item.id in chosen or item.clip in chosen)
    found.wrong += [f"{name}: the data here have no such sample" for name in chosen.keys() - {i.id for i in items}]
    if items:
        again, _ = measured.on(replace(dataset, items=items))
        if facts.digest != again.model.digest:
            found.wrong.append(f"the model here is {again.model.digest[:12]}, the record's {facts.digest[:12]}")
        found.wrong += [f"{failure.told} (here)" for failure in again.failures]
        for sample in again.samples:
            found.wrong += _differences(record, chosen[sample.id], sample, found)
    return found


def _differences(record: RunRecord, then: SampleRecord, now: SampleRecord, found: Repeat) -> Iterator[str]:
    """Say in what a sample differs, and count what agrees."""
    if then.sha256 != now.sha256:
        yield f"{then.id}: its pixels are others here"
        return
    for name in _metrics(record):
        metric = METRICS[name]
        rows = [sample.rows.get(metric.probe) for sample in (then, now)]
        if rows[0] is None or rows[1] is None:
            if rows[0] != rows[1]:
                yield f"{then.id}: {name} is {'missing' if rows[1] is None else 'there'} here"
            continue
        a, b = (_value(name, row, record) for row in (rows[0], rows[1]))
        if abs(a - b) > (metric.tolerance if metric.tolerance is not None else SHARE * abs(a)):
            yield f"{then.id}: {name} is {b:.6g} here, {a:.6g} in the bundle"
            continue
        found.agreeing, found.equal = found.agreeing + 1, found.equal + (list(rows[0]) == list(rows[1]))


def _value(name: str, row: object, record: RunRecord) -> float:
    metric = METRICS[name]
    return metric.score(float(metric.values([np.asarray(row, np.float64)], record.protocol)[0]), record.protocol)
