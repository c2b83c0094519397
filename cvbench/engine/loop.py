"""The one loop of every task: look at a sample, see what is missing, make it, keep it at once."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, TooShort
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import Failure
from cvbench.core.run import Run
from cvbench.core.types import FloatPixels, Pixels
from cvbench.data import Dataset, Item, read_stable, windowed
from cvbench.data.frames import prepare
from cvbench.data.scene import scene
from cvbench.engine.clock import READING, STORE, stage
from cvbench.engine.coding import describe
from cvbench.engine.device import readers
from cvbench.engine.measuring import settled
from cvbench.engine.ranks import Ranks, current
from cvbench.engine.readers import Readers, budget_for, threads_for
from cvbench.engine.shares import Ended, Header, Kept, Lost, Message, Sampled, packed_rows
from cvbench.engine.shown import cast
from cvbench.engine.watch import Done, tell
from cvbench.nets.fetching import Fetched, Row
from cvbench.store import Store

Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""
Rows = dict[str, np.ndarray]
ENVIRONMENT = "environment"
"""The column that says what measured the others."""


def silent(_label: str, _done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Prepared:
    """A sample as the protocol prepares it: what the record keeps of it, and its pixels once they are needed.

    `shape` is frames, height and width; `sha256` is of the pixels and stands for them everywhere.
    """

    index: int
    item: Item
    sha256: str
    shape: tuple[int, int, int]
    facts: dict[str, Any]
    pixels: Pixels | FloatPixels | None = None

    @property
    def stride(self) -> int:
        """Distance of its frames in the file they were taken from; 1 of an image."""
        return int(self.facts.get("stride", 1))

    @property
    def clip(self) -> str:
        """The clip it was cut from, its own name where it is one."""
        return self.item.clip or self.item.id

    @property
    def id(self) -> str:
        """The sample's name in its data set."""
        return self.item.id

    def seed(self, protocol: EvalProtocol) -> int:
        """Return the seed of all random draws on this sample."""
        return int(digest([protocol.seed, self.sha256])[:8], 16)


Reader = Callable[[int, Item, EvalProtocol, Store | None], Prepared]
"""Reads and prepares the sample of an index, and remembers in the store what is known of it."""


@dataclass(frozen=True)
class Unit:
    """What is made and stored of one sample at a time: the rows `columns` under `key`, for the subject `owner`."""

    owner: str
    columns: frozenset[str]
    key: str
    store: Store

    def rows(self) -> Rows:
        """Return what is stored of it."""
        return self.store.rows(self.key)

    def missing(self) -> frozenset[str]:
        """Return the columns that are not stored."""
        return self.columns.difference(self.rows())


class Work(NamedTuple):
    """A sample with pixels, and its units each with the columns that are missing."""

    sample: Prepared
    missing: dict[Unit, frozenset[str]]


class Made(NamedTuple):
    """Rows of a unit of one sample, or what went wrong; `together`: of how many samples that were coded at once."""

    sample: Prepared
    unit: Unit
    rows: Mapping[str, Row]
    errors: Sequence[Exception] = ()
    together: int = 1

    @property
    def is_on_its_way(self) -> bool:
        """True while numbers are being copied from a device."""
        return any(isinstance(row, Fetched) for row in self.rows.values())


