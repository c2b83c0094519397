"""Arrays by name as bytes, and back. Plain numbers and texts only."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

Rows = Mapping[str, np.ndarray]
LONG = 48
"""Letters from which a text is kept once for all rows that hold it: what ran, say."""


class Damaged(ValueError):
    """Content that is none of ours, or refers to a text that is lost."""


def pack_rows(rows: Rows, keep: Callable[[str], bytes]) -> bytes:
    """Return arrays as bytes; `keep` takes a long text and returns what it is found by.

    Raises ValueError for arrays of objects.
    """
    arrays = {name: np.asarray(row) for name, row in rows.items()}
    if any(array.dtype.hasobject for array in arrays.values()):
        raise ValueError("Object arrays cannot be kept: plain numbers and texts only")
    told = {name: _told(array, keep) for name, array in arrays.items()}
    head = msgspec.msgpack.encode(told)
    blobs = (array.tobytes() for name, array in arrays.items() if isinstance(told[name], list))
    return b"".join((len(head).to_bytes(4, "little"), head, *blobs))


def unpack_rows(content: bytes, text: Callable[[bytes], str | None]) -> dict[str, np.ndarray]:
    """Return the arrays in what `pack_rows` gave; `text` finds long texts. Raises Damaged."""
    rows, at = {}, 4 + int.from_bytes(content[:4], "little")
    try:
        told: dict[str, Any] = msgspec.msgpack.decode(content[4:at], type=dict[str, Any])
        for name, what in told.items():
            if not isinstance(what, list):
                rows[name] = np.array(_text(what, text))
                continue
            dtype, shape = np.dtype(what[0]), tuple(what[1])
            count = math.prod(shape)
            rows[name] = (
                np.frombuffer(content, dtype, count, at).reshape(shape).copy() if count else np.empty(shape, dtype)
            )
            at += count * dtype.itemsize
    except (msgspec.MsgspecError, ValueError, TypeError, IndexError) as error:
        raise Damaged(str(error)) from error
    return rows


def _told(array: np.ndarray, keep: Callable[[str], bytes]) -> Any:
    """Tell a text as it is or by what it is found by, any other array by type and shape."""
    if array.dtype.kind != "U" or array.ndim:
        return [array.dtype.str, array.shape]
    text = str(array)
    if not _is_utf8(text):
        return [array.dtype.str, array.shape]
    return keep(text) if len(text) > LONG else text


def _is_utf8(text: str) -> bool:
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def _text(what: Any, text: Callable[[bytes], str | None]) -> str:
    found = text(what) if isinstance(what, bytes) else what
    if not isinstance(found, str):
        raise Damaged("a text that its rows name is lost")
    return found
