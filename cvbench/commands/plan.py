"""`--dry-run`: what a run would do, what it has already, what is missing, how long and how large."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cvbench import models, weights
from cvbench.commands.cache import amount
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import duration, echo
from cvbench.commands.doctor import sources_of_metrics
from cvbench.core.errors import CvbenchError
from cvbench.core.suites import Suite
from cvbench.metrics import resolve
from cvbench.store import FileStore, upkeep

if TYPE_CHECKING:
    from cvbench.data import Dataset
    from cvbench.tasks.request import Request

ROWS = 2000
"""Bytes of the rows of a sample and model where the cache holds none to go by."""


@dataclass(frozen=True)
class Share:
    """What of a data set a model has in the cache, what is to be done, and the seconds of the model, if known."""

    model: str
    cached: int
    missing: int
    seconds: float | None = None

    @property
    def text(self) -> str:
        """In a line."""
        if not self.missing:
            return f"  {self.model}: all {self.cached:,} cached"
        takes = "time not known" if self.seconds is None else f"{duration(self.seconds)} in the model"
        return f"  {self.model}: {self.missing:,} to measure, {takes}; {self.cached:,} cached"


def show_plan(suite: Suite, request: "Request") -> int:
    """Print what a run would do, without doing it; return 3 where weights are missing, else 0."""
    store, lacking = FileStore(), dict(missing(request))
    ready = [spec for spec in request.models if models.called(spec) not in lacking]
    metrics = [name for name in resolve([*request.metrics, "bpp"], request.protocol) if name not in lacking]
    shares: list[Share] = []
    for dataset in request.datasets():
        echo(f"{dataset.name}: {len(dataset.items):,} samples" + (f" ({dataset.note})" if dataset.note else ""))
        if suite.task != "reconstruct":
            echo(f"  {suite.task} by {', '.join(request.names)}")
            continue
        for share in shares_of(replace(request, models=ready, metrics=metrics, out=None), dataset, store):
            echo(share.text)
            shares.append(share)
    for name, why in lacking.items():
        echo(f"missing: {name}: {why}")
    echo(size_of(shares, request, store))
    return INCOMPLETE if lacking else DONE


def missing(request: "Request") -> Iterator[tuple[str, str]]:
    """Yield the models and metrics whose weights are not here, and where they come from; nothing is fetched."""
    for spec in request.models:
        name = models.labelled(spec)[1].partition("@")[0]
        source = models.MODELS[name].source if name in models.MODELS and request.init == "weights" else None
        try:
            if source and weights.locate(name, source, request.weights) is None:
                yield models.called(spec), source.unpublished or f"weights from {source.origin}"
        except CvbenchError as error:
            yield models.called(spec), str(error)
    for metric in resolve(request.metrics, request.protocol):
        for name, source in sources_of_metrics([metric]).items():
            if source and weights.locate(name, source, request.weights) is None:
                yield metric, f"weights of {name} from {source.origin}"


def shares_of(request: "Request", dataset: "Dataset", store: FileStore) -> Iterator[Share]:
    """Yield what of a data set each model has in the cache."""
    from cvbench.engine.loop import recalled  # torch, for which no help waits
    from cvbench.engine.measuring import Probes
    from cvbench.tasks.reconstruction import Reconstruction
    from cvbench.tasks.request import line_up

    setting = request.setting
    subjects, _ = line_up(request, setting)
    probes = Probes(request.metrics, setting.device, request.weights, protocol=request.protocol)
    task = Reconstruction(request, dataset, subjects, probes, store)
    samples = [recalled(i, item, request.protocol, store) for i, item in enumerate(dataset.items)]
    known = [sample for sample in samples if sample]
    for subject in subjects:
        done = [s for s in known if all(not u.missing() for u in task.units(s) if u.owner == subject.name)]
        rest, frames = len(samples) - len(done), sum(s.shape[0] for s in known) / max(len(known), 1)
        speed = task.known_speed(subject, known[0]) if known else None
        yield Share(subject.name, len(done), rest, speed and rest * frames * speed)


def size_of(shares: Sequence[Share], request: "Request", store: FileStore) -> str:
    """Say how large it gets, and how much room there is."""
    held = upkeep.size(store.root)
    each = held.bytes / held.rows if held.rows else ROWS
    rows = sum(share.missing for share in shares) * each
    free = shutil.disk_usage(next(p for p in (store.root, *store.root.parents) if p.exists())).free
    pictures = "" if not request.pictures else ", pictures up to 20 MB"
    known = [share.seconds for share in shares if share.missing and share.seconds is not None]
    whole = f"; {duration(sum(known))} in models, measuring comes on top" if known else ""
    return f"in all: about {amount(rows)} of rows{pictures}, {amount(free)} free{whole}"
