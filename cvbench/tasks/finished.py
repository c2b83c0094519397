"""A finished run that is asked for again: known by all that it depends on, and answered from its records. No torch.

A run is remembered when nothing in it failed and every record lies in its folder just as it was written. It is the
same run only while nothing of this has changed: what was asked for, the files of the data, the weights of models and
metrics, the code of cvbench, the versions of what it stands on, the machine and its settings, the records and the
pictures. Of users' own models and of models on the hub nothing of the kind is certain without running them: those
never count.
"""

import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvbench import models, weights
from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import RunRecord
from cvbench.data import open_dataset
from cvbench.metrics import METRICS, resolve
from cvbench.probes import FEATURES, PROBES, weights_of
from cvbench.store import Store, record_path
from cvbench.store.shards import machine

PACKAGE = Path(__file__).parents[1]
STANDS_ON = (
    "torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "lpips", "dreamsim", "av", "pillow",
    "decord", "numpy", "scipy",
)  # fmt: skip
SETTINGS = ("CUDA_", "CVBENCH_", "HF_", "MKL_", "NVIDIA_", "OMP_", "OPENBLAS_", "TORCH_", "XDG_")
"""Beginnings of the environment's names that may move a number, or where something is found."""
GPUS = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))
"""Files that are there where torch may find a GPU."""
CARDS = Path("/proc/driver/nvidia/gpus")
"""A folder a card, with its name."""


class NoMemory(Exception):
    """A run of which nothing is remembered."""


def key_of(task: str, asked: Mapping[str, Any]) -> str | None:
    """Return what stands for a run of a task by the fields of its request; None for one that is never remembered."""
    try:
        return digest([task, _plain(asked), list(_inputs(asked)), _here()])
    except (NoMemory, CvbenchError, OSError):
        return None  # the run itself will say what is wrong


def recall(key: str | None, out: Path, store: Store) -> list[RunRecord] | None:
    """Return the records of a finished run, in their order; None unless all is there as it was."""
    known = store.facts(f"{key}") if key else None
    try:
        if not known or known["pictures"] != _pictures(out):
            return None
        texts = [(out / name).read_bytes() for name, _ in known["records"]]
        if [hashlib.sha256(text).hexdigest() for text in texts] != [sha256 for _, sha256 in known["records"]]:
            return None
        return [RunRecord.from_json(text) for text in texts]
    except (OSError, CvbenchError, KeyError, TypeError, ValueError):
        return None


def remember(key: str | None, records: Sequence[RunRecord], out: Path, store: Store) -> None:
    """Remember a run in which nothing failed or was lacking; what did is tried again when it is asked for again."""
    if key is None or not records or not all(map(_whole, records)):
        return
    kept = []
    for record in records:
        path, text = record_path(out, record), record.to_json().encode("utf-8", "backslashreplace")
        if not path.is_file() or path.read_bytes() != text:  # joined with what an earlier run measured
            return
        kept.append([path.relative_to(out).as_posix(), hashlib.sha256(text).hexdigest()])
    store.remember(key, {"records": kept, "pictures": _pictures(out)})


def _whole(record: RunRecord) -> bool:
    lacking = record.unavailable.keys() - set(record.inapplicable)
    return not (record.error or record.failures or record.notes or lacking)


def _inputs(asked: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what stands for the data, the models and the probes."""
    protocol: EvalProtocol = asked["protocol"]
    for spec in asked["data"]:
        dataset = open_dataset(spec, asked["roots"], asked["limit"], protocol.reader, asked["pick"])
        yield [dataset.name, dataset.note, dataset.place, [[item.id, item.fingerprint] for item in dataset.items]]
    for spec in asked["models"]:
        yield _model(models.labelled(spec)[1], asked["weights"], asked["init"])
    for name in dict.fromkeys(METRICS[metric].network for metric in resolve(asked["metrics"], protocol)):
        yield [name, list(_probe(name, asked["weights"]))]


def _model(spec: str, given: Mapping[str, Path], init: str) -> Any:
    """Return what a model is known by: its options, and its own weights and those of the encoder it stands on."""
    if models.is_own(spec) or spec.startswith("hf:"):
        raise NoMemory
    name, entry, options = models.parse(spec)
    if entry.source is None or init == "random":
        return [name, options, init]
    places = {**given, name: Path(entry.place)} if entry.place else given
    partner = models.find(entry.encoder).source if entry.encoder else None
    beside = [_weights(entry.encoder, partner, places)] if partner else []
    return [name, options, _weights(name, entry.source, places), *beside]


def _probe(name: str, given: Mapping[str, Path]) -> Iterator[Any]:
    if name in PROBES:
        yield PROBES[name].version
        yield from (_weights(known_as, source, given) for known_as, (source,) in weights_of(name).items())
        return
    for known_as, sources in FEATURES[name].weights.items():
        yield next((_weights(known_as, s, given) for s in sources if weights.locate(known_as, s, given)), None)


def _weights(name: str, source: weights.Source, given: Mapping[str, Path]) -> list[str]:
    """Return what weights are known by. Raises NoMemory for weights that are not here: nothing is fetched for a key."""
    path = weights.locate(name, source, given)
    if path is None:
        raise NoMemory
    held = weights.identity(path, source)
    return [held.sha256, held.revision]


def _here() -> Any:
    """Return what stands for the program, what it stands on, and the machine."""
    code = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in (".py", ".toml", ".json", ".safetensors"):
            code.update(f"{path.relative_to(PACKAGE)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    settings = {name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)}
    gpus = [path.read_text(errors="replace") if path.is_file() else path.exists() for path in GPUS]
    gpus += [path.read_text(errors="replace") for path in sorted(CARDS.glob("*/information"))]
    return [code.hexdigest(), sys.version, platform.platform(), machine(), _processor(), _versions(), settings, gpus]


def _processor() -> list[Any]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    return [os.cpu_count(), next((line for line in lines if line.startswith("model name")), lines[0])]


def _versions() -> list[str]:
    return [_version(name) for name in STANDS_ON]


def _version(name: str) -> str:
    """Return version and digest of the files of a package, which a rebuilt wheel of the same version has others of."""
    try:
        found = importlib.metadata.distribution(name)
        return f"{found.version} {hashlib.sha256((found.read_text('RECORD') or '').encode()).hexdigest()}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pictures(out: Path) -> str:
    """Return what stands for the pictures of a report."""
    files: Iterable[Path] = sorted((out / "pictures").rglob("*")) if (out / "pictures").is_dir() else ()
    states = [(path.relative_to(out).as_posix(), path.stat()) for path in files if path.is_file()]
    return digest([[name, state.st_size, state.st_mtime_ns] for name, state in states])


def _plain(asked: Mapping[str, Any]) -> Any:
    """Return the fields of a request as JSON has them, paths from the root."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute())
        if isinstance(value, EvalProtocol):
            return value.as_dict()
        if isinstance(value, Mapping):
            return {str(name): plain(each) for name, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value

    return plain(asked)
