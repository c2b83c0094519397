"""Memory is reused between large buffers."""

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from cvbench.engine import memory
if sys.argv[1] == "keep":
    memory.keep_buffers()
for _ in range(20):  # the heap grows to what it needs
    torch.zeros(12 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(12 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_kept_buffers_touch_no_new_pages() -> None:
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("not glibc")
    found = {}
    for how in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        found[how] = int(done.stdout)
    assert found["keep"] < found["leave"] / 10, found
