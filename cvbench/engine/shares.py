"""What one process of a run knows and another must: samples, rows and failures as messages, and files of these."""

import heapq
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from cvbench.core.errors import CvbenchError
from cvbench.core.records import Failure

MAGIC = b"cvbench part 1\n"
LARGEST = 1 << 31
"""Bytes of a message; nothing that is sent is larger."""


class Array(msgspec.Struct):
    """An array: no pickle, and no copy of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: np.ndarray) -> "Array":
        """Pack an array."""
        return cls(array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())

    def unpacked(self) -> np.ndarray:
        """Return the array."""
        return np.frombuffer(self.data, np.dtype(self.dtype)).reshape(self.shape).copy()


class Kept(msgspec.Struct):
    """Rows of an owner: the key they are stored under, and the rows themselves where the other cannot read them."""

    key: str
    columns: dict[str, Array] | None = None


class Lost(msgspec.Struct):
    """A sample that gave nothing, by its id, and why."""

    id: str
    failure: Failure


class Sampled(msgspec.Struct, tag="sample"):
    """A sample that was read, and its rows by owner."""

    id: str
    sha256: str
    shape: tuple[int, int, int]
    facts: dict[str, Any]
    rows: dict[str, Kept]


class Ended(msgspec.Struct, tag="end"):
    """The end of a loop: what failed, for which owner; `broken` with the sample that broke it, "" for loading.

    `identity` stands for models, metrics and protocol, `items` for the data set's samples. `asides` are JSON values
    by name, `word` is what a user should hear.
    """

    identity: str
    items: str
    unread: list[Lost] = []
    failed: dict[str, list[Lost]] = {}
    broken: dict[str, Lost] = {}
    asides: dict[str, Any] = {}
    word: str = ""


class Header(msgspec.Struct, tag="head"):
    """The beginning of a part: the Ith of N shares of what a command line asks for."""

    number: int
    count: int
    arguments: list[str]


Message = Sampled | Ended | Header
_decoder = msgspec.msgpack.Decoder(Message)


def packed(message: Message) -> bytes:
    """Return a message as bytes."""
    return msgspec.msgpack.encode(message)


def unpacked(data: bytes) -> Message:
    """Return a message. Raises CvbenchError for bytes that are none."""
    try:
        message: Message = _decoder.decode(data)
        return message
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CvbenchError(
            f"a message of another process cannot be read ({error}); use one version of cvbench"
        ) from error


class Part:
    """A file of messages, one share of a run, written from the beginning to the end."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self.file, self.header = file, header
        self.lost = self._of_loop = 0
        self._counts: dict[str, int] = {}
        file.write(MAGIC)
        self._put(packed(header))

    def write(self, message: Message) -> None:
        """Add a message."""
        if isinstance(message, Sampled):
            self._of_loop += 1
        elif isinstance(message, Ended):
            self._counts[message.items] = max(self._counts.get(message.items, 0), self._of_loop)
            self._of_loop = 0
            self.lost += len(message.unread) + sum(map(len, message.failed.values())) + len(message.broken)
        self._put(packed(message))

    @property
    def samples(self) -> int:
        """How many samples it holds; those that several loops went through count once."""
        return sum(self._counts.values())

    def _put(self, data: bytes) -> None:
        self.file.write(struct.pack("<Q", len(data)) + data)


def read_part(path: Path) -> Iterator[Message]:
    """Yield the messages of a part, its header first. Raises CvbenchError for a file that is none or was cut off."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CvbenchError(f"{path} is no part of a run; run that share again")
        while head := file.read(8):
            size = struct.unpack("<Q", head)[0] if len(head) == 8 else LARGEST + 1
            data = file.read(size) if size <= LARGEST else b""
            if len(data) != size:
                raise CvbenchError(f"{path} is cut off; run that share again")
            yield unpacked(data)


def messages_of(parts: Iterable[Path], loop: int) -> Iterator[Message]:
    """Yield what parts hold of the loop of that number, counted from 0."""
    for path in parts:
        ended = 0
        for message in read_part(path):
            if ended == loop and not isinstance(message, Header):
                yield message
            ended += isinstance(message, Ended)
            if ended > loop:
                break


def deal(costs: Sequence[int], number: int, count: int) -> list[int]:
    """Return the places that the share `number` of `count` (from 1) has, of equal cost as far as may be.

    The costliest go first, each to the share that has least (Graham 1969); equals are dealt in turn.
    """
    loads = [(0, share) for share in range(count)]
    mine: list[int] = []
    for place in sorted(range(len(costs)), key=lambda place: (-costs[place], place)):
        load, share = heapq.heappop(loads)
        heapq.heappush(loads, (load + costs[place], share))
        if share == number - 1:
            mine.append(place)
    return sorted(mine)


def packed_rows(rows: Mapping[str, np.ndarray]) -> dict[str, Array]:
    """Pack rows by column."""
    return {column: Array.of(row) for column, row in rows.items()}
