"""The one resize of the protocol: a side to a length, and the crop; in integers unless the protocol asks for floats."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from PIL import Image

from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.core.types import Pixels
from cvbench.data import resamplers
from cvbench.data.files import MOST_PIXELS, Picture

Resized = UInt8[np.ndarray, "new_h new_w 3"]
Filter: TypeAlias = Literal["bicubic", "bilinear", "lanczos", "bilinear-corners"]
Crop: TypeAlias = Literal["center", "none", "multiple8"]
Fit: TypeAlias = Literal["short", "stretch", "halve", "short-round", "short-scale", "short-even"]
Resizer: TypeAlias = Literal["pil8", "float", "torch8", "cv2", "swscale"]

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Geometry:
    """The fields of a protocol that bring a picture to its size (`cvbench.core.fields` says what each means)."""

    size: int | tuple[int, int] | None = 256
    filter: Filter = "bicubic"
    antialias: bool = True
    crop: Crop = "center"
    fit: Fit = "short"
    resizer: Resizer = "pil8"


def prepare(
    pixels: Pixels,
    size: int | tuple[int, int] | None,
    filter: Filter = "bicubic",
    antialias: bool = True,
    crop: Crop = "center",
    fit: Fit = "short",
    resizer: Resizer = "pil8",
) -> UInt8[np.ndarray, "3 t _h _w"] | Float32[np.ndarray, "3 t _h _w"]:
    """Return every frame at `size`, contiguous; size None changes nothing. In [0, 1] with resizer "float", else bytes.

    An int is the short side, and with crop "center" the picture is cut to size × size. A tuple is (height, width): with
    crop "center" the picture is scaled, its aspect kept, until it just covers them, and cut to them; with crop "none",
    or fit "stretch", it is stretched to them.

    As torchvision's Resize and CenterCrop do on PIL images: the side that overlaps is rounded down to whole pixels, the
    crop starts at round((length - size) / 2). With antialias Pillow's 8-bit resize (its kernel widens as the picture
    shrinks; bicubic has a = -0.5); without, the points that torch's interpolate takes (a = -0.75, borders repeated),
    rounded half to even. Small pictures are enlarged. Raises UsageError for sizes and filters that do not exist, and
    UnsuitableInput for pictures so long that they would be scaled to more than MOST_PIXELS.
    """
    if size is None:
        return np.ascontiguousarray(trimmed(pixels, crop))
    check_request(size, filter, antialias)
    height, width = pixels.shape[2:]
    if not pixels.shape[1] or not height or not width:
        raise UnsuitableInput(f"a clip of shape {pixels.shape} has no pixels to resize")
    shape = resized_shape(height, width, size, crop, fit)
    if shape[0] * shape[1] > MOST_PIXELS:
        raise UnsuitableInput(
            f"{height}×{width} pixels scaled to {shape[0]}×{shape[1]} are more than {MOST_PIXELS:,}; cut the picture"
        )
    whole = resampled(pixels, shape, Geometry(size, filter, antialias, crop, fit, resizer))
    wanted = cut(shape, size, crop, fit)
    rows, columns = (window(length, side, down=fit in CUT_DOWN) for length, side in zip(shape, wanted, strict=True))
    return np.ascontiguousarray(trimmed(whole[:, :, rows, columns], crop))


def resampled(
    pixels: Pixels, shape: tuple[int, int], how: Geometry
) -> UInt8[np.ndarray, "3 t _h _w"] | Float32[np.ndarray, "3 t _h _w"]:
    """Return every frame at a shape, not cut yet."""
    if how.resizer == "float":
        scale = how.size / min(pixels.shape[2:]) if how.fit == "short-scale" and isinstance(how.size, int) else None
        return resamplers.by_torch(pixels, shape, how.filter, how.antialias, scale)
    if how.resizer == "torch8":
        return resamplers.on_bytes(pixels, shape, how.filter, how.antialias)
    made = np.empty((3, pixels.shape[1], *shape), np.uint8)
    for index, frame in enumerate(pixels.transpose(1, 2, 3, 0)):
        made[:, index] = _frame(frame, shape, how).transpose(2, 0, 1)
    return made


def _frame(frame: Picture, shape: tuple[int, int], how: Geometry) -> Resized:
    if how.resizer == "cv2":
        return resamplers.by_cv2(frame, shape)
    if how.resizer == "swscale":
        return resamplers.by_swscale(frame, shape)
    if how.fit == "halve":
        frame = halved(frame, int(min(how.size) if isinstance(how.size, tuple) else how.size or 0))
    return with_antialias(frame, shape, how.filter) if how.antialias else at_points(frame, shape, how.filter)


def halved(frame: Picture, size: int) -> UInt8[np.ndarray, "half_h half_w 3"]:
    """Halve by Pillow's box while the short side is twice `size` or more, as guided diffusion does."""
    while min(frame.shape[:2]) >= 2 * size:
        height, width = (side // 2 for side in frame.shape[:2])
        frame = np.array(Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), Image.Resampling.BOX))
    return np.asarray(frame)


