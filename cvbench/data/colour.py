"""From a decoded frame to 8-bit RGB."""

from typing import NamedTuple

import av
import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from cvbench.data.files import Picture
from cvbench.data.images import over_white, to_array

PLAIN = 0x2
EXACT = 0x2 | 0x2000 | 0x40000
"""swscale's flags, which PyAV names from 18 on only: BILINEAR; BILINEAR, FULL_CHR_H_INT and ACCURATE_RND."""
MATRICES = {0: "rgb", 1: "bt709", 2: "untagged", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
FULL_RANGE = 2


class Luma(NamedTuple):
    """What red and blue add to luma; green adds the rest."""

    red: float
    blue: float


LUMA = {
    "bt709": Luma(0.2126, 0.0722),
    "fcc": Luma(0.30, 0.11),
    "bt601": Luma(0.299, 0.114),
    "untagged": Luma(0.299, 0.114),
    "smpte240m": Luma(0.212, 0.087),
    "bt2020": Luma(0.2627, 0.0593),
}


def to_rgb(frame: av.VideoFrame, facts: dict[str, object]) -> Picture:
    """Convert a frame to RGB as it is stored, not yet turned; alpha is composited over white and told in `facts`."""
    alpha = any(part.is_alpha for part in frame.format.components)
    depth = depth_of(frame)
    if depth > 8 and (frame.format.is_rgb or is_full(frame)):
        rgb = unscaled(frame, depth, alpha)
    else:
        flags = EXACT if depth > 8 else PLAIN
        rgb = frame.reformat(format="rgba" if alpha else "rgb24", interpolation=flags).to_ndarray()
    return to_array(over_white(Image.fromarray(rgb), facts)) if alpha else rgb


def depth_of(frame: av.VideoFrame) -> int:
    """Return the bits of a frame's deepest component."""
    depth: int = max(part.bits for part in frame.format.components)
    return depth


def is_full(frame: av.VideoFrame) -> bool:
    """Tell whether black and white are the least and greatest numbers; gray always has it so, as swscale takes it."""
    name: str = frame.format.name
    return bool(frame.color_range == FULL_RANGE) or name.startswith(("yuvj", "gray"))


def unscaled(frame: av.VideoFrame, depth: int, alpha: bool) -> UInt8[np.ndarray, "h w channels"]:
    """Return a deep frame that swscale cannot convert exactly: RGB, or Y'CbCr of full range, by the definition.

    swscale takes 2^depth - 2^(depth-8) for the white of such frames, which is up to 1.5 levels off.
    """
    if frame.format.name.startswith("gray"):
        levels = planes(frame, depth)[[0, 0, 0]]
    elif frame.format.is_rgb:
        same = frame.reformat(format=f"gbr{'a' if alpha else ''}p{depth}le", interpolation=EXACT)
        levels = planes(same, depth)[[2, 0, 1, 3][: 3 + alpha]]
    else:
        same = frame.reformat(format=f"yuv{'a' if alpha else ''}444p{depth}le", interpolation=EXACT)
        levels = planes(same, depth)
        levels = np.concatenate([mixed(levels, depth, LUMA[MATRICES[frame.colorspace]]), levels[3:]])
    eight: UInt8[np.ndarray, "h w channels"] = np.rint(255 * levels).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(eight)


def planes(frame: av.VideoFrame, depth: int) -> Float64[np.ndarray, "p h w"]:
    """Return the planes of a frame of one size and 16 bits a value, as fractions of the greatest value."""
    rows = (np.frombuffer(plane, "<u2").reshape(plane.height, plane.line_size // 2) for plane in frame.planes)
    levels: Float64[np.ndarray, "p h w"] = np.stack([row[:, : frame.width] for row in rows]) / (2**depth - 1)
    return levels


def mixed(levels: Float64[np.ndarray, "p h w"], depth: int, luma: Luma) -> Float64[np.ndarray, "3 h w"]:
    """Return red, green and blue from Y', Cb and Cr of full range (ITU-T H.273, equations 1 to 3 and 38 to 40)."""
    y, cb, cr = levels[:3]
    middle = 2 ** (depth - 1) / (2**depth - 1)
    red, blue = y + 2 * (1 - luma.red) * (cr - middle), y + 2 * (1 - luma.blue) * (cb - middle)
    return np.stack([red, (y - luma.red * red - luma.blue * blue) / (1 - luma.red - luma.blue), blue])
