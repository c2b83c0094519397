"""The shards of a folder: each written by one process at a time, all read through one index.

Why no data base: SQLite's quick mode (WAL) needs memory that all writers share, which a network file system lacks, and
its other modes need locks that such systems keep badly. To append to a file of one's own needs neither. A reader sees
the beginning of what is written there, and every entry proves itself.
"""

import contextlib
import os
import platform
import secrets
import threading
import time
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from cvbench.core.digest import digest
from cvbench.store.entries import head_at, packed
from cvbench.store.view import BINARY, SUFFIX, View, sizes_in

FULL = 1 << 30
"""Bytes from which a shard is written on no more."""
SHARE = 20
"""How much longer than a look for what others have written the pause to the next one is."""


@dataclass
class Writing:
    """The shard that this process writes, and the lock that keeps others off."""

    name: str
    file: int
    lock: FileLock | None
    process: int

    def is_ours(self) -> bool:
        """Tell whether the shard can be written on: no fork has come between, and nobody has deleted it."""
        return self.process == os.getpid() and os.fstat(self.file).st_nlink > 0

    def close(self) -> None:
        """Let others write it."""
        os.close(self.file)
        if self.lock and self.process == os.getpid():
            self.lock.release()


class Shards:
    """All entries of a folder by key. Threads may share one; after a fork the child writes a shard of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._view = View(folder)
        self._writing: Writing | None = None
        self._next_look = 0.0

    def find(self, kind: int, key: bytes) -> list[bytes]:
        """Return the contents of one kind under a key, the oldest first; what is damaged is left out."""
        with self._lock:
            found = self._view.found(kind, key)
            if not found and self._look():
                found = self._view.found(kind, key)
            return found

    def refresh(self) -> None:
        """See at once what other processes have written, on other machines too."""
        with self._lock:
            self._view.reopen()
            self._see()

    def append(self, kind: int, key: bytes, content: bytes, when: int | None = None) -> None:
        """Write an entry: whole, or not at all. Raises OSError, ValueError for what is too long."""
        entry = packed(kind, key, content, time.time_ns() if when is None else when)
        with self._lock:
            writing = self._writer()
            offset = append(writing.file, entry)
            shard, head = self._view.number(writing.name), head_at(entry)
            if offset > self._view.whole[shard]:  # somebody has written there in spite of the lock
                self._view.scan(writing.name)
            elif head:
                self._view.whole[shard] = offset  # which is less only where somebody has cut the file
                self._view.note(shard, offset, head)
            if offset + len(entry) >= FULL:
                self.leave()

    def _look(self) -> bool:
        """Look for what others have written, unless that was done just now."""
        begin = time.monotonic()
        if begin < self._next_look:
            return False
        grown = self._see()
        now = time.monotonic()
        self._next_look = now + SHARE * (now - begin)
        return grown

    def _see(self) -> bool:
        """Read what is new in the folder; tell whether there was anything."""
        sizes = sizes_in(self.folder)
        is_new = not self._view.is_of(sizes)
        if is_new or not self._view.names:
            self._view.close()
            self._view = View(self.folder)
        numbers = {name: self._view.number(name) for name in sorted(sizes)}
        grown = [name for name, shard in numbers.items() if sizes[name] > self._view.whole[shard]]
        return sum(self._view.scan(name) for name in grown) > 0 or is_new

    # writing

    def _writer(self) -> Writing:
        if self._writing and not self._writing.is_ours():
            self.leave()
        if self._writing is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writing = self._taken_up() or begun(self.folder)
        return self._writing

    def leave(self) -> None:
        """Write no more on the shard that this process writes."""
        with self._lock:
            if self._writing:
                self._writing.close()
                self._writing = None

    def _taken_up(self) -> Writing | None:
        """Go on with a shard of this machine that nobody writes; a torn tail is cut."""
        sizes = sizes_in(self.folder)
        for name in sorted(name for name, size in sizes.items() if name.startswith(machine()) and size < FULL):
            with contextlib.suppress(OSError):
                if (lock := locked(self.folder / name)) is None:
                    continue
                file = os.open(self.folder / name, os.O_RDWR | os.O_APPEND | BINARY)
                self._see()
                os.ftruncate(file, self._view.whole[self._view.number(name)])
                return Writing(name, file, lock, os.getpid())
        return None


def begun(folder: Path) -> Writing:
    """Begin a shard."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{machine()}-{secrets.token_hex(8)}{SUFFIX}"
    lock = locked(folder / name)
    file = os.open(folder / name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    return Writing(name, file, lock, os.getpid())


def append(file: int, entry: bytes) -> int:
    """Write an entry at the end of a file and return its place; what could not be written whole is cut off again."""
    end = os.lseek(file, 0, os.SEEK_END)
    try:
        written = os.write(file, entry)
        while written < len(entry):
            written += os.write(file, entry[written:])
        return os.lseek(file, 0, os.SEEK_CUR) - len(entry)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(file, end)
        raise


def locked(shard: Path) -> FileLock | None:
    """Take the lock of a shard; None where another has it, or the file system has no locks."""
    lock = FileLock(f"{shard}.lock", timeout=0)
    try:
        lock.acquire()
    except (Timeout, NotImplementedError, OSError):
        return None
    return lock


@cache
def machine() -> str:
    """Return what the shards written on this machine are called by: only there do locks keep processes apart."""
    known = ""
    with contextlib.suppress(OSError):
        known = Path("/etc/machine-id").read_text()
    return digest([platform.node(), known])[:8]


@lru_cache(maxsize=8)
def shards_in(folder: Path) -> Shards:
    """Return the shards of a folder, opened once a process."""
    return Shards(folder)
