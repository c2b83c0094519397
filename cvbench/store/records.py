"""Records in their folder: a fuller one is never replaced by less, and nothing is lost."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from cvbench.core.digest import digest
from cvbench.core.errors import UsageError
from cvbench.core.records import ORDER, Order, RunRecord, SampleRecord, read_order
from cvbench.store.files import file_name, write_text
from cvbench.store.rows import PATIENCE

ORIGINS = ".origins"
"""Beside the records, in JSON: by name of a data set, a digest of where it lies. Only records are called `*.json`."""
ASIDE = "superseded"
"""Folder below the records for those that other weights, options or pixels have replaced."""


class Written(NamedTuple):
    """Where a record lies, and what a user should know: that a fuller one stayed, or an older one was moved."""

    path: Path
    word: str = ""


def record_path(folder: Path, record: RunRecord) -> Path:
    """Return the place of a record: one of a model, data set and protocol; untrained models have their own."""
    model = record.model.name + ("+random" if record.model.init == "random" else "")
    return folder / "records" / f"{file_name(model, record.data.name, record.protocol.name)}.json"


def write_record(folder: Path, record: RunRecord, origin: str = "") -> Written:
    """Write a record to its place, durably; of equal models on equal samples, metrics add up.

    `origin` is where the data lie; it is kept beside the records, as a digest, to tell data sets of one name apart.

    A record of fewer samples leaves the one that has them all, unless it failed on some of those. One that would lose
    something moves the old one into the folder ASIDE; so does one that failed, for an old score must not stand for a
    model that no longer runs.
    Raises UsageError when the place holds another data set of the same name.
    """
    path = record_path(folder, record)
    with _alone(path.parent):
        old, origins, here = _held(path), _origins(path.parent), digest(origin)[:16] if origin else ""
        is_elsewhere = origins.get(record.data.name, here) != here
        if old and is_elsewhere and _share_nothing(old, record):
            raise UsageError(
                f"{folder} holds another data set called {record.data.name}: tell them apart by --data NAME=PATH, or "
                "write to another --out; what was measured is kept"
            )
        if here and origins.get(record.data.name) != here:
            write_text(path.parent / ORIGINS, json.dumps({**origins, record.data.name: here}, ensure_ascii=False))
        return _settle(path, old, record) if old else _put(path, record)


def keep_order(folder: Path, records: Sequence[RunRecord]) -> None:
    """Keep the order of a run's models and data sets beside the records, for tables and reports."""
    inner = folder / "records"
    names = [tuple(dict.fromkeys(part)) for part in zip(*((r.model.name, r.data.name) for r in records), strict=True)]
    if names and inner.is_dir():
        with _alone(inner):
            order = read_order(inner).then(Order(*names))
            write_text(inner / ORDER, json.dumps(asdict(order), ensure_ascii=False))


def _share_nothing(old: RunRecord, new: RunRecord) -> bool:
    return bool(old.samples and new.samples) and not _samples(old).keys() & _samples(new).keys()


def _origins(folder: Path) -> dict[str, str]:
    """Return by name of a data set a digest of where it lies."""
    try:
        held = json.loads((folder / ORIGINS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): str(place) for name, place in held.items()} if isinstance(held, dict) else {}


def _settle(path: Path, old: RunRecord, new: RunRecord) -> Written:
    if _covers(new, old):
        return _put(path, new)
    if not _alike(old, new):
        _move_aside(path, old)
        return _put(path, new, f"the record of {old.model.name} on {old.data.name} was another's: moved to {ASIDE}/")
    if _samples(new).keys() == _samples(old).keys():
        return _put(path, _joined(old, new))
    if _samples(new).keys() < _samples(old).keys() and not _lost(old, new):
        word = f"{len(new.samples)} samples: the record of all {len(old.samples)} stays as it is"
        return Written(path, f"{new.model.name} on {new.data.name}: {word}")
    _move_aside(path, old)
    return _put(path, new, f"the record of {old.model.name} on {old.data.name} had other samples: moved to {ASIDE}/")


def _covers(new: RunRecord, old: RunRecord) -> bool:
    """Tell whether nothing of the old record is missing from the new one."""
    return not old.scores or (
        _alike(old, new) and old.scores.keys() <= new.scores.keys() and _samples(old).keys() <= _samples(new).keys()
    )


def _alike(old: RunRecord, new: RunRecord) -> bool:
    """Tell whether two records that ran are of one model under one protocol."""
    return not new.error and old.model.digest == new.model.digest and old.protocol == new.protocol


def _lost(old: RunRecord, new: RunRecord) -> bool:
    """Tell whether the new run failed on samples that the old one scored: no smaller run, but news."""
    return not {failure.id for failure in new.failures}.isdisjoint(sample.id for sample in old.samples)


def _joined(old: RunRecord, new: RunRecord) -> RunRecord:
    """Return the new record with the metrics that only the old one has."""
    held = _samples(old)
    samples = [replace(s, rows={**held[s.id, s.sha256].rows, **s.rows}) for s in new.samples]
    known = {name: why for name, why in old.unavailable.items() if name not in new.scores}
    return replace(
        new,
        samples=samples,
        scores={**old.scores, **new.scores},
        probes={**old.probes, **new.probes},
        unavailable={**known, **new.unavailable},
        inapplicable=[n for n in {**known, **new.unavailable} if n in (*old.inapplicable, *new.inapplicable)],
        speed=new.speed or old.speed,
        precision_db=new.precision_db if new.precision_db is not None else old.precision_db,
    )


def _samples(record: RunRecord) -> dict[tuple[str, str], SampleRecord]:
    return {(s.id, s.sha256): s for s in record.samples}


def _held(path: Path) -> RunRecord | None:
    """Return the record at a place; one that cannot be read is moved aside."""
    if not path.exists():
        return None
    try:
        return RunRecord.load(path)
    except UsageError:
        target = path.parent / ASIDE / f"{path.stem}-unreadable.json"
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        return None


def _move_aside(path: Path, old: RunRecord) -> None:
    text = old.to_json()
    write_text(path.parent / ASIDE / f"{path.stem}-{digest(text)[:8]}.json", text, durable=True)


def _put(path: Path, record: RunRecord, word: str = "") -> Written:
    write_text(path, record.to_json(), durable=True)
    return Written(path, word)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let writers of one folder wait for each other, where the file system can."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=PATIENCE)
    with contextlib.suppress(NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
