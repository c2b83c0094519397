"""The processes of a run: how they share the samples, and how what they know reaches the first of them.

torch.distributed with gloo: only rows and counts travel, pixels never do. Processes without a rendezvous, as the jobs
of an array, take a fixed share and leave a part, from which `Merging` assembles the whole.
"""

import contextlib
import datetime
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.place import Place
from cvbench.engine.shares import Ended, Message, Part, deal, messages_of, packed, unpacked

PATIENCE = datetime.timedelta(minutes=10)
"""How long processes wait for each other at the beginning."""
LONGEST = datetime.timedelta(days=30)
"""How long the first may work on a sample while others wait. One that died is noticed at once, by its connection."""
COSTED = 20_000
"""Samples up to which headers are read to deal fixed shares by cost; of more, equal counts are equal enough."""
CHUNK = 32
POLL = 0.1


@runtime_checkable
class Samples(Protocol):
    """What is known of a loop's samples: how many, what they cost, and a digest of their ids and of the request."""

    identity: str

    @property
    def total(self) -> int:
        """How many there are."""
        ...

    @property
    def items(self) -> str:
        """A digest of their ids."""
        ...

    def costs(self) -> Sequence[int]:
        """Return frames × pixels of each sample as far as headers tell, else 1."""
        ...


@runtime_checkable
class Talk(Protocol):
    """A loop as the ranks see it when all samples are worked on."""

    def messages(self, shared: bool) -> Iterator[Message]:
        """Yield what is known here, the Ended last; rows in full unless the other reads the same store."""
        ...

    def absorb(self, message: Message) -> None:
        """Take over what another process knows."""
        ...

    def cache_root(self) -> Path | None:
        """Return the folder of the store, None where it has none that can be written."""
        ...

    def waiting(self) -> None:
        """Report progress while others still work."""
        ...

    def closing(self) -> None:
        """Make what a share leaves beside its rows."""
        ...


