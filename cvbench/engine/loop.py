"""The one loop of every task: look at a sample, see what is missing, make it, keep it at once."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import Failure
from cvbench.core.run import Run
from cvbench.core.types import Pixels
from cvbench.data import Dataset, Item, read_stable
from cvbench.data.frames import prepare
from cvbench.engine.coding import describe
from cvbench.engine.device import readers
from cvbench.engine.prefetch import prefetch
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
    pixels: Pixels | None = None

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
    """Rows of a unit of one sample, or what went wrong."""

    sample: Prepared
    unit: Unit
    rows: Rows
    errors: Sequence[Exception] = ()


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


@dataclass
class Loop:
    """A task on its way through a data set.

    `samples` are those that could be read, in order; `unread` those that could not; `failed` by owner what went wrong
    on single samples, and `broken` what went wrong for an owner altogether. `environment` is stored with every row.
    `reader` reads and prepares a sample, `read_prepared` where none is given.
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
    samples: list[Prepared] = field(default_factory=list)
    unread: list[tuple[int, Failure]] = field(default_factory=list)
    failed: dict[str, list[tuple[int, Failure]]] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)

    def run(self) -> "Loop":
        """Look at every sample and make what is missing."""
        total, label = len(self.dataset.items), self.label or self.dataset.name
        self.progress(label, 0, total)
        for works in self._groups(prefetch(self._read(self._done()))):
            self._work(works)
            self.progress(label, len(self.samples) + len(self.unread), total)
        self.progress(label, total, total)
        return self

    def rows(self, sample: Prepared, unit: Unit) -> Rows:
        """Return a unit's rows; those that were lost since they were made are made again."""
        rows = unit.rows()
        if unit.columns <= rows.keys() or self._gave_up(unit.owner, sample):
            return rows
        try:
            self._work([self.read(sample.index, sample.item)])
        except CvbenchError as error:
            self.failed.setdefault(unit.owner, []).append((sample.index, _failure(sample.id, error)))
        return unit.rows()

    def read(self, index: int, item: Item) -> Prepared:
        """Read and prepare a sample. Raises UnreadableSample."""
        return (self.reader or read_prepared)(index, item, self.protocol, self.store)

    def failures(self, owner: str) -> list[Failure]:
        """Return the samples that gave an owner no number, in the order of the data set."""
        return [f for _, f in sorted(self.unread + self.failed.get(owner, []), key=lambda pair: pair[0])]

    def _done(self) -> dict[int, Prepared]:
        """Return the samples of which nothing is missing. Here and not where files are read: a key may run a model."""
        known = (recalled(index, item, self.protocol, self.store) for index, item in enumerate(self.dataset.items))
        return {sample.index: sample for sample in known if sample and not self._missing(sample)}

    def _read(self, done: Mapping[int, Prepared]) -> Iterator[Prepared]:
        """Yield each readable sample in order, with pixels where something is missing."""
        for index, item in enumerate(self.dataset.items):
            try:
                yield done.get(index) or self.read(index, item)
            except CvbenchError as error:
                if self.strict:
                    raise
                self.unread.append((index, _failure(item.id, error)))

    def _missing(self, sample: Prepared) -> dict[Unit, frozenset[str]]:
        units = (unit for unit in self.task.units(sample) if not self._gave_up(unit.owner, sample))
        return {unit: missing for unit in units if (missing := unit.missing())}

    def _gave_up(self, owner: str, sample: Prepared) -> bool:
        return owner in self.broken or any(index == sample.index for index, _ in self.failed.get(owner, ()))

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
        works = [Work(sample, missing) for sample in group if (missing := self._missing(sample))]
        for made in self.task.make(works) if works else ():
            self._keep(made)

    def _keep(self, made: Made) -> None:
        if made.rows:
            made.unit.store.add(made.unit.key, {**made.rows, ENVIRONMENT: np.array(self.environment)})
        for error in made.errors:
            if self.strict:
                raise error
            failure = _failure(made.sample.id, error)
            self.failed.setdefault(made.unit.owner, []).append((made.sample.index, failure))


def _failure(name: str, error: Exception) -> Failure:
    return Failure(name, describe(error), type(error).__name__)


def recalled(index: int, item: Item, protocol: EvalProtocol, store: Store) -> Prepared | None:
    """Return a sample as the store knows it, without pixels."""
    known = store.facts(prepared_key(item.fingerprint, protocol))
    return known and Prepared(index, item, known["sha256"], tuple(known["shape"]), known["facts"])


def read_prepared(index: int, item: Item, protocol: EvalProtocol, store: Store | None = None) -> Prepared:
    """Read and prepare a sample, and remember in the store what is known of it. Raises UnreadableSample."""
    read, fingerprint = read_stable(item, protocol.sampling)
    pixels = prepare(read.pixels, protocol.size, protocol.filter, protocol.antialias, protocol.crop)
    facts = {"fps": read.fps, "source": list(read.pixels.shape[1:]), **read.facts}
    sha = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
    if store is not None:
        store.remember(prepared_key(fingerprint, protocol), {"sha256": sha, "shape": shape, "facts": facts})
    return Prepared(index, item, sha, shape, facts, pixels)


def prepared_key(fingerprint: str, protocol: EvalProtocol) -> str:
    """Return the key of a source as a protocol prepares it."""
    return Run(protocol, fingerprint, runtime=readers()).key("prepare")
