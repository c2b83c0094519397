"""PSNR, SSIM and MS-SSIM of each frame."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from cvbench.core.errors import BadOutput, UnsuitableInput
from cvbench.nets.tensors import Video
from cvbench.probes import PROBES, Rows

CEILING = 100.0
"""PSNR of equal frames, in dB: JSON has no infinity."""
RADIUS = 5
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
CACHED_PIXELS = 1 << 16  # three maps of three channels of so many pixels stay in a CPU's second-level cache

Frame = Float[Tensor, "3 h w"]


def _shares() -> list[float]:
    """Return, tap by tap of the Gaussian window, its share in the weight of all taps up to it."""
    taps = [math.exp(-((k / SIGMA) ** 2) / 2) for k in range(-RADIUS, RADIUS + 1)]
    return [tap / sum(taps[: k + 1]) for k, tap in enumerate(taps)]


SHARES = _shares()


def psnr(recon: Video, target: Video) -> Rows:
    """PSNR of each frame in dB, for pixels in [0, 1]: -10 log10 of that frame's mean squared error over c, h, w.

    The error is accumulated in float64. Equal frames give CEILING, which is also the upper bound.
    """
    return Psnr().rows(recon, target)


def ssim(recon: Video, target: Video) -> Rows:
    """SSIM of each frame, at most 1: Gaussian window 11, sigma 1.5, valid region, data range 1, mean over RGB.

    No down-sampling, population covariance. Raises UnsuitableInput for sides below 11 px. Wang et al. 2004,
    "Image quality assessment"; equals scikit-image with gaussian_weights and without sample covariance.
    """
    probe = Ssim()
    return probe.rows(recon, probe.prepare(target))


def ms_ssim(recon: Video, target: Video) -> Rows:
    """MS-SSIM of each frame in [0, 1]: five scales, halved by 2×2 means, with the paper's weights.

    Contrast-structure of scales 1 to 4 is averaged over valid windows, SSIM of scale 5 over all pixels with the
    border mirrored, and negative means count as 0: the definition of torchmetrics 1.9. Raises UnsuitableInput for
    sides up to 160 px. Wang et al. 2003, "Multiscale structural similarity".
    """
    probe = MsSsim()
    return probe.rows(recon, probe.prepare(target))


class OnDevice:
    """A pair probe that works where its frames are."""

    def values(self, recon: Video, prepared: Any) -> Float64[Tensor, " values"]:
        """Return one number a frame, or a change between frames, on the device."""
        raise NotImplementedError

    def rows(self, recon: Video, prepared: Any) -> Float64[np.ndarray, " values"]:
        """Return them as an array."""
        found: np.ndarray = self.values(recon, prepared).cpu().numpy()
        return found


class Psnr(OnDevice):
    """The probe behind `psnr`."""

    version = PROBES["psnr"].version
    frames_at_once = 64

    def prepare(self, target: Video) -> Video:
        """Return the target: there is nothing to compute."""
        return target

    @torch.inference_mode()
    def values(self, recon: Video, prepared: Tensor) -> Float64[Tensor, " t"]:
        """PSNR of each frame in dB."""
        check_shape(recon, prepared.shape)
        frames = zip(recon.unbind(1), prepared.unbind(1), strict=True)
        mse = torch.stack([(_floats(x) - _floats(y)).double().square_().mean() for x, y in frames])
        return (-10 * mse.log10()).clamp(max=CEILING)


class Centred(NamedTuple):
    """Some rows of a frame, one after the other, minus each channel's level.

    Variance does not see the subtraction, which saves what float32 would lose to cancellation in flat frames.
    """

    pixels: Float[Tensor, "3 n"]
    level: Float[Tensor, "3 1"]


class Strip(NamedTuple):
    """Some rows of a target frame and their windowed means."""

    centred: Centred
    means: Float[Tensor, "3 m"]
    width: int


class Target(NamedTuple):
    """What a window-based probe needs of a target: by frame, by scale, its strips."""

    shape: torch.Size
    frames: list[list[list[Strip]]]


class Ssim(OnDevice):
    """The probe behind `ssim`: the target's windowed means are computed once for all models."""

    version = PROBES["ssim"].version
    frames_at_once = 16

    @torch.inference_mode()
    def prepare(self, target: Video) -> Target:
        """Return the target's windowed means."""
        _check_sides("SSIM", target, 2 * RADIUS + 1)
        return Target(target.shape, [[_target_strips(_floats(frame))] for frame in target.unbind(1)])

    @torch.inference_mode()
    def values(self, recon: Video, prepared: Target) -> Float64[Tensor, " t"]:
        """SSIM of each frame."""
        check_shape(recon, prepared.shape)
        frames = zip(recon.unbind(1), prepared.frames, strict=True)
        return torch.stack([_mean_similarity(_floats(frame), scales[0]) for frame, scales in frames]).double()


class MsSsim(OnDevice):
    """The probe behind `ms_ssim`."""

    version = PROBES["ms-ssim"].version
    frames_at_once = 16

    @torch.inference_mode()
    def prepare(self, target: Video) -> Target:
        """Return the windowed means of the target at five scales."""
        _check_sides("MS-SSIM", target, 2 * RADIUS * 2 ** (len(SCALE_WEIGHTS) - 1) + 1)
        frames = [[_target_strips(image) for image in _scales(_floats(frame))] for frame in target.unbind(1)]
        return Target(target.shape, frames)

    @torch.inference_mode()
    def values(self, recon: Video, prepared: Target) -> Float64[Tensor, " t"]:
        """MS-SSIM of each frame."""
        check_shape(recon, prepared.shape)
        frames = zip(recon.unbind(1), prepared.frames, strict=True)
        terms = torch.stack([_scale_terms(_floats(frame), scales) for frame, scales in frames])
        powers = terms.clamp(min=0) ** constants(SCALE_WEIGHTS, terms.dtype, terms.device)
        return powers.prod(-1).double()


