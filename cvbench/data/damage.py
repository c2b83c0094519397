"""Signs that a file is damaged although pictures come out of it: what FFmpeg logs, checksums, indices.

Codecs without a checksum (most) decode many a flipped bit to other pixels without a word; that is not seen here.
"""

import re
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import av.logging
import numpy as np
from jaxtyping import UInt8

from cvbench.data.files import checksum, refuse

Message = tuple[int, str, str]
"""Level, who says it, what it says."""

DETECT = "crccheck+buffer"
"""FFmpeg's err_detect: check checksums where there are any, and that a picture's data end where they should.

Its stricter flags ("bitstream" to "aggressive") found no more in 1,500 damaged files, and may mind odd encoders."""
HARMLESS = re.compile(r"mmco: unref short failure|unable to decode APP fields", re.IGNORECASE)
"""Logged as errors, but of streams that were joined or cut between pictures, and of what is no picture data."""
CHECKSUM = re.compile(r"\bcrc\b|checksum", re.IGNORECASE)

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
LEVEL_1 = frozenset((CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC))
"""What a Matroska segment consists of (RFC 9559, section 5.1)."""
SYNC = 0x47
AHEAD = 512
"""Packets of a transport stream that are looked at beyond a position, to find where the data there end."""

_lock = threading.Lock()
_listeners = 0
_before: tuple[int | None, bool] = (None, True)


@contextmanager
def listening() -> Iterator[list[Message]]:
    """Collect the errors that FFmpeg logs in this thread, and no other thread's.

    PyAV's log level belongs to the process: it is raised while anyone listens, then put back. FFmpeg must not have
    threads of its own (thread_count 1): what those say does not arrive.
    """
    _open_ears()
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        _close_ears()


def _open_ears() -> None:
    global _listeners, _before
    with _lock:
        if not _listeners:
            _before = av.logging.get_level(), av.logging.get_skip_repeated()
            av.logging.set_skip_repeated(False)  # the same words of another file are no repetition
            if _before[0] is None or _before[0] < av.logging.ERROR:
                av.logging.set_level(av.logging.ERROR)
        _listeners += 1


def _close_ears() -> None:
    global _listeners
    with _lock:
        _listeners -= 1
        if not _listeners:
            av.logging.set_level(_before[0])
            av.logging.set_skip_repeated(_before[1])


def check_said(path: Path, said: Iterable[Message], where: str) -> None:
    """Refuse a file when FFmpeg logged an error about it, in FFmpeg's words."""
    errors = (text.strip() for level, _, text in said if level <= av.logging.ERROR)
    first = next((text for text in errors if text and not HARMLESS.search(text)), None)
    if first:
        refuse(path, f"is damaged {where} (FFmpeg: {first}); replace or remove the file")


def check_opening(path: Path, said: Iterable[Message]) -> None:
    """Refuse a file of which FFmpeg read a wrong checksum while it looked what the file is: it will not read it again.

    Its other errors there are often of a transport stream that begins between two key frames.
    """
    check_said(path, (message for message in said if CHECKSUM.search(message[2])), "near its beginning")


