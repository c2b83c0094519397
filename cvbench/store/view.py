"""What a process knows of a folder's shards: where every entry lies, as far as it has looked."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from cvbench.store.entries import Head, content_at, heads
from cvbench.store.index import PLACE, Index, places_of, write_index

SUFFIX = ".shard"
FOLD = 100_000
"""Entries that are looked through one by one when a cache is opened; from there on they go into the index."""
MOST_OPEN = 100
"""Files kept open."""
BINARY = getattr(os, "O_BINARY", 0)


def sizes_in(folder: Path) -> dict[str, int]:
    """Return the shards of a folder by name, with their sizes in bytes."""
    try:
        with os.scandir(folder) as found:
            return {entry.name: entry.stat().st_size for entry in found if entry.name.endswith(SUFFIX)}
    except OSError:
        return {}


@contextlib.contextmanager
def reading(path: Path) -> Iterator[int]:
    """Open a file to be read at places."""
    file = os.open(path, os.O_RDONLY | BINARY)
    try:
        yield file
    finally:
        os.close(file)


class View:
    """Shards have numbers, in the order they were met; `whole` says up to which byte each was looked through."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.whole: list[int] = []
        self.tail: dict[bytes, tuple[int, ...]] = {}
        """By key shard, offset, shard, offset, ... of entries that the index does not hold."""
        self._numbers: dict[str, int] = {}
        self._files: dict[int, int] = {}
        self._index: Index | None = None
        self._may_fold = True
        self._open_index()

    def close(self) -> None:
        """Give all files back."""
        self.close_files()
        if self._index:
            self._index.close()
            self._index = None

    def close_files(self) -> None:
        """Give the shards back; one that is read again is opened again."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def reopen(self) -> None:
        """Open all shards anew: a network file system tells only then what is new in one."""
        self.close_files()
        with contextlib.suppress(OSError):
            for shard in range(len(self.names))[-MOST_OPEN:]:
                self._file(shard)

    def is_of(self, names: Mapping[str, int]) -> bool:
        """Tell whether all shards that were met are still there."""
        return all(name in names for name in self.names)

    def number(self, name: str) -> int:
        """Return the number of a shard, which may be a new one."""
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
            self.whole.append(0)
        return self._numbers[name]

    def found(self, kind: int, key: bytes) -> list[bytes]:
        """Return the contents of one kind under a key, the oldest first; what is damaged is left out."""
        found = []
        for shard, offset in self._places(key):
            try:
                entry = content_at(self._file(shard), offset)
            except (OSError, IndexError, OverflowError):  # merged into another shard, say; or the index is damaged
                continue
            if entry and (entry[0].kind, entry[0].key) == (kind, key):
                found.append((entry[0].time, self.names[shard], offset, entry[1]))
        return [content for *_, content in sorted(found)]

    def scan(self, name: str) -> bool:
        """Look through what is new in a shard; tell whether there was an entry."""
        shard, before = self.number(name), self.whole[self.number(name)]

        def seen(end: int) -> None:
            self.whole[shard] = end

        with contextlib.suppress(OSError):
            for offset, head in heads(self._file(shard), before, seen):
                self.note(shard, offset, head)
        return self.whole[shard] > before

    def note(self, shard: int, offset: int, head: Head) -> None:
        """Remember where an entry lies."""
        self.tail[head.key] = (*self.tail.get(head.key, ()), shard, offset)
        self.whole[shard] = max(self.whole[shard], offset + head.size)
        if (
            len(self.tail) >= FOLD
            and self._may_fold
            and len(self.tail) * 8 >= (self._index.count if self._index else 0)
        ):
            self._fold()

    @property
    def _indexed(self) -> int:
        return self._index.count if self._index else 0

    def _places(self, key: bytes) -> Iterator[tuple[int, int]]:
        if self._index:
            yield from self._index.find(key)
        held = self.tail.get(key, ())
        yield from zip(held[::2], held[1::2], strict=True)

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) >= MOST_OPEN:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[shard] = os.open(self.folder / self.names[shard], os.O_RDONLY | BINARY)
        return self._files[shard]

    def _open_index(self) -> None:
        """Take the index where all shards are there that it speaks of."""
        index, sizes = Index.open(self.folder), sizes_in(self.folder)
        if index and all(sizes.get(name, -1) >= end for name, end in index.covered.items()):
            self._index = index
            for name, end in index.covered.items():
                self.whole[self.number(name)] = end
        elif index:
            index.close()

    def _fold(self) -> None:
        """Put the tail into the index: all that is known, or all again as the next process reads it."""
        indexed = [self._index.places()] if self._index else []
        places = np.concatenate([*indexed, places_of(self.tail)], dtype=PLACE)  # not in this machine's byte order
        try:
            write_index(self.folder, dict(zip(self.names, self.whole, strict=True)), places)
        except OSError:  # a folder that may only be read
            self._may_fold = False
            return
        written = Index.open(self.folder)
        if written and list(written.covered) == self.names and written.count == len(places):
            if self._index:
                self._index.close()
            self._index, self.tail = written, {}
        elif written:  # another's, which came in between
            written.close()
