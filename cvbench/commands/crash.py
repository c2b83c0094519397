"""What is kept of an error of cvbench itself: a report to send."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from cvbench import __version__

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "av", "pillow", "numpy", "scipy", "click", "rich")


def write_report(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write what is needed to find an error, and return where it lies; None where nothing can be written."""
    content = report(error, arguments).encode("utf-8", "backslashreplace")
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(prefix=f"error-{_now():%Y%m%d-%H%M%S}-", suffix=".txt", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            return Path(path)
        except (OSError, ValueError):  # full, read-only, or a name that is none: the next place
            continue
    return None


def _folders() -> Iterator[Path]:
    """Yield where a report may lie, the best place first; none of them need exist or be writable."""
    try:
        from cvbench.store import cache_root  # what broke may be anything, this import too

        yield cache_root() / "errors"
    except Exception:  # noqa: S110  # the report matters more than its place
        pass
    try:
        yield Path(tempfile.gettempdir())
    except OSError:  # no folder for temporary files either
        return


def report(error: BaseException, arguments: Sequence[str]) -> str:
    """Return command line, versions and traceback."""
    parts = [
        f"cvbench {__version__}, {_now():%Y-%m-%d %H:%M:%S} UTC",
        f"command: cvbench {shlex.join(map(str, arguments))}",
        f"python {sys.version.split()[0]} on {platform.platform()}",
        ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "",
        *traceback.format_exception(error),
    ]
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def summary(error: BaseException) -> str:
    """Return what an error says, in short: its kind and its first line."""
    try:
        first = next(iter(str(error).splitlines()), "")
    except Exception:  # an error that cannot say what it is
        first = ""
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
