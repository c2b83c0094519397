"""What a record holds beside its rows: frames, speed, prompts' embeddings. Shares leave it for the one that merges."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvbench.engine.loop import Prepared
from cvbench.engine.ranks import current
from cvbench.metrics import METRICS, Metric
from cvbench.store import LATENTS
from cvbench.tasks.generation.decoding import FRAMES, Decoding
from cvbench.tasks.generation.rows import Decoder
from cvbench.tasks.generation.timing import timed
from cvbench.tasks.scoring.partners import tell_texts, told_texts
from cvbench.tasks.scoring.rows import text_rows

Timed = tuple[dict[str, Any] | None, list[str]]
"""Speed of a row where it was measured, and notes on why not."""


def leave_beside(decoding: Decoding) -> None:
    """Leave what stands beside rows, as this share has it; the speed of the first share is the run's."""
    asides, first = decoding.loop.asides, _first(decoding)
    tell_texts(decoding.loop, _texts(decoding))
    for decoder in decoding.decoders if first else ():
        if count := decoding.frames(decoder):
            asides[FRAMES + decoder.name] = count
        if first and decoding.request.speed:
            asides[_speed(decoder, first)] = list(_timed(decoding, decoder, first))


def speed_of(decoding: Decoding, decoder: Decoder) -> Timed:
    """Return how fast a row is, where the run asks for that."""
    first = _first(decoding)
    if first is None or not decoding.request.speed:
        return None, []
    if current().computes:
        return _timed(decoding, decoder, first)
    found, notes = decoding.loop.asides.get(_speed(decoder, first), (None, ["speed is in no share"]))
    return found, list(notes)


def texts_of(decoding: Decoding) -> Mapping[str, np.ndarray]:
    """Return the embedding (1, d) of each prompt, where a metric asks for them."""
    return _texts(decoding) if current().computes else told_texts(decoding.loop)


def source_of(metric: Metric) -> Metric:
    """Return the metric itself, of a change what changes."""
    return METRICS[metric.change_of] if metric.change_of else metric


def _texts(decoding: Decoding) -> Mapping[str, np.ndarray]:
    if "prompt" not in {source_of(METRICS[name]).partner for name in decoding.probes.metrics}:
        return {}
    prompts = [s.item.caption for s in decoding.loop.samples if s.id in decoding.keys and s.item.caption]
    return text_rows(prompts, "clip", decoding.probes, decoding.store, decoding.protocol)


def _first(decoding: Decoding) -> Prepared | None:
    """Return the first sample that was drawn."""
    return next((sample for sample in decoding.loop.samples if sample.id in decoding.keys), None)


def _timed(decoding: Decoding, decoder: Decoder, sample: Prepared) -> Timed:
    latents = decoding.latents.rows(decoding.keys[sample.id])[LATENTS]
    return timed(decoder, latents, decoding.size, decoding.probes, decoding.store)


def _speed(decoder: Decoder, first: Prepared) -> str:
    return f"speed of {decoder.name} on {first.id}"
