"""What all readers share: the frames a clip gives, and one way to refuse a file."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn, TypeAlias

import numpy as np
from jaxtyping import UInt8

from cvbench.core.errors import CvbenchError, UnreadableSample
from cvbench.core.types import Pixels

Picture = UInt8[np.ndarray, "h w 3"]

Reader: TypeAlias = Literal["pyav", "decord"]
LEAST_SIDE = 16
"""Smaller pictures are refused: the windows of SSIM (11) do not fit, and resized they show only the filter."""
MOST_PIXELS = 2**27
"""Larger pictures and frames are refused: 134 million pixels, four times 8K. Decoding one takes about 2 GB."""
MOST_BYTES = 8 * 2**30
"""What the frames taken of one clip may come to, three bytes a pixel: 8 GiB, or 345 frames of 3840×2160."""


REWORDED = {
    "MAX_TEXT_": "its texts or colour profile unpack to more than Pillow reads, 1 MiB each and 64 MiB together",
    "decompression bomb": f"has more than {MOST_PIXELS:,} pixels, the most that are read; make it smaller",
}
"""What Pillow says of its limits, in words of use to whoever has the file."""
BLOCK = 1 << 20
"""Bytes read at a time."""


def escaped(name: str) -> str:
    """Return a name or path that UTF-8 can hold: bytes that are none are written as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def refuse(path: Path, why: str) -> NoReturn:
    """Raise UnreadableSample; the file's folder stays out of it, so that records do not depend on the machine."""
    raise UnreadableSample(f"{escaped(path.name)}: {why}")


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Name the file in every refusal, and turn whatever a decoder throws at broken bytes into UnreadableSample."""
    try:
        yield
    except UnreadableSample as error:
        if str(error).startswith(f"{escaped(path.name)}: "):
            raise
        raise type(error)(f"{escaped(path.name)}: {error}") from error  # TooShort stays TooShort
    except (CvbenchError, MemoryError):
        raise
    except Exception as error:  # Pillow alone raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = next((ours for theirs, ours in REWORDED.items() if theirs in reason), reason)
        refuse(path, reason if "; " in reason else f"{reason}; replace or remove the file")


def check_size(path: Path, width: int, height: int, frames: int = 1) -> None:
    """Refuse pictures below LEAST_SIDE pixels a side or above MOST_PIXELS, and clips above MOST_BYTES."""
    if min(width, height) < LEAST_SIDE:
        refuse(path, f"{width}×{height} pixels are too few to measure; the least side is {LEAST_SIDE}")
    if width * height > MOST_PIXELS:
        refuse(path, f"{width}×{height} pixels are more than {MOST_PIXELS:,}, the most that are read; make it smaller")
    if 3 * frames * width * height > MOST_BYTES:
        refuse(
            path,
            f"{frames} frames of {width}×{height} pixels take more than {MOST_BYTES / 2**30:g} GiB, the most that are"
            " read of a clip; take fewer frames",
        )


def checksum(file: BinaryIO, size: int, start: int = 0) -> int:
    """Return the CRC-32 of the next `size` bytes."""
    for left in range(size, 0, -BLOCK):
        start = zlib.crc32(file.read(min(left, BLOCK)), start)
    return start


def assemble(pictures: list[Picture]) -> Pixels:
    """Return pictures of one size as a contiguous clip; the list is emptied on the way, so that none is held twice."""
    clip = np.empty((3, len(pictures), *pictures[0].shape[:2]), np.uint8)
    for index in reversed(range(len(pictures))):
        clip[:, index] = pictures.pop().transpose(2, 0, 1)
    return clip
