"""What a run is asked for, and who and what takes part in it."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cvbench import models
from cvbench.core.digest import digest
from cvbench.core.errors import UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import DataFacts, Failure, ModelFacts, RunRecord
from cvbench.data import Dataset, Pick, open_dataset
from cvbench.engine.coding import describe
from cvbench.engine.device import environment, now, pick_device
from cvbench.engine.loop import ENVIRONMENT, Loop, Made, Prepared, Progress, Reader, Rows, Unit, Work, silent
from cvbench.engine.measuring import Probes
from cvbench.engine.ranks import current
from cvbench.engine.subject import Init, Setting, Shape, Subject, facts_of, subject_of
from cvbench.store import MemoryStore, Store, write_record


@dataclass(frozen=True)
class Request:
    """What a run is asked for. `batch` 0 means: as the device suggests; `workers` 0: its share of the cores."""

    models: Sequence[str]
    data: Sequence[str]
    metrics: Sequence[str]
    protocol: EvalProtocol
    speed: bool = False
    limit: int | None = None
    device: str = "auto"
    batch: int = 0
    workers: int = 0
    strict: bool = False
    pictures: int = 0
    init: Init = "weights"
    weights: Mapping[str, Path] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)
    out: Path | None = None
    pick: Pick = "first"

    @property
    def names(self) -> tuple[str, ...]:
        """What the models are called: their labels, or as they were typed."""
        return tuple(map(models.called, self.models))

    @property
    def setting(self) -> Setting:
        """What all models of the run share."""
        return Setting(self.protocol, pick_device(self.device), self.weights, self.init)

    def datasets(self) -> list[Dataset]:
        """Open every data set. Raises UsageError for two of one name, whose records could not be told apart."""
        found = [open_dataset(spec, self.roots, self.limit, self.protocol.reader, self.pick) for spec in self.data]
        names = [dataset.name for dataset in found]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"two data sets are called {twice}: tell them apart by --data NAME=PATH")
        return found


Refused = tuple[ModelFacts, Exception]
Tell = Callable[[str], None]
"""Called with what a user should know beside the results."""


def say(tell: Tell | None, word: str) -> None:
    """Pass a word on where there is one, and somebody to tell."""
    if word and tell:
        tell(word)


def kept(record: RunRecord, out: Path | None, place: str = "", tell: Tell | None = None) -> RunRecord:
    """Write a record into the folder `out`; where that cannot be written, the record that is returned says so.

    The others go on, and the table is printed: a full disk costs nobody what was measured.
    """
    if out is None:
        return record
    try:
        say(tell, write_record(out, record, place).word)
    except OSError as error:
        return replace(record, notes=[*record.notes, f"no record in {out}: {error.strerror or error}"])
    return record


def line_up(request: Request, setting: Setting) -> tuple[list[Subject], list[Refused]]:
    """Return the models that can run, and for each of the others its facts and what went wrong.

    Raises UsageError for unknown names and for two models of one; these are mistakes of the request, not of a model.
    """
    if twice := next((name for name in request.names if request.names.count(name) > 1), None):
        raise UsageError(f"two models are called {twice}: tell them apart by LABEL=MODEL")
    for label, spec in map(models.labelled, request.models):
        if label in models.MODELS:
            raise UsageError(f"{label}={spec}: {label} is a model itself; take another label")
    subjects: list[Subject] = []
    refused: list[Refused] = []
    for spec in request.models:
        try:
            subjects.append(subject_of(spec, setting))
        except UsageError:
            raise
        except Exception as error:  # no weights, say, or no memory for them
            if request.strict:
                raise
            refused.append((_facts_of_refused(spec), error))
    return subjects, refused


def _facts_of_refused(spec: str) -> ModelFacts:
    """Return what is known of a model that could not be loaded: of one on the hub that cannot be asked, its name."""
    label, spec = models.labelled(spec)
    known = spec.partition("@")[0] in models.MODELS
    facts = facts_of(spec, models.parse(spec)[1]) if known else ModelFacts(spec, "")
    return replace(facts, name=label, spec=spec) if label else facts


@contextlib.contextmanager
def held_still(subjects: Sequence[Subject]) -> Iterator[None]:
    """Keep what the models hold of somebody else's as it is for the length of a run."""
    with contextlib.ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(subject.held_still())
        yield


