"""Measured rows and facts by key: what is stored is believed only when its digest says that it is whole."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import platformdirs
from filelock import FileLock

from cvbench.store.files import atomic

HEAD = b"cvbench 1 "
LARGEST = 1 << 30
"""Bytes of a stored file; nothing that is written is larger."""
PATIENCE = 60.0
"""Seconds to wait for another writer of the same folder."""
Rows = Mapping[str, np.ndarray]


@runtime_checkable
class Store(Protocol):
    """Keeps rows (arrays by name) and facts (JSON values) by key; a key is the digest of all that made them."""

    def rows(self, key: str) -> dict[str, np.ndarray]:
        """Return the arrays under `key`, none when there are none."""
        ...

    def add(self, key: str, rows: Rows) -> None:
        """Add arrays under `key`, keeping those of other names."""
        ...

    def facts(self, key: str) -> Any:
        """Return the JSON value under `key`, or None."""
        ...

    def remember(self, key: str, value: object) -> None:
        """Store a JSON value under `key`."""
        ...


class MemoryStore:
    """Keeps rows and facts for as long as the process lives."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, np.ndarray]] = {}
        self._facts: dict[str, Any] = {}

    def rows(self, key: str) -> dict[str, np.ndarray]:
        """Return the arrays under `key`, none when there are none."""
        return dict(self._rows.get(key, {}))

    def add(self, key: str, rows: Rows) -> None:
        """Add arrays under `key`, keeping those of other names."""
        self._rows.setdefault(key, {}).update(rows)

    def facts(self, key: str) -> Any:
        """Return the JSON value under `key`, or None."""
        return self._facts.get(key)

    def remember(self, key: str, value: object) -> None:
        """Store a JSON value under `key`."""
        self._facts[key] = value


class FileStore:
    """A folder shared by all runs of a user, and by runs at the same time.

    A file holds what stands under one key, and the digest of key and content: a file that is damaged, cut short or
    under another's name counts as missing. Additions to one key wait for each other, so that none is lost. Where the
    folder cannot be written, everything is kept in memory for as long as the process lives, and `trouble` says why.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()
        self.trouble = ""
        self._unwritten = MemoryStore()
        self._locks: dict[Path, FileLock] = {}  # at most 256, one a folder: making one takes longer than taking it

    def rows(self, key: str) -> dict[str, np.ndarray]:
        """Return the arrays under `key`, none when there are none."""
        return {**_arrays(self._read("rows", key)), **self._unwritten.rows(key)}

    def add(self, key: str, rows: Rows) -> None:
        """Add arrays under `key`, keeping those of other names."""
        with self._keeping(lambda: self._unwritten.add(key, rows)), self._alone("rows", key):
            out = io.BytesIO()
            np.savez(out, allow_pickle=False, **{**_arrays(self._read("rows", key)), **rows})
            self._write("rows", key, out.getvalue())

    def facts(self, key: str) -> Any:
        """Return the JSON value under `key`, or None."""
        found = self._unwritten.facts(key)
        content = self._read("facts", key) if found is None else None
        return found if content is None else json.loads(content)

    def remember(self, key: str, value: object) -> None:
        """Store a JSON value under `key`."""
        content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
        with self._keeping(lambda: self._unwritten.remember(key, value)):
            self._write("facts", key, content)

    def _path(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    def _read(self, kind: str, key: str) -> bytes | None:
        """Return a file's content, None unless it is just what was written under this key."""
        path = self._path(kind, key)
        try:
            if path.stat().st_size > LARGEST:
                return None
            head, _, content = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        return content if head == _head(key, content) else None

    def _write(self, kind: str, key: str, content: bytes) -> None:
        with atomic(self._path(kind, key)) as file:
            file.write(_head(key, content) + b"\n" + content)

    @contextlib.contextmanager
    def _alone(self, kind: str, key: str) -> Iterator[None]:
        folder = self._path(kind, key).parent
        if folder not in self._locks:
            self._locks[folder] = FileLock(folder / ".lock", timeout=PATIENCE)
        with self._locks[folder]:  # which makes the folder where it is not there, or no longer
            yield

    @contextlib.contextmanager
    def _keeping(self, in_memory: Any) -> Iterator[None]:
        """Keep in memory what could not be written."""
        try:
            yield
        except (OSError, NotImplementedError) as error:
            in_memory()
            why = getattr(error, "strerror", None) or error
            self.trouble = (
                f"the cache {self.root} cannot be written ({why}): what is measured is not kept beyond this run"
            )


def _head(key: str, content: bytes) -> bytes:
    return HEAD + hashlib.sha256(key.encode() + b"\n" + content).hexdigest().encode()


def _arrays(content: bytes | None) -> dict[str, np.ndarray]:
    if content is None:
        return {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # another version's file
        return {}


def cache_root() -> Path:
    """Return the cache folder: CVBENCH_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CVBENCH_CACHE") or platformdirs.user_cache_dir("cvbench", appauthor=False))
