"""The one resize of the protocol: short side to a length, centre crop, in integers, so equal on every machine."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.core.types import Pixels
from cvbench.data.files import MOST_PIXELS, Picture

Resized = UInt8[np.ndarray, "new_h new_w 3"]
Filter: TypeAlias = Literal["bicubic", "bilinear", "lanczos"]
Crop: TypeAlias = Literal["center", "none"]

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare(
    pixels: Pixels,
    size: int | tuple[int, int] | None,
    filter: Filter = "bicubic",
    antialias: bool = True,
    crop: Crop = "center",
) -> UInt8[np.ndarray, "3 t _h _w"]:
    """Return every frame at `size`, contiguous; size None changes nothing.

    An int is the short side, and with crop "center" the picture is cut to size × size. A tuple is (height, width): with
    crop "center" the picture is scaled, its aspect kept, until it just covers them, and cut to them; with crop "none"
    it is stretched to them.

    As torchvision's Resize and CenterCrop do on PIL images: the side that overlaps is rounded down to whole pixels, the
    crop starts at round((length - size) / 2). With antialias Pillow's 8-bit resize (its kernel widens as the picture
    shrinks; bicubic has a = -0.5); without, the points that torch's interpolate takes (a = -0.75, borders repeated),
    rounded half to even. Small pictures are enlarged. Raises UsageError for sizes and filters that do not exist, and
    UnsuitableInput for pictures so long that they would be scaled to more than MOST_PIXELS.
    """
    if size is None:
        return np.ascontiguousarray(pixels)
    check_request(size, filter, antialias)
    height, width = pixels.shape[2:]
    if not pixels.shape[1] or not height or not width:
        raise UnsuitableInput(f"a clip of shape {pixels.shape} has no pixels to resize")
    shape = resized_shape(height, width, size, crop)
    if shape[0] * shape[1] > MOST_PIXELS:
        raise UnsuitableInput(
            f"{height}×{width} pixels scaled to {shape[0]}×{shape[1]} are more than {MOST_PIXELS:,}; cut the picture"
        )
    target = shape if crop == "none" else (size, size) if isinstance(size, int) else size
    rows, columns = (window(length, wanted) for length, wanted in zip(shape, target, strict=True))
    prepared = np.empty((3, pixels.shape[1], *target), np.uint8)
    for index, frame in enumerate(pixels.transpose(1, 2, 3, 0)):
        whole = with_antialias(frame, shape, filter) if antialias else at_points(frame, shape, filter)
        prepared[:, index] = whole[rows, columns].transpose(2, 0, 1)
    return prepared


def check_request(size: int | tuple[int, int], filter: Filter, antialias: bool) -> None:
    """Raise UsageError for a size or filter that does not exist."""
    if min((size,) if isinstance(size, int) else size) < 1:
        raise UsageError(f"size must be at least 1 pixel, got {size}")
    if filter not in FILTERS or (filter == "lanczos" and not antialias):
        raise UsageError(
            f"no filter {filter!r} with antialias={antialias}; use {', '.join(FILTERS)}, the last with antialias"
        )


def resized_shape(height: int, width: int, size: int | tuple[int, int], crop: Crop = "center") -> tuple[int, int]:
    """Return height and width after scaling, before the crop.

    For an int the short side has that length, for (height, width) and crop "center" the side that needs the larger
    scale; the other follows in proportion, rounded down.
    """
    if isinstance(size, tuple):
        return size if crop == "none" else covering(height, width, *size)
    short = min(height, width)
    return (size, size * width // short) if height <= width else (size * height // short, size)


def covering(height: int, width: int, tall: int, wide: int) -> tuple[int, int]:
    """Return the least height and width in the proportion of the first two that cover the last two."""
    if tall * width >= wide * height:  # the height decides: tall / height >= wide / width
        return tall, tall * width // height
    return wide * height // width, wide


def window(length: int, wanted: int) -> slice:
    """Return the middle `wanted` of a length."""
    start = round((length - wanted) / 2)
    return slice(start, start + wanted)


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
