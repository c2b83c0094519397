"""The C library's memory: kept between the activations of a network, and given back before a peak is read."""

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE = 256 << 20
"""Up to this many bytes a buffer comes from the heap. Larger ones belong to networks whose arithmetic takes longer."""
KEPT = 1 << 30
"""Free bytes at the heap's end that stay with the process."""


def keep_buffers() -> None:
    """Let glibc reuse memory it would map anew for each buffer above 32 MiB; elsewhere change nothing.

    A clip's activations are that large, and the pages of new memory cost as much time as a small network's
    convolutions. For a program, not for a library in someone else's process.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = _glibc()
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Return free memory to the system, so that what is resident is what is held."""
    with contextlib.suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)


def _glibc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError("not Linux")
    return ctypes.CDLL(None)
