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


def test_memory_that_is_free_is_not_resident_while_it_is_measured() -> None:
    held = [bytearray(b"x" * 100_000) for _ in range(2_000)]  # from the heap
    last = bytearray(b"x" * 100_000)  # behind them, so that the heap cannot shrink from its end
    full = resident()
    del held
    with memory.measured():
        assert full - resident() > 150e6
    assert len(last) == 100_000


PEAK = """
import sys, torch
from cvbench import memory, speed
class Model:
    params = (0, 0)
    def encode(self, x):
        parts = [torch.ones(6 << 20) for _ in range(8)]  # 8 of 24 MiB at once
        return x
    def decode(self, z, frames):
        return z
if sys.argv[1] == "keep":
    memory.keep_buffers()
Model().encode(0)
print(speed.measure_speed(Model(), torch.rand(1, 3, 1, 16, 16))["peak_mib"])
"""


def test_the_peak_is_the_same_whether_buffers_are_kept_or_not() -> None:
    for how in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", PEAK, how], capture_output=True, text=True, check=True)
        assert float(done.stdout) == pytest.approx(192, abs=12), how


def test_buffers_are_kept_again_after_a_measurement() -> None:
    script = FAULTS.replace("for _", "with memory.measured():\n    pass\nfor _", 1)
    done = subprocess.run([sys.executable, "-c", script, "keep"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20 * (48 << 20) / 4096 / 10
