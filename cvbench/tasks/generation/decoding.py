"""Every row decodes every sample's latents; what it made is measured and dropped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cvbench.core.digest import digest
from cvbench.core.errors import BadRange, MissingWeights, UnsuitableInput
from cvbench.core.fields import EvalProtocol
from cvbench.core.run import Run
from cvbench.data import Dataset
from cvbench.engine.coding import at_rest
from cvbench.engine.device import runtime
from cvbench.engine.loop import Made, Prepared, Unit, Work
from cvbench.engine.measuring import Measured, Probes, measure_pairs, measure_video
from cvbench.engine.ranks import current
from cvbench.engine.shown import Clip, Showing, as_bytes
from cvbench.metrics import METRICS, Metric
from cvbench.nets.tensors import Video
from cvbench.probes import FEATURES, PROBES
from cvbench.store import LATENTS, Store
from cvbench.tasks.generation.drawing import latents_beside
from cvbench.tasks.generation.request import GenerationRequest, as_prompts, prepare_prompt
from cvbench.tasks.generation.rows import BaseVideo, Decoder, positions, seed_of
from cvbench.tasks.request import DataTask, loaded
from cvbench.tasks.targets import TARGET, named, target_key

ALIGNED, FIRST = "aligned:", "first:"
"""Before the columns of rows that are of some frames: those at the base VAE's positions, or the first."""


FRAMES = "frames of "
"""Before a row's name: how many frames it makes, among what shares leave."""
DECODED = "decoded"
"""The column of how many frames were decoded: there also where nothing can be measured."""


def every(step: int) -> str:
    """Return what stands before columns of a reference's every `step`-th frame."""
    return f"every {step}:" if step > 1 else ""


@dataclass(frozen=True)
class Wanted:
    """The probes that a run's metrics need: of pairs, and of videos by what they look at."""

    pairs: tuple[str, ...]
    videos: tuple[str, ...]
    aligned: tuple[str, ...]
    sets: tuple[str, ...]
    first: tuple[str, ...]

    @classmethod
    def by(cls, metrics: Iterable[str]) -> "Wanted":
        """Return what metrics need."""
        infos = [METRICS[name] for name in metrics]

        def networks(chosen: Iterable[Metric]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(metric.network for metric in chosen))

        of_videos = [m for m in infos if m.network in FEATURES]
        sets = [m for m in of_videos if m.distance]
        first = [m for m in of_videos if _partner(m) == "first frame"]
        return cls(
            networks(m for m in infos if m.network in PROBES),
            networks(m for m in of_videos if not m.aligned),
            networks(m for m in sets if m.aligned),
            networks(sets),
            networks(first),
        )


def _partner(metric: Metric) -> str:
    return METRICS[metric.change_of].partner if metric.change_of else metric.partner


def asked_frames(protocol: EvalProtocol) -> int:
    """Return how many frames of a reference clip are read, 0 where that is all of them."""
    return protocol.frames if isinstance(protocol.frames, int) else 0


