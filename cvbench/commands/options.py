"""How options are read that several commands have."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvbench.core.config import load_config, pairs
from cvbench.core.errors import Unwritable, UsageError
from cvbench.data import DATASETS
from cvbench.probes import known_weights


def split(texts: Iterable[str]) -> tuple[str, ...]:
    """Split comma-separated lists, repeated or not; a comma before OPTION=VALUE belongs to the model before it."""
    return tuple(dict.fromkeys(name for text in texts for name in _names(text)))


def _names(text: str) -> list[str]:
    parts: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        if parts and "@" in parts[-1] and "=" in part and "@" not in part:
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def named(option: str, texts: Sequence[str], default: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names given with an option, `default` when it was not given. Raises UsageError for no name at all."""
    names = split(texts)
    if texts and not names:
        raise UsageError(f"{option} names nothing; leave it out for the default")
    return names or tuple(default)


def data_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Split lists of data sets, repeated or with commas; a comma in the name of what is there splits nothing."""
    names = (name.strip() for text in texts for name in ([text] if _is_there(text) else text.split(",")))
    return tuple(dict.fromkeys(filter(None, names)))


def _is_there(spec: str) -> bool:
    return any(Path(text).expanduser().exists() for text in (spec, spec.partition("=")[2]) if text)


def batch_size(text: str) -> int:
    """Read --batch: auto is 0."""
    if text == "auto":
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < 1:
        raise UsageError(f"--batch takes auto or a positive number, got {text!r}")
    return int(text)


def existing(names: Sequence[str]) -> list[Path]:
    """Return paths. Raises UsageError for one that is not there."""
    for name in names:
        if not Path(name).exists():
            raise UsageError(f"there is no file or folder {name}")
    return [Path(name) for name in names]


def changes_of(given: Mapping[str, Any]) -> list[str]:
    """Return what --set, --dtype and --seed change. Raises UsageError for a field that is given two values."""
    typed = [f"{name}={given[name]}" for name in ("dtype", "seed") if given.get(name) is not None]
    return _once("--set", [*given["changes"], *typed])


def weights_of(texts: Iterable[str]) -> dict[str, Path]:
    """Read --weights NAME=PATH. Raises UsageError for a name that is given two paths."""
    return pairs("--weights", _once("--weights", texts), known_weights())


def _once(option: str, texts: Iterable[str]) -> list[str]:
    """Return NAME=VALUE texts. Raises UsageError where one would silently win over another."""
    values: dict[str, str] = {}
    given = list(texts)
    for name, _, value in (text.partition("=") for text in given):
        if values.setdefault(name, value) != value:
            raise UsageError(f"{option}: {name} is both {values[name]} and {value}; give it once")
    return given


def check_folder(folder: Path) -> None:
    """Raise Unwritable for a folder that cannot be made or written to, before hours of work are to go there."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:  # a name too long, or a folder that may not be looked into
        raise Unwritable(f"{error.strerror}: {folder}; name another place to write to") from error
    if not there.is_dir():
        raise Unwritable(f"Not a directory: {there}; name another place to write to")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Unwritable(f"Permission denied: {there}; name another place to write to")


def configured_weights() -> Mapping[str, Path]:
    """Return the paths of weights that cvbench.toml names."""
    return load_config(Path.cwd(), DATASETS, known_weights()).weights
