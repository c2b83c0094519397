"""WebDataset tar shards, here or at an address: samples are found without unpacking or decoding anything.

What img2dataset, video2dataset and `webdataset.ShardWriter` write: members of one name up to the first dot are one
sample, a picture or clip with its caption (`.txt`, or `caption` in `.json`). A sample is called SHARD/KEY. Members are
read at their places, one at a time; the list of a shard's members is kept in the cache for as long as the shard stays
the same.
"""

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cvbench.core.digest import digest
from cvbench.core.errors import UnreadableSample, UsageError
from cvbench.core.types import Sample, Sampling
from cvbench.data.dataset import Dataset, Item, printable
from cvbench.data.files import Reader
from cvbench.data.folder import IMAGES, VIDEOS
from cvbench.data.packed import (
    asking,
    bytes_of,
    check_amount,
    gathered,
    opened,
    read_packed,
    shard_stamp,
    shards_of,
    stamp_of_part,
)
from cvbench.store import FileStore

LONGEST_CAPTION = 1 << 16
"""Bytes of a member that may hold a caption; longer ones are passed over."""
AHEAD = 1 << 22
"""Bytes fetched at once while the members of a shard at an address are listed."""
VERSION = 2
"""Of what is remembered of a shard: raise it when that changes."""


class Member(NamedTuple):
    """A picture or clip in a shard: name, place, bytes, and its caption."""

    name: str
    offset: int
    size: int
    caption: str | None


def is_tars(text: str) -> bool:
    """Tell whether a data set is one tar shard or many."""
    return text.endswith(".tar")


def open_tars(text: str, reader: Reader) -> Dataset:
    """Open tar shards: a path or an address, with ranges as {000000..000127}, or a path with wildcards.

    Raises UsageError for a shard that is not there or is none, and where there is nothing to read.
    """
    return gathered(text, [item for shard in shards_of(text) for item in _items(shard, reader)])


def _items(shard: str, reader: Reader) -> Iterator[Item]:
    name = PurePosixPath(shard).stem
    for member in members(shard):
        path, _, kind = member.name.rpartition("/")[2].partition(".")
        folder = member.name.rpartition("/")[0]
        key = "/".join(part for part in (name, folder, path) if part and part != ".")
        label = printable(key)
        yield Item(
            label,
            partial(stamp_of_part, shard, f"{member.offset}|{member.size}", reader),
            partial(_read, label, shard, member, f"{path or 'sample'}.{kind}", reader),
            member.caption,
        )


def members(shard: str) -> list[Member]:
    """Return the pictures and clips of a shard, as they lie in it. Raises UsageError."""
    store, key = FileStore(), digest(["tar", VERSION, shard_stamp(shard)])
    known = store.facts(key)
    if known is None:
        known = list(_listed(shard))
        store.remember(key, known)
    return [Member(*each) for each in known]


def _listed(shard: str) -> Iterator[Member]:
    """Read the heads of a shard's members, and the captions."""
    found: dict[str, list[Member]] = {}
    captions: dict[str, str] = {}
    end = 0
    with _listing(shard), opened(shard, AHEAD) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            tar.members = []  # type: ignore[attr-defined] # or the whole list would be kept beside ours
            end = info.offset_data + -(-(0 if info.islnk() else info.size) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            folder, _, name = info.name.rpartition("/")
            key, suffix = f"{folder}/{name.partition('.')[0]}", Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if suffix in IMAGES | VIDEOS and (info.islnk() or info.issym()):
                raise UsageError(f"{shard}: {info.name} is a link to another member; pack the files themselves")
            if not info.isfile():
                continue
            if suffix in IMAGES | VIDEOS:
                found.setdefault(key, []).append(Member(info.name, info.offset_data, info.size, None))
            elif suffix in (".txt", ".json") and info.size <= LONGEST_CAPTION and (member := tar.extractfile(info)):
                captions.setdefault(key, _caption(suffix, member.read()))
        _check_end(shard, file, end)
    for key, many in found.items():
        if len(many) > 1:
            raise UsageError(f"{shard}: {many[0].name} and {many[1].name} are one sample with two pictures or clips")
        yield many[0]._replace(caption=captions.get(key) or None)


def _check_end(shard: str, file: Any, end: int) -> None:
    """Raise UsageError unless nothing but zeros follows: a damaged head ends a shard as its end does."""
    file.seek(end)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            raise UsageError(f"{shard}: behind byte {end:,} stands what is no member; fetch it anew, or pack it again")


def _caption(suffix: str, content: bytes) -> str:
    text = content.decode("utf-8", "replace").strip()
    if suffix == ".txt":
        return text
    with suppress(ValueError, RecursionError):
        told = json.loads(text)
        return str(told.get("caption") or "") if isinstance(told, dict) else ""
    return ""


def _read(label: str, shard: str, member: Member, file_name: str, reader: Reader, sampling: Sampling) -> Sample:
    """Read a member. Raises UnreadableSample."""
    check_amount(label, member.size)
    try:
        content = bytes_of(shard, member.offset, member.size)
    except (OSError, UsageError) as error:
        raise UnreadableSample(f"{label}: its shard cannot be read ({error}); try again, or fetch it anew") from error
    if len(content) != member.size:
        raise UnreadableSample(f"{label}: {len(content):,} of its {member.size:,} bytes came; fetch its shard again")
    return read_packed(label, content, file_name, reader, sampling)


@contextmanager
def _listing(shard: str) -> Iterator[None]:
    """Turn what is wrong with a shard into a UsageError that names it."""
    with asking(shard):
        try:
            yield
        except tarfile.TarError as error:
            raise UsageError(f"{shard} is no tar file, or cut off ({error}); unpack what is compressed") from error
