"""What a run of generators is asked for, and what its samples are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvbench.core.digest import digest
from cvbench.core.errors import UsageError
from cvbench.core.fields import refuse_undone
from cvbench.core.protocol import EvalProtocol, derive
from cvbench.core.types import Sample
from cvbench.data import Dataset, Item
from cvbench.engine.loop import Prepared
from cvbench.generators import GeneratorEntry, Settings
from cvbench.metrics import METRICS
from cvbench.store import Store
from cvbench.tasks.request import Request
from cvbench.tasks.scoring.pairs import read_prompts


@dataclass(frozen=True)
class GenerationRequest(Request):
    """A run of generators: `models` are rows (`cvbench.generators.parse`), `prompts` a file in place of `data`.

    Of metrics that were not `asked` for by name, those without a reference or prompt to compare with are left out.
    """

    prompts: Path | None = None
    asked: bool = False

    def samples(self) -> list[Dataset]:
        """Open what samples are made from. Raises UsageError for a file that holds no prompts."""
        if self.prompts is None:
            return self.datasets()
        found = prompts_of_file(self.prompts)
        if self.limit is None or self.limit >= len(found.items):
            return [found]
        note = f"first {self.limit:,} of {len(found.items):,}"
        return [replace(found, items=found.items[: self.limit], note=note)]


def prompts_of_file(file: Path) -> Dataset:
    """Return the prompts of a file as a data set."""
    prompts: Mapping[str, str] = read_prompts(file)
    return Dataset(file.stem, tuple(prompt_item(name, prompt) for name, prompt in prompts.items()))


def prompt_item(name: str, prompt: str) -> Item:
    """Return a prompt as an item; there are no pixels to it."""
    return Item(name, lambda: f"prompt|{digest(prompt)}", lambda sampling: _nothing(name), prompt)


def _nothing(name: str) -> Sample:
    return Sample(name, np.zeros((3, 1, 1, 1), np.uint8))


def prepare_prompt(index: int, item: Item, protocol: EvalProtocol, store: Store | None) -> Prepared:
    """Return a sample that is a prompt alone; it stands for itself, however often the prompt is there."""
    prompt = item.caption or ""
    nothing = np.zeros((3, 0, 0, 0), np.uint8)
    return Prepared(index, item, digest([item.id, prompt]), (0, 0, 0), {"prompt": prompt}, nothing)


def as_prompts(dataset: Dataset) -> Dataset:
    """Return a data set's captions alone, which nobody has to open files for."""
    return replace(dataset, items=tuple(prompt_item(item.id, item.caption or "") for item in dataset.items))


def first_frames(protocol: EvalProtocol) -> EvalProtocol:
    """Return the protocol that reads the first frame of each clip."""
    return replace(protocol, frames=1, stride=1, short="shrink")


def protocol_of(protocol: EvalProtocol, settings: Settings) -> EvalProtocol:
    """Return a run's protocol for a generator: where it leaves size and frames to the generator, with those."""
    if protocol.size is not None:
        return protocol
    height, width = settings.size
    return derive(protocol, [f"size={height}x{width}", f"frames={settings.frames}"])


def metrics_for(names: Sequence[str], dataset: Dataset, entry: GeneratorEntry, request: GenerationRequest) -> list[str]:
    """Return the metrics that the samples can have. Raises UsageError for one asked for that they cannot."""
    captions = any(item.caption for item in dataset.items)
    lacking = {name: why for name in names if (why := _lacks(name, captions, request.prompts is not None, entry))}
    if lacking and request.asked:
        raise UsageError("; ".join(f"{name} {why}" for name, why in lacking.items()))
    return [name for name in names if name not in lacking]


def _lacks(name: str, captions: bool, only_prompts: bool, entry: GeneratorEntry) -> str:
    metric = METRICS[name]
    partner = METRICS[metric.change_of].partner if metric.change_of else metric.partner
    if only_prompts and (metric.distance or partner == "first frame"):
        return "compares with pictures or clips: say --data, which prompts alone do not have"
    if partner == "prompt" and not captions:
        return "needs prompts: the data set has no captions; say --prompts FILE"
    return ""


UNDONE = {"window": 0, "padding": "replicate", "remap": "none", "through": "none"}
"""Fields that say how clips are coded or measured, by the one value that holds for generated ones."""


def check_protocol(p: EvalProtocol) -> None:
    """Raise UsageError for fields that would be signed and not done."""
    wanted: dict[str, object] = dict(UNDONE)
    wanted |= {"eight": "round"} if p.eight == "raw" else {}
    wanted |= {"eight_nets": "as"} if p.eight_nets not in ("as", p.eight) else {}
    refuse_undone(p, wanted, "generated samples")


def check(entry: GeneratorEntry, name: str, dataset: Dataset, request: GenerationRequest) -> None:
    """Raise UsageError where a generator lacks what it makes samples from, or for what no generated sample is."""
    check_protocol(request.protocol)
    if entry.task == "i2v" and request.prompts is not None:
        raise UsageError(f"{name} makes videos of first frames, not of prompts: say --data with pictures or clips")
    p = request.protocol
    if entry.task == "i2v" and not (isinstance(p.start, int) and p.windows == "first"):
        raise UsageError(
            f"{name} makes videos of the frame that its reference begins with: start must be a number and "
            f"windows=first, not start={p.start} and windows={p.windows}"
        )
    if entry.task != "i2v" and not name.startswith("gaussian-") and not any(i.caption for i in dataset.items):
        raise UsageError(f"{name} needs prompts and {dataset.name} has no captions: say --prompts FILE (name,prompt)")
