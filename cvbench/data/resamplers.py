"""How a frame is resampled otherwise than by Pillow: as torch, OpenCV and FFmpeg do it."""

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from cvbench.data.files import Picture

CV2_BITS = 11
"""Bits of OpenCV's weights (INTER_RESIZE_COEF_BITS)."""
Frames = UInt8[np.ndarray, "3 t h w"]
Resized = UInt8[np.ndarray, "new_h new_w 3"]


def by_torch(
    frames: Frames, shape: tuple[int, int], filter: str, antialias: bool, scale: float | None = None
) -> Float32[np.ndarray, "3 t new_h new_w"]:
    """Return frames in [0, 1] as `torch.nn.functional.interpolate` resizes floats, nothing rounded to bytes.

    `filter` "bilinear-corners" aligns the corners. With `scale`, points are taken by it and not by the ratio of sides.
    """
    made = np.empty((3, frames.shape[1], *shape), np.float32)
    for index, frame in enumerate(frames.transpose(1, 0, 2, 3)):
        made[:, index] = _interpolated(frame / np.float32(255), shape, filter, antialias, scale).clip(0, 1)
    return made


def on_bytes(
    frames: Frames, shape: tuple[int, int], filter: str, antialias: bool
) -> UInt8[np.ndarray, "3 t new_h new_w"]:
    """Return frames as torchvision resizes tensors of bytes: in floats, rounded half to even."""
    made = np.empty((3, frames.shape[1], *shape), np.uint8)
    for index, frame in enumerate(frames.transpose(1, 0, 2, 3)):
        levels = _interpolated(frame.astype(np.float32), shape, filter, antialias)
        made[:, index] = np.rint(levels).clip(0, 255).astype(np.uint8)
    return made


def _interpolated(
    frame: Float32[np.ndarray, "3 h w"],
    shape: tuple[int, int],
    filter: str,
    antialias: bool,
    scale: float | None = None,
) -> Float32[np.ndarray, "3 new_h new_w"]:
    """Resize one frame: what others there are changes no value."""
    import torch
    import torch.nn.functional as F

    corners, mode = filter == "bilinear-corners", filter.removesuffix("-corners")
    tensor = torch.from_numpy(np.ascontiguousarray(frame))[None]
    if scale:
        made = F.interpolate(tensor, scale_factor=scale, mode=mode, antialias=antialias, align_corners=corners)
    else:
        made = F.interpolate(tensor, size=shape, mode=mode, antialias=antialias, align_corners=corners)
    return np.asarray(made[0].numpy())


def by_cv2(frame: Picture, shape: tuple[int, int]) -> Resized:
    """Resize by OpenCV's INTER_LINEAR on bytes, in its vectorised fixed-point arithmetic, bit for bit.

    Source: OpenCV 5.0, imgproc/src/resize.cpp, HResizeLinear and VResizeLinear for uchar.
    """
    top, bottom, above, below = cv2_taps(frame.shape[0], shape[0])
    left, right, before, after = cv2_taps(frame.shape[1], shape[1])
    levels = frame.astype(np.int64)
    across = levels[:, left] * before[:, None] + levels[:, right] * after[:, None] >> 4
    upper, lower = (across[rows] * weights[:, None, None] >> 16 for rows, weights in ((top, above), (bottom, below)))
    return np.asarray((upper + lower + 2 >> 2).clip(0, 255).astype(np.uint8))


Taps = Int64[np.ndarray, " new"]


def cv2_taps(old: int, new: int) -> tuple[Taps, Taps, Taps, Taps]:
    """Return the two neighbours of each new pixel along an axis, and their weights in 1/2048."""
    centre = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(centre).astype(np.int64)
    share = (centre - first).astype(np.float32)
    share[(first < 0) | (first >= old - 1)] = 0
    first = first.clip(0, old - 1)
    weights = [np.rint(part * 2**CV2_BITS).astype(np.int64) for part in (1 - share, share)]
    return first, np.minimum(first + 1, old - 1), weights[0], weights[1]


def by_swscale(frame: Picture, shape: tuple[int, int]) -> Resized:
    """Resize by FFmpeg's scaler, bilinear, from RGB to RGB."""
    import av

    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    small = picture.reformat(width=shape[1], height=shape[0], format="rgb24", interpolation="BILINEAR")
    return np.asarray(small.to_ndarray())
