"""Entries of a shard: how one is written, found again after damage, and believed only when its digest agrees."""

import hashlib
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAGIC = b"\xc7vb2"
HEAD = struct.Struct("<4sIIq32s16sI")
"""Magic, kind, bytes of content, time in ns, key, digest of kind, key and content, checksum of all before."""
CHECKED = HEAD.size - 4
ROWS, FACTS, TEXT = 1, 2, 3
"""Kinds of entries: arrays by name, a JSON value, a text that many rows name by its digest."""
WINDOW = 1 << 20
"""Bytes read at once while a shard is looked through; what is longer than that is stepped over unread."""
FIRST = 2048
"""Bytes read at once of one entry: most are shorter."""
LARGEST = 1 << 30
"""Bytes of one entry's content; nothing that is written is larger."""
_seeking = threading.Lock()


class Head(NamedTuple):
    """What stands before an entry's content."""

    kind: int
    length: int
    time: int
    key: bytes
    digest: bytes

    @property
    def size(self) -> int:
        """Bytes of head and content."""
        return HEAD.size + self.length


def packed(kind: int, key: bytes, content: bytes, time: int) -> bytes:
    """Return an entry as it is written. Raises ValueError for content above LARGEST bytes."""
    if len(content) > LARGEST:
        raise ValueError(f"{len(content):,} bytes under one key; the cache takes at most {LARGEST:,}")
    head = HEAD.pack(MAGIC, kind, len(content), time, key, _digest(kind, key, content), 0)[:CHECKED]
    return head + zlib.crc32(head).to_bytes(4, "little") + content


def head_at(data: bytes, start: int = 0) -> Head | None:
    """Return the head that stands at `start`, None where there is no whole one."""
    if len(data) - start < HEAD.size:
        return None
    magic, kind, length, time, key, digest, checksum = HEAD.unpack_from(data, start)
    is_head = magic == MAGIC and checksum == zlib.crc32(data[start : start + CHECKED]) and length <= LARGEST
    return Head(kind, length, time, key, digest) if is_head else None


def content_at(file: int, offset: int) -> tuple[Head, bytes] | None:
    """Return the entry at a place of an open file; None unless it is just what was written under its key."""
    data = read_at(file, FIRST, offset)
    head = head_at(data)
    if head is None:
        return None
    content = data[HEAD.size : head.size]
    if head.length > len(content):
        content += read_at(file, head.length - len(content), offset + len(data))
    return (head, content) if _digest(head.kind, head.key, content) == head.digest else None


def heads(file: int, start: int, seen: Callable[[int], None]) -> Iterator[tuple[int, Head]]:
    """Yield the whole entries of an open file from `start`, each with its place; contents are not looked at.

    What is damaged is stepped over, as far as the next head. `seen` is told up to where all is read: a torn tail,
    which a writer that was killed leaves, is not.
    """
    size, at = os.fstat(file).st_size, start
    while size - at >= HEAD.size:
        window = read_at(file, WINDOW, at)
        if len(window) < HEAD.size:
            break
        step = 0
        while len(window) - step >= HEAD.size:
            head = head_at(window, step)
            if head is None:
                following = window.find(MAGIC, step + 1)
                step = following if following >= 0 else len(window) - len(MAGIC) + 1
                continue
            if at + step + head.size > size:
                return
            yield at + step, head
            step += head.size
            seen(at + step)
        at += step


def read_at(file: int, count: int, offset: int) -> bytes:
    """Read up to `count` bytes at a place; fewer at the end of the file only."""
    if hasattr(os, "pread"):
        return os.pread(file, count, offset)
    with _seeking:  # systems without: one place for all readers
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, count)


def _digest(kind: int, key: bytes, content: bytes) -> bytes:
    return hashlib.sha256(b"%d %b %b" % (kind, key, content)).digest()[:16]
