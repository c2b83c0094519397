"""Every sample is drawn once: its latents, kept at once, are what all VAEs decode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvbench import generators
from cvbench.core.digest import digest
from cvbench.core.errors import UnsuitableInput
from cvbench.core.records import Failure
from cvbench.core.run import Run
from cvbench.data import Dataset
from cvbench.engine.coding import seeded
from cvbench.engine.device import runtime, version
from cvbench.engine.loop import Made, Prepared, Unit, Work, recalled
from cvbench.engine.subject import Subject
from cvbench.generators import Condition, Generator, GeneratorEntry, GeneratorLoading, Settings
from cvbench.generators.spaces import raw
from cvbench.nets.arithmetic import arithmetic
from cvbench.store import LATENTS, FileStore, LatentStore, Store
from cvbench.tasks.generation.request import GenerationRequest, as_prompts, first_frames, prepare_prompt
from cvbench.tasks.request import DataTask

ACTING = "generator"
"""The owner of latents in the loop."""
FACTS = "facts"


@dataclass
class Conditioner:
    """A VAE that encodes first frames for a generator, of which `base` is the own one."""

    spec: str
    subject: Subject
    base: Subject
    space: str

    @property
    def key(self) -> str:
        """What stands for it."""
        return digest([self.subject.facts.digest, self.base.facts.digest, self.space])

    def encode(self, videos: Tensor) -> Tensor:
        """Return raw latents of the own VAE's kind. Raises UnsuitableInput for latents that are no numbers."""
        latents = self.subject.encode(videos.to(getattr(self.subject.model, "dtype", torch.float32)))
        if not isinstance(latents, Tensor) or not latents.is_floating_point():
            raise UnsuitableInput(f"{self.spec} has no continuous latents that a first frame could be coded in")
        return raw(latents.float(), self.base.model) if self.space == "scaled" else latents.float()


