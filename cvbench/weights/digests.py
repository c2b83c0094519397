"""By what weights are known: the hash of all that is loaded, and the commit it came from."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvbench.core.digest import digest
from cvbench.core.errors import BadWeights
from cvbench.store import FileStore, cache_root
from cvbench.weights.checkpoints import CONFIG, FORMATS, brief, files_read

if TYPE_CHECKING:
    from cvbench.weights.sources import Source

READ = (*FORMATS, ".tar", ".json")
"""Suffixes of the files in a folder that an adapter may read: weights, settings, indices of shards."""
ATTEMPTS = 3
SETTLED = 2_000_000_000
"""Nanoseconds after which a file's times tell a later change: within one tick of a clock, two writes look alike."""


@dataclass(frozen=True)
class Identity:
    """What weights are known by in keys and records.

    `sha256` is of all that is loaded; of a single file without settings beside it, that file's own. `revision` is
    the commit that the hub's cache resolved, empty for files from elsewhere.
    """

    sha256: str
    revision: str = ""


def identity(path: Path, source: "Source | None" = None) -> Identity:
    """Return what stands for the weights at `path`, a file or folder; `source` is where they are said to come from.

    A commit counts when it is of the source's repository, or there is none to compare with. Raises BadWeights for
    what cannot be read, or changes while it is.
    """
    files = [path / part.file for part in source.parts] if source and len(source.parts) > 1 else []
    if files and all(file.is_file() for file in files):  # in a folder of many models' files
        return Identity(path_digest(files[0]))  # and what is read with it, as where that file is named
    return Identity(path_digest(path), _revision(path, source.repo if source else ""))


def path_digest(path: Path) -> str:
    """SHA-256 that stands for a weights file, its other half and config.json with it, or for a folder of them."""
    if path.is_dir():
        files = sorted(file for file in _files(path) if file.suffix in READ)
        return digest([[file.relative_to(path).as_posix(), file_digest(file)] for file in files])
    halves, beside = files_read(path) or (path,), path.parent / CONFIG
    if len(halves) == 1 and not beside.is_file():
        return file_digest(path)
    settings = [[CONFIG, file_digest(beside)]] if beside.is_file() else []
    return digest([[half.suffix, file_digest(half)] for half in halves] + settings)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those in it, links to folders followed as whoever opens a path does."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(Path(place, name)) not in seen]
        yield from (file for name in names if (file := Path(place, name)).is_file())


def file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered for as long as nothing about it changes that the file system tells.

    Raises BadWeights for a file that cannot be read, or changes while it is.
    """
    try:
        for _ in range(ATTEMPTS):
            before = _stamp(path)
            found = _remembered(before) or _hash(path)
            if _stamp(path) == before:
                return _remember(before, found)
    except OSError as error:
        raise BadWeights(f"{path} cannot be read ({brief(error)})") from error
    raise BadWeights(f"{path} changes while it is read; wait until it is written, and try again")


def _stamp(path: Path) -> dict[str, str | int]:
    state = path.stat()
    return {
        "file": str(path.resolve()),
        "device": state.st_dev,
        "inode": state.st_ino,
        "size": state.st_size,
        "modified": state.st_mtime_ns,
        "changed": state.st_ctime_ns,
    }


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remembered(stamp: dict[str, str | int]) -> str | None:
    found = FileStore(cache_root()).facts(digest(stamp))
    return found if isinstance(found, str) and len(found) == 64 else None


def _remember(stamp: dict[str, str | int], found: str) -> str:
    if time.time_ns() - int(stamp["changed"]) > SETTLED:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
            FileStore(cache_root()).remember(digest(stamp), found)
    return found


def _revision(path: Path, repo: str) -> str:
    """Return the commit of the snapshot, in the hub's cache, that a path leads into."""
    for step in _steps(path):
        for folder in (step, *step.parents):
            home = folder.parent.parent
            if folder.parent.name == "snapshots" and home.name in _homes(home.name, repo):
                return folder.name
    return ""


def _homes(name: str, repo: str) -> tuple[str, ...]:
    """Return the folder of a repository in the hub's cache; without one, whatever looks like it."""
    if repo:
        return (f"models--{repo.replace('/', '--')}",)
    return (name,) if name.startswith("models--") else ()


def _steps(path: Path) -> Iterator[Path]:
    """Follow a link by link: files in a snapshot are links to what no longer says its commit."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 (which follows no link)
    for _ in range(40):  # as many as Linux follows
        yield path
        yield path.parent.resolve() / path.name
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent / path.readlink()))
