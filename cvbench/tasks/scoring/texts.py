"""Text files that a user wrote: read whole, or refused with the file and the place of what is wrong. No torch."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvbench.core.errors import UsageError

SHOWN = 60
"""Characters of a line that a message repeats."""


def read_text(file: Path) -> str:
    """Return the text of a UTF-8 file. Raises UsageError for a file that is no such text, with the line."""
    try:
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = "UTF-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else f"byte 0x{raw[error.start]:02x}"
        raise UsageError(f"{file}, line {line}: {what} is no UTF-8; save the file as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UsageError(f"{file}, line {line}: holds a NUL character; this is no text, or UTF-16: save it as UTF-8")
    return text


def rows_of_csv(text: str, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row ends, and its cells; empty rows are left out. Raises UsageError."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise UsageError(
            f"{file}, line {reader.line_num}: {error}; is a quotation mark missing or too much?"
        ) from error


def read_table(file: Path, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells by column of a CSV file with a head. Raises UsageError."""
    rows = rows_of_csv(read_text(file), file)
    _, head = next(rows, (1, []))
    head = [cell.strip() for cell in head]
    missing = [column for column in needed if column not in head]
    if missing:
        how = "; it is separated by semicolons, write commas" if len(head) == 1 and ";" in head[0] else ""
        raise UsageError(f"{file} has no column {', '.join(missing)}; it must have {', '.join(needed)}{how}")
    if len(set(head)) < len(head):
        raise UsageError(f"{file} has two columns of one name: {', '.join(map(shortened, head))}")
    for line, row in rows:
        if len(row) > len(head):
            raise UsageError(f"{file}, line {line}: {len(row)} cells under {len(head)} columns")
        yield line, dict(zip(head, row, strict=False))


def read_json(text: str, file: Path, line: int | None = None) -> Any:
    """Return the value of a JSON text; objects as lists of pairs, so that no key is lost. Raises UsageError."""
    place = f"{file}, line {line}" if line else str(file)
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except RecursionError as error:
        raise UsageError(f"{place} is nested too deeply") from error
    except ValueError as error:  # of JSON, or of a number of more digits than Python reads
        raise UsageError(f"{place} is no JSON: {error}") from error


class Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, in order, repeated ones too."""

    def get(self, key: str) -> Any:
        """Return the value of a key, None for one that is not there."""
        return dict(self).get(key)


def shortened(text: object) -> str:
    """Return a value as a message shows it."""
    shown = repr(text)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