@cache
def constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Float[Tensor, " n"]:
    """Return numbers on a device, brought there once: each time would make the program wait for it."""
    return torch.tensor(values, dtype=dtype, device=device)


def check_shape(recon: Video, wanted: torch.Size) -> None:
    """Raise BadOutput unless the reconstruction has the target's shape."""
    if recon.shape != wanted:
        raise BadOutput(
            f"the reconstruction is {tuple(recon.shape)}, its target {tuple(wanted)} (c, t, h, w); "
            "trim or crop the model's output to the target first"
        )


def finite(video: Video) -> Video:
    """Return a video; for probes that would turn what is no number into one. Raises BadOutput for such pixels."""
    if not torch.isfinite(video).all():
        raise BadOutput("the video holds pixels that are not finite; look at the model's output")
    return video


def _check_sides(metric: str, target: Video, least: int) -> None:
    height, width = target.shape[-2:]
    if min(height, width) < least:
        raise UnsuitableInput(f"{metric} needs sides of {least} px or more, got {height}×{width}; use larger frames")


def _floats(frame: Tensor) -> Tensor:
    """Return the frame in float32, or in float64 if it is so already."""
    return frame.to(torch.promote_types(frame.dtype, torch.float32))


def _scales(frame: Frame) -> Iterator[Frame]:
    """Yield the frame at every scale; the last with a mirrored border, so that each of its pixels has a window."""
    for _ in SCALE_WEIGHTS[1:]:
        yield frame
        frame = F.avg_pool2d(frame, 2)
    yield F.pad(frame, [RADIUS] * 4, mode="reflect")


def _scale_terms(frame: Frame, scales: list[list[Strip]]) -> Float[Tensor, " 5"]:
    """Contrast-structure means of all scales but the last, and the last one's SSIM."""
    *finer, coarsest = zip(_scales(frame), scales, strict=True)
    terms = [_mean_similarity(image, strips, luminance=False) for image, strips in finer]
    return torch.stack([*terms, _mean_similarity(*coarsest)])


def _mean_similarity(frame: Frame, target: list[Strip], *, luminance: bool = True) -> Float[Tensor, ""]:
    """Mean SSIM over all valid windows of a frame, or of its contrast-structure factor alone."""
    maps = [_similarity(x, y, luminance) for x, y in zip(_strips(frame), target, strict=True)]
    total = torch.stack([values.sum(dtype=torch.float64) for values in maps]).sum()
    return total / sum(values.numel() for values in maps)


def _strips(frame: Frame) -> Iterator[Centred]:
    """Cut a frame into strips of rows that overlap by the window.

    They keep a CPU's work in its cache; another device takes the frame whole.
    """
    _, height, width = frame.shape
    margin = 2 * RADIUS
    rows = max(CACHED_PIXELS // width, margin) if frame.device.type == "cpu" else height
    for top in range(0, height - margin, rows):
        strip = frame[:, top : top + rows + margin].flatten(1)
        level = strip.mean(1, keepdim=True)
        yield Centred(strip - level, level)


def _target_strips(frame: Frame) -> list[Strip]:
    width = frame.shape[-1]
    return [Strip(y, _windowed(y.pixels, width), width) for y in _strips(frame)]


def _similarity(recon: Centred, target: Strip, luminance: bool) -> Float[Tensor, "3 rows columns"]:
    """SSIM, or its contrast-structure factor, of every valid window of a strip.

    Only the sum of both variances enters, so three maps are filtered: x, x² + y² and xy. No fused
    multiplications: unequal rounding of the two halves would keep equal frames from 1.
    """
    x, y, mean_y = recon.pixels, target.centred.pixels, target.means
    mean_x, squares, product = _windowed(torch.stack((x, (x * x).add_(y * y), x * y)), target.width)
    covariance = product.sub_(mean_x * mean_y)
    variances = squares.sub_((mean_x * mean_x).add_(mean_y * mean_y))
    similarity = covariance.mul_(2).add_(C2).div_(variances.add_(C2))
    if luminance:
        mean_x, mean_y = mean_x + recon.level, mean_y + target.centred.level
        similarity *= (mean_x * mean_y).mul_(2).add_(C1).div_((mean_x * mean_x).add_(mean_y * mean_y).add_(C1))
    return _valid(similarity, x.shape[-1] // target.width, target.width)


def _windowed(flat: Float[Tensor, "*maps n"], width: int) -> Float[Tensor, "*maps m"]:
    """Gaussian-weighted means of images that lie row after row: down the columns, then along the rows.

    A neighbour is a fixed step away in the flat image, so each tap is one pass over unbroken memory. The running
    weighted mean keeps constants exactly, which a sum of products in float32 does not. Values whose window runs
    over the end of a row mean nothing; `_valid` leaves them out.
    """
    for step in (width, 1):
        size = flat.shape[-1] - 2 * RADIUS * step
        taps = [flat[..., k * step : k * step + size] for k in range(len(SHARES))]
        mean = torch.lerp(taps[0], taps[1], SHARES[1])
        for tap, share in zip(taps[2:], SHARES[2:], strict=True):
            mean.lerp_(tap, share)
        flat = mean
    return flat


def _valid(values: Float[Tensor, "3 m"], height: int, width: int) -> Float[Tensor, "3 rows columns"]:
    """View windowed values as an image again, without the windows that ran over a row's end."""
    rows, columns = height - 2 * RADIUS, width - 2 * RADIUS
    return values.as_strided((len(values), rows, columns), (values.stride(0), width, 1))