@dataclass
class Source:
    """A generator of a run: built when the first sample lacks latents, dropped when all are there.

    `path` is where its weights lie, `identity` stands for them. `conditioner` encodes first frames in place of its own
    VAE.
    """

    name: str
    entry: GeneratorEntry
    settings: Settings
    device: torch.device
    path: Path | None = None
    identity: str = ""
    revision: str = ""
    conditioner: "Conditioner | None" = None

    @property
    def key(self) -> str:
        """Return what stands for all that decides the latents but sample and seed."""
        made = [self.entry.build, dict(self.entry.config), self.entry.version, self.identity]
        return digest([made, self.settings.as_dict(), *([self.conditioner.key] if self.conditioner else [])])

    @cached_property
    def generator(self) -> Generator:
        """Build the generator."""
        encoder = self.conditioner.encode if self.conditioner else None
        loading = GeneratorLoading(self.device, self.settings, self.path, self.entry.config, encoder)
        return generators.build(self.entry, loading)

    @property
    def built(self) -> bool:
        """True once it was needed."""
        return "generator" in self.__dict__

    def drop(self) -> None:
        """Give its memory back."""
        self.__dict__.pop("generator", None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class Drawing(DataTask):
    """One data set on its way through one generator."""

    def __init__(
        self, request: GenerationRequest, dataset: Dataset, source: Source, probes: Any, store: Store, progress: Any
    ) -> None:
        prompts = source.entry.task != "i2v"
        self.source, self.latents = source, latents_beside(store)
        super().__init__(
            request, as_prompts(dataset) if prompts else dataset, [], probes, store, progress
        )  # fmt: skip
        self.loop.protocol = self.protocol if prompts else first_frames(self.protocol)
        self.loop.reader = prepare_prompt if prompts else None
        self.loop.label, self.loop.alike = f"{source.name} draws {dataset.name}", True
        self.loop.identity = digest([self.loop.identity, source.key])
        self.loop.leave = self._tell_facts

    def units(self, sample: Prepared) -> Iterator[Unit]:
        """Yield the latents."""
        yield self.unit(sample)

    def unit(self, sample: Prepared) -> Unit:
        """Return the latents of a sample, made or not; a prompt that pixels come with is no part of their hash."""
        task = {"id": sample.id, "seed": self.seed(sample)}
        if self.source.entry.task == "i2v":
            task["prompt"] = sample.item.caption or ""
        libraries = {**runtime(self.device), "transformers": version("transformers")}
        run = Run(self.protocol, sample.sha256, (self.source.key,), libraries, task)
        return Unit(ACTING, frozenset([LATENTS]), run.key("draw"), self.latents)

    def seed(self, sample: Prepared) -> int:
        """Return the seed of a sample: of the protocol's and its own name, whatever else is drawn."""
        return int(digest([self.protocol.seed, sample.id])[:8], 16)

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Draw what is missing, one by one: what is drawn beside never moves a number."""
        for work in works:
            for unit in work.missing:
                try:
                    yield Made(work.sample, unit, {LATENTS: self._draw(work.sample)})
                except Exception as error:  # out of memory, say
                    if not self.source.built:  # it will not be built for the next sample either
                        self.loop.give_up(ACTING, error)
                    yield Made(work.sample, unit, {}, [error])

    def _draw(self, sample: Prepared) -> np.ndarray:
        first = sample.pixels[:, :1] if sample.pixels is not None and sample.pixels.size else None
        condition, seed = Condition(sample.item.caption or "", first), self.seed(sample)
        with arithmetic(), seeded(seed, self.device):
            generator = self.source.generator
            self._tell_facts()
            latents = generator.draw(condition, seed)
        if not np.isfinite(latents).all():
            raise UnsuitableInput("the latents that were drawn contain NaN or infinity")
        return np.ascontiguousarray(latents)

    def drawn(self) -> dict[str, str]:
        """Draw what is missing; return by sample's name the key of its latents, for those that have some.

        These are all samples whose latents this process can read, whichever process drew them.
        """
        try:
            self.loop.run()
        finally:
            self._remember()
            self.source.drop()
        known = {sample.index: sample for sample in self.loop.samples}
        samples = [known.get(index) or self._known(index) for index in range(self.loop.total)]
        keys = {sample.id: self.unit(sample).key for sample in samples if sample}
        return {name: key for name, key in keys.items() if self.latents.rows(key)}

    def failures(self) -> list[Failure]:
        """Return every sample without latents, in order; of a generator that does not build that is each it lacks."""
        found = {failure.id: failure for failure in self.loop.failures(ACTING)}
        broken = self.loop.broken.get(ACTING)
        if broken:
            lost = [s.id for s in self.loop.samples if s.id not in found and not self.latents.rows(self.unit(s).key)]
            found |= {name: replace(broken.failure, id=name) for name in lost}
        return [found[item.id] for item in self.loop.dataset.items if item.id in found]

    def missing(self) -> int:
        """Return how many samples have no latents yet, as far as is known without reading any."""
        found = [self._known(index) for index in range(self.loop.total)]
        return sum(1 for sample in found if sample is None or self.unit(sample).missing())

    def _known(self, index: int) -> Prepared | None:
        """Return a sample as far as it is known without reading files."""
        item = self.dataset.items[index]
        if self.loop.reader:
            return self.loop.reader(index, item, self.protocol, None)
        return recalled(index, item, self.loop.protocol, self.store)

    def _tell_facts(self) -> None:
        """Tell other processes what the generator tells of itself: they may never build it."""
        found = dict(self.source.generator.facts) if self.source.built else self.facts
        self.loop.asides |= {FACTS: found} if found else {}

    def _remember(self) -> None:
        if found := self.loop.asides.get(FACTS):
            self.store.remember(digest(["facts", self.source.key]), found)

    @property
    def facts(self) -> dict[str, Any]:
        """What the generator told of itself when it last drew."""
        found: dict[str, Any] = self.store.facts(digest(["facts", self.source.key])) or {}
        return found


def latents_beside(store: Store) -> LatentStore:
    """Return where latents are kept beside rows."""
    return LatentStore(store.root if isinstance(store, FileStore) else None)
