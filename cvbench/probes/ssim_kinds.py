"""SSIM as other projects compute it: five things have that name (the first, Gaussian and valid, is in `pixel`)."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.tensors import Video
from cvbench.probes.pixel import RADIUS, SIGMA, OnDevice, Ssim, check_shape, constants

Maps = Float64[Tensor, "3 h w"]
K1, K2 = 0.01, 0.03
FULL = 256
"""Side in pixels that `SsimDown` brings frames near to."""


class SsimDown(OnDevice):
    """SSIM of frames averaged by round(min side / 256), at least 1: as the probe `ssim` up to 383 px.

    Wang's own code scales so; piq and VidTok's evaluation follow it.
    """

    version = "1"
    frames_at_once = 16

    def __init__(self) -> None:
        self.plain = Ssim()

    def prepare(self, target: Video) -> tuple[torch.Size, Any]:
        """Return the scaled target's windowed means. Raises UnsuitableInput for sides below 11 px."""
        return target.shape, self.plain.prepare(scaled(target))

    def values(self, recon: Video, prepared: tuple[torch.Size, Any]) -> Float64[Tensor, " t"]:
        """SSIM of each frame."""
        check_shape(recon, prepared[0])
        return self.plain.values(scaled(recon), prepared[1])


def scaled(video: Video) -> Float[Tensor, "3 t _h _w"]:
    """Average pixels over squares, so that the short side is near 256."""
    factor = max(1, round(min(video.shape[-2:]) / FULL))
    return F.avg_pool2d(video, factor) if factor > 1 else video


class WindowedSsim(OnDevice):
    """SSIM of each frame by windows of a given weight, in float64: of `uniform7`, `padded` and `padded_signed`."""

    version = "1"
    frames_at_once = 16

    def __init__(self, taps: Float64[np.ndarray, " k"], *, sample: bool, mirrored: bool, signed: bool) -> None:
        self.taps, self.mirrored, self.signed = tuple(taps.tolist()), mirrored, signed
        self.norm = len(taps) ** 2 / (len(taps) ** 2 - 1) if sample else 1.0

    def prepare(self, target: Video) -> Video:
        """Return the target. Raises UnsuitableInput for frames smaller than the window."""
        if min(target.shape[-2:]) < len(self.taps):
            height, width = target.shape[-2:]
            raise UnsuitableInput(f"SSIM needs sides of {len(self.taps)} px or more, got {height}×{width}")
        return target

    @torch.inference_mode()
    def values(self, recon: Video, prepared: Video) -> Float64[Tensor, " t"]:
        """SSIM of each frame."""
        check_shape(recon, prepared.shape)
        frames = zip(recon.unbind(1), prepared.unbind(1), strict=True)
        return torch.stack([self._similarity(*map(self._ranged, pair)) for pair in frames])

    def _ranged(self, frame: Float[Tensor, "3 h w"]) -> Maps:
        return (2 * frame.double() - 1).clamp(-1, 1) if self.signed else frame.double()

    def _similarity(self, x: Maps, y: Maps) -> Float64[Tensor, ""]:
        span = 2.0 if self.signed else 1.0
        c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
        mean_x, mean_y, xx, yy, xy = self._windowed(torch.stack([x, y, x * x, y * y, x * y]))
        variances = self.norm * (xx + yy - mean_x**2 - mean_y**2)
        covariance = self.norm * (xy - mean_x * mean_y)
        means = mean_x**2 + mean_y**2
        mean: Tensor = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((means + c1) * (variances + c2))).mean()
        return mean

    def _windowed(self, maps: Float64[Tensor, "n 3 h w"]) -> Float64[Tensor, "n 3 _h _w"]:
        taps = constants(self.taps, maps.dtype, maps.device)
        if self.mirrored:
            maps = F.pad(maps, [len(taps) // 2] * 4, mode="reflect")
        flat = maps.flatten(0, 1)[:, None]
        flat = F.conv2d(F.conv2d(flat, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
        return flat.view(*maps.shape[:2], *flat.shape[-2:])


def gaussian() -> Float64[np.ndarray, " 11"]:
    """Return the Gaussian window's weights."""
    taps = np.exp(-((np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2) / 2)
    return np.asarray(taps / taps.sum())


def uniform7() -> WindowedSsim:
    """scikit-image's default: 7 × 7 uniform, sample covariance, valid region."""
    return WindowedSsim(np.full(7, 1 / 7), sample=True, mirrored=False, signed=False)


def padded() -> WindowedSsim:
    """torchmetrics from 1.4.3 on: Gaussian, the border mirrored, mean over the whole picture."""
    return WindowedSsim(gaussian(), sample=False, mirrored=True, signed=False)


def padded_signed() -> WindowedSsim:
    """The same on [-1, 1] with data_range=(-1, 1), which also cuts to it."""
    return WindowedSsim(gaussian(), sample=False, mirrored=True, signed=True)
