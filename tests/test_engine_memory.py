"""Memory is reused between large buffers."""

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from cvbench.engine import memory

def touched():
    for _ in range(20):  # the heap grows to what it needs
        torch.zeros(12 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(12 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

left = touched()
memory.keep_buffers()
print(left, touched())
"""


def test_kept_buffers_touch_no_new_pages() -> None:
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("not glibc")
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    left, kept = map(int, done.stdout.split())
    assert kept < left / 10, (kept, left)
