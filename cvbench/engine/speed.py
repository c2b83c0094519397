"""Throughput, latency and peak memory of encoding and decoding: a pass of its own, on one clip."""

import os
import platform
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, kineto_available, profile

from cvbench.engine.coding import pad, traits_of
from cvbench.nets.tensors import Latents, Videos, VideoVAE

BUDGET = 0.5  # seconds of repeats on each side
VERSION = 2  # raise it when what is measured changes: the cache asks for it
T = TypeVar("T")


@torch.inference_mode()
def measure_speed(vae: VideoVAE, videos: Videos) -> dict[str, float | int | str | None]:
    """Time encode and decode of `videos` as they are coded (padded): medians of at least one run after a warm-up.

    Returns frames per second and milliseconds a call for each side, peak memory in MiB, the clip's shape and the
    machine. Peak memory is what PyTorch allocates above what was held before: a codec's own buffers are not in it,
    nor is the scratch of a convolution library. None where PyTorch was built without its profiler.
    """
    padded = pad(videos, traits_of(vae))
    frames = padded.shape[0] * padded.shape[2]

    def warm_up() -> Latents:
        latents = vae.encode(padded)
        vae.decode(latents, padded.shape[2])
        return latents

    latents, peak = _peak(warm_up, padded.device)
    encode, runs = _time(lambda: vae.encode(padded), padded.device)
    decode, _ = _time(lambda: vae.decode(latents, padded.shape[2]), padded.device)
    return {
        "encode_fps": frames / encode,
        "decode_fps": frames / decode,
        "encode_ms": 1000 * encode,
        "decode_ms": 1000 * decode,
        "peak_mib": None if peak is None else peak / 2**20,
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


def _peak(call: Callable[[], T], device: torch.device) -> tuple[T, int | None]:
    """Return what a call returns, and the most bytes it holds at a time."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = call()
        return result, torch.cuda.max_memory_allocated(device) - before
    if not kineto_available():
        return call(), None
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler writes to standard error itself
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = call()
    events: list[Any] = profiled.profiler.kineto_results.events() if profiled.profiler else []
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return result, max(accumulate((change for _, change in changes), initial=0))


def device_name(device: torch.device) -> str:
    """Return the name of the processor that does the work."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
