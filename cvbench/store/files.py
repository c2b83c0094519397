"""Rows in the cache, records in the output folder; every write is atomic."""

import contextlib
import importlib.metadata
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs

from cvbench.core.records import RunRecord, digest


def cache_root() -> Path:
    """Return the cache folder: CVBENCH_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CVBENCH_CACHE") or platformdirs.user_cache_dir("cvbench", appauthor=False))


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under `path` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}-", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as file:
        file.write(text.encode())


class RowStore:
    """Measured rows by key, shared by all runs of a user.

    A key is the digest of what produced the rows; under it lies one small file with an array per probe. Writers
    never see each other's halves: a file is replaced whole. Two processes that add different probes to one key at
    the same moment may lose one of the two additions, which is then computed again.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()

    def rows(self, key: str) -> dict[str, np.ndarray]:
        """Return the arrays stored under `key`; none when there are none or the file is damaged."""
        try:
            with self._path("rows", key, "npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return {}

    def add(self, key: str, rows: Mapping[str, np.ndarray]) -> None:
        """Add arrays under `key`, keeping those of other names."""
        merged: dict[str, Any] = {**self.rows(key), **rows}
        with atomic(self._path("rows", key, "npz")) as file:
            np.savez(file, **merged)

    def facts(self, key: str) -> Any:
        """Return the JSON value stored under `key`, or None."""
        try:
            return json.loads(self._path("facts", key, "json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def remember(self, key: str, value: object) -> None:
        """Store a JSON value under `key`."""
        write_text(self._path("facts", key, "json"), json.dumps(value, ensure_ascii=False, allow_nan=False))

    def _path(self, kind: str, key: str, suffix: str) -> Path:
        return self.root / kind / key[:2] / f"{key}.{suffix}"


def row_key(sample: str, model: str, reconstruction: Mapping[str, object]) -> str:
    """Key of a model's rows on one prepared sample (`sample`: SHA-256 of its pixels)."""
    return digest({"sample": sample, "model": model, "reconstruction": dict(reconstruction)})


def prepared_key(fingerprint: str, preparation: Mapping[str, object]) -> str:
    """Key of what is known of a source after preparation: hash, shape, facts; another decoder reads it anew."""
    readers = {name: importlib.metadata.version(name) for name in ("av", "pillow")}
    return digest({"source": fingerprint, "preparation": dict(preparation), "readers": readers, "version": 1})


def file_name(*parts: str) -> str:
    """Join names into one that every file system takes; parts that had to be changed gain a short hash."""
    clean = []
    for part in parts:
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._+=@-") else "_" for c in part)[:80].strip(".")
        clean.append(safe if safe == part else f"{safe}-{digest(part)[:8]}")
    return "--".join(clean)


def write_record(folder: Path, record: RunRecord) -> Path:
    """Write a record to its place; one that could not run never replaces one that has scores."""
    name = file_name(record.model.name, record.data.name, str(record.protocol["name"]))
    path = folder / "records" / f"{name}.json"
    if record.error and path.exists() and RunRecord.load(path).scores:
        return path
    write_text(path, record.to_json())
    return path
