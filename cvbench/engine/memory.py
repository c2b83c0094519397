"""Memory: how much there is, and the C library's buffers, kept between the activations of a network."""

import contextlib
import ctypes
import os
import re
import sys
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE = 256 << 20
"""Up to this many bytes a buffer comes from the heap. Larger ones belong to networks whose arithmetic takes longer."""
KEPT = 1 << 30
"""Free bytes at the heap's end that stay with the process."""
UNKNOWN = 8 << 30
"""What a system is taken to have that does not tell."""
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Of a container: what it may have, and what it has."""


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


def settle_threads() -> None:
    """Compute on one thread, unless OMP_NUM_THREADS says otherwise.

    Threads within an operation wait for each other, spinning: beside busy neighbours a run took five times as long as
    with one. What several threads compute moves in its last digits with their number, too. Cores are for processes,
    each with samples of its own, and for the threads that read.
    """
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(1)


def available() -> int:
    """Return how many bytes of main memory this process may still take, as the system and its container say."""
    found = [_free_of_machine(), *(_left(limit, used) for limit, used in LIMITS)]
    return min((count for count in found if count is not None), default=UNKNOWN)


def _free_of_machine() -> int | None:
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            return int(found[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return None


def _left(limit: str, used: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        return max(0, int(Path(limit).read_text()) - int(Path(used).read_text()))
    return None
