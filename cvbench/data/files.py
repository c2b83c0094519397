"""What all readers share: the frames a clip gives, and one way to refuse a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias

from cvbench.core.errors import CvbenchError, UnreadableSample
from cvbench.core.types import Sampling

Reader: TypeAlias = Literal["pyav", "decord"]
LEAST_SIDE = 16
"""Smaller pictures are refused: the windows of SSIM (11) do not fit, and resized they show only the filter."""


def span(sampling: Sampling) -> int:
    """Return how many frames a clip must have for `sampling` to be met as it stands."""
    return sampling.start + 1 + (sampling.frames - 1) * sampling.stride


def frame_indices(available: int, sampling: Sampling) -> tuple[range, int]:
    """Return which of `available` frames are taken, and the stride used: the rule for short clips of `Sampling`.

    Raises UnreadableSample for a clip that ends before `start`, or is short where the protocol allows none.
    """
    if available >= span(sampling):
        return range(sampling.start, span(sampling), sampling.stride), sampling.stride
    left = available - sampling.start
    if sampling.short == "error" or left < 1:
        raise UnreadableSample(
            f"has {available} frames where {span(sampling)} are needed"
            f" ({sampling.frames} frames, stride {sampling.stride}, start {sampling.start}); "
            + ("ask for a smaller start" if left < 1 else "use short=shrink or fewer frames")
        )
    stride = max(1, left // sampling.frames)
    return range(sampling.start, sampling.start + min(sampling.frames, left) * stride, stride), stride


def refuse(path: Path, why: str) -> NoReturn:
    """Raise UnreadableSample; the file's folder stays out of it, so that records do not depend on the machine."""
    raise UnreadableSample(f"{path.name}: {why}")


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Name the file in every refusal, and turn whatever a decoder throws at broken bytes into UnreadableSample."""
    try:
        yield
    except UnreadableSample as error:
        if str(error).startswith(f"{path.name}: "):
            raise
        raise UnreadableSample(f"{path.name}: {error}") from error
    except (CvbenchError, MemoryError):
        raise
    except Exception as error:  # Pillow alone raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        refuse(path, f"{reason}; replace or remove the file")


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse pictures below LEAST_SIDE pixels a side."""
    if min(width, height) < LEAST_SIDE:
        refuse(path, f"{width}×{height} pixels are too few to measure; the least side is {LEAST_SIDE}")
