"""Files that hold many samples, here or at an address: how they are named, found again, and read in parts."""

import itertools
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from cvbench.core.errors import CvbenchError, UnreadableSample, UsageError
from cvbench.core.types import Sample, Sampling
from cvbench.data.dataset import Dataset, Item, printable, read_named, stamp
from cvbench.data.files import MOST_BYTES, Reader
from cvbench.data.folder import home, in_order, there

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.ASCII)
RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)
MOST_SHARDS = 1_000_000
TOLD = frozenset((
    "etag", "mtime", "last_modified", "lastmodified", "generation", "md5hash", "size", "content-md5", "blob_id", "lfs",
    "xet_hash",
))  # fmt: skip
"""What file systems call that which changes with a file."""


def is_address(text: str) -> bool:
    """Tell an address that fsspec opens, such as s3://, gs://, https:// or hf://, from a path."""
    return bool(ADDRESS.match(text))


def gathered(name: str, items: list[Item], note: str = "") -> Dataset:
    """Return a data set of the samples of shards. Raises UsageError where there are none, or two of one name."""
    if not items:
        raise UsageError(f"no images or videos in {name}")
    if len({item.id for item in items}) < len(items):
        raise UsageError(f"{name}: shards of one name hold samples of one name; give them as data sets of their own")
    return Dataset(printable(name), tuple(items), note)


def shards_of(text: str) -> list[str]:
    """Return the shards that a text means, in order: a file, an address, with ranges as {000..127}, or a glob."""
    spelt = every_number(text)
    if is_address(text) or len(spelt) > 1 or there(text):
        return spelt
    path = home(text)
    base = Path(path.anchor) if path.is_absolute() else Path()
    matched = in_order(base.glob(str(path.relative_to(path.anchor)))) if any(sign in text for sign in "*?[") else []
    if not matched:
        raise UsageError(f"no shard {text!r}; name files, with {{000..127}} for a range, or a glob in quotes")
    return [str(found) for found in matched]


def every_number(text: str) -> list[str]:
    """Return a text for every number of its ranges, as {000..127}. Raises UsageError for what is no range."""
    pieces = RANGE.split(text)
    ranges = [_numbers(text, low, high) for low, high in zip(pieces[1::3], pieces[2::3], strict=True)]
    between = pieces[::3]
    filled = itertools.product(*ranges)
    return ["".join(itertools.chain.from_iterable(zip(between, (*each, ""), strict=True))) for each in filled]


def _numbers(text: str, low: str, high: str) -> list[str]:
    if not int(low) <= int(high) < int(low) + MOST_SHARDS:
        raise UsageError(f"{text}: {{{low}..{high}}} is no range of shards; give it as {{000000..000127}}")
    width = len(low) if low.startswith("0") or len(low) == len(high) else 0
    return [f"{number:0{width}}" for number in range(int(low), int(high) + 1)]


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
    with asking(address):
        system, path = _system(address)
        more = {"expand_info": True} if address.startswith("hf://") else {}  # or the hub tells sizes alone
        told = system.info(path, **more)
        facts = {name.lower(): str(value) for name, value in told.items() if name.lower() in TOLD and value}
    return f"{address}|{json.dumps(facts, sort_keys=True)}"


def stamp_of_part(shard: str, part: str, reader: Reader) -> str:
    """Return the stamp of a sample: that of its shard, and which part of it."""
    try:
        whole = shard_stamp(shard)
    except UsageError:  # gone meanwhile: reading it will say so
        whole = f"{shard}|missing"
    return f"{whole}|{part}|{reader}"


def read_packed(label: str, content: bytes, name: str, reader: Reader, sampling: Sampling) -> Sample:
    """Read what a file would hold through a file of its own, which decoders need. Raises UnreadableSample."""
    check_amount(label, len(content))
    with tempfile.TemporaryDirectory(prefix="cvbench-") as folder:
        path = Path(folder, re.sub(r"[^\w.-]", "_", name)[-100:])
        path.write_bytes(content)
        del content
        try:
            return read_named(label, path, reader, sampling)
        except UnreadableSample as error:  # which calls the sample by that file
            raise type(error)(f"{label}: {str(error).removeprefix(f'{path.name}: ')}") from error


def check_amount(label: str, size: int) -> None:
    """Raise UnreadableSample for more bytes than are read."""
    if size > MOST_BYTES:
        raise UnreadableSample(f"{label}: {size:,} bytes are more than are read; the most is {MOST_BYTES:,}")


def bytes_of(shard: str, offset: int, size: int) -> bytes:
    """Return a part of a shard. Raises OSError and UsageError."""
    if not is_address(shard):
        with home(shard).open("rb") as file:
            file.seek(offset)
            return file.read(size)
    with asking(shard):
        system, path = _system(shard)
        content: bytes = system.cat_file(path, start=offset, end=offset + size)
    return content


def opened(shard: str, ahead: int) -> AbstractContextManager[Any]:
    """Open a shard; of one at an address `ahead` bytes are fetched at once."""
    if not is_address(shard):
        return home(shard).open("rb")
    system, path = _system(shard)
    file: AbstractContextManager[Any] = system.open(path, "rb", block_size=ahead, cache_type="readahead")
    return file


def _system(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address)
    return system, path


@contextmanager
def asking(shard: str) -> Iterator[None]:
    """Turn what goes wrong with a shard into a UsageError that names it."""
    try:
        yield
    except CvbenchError:
        raise
    except ImportError as error:
        raise UsageError(f"{shard}: {error}; pip install 'cvbench[remote]'") from error
    except Exception as error:  # libraries of networks raise many kinds of their own
        if not (is_address(shard) or isinstance(error, (OSError, ValueError))):
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UsageError(f"{shard} cannot be read: {reason}") from error