class Ranks:
    """A process that works alone; `shard` is its fixed share, `part` where it leaves what it knows."""

    rank, world, local_world = 0, 1, 1
    computes = True

    def __init__(self, shard: tuple[int, int] | None = None, part: Part | None = None) -> None:
        self.shard, self.part = shard, part
        self.words: dict[str, None] = {}

    @property
    def assembles(self) -> bool:
        """True where records are made of what all know."""
        return self.rank == 0 and self.shard is None

    @property
    def speaks(self) -> bool:
        """True for the one process that prints."""
        return self.rank == 0

    def begin(self, samples: Samples) -> Sequence[int]:
        """Start a loop; return the places of this shard's samples. Raises CvbenchError where others see other data."""
        if self.shard is None:
            return range(samples.total)
        number, count = self.shard
        if samples.total > COSTED:
            return range(number - 1, samples.total, count)
        return deal(samples.costs(), number, count)

    def claims(self, places: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield places to work on, each with how many are left to all; nobody else is given them."""
        for taken, place in enumerate(places, start=1):
            yield place, len(places) - taken

    def advance(self, done: int) -> int:
        """Say how many samples are finished here; return how many all have finished."""
        return done

    def announce(self, news: Ended) -> None:
        """Tell all others of a model that broke."""

    def news(self) -> Iterator[Ended]:
        """Yield what others announced since the last call."""
        yield from ()

    def exchange(self, talk: Talk) -> None:
        """Bring what all know to the first, and what failed to all."""
        if self.part:
            talk.closing()
            for message in talk.messages(shared=False):
                self.part.write(message)


class Group(Ranks):
    """One of several processes started together. Samples are claimed, so that who is slow is given fewer."""

    def __init__(self, place: Place, shard: tuple[int, int] | None = None, part: Part | None = None) -> None:
        super().__init__(shard, part)
        self.rank, self.world, self.local_world = place.rank, place.world, place.local_world
        self.loops = self.heard = self.done = 0
        self.store = _meet(place)

    def begin(self, samples: Samples) -> Sequence[int]:
        """Start a loop, on which all must agree."""
        self.loops += 1
        self.heard = self.done = 0
        mine = f"{samples.items} {samples.identity}"
        if self.rank == 0:
            self.store.set(self._name("samples"), mine)
        elif self.store.get(self._name("samples")).decode() != mine:
            raise CvbenchError(
                f"process {self.rank} of {self.world} sees other samples, weights or code than the first; all must"
                " have the same files"
            )
        return super().begin(samples)

    def _name(self, what: str) -> str:
        return f"{self.loops}/{what}"

    def claims(self, places: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield places that this process alone was given: few at a time towards the end."""
        left = len(places)
        while left > 0:
            count = max(1, min(CHUNK, left // (8 * self.world)))
            end = self.store.add(self._name("claimed"), count)
            left = max(0, len(places) - end)
            for place in places[end - count : end]:
                yield place, left

    def advance(self, done: int) -> int:
        """Say how many samples are finished here; return how many all have finished."""
        more, self.done = done - self.done, done
        return int(self.store.add(self._name("done"), more))

    def announce(self, news: Ended) -> None:
        """Tell all others of a model that broke."""
        number = self.store.add(self._name("broken-begun"), 1)
        self.store.set(self._name(f"broken-{number}"), packed(news))
        self.store.add(self._name("broken"), 1)

    def news(self) -> Iterator[Ended]:
        """Yield what others announced since the last call."""
        while self.heard < self.store.add(self._name("broken"), 0):
            self.heard += 1
            message = unpacked(self.store.get(self._name(f"broken-{self.heard}")))
            if isinstance(message, Ended):
                yield message

    def exchange(self, talk: Talk) -> None:
        """Bring what all know to the first, and what failed to all."""
        with _naming_the_lost(self.rank):
            if self.rank:
                self._report(talk)
            else:
                self._collect(talk)
        super().exchange(talk)

    def _report(self, talk: Talk) -> None:
        _send(b"", 0)
        token, root = _broadcast(b"").decode(), talk.cache_root()
        for message in talk.messages(shared=bool(token and root and (root / token).exists())):
            _send(packed(message), 0)
        _send(b"", 0)
        talk.absorb(unpacked(_broadcast(b"")))

    def _collect(self, talk: Talk) -> None:
        with ThreadPoolExecutor(1) as pool:  # gloo's own receipts do not tell whether they have arrived
            arrived = pool.submit(lambda: [_received(source) for source in range(1, self.world)])
            while not arrived.done():
                talk.waiting()
                time.sleep(POLL)
            arrived.result()
        with _token(talk.cache_root()) as token:
            _broadcast(token.encode())
            for source in range(1, self.world):
                while data := _received(source):
                    talk.absorb(unpacked(data))
        *_, ended = talk.messages(shared=True)
        _broadcast(packed(ended))


class Merging(Ranks):
    """Nobody works: what the parts of all shards hold is taken over. Their order does not matter."""

    computes = False

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self.parts, self.loops = parts, 0

    def begin(self, samples: Samples) -> Sequence[int]:
        """Start a loop, of which no sample is to be worked on."""
        self.loops += 1
        return ()

    def exchange(self, talk: Talk) -> None:
        """Take over what all parts know of this loop."""
        for message in messages_of(self.parts, self.loops - 1):
            talk.absorb(message)


_current: ContextVar[Ranks | None] = ContextVar("ranks", default=None)


def current() -> Ranks:
    """Return the processes that this one belongs to: itself alone, unless a program joined others."""
    return _current.get() or Ranks()


@contextlib.contextmanager
def among(ranks: Ranks) -> Iterator[Ranks]:
    """Make these the current ranks; those that met part at the end."""
    token = _current.set(ranks)
    try:
        yield ranks
    finally:
        _current.reset(token)
        if isinstance(ranks, Group):
            with contextlib.suppress(RuntimeError):  # whoever is gone already needs no farewell
                dist.destroy_process_group()


def _meet(place: Place) -> dist.Store:
    """Join the process group. Raises UsageError when the others do not come."""
    host, _, port = place.address.rpartition(":")
    if not host:
        raise UsageError(
            f"process {place.rank} of {place.world} is not told where to meet: set MASTER_ADDR, MASTER_PORT"
        )
    given = {"MASTER_ADDR": host, "MASTER_PORT": port, "RANK": str(place.rank), "WORLD_SIZE": str(place.world)}
    os.environ.update(given)  # where torch.distributed looks for them
    if place.local_world == place.world and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a name that does not resolve is then no hindrance
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(place.local % torch.cuda.device_count())
        met, _, _ = next(iter(rendezvous("env://", place.rank, place.world, timeout=PATIENCE)))
        store = PrefixStore(f"cvbench-{_attempt()}", met)  # torchrun's store may be that of processes before a restart
        dist.init_process_group("gloo", store=store, rank=place.rank, world_size=place.world, timeout=LONGEST)
    except (RuntimeError, ValueError) as error:  # of several kinds, with the words of a C++ library
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"process {place.rank} of {place.world} did not meet the others at {place.address}: {reason}"
        ) from error
    return PrefixStore("loops", store)


def _attempt() -> str:
    """Return what tells the processes of one start from those of another."""
    return "-".join(os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"))


@contextlib.contextmanager
def _naming_the_lost(rank: int) -> Iterator[None]:
    """Say in plain words that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise CvbenchError(
            f"another process of this run is gone ({reason}; seen by process {rank}); what was measured is kept: type"
            " the same line again"
        ) from error


@contextlib.contextmanager
def _token(root: Path | None) -> Iterator[str]:
    """Leave a file in the store's folder for others to see that it is theirs too; "" where that cannot be."""
    name = f".here-{secrets.token_hex(8)}"
    try:
        if root:
            (root / name).touch()
    except OSError:
        root = None
    try:
        yield name if root else ""
    finally:
        if root:
            (root / name).unlink(missing_ok=True)


def _send(data: bytes, target: int) -> None:
    dist.send(torch.tensor([len(data)]), target)
    if data:
        dist.send(torch.frombuffer(bytearray(data), dtype=torch.uint8), target)


def _received(source: int) -> bytes:
    size = torch.zeros(1, dtype=torch.int64)
    dist.recv(size, source)
    return _bytes_of(int(size), lambda buffer: dist.recv(buffer, source))


def _broadcast(data: bytes) -> bytes:
    """Send from the first to all; return what it sent."""
    size = torch.tensor([len(data)])
    dist.broadcast(size, 0)
    mine = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else None
    if dist.get_rank() == 0 and mine is not None:
        dist.broadcast(mine, 0)
        return data
    return _bytes_of(int(size), lambda buffer: dist.broadcast(buffer, 0))


def _bytes_of(size: int, fill: Callable[[torch.Tensor], object]) -> bytes:
    if not size:
        return b""
    buffer = torch.empty(size, dtype=torch.uint8)
    fill(buffer)
    return buffer.numpy().tobytes()
