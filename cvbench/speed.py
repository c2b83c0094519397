"""Throughput, latency and peak memory of encoding and decoding: a pass of its own, on one clip."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from cvbench import memory
from cvbench.reconstruct import pad, traits_of
from cvbench.tensors import Videos, VideoVAE

BUDGET = 0.5  # seconds of repeats on each side
T = TypeVar("T")


@torch.inference_mode()
def measure_speed(vae: VideoVAE, videos: Videos) -> dict[str, float | int | str | None]:
    """Time encode and decode of `videos` as they are coded (padded): medians of at least one run after a warm-up.

    Returns frames per second and milliseconds a call for each side, peak memory in MiB above what was held
    before (None where the system does not tell), the clip's shape and the machine. On a GPU that is what PyTorch
    allocates; on a CPU what becomes resident, which in a process that has run other models is up to twice as much,
    because buffers lie in the gaps that those left.
    """
    padded = pad(videos, traits_of(vae))
    frames = padded.shape[0] * padded.shape[2]
    with memory.measured():
        before = _start_peak(padded.device)
        latents = vae.encode(padded)
        vae.decode(latents, padded.shape[2])
        peak = _read_peak(padded.device)
    encode, runs = _time(lambda: vae.encode(padded), padded.device)
    decode, _ = _time(lambda: vae.decode(latents, padded.shape[2]), padded.device)
    return {
        "encode_fps": frames / encode,
        "decode_fps": frames / decode,
        "encode_ms": 1000 * encode,
        "decode_ms": 1000 * decode,
        "peak_mib": None if before is None or peak is None else (peak - before) / 2**20,
        "shape": "x".join(map(str, padded.shape)),
        "runs": runs,
        "device": device_name(padded.device),
        "threads": torch.get_num_threads(),
    }


def _time(call: Callable[[], T], device: torch.device) -> tuple[float, int]:
    """Return the median seconds of a call, and how often it ran within the budget (1 to 10 times)."""
    seconds: list[float] = []
    while not seconds or (sum(seconds) < BUDGET and len(seconds) < 10):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds), len(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _start_peak(device: torch.device) -> int | None:
    """Reset the peak counter; return the bytes held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return None


def _read_peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return _status("VmHWM")
    except OSError:
        return None


def _status(key: str) -> int:
    """Read a line of Linux's process status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {key}")


def device_name(device: torch.device) -> str:
    """Return the name of the processor that does the work."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
