"""How models are named: labels, options, lists, patterns and families. No torch."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.text import check_name
from cvbench.models.entry import ModelEntry

LABEL = re.compile(r"([^@:/\\=]*[^@:/\\=\s])=(.+)", re.DOTALL)
OWN = re.compile(r"(?P<place>.+?\.py|[^\W\d][\w.]*):(?P<factory>[^\W\d]\w*)(?:@(?P<options>.*))?", re.DOTALL)
"""FILE.py:FACTORY or package.module:FACTORY, with arguments of the factory."""
PATTERN = re.compile(r"[*?\[]")
ROLES = {"codecs": "codec", "floors": "floor", "networks": "network"}
WORDS = {"true": True, "false": False, "none": None}


def labelled(spec: str) -> tuple[str, str]:
    """Split LABEL=SPEC into the two; the label is "" where there is none. Raises UsageError for control characters."""
    found = LABEL.fullmatch(spec)
    if not found or _is_there(spec):
        return "", spec
    check_name(found[1])
    return found[1], found[2]


def called(spec: str) -> str:
    """Return what a model is called in records and tables: its label, or all that was typed."""
    return labelled(spec)[0] or spec


def is_own(spec: str) -> bool:
    """Tell whether `spec` names a user's own model: path/to/file.py:factory or package.module:factory."""
    found = OWN.fullmatch(spec)
    return bool(found) and spec.partition(":")[0] != "hf"


def arguments(spec: str, text: str | None) -> dict[str, Any]:
    """Read `KEY=VALUE,...`: numbers, true, false and none as such, anything else as text.

    Raises UsageError, naming `spec`, for another form and for a key that is given twice.
    """
    values: dict[str, Any] = {}
    for pair in text.split(",") if text is not None else ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{spec}: {pair!r} is no argument; say FILE.py:FACTORY@KEY=VALUE,KEY=VALUE")
        if key in values:
            raise UsageError(f"{spec}: {key} is said twice")
        values[key] = _value(value)
    return values


def _value(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return read if isinstance(read, int | float | str) else text


def split(texts: Iterable[str], entries: Mapping[str, ModelEntry]) -> list[str]:
    """Split lists of models, repeated or with commas.

    KEY=VALUE after a comma belongs to the model before it where that has options and VALUE is no model: a name, a
    factory, a folder with a config.json, or what has options of its own. Options of the registry go by their names.
    What is there as a file or folder is not split.
    """
    return [spec for text in texts for spec in ([text] if _is_there(text) else _split(text, entries))]


def _split(text: str, entries: Mapping[str, ModelEntry]) -> list[str]:
    parts: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        if parts and _is_option(part, labelled(parts[-1])[1], entries):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _is_option(part: str, before: str, entries: Mapping[str, ModelEntry]) -> bool:
    key, equals, value = part.partition("=")
    if not equals or "@" not in before:
        return False
    entry = entries.get(before.partition("@")[0])
    if entry and key in entry.options:
        return True
    is_model = "@" in part or is_own(value) or value.startswith("hf:") or value in entries
    return not is_model and not _is_there(f"{value}/config.json")


def expanded(names: Iterable[str], entries: Mapping[str, ModelEntry]) -> tuple[str, ...]:
    """Replace `all`, patterns (`taew*`) and families by the names they stand for; each name once.

    Families: codecs, floors, networks, builtin (which need no download), and compression as 4x8x8. Raises UnknownName
    for a pattern that matches nothing.
    """
    return tuple(dict.fromkeys(name for given in names for name in _meant(given, entries)))


def _meant(name: str, entries: Mapping[str, ModelEntry]) -> Iterator[str]:
    if name in entries or _is_there(name):
        yield name
    elif PATTERN.search(name) and not is_own(name) and "=" not in name and "/" not in name:
        matching = [known for known in entries if fnmatchcase(known, name)]
        if not matching:
            raise UnknownName("model", name, entries)
        yield from matching
    else:
        yield from [known for known, entry in entries.items() if name in families(entry)] or [name]


def families(entry: ModelEntry) -> list[str]:
    """Return the families that a model belongs to."""
    traits = entry.traits
    own = [family for family, role in ROLES.items() if role == entry.role]
    compression = f"{traits.temporal}x{traits.spatial}x{traits.spatial}"
    here = entry.source is None or entry.source.bundled
    return ["all", *own, *(["builtin"] if here else []), *([] if entry.role == "codec" else [compression])]


def _is_there(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