def loaded(
    subject: Subject, request: Request, loop: Loop, passing: Callable[[Exception], bool] = lambda _: False
) -> bool:
    """Load a model and tell whether it can run; remember why not. A network library may raise anything there.

    What is `passing` is raised: it may help to try again.
    """
    try:
        _ = subject.model
    except UsageError:
        raise  # an option out of range is a mistake of the request
    except Exception as error:
        if request.strict or passing(error):
            raise
        loop.give_up(subject.name, error)
        return False
    return True


def failed_record(facts: ModelFacts, why: Exception | Failure, dataset: Dataset, request: Request) -> RunRecord:
    """Return the record of a model that could not run."""
    failure = why if isinstance(why, Failure) else Failure("", describe(why), type(why).__name__)
    return RunRecord(
        model=facts,
        data=DataFacts(dataset.name, "", 0, dataset.note),
        protocol=request.protocol,
        probes={},
        scores={},
        samples=[],
        error=failure.error,
        error_kind=failure.kind,
        environment=environment(pick_device(request.device)),
        created=now(),
    )


def environment_of(rows: Sequence[Rows], here: Mapping[str, str]) -> dict[str, str]:
    """Return what measured rows; where they were measured in several environments, what each had."""
    texts = dict.fromkeys(str(row[ENVIRONMENT]) for row in rows if ENVIRONMENT in row and str(row[ENVIRONMENT]))
    found: list[dict[str, Any]] = [json.loads(text) for text in texts] or [dict(here)]
    keys = dict.fromkeys(key for each in found for key in each)
    return {key: ", ".join(dict.fromkeys(str(each[key]) for each in found if key in each)) for key in keys}


@dataclass
class DataTask:
    """A task on one data set of a run: who takes part, and the loop that goes through the samples.

    `private` keeps the rows that must not outlive the process; `reader` is the loop's.
    """

    request: Request
    dataset: Dataset
    subjects: Sequence[Subject]
    probes: Probes
    store: Store
    progress: Progress = silent
    private: Store = field(default_factory=MemoryStore)
    reader: Reader | None = None

    def __post_init__(self) -> None:
        self.protocol, self.device = self.request.protocol, self.probes.device
        self.here = environment(self.device)
        self.loop = Loop(
            self, self.dataset, self.protocol, self.store, self.progress, self.request.strict,
            environment=json.dumps(self.here), reader=self.reader, workers=self.request.workers,
            identity=self._identity(),
        )  # fmt: skip

    def _identity(self) -> str:
        """Return a digest of what all processes of a run must agree on."""
        made = [subject.facts.digest for subject in self.subjects]
        return digest([made, list(self.probes.columns()), self.protocol.as_dict(), self.dataset.name])

    def key(self, subject: Subject, shape: Shape) -> str | None:
        """Return the key of a model's rows; where nothing is computed, no model is asked what it does."""
        return subject.key(shape) if current().computes else subject.facts.digest

    def units(self, sample: Prepared) -> Iterable[Unit]:
        """Return all that should be stored of a sample."""
        raise NotImplementedError

    def at_once(self, sample: Prepared) -> int:
        """Return how many samples of this shape are worked on together: one, where a task does not say more."""
        return 1

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Make what is missing."""
        raise NotImplementedError

    def write(self, record: RunRecord, tell: Tell | None) -> RunRecord:
        """Write a record where the run asks for that, pass on what is to be said of it, and return it."""
        return kept(record, self.request.out, self.dataset.place, tell)
