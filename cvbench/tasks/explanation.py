"""Every model under every protocol of a walk; what was reconstructed once is measured in all later ways."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from cvbench.core.digest import digest
from cvbench.core.fields import EvalProtocol
from cvbench.core.records import RunRecord
from cvbench.engine.coding import Batch, Coded
from cvbench.engine.loop import Progress, Work, silent
from cvbench.engine.measuring import Probes
from cvbench.engine.recons import Recons
from cvbench.engine.subject import Subject
from cvbench.metrics import resolve
from cvbench.probes import PROBES
from cvbench.store import FileStore, Store
from cvbench.tasks.reconstruction import Beside, Reconstruction, unit_of
from cvbench.tasks.request import Refused, Request, failed_record, line_up

Records = dict[tuple[str, str], list[RunRecord]]
"""By model and data set the records of a walk's protocols, in its order."""


@dataclass
class Measuring(Reconstruction):
    """A data set under one protocol of a walk: reconstructions come from where they are kept, and go there."""

    recons: Recons = field(default_factory=Recons)

    @property
    def rounds(self) -> bool:
        """Nothing is rounded before it is kept."""
        return False

    def _coded(
        self, subject: Subject, works: Sequence[Work], targets: Batch, wanted: Sequence[int]
    ) -> Iterator[tuple[int, Coded | Exception]]:
        """Yield kept reconstructions, then what the model makes of the other samples, which is kept."""
        keys = {i: self._key_of(subject, works[i]) for i in wanted}
        rest = []
        for i in wanted:
            found = (
                self.recons.find(keys[i], self.device)
                if keys[i] and not self._needs_latents(subject, works[i])
                else None
            )
            if found is None:
                rest.append(i)
            else:
                yield i, found
        for i, made in super()._coded(subject, works, targets, rest) if rest else ():
            if isinstance(made, Coded) and keys[i]:
                self.recons.keep(keys[i], made)
            yield i, made

    def _key_of(self, subject: Subject, work: Work) -> str:
        key = self.key(subject, work.sample.shape)
        return self._run(work.sample, key).key("code") if key else ""

    def _needs_latents(self, subject: Subject, work: Work) -> bool:
        unit = unit_of(work, subject.name)
        names = self._asked(unit, work) if unit else []
        return any(name in PROBES and PROBES[name].looks_at == "latents" for name in names)

    def _beside(self, subject: Subject) -> Beside:
        """Neither speed nor precision is asked for."""
        return Beside()


def measure(
    request: Request, protocols: Sequence[EvalProtocol], progress: Progress = silent, store: Store | None = None
) -> Records:
    """Measure every model on every data set under each protocol.

    Rows and reconstructions are stored as they are made: an interrupted walk continues, and a repeated one does
    nothing. Raises UsageError for a request that makes no sense.
    """
    found: Records = {}
    store, recons = store or FileStore(), Recons()
    lined_up: dict[str, tuple[list[Subject], list[Refused]]] = {}
    for protocol in dict.fromkeys(protocols):
        step = replace(request, protocol=protocol)
        coding = digest(protocol.of("code"))
        if coding not in lined_up:
            lined_up[coding] = line_up(step, step.setting)
        subjects, refused = lined_up[coding]
        probes = Probes(resolve(request.metrics, protocol), step.setting.device, request.weights, protocol=protocol)
        for dataset in step.datasets():
            task = Measuring(step, dataset, subjects, probes, store, progress, recons=recons)
            failed = (failed_record(facts, error, dataset, step) for facts, error in refused)
            for record in (*failed, *task.records()):
                found.setdefault((record.model.name, record.data.name), []).append(record)
    order = {name: k for k, name in enumerate(request.names)}
    return dict(sorted(found.items(), key=lambda pair: order.get(pair[0][0], len(order))))
