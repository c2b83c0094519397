"""The one resize of the protocol: short side to a length, centre crop, in integers, so equal on every machine."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.core.types import Pixels
from cvbench.data.images import Picture

Resized = UInt8[np.ndarray, "new_h new_w 3"]
Filter: TypeAlias = Literal["bicubic", "bilinear", "lanczos"]
Crop: TypeAlias = Literal["center", "none"]

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare(
    pixels: Pixels, size: int | None, filter: Filter = "bicubic", antialias: bool = True, crop: Crop = "center"
) -> UInt8[np.ndarray, "3 t _h _w"]:
    """Return every frame with its short side `size` long and, with crop "center", cut to size × size.

    As torchvision's Resize and CenterCrop do on PIL images: the long side is rounded down to whole pixels, the crop
    starts at round((length - size) / 2). With antialias Pillow's 8-bit resize (its kernel widens as the picture
    shrinks; bicubic has a = -0.5); without, the points that torch's interpolate takes (a = -0.75, borders repeated),
    rounded half to even. Small pictures are enlarged. size None changes nothing.
    """
    if size is None:
        return pixels
    if size < 1:
        raise UsageError(f"size must be at least 1 pixel, got {size}")
    if filter not in FILTERS or (filter == "lanczos" and not antialias):
        raise UsageError(
            f"no filter {filter!r} with antialias={antialias}; use {', '.join(FILTERS)}, the last with antialias"
        )
    height, width = pixels.shape[2:]
    if not pixels.shape[1] or not height or not width:
        raise UnsuitableInput(f"a clip of shape {pixels.shape} has no pixels to resize")
    shape = resized_shape(height, width, size)
    top, left = (round((length - size) / 2) if crop == "center" else 0 for length in shape)
    tall, wide = (size, size) if crop == "center" else shape
    frames = []
    for frame in pixels.transpose(1, 2, 3, 0):
        whole = with_antialias(frame, shape, filter) if antialias else at_points(frame, shape, filter)
        frames.append(whole[top : top + tall, left : left + wide])
    return np.stack(frames).transpose(3, 0, 1, 2)


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width with the short side `size`, the long one in proportion, rounded down."""
    short = min(height, width)
    return (size, size * width // short) if height <= width else (size * height // short, size)


def with_antialias(frame: Picture, shape: tuple[int, int], filter: Filter) -> Resized:
    """Resize with Pillow, in its fixed-point arithmetic."""
    return np.array(Image.fromarray(np.ascontiguousarray(frame)).resize(shape[::-1], FILTERS[filter]))


def at_points(frame: Picture, shape: tuple[int, int], filter: Filter) -> Resized:
    """Resize by interpolation between neighbours alone, whatever the scale."""
    rows, row_weights = taps(frame.shape[0], shape[0], filter)
    columns, column_weights = taps(frame.shape[1], shape[1], filter)
    tall: Float64[np.ndarray, "new_h w 3"] = sum(
        w[:, None, None] * frame[i] for i, w in zip(rows, row_weights, strict=True)
    )
    wide: Float64[np.ndarray, "new_h new_w 3"] = sum(
        w[:, None] * tall[:, i] for i, w in zip(columns, column_weights, strict=True)
    )
    rounded: Resized = np.rint(wide).clip(0, 255).astype(np.uint8)
    return rounded


def taps(old: int, new: int, filter: Filter) -> tuple[Int64[np.ndarray, "k new"], Float64[np.ndarray, "k new"]]:
    """Return the neighbours of each new pixel along an axis, and their weights."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    floor = np.floor(centre)
    t = centre - floor
    if filter == "bilinear":
        offsets, weights = np.arange(2), [1 - t, t]
    else:
        offsets, weights = np.arange(-1, 3), [cubic(1 + t), cubic(t), cubic(1 - t), cubic(2 - t)]
    return (floor[None] + offsets[:, None]).clip(0, old - 1).astype(np.int64), np.stack(weights)


def cubic(x: Float64[np.ndarray, " n"], a: float = -0.75) -> Float64[np.ndarray, " n"]:
    """Return Keys' cubic convolution kernel at distances 0 ≤ x ≤ 2 (Keys 1981, equation 4 with a free)."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    weight: Float64[np.ndarray, " n"] = np.where(x <= 1, near, far)
    return weight