@runtime_checkable
class Task(Protocol):
    """What differs between tasks: what is stored of a sample, and how it is made."""

    def units(self, sample: Prepared) -> Iterable[Unit]:
        """Return all that should be stored of a sample."""
        ...

    def at_once(self, sample: Prepared) -> int:
        """Return how many samples of this shape are best worked on together."""
        ...

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Make what is missing of samples of one shape, in any order, whatever fails."""
        ...


class Broken(NamedTuple):
    """Why an owner gives no more numbers, and the place of the first sample that showed it; -1 where it was loaded.

    `error` is what was raised, where it was in this process.
    """

    failure: Failure
    place: int
    error: Exception | None = None


LOADING = -1


@dataclass
class Loop:
    """A task on its way through a data set, or through the share of it that this process has.

    `samples` are those that could be read, in order; `unread` those that could not; `failed` by owner what went wrong
    on single samples, and `broken` what went wrong for an owner altogether. `environment` is stored with every row.
    `reader` reads and prepares a sample, `read_prepared` where none is given.
    `chosen` says that the samples are those that an earlier loop left, so that shares may hold others too; `alike`
    that all cost the same, so that every loop of as many samples is dealt alike.
    `identity` stands for who and what takes part: all processes of a run must agree on it. `asides` are JSON values
    that a share leaves beside its rows.
    """

    task: Task
    dataset: Dataset
    protocol: EvalProtocol
    store: Store
    progress: Progress = silent
    strict: bool = False
    label: str = ""
    environment: str = ""
    reader: Reader | None = None
    identity: str = ""
    workers: int = 0
    chosen: bool = False
    alike: bool = False
    samples: list[Prepared] = field(default_factory=list)
    unread: list[tuple[int, Failure]] = field(default_factory=list)
    failed: dict[str, list[tuple[int, Failure]]] = field(default_factory=dict)
    broken: dict[str, Broken] = field(default_factory=dict)
    asides: dict[str, Any] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    under_way: deque[Made] = field(default_factory=deque)
    leave: Callable[[], None] = lambda: None
    """Called before a share is left for others, when all of it is known, to add `asides`."""

    def run(self) -> "Loop":
        """Look at every sample and make what is missing; of several processes the first then knows of all."""
        if self.protocol.windows == "all":
            items = (part for item in self.dataset.items for part in in_windows(item, self.protocol, self.store))
            self.dataset = replace(self.dataset, items=tuple(items))
        self.ranks: Ranks = current()
        places = self.ranks.begin(self)
        self.goal = len(places)
        self._tell()
        for works in self._groups(self._prepared(places)):
            self._work(works)
            self._tell()
        self._settle(len(self.under_way))
        self.ranks.exchange(self)
        self._sort()
        if self.ranks.assembles:
            self._check_whole()
        self.progress(self._label, self.goal, self.goal)
        return self

    # what processes tell each other

    @property
    def total(self) -> int:
        """How many samples the data set has."""
        return len(self.dataset.items)

    @cached_property
    def items(self) -> str:
        """A digest of the samples' names."""
        return digest([item.id for item in self.dataset.items])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item.id: index for index, item in enumerate(self.dataset.items)}

    def costs(self) -> list[int]:
        """Return frames × pixels of each sample as it will be prepared, as far as headers tell; 1 where none does."""
        return [1 if self.alike else cost_of(item, self.protocol) for item in self.dataset.items]

    def cache_root(self) -> Path | None:
        """Return the folder of the store, read anew; None where it has none or cannot write it."""
        self.store.refresh()
        root = getattr(self.store, "root", None)
        return None if getattr(self.store, "trouble", "") else root

    def messages(self, shared: bool) -> Iterator[Message]:
        """Yield what is known of each sample, then what failed; rows are told in full unless the store is `shared`."""
        for sample in self.samples:
            rows = {unit.owner: self._told(unit, shared) for unit in self.task.units(sample)}
            yield Sampled(sample.id, sample.sha256, sample.shape, sample.facts, rows)
        unread, failed = self._lost(self.unread), {owner: self._lost(each) for owner, each in self.failed.items()}
        broken = {owner: Lost(self._name_at(place), failure) for owner, (failure, place, _) in self.broken.items()}
        word = str(getattr(self.store, "trouble", ""))
        yield Ended(self.identity, self.items, unread, failed, broken, self.asides, word)

    def _told(self, unit: Unit, shared: bool) -> Kept:
        beside = getattr(unit.store, "root", unit.store) == getattr(self.store, "root", self.store)
        known = shared and beside and not getattr(unit.store, "trouble", "")
        return Kept(unit.key, None if known else packed_rows(unit.rows()))

    def _lost(self, failures: Iterable[tuple[int, Failure]]) -> list[Lost]:
        return [Lost(self._name_at(index), failure) for index, failure in failures]

    def _name_at(self, index: int) -> str:
        return "" if index == LOADING else self.dataset.items[index].id

    def absorb(self, message: Message) -> None:
        """Take over what another process knows. Raises CvbenchError where it measured something else."""
        if isinstance(message, Sampled):
            self._absorb_sample(message)
        elif not isinstance(message, Header):
            self._absorb_end(message)

    def _absorb_sample(self, told: Sampled) -> None:
        index = self._places.get(told.id)
        if index is None:
            self.unknown.add(told.id)
            return
        sample = Prepared(index, self.dataset.items[index], told.sha256, told.shape, told.facts)
        self.samples.append(sample)
        for unit in self.task.units(sample):
            if kept := told.rows.get(unit.owner):
                self._take_over(unit, kept)

    def _take_over(self, unit: Unit, kept: Kept) -> None:
        if kept.columns is not None:
            rows = {column: array.unpacked() for column, array in kept.columns.items()}
        else:
            rows = {} if kept.key == unit.key else dict(unit.store.rows(kept.key))
        if rows and not rows.keys() <= unit.rows().keys():
            unit.store.add(unit.key, rows)

    def _absorb_end(self, told: Ended) -> None:
        if told.identity != self.identity:
            raise CvbenchError(
                "a share of this run was measured with other models, weights, metrics or code; run that share again"
            )
        _add(self.unread, self._found(told.unread))
        for owner, lost in told.failed.items():
            _add(self.failed.setdefault(owner, []), self._found(lost))
        self._hear(told)
        self.asides |= told.asides
        if told.word:
            self.ranks.words[told.word] = None

    def _found(self, lost: Iterable[Lost]) -> list[tuple[int, Failure]]:
        lost = list(lost)
        self.unknown.update(each.id for each in lost if each.id not in self._places)
        return [(self._places[each.id], each.failure) for each in lost if each.id in self._places]

    def _hear(self, told: Ended) -> None:
        for owner, lost in told.broken.items():
            self._break(owner, Broken(lost.failure, self._places.get(lost.id, LOADING)))

    def waiting(self) -> None:
        """Report how far the others are."""
        self._tell()

    def closing(self) -> None:
        """Make what a share leaves beside its rows."""
        self._sort()
        self.leave()

    def _sort(self) -> None:
        self.samples.sort(key=lambda sample: sample.index)

    @property
    def readable(self) -> list[tuple[int, Item]]:
        """The places and items of all samples that can be read, whoever worked on them.

        In a share, which does not know of others, of all samples: what follows is then dealt alike in all shares.
        """
        unread = {index for index, _ in self.unread} if current().shard is None else set()
        return [(index, item) for index, item in enumerate(self.dataset.items) if index not in unread]

    def _check_whole(self) -> None:
        """Raise CvbenchError for samples that no share holds, and for those of shares that are not in the data."""
        if self.unknown and not self.chosen:
            raise CvbenchError(
                f"shares hold {len(self.unknown)} samples that {self._label} has not ({min(self.unknown)}, ...): the"
                " processes saw other files; run them again"
            )
        known = {sample.index for sample in self.samples} | {index for index, _ in self.unread}
        lost = [item.id for index, item in enumerate(self.dataset.items) if index not in known]
        if lost:
            raise CvbenchError(
                f"{len(lost)} of {self.total} samples of {self._label} are in no share ({lost[0]}, ...): the processes"
                " saw other files; run them again"
            )

    @property
    def _label(self) -> str:
        return self.label or self.dataset.name

    def _tell(self) -> None:
        """Report progress of all processes, and hear which models broke elsewhere."""
        done = self.ranks.advance(len(self.samples) + len(self.unread))
        self.progress(self._label, min(done, self.goal), self.goal)
        for told in self.ranks.news():
            self._hear(told)

    # what is asked of the loop

    def rows(self, sample: Prepared, unit: Unit) -> Rows:
        """Return a unit's rows; those that were lost since they were made are made again."""
        rows = unit.rows()
        if unit.columns <= rows.keys() or self.gave_up(unit.owner, sample) or not current().computes:
            return rows
        try:
            self._work([self.read(sample.index, sample.item)])
            self._settle(len(self.under_way))
        except CvbenchError as error:
            self.failed.setdefault(unit.owner, []).append((sample.index, _failure(sample.id, error)))
        return unit.rows()

    def read(self, index: int, item: Item) -> Prepared:
        """Read and prepare a sample. Raises UnreadableSample."""
        return (self.reader or read_prepared)(index, item, self.protocol, self.store)

    def failures(self, owner: str) -> list[Failure]:
        """Return the samples that gave an owner no number, in the order of the data set, but those left out."""
        lost = [pair for pair in self.unread if pair[1] not in self.left_out] + self.failed.get(owner, [])
        return [f for _, f in sorted(lost, key=lambda pair: pair[0])]

    @property
    def left_out(self) -> list[Failure]:
        """The clips that the protocol leaves out for their length."""
        return [failure for _, failure in self.unread if failure.kind == TooShort.__name__]

    def give_up(self, owner: str, error: Exception, sample: Prepared | None = None) -> None:
        """Give up an owner: none is asked for a number of a later sample, here and in all other processes."""
        broken = Broken(_failure("", error), LOADING if sample is None else sample.index, error)
        self._break(owner, broken)
        lost = Lost(self._name_at(broken.place), broken.failure)
        current().announce(Ended(self.identity, self.items, broken={owner: lost}))

    def _break(self, owner: str, broken: Broken) -> None:
        """Remember the first sample, in the order of the data set, that showed it: so all orders end in one record."""
        known = self.broken.get(owner)
        if known is None or broken.place < known.place:
            self.broken[owner] = broken

    def gave_up(self, owner: str, sample: Prepared) -> bool:
        """Tell whether no number of a sample is to be had from an owner."""
        broken = self.broken.get(owner)
        if broken and broken.place <= sample.index:
            return True
        return any(index == sample.index for index, _ in self.failed.get(owner, ()))

    # how samples come in

    def _prepared(self, places: Sequence[int]) -> Iterator[Prepared]:
        """Yield each readable sample in order, with pixels where something is missing.

        What is missing is asked here and not where files are read: a key may run a model.
        """
        local_world = current().local_world
        with Readers[Prepared](self.workers or threads_for(local_world), budget_for(local_world), _size) as ahead:
            for index, left in self.ranks.claims(places):
                with stage(STORE):
                    self._ask(ahead, index)
                while not ahead.has_room(left):
                    yield from self._taken(ahead)
            while ahead.queue:
                yield from self._taken(ahead)

    def _taken(self, ahead: Readers[Prepared]) -> Iterator[Prepared]:
        """Yield the next sample that was asked for; none where it cannot be read."""
        index, future = ahead.queue.popleft()
        try:
            with stage(READING):
                sample = future.result()
        except CvbenchError as error:
            if self.strict and not isinstance(error, TooShort):
                raise
            self.unread.append((index, _failure(self.dataset.items[index].id, error)))
            return
        yield sample

    def _ask(self, ahead: Readers[Prepared], index: int) -> None:
        item = self.dataset.items[index]
        known = recalled(index, item, self.protocol, self.store)
        if known and not self._missing(known):
            ahead.put(index, known)
        else:
            ahead.ask(index, partial(self.read, index, item))

    def _missing(self, sample: Prepared) -> dict[Unit, frozenset[str]]:
        units = (unit for unit in self.task.units(sample) if not self.gave_up(unit.owner, sample))
        return {unit: missing for unit in units if (missing := unit.missing())}

    def _groups(self, samples: Iterator[Prepared]) -> Iterator[list[Prepared]]:
        """Group neighbours of one shape that have something missing."""
        group: list[Prepared] = []
        for sample in samples:
            self.samples.append(replace(sample, pixels=None))
            if group and (sample.shape != group[0].shape or len(group) >= self.task.at_once(group[0])):
                yield group
                group = []
            if sample.pixels is None:
                yield []
            else:
                group.append(sample)
        yield group

    def _work(self, group: Sequence[Prepared]) -> None:
        with stage(STORE):
            works = [Work(sample, missing) for sample in group if (missing := self._missing(sample))]
        earlier = len(self.under_way)
        for made in self.task.make(works) if works else ():
            if made.is_on_its_way:
                self.under_way.append(made)
            else:
                self._keep(made)
        self._settle(earlier)

    def _settle(self, count: int) -> None:
        """Keep the first of what is on its way from the device, which works on what was queued after it meanwhile."""
        for _ in range(count):
            self._keep(self.under_way.popleft())

    def _keep(self, made: Made) -> None:
        if made.rows:
            with stage(STORE):
                rows = {column: settled(row) for column, row in made.rows.items()}
                made.unit.store.add(made.unit.key, {**rows, ENVIRONMENT: np.array(self._where(made))})
        tell(Done(self._label, made.unit.owner, made.sample.id, [describe(error) for error in made.errors]))
        for error in made.errors:
            if self.strict:
                raise error
            failure = _failure(made.sample.id, error)
            self.failed.setdefault(made.unit.owner, []).append((made.sample.index, failure))

    def _where(self, made: Made) -> str:
        """Return what measured rows, with the batch where there was one."""
        if made.together == 1 or not self.environment:
            return self.environment
        return json.dumps({**json.loads(self.environment), "batch": str(made.together)})