class Decoding(DataTask):
    """The latents of one generator on one data set on their way through all rows.

    `keys` are those of the latents by sample, of pictures of `size`; `decoders` the rows, the base VAE's among them.
    """

    def __init__(
        self, request: GenerationRequest, dataset: Dataset, decoders: Sequence[Decoder], keys: Mapping[str, str],
        size: tuple[int, int], probes: Probes, store: Store, progress: Any,
    ) -> None:  # fmt: skip
        self.decoders, self.keys, self.size, self.latents = decoders, keys, size, latents_beside(store)
        self.wanted = Wanted.by(probes.metrics)
        self.reads = bool(self.wanted.sets or self.wanted.first)
        dataset = dataset if self.reads else as_prompts(dataset)
        super().__init__(request, dataset, [d.subject for d in decoders], probes, store, progress)
        self.loop.reader = None if self.reads else prepare_prompt
        self.loop.alike = True  # every sample costs the same, and is of the share that drew it
        self.loop.identity = digest([self.loop.identity, [[d.name, d.digest] for d in decoders]])
        self.hashes: dict[str, str] = {}
        self.steps = self._steps()

    # what is stored of a sample

    def _steps(self) -> tuple[int, ...]:
        """Return the steps through a reference's frames that some row compares with."""
        counts = {self.frames(decoder) for decoder in self.decoders}
        return tuple(sorted({self.step(count) for count in counts if count}))

    def frames(self, decoder: Decoder) -> int:
        """Return the frames of a row's samples, 0 where nothing was drawn or the row cannot run."""
        if not current().computes:
            return int(self.loop.asides.get(FRAMES + decoder.name, 0))
        rows = next((rows for key in self.keys.values() if (rows := self.latents.rows(key))), None)
        if rows is None or decoder.name in self.loop.broken:
            return 0
        try:
            return decoder.frames(rows[LATENTS].shape[1])
        except Exception:  # the model does not load: it will say so where it is run
            return 0

    def step(self, frames: int) -> int:
        """Return the step at which the reference has as many frames, 1 where there is none."""
        read = asked_frames(self.protocol)
        return (read - 1) // (frames - 1) if 1 < frames <= read and (read - 1) % (frames - 1) == 0 else 1

    def units(self, sample: Prepared) -> Iterator[Unit]:
        """Yield the rows of the reference, and of each decoder those of its frames."""
        if self.reads:
            yield self._target(sample)
        if sample.id in self.keys:
            for decoder in self.decoders:
                if not self.loop.gave_up(decoder.name, sample):
                    yield self.unit(decoder, sample)

    def _target(self, sample: Prepared) -> Unit:
        columns = [*self.probes.columns(self.wanted.sets)] if 1 in self.steps else []
        columns += [every(n) + c for n in self.steps if n > 1 for c in self.probes.columns(self.wanted.sets)]
        columns += [FIRST + column for column in self.probes.columns(self.wanted.first)]
        return Unit(TARGET, frozenset(columns), target_key(self.protocol, sample, self.device), self.store)

    def unit(self, decoder: Decoder, sample: Prepared) -> Unit:
        """Return the rows of a decoder's frames of a sample, made or not."""
        key = decoder.key((1, *self.size))
        keys = (key or decoder.name,)
        run = Run(self.protocol, self.hash(sample), keys, runtime(self.device), {"seed": self.seed(sample)})
        store = self.store if key else self.private
        return Unit(decoder.name, frozenset(self._columns(decoder)), run.key("measure"), store)

    def hash(self, sample: Prepared) -> str:
        """Return the hash of a sample's latents."""
        if sample.id not in self.hashes:
            self.hashes[sample.id] = self.latents.sha256(self.keys[sample.id])
        return self.hashes[sample.id]

    def seed(self, sample: Prepared) -> int:
        """Return the seed of a decoder that draws random numbers."""
        return seed_of(self.hash(sample))

    def _columns(self, decoder: Decoder) -> list[str]:
        """Return the columns of a row: the base VAE is not compared with itself, and aligned as it is."""
        videos, aligned = [*self.wanted.videos], [ALIGNED + c for c in self.probes.columns(self.wanted.aligned)]
        pairs = [] if decoder.is_base else [*self.probes.columns(self.wanted.pairs)]
        return [DECODED, *pairs, *self.probes.columns(videos), *aligned]

    def at_once(self, sample: Prepared) -> int:
        """Return how many samples of this shape are worked on together."""
        return self.request.batch or 1

    # how it is made

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Decode and measure what samples lack, sample by sample, row by row."""
        for work in works:
            units = {unit.owner: unit for unit in work.missing}
            if unit := units.pop(TARGET, None):
                yield from self._described(work, unit)
            if units:
                yield from self._rows(work, units)

    def _described(self, work: Work, unit: Unit) -> Iterator[Made]:
        """Measure the reference: all or every so many of its frames, and the first alone."""
        pixels = [work.sample.pixels] if work.sample.pixels is not None else []
        clip, missing, found = at_rest(pixels, self.device)[0], work.missing[unit], Measured()
        video = Showing(self.protocol, work.sample.stride).target(clip).features
        for step in self.steps:
            _view(self.probes, found, video[:, ::step], self.wanted.sets, every(step), missing)
        _view(self.probes, found, video[:, :1], self.wanted.first, FIRST, missing)
        yield Made(work.sample, unit, found.rows, [named(name, error) for name, error in found.failed.items()])

    def _rows(self, work: Work, units: Mapping[str, Unit]) -> Iterator[Made]:
        latents = torch.from_numpy(self.latents.rows(self.keys[work.sample.id])[LATENTS]).to(self.device)
        base: BaseVideo | None = None
        for decoder in self.decoders:
            needed = decoder.is_base or decoder.name in units
            if not needed or not self._loaded(decoder):
                continue
            try:
                made = decoder.decode(latents, base, self.seed(work.sample))
                video = as_bytes(made, self.protocol.eight, self.protocol.cast)
            except Exception as error:  # a model's failure on one sample does not end the run
                if isinstance(error, BadRange):
                    self.loop.give_up(decoder.name, error, work.sample)
                if decoder.name in units:
                    yield Made(work.sample, units[decoder.name], {}, [error])
                continue
            base = video if decoder.is_base else base
            if decoder.name in units:
                unit = units[decoder.name]
                found = self._measured(decoder, video, base, work.missing[unit])
                errors = [named(name, error) for name, error in found.failed.items()]
                if base is None:
                    errors.append(UnsuitableInput("the base VAE gave no frames of this sample to compare with"))
                yield Made(work.sample, unit, found.rows, errors)

    def _loaded(self, decoder: Decoder) -> bool:
        """Load what a row needs; a base VAE that cannot run breaks what rests on its frames."""
        if decoder.name in self.loop.broken:
            return False
        if not loaded(decoder.subject, self.request, self.loop):
            error = self.loop.broken[decoder.subject.name].error
            self.loop.give_up(decoder.name, error or MissingWeights(decoder.subject.name))
            return False
        return True

    def _measured(self, decoder: Decoder, video: Video, base: BaseVideo | None, missing: Iterable[str]) -> Measured:
        """Measure what a row lacks; without frames of the base VAE only what needs none, so the rest is tried again."""
        found, missing = Measured({DECODED: np.array([video.shape[1]])}), frozenset(missing)
        _view(self.probes, found, video, self.wanted.videos, "", missing)
        if base is not None:
            self._beside(found, video, base, missing)
        return found

    def _beside(self, found: Measured, video: Video, base: BaseVideo, missing: frozenset[str]) -> None:
        """Measure the frames at the base VAE's positions, and compare them with its own."""
        pairs = [name for name in self.wanted.pairs if self.probes.column(name) in missing]
        try:
            same = video[:, positions(video.shape[1], base.shape[1])]
        except UnsuitableInput as error:
            missed = [ALIGNED + c for c in self.probes.columns(self.wanted.aligned)]
            found.rows |= {c: np.array(str(error)) for c in [*map(self.probes.column, pairs), *missed] if c in missing}
            return
        _view(self.probes, found, same, self.wanted.aligned, ALIGNED, missing)
        if pairs:
            (measured,) = measure_pairs(self.probes, {"": same}, base, {"": pairs}).values()
            found.rows |= measured.rows
            found.failed |= measured.failed


def _view(
    probes: Probes, found: Measured, video: Clip, names: Iterable[str], before: str, missing: Iterable[str]
) -> None:
    """Measure some frames by those probes whose columns, behind `before`, are missing."""
    lacking = [name for column, name in probes.columns(names).items() if before + column in missing]
    made = measure_video(probes, video, lacking)
    found.rows |= {before + column: row for column, row in made.rows.items()}
    found.failed |= made.failed
