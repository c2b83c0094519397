"""The device that a run computes on, and what else ran: for keys and records."""

import datetime
import importlib.metadata
import platform
from functools import lru_cache
from pathlib import Path

import torch

from cvbench import __version__
from cvbench.core.errors import UsageError

RECORDED = ("torch", "torchvision", "diffusers", "av", "pillow", "numpy", "scipy", "lpips")


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; auto takes the GPU when there is one. Raises UsageError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device {name}: {reason}; use auto, cpu or cuda:N of {torch.cuda.device_count()}"
        ) from error
    return device


def device_name(device: torch.device) -> str:
    """Return the name of the processor that does the work."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@lru_cache
def version(package: str) -> str:
    """Return the version of an installed package, "" when it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def runtime(device: torch.device) -> dict[str, str]:
    """Return what may move rows in their last digits: kind of device, and the libraries that compute."""
    return {"device": device.type, "torch": torch.__version__, "diffusers": version("diffusers")}


def readers() -> dict[str, str]:
    """Return what may move prepared pixels: the libraries that decode and resize."""
    return {name: version(name) for name in ("av", "pillow")}


def environment(device: torch.device) -> dict[str, str]:
    """Return what ran: versions and machine."""
    return {
        "cvbench": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device_name(device),
        **{name: version(name) for name in RECORDED},
    }


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
