"""The types that need no torch: what a file becomes, and what a model says of itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

Pixels = UInt8[np.ndarray, "3 t h w"]
"""RGB, 8 bits a channel, channel first; an image has t = 1."""


FloatPixels = Float32[np.ndarray, "3 t h w"]
"""RGB in [0, 1] as a protocol prepared it that does not round to 8 bits."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a file are wanted: the fields of the protocol that act when it is read (`cvbench.core.fields`).

    `short` "shrink" takes the stride (available - start) // frames, at least 1, and as many frames as there are up to
    `frames`: the rule of CV-VAE's training code, whose stride is sometimes one less than the largest that fits
    (65 frames from 0 are 33 at stride 2, and get stride 1). `window` says which run of frames is wanted where
    `windows` is "all"; `seed` is of a random start.
    """

    frames: int | str = 33
    stride: int = 3
    start: int | str = 0
    short: Literal["shrink", "error", "repeat", "skip", "black", "spread"] = "shrink"
    rate: int | str = "none"
    spacing: Literal["step", "spread"] = "step"
    windows: Literal["first", "all"] = "first"
    window: int = 0
    seed: int = 0

    @property
    def plain(self) -> bool:
        """True where neither the clip's length nor its frame rate decides which frames are taken of a long clip."""
        numbers = isinstance(self.frames, int) and isinstance(self.start, int)
        simple = (self.rate, self.spacing, self.windows) == ("none", "step", "first")
        return numbers and simple and self.short in ("shrink", "error")


@dataclass(frozen=True)
class Sample:
    """One image or clip as it was read, never resized.

    `facts` is what the reader decided and the record keeps: stride used, timestamps, rotation applied,
    alpha composited, bit depth reduced, ...; only strict-JSON values.
    """

    id: str
    pixels: Pixels
    fps: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        """True when there is no time axis to speak of."""
        return bool(self.pixels.shape[1] == 1)


@dataclass(frozen=True)
class FrameRule:
    """The clip lengths a network codes without loss of frames: base + k * step, from `least` upwards."""

    base: int = 0
    step: int = 1
    least: int = 1

    def fit(self, frames: int) -> int:
        """Return the smallest admissible length that is not below `frames`."""
        wanted = max(frames, self.least)
        return self.base + -(-(wanted - self.base) // self.step) * self.step

    def __str__(self) -> str:
        if self.step == 1:
            return "any" if self.least == 1 else f"≥ {self.least}"
        return f"{self.base} + {self.step}k" if self.base else f"{self.step}k"


@dataclass(frozen=True)
class Traits:
    """What the harness must know of a model to feed it, and a table to describe it.

    `temporal` and `spatial` are compression factors; `multiple` is what height and width must divide by
    (default: `spatial`); `least_side` the smallest height and width the network codes correctly;
    `codebook` the number of codes of a discrete model; `window` the number of new frames in each window of time the
    model codes by itself, after the first frame (0: a clip is coded whole); `tokens` the number of latents of a
    frame of `multiple` by `multiple` pixels where they are a row, no grid. A codec has `channels` 0: its bits are
    counted.
    """

    temporal: int = 1
    spatial: int = 1
    channels: int = 0
    frame_rule: FrameRule = FrameRule()
    multiple: int = 0
    least_side: int = 1
    codebook: int | None = None
    window: int = 0
    tokens: int = 0

    @property
    def bits_per_pixel(self) -> float | None:
        """Nominal bits of latent per pixel: 16 per continuous channel, log2(codebook) per token; None for codecs."""
        cells = self.temporal * (self.multiple**2 / self.tokens if self.tokens else self.spatial**2)
        if self.codebook:
            return math.log2(self.codebook) / cells
        return 16 * self.channels / cells if self.channels else None
