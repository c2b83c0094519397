"""A data set: items in a fixed order, each read only when it is asked for; the decoders are loaded only then, too."""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cvbench.core.types import Sample, Sampling
from cvbench.data.files import Reader


@dataclass(frozen=True)
class Item:
    """One sample to be. `read` decodes it and raises UnreadableSample.

    `fingerprint` names the source without decoding it: absolute path, size, time of change and reader of a file, or
    the version of something built in.
    """

    id: str
    fingerprint: str
    read: Callable[[Sampling], Sample]
    caption: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Items in the order they are measured; `note` is what a reader of the table must know, as "512 of 1,024 found"."""

    name: str
    items: tuple[Item, ...]
    note: str = ""


@dataclass(frozen=True)
class DatasetEntry:
    """What a named data set is, how its folder is laid out, and how it is opened.

    `folder` is the name its folder is configured under, where that is not its own; "" for what is built in.
    """

    about: str
    layout: str
    open: Callable[[Path, Reader], Dataset]
    folder: str | None = None


def file_item(path: Path, name: str, reader: Reader, caption: str | None = None) -> Item:
    """Return a file as an item; `name` becomes its id."""
    name = printable(name)
    return Item(name, f"{stamp(path)}|{reader}", partial(read_named, name, path, reader), caption)


def numbered_item(paths: Sequence[Path], name: str, fps: float | None = None, caption: str | None = None) -> Item:
    """Return a clip kept as one picture a frame as an item."""
    name = printable(name)
    stamps = hashlib.sha256("\n".join(map(stamp, paths)).encode("utf-8", "surrogateescape")).hexdigest()
    fingerprint = f"{paths[0].parent.resolve()}|{len(paths)} frames|{stamps}"
    return Item(name, fingerprint, partial(read_clip, name, tuple(paths), fps), caption)


def read_named(name: str, path: Path, reader: Reader, sampling: Sampling) -> Sample:
    """Read a file and give it its id."""
    from cvbench.data.frames import read_file

    return replace(read_file(path, sampling, reader), id=name)


def read_clip(name: str, paths: Sequence[Path], fps: float | None, sampling: Sampling) -> Sample:
    """Read numbered frames and give the clip its id."""
    from cvbench.data.frames import read_numbered

    return replace(read_numbered(paths, sampling, fps), id=name)


def stamp(path: Path) -> str:
    """Return what changes when a file does: absolute path, size and time of change."""
    try:
        seen = path.stat()
    except OSError:  # a dangling link: reading it will say so
        return f"{path.absolute()}|missing"
    return f"{path.resolve()}|{seen.st_size}|{seen.st_mtime_ns}"


def printable(name: str) -> str:
    """Return an id that is the same on systems that compose umlauts differently, and that UTF-8 can hold."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
