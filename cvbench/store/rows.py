"""Measured rows and facts by key: what is stored is believed only when its digest says that it is whole."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import platformdirs

from cvbench.store import earlier
from cvbench.store.entries import FACTS, ROWS, TEXT
from cvbench.store.packing import Damaged, pack_rows, unpack_rows
from cvbench.store.shards import shards_in

PATIENCE = 60.0
"""Seconds to wait for another writer of the same folder of records."""
FOLDER = "store"
"""Where the shards lie, below the cache folder."""
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

    def refresh(self) -> None:
        """See at once what other processes have added; without it that is seen a moment later."""
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

    def refresh(self) -> None:
        """Do nothing: no other process adds anything."""


class FileStore:
    """A folder shared by all runs of a user, and by runs at the same time, on one machine or many.

    Each process appends to a shard of its own, so that none waits for another and a killed one leaves a torn tail at
    most; under one key rows add up. An entry that is damaged, cut short or under another's key counts as missing.
    Where the folder cannot be written, everything is kept in memory for as long as the process lives, and `trouble`
    says why. Keys are SHA-256 in hex.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()
        self.trouble = ""
        self._unwritten = MemoryStore()
        self._shards = shards_in(shards_of(self.root))
        self._earlier = earlier.Earlier(self.root)
        self._texts: dict[bytes, str] = {}

    def rows(self, key: str) -> dict[str, np.ndarray]:
        """Return the arrays under `key`, none when there are none."""
        found: dict[str, np.ndarray] = {}
        for content in self._contents(ROWS, key):
            with contextlib.suppress(Damaged):
                found |= unpack_rows(content, self._text)
        return found | self._unwritten.rows(key)

    def add(self, key: str, rows: Rows) -> None:
        """Add arrays under `key`, keeping those of other names. Raises ValueError for arrays of objects."""
        with self._keeping(lambda: self._unwritten.add(key, rows)):
            self._shards.append(ROWS, bytes.fromhex(key), pack_rows(rows, self._keep_text))

    def facts(self, key: str) -> Any:
        """Return the JSON value under `key`, or None."""
        found = self._unwritten.facts(key)
        contents = self._contents(FACTS, key) if found is None else []
        return json.loads(contents[-1]) if contents else found

    def remember(self, key: str, value: object) -> None:
        """Store a JSON value under `key`."""
        content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
        with self._keeping(lambda: self._unwritten.remember(key, value)):
            self._shards.append(FACTS, bytes.fromhex(key), content)

    def refresh(self) -> None:
        """See at once what other processes have added, on other machines too; without it a moment later."""
        self._shards.refresh()

    def take_over(self) -> int:
        """Read a whole cache of earlier versions into this one, and return of how many files. Raises OSError."""
        return self._earlier.hand_all_over(self._take)

    def _contents(self, kind: int, key: str) -> list[bytes]:
        if self._earlier.kinds:
            self._earlier.hand_over(kind, key, self._take)
        return self._shards.find(kind, bytes.fromhex(key))

    def _take(self, kind: int, key: bytes, content: bytes, when: int) -> None:
        rows = earlier.arrays(content) if kind == ROWS else {}

        def in_memory() -> None:
            if kind == ROWS:
                self._unwritten.add(key.hex(), rows)
            else:
                self._unwritten.remember(key.hex(), json.loads(content))

        with self._keeping(in_memory):
            self._shards.append(kind, key, pack_rows(rows, self._keep_text) if kind == ROWS else content, when)

    def _keep_text(self, text: str) -> bytes:
        """Keep a long text once, and return what it is found by."""
        key = hashlib.sha256(text.encode()).digest()
        if self._text(key) is None:
            self._shards.append(TEXT, key, text.encode())
            self._texts[key] = text
        return key

    def _text(self, key: bytes) -> str | None:
        if key not in self._texts:
            for content in self._shards.find(TEXT, key):
                self._texts[key] = content.decode()
        return self._texts.get(key)

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


def shards_of(root: Path) -> Path:
    """Return the folder of the shards of a cache."""
    return (root / FOLDER).absolute()


def cache_root() -> Path:
    """Return the cache folder: CVBENCH_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CVBENCH_CACHE") or platformdirs.user_cache_dir("cvbench", appauthor=False))
