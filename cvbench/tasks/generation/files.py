"""Latents and frames as files, for other programs."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cvbench import generators
from cvbench.core.records import Failure
from cvbench.engine.coding import describe, quantize
from cvbench.engine.loop import Prepared
from cvbench.store import LATENTS, atomic, file_name
from cvbench.tasks.generation.drawing import Drawing
from cvbench.tasks.generation.lineup import Part, line_up
from cvbench.tasks.generation.request import GenerationRequest
from cvbench.tasks.generation.rows import Decoder, seed_of
from cvbench.tasks.interpolation import write_video

FPS = 8


def write(drawing: Drawing, keys: Mapping[str, str], request: GenerationRequest, *, frames: bool) -> list[Failure]:
    """Write each sample's latents as NAME.safetensors and, if wanted, frames as NAME.png or NAME.mkv; name failures."""
    out = request.out or Path()
    decoders, failures = _decoders(drawing, request) if frames else ([], [])
    for sample in (s for s in drawing.loop.samples if s.id in keys):
        stem = out / file_name(sample.id)
        _copy(drawing, keys[sample.id], stem.with_name(stem.name + ".safetensors"))
        failures += [f for f in (_frames(drawing, keys[sample.id], sample, stem, d) for d in decoders) if f]
    return failures


def _copy(drawing: Drawing, key: str, path: Path) -> None:
    from safetensors.numpy import save

    latents = drawing.latents.rows(key)[LATENTS]
    stated = {"generator": drawing.source.name, "sha256": drawing.latents.sha256(key)}
    with atomic(path) as file:
        file.write(save({LATENTS: latents}, stated))


def _decoders(drawing: Drawing, request: GenerationRequest) -> tuple[list[Decoder], list[Failure]]:
    (name,) = request.models
    decoders, refused = line_up(Part(drawing.source, drawing.dataset, drawing.request, [generators.parse(name)]))  # type: ignore[arg-type]
    found = [decoder for decoder in decoders if decoder.name == name]
    return found, [Failure(name, describe(error)) for name, error in refused.items()]


def _frames(drawing: Drawing, key: str, sample: Prepared, stem: Path, decoder: Decoder) -> Failure | None:
    latents = torch.from_numpy(drawing.latents.rows(key)[LATENTS]).to(drawing.device)
    seed = seed_of(drawing.latents.sha256(key))
    try:
        base = decoder.of_base.decode(latents, None, seed) if decoder.row.decode == "after" else None
        video = quantize(decoder.decode(latents, base, seed))
    except Exception as error:  # out of memory, say: the others go on
        return Failure(sample.id, describe(error), type(error).__name__)
    pixels = (video * 255).round().byte().cpu().numpy().transpose(1, 2, 3, 0)
    rate = Fraction(drawing.source.settings.values.get("fps", FPS)).limit_denominator(1000)
    if len(pixels) == 1:
        with atomic(stem.with_name(stem.name + ".png")) as file:
            Image.fromarray(pixels[0]).save(file, "PNG")
    else:
        write_video(stem.with_name(stem.name + ".mkv"), _pictures(pixels), rate)
    return None


def _pictures(pixels: np.ndarray) -> Iterator[np.ndarray]:
    yield from pixels
