"""A data set: items in a fixed order, each read only when it is asked for; the decoders are loaded only then, too."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cvbench.core.errors import UnreadableSample
from cvbench.core.types import Sample, Sampling
from cvbench.data.files import Reader, escaped

ATTEMPTS = 3
"""How often a file is read that changes meanwhile."""


@dataclass(frozen=True)
class Item:
    """One sample to be. `read` decodes it and raises UnreadableSample.

    `stamp` names the source as it is now, without decoding it: absolute path, size, times of change, inode and reader
    of a file, or the version of something built in. `look` tells frames, height and width as headers do, None where
    these tell nothing. `clip` is the clip that a window of it was cut from.
    """

    id: str
    stamp: Callable[[], str]
    read: Callable[[Sampling], Sample]
    caption: str | None = None
    look: Callable[[], tuple[int, int, int] | None] | None = None
    clip: str = ""

    @property
    def fingerprint(self) -> str:
        """The stamp at this moment: what is read later may bear another (`read_stable` returns the one it bore)."""
        return self.stamp()


@dataclass(frozen=True)
class Dataset:
    """Items in the order they are measured; `note` is what a reader of the table must know, as "512 of 1,024 found".

    `place` is the absolute path that was opened, "" for what is built in: it tells sets of one name apart.
    """

    name: str
    items: tuple[Item, ...]
    note: str = ""
    place: str = ""


@dataclass(frozen=True)
class DatasetEntry:
    """What a named data set is, how its folder is laid out, and how it is opened.

    `folder` is the name its folder is configured under, where that is not its own; "" for what is built in.
    """

    about: str
    layout: str
    open: Callable[[Path, Reader], Dataset]
    folder: str | None = None


def read_stable(item: Item, sampling: Sampling) -> tuple[Sample, str]:
    """Read an item and return with it the fingerprint that its source had before and after.

    Raises UnreadableSample for what does not decode, and for a source that changes each time it is read.
    """
    for _ in range(ATTEMPTS):
        before = item.stamp()
        try:
            sample = item.read(sampling)
        except UnreadableSample:
            if item.stamp() == before:
                raise
            continue
        if item.stamp() == before:
            return sample, before
    raise UnreadableSample(f"{item.id}: changes while it is read; run again when it is complete")


def file_item(path: Path, name: str, reader: Reader, caption: str | None = None) -> Item:
    """Return a file as an item; `name` becomes its id."""
    name = printable(name)
    read, look = partial(read_named, name, path, reader), partial(look_at, (path,))
    return Item(name, partial(stamp_read_by, path, reader), read, caption, look)


def numbered_item(paths: Sequence[Path], name: str, fps: float | None = None, caption: str | None = None) -> Item:
    """Return a clip kept as one picture a frame as an item."""
    name, paths = printable(name), tuple(paths)
    read, look = partial(read_clip, name, paths, fps), partial(look_at, paths)
    return Item(name, partial(stamp_of_all, paths), read, caption, look)


def renamed(item: Item, name: str) -> Item:
    """Return an item under another id."""
    return replace(item, id=name, read=partial(read_as, name, item.read))


def windowed(item: Item, count: int) -> list[Item]:
    """Return the runs of frames that a clip is cut into, each an item of its own."""
    return [
        replace(item, id=f"{item.id}#{k}", stamp=partial(stamp_of_window, item.stamp, k),
                read=partial(read_window, item.read, k), clip=item.id)
        for k in range(count)
    ]  # fmt: skip


def stamp_of_window(stamp: Callable[[], str], window: int) -> str:
    """Return a clip's stamp, and which run of it is meant."""
    return f"{stamp()}|window {window}"


def read_window(read: Callable[[Sampling], Sample], window: int, sampling: Sampling) -> Sample:
    """Read one run of a clip's frames."""
    sample = read(replace(sampling, window=window))
    return replace(sample, id=f"{sample.id}#{window}")


def read_as(name: str, read: Callable[[Sampling], Sample], sampling: Sampling) -> Sample:
    """Read a sample and give it another id."""
    return replace(read(sampling), id=name)


def look_at(paths: Sequence[Path]) -> tuple[int, int, int] | None:
    """Return frames, height and width of a file, or of pictures that are frames of a clip, as headers tell."""
    from cvbench.data.headers import look

    known = look(paths[0])
    return known and (known[0] * len(paths), *known[1:])


def read_named(name: str, path: Path, reader: Reader, sampling: Sampling) -> Sample:
    """Read a file and give it its id."""
    from cvbench.data.frames import read_file

    return replace(read_file(path, sampling, reader), id=name)


def read_clip(name: str, paths: Sequence[Path], fps: float | None, sampling: Sampling) -> Sample:
    """Read numbered frames and give the clip its id."""
    from cvbench.data.frames import read_numbered

    return replace(read_numbered(paths, sampling, fps), id=name)


def stamp(path: Path) -> str:
    """Return what changes when a file does: absolute path, size, times of change of content and of entry, inode.

    The time of the entry cannot be set back, as `cp -p` or `touch` set that of the content.
    """
    try:
        seen = path.stat()
    except OSError:  # a dangling link: reading it will say so
        return f"{escaped(str(path.absolute()))}|missing"
    return f"{escaped(str(path.resolve()))}|{seen.st_size}|{seen.st_mtime_ns}|{seen.st_ctime_ns}|{seen.st_ino}"


def stamp_read_by(path: Path, reader: Reader) -> str:
    """Return a file's stamp, which another reader does not share."""
    return f"{stamp(path)}|{reader}"


def stamp_of_all(paths: Sequence[Path]) -> str:
    """Return the stamp of a clip kept as one picture a frame."""
    stamps = hashlib.sha256("\n".join(map(stamp, paths)).encode()).hexdigest()
    return f"{escaped(str(paths[0].parent.resolve()))}|{len(paths)} frames|{stamps}"


def printable(name: str) -> str:
    """Return an id that is the same on systems that compose umlauts differently, and that UTF-8 can hold."""
    return unicodedata.normalize("NFC", escaped(name))


def spelt_out(name: str) -> str:
    """Return an id that no other name has: in ASCII, every other byte and the backslash escaped."""
    return os.fsencode(name).replace(b"\\", b"\\\\").decode("ascii", "backslashreplace")


def told_apart(items: Iterable[tuple[str, Item]]) -> list[Item]:
    """Return items, given with their names, under ids of their own.

    Where two names make one id, as two compositions of an umlaut do, it goes to the name that is spelt as the id;
    the others' are spelt out.
    """
    pairs = list(items)
    shared = {text for text, count in Counter(item.id for _, item in pairs).items() if count > 1}
    apart = [
        item if item.id not in shared or name == item.id else renamed(item, spelt_out(name)) for name, item in pairs
    ]
    if len({item.id for item in apart}) == len(apart):
        return apart
    return [renamed(item, spelt_out(name)) for name, item in pairs]  # a name that looks like another's spelling
