"""A file between model and metric: what other projects' scripts write and read again before they measure.

OpenCV, mediapy and torchvision are not needed: FFmpeg's own encoders, set as those set them, give the same frames
(mp4v bit for bit; x264 as far as builds of x264 agree).
"""

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from cvbench.core.errors import UnsuitableInput

Frames = UInt8[np.ndarray, "3 t h w"]
RATES = 1001
"""Largest denominator of a frame rate."""


def through(frames: Frames, kind: str, fps: float) -> UInt8[np.ndarray, "3 t _h _w"]:
    """Write frames as `kind` (a value of the protocol's field `through`) at `fps` a second, and read them again.

    mp4v cuts odd sides by one, as OpenCV does. Raises UnsuitableInput for frames that the encoder refuses.
    """
    if kind in ("none", "png"):
        return frames
    rate = Fraction(fps).limit_denominator(RATES)
    try:
        return mpeg4(frames, rate) if kind == "mp4v" else h264(frames, rate, kind.removeprefix("h264-"))
    except (av.FFmpegError, ValueError, OSError) as error:
        raise UnsuitableInput(f"frames of {frames.shape[2]}×{frames.shape[3]} do not pass {kind}: {error}") from error


def mpeg4(frames: Frames, rate: Fraction) -> UInt8[np.ndarray, "3 t _h _w"]:
    """Pass OpenCV's VideoWriter('mp4v').

    Its FFmpeg backend: bit rate and its tolerance 2 · round(fps · w · h), a key frame every 12, quantisers from 3;
    frames are handed over as BGR, which swscale converts otherwise than RGB.
    """
    height, width = (side - side % 2 for side in frames.shape[2:])
    bits = 2 * round(float(rate) * width * height)
    settings = {"bit_rate": bits, "gop_size": 12}
    return _passed(frames[::-1, :, :height, :width], "bgr24", "mpeg4", rate, {"bt": str(bits), "qmin": "3"}, settings)


def h264(frames: Frames, rate: Fraction, quality: str) -> Frames:
    """Pass x264, 4:2:0 or at odd sides 4:4:4, one thread; `quality` is qpN, crfN, or 1024k: bits a second."""
    odd = any(side % 2 for side in frames.shape[2:])
    settings: dict[str, Any] = {"pix_fmt": "yuv444p" if odd else "yuv420p"}
    option = quality.rstrip("0123456789")
    if quality == "1024k":
        return _passed(frames, "rgb24", "libx264", rate, ONE_THREAD, {**settings, "bit_rate": 1_024_000})
    return _passed(frames, "rgb24", "libx264", rate, {**ONE_THREAD, option: quality.removeprefix(option)}, settings)


ONE_THREAD = {"x264-params": "threads=1"}


def _passed(
    frames: Frames, layout: str, encoder: str, rate: Fraction, options: Mapping[str, str], settings: Mapping[str, Any]
) -> UInt8[np.ndarray, "3 t _h _w"]:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(encoder, rate=rate, options=dict(options))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[2:], "yuv420p"
        stream.thread_count = 1
        for name, value in settings.items():
            setattr(stream, name, value)
        for pixels in frames.transpose(1, 2, 3, 0):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if len(decoded) != frames.shape[1]:
        raise UnsuitableInput(f"{frames.shape[1]} frames were written, and {len(decoded)} read again")
    return np.stack(decoded).transpose(3, 0, 1, 2)
