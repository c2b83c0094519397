"""Clips coded as they come, their pixels neither clamped nor checked, and how far two of them are apart."""

from typing import Any, NamedTuple

import torch

from cvbench.core.types import Traits
from cvbench.engine.coding import cropped, decoded, encoded, pad
from cvbench.engine.subject import Subject
from cvbench.nets.tensors import Video

SAME = 200.0
"""Decibels that stand for equal bits."""


class Output(NamedTuple):
    """What a model makes of a clip: pixels on the clip's frames, neither clamped nor checked, and latents."""

    pixels: Video
    latents: Any


def made(subject: Subject, clip: Video, seed: int = 0) -> Output:
    """Code one clip; pixels stay as the model gave them."""
    latents, _ = encoded(subject, pad(clip[None], subject.traits), seed)
    return Output(unclamped(subject, latents, clip, seed), latents)


def unclamped(subject: Subject, latents: Any, clip: Video, seed: int = 0) -> Video:
    """Decode latents on a clip's frames; pixels stay as the model gave them."""
    videos = clip[None]
    padded = pad(videos, subject.traits)
    pixels, _ = decoded(subject, latents, padded.shape[2], seed, clip.device)
    return cropped(pixels, padded.shape, videos)[0]


def in_runs(subject: Subject, clip: Video, frames: int) -> Video:
    """Code runs of so many frames of a clip, each as if it were a clip of its own."""
    return torch.cat([made(subject, run).pixels for run in torch.split(clip, frames, dim=1)], dim=1)


def half_of(clip: Video, traits: Traits) -> int:
    """Return the frames of the first of two runs: the shortest that the model takes of at least half of the clip."""
    return min(traits.frame_rule.fit(-(-clip.shape[1] // 2)), clip.shape[1])


def decibels(x: Video, y: Video) -> float:
    """PSNR of two outputs, SAME for equal bits, NaN where either is not finite."""
    if torch.equal(x, y):
        return SAME
    return float(-10 * (x.double() - y.double()).square().mean().log10())