def _failure(name: str, error: Exception) -> Failure:
    return Failure(name, describe(error), type(error).__name__)


def recalled(index: int, item: Item, protocol: EvalProtocol, store: Store) -> Prepared | None:
    """Return a sample as the store knows it, without pixels."""
    known = store.facts(prepared_key(item, protocol))
    return known and Prepared(index, item, known["sha256"], tuple(known["shape"]), known["facts"])


def read_prepared(index: int, item: Item, protocol: EvalProtocol, store: Store | None = None) -> Prepared:
    """Read and prepare a sample, and remember in the store what is known of it. Raises UnreadableSample."""
    read, fingerprint = read_stable(item, protocol.sampling)
    p = protocol
    pixels = cast(prepare(read.pixels, p.size, p.filter, p.antialias, p.crop, p.fit, p.resizer), p.cast)
    facts = {"fps": read.fps, "source": list(read.pixels.shape[1:]), **read.facts, "scene": scene(pixels)}
    kind = repr(pixels.shape) + ("" if pixels.dtype == np.uint8 else str(pixels.dtype))
    sha = hashlib.sha256(kind.encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
    if store is not None:
        store.remember(prepared_key(item, protocol, fingerprint), {"sha256": sha, "shape": shape, "facts": facts})
    return Prepared(index, item, sha, shape, facts, pixels)


def _add(known: list[tuple[int, Failure]], more: Iterable[tuple[int, Failure]]) -> None:
    known += [each for each in more if each not in known]


def _size(sample: Prepared) -> int:
    return 0 if sample.pixels is None else sample.pixels.nbytes


def cost_of(item: Item, protocol: EvalProtocol) -> int:
    """Return frames × pixels of a sample as the protocol prepares it, as far as its headers tell; else 1."""
    known = item.look() if item.look else None
    if known is None:
        return 1
    frames, height, width = known
    if protocol.size is not None:
        height, width = (protocol.size, protocol.size) if isinstance(protocol.size, int) else protocol.size
    wanted = protocol.frames if isinstance(protocol.frames, int) else frames
    return max(1, min(frames, wanted)) * height * width


def in_windows(item: Item, protocol: EvalProtocol, store: Store) -> list[Item]:
    """Return the runs of frames that the protocol cuts a clip into; a clip that cannot be read, and an image, whole."""
    key = prepared_key(item, protocol, windows=1)
    count = store.facts(key)
    if count is None:
        try:
            count = read_stable(item, protocol.sampling)[0].facts.get("windows", 0)
        except CvbenchError:
            return [item]
        store.remember(key, count)
    return windowed(item, count) if count else [item]


def prepared_key(item: Item, protocol: EvalProtocol, fingerprint: str = "", **task: object) -> str:
    """Return the key of an item as a protocol prepares it, by its name too where that decides the first frame."""
    named = {"name": item.id} if protocol.start == "random" else {}
    return Run(protocol, fingerprint or item.fingerprint, runtime=readers(), task={**named, **task}).key("prepare")
