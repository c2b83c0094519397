"""Parquet tables with a column of pictures, as `datasets` and the hub write them: rows are found without reading them.

A picture is a cell of bytes, or of a struct whose field `bytes` holds them. A sample is called FILE/ROW. Row groups
are read one at a time and the last two kept, so that rows in order read each group once. What a table holds is kept in
the cache for as long as its file stays the same. Nothing of a table is executed.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from cvbench.core.digest import digest
from cvbench.core.errors import UnreadableSample, UsageError
from cvbench.core.types import Sample, Sampling
from cvbench.data.dataset import Dataset, Item, printable
from cvbench.data.files import Reader
from cvbench.data.packed import asking, gathered, opened, read_packed, shard_stamp, shards_of, stamp_of_part
from cvbench.store import FileStore

if TYPE_CHECKING:
    import pyarrow as pa

ENDING = ".parquet"
PICTURES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp")
"""Which of several columns of pictures is meant, the first that is there."""
CAPTIONS = ("caption", "captions", "text", "prompt")
MOST_OF_A_GROUP = 2 << 30
"""Bytes of pictures in a row group; two are held."""
AHEAD = 1 << 20
"""Bytes fetched at once of a table at an address."""
VERSION = 1
"""Of what is remembered of a table: raise it when that changes."""


class Columns(NamedTuple):
    """Names of the columns of pictures and captions, "" for those that their kinds and usual names tell."""

    picture: str = ""
    caption: str = ""


class Table(NamedTuple):
    """What a file holds: the column of pictures with the field in it, rows of each row group, captions if any."""

    column: str
    groups: list[int]
    captions: list[str | None] | None


class Row(NamedTuple):
    """A place in a file: row group, row in it, column."""

    shard: str
    group: int
    row: int
    column: str


def is_parquet(text: str) -> bool:
    """Tell whether a data set is one Parquet table or many, with or without the names of columns."""
    return text.partition("#")[0].partition("?")[0].endswith(ENDING)


def open_parquet(text: str, reader: Reader) -> Dataset:
    """Open Parquet tables, FILES[#PICTURES[:CAPTIONS]]: a path or address with ranges as {000..127}, or a glob.

    Raises UsageError for a table that is not there, is none, or has no column of pictures, and without pyarrow.
    """
    files, columns = columns_of(text)
    return gathered(text, rows_of(shards_of(files), columns, reader))


def columns_of(text: str) -> tuple[str, Columns]:
    """Split FILES[#PICTURES[:CAPTIONS]]."""
    files, _, names = text.partition("#")
    picture, _, caption = names.partition(":")
    return files, Columns(picture, caption)


def rows_of(shards: Sequence[str], columns: Columns, reader: Reader) -> list[Item]:
    """Return the rows of tables as items. Raises UsageError."""
    return [item for shard in shards for item in _items(shard, columns, reader)]


def _items(shard: str, columns: Columns, reader: Reader) -> Iterator[Item]:
    table = contents(shard, columns)
    name = PurePosixPath(shard).stem
    places = ((group, row) for group, count in enumerate(table.groups) for row in range(count))
    for number, (group, row) in enumerate(places):
        label = printable(f"{name}/{number:06}")
        yield Item(
            label,
            partial(stamp_of_part, shard, f"{table.column}|{number}", reader),
            partial(_read, label, Row(shard, group, row, table.column), reader),
            table.captions[number] if table.captions else None,
        )


def contents(shard: str, columns: Columns) -> Table:
    """Return what a table holds. Raises UsageError."""
    store, key = FileStore(), digest(["parquet", VERSION, shard_stamp(shard), list(columns)])
    known = store.facts(key)
    if known is None:
        known = list(_looked_at(shard, columns))
        store.remember(key, known)
    return Table(*known)


def _looked_at(shard: str, columns: Columns) -> Table:
    """Read a table's foot, and its captions."""
    with _file(shard) as file:
        schema, foot = file.schema_arrow, file.metadata
        column = _pictures_in(shard, schema, columns.picture)
        _check_groups(shard, foot, column)
        groups = [foot.row_group(group).num_rows for group in range(foot.num_row_groups)]
        return Table(column, groups, _captions(shard, file, schema, columns.caption))


def _pictures_in(shard: str, schema: "pa.Schema", wanted: str) -> str:
    """Return the path of the column of pictures. Raises UsageError where there is none, or which one is not clear."""
    found = {field.name: path for field in schema if (path := _path_of_bytes(field))}
    if wanted and wanted in found:
        return found[wanted]
    first = next((name for name in PICTURES if name in found), next(iter(found)) if len(found) == 1 else None)
    if first is not None and not wanted:
        return found[first]
    what = f"no column of pictures {wanted!r}" if wanted else "several columns of bytes" if found else "no pictures"
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)[:500]
    advice = "of addresses pictures are fetched first, as img2dataset does" if not found else "name one: FILE#COLUMN"
    raise UsageError(f"{shard}: {what}; its columns are {there}; {advice}")


def _path_of_bytes(field: "pa.Field[Any]") -> str:
    """Return where in a column of pictures the bytes are, nothing for a column of something else."""
    import pyarrow as pa

    if pa.types.is_struct(field.type):
        inner = next((each for each in field.type if each.name == "bytes"), None)
        return f"{field.name}.bytes" if inner is not None and _is_bytes(inner.type) else ""
    return field.name if _is_bytes(field.type) else ""


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_of(kind) for is_of in kinds)


