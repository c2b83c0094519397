"""The C library's memory: kept between the activations of a network."""

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
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, LARGE)
            library.mallopt(M_TRIM_THRESHOLD, KEPT)
