"""XPSNR and VIF of each frame, by the filters of the FFmpeg that PyAV carries: no weights, under 1 ms a frame."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import torch
from av.filter import Graph
from jaxtyping import UInt8

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.tensors import Video
from cvbench.probes import PROBES, Rows
from cvbench.probes.pixel import CEILING, check_shape, finite

Planes = UInt8[np.ndarray, "t 3 h w"]
"""Y', Cb, Cr of BT.709, 8 bits, limited range, full resolution (yuv444p)."""
FPS = 30
"""Frames a second at which clips are shown to the filters; up to 32 XPSNR takes first differences in time."""
BT709 = np.array(
    [
        [0.2126, 0.7152, 0.0722],
        [-0.2126 / 1.8556, -0.7152 / 1.8556, 0.5],
        [0.5, -0.7152 / 1.5748, -0.0722 / 1.5748],
    ]
)
"""From R'G'B' in [0, 1] to Y' in [0, 1], Cb and Cr in [-0.5, 0.5]."""
LEAST_SIDE = 16
"""Of VIF: its fourth scale has a side of 2 px then."""
LEAST_PIXELS = 2025
"""Of XPSNR: FFmpeg's filter divides by a block size of 0 below, which ends the process."""


def to_planes(video: Video) -> Planes:
    """Convert RGB in [0, 1] to 8-bit Y'CbCr by BT.709, as video is kept: Y' 16 to 235, Cb and Cr 16 to 240."""
    rgb = finite(video).detach().to("cpu", torch.float64).numpy()
    coded = np.einsum("yc,cthw->tyhw", BT709 * [[219], [224], [224]], rgb) + np.array([16, 128, 128])[:, None, None]
    return np.asarray(coded.round().clip(0, 255).astype(np.uint8))


class _Filter:
    """One of FFmpeg's filters that compare two videos and leave a number with each frame."""

    name: str
    frames_at_once = 1 << 30  # what came before a frame counts

    def prepare(self, target: Video) -> Planes:
        """Return the target as the filters take it."""
        return to_planes(target)

    def rows(self, recon: Video, prepared: Planes) -> Rows:
        """One value a frame."""
        t, _, h, w = prepared.shape
        check_shape(recon, torch.Size((3, t, h, w)))
        found = filtered(self.name, *self.order(to_planes(recon), prepared))
        return np.array([self.value(each) for each in found], np.float64)

    def order(self, recon: Planes, target: Planes) -> tuple[Planes, Planes]:
        """Return both as the filter's first and second input."""
        return recon, target

    def value(self, found: dict[str, str]) -> float:
        """Reduce what the filter left with a frame to one number."""
        raise NotImplementedError


class Xpsnr(_Filter):
    """XPSNR of the luma of each frame in dB: squared errors weighted by how well each block's activity hides them.

    The weights look at the target in space and time, so frames are taken in order; the first is held against black.
    Helmrich et al., "XPSNR: a low-complexity extension of the perceptually weighted PSNR", ICASSP 2020. Equal to
    `ffmpeg -i TARGET -i RECONSTRUCTION -lavfi xpsnr` on yuv444p frames: the filter weights by its first input. Equal
    frames give CEILING, the upper bound. Raises UnsuitableInput for frames below 45×45 px.
    """

    name, version = "xpsnr", PROBES["xpsnr"].version

    def prepare(self, target: Video) -> Planes:
        """Return the target as the filter takes it."""
        if target.shape[-2] * target.shape[-1] < LEAST_PIXELS:
            raise UnsuitableInput(f"XPSNR needs frames of 45×45 px or more, got {tuple(target.shape[-2:])}")
        return super().prepare(target)

    def order(self, recon: Planes, target: Planes) -> tuple[Planes, Planes]:
        """The target first: its activity makes the weights."""
        return target, recon

    def value(self, found: dict[str, str]) -> float:
        """The luma's."""
        return min(float(found["lavfi.xpsnr.xpsnr.y"]), CEILING)


class Vif(_Filter):
    """Visual information fidelity of the luma of each frame, 1 for equal frames; above 1 where contrast was added.

    Mean of the four scales of `ffmpeg -lavfi vif`, the pixel-domain VIF that VMAF is made of. Sheikh & Bovik, IEEE TIP
    15:430 (2006). Raises UnsuitableInput for sides below 16 px.
    """

    name, version = "vif", PROBES["vif"].version

    def prepare(self, target: Video) -> Planes:
        """Return the target as the filter takes it."""
        if min(target.shape[-2:]) < LEAST_SIDE:
            raise UnsuitableInput(f"VIF needs sides of {LEAST_SIDE} px or more, got {tuple(target.shape[-2:])}")
        return super().prepare(target)

    def value(self, found: dict[str, str]) -> float:
        """The mean over scales."""
        return float(np.mean([float(found[f"lavfi.vif.scale.{scale}"]) for scale in range(4)]))


def filtered(name: str, first: Planes, second: Planes, fps: int = FPS) -> list[dict[str, str]]:
    """Return what the filter `name` leaves with each pair of frames."""
    _, _, height, width = first.shape
    said = f"video_size={width}x{height}:pix_fmt=yuv444p:time_base=1/{fps}:frame_rate={fps}:pixel_aspect=1/1"
    graph = Graph()
    sides = [graph.add("buffer", said), graph.add("buffer", said)]
    compare, sink = graph.add(name), graph.add("buffersink")
    for place, side in enumerate(sides):
        side.link_to(compare, 0, place)
    compare.link_to(sink)
    graph.configure()
    found: list[dict[str, str]] = []
    for place, pair in enumerate(zip(first, second, strict=True)):
        for side, planes in zip(sides, pair, strict=True):
            side.push(_frame(planes, place, fps))
        found += _pulled(sink)
    for side in sides:
        side.push(None)
    return found + list(_pulled(sink))


def _frame(planes: UInt8[np.ndarray, "3 h w"], place: int, fps: int) -> av.VideoFrame:
    _, height, width = planes.shape
    frame = av.VideoFrame(width, height, "yuv444p")
    for plane, pixels in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, :width] = pixels
        plane.update(padded.tobytes())
    frame.pts, frame.time_base = place, Fraction(1, fps)
    return frame


def _pulled(sink: av.filter.context.FilterContext) -> Iterator[dict[str, str]]:
    """Yield what stands with the frames that are ready."""
    while True:
        try:
            yield dict(sink.pull().metadata)
        except (av.BlockingIOError, av.EOFError):
            return
