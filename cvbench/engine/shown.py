"""What is measured of a reconstruction and its target: how they become bytes, and a file in between."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from cvbench.core.fields import EvalProtocol
from cvbench.core.types import FloatPixels, Pixels
from cvbench.engine.coding import Pixels8, in_flight, quantize
from cvbench.engine.through import through
from cvbench.nets.tensors import Video

Clip = Video | Pixels8
NO_BYTES = ("none", "raw")
"""Values of `eight` that leave floats, which a file cannot hold: they are rounded for it."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "none": torch.float32}


class Side(NamedTuple):
    """One side of a comparison as PSNR and SSIM see it, as LPIPS does, and as Inception and I3D do; in [0, 1]."""

    pixels: Clip
    nets: Clip
    features: Clip


def cast(pixels: Pixels | FloatPixels, how: str) -> Pixels | FloatPixels:
    """Round prepared pixels to the precision of the protocol's field `cast`; "none" leaves them as they are."""
    if how == "none":
        return pixels
    unit: Float32[np.ndarray, "3 t h w"] | Float[np.ndarray, "3 t h w"] = (
        pixels / np.float64(255) if pixels.dtype == np.uint8 else pixels
    )
    name, _, signed = how.partition("-")
    x, dtype = torch.from_numpy(unit), DTYPES[name]
    middle = (2 * x - 1).to(dtype) if signed else 2 * x.float().to(dtype) - 1
    made: np.ndarray = ((middle.float() + 1) / 2).numpy()
    return made


def as_bytes(video: Float[Tensor, "*shape"], eight: str, how: str) -> Float[Tensor, "*shape"]:
    """Return pixels as bytes / 255, by `eight`; half-up and floor in the precision of `cast`.

    Those two are `astype(uint8)` behind a way through [-1, 1], which moves some bytes that nobody touched by a level.
    """
    if eight in ("none", "round"):
        return quantize(video) if eight == "round" else video
    dtype = DTYPES[how.partition("-")[0]]
    levels = ((2 * video - 1).to(dtype) + 1) / 2 * 255 + (0.5 if eight == "half-up" else 0)
    return levels.clamp(0, 255).to(torch.uint8).float() / 255


@dataclass(frozen=True)
class Showing:
    """How a protocol shows the two sides of a sample whose frames lie `stride` apart in their file."""

    protocol: EvalProtocol
    stride: int = 1

    @property
    def task(self) -> dict[str, object]:
        """What a key must know beside the fields: the stride, where it decides the rate that a file is written at."""
        return {} if self.protocol.through in ("none", "png") else {"stride": self.stride}

    @property
    def touches_target(self) -> bool:
        """True where the target is made bytes and passes the file, too."""
        return self.protocol.through_side == "both"

    @property
    def rounds(self) -> bool:
        """True where a reconstruction is rounded to bytes and nothing else is done to it before it is measured."""
        p = self.protocol
        whole = (p.eight, p.remap) == ("round", "none") and p.eight_nets in ("as", "round")
        return whole and p.through in ("none", "png")

    @property
    def leaves_bytes(self) -> bool:
        """True where samples are bytes when they are prepared, and measured as these."""
        return self.rounds and self.protocol.resizer != "float" and self.protocol.cast == "none"

    def target(self, target: Clip) -> Side:
        """Return the target as it is measured; bytes stay bytes where nothing more is done to them."""
        if target.dtype == torch.uint8:
            if self.rounds:
                return Side(target, target, target)
            target = in_flight(target)
        if self.touches_target:
            return self._shown(target, target)
        return Side(self._mapped(target), self._mapped(target), target)

    def recon(self, recon: Clip, raw: Video | None = None) -> Side:
        """Return a reconstruction as it is measured; `raw` is what it was before it was cut to [0, 1]."""
        if recon.dtype == torch.uint8:
            return Side(recon, recon, recon)
        return self._shown(recon, recon if raw is None else raw)

    def _shown(self, video: Video, raw: Video) -> Side:
        p = self.protocol
        if p.through not in ("none", "png"):
            video = self._passed(video)
            return Side(self._mapped(video), self._mapped(video), video)
        pixels = self._bytes(video, raw, "round" if p.through == "png" and p.eight in NO_BYTES else p.eight)
        nets = pixels if p.eight_nets in ("as", p.eight) else self._bytes(video, raw, p.eight_nets)
        mapped = self._mapped(pixels)
        return Side(mapped, mapped if nets is pixels else self._mapped(nets), nets)

    def _bytes(self, video: Video, raw: Video, eight: str) -> Video:
        return raw if eight == "raw" else as_bytes(video, eight, self.protocol.cast)

    def _passed(self, video: Video) -> Video:
        p = self.protocol
        whole = as_bytes(video, "round" if p.eight in NO_BYTES else p.eight, p.cast)
        frames = (255 * whole).round().byte().cpu().numpy()
        passed = through(frames, p.through, p.through_fps / self.stride)
        return torch.from_numpy(np.ascontiguousarray(passed)).to(video.device).float() / 255

    def _mapped(self, video: Video) -> Video:
        return (1 + video) / 2 if self.protocol.remap == "half" else video


def fitting(target: Side, recon: Side) -> Side:
    """Return the target cut to a reconstruction that a file cut by a row or column."""
    height, width = recon.pixels.shape[-2:]
    if target.pixels.shape[-2:] == (height, width):
        return target
    return Side(*(side[..., :height, :width] for side in target))
