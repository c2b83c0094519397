"""Whether a bundle agrees with itself: hashes, signatures, and every score made again from its rows."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cvbench import __version__
from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.protocol import PROTOCOLS, EvalProtocol, protocol
from cvbench.core.records import RunRecord, SampleRecord, Score, read_records
from cvbench.engine.pictures import Gallery, files_of, read_all
from cvbench.metrics import METRICS, score
from cvbench.sharing.bundle import derived
from cvbench.sharing.files import Opened

CLOSE, CLOSE_INTERVAL = 1e-9, 1e-6
"""Relative differences that sums and resampling may have on another machine."""
REPORT = "report.html"


@dataclass
class Verdict:
    """What was found wrong, each with its place; what was made again, and what cannot be made again from a bundle."""

    sha256: str
    wrong: list[str] = field(default_factory=list)
    recomputed: int = 0
    not_recomputed: list[str] = field(default_factory=list)


def verify(bundle: Opened) -> Verdict:
    """Check a bundle. The scores of records that do not read are not made again: that they do not is what is wrong."""
    verdict = Verdict(bundle.sha256, list(_files(bundle)))
    try:
        records = read_records([bundle.folder / "records"])
    except UsageError as error:
        verdict.wrong.append(str(error).replace(f"{bundle.folder}/", ""))
        return verdict
    for record in records:
        _record(record, verdict)
    _tables(bundle, records, verdict)
    verdict.wrong += _pictures(bundle, records)
    return verdict


def _files(bundle: Opened) -> Iterator[str]:
    listed, there = bundle.manifest.files, bundle.files()
    yield from (f"{name} is missing" for name in listed if name not in there)
    yield from (f"{name} is not in the manifest" for name in there if name not in listed)
    for name, held in listed.items():
        if name in there and _sha256(there[name]) != held.sha256:
            yield f"{name} is not what the manifest says: its SHA-256 differs"
        elif name in there and there[name].stat().st_size != held.bytes:
            yield f"{name} is not what the manifest says: its size differs"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(record: RunRecord, verdict: Verdict) -> None:
    where = f"{record.model.name} on {record.data.name}, {record.protocol.name}"
    verdict.wrong += [f"{where}: {fault}" for fault in (*_protocol(record.protocol), *_samples(record))]
    for name, found in record.scores.items():
        verdict.wrong += [
            f"{where}: {name}: {fault}" for fault in (*_signature(record, name, found), *_rows(record, name))
        ]
        if why := _beyond(record, name):
            verdict.not_recomputed.append(f"{where}: {name}: {why}")
            continue
        verdict.recomputed += 1
        verdict.wrong += [f"{where}: {name}: {fault}" for fault in _score(record, name, found)]


def _protocol(found: EvalProtocol) -> Iterator[str]:
    """Say where a protocol has a name of ours and other fields; one of another version is another protocol."""
    base = PROTOCOLS.get(found.name.partition("+")[0])
    if base is None or base.version != found.version:
        return
    try:
        meant = protocol(found.name)
    except CvbenchError:  # changes that no field takes
        meant = base
    if replace(meant, name=found.name) != found or (found.name != base.name and meant == base):
        yield f"the protocol is not what its name says: {_differing(meant, found)}"


def _differing(meant: EvalProtocol, found: EvalProtocol) -> str:
    pairs = ((name, value, found.as_dict()[name]) for name, value in meant.as_dict().items() if name != "name")
    return ", ".join(f"{name} is {b}, not {a}" for name, a, b in pairs if a != b) or "it changes nothing that is known"


def _samples(record: RunRecord) -> Iterator[str]:
    if not record.samples or is_generated(record):
        return  # whose data are the reference's, of which a record has no samples
    manifest = digest([[s.id, s.sha256] for s in record.samples])
    if manifest != record.data.manifest:
        yield f"the samples give the manifest {manifest[:12]}, not {record.data.manifest[:12]}"
    if record.data.n != len(record.samples):
        yield f"{len(record.samples)} samples, not {record.data.n}"


def is_generated(record: RunRecord) -> bool:
    """Tell whether a record is of generated samples: all its scores are, but those that only describe."""
    ranked = [METRICS[name] for name in record.scores if name in METRICS and METRICS[name].ranked]
    return all(metric.task == "generation" for metric in ranked)


def _signature(record: RunRecord, name: str, found: Score) -> Iterator[str]:
    signed = found.signature
    if signed.metric != name:
        yield f"is signed as {signed.metric}"
    if signed.protocol != record.protocol:
        yield "its signature has another protocol"
    if name not in METRICS or METRICS[name].task == "generation" or record.generation:
        return  # it is of the reference, or of what the base VAE made
    if (signed.data, signed.manifest) != (record.data.name, record.data.manifest[: len(signed.manifest)]):
        yield f"its signature is of {signed.held}"
    version = record.probes.get(METRICS[name].network, signed.version)
    if signed.version != version:
        yield f"its signature has version {signed.version}, the record's probe is {version}"


def _beyond(record: RunRecord, name: str) -> str:
    """Say why a score cannot be made again from a record; "" where it can."""
    if name not in METRICS:
        return "a metric that this cvbench does not know"
    if METRICS[name].distance:
        return "compares sets by features, which records do not hold"
    return "" if _with_rows(record, name) else "its rows are not in the record"


def _rows(record: RunRecord, name: str) -> Iterator[str]:
    """Say where a score of single samples lacks their rows: of all, or of some without the record saying so."""
    if name not in METRICS or METRICS[name].distance:
        return
    total, there = len(record.samples), len(_with_rows(record, name))
    if not there:
        yield "has a score, and no sample has rows of it"
    elif there < total and not record.unavailable.get(name, "").startswith(f"{total - there} of {total} "):
        yield f"{there} of {total} samples have rows, and the record does not say why others have none"


def _with_rows(record: RunRecord, name: str) -> list[SampleRecord]:
    return [sample for sample in record.samples if METRICS[name].probe in sample.rows]


def _score(record: RunRecord, name: str, found: Score) -> Iterator[str]:
    samples = _with_rows(record, name)
    rows = [np.asarray(s.rows[METRICS[name].probe], np.float64) for s in samples]
    try:
        again = score(name, rows, record.protocol, found.signature, [s.clip for s in samples])
    except CvbenchError as error:
        yield f"cannot be made from its rows: {error}"
        return
    if again.n != found.n:
        yield f"the rows are of {again.n} samples, the score says {found.n}"
    if not _close(again.value, found.value, CLOSE):
        yield f"the rows give {again.value:.9g}, the score says {found.value:.9g}"
    if not (_close(again.low, found.low, CLOSE_INTERVAL) and _close(again.high, found.high, CLOSE_INTERVAL)):
        yield f"the rows give the interval {_span(again)}, the score says {_span(found)}"


def _close(a: float | None, b: float | None, relative: float) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=relative, abs_tol=relative))


def _span(found: Score) -> str:
    return "none" if found.low is None or found.high is None else f"[{found.low:.9g}, {found.high:.9g}]"


def _tables(bundle: Opened, records: Sequence[RunRecord], verdict: Verdict) -> None:
    """Make the tables again where this is the version that wrote them; another may lay them out otherwise."""
    texts = derived(records)
    verdict.not_recomputed.append(f"{REPORT}: its hash alone is checked")
    if bundle.manifest.cvbench != __version__:
        verdict.not_recomputed += [f"{name}: written by cvbench {bundle.manifest.cvbench}" for name in texts]
        return
    for name, text in texts.items():
        path = bundle.folder / name
        if path.is_file() and path.read_bytes() != text.encode("utf-8", "backslashreplace"):
            verdict.wrong.append(f"{name} is not what the records give")


def _pictures(bundle: Opened, records: Sequence[RunRecord]) -> Iterator[str]:
    """Say which pictures cannot be shown, and which belong to no record."""
    home = bundle.folder / "pictures"
    galleries, problems = read_all(home)
    yield from (problem.replace(f"{bundle.folder}/", "") for problem in problems)
    for gallery in galleries:
        own = {r.model.name for r in records if (r.data.name, r.protocol.name) == (gallery.data, gallery.protocol)}
        others = [name for name in gallery.models if name not in own]
        yield from (f"pictures of {name} on {gallery.data}, of which there is no record" for name in others)
    if not problems:
        named = {path for gallery in galleries for clip in gallery.clips for path in _paths(gallery, files_of(clip))}
        stray = [p for p in sorted(home.rglob("*")) if p.suffix != ".json" and p.is_file() and p.resolve() not in named]
        yield from (f"{path.relative_to(bundle.folder)} is a picture that no index names" for path in stray)


def _paths(gallery: Gallery, names: Sequence[str]) -> list[Path]:
    return [(gallery.folder / name).resolve() for name in names]
