"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from cvbench.core.digest import digest

ABANDONED = 3600.0
"""Seconds since its last change after which a half-written file has no writer any more."""
LONGEST = 200
"""Bytes of a file's name, below the 255 that file systems take, so that endings fit."""


@contextlib.contextmanager
def atomic(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears under `path` whole or not at all; `durable`: also when the power fails.

    What killed writers left in the folder is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    part = path.parent / f".{path.name[:40]}-{secrets.token_hex(8)}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
        if durable:
            _sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@lru_cache(maxsize=4096)
def _sweep(folder: Path) -> None:
    """Remove half-written files without a writer, once a folder and process."""
    with contextlib.suppress(OSError):
        for path in folder.glob(".*.part"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name last. Systems that cannot open folders need no such thing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write UTF-8 text atomically; what UTF-8 cannot hold is escaped."""
    with atomic(path, durable=durable) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def file_name(*parts: str) -> str:
    """Join names into one that every file system takes; what had to be changed or cut gains a short hash."""
    clean = []
    for part in parts:
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._+=@-") else "_" for c in part)[:80].strip(".")
        clean.append(safe if safe == part else f"{safe}-{digest(part)[:8]}")
    name = "--".join(clean)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 13]}-{digest(list(parts))[:12]}"