def _check_groups(shard: str, foot: Any, column: str) -> None:
    for group in range(foot.num_row_groups):
        parts = [foot.row_group(group).column(k) for k in range(foot.num_columns)]
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema == column)
        if size > MOST_OF_A_GROUP:
            raise UsageError(
                f"{shard}: a row group holds {size:,} bytes of pictures, the most is {MOST_OF_A_GROUP:,}; write"
                " it again with smaller ones (row_group_size=100)"
            )


def _captions(shard: str, file: Any, schema: "pa.Schema", wanted: str) -> list[str | None] | None:
    """Return the captions, of several the first. Raises UsageError for a column that is asked for and not there."""
    if wanted and wanted not in schema.names:
        raise UsageError(f"{shard}: no column {wanted!r} of captions; its columns are {', '.join(schema.names)}")
    name = wanted or next((name for name in CAPTIONS if name in schema.names), None)
    if name is None:
        return None
    return [_text(value) for value in file.read(columns=[name]).column(name).to_pylist()]


def _text(value: object) -> str | None:
    first = value[0] if isinstance(value, list) and value else value
    return first.strip() or None if isinstance(first, str) else None


def _read(label: str, place: Row, reader: Reader, sampling: Sampling) -> Sample:
    """Read the picture of a row. Raises UnreadableSample."""
    try:
        content = _cell(place)
    except (OSError, UsageError) as error:
        raise UnreadableSample(f"{label}: its table cannot be read ({error}); try again, or fetch it anew") from error
    if not content:
        raise UnreadableSample(f"{label}: column {place.column} is empty there; remove the row, or put the picture in")
    return read_packed(label, content, "picture", reader, sampling)


_lock = threading.Lock()


def _cell(place: Row) -> bytes | None:
    with _lock:  # readers want the same group at once
        column = _group(place.shard, shard_stamp(place.shard), place.group, place.column)
    if place.row >= len(column):
        raise UsageError(f"{place.shard} has changed")
    content: bytes | None = column[place.row].as_py()
    return content


@lru_cache(maxsize=2)
def _group(shard: str, stamp: str, group: int, column: str) -> "pa.ChunkedArray[Any]":
    """Return the pictures of a row group; `stamp` keeps those of an earlier file apart."""
    with _file(shard) as file:
        if group >= file.num_row_groups:
            raise UsageError(f"{shard} has changed")
        (found,) = file.read_row_group(group, columns=[column]).flatten().columns
        return found


@contextmanager
def _file(shard: str) -> Iterator[Any]:
    """Open a table, its checksums verified where it has any. Raises UsageError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(f"{shard}: {error}; pip install 'cvbench[parquet]'") from error
    with asking(shard), opened(shard, AHEAD) as source:
        try:
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{shard} is no Parquet table, or damaged: {error}; fetch it anew") from error
