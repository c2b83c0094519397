"""The sorted index of all shards: found with one read, however many entries there are. It can be made anew any time."""

import json
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from cvbench.store.entries import read_at
from cvbench.store.files import atomic

NAME = "index"
PLACE = np.dtype([("key", ">u8"), ("shard", "<u4"), ("offset", "<u8")])
"""The first bytes of a key, and where an entry of such a key begins."""
FOUND = struct.Struct("<IQ")
STEP = 128
"""Every STEP-th key is kept in memory: 40 million entries take 2.5 MB."""
Places = np.ndarray
"""One-dimensional, of dtype PLACE."""


class Index:
    """An index file as it was when it was opened. `covered` says of each shard up to which byte it is indexed."""

    def __init__(self, file: int, covered: Mapping[str, int], start: int, count: int, fence: list[int]) -> None:
        self._file, self._start, self._fence = file, start, fence
        self.covered, self.count = dict(covered), count

    @classmethod
    def open(cls, folder: Path) -> "Index | None":
        """Open the index of a folder; None where there is no whole one."""
        try:
            file = os.open(folder / NAME, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError:
            return None
        try:
            line = read_at(file, 1 << 20, 0).partition(b"\n")[0]
            head = json.loads(line)
            covered, count = {str(name): int(end) for name, end in head["covered"]}, int(head["count"])
            fences, start = -(-count // STEP), len(line) + 1
            body = start + 8 * fences
            if os.fstat(file).st_size != body + count * PLACE.itemsize:
                raise ValueError
            fence = np.frombuffer(read_at(file, 8 * fences, start), ">u8").tolist()
            return cls(file, covered, body, count, fence)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            os.close(file)
            return None

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def find(self, key: bytes) -> Iterator[tuple[int, int]]:
        """Yield shard (its number among `covered`) and offset of entries whose keys begin as `key` does."""
        wanted = int.from_bytes(key[:8])
        first = max(bisect_left(self._fence, wanted) - 1, 0) * STEP
        last = min(bisect_right(self._fence, wanted) * STEP, self.count)
        block = read_at(self._file, (last - first) * PLACE.itemsize, self._start + first * PLACE.itemsize)
        at = block.find(key[:8])
        while at >= 0:
            if at % PLACE.itemsize == 0:
                yield (
                    int.from_bytes(block[at + 8 : at + 12], "little"),
                    int.from_bytes(block[at + 12 : at + 20], "little"),
                )
            at = block.find(key[:8], at + 1)

    def places(self) -> Places:
        """Return all of it, 20 bytes an entry."""
        size = self.count * PLACE.itemsize
        blocks = (read_at(self._file, min(1 << 28, size - at), self._start + at) for at in range(0, size, 1 << 28))
        return np.frombuffer(b"".join(blocks), PLACE)


def write_index(folder: Path, covered: Mapping[str, int], places: Places) -> None:
    """Write an index; `shard` in `places` counts the names in `covered`. Raises OSError."""
    ordered = places[np.argsort(places["key"].astype(np.uint64), kind="stable")]
    head = json.dumps({"covered": list(covered.items()), "count": len(ordered)}).encode() + b"\n"
    with atomic(folder / NAME) as file:
        file.write(head)
        file.write(np.ascontiguousarray(ordered["key"][::STEP]).tobytes())
        file.write(ordered.tobytes())


def places_of(tail: Mapping[bytes, tuple[int, ...]]) -> Places:
    """Return the places of a table by key, where shards and offsets follow each other."""
    packed = bytearray()
    for key, found in tail.items():
        for i in range(0, len(found), 2):
            packed += key[:8] + found[i].to_bytes(4, "little") + found[i + 1].to_bytes(8, "little")
    return np.frombuffer(bytes(packed), PLACE)
