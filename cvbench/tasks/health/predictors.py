"""What is said to predict how well latents can be generated: numbers without a verdict, with their sources."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cvbench.engine.coding import describe
from cvbench.engine.subject import Subject
from cvbench.metrics.diffusability import WINDOW, mismatch, spectrum, velocity_variance, window_count
from cvbench.nets.tensors import Video
from cvbench.tasks.health.coded import Output, decibels, made, unclamped
from cvbench.tasks.health.limits import Finding

NOISE = (0.05, 0.1, 0.2, 0.4)
"""Standard deviations of the noise added to latents, in units of theirs."""
SPECTRUM = "slope of the latents' energy over frequency, logarithmic; shares above 1/4 and 1/2 of the highest"
SOURCES = {
    "spectrum": f"{SPECTRUM} (arXiv 2502.14831, 2606.03578)",
    "scale": "latents of a halved picture against halved latents, error over variance (arXiv 2502.09509, 2502.14831)",
    "rotation": "latents of a turned picture against turned latents, error over variance (arXiv 2502.09509)",
    "velocity": "velocity irreducible variance a dimension, white noise π/2 (arXiv 2606.03578, of 8×8 windows)",
    "noise": f"dB lost with noise of {', '.join(map(str, NOISE))} σ on the latents (arXiv 2507.15856)",
}


def predictors(subject: Subject, clips: Sequence[Video], outputs: Sequence[Output]) -> Iterator[Finding]:
    """Yield what can be said of latents that are numbers on a grid; of others one line that there is nothing to say."""
    if not all(_is_grid(out.latents) for out in outputs):
        yield _line("spectrum", "no grid of numbers")
        return
    latents = np.concatenate([_by_frame(out.latents) for out in outputs])
    found = spectrum(latents)
    yield _line("spectrum", f"{found.slope:.2f}; {found.above_quarter:.3f}, {found.above_half:.3f}")
    yield _velocity(latents)
    still = clips[0][:, : subject.traits.frame_rule.fit(1)]
    for check, step in (("scale", _scale), ("rotation", _rotation), ("noise", _noise)):
        try:
            yield _line(check, step(subject, still))
        except Exception as error:  # a size that the model refuses, say
            yield _line(check, f"not measured: {describe(error)}")


def _line(check: str, value: str) -> Finding:
    return Finding(check, "predictor", value, "", SOURCES[check])


def _is_grid(latents: object) -> bool:
    return isinstance(latents, Tensor) and latents.is_floating_point() and latents.ndim == 5 and latents.numel() > 0


def _by_frame(latents: Tensor) -> np.ndarray:
    """Return (b, c, t, h, w) as (b t, c, h, w)."""
    frames: np.ndarray = latents.transpose(1, 2).flatten(0, 1).float().cpu().numpy()
    return frames


def _velocity(latents: np.ndarray) -> Finding:
    count, channels = window_count(latents), latents.shape[1]
    if count * channels < WINDOW**2 or count * WINDOW**2 < channels or count < 2:
        return _line("velocity", f"not measured: {count} windows of {WINDOW}×{WINDOW} latents are too few")
    return _line("velocity", f"{velocity_variance(latents):.3f} of {count} windows")


def _scale(subject: Subject, still: Video) -> str:
    """Halve a picture, and its latents, by means of 2×2."""
    cell = 2 * (subject.traits.multiple or subject.traits.spatial)
    h, w = (side // cell * cell for side in still.shape[-2:])
    whole = still[..., :h, :w]
    return f"{mismatch(_latents(subject, _halved(whole)), _halved(_latents_of(subject, whole)).cpu().numpy()):.3f}"


def _rotation(subject: Subject, still: Video) -> str:
    """Turn a square picture, and its latents, by 90°."""
    side = min(still.shape[-2:])
    square = still[..., :side, :side]
    turned = _latents_of(subject, square).rot90(1, (-2, -1)).cpu().numpy()
    return f"{mismatch(_latents(subject, square.rot90(1, (-2, -1)).contiguous()), turned):.3f}"


def _noise(subject: Subject, still: Video) -> str:
    """Decode latents with more and more noise, the same drawn once."""
    out = made(subject, still)
    drawn = torch.randn(out.latents.shape, generator=torch.Generator().manual_seed(0)).to(out.latents)
    own = decibels(out.pixels.clamp(0, 1), still)
    noisy = [out.latents + level * out.latents.std() * drawn for level in NOISE]
    left = [decibels(unclamped(subject, latents, still).clamp(0, 1), still) for latents in noisy]
    return ", ".join(f"{own - each:.2f}" for each in left)


def _latents_of(subject: Subject, still: Video) -> Tensor:
    latents: Tensor = made(subject, still).latents[0].float()
    return latents


def _latents(subject: Subject, still: Video) -> np.ndarray:
    array: np.ndarray = _latents_of(subject, still).cpu().numpy()
    return array


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x.transpose(0, 1), 2).transpose(0, 1)
