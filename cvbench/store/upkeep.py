"""What the cache holds, and how it is made smaller. For `cvbench cache`; every function takes the cache folder.

Runs may go on meanwhile: shards that a process writes are left as they are, and so are those of other machines in
which something was written within a day, for no lock tells whether they are in use.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvbench.store.earlier import Earlier
from cvbench.store.entries import FACTS, ROWS, Head, content_at, heads, packed
from cvbench.store.index import NAME as INDEX
from cvbench.store.rows import FileStore, shards_of
from cvbench.store.shards import FULL, append, begun, locked, machine, shards_in
from cvbench.store.view import reading, sizes_in

DAY = 86400.0
Wanted = Callable[[Head], bool]
"""Tells of an entry whether it stays."""


class Size(NamedTuple):
    """What a cache holds: files and bytes on disk, row sets, facts, and files of earlier versions not yet read."""

    files: int
    bytes: int
    rows: int
    facts: int
    earlier: int


class Freed(NamedTuple):
    """What was saved: entries dropped (doubled, damaged, or not wanted), files, bytes; and how many shards stay.

    `busy` counts shards that were left as they are, since others write them.
    """

    entries: int
    files: int
    bytes: int
    busy: int


def size(root: Path) -> Size:
    """Count what a cache holds; nothing is changed."""
    folder = shards_of(root)
    counts = Counter(head.kind for name in sizes_in(folder) for head in _heads(folder / name))
    old = [path.stat().st_size for _, path in Earlier(root).files()]
    sizes = [*_sizes(folder).values(), *old]
    return Size(len(sizes), sum(sizes), counts[ROWS], counts[FACTS], len(old))


def compact(root: Path) -> Freed:
    """Merge shards and what earlier versions kept into few, without what is doubled or damaged. Raises OSError.

    Takes about 200 bytes of memory an entry.
    """
    FileStore(root).take_over()
    return _rewrite(shards_of(root), lambda _: True)


def prune(root: Path, *, older_than: float | None = None, to_bytes: int | None = None) -> Freed:
    """Drop what was measured more than `older_than` seconds ago, then the oldest until `to_bytes` are left.

    Facts stay: they are small, and tell which rows a sample has. What is dropped is measured again when it is asked
    for. Raises OSError.
    """
    FileStore(root).take_over()
    oldest = 0 if older_than is None else time.time_ns() - int(older_than * 1e9)
    if to_bytes is not None:
        oldest = max(oldest, _oldest_within(shards_of(root), to_bytes))
    return _rewrite(shards_of(root), lambda head: head.kind != ROWS or head.time >= oldest)


def _oldest_within(folder: Path, limit: int) -> int:
    """Return the time in ns from which on all rows fit `limit` bytes, beside what stays anyway."""
    found = [(h.time, h.size, h.kind) for name in sizes_in(folder) for h in _heads(folder / name)]
    times, sizes, kinds = np.array(found, np.int64).reshape(-1, 3).T
    room = limit - sizes[kinds != ROWS].sum()
    times, sizes = times[kinds == ROWS], sizes[kinds == ROWS]
    newest = np.argsort(times)[::-1]
    kept = int(np.searchsorted(sizes[newest].cumsum(), room, side="right"))
    return int(times[newest[kept]]) + 1 if kept < len(times) else 0


def _rewrite(folder: Path, wanted: Wanted) -> Freed:
    """Write what is wanted of the shards that nobody writes into new ones, then remove those.

    Whoever is killed in between leaves entries doubled, no less.
    """
    shards_in(folder).leave()
    before = _sizes(folder)
    with contextlib.ExitStack() as locks:
        names = [name for name in sorted(sizes_in(folder)) if _is_taken(folder / name, locks)]
        busy, total = len(sizes_in(folder)) - len(names), sum(1 for name in names for _ in _heads(folder / name))
        stays = _Stays(folder, names)
        kept = _merge(
            folder, (e for name in names for e in _entries(folder / name) if wanted(e[0]) and stays.once(e[0]))
        )
        for name in (INDEX, *names):
            (folder / name).unlink(missing_ok=True)
    for name in names:
        Path(folder, f"{name}.lock").unlink(missing_ok=True)
    shards_in(folder).refresh()
    after = _sizes(folder)
    return Freed(total - kept, len(before) - len(after), sum(before.values()) - sum(after.values()), busy)


def _is_taken(shard: Path, locks: contextlib.ExitStack) -> bool:
    """Lock a shard until the stack is left; tell whether it is ours to merge."""
    is_foreign = not shard.name.startswith(machine())
    if is_foreign and time.time() - shard.stat().st_mtime < DAY:
        return False
    lock = locked(shard)
    if lock is None:
        return False
    locks.callback(lock.release)
    return True


def _merge(folder: Path, entries: Iterator[tuple[Head, bytes]]) -> int:
    """Write entries into new shards; return how many."""
    writing, count = None, 0
    try:
        for count, (head, content) in enumerate(entries, 1):  # noqa: B007 - counted
            if writing is None or os.lseek(writing.file, 0, os.SEEK_END) >= FULL:
                if writing:
                    writing.close()
                writing = begun(folder)
            append(writing.file, packed(head.kind, head.key, content, head.time))
    finally:
        if writing:
            writing.close()
    return count


class _Stays:
    """Tells of entries which stay: of those that are equal one, of facts under one key the last."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.seen: set[bytes] = set()
        self.last: dict[bytes, int] = {}
        for head in (head for name in names for head, _ in _entries(folder / name) if head.kind == FACTS):
            self.last[head.key] = max(head.time, self.last.get(head.key, 0))

    def once(self, head: Head) -> bool:
        """Tell whether this entry stays."""
        if head.kind == FACTS and self.last[head.key] != head.time:
            return False
        is_new = head.digest not in self.seen
        self.seen.add(head.digest)
        return is_new


def _entries(shard: Path) -> Iterator[tuple[Head, bytes]]:
    """Yield the whole entries of a shard with their contents."""
    with reading(shard) as file:
        for offset, _ in heads(file, 0, lambda _: None):
            if (entry := content_at(file, offset)) is not None:
                yield entry


def _heads(shard: Path) -> Iterator[Head]:
    with contextlib.suppress(FileNotFoundError), reading(shard) as file:
        yield from (head for _, head in heads(file, 0, lambda _: None))


def _sizes(folder: Path) -> dict[str, int]:
    try:
        return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    except FileNotFoundError:
        return {}
