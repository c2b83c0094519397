"""Pictures for the report: what several VAEs made of the same latents, beside the base VAE's."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from cvbench.core.errors import UnsuitableInput
from cvbench.core.records import RunRecord
from cvbench.engine import pictures
from cvbench.nets.tensors import Video
from cvbench.store import LATENTS
from cvbench.tasks.generation.decoding import Decoding
from cvbench.tasks.generation.rows import positions


def keep_pictures(decoding: Decoding, records: Sequence[RunRecord]) -> None:
    """Store pictures of some samples where a run asks for them: the base VAE's frames are what others are held to."""
    out, wanted = decoding.request.out, [r for r in records if r.generation and not r.error]
    choice = pictures.choose(wanted, decoding.request.pictures) if wanted else {}
    share = pictures.BUDGET // max(1, len(decoding.request.data))
    if out and choice and not pictures.stored(out, wanted, choice, share):
        pictures.save(out, wanted, choice, _shots(decoding, choice), share)


def _shots(decoding: Decoding, choice: Mapping[str, Sequence[str]]) -> Iterator[pictures.Shot]:
    samples = {sample.id: sample for sample in decoding.loop.samples}
    for name, models in choice.items():
        latents = torch.from_numpy(decoding.latents.rows(decoding.keys[name])[LATENTS]).to(decoding.device)
        base: Video | None = None
        made: dict[str, np.ndarray] = {}
        for decoder in decoding.decoders:
            if decoder.is_base or decoder.name in models:
                video = decoder.decode(latents, base, decoding.seed(samples[name]))
                base = video if decoder.is_base else base
                made[decoder.name] = _at(video, base)
        target = next(made[d.name] for d in decoding.decoders if d.is_base)
        shown = {model: video for model, video in made.items() if model in models and video.shape == target.shape}
        previews = {model: latents.float().cpu().numpy() for model in shown}
        yield pictures.Shot(name, target, shown, previews)


def _at(video: Video, base: Video | None) -> np.ndarray:
    """Return 8-bit frames at the base VAE's positions, all where there are none."""
    with contextlib.suppress(UnsuitableInput):
        video = video[:, positions(video.shape[1], video.shape[1] if base is None else base.shape[1])]
    pixels: np.ndarray = (video * 255).round().byte().cpu().numpy()
    return pixels
