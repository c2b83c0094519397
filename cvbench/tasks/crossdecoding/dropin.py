"""Drop-in decoders: what candidates make of a base model's latents, held against what the base itself makes of them.

The first model of a run is the base. The target is its own decoding, so nothing of its encoder is counted; beside the
scores stand the speed and memory of decoding alone. This is the table that distilled and pruned decoders publish.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cvbench.core.errors import UnsuitableInput
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, SampleRecord
from cvbench.core.run import Run
from cvbench.engine import speed
from cvbench.engine.coding import decoded, describe
from cvbench.engine.device import runtime
from cvbench.engine.loop import Prepared, Progress, silent
from cvbench.engine.measuring import measure_pairs
from cvbench.nets.fetching import Row
from cvbench.store import Store
from cvbench.tasks.crossdecoding.plan import CrossDecoding, mismatch, other_form
from cvbench.tasks.crossdecoding.task import CodedViews, CrossDecodingTask, run_crossed, suits
from cvbench.tasks.request import Request, Tell, failed_record
from cvbench.tasks.targets import named

AGAINST = "the base's own decoding"


def run(
    request: Request, progress: Progress = silent, store: Store | None = None, tell: Tell | None = None
) -> list[RunRecord]:
    """Let every model decode the first one's latents; a record each for images and for clips, the base's own with it.

    A candidate whose latents are not the base's has one record, whose error is the reason. Raises UsageError as the
    compat suite does.
    """
    return run_crossed(DropInTask, request, progress, store, tell)


@dataclass
class DropInTask(CrossDecodingTask):
    """One data set on its way through the base and all candidates."""

    @property
    def base(self) -> str:
        """The model whose latents are decoded."""
        return self.request.names[0]

    def _plan(self) -> list[CrossDecoding]:
        """Return the decodings of all that can take the base's latents; images alone where frames differ."""
        if self.base not in self.models:
            why = UnsuitableInput(f"{self.base}, whose latents it was to decode, did not load")
            self.unlike += [failed_record(s.facts, why, self.dataset, self.request) for s in self.models.values()]
            return []
        planned: list[CrossDecoding] = []
        for name in self.models:
            forms = {each: self.models[each].latents for each in (self.base, name)}
            both = self.traits[self.base], self.traits[name]
            if name != self.base and (reason := mismatch(*both) or other_form(forms)):
                self.unlike.append(self._refusal(self.base, name, reason))
                continue
            views = ("images", "clips") if both[0].temporal == both[1].temporal else ("images",)
            planned += [CrossDecoding(self.base, name, view, view, both[0].temporal) for view in views]
        return planned

    def described(self, cross: CrossDecoding) -> tuple[tuple[str, str], ...]:
        """Latents are not described here."""
        return ()

    def run_of(self, cross: CrossDecoding, sample: Prepared, named_as: tuple[str, ...]) -> Run:
        """Return what decides a decoding's rows, what it is held against too."""
        grid = [self.grid.multiple, self.grid.least_side]
        done = {"views": [cross.source, cross.ratio], "grid": grid, "against": AGAINST, "version": 1}
        return Run(self.protocol, sample.sha256, named_as, runtime(self.device), done)

    def _measured(
        self, cross: CrossDecoding, views: CodedViews, missing: frozenset[str]
    ) -> tuple[dict[str, Row], list[Exception]]:
        target = views.decoded(replace(cross, decoder=self.base))
        recon = target if cross.is_own else views.decoded(cross)
        names = [name for column, name in self.probes.columns().items() if column in missing]
        found = measure_pairs(self.probes, {"": recon}, target, {"": names})[""]
        return dict(found.rows), [named(name, error) for name, error in found.failed.items()]

    def _record(self, cross: CrossDecoding) -> RunRecord | None:
        record = super()._record(cross)
        if record is None:
            return None
        timed, notes = self._speed(cross)
        return replace(record, crossing=None, speed=timed, notes=[*record.notes, *notes])

    def _data(self, cross: CrossDecoding, kept: Sequence[SampleRecord]) -> DataFacts:
        data = super()._data(cross, kept)
        note = "; ".join(filter(None, (data.note, f"held against what {self.base} itself makes of the same latents")))
        return replace(data, name=f"{self.dataset.name}:{cross.target} by {self.base}", note=note)

    def _facts(self, cross: CrossDecoding) -> ModelFacts:
        """Return the decoder's facts; the base itself is the reference."""
        facts = super()._facts(cross)
        params = self.models[cross.decoder].facts.params
        size = (0, params[1]) if params else None
        role = "reference" if cross.is_own else facts.role
        return replace(facts, name=cross.decoder, params=size, role=role)

    def _speed(self, cross: CrossDecoding) -> tuple[dict[str, Any] | None, list[str]]:
        """Time the decoder on the first sample's latents; remembered for this machine."""
        if not self.request.speed:
            return None, []
        sample = next(s for s in self.loop.samples if suits(cross, s))
        unit = self._unit(cross, sample)
        run = self.run_of(cross, sample, tuple(self.models[m].facts.digest for m in (cross.encoder, cross.decoder)))
        key = replace(run, task={"speed": speed.conditions(self.device), "views": cross.source}).key("code")
        known = unit.store.facts(key)
        try:
            known = known or self._timed(cross, sample)
        except Exception as error:  # out of memory, say: it costs no score
            return None, [f"speed was not measured: {describe(error)}"]
        unit.store.remember(key, known)
        return known, []

    def _timed(self, cross: CrossDecoding, sample: Prepared) -> dict[str, Any]:
        views = CodedViews(self, self.loop.read(sample.index, sample.item))
        latents = views.encoded(cross.encoder, cross.source, cross.ratio)
        frames = views.padded(cross.decoder, views.view(cross.target, cross.ratio)).shape[2]
        subject = self.models[cross.decoder]

        def decode() -> Any:
            return decoded(subject, latents.clone(), frames, views.seed, self.device)[0]

        return speed.measure_decoding(decode, self.device)
