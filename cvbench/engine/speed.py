"""Throughput, latency and peak memory of encoding and decoding: a pass of its own, on one clip."""

import math
import os
import time
from collections.abc import Callable
from itertools import accumulate
from statistics import median
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, kineto_available, profile

from cvbench.engine.coding import pad
from cvbench.engine.device import device_name
from cvbench.engine.subject import Subject
from cvbench.nets.tensors import Videos

BUDGET = 0.25  # seconds of repeats on each side
VERSION = 4  # raise it when what is measured changes: the cache asks for it
T = TypeVar("T")


RESOLUTION = 5e-5
"""Seconds below which a call did nothing that could be timed."""


def measure_speed(subject: Subject, videos: Videos, *, warm: bool = False) -> dict[str, float | int | str | None]:
    """Time encode and decode of `videos` as they are coded (padded): medians of at least one run after a warm-up.

    The warm-up is the pass that memory is measured in. On a CPU it is the run itself for a side that takes longer than
    BUDGET, of a model that is `warm`, having just coded clips: watching its memory costs such a side 1 to 3 %.

    Returns frames per second and milliseconds a call for each side (None for a side that does nothing), peak memory in
    MiB, the clip's shape and the machine. Peak memory is what PyTorch allocates above what was held before: a codec's
    own buffers are not in it, nor is the scratch of a convolution library. None where PyTorch was built without its
    profiler.
    """
    padded = pad(videos, subject.traits).clone()
    frames, device = padded.shape[2], padded.device
    with subject.running() as model:

        def first_pass() -> tuple[Any, float, float]:
            begun = time.perf_counter()
            latents = model.encode(padded)
            between = time.perf_counter()
            model.decode(latents, frames)
            return latents, between - begun, time.perf_counter() - between

        (latents, encoding, decoding), peak = _peak(first_pass, device)
        enough = BUDGET if warm and device.type == "cpu" else math.inf
        encode, runs = (encoding, 1) if encoding > enough else _time(lambda: model.encode(padded), device)
        decode = decoding if decoding > enough else _time(lambda: model.decode(latents, frames), device)[0]
    coded = padded.shape[0] * frames
    return {
        "encode_fps": coded / encode if encode > RESOLUTION else None,
        "decode_fps": coded / decode if decode > RESOLUTION else None,
        "encode_ms": 1000 * encode if encode > RESOLUTION else None,
        "decode_ms": 1000 * decode if decode > RESOLUTION else None,
        "peak_mib": None if peak is None else peak / 2**20,
        "shape": "x".join(map(str, padded.shape)),
        "runs": runs,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def conditions(device: torch.device) -> dict[str, str | int]:
    """Return what must be equal for a speed to be reused: the device, how many threads compute, how it is measured."""
    return {"device": device_name(device), "threads": torch.get_num_threads(), "version": VERSION}


def measure_decoding(decode: Callable[[], Videos], device: torch.device) -> dict[str, float | int | str | None]:
    """Time a call that decodes one sample, as `measure_speed` does; nothing is encoded, and `shape` is the result's."""
    made, peak = _peak(decode, device)
    seconds, runs = _time(decode, device)
    return {
        "encode_fps": None,
        "decode_fps": made.shape[2] / seconds if seconds > RESOLUTION else None,
        "encode_ms": None,
        "decode_ms": 1000 * seconds if seconds > RESOLUTION else None,
        "peak_mib": None if peak is None else peak / 2**20,
        "shape": "x".join(map(str, made.shape)),
        "runs": runs,
        "device": device_name(device),
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
