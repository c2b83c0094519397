"""Lists of samples and captions: text, CSV and JSON. What is wrong in one is the user's to mend: UsageError."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from cvbench.core.errors import UsageError


def load_text(file: Path) -> str:
    """Read a text file. Raises UsageError for one that cannot be read, is not in UTF-8 or holds a NUL."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{file} is no UTF-8 text: byte {error.object[error.start]:#04x} in line {line}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise UsageError(f"{file} holds NUL characters, as binary files do; save it as UTF-8 text")
    return text


def load_csv(file: Path, *columns: str) -> list[dict[str, str]]:
    """Read a CSV with a head; what a short row lacks is "". Raises UsageError when a column is missing."""
    rows = csv.DictReader(io.StringIO(load_text(file), newline=""), restval="")
    try:
        missing = [column for column in columns if column not in (rows.fieldnames or ())]
        if missing:
            raise UsageError(f"{file} has no column {', '.join(missing)}; it must have {', '.join(columns)}")
        return list(rows)
    except csv.Error as error:
        place = f"after line {rows.line_num}"
        raise UsageError(f"{file} is no CSV, {place}: {error}; mend or remove what follows") from error


def load_json(file: Path) -> Mapping[str, Any]:
    """Read a JSON object; anything else that is JSON is an empty one. Raises UsageError for what is no JSON."""
    try:
        found = json.loads(load_text(file))
    except RecursionError as error:
        raise UsageError(f"{file} is no JSON that can be read: it is nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def records(file: Path, table: Mapping[str, Any], key: str) -> Iterator["Record"]:
    """Yield the objects in the list `key` of a JSON file. Raises UsageError for a list or row that is none."""
    rows = table.get(key, [])
    if not isinstance(rows, list):
        raise UsageError(f"{file}: {key} is {kind(rows)}; it must be a list of objects")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UsageError(f"{file}: {key}[{index}] is {kind(row)}; it must be an object")
        yield Record(f"{file}: {key}[{index}]", row)


class Record:
    """One object of a JSON list; `place` says which."""

    def __init__(self, place: str, fields: Mapping[str, Any]) -> None:
        self.place = place
        self.fields = fields

    def text(self, field: str) -> str:
        """Return a text, or a number as text. Raises UsageError."""
        value = self.fields.get(field)
        if isinstance(value, str) or is_whole(value):
            return str(value)
        raise UsageError(f"{self.place}: {field} is {kind(value)}; it must be text")

    def number(self, field: str) -> int:
        """Return a whole number, or one written as text. Raises UsageError."""
        value = self.fields.get(field)
        if is_whole(value):
            return int(value)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            return int(value)
        raise UsageError(f"{self.place}: {field} is {kind(value)}; it must be a whole number")


def is_whole(value: object) -> TypeGuard[int]:
    """Tell a number without a fraction; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def kind(value: object) -> str:
    """Say in JSON's words what a value is."""
    if value is None:
        return "missing or null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    shown = f" ({str(value)[:40]!r})" if isinstance(value, (str, int, float)) else ""
    return names.get(type(value), type(value).__name__) + shown
