"""Which cross-decodings two models allow, and the views of a clip that they are measured on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float

from cvbench.core.types import Traits
from cvbench.nets.tensors import Videos
from cvbench.tasks.crossdecoding.mappings import MAPPINGS, mapped

View = Float[torch.Tensor, "b 3 _ h w"]
"""Frames of a clip, more or fewer than it has."""
NOISE = (0.05, 0.1, 0.2, 0.4)
"""Standard deviations of the noise added to latents, in units of theirs."""


@dataclass(frozen=True)
class CrossDecoding:
    """Encode the view `source` with one model, decode with another, compare with the view `target`.

    `ratio` is the temporal compression that the views of a clip are made for. `noise` is added to the latents before
    they are decoded, in units of their standard deviation.
    """

    encoder: str
    decoder: str
    source: str
    target: str
    ratio: int = 1
    noise: float = 0.0

    @property
    def name(self) -> str:
        """The model's name, or `ENCODER>DECODER`; with the mapping where an image VAE's latents become a clip."""
        both = self.encoder if self.encoder == self.decoder else f"{self.encoder}>{self.decoder}"
        through = f"/{self.source}" if self.target == "clips" and self.source in MAPPINGS else ""
        return f"{both}{through}" + (f"+{self.noise:g}σ" if self.noise else "")

    @property
    def data(self) -> str:
        """What the target adds to the data set's name: `images`, `clips-4`, `slice-4`, …."""
        return self.target if self.target == "images" else f"{self.target}-{self.ratio}"

    @property
    def place(self) -> str:
        """Tells it from all others of a run."""
        return f"{self.encoder}>{self.decoder} {self.source}>{self.target}-{self.ratio}+{self.noise:g}"

    @property
    def is_own(self) -> bool:
        """True for plain reconstruction by one model."""
        return self.encoder == self.decoder and not self.noise


def view(clip: Videos, name: str, ratio: int, seed: int) -> View:
    """Return a view of an image or clip, (1, 3, t, h, w).

    images: the frame. clips: the longest beginning of 1 + k * ratio frames. static: as many copies of frame 0, still:
    1 + k copies. The others are the mapping functions of `cvbench.tasks.crossdecoding.mappings`.
    """
    frames = clip.shape[2]
    groups = (frames - 1) // ratio
    if name in ("static", "still"):
        return clip[:, :, :1].expand(-1, -1, 1 + groups * (ratio if name == "static" else 1), -1, -1)
    trimmed = clip[:, :, : 1 + groups * ratio]
    if name in MAPPINGS:
        chosen: View = mapped(trimmed, name, ratio, torch.Generator().manual_seed(seed))
        return chosen
    return trimmed


def mismatch(a: Traits, b: Traits) -> str:
    """Say why the latents of two models cannot be exchanged, "" when they can.

    They can when a latent is the same array for both: equal channels or codebook, equal cells of pixels, and equal
    cells of frames, or one frame each in an image VAE and 1 + rk in a video VAE.
    """
    for traits in (a, b):
        if not (traits.channels or traits.codebook):
            return "a codec's bytes are no latents"
    if a.spatial != b.spatial:
        return f"a latent stands for {a.spatial}×{a.spatial} pixels in one, {b.spatial}×{b.spatial} in the other"
    if a.codebook != b.codebook:
        return f"codes of {a.codebook or 'no'} and of {b.codebook or 'no'} codebook entries"
    if a.channels != b.channels:
        return f"{a.channels} and {b.channels} channels"
    if a.temporal == b.temporal:
        same = a.frame_rule == b.frame_rule
        return "" if same else f"clips of {a.frame_rule} frames in one, {b.frame_rule} in the other"
    image, video = sorted((a, b), key=lambda traits: traits.temporal)
    if image.temporal != 1:
        return f"a latent stands for {a.temporal} frames in one, {b.temporal} in the other"
    if (video.frame_rule.base, video.frame_rule.step) != (1, video.temporal):
        return f"the mappings need a video VAE of 1 + {video.temporal}k frames, not of {video.frame_rule}"
    return ""


def other_form(forms: Mapping[str, str]) -> str:
    """Say why two models, each with the form of its latents, cannot exchange those that have the same shape, or "".

    One takes them raw, as an encoder gives them, the other scaled as a diffusion model takes them.
    """
    scaled = [name for name, form in forms.items() if form == "scaled"]
    return (
        f"latents of {scaled[0]} are scaled as for a diffusion model, the other's are raw" if len(scaled) == 1 else ""
    )


def cross_decodings(names: tuple[str, str], traits: tuple[Traits, Traits]) -> list[CrossDecoding]:
    """Return all that is measured of two models whose latents can be exchanged."""
    a, b = names
    ratio = max(each.temporal for each in traits)
    found = [CrossDecoding(*both, "images", "images") for both in ((a, a), (b, b), (a, b), (b, a))]
    if traits[0].temporal == traits[1].temporal:
        return found + [CrossDecoding(*both, "clips", "clips", ratio) for both in ((a, a), (b, b), (a, b), (b, a))]
    image, video = (a, b) if traits[0].temporal == 1 else (b, a)
    return found + list(_across_time(image, video, ratio))


def _across_time(image: str, video: str, ratio: int) -> Iterator[CrossDecoding]:
    """Yield the cross-decodings of clips: an image VAE decodes 1 + k frames, a video VAE 1 + k * ratio."""
    yield CrossDecoding(image, image, "still", "still", ratio)
    yield CrossDecoding(video, image, "static", "still", ratio)
    yield CrossDecoding(video, video, "static", "static", ratio)
    yield CrossDecoding(image, video, "still", "static", ratio)
    yield CrossDecoding(video, video, "clips", "clips", ratio)
    for mapping in MAPPINGS:
        yield CrossDecoding(image, image, mapping, mapping, ratio)
        yield CrossDecoding(video, image, "clips", mapping, ratio)
        if mapping == "first":
            yield CrossDecoding(video, video, mapping, mapping, ratio)
        yield CrossDecoding(image, video, mapping, mapping if mapping == "first" else "clips", ratio)


def noisy(name: str, traits: Traits) -> list[CrossDecoding]:
    """Return the cross-decodings that tell how much noise a decoder bears; codes of a codebook bear none."""
    views = [("images", 1)] + ([("clips", traits.temporal)] if traits.temporal > 1 else [])
    levels = () if traits.codebook else NOISE
    return [CrossDecoding(name, name, view, view, ratio, level) for view, ratio in views for level in levels]
