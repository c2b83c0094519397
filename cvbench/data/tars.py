"""WebDataset tar shards, here or at an address: samples are found without unpacking or decoding anything.

What img2dataset, video2dataset and `webdataset.ShardWriter` write: members of one name up to the first dot are one
sample, a picture or clip with its caption (`.txt`, or `caption` in `.json`). A sample is called SHARD/KEY. Members are
read at their places, one at a time; the list of a shard's members is kept in the cache for as long as the shard stays
the same.
"""

import itertools
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cvbench.core.digest import digest
from cvbench.core.errors import UnreadableSample, UsageError
from cvbench.core.types import Sample, Sampling
from cvbench.data.dataset import Dataset, Item, printable, read_named, stamp
from cvbench.data.files import MOST_BYTES, Reader
from cvbench.data.folder import IMAGES, VIDEOS, home, in_order, there
from cvbench.store import FileStore

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.ASCII)
RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)
MOST_SHARDS = 1_000_000
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


def is_address(text: str) -> bool:
    """Tell an address that fsspec opens, such as s3://, gs://, https:// or hf://, from a path."""
    return bool(ADDRESS.match(text))


def is_tars(text: str) -> bool:
    """Tell whether a data set is one tar shard or many."""
    return text.endswith(".tar")


def open_tars(text: str, reader: Reader) -> Dataset:
    """Open tar shards: a path or an address, with ranges as {000000..000127}, or a path with wildcards.

    Raises UsageError for a shard that is not there or is none, and where there is nothing to read.
    """
    items = [item for shard in shards_of(text) for item in _items(shard, reader)]
    if not items:
        raise UsageError(f"no images or videos in {text}")
    names = [item.id for item in items]
    if len(set(names)) < len(names):
        raise UsageError(f"{text}: shards of one name hold samples of one name; give them as data sets of their own")
    return Dataset(printable(text), tuple(items))


def shards_of(text: str) -> list[str]:
    """Return the shards that a text means, in order."""
    pieces = RANGE.split(text)
    ranges = [_numbers(text, low, high) for low, high in zip(pieces[1::3], pieces[2::3], strict=True)]
    between = pieces[::3]
    filled = itertools.product(*ranges)
    spelt = ["".join(itertools.chain.from_iterable(zip(between, (*each, ""), strict=True))) for each in filled]
    if is_address(text) or len(spelt) > 1 or there(text):
        return spelt
    path = home(text)
    base = Path(path.anchor) if path.is_absolute() else Path()
    matched = in_order(base.glob(str(path.relative_to(path.anchor)))) if any(sign in text for sign in "*?[") else []
    if not matched:
        raise UsageError(f"no shard {text!r}; name tar files, with {{000..127}} for a range, or a glob in quotes")
    return [str(found) for found in matched]


def _numbers(text: str, low: str, high: str) -> list[str]:
    if not int(low) <= int(high) < int(low) + MOST_SHARDS:
        raise UsageError(f"{text}: {{{low}..{high}}} is no range of shards; give it as {{000000..000127}}")
    width = len(low) if low.startswith("0") or len(low) == len(high) else 0
    return [f"{number:0{width}}" for number in range(int(low), int(high) + 1)]


def _items(shard: str, reader: Reader) -> Iterator[Item]:
    name = PurePosixPath(shard).stem
    for member in members(shard):
        path, _, kind = member.name.rpartition("/")[2].partition(".")
        folder = member.name.rpartition("/")[0]
        key = "/".join(part for part in (name, folder, path) if part and part != ".")
        label = printable(key)
        yield Item(
            label,
            partial(_stamp, shard, member, reader),
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


def shard_stamp(shard: str) -> str:
    """Return what changes when a shard does. Raises UsageError for one that is not there.

    One at an address is asked for once a process: by size, and by time or tag where its server tells them.
    """
    if is_address(shard):
        return _stamp_at(shard)
    if not home(shard).is_file():
        raise UsageError(f"there is no shard {shard}")
    return stamp(home(shard))


@lru_cache(maxsize=65536)
def _stamp_at(address: str) -> str:
    told = {"etag", "mtime", "last_modified", "lastmodified", "generation", "md5hash", "size", "content-md5"}
    with _asking(address):
        system, path = _system(address)
        facts = {name.lower(): str(value) for name, value in system.info(path).items() if name.lower() in told}
    return f"{address}|{json.dumps(facts, sort_keys=True)}"


def _listed(shard: str) -> Iterator[Member]:
    """Read the heads of a shard's members, and the captions."""
    found: dict[str, list[Member]] = {}
    captions: dict[str, str] = {}
    end = 0
    with _asking(shard), _opened(shard) as file, tarfile.open(fileobj=file, mode="r:") as tar:
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


def _stamp(shard: str, member: Member, reader: Reader) -> str:
    try:
        whole = shard_stamp(shard)
    except UsageError:  # gone meanwhile: reading it will say so
        whole = f"{shard}|missing"
    return f"{whole}|{member.offset}|{member.size}|{reader}"


def _read(label: str, shard: str, member: Member, file_name: str, reader: Reader, sampling: Sampling) -> Sample:
    """Read a member through a file of its own, which decoders need. Raises UnreadableSample."""
    if member.size > MOST_BYTES:
        raise UnreadableSample(f"{label}: {member.size:,} bytes are more than are read; the most is {MOST_BYTES:,}")
    try:
        content = _bytes(shard, member)
    except (OSError, UsageError) as error:
        raise UnreadableSample(f"{label}: its shard cannot be read ({error}); try again, or fetch it anew") from error
    if len(content) != member.size:
        raise UnreadableSample(f"{label}: {len(content):,} of its {member.size:,} bytes came; fetch its shard again")
    with tempfile.TemporaryDirectory(prefix="cvbench-") as folder:
        path = Path(folder, re.sub(r"[^\w.-]", "_", file_name)[-100:])
        path.write_bytes(content)
        del content
        return read_named(label, path, reader, sampling)


def _bytes(shard: str, member: Member) -> bytes:
    if not is_address(shard):
        with home(shard).open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size)
    with _asking(shard):
        system, path = _system(shard)
        content: bytes = system.cat_file(path, start=member.offset, end=member.offset + member.size)
    return content


def _opened(shard: str) -> AbstractContextManager[Any]:
    if not is_address(shard):
        return home(shard).open("rb")
    system, path = _system(shard)
    file: AbstractContextManager[Any] = system.open(path, "rb", block_size=AHEAD, cache_type="readahead")
    return file


def _system(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address)
    return system, path


@contextmanager
def _asking(shard: str) -> Iterator[None]:
    """Turn what goes wrong with a shard into a UsageError that names it."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"{shard}: {error}; pip install 'cvbench[remote]'") from error
    except tarfile.TarError as error:
        raise UsageError(f"{shard} is no tar file, or cut off ({error}); unpack what is compressed") from error
    except (OSError, ValueError) as error:  # which a server's answers are, too
        raise UsageError(f"{shard} cannot be read: {getattr(error, 'strerror', None) or error}") from error
