"""The C library's memory: kept between the activations of a network, except while their peak is measured."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE = 256 << 20
"""Up to this many bytes a buffer comes from the heap. Larger ones belong to networks whose arithmetic takes longer."""
KEPT = 1 << 30
"""Free bytes at the heap's end that stay with the process."""
SMALL = 1 << 20
_kept = False


def keep_buffers() -> None:
    """Let glibc reuse memory it would map anew for each buffer above 32 MiB; elsewhere change nothing.

    A clip's activations are that large, and the pages of new memory cost as much time as a small network's
    convolutions. For a program, not for a library in someone else's process.
    """
    global _kept
    _kept = _allocate(LARGE, KEPT)


@contextlib.contextmanager
def measured() -> Iterator[None]:
    """Give free memory back, and map each buffer anew for the time being: what is resident is then what is held."""
    if _kept:
        _allocate(SMALL, SMALL)
    with contextlib.suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)
    try:
        yield
    finally:
        if _kept:
            _allocate(LARGE, KEPT)


def _allocate(mapped: int, kept: int) -> bool:
    """Set from what size on a buffer is mapped, and how much is kept at the heap's end; tell whether that could be."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = _glibc()
        return bool(library.mallopt(M_MMAP_THRESHOLD, mapped) and library.mallopt(M_TRIM_THRESHOLD, kept))
    return False


def _glibc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError("not Linux")
    return ctypes.CDLL(None)
