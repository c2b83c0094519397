"""What each generated sample is held against, as embeddings: its prompt, or the picture it was made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from cvbench.core.digest import digest
from cvbench.core.errors import Unavailable
from cvbench.core.records import Failure
from cvbench.data import Item
from cvbench.engine.loop import Loop, Progress
from cvbench.engine.ranks import current
from cvbench.tasks.scoring.pairs import Partners
from cvbench.tasks.scoring.rows import Row, Samples, text_rows
from cvbench.tasks.scoring.sets import Compared

T = TypeVar("T")
TEXT = "text "
"""What the names of embeddings begin with among the things that a share leaves."""


@dataclass
class Held:
    """By a sample's place in its set, its partner's embedding (1, d) or why there is none, and its content's digest.

    `unpaired` are samples without a partner, `failures` partners that could not be read.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    contents: dict[int, str] = field(default_factory=dict)
    unpaired: list[tuple[int, Failure]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def pair(self, samples: Samples, partners: Partners[T]) -> dict[int, T]:
        """Return each sample's partner; a sample that has none is remembered with the reason."""
        found: dict[int, T] = {}
        for index, item in samples.loop.readable:
            try:
                found[index] = partners.find(item.id)
            except Unavailable as error:
                self.rows[index] = str(error)
                self.unpaired.append((index, Failure(item.id, str(error))))
        return found


def held_against(kind: str, compared: Compared, samples: Samples, progress: Progress) -> Held:
    """Return what samples are held against: prompts, first frames, or nothing."""
    if kind == "prompt" and compared.prompts:
        return against_prompts(compared.prompts, samples)
    if kind == "first frame" and compared.first_frames:
        return against_pictures(compared.first_frames, samples, progress)
    return Held()


def against_prompts(prompts: Partners[str], samples: Samples) -> Held:
    """Embed each sample's prompt by CLIP."""
    held = Held()
    found = held.pair(samples, prompts)
    if not current().assembles:
        return held
    rows: Mapping[str, Row] = told_texts(samples.loop) or described_texts(found.values(), samples)
    reason = samples.probes.reasons.get("clip", "prompt not measured")
    for index, text in found.items():
        held.rows[index], held.contents[index] = rows.get(text, reason), digest(text)
    return held


def described_texts(texts: Iterable[str], samples: Samples) -> dict[str, np.ndarray]:
    """Embed texts by CLIP."""
    return text_rows(texts, "clip", samples.probes, samples.store, samples.protocol)


def leave_texts(prompts: Partners[str], samples: Samples) -> None:
    """Leave, in a share, the embeddings of the prompts of its samples."""
    texts = [text for index, text in Held().pair(samples, prompts).items() if index in samples.places]
    tell_texts(samples.loop, described_texts(texts, samples))


def tell_texts(loop: Loop, rows: Mapping[str, np.ndarray]) -> None:
    """Leave embeddings (1, d) of texts in a share."""
    loop.asides |= {TEXT + text: row.tolist() for text, row in rows.items()}


def told_texts(loop: Loop) -> dict[str, np.ndarray]:
    """Return the embeddings that shares left."""
    left = {name.removeprefix(TEXT): row for name, row in loop.asides.items() if name.startswith(TEXT)}
    return {text: np.array(row, np.float32) for text, row in left.items()}


def against_pictures(pictures: Partners[Item], samples: Samples, progress: Progress) -> Held:
    """Embed by DreamSim the picture each sample was made from (of a clip the first frame), prepared as samples are."""
    held = Held()
    found = held.pair(samples, pictures)
    items = list({item.id: item for item in found.values()}.values())
    protocol = replace(samples.protocol, frames=1, stride=1, short="shrink")
    first = Samples(items, protocol, ["dreamsim"], samples.probes, samples.store)
    first.loop.chosen = True  # a share does not know that the sample of its picture cannot be read
    first.measure("first frames", progress)
    held.failures = [Failure(f"first frame: {f.id}", f.error) for _, f in first.failed]
    clips = {clip.item.id: clip for clip in first.prepared}
    for index, item in found.items():
        if clip := clips.get(item.id):
            held.rows[index], held.contents[index] = first.rows(clip, "dreamsim"), clip.sha256
        else:
            held.rows[index] = f"its first frame {item.id} could not be read"
    return held