def check_request(size: int | tuple[int, int], filter: Filter, antialias: bool) -> None:
    """Raise UsageError for a size or filter that does not exist."""
    if min((size,) if isinstance(size, int) else size) < 1:
        raise UsageError(f"size must be at least 1 pixel, got {size}")
    if filter not in (*FILTERS, "bilinear-corners") or (filter == "lanczos" and not antialias):
        raise UsageError(
            f"no filter {filter!r} with antialias={antialias}; use {', '.join(FILTERS)}, the last with antialias"
        )


def resized_shape(
    height: int, width: int, size: int | tuple[int, int], crop: Crop = "center", fit: Fit = "short"
) -> tuple[int, int]:
    """Return height and width after scaling, before the crop.

    For an int the short side has that length, for (height, width) and crop "center" the side that needs the larger
    scale; the other follows in proportion, rounded down, or as `fit` says.
    """
    if fit == "stretch":
        return size if isinstance(size, tuple) else (size, size)
    if isinstance(size, tuple):
        return size if crop == "none" else covering(height, width, *size)
    short = min(height, width)
    sides = [size if side == short else ROUNDED[fit](side, short, size) for side in (height, width)]
    return sides[0], sides[1]


def _halves(side: int, short: int, size: int) -> int:
    while short >= 2 * size:
        side, short = side // 2, short // 2
    return round(side * (size / short))


def _even(side: int, short: int, size: int) -> int:
    length = int(side * size / short + 0.5)
    return length + length % 2


ROUNDED: Mapping[Fit, Callable[[int, int, int], int]] = {
    "short": lambda side, short, size: size * side // short,
    "short-round": lambda side, short, size: round(side * size / short),
    "short-scale": lambda side, short, size: math.floor(side * (size / short)),
    "short-even": _even,
    "halve": _halves,
}
"""Length of the long side, from it, the short side, and the length that this is to have."""
CUT_DOWN = ("halve", "short-round")
"""Fits whose crop starts at a length rounded down."""


def cut(shape: tuple[int, int], size: int | tuple[int, int], crop: Crop, fit: Fit) -> tuple[int, int]:
    """Return height and width after the crop."""
    if crop != "center" or fit in ("stretch", "short-even"):
        return shape
    return size if isinstance(size, tuple) else (size, size)


def trimmed(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """Return a clip without what is over multiples of 8 at its right and bottom, where the crop says so."""
    height, width = (side // 8 * 8 for side in pixels.shape[2:])
    return pixels[:, :, :height, :width] if crop == "multiple8" else pixels


def covering(height: int, width: int, tall: int, wide: int) -> tuple[int, int]:
    """Return the least height and width in the proportion of the first two that cover the last two."""
    if tall * width >= wide * height:  # the height decides: tall / height >= wide / width
        return tall, tall * width // height
    return wide * height // width, wide


def window(length: int, wanted: int, down: bool = False) -> slice:
    """Return the middle `wanted` of a length; an odd rest is rounded half to even, or down."""
    start = (length - wanted) // 2 if down else round((length - wanted) / 2)
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
