"""Memory is reused between large buffers, and given back when asked."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from cvbench import memory

FAULTS = """
import resource, sys, torch
from cvbench import memory
if sys.argv[1] == "keep":
    memory.keep_buffers()
for _ in range(20):  # the heap grows to what it needs
    torch.zeros(12 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(12 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.fixture(autouse=True)
def _glibc_only() -> None:
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("not glibc")


def test_kept_buffers_touch_no_new_pages() -> None:
    found = {}
    for how in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        found[how] = int(done.stdout)
    assert found["keep"] < found["leave"] / 10, found


def test_memory_given_back_is_no_longer_resident() -> None:
    held = [bytearray(b"x" * 100_000) for _ in range(2_000)]  # from the heap
    last = bytearray(b"x" * 100_000)  # behind them, so that the heap cannot shrink from its end
    full = resident()
    del held
    memory.give_back()
    assert full - resident() > 150e6
    assert len(last) == 100_000