class Matroska:
    """The checksums of a Matroska file, verified as far as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.elements = self._walk()
        self.next = next(self.elements, None)

    def reach(self, position: int) -> None:
        """Verify what begins up to `position`. Raises UnreadableSample."""
        while self.next is not None and self.next[0] <= position:
            start, kept, made = self.next
            if kept != made:
                refuse(self.path, f"is damaged: the checksum of its bytes from {start:,} is wrong; fetch it again")
            self.next = next(self.elements, None)

    def _walk(self) -> Iterator[tuple[int, int, int]]:
        """Yield place, stored CRC-32 and computed CRC-32 of each part that has one, as far as the parts are whole."""
        with self.path.open("rb") as file:
            whole = self.path.stat().st_size
            read_number(file, keep_marker=True)
            file.seek(read_number(file) or 0, 1)
            if read_number(file, keep_marker=True) != SEGMENT:
                return
            read_number(file)
            while (start := file.tell()) < whole:
                kind, size = read_number(file, keep_marker=True), read_number(file)
                end = file.tell() + (size or 0)
                if kind not in LEVEL_1 or size is None or end > whole:  # unknown length, damage or a file cut off
                    return
                if size > 6 and file.read(2) == b"\xbf\x84":
                    yield start, struct.unpack("<I", file.read(4))[0], checksum(file, size - 6)
                file.seek(end)


class Transport:
    """The packets of one stream of an MPEG transport stream (ISO/IEC 13818-1, 2.4.3), followed as far as it is read.

    A counter that jumps within a picture's data means that packets are lost. Where data begin it may jump: so it does
    where two recordings were joined.
    """

    def __init__(self, path: Path, stream: int) -> None:
        self.path = path
        self.stream = stream
        self.size, self.prefix = packet_layout(path)
        self.at = 0
        self.count: int | None = None

    def reach(self, position: int) -> None:
        """Check the packets up to `position`, and the rest of the data that begin there. Raises UnreadableSample."""
        while self.size:
            rows = self._read(max(position - self.at, 0) // self.size + AHEAD)
            own = (rows[:, 1].astype(int) & 0x1F) << 8 | rows[:, 2] == self.stream
            places = self.at + self.size * np.arange(len(rows))
            later = np.flatnonzero(own & (rows[:, 1] & 0x40 > 0) & (places > position))
            end = int(later[0]) if len(later) else len(rows)
            self._check(rows[:end][own[:end]])
            self.at += end * self.size
            if len(later) or not len(rows):
                return

    def _read(self, packets: int) -> UInt8[np.ndarray, "n bytes"]:
        """Return the next packets; none after the first that does not begin as one."""
        with self.path.open("rb") as file:
            file.seek(self.at)
            data = np.frombuffer(file.read(packets * self.size), np.uint8)
        rows = data[: len(data) // self.size * self.size].reshape(-1, self.size)[:, self.prefix :]
        strange = np.flatnonzero(rows[:, 0] != SYNC)
        return rows[: strange[0]] if len(strange) else rows

    def _check(self, rows: UInt8[np.ndarray, "n bytes"]) -> None:
        """Check packets of the stream."""
        if (rows[:, 1] & 0x80).any():
            refuse(self.path, "is damaged: its receiver marked packets as wrong; replace or remove the file")
        rows = rows[rows[:, 3] & 0x10 > 0]  # of those with data
        if not len(rows):
            return
        counts = rows[:, 3].astype(int) & 15
        before = np.concatenate([[counts[0] - 1 if self.count is None else self.count], counts[:-1]])
        announced = (rows[:, 3] & 0x20 > 0) & (rows[:, 4] > 0) & (rows[:, 5] & 0x80 > 0)
        if (((counts - before) % 16 > 1) & (rows[:, 1] & 0x40 == 0) & ~announced).any():
            refuse(self.path, "is damaged: packets are missing within a picture; fetch it again")
        self.count = int(counts[-1])


def packet_layout(path: Path) -> tuple[int, int]:
    """Return how long the packets of a transport stream are, and what of it goes before each; 0 where it is neither."""
    with path.open("rb") as file:
        head = file.read(5 * 204)
    layouts = ((188, 0), (192, 4), (204, 0))
    return next(((s, p) for s, p in layouts if set(head[p::s][:4]) == {SYNC}), (0, 0))


def read_number(file: BinaryIO, keep_marker: bool = False) -> int | None:
    """Read an EBML number (RFC 8794, section 4); None for one that says "unknown" and at the end of the file."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1))
    if keep_marker:
        return value
    value &= (1 << 7 * length) - 1
    return None if value == (1 << 7 * length) - 1 else value


def check_riff(path: Path) -> None:
    """Refuse an AVI file whose parts are longer than the file."""
    whole, start = path.stat().st_size, 0
    with path.open("rb") as file:
        while start < whole:
            file.seek(start)
            kind, size = file.read(4), int.from_bytes(file.read(4), "little")
            if kind != b"RIFF" or size in (0, 0xFFFFFFFF):  # what follows is no part, or it was not written to its end
                return
            start += 8 + size + size % 2
            if start - size % 2 > whole:
                refuse(path, f"the file is cut off: {start - whole:,} bytes are missing; fetch it again")
