"""Where a user's data and weights lie: options, then `cvbench.toml`, then the environment."""

import contextlib
import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvbench.core.errors import UnknownName, UsageError

FILE = "cvbench.toml"
TABLES = {"data": "folder of a data set", "weights": "weights of a model"}
OPTIONS = ("defaults", "profiles")
"""Tables of options: those of every call, and by name those of calls with --profile."""
HOLDS = "it may hold the tables [data], [weights], [defaults] and [profiles.NAME]"
ON_THE_HUB = "hf:"
"""Before names that no registry holds: models by their place on the hub."""


@dataclass(frozen=True)
class Settings:
    """Options of commands, as TOML holds them: those of every call, and of profiles by name."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """Folders of data sets and paths of weights, by name."""

    data: Mapping[str, Path] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)


def load_config(folder: Path, known_data: Collection[str], known_weights: Collection[str] | None = None) -> Config:
    """Read `cvbench.toml` in `folder` and the folder CVBENCH_DATA (its subfolders named like data sets).

    `known_weights` are the names that [weights] may hold, all where it is None. Raises UsageError, naming file and
    field, for a file that is no TOML or has tables or values of another kind, and where CVBENCH_DATA or
    CVBENCH_WEIGHTS names no folder; UnknownName for a name that is none.
    """
    file = folder / FILE
    tables = _read(file)
    check_names(tables["data"], known_data, f"data set ([data] in {file})")
    if known_weights is not None:
        check_names(tables["weights"], known_weights, f"model or metric with weights ([weights] in {file})")
    root = folder_named_by("CVBENCH_DATA")
    folder_named_by("CVBENCH_WEIGHTS")
    found = {name: root / name for name in known_data if root and (root / name).is_dir()}
    return Config({**found, **tables["data"]}, tables["weights"])


def settings_in(folder: Path) -> Settings:
    """Read the options in `folder`'s `cvbench.toml`. Raises UsageError for a file that is no TOML, or other tables."""
    file = folder / FILE
    tables = _known(file)
    defaults, profiles = (_table(file, name, tables.get(name, {})) for name in OPTIONS)
    return Settings(defaults, {name: _table(file, f"profiles.{name}", table) for name, table in profiles.items()})


def check_names(names: Iterable[str], known: Collection[str], kind: str) -> None:
    """Raise UnknownName for the first name that is not `known`; a place on the hub stands in no registry.

    `kind` says what is named, and where, for the message.
    """
    for name in names:
        if name not in known and not place_on_hub(name):
            raise UnknownName(kind, name, known)


def place_on_hub(name: str) -> tuple[str, ...]:
    """Return owner, repository and folders of hf:OWNER/REPO[/FOLDER], nothing for a name of another form.

    No part is empty or leads elsewhere (. and ..), and all are printable.
    """
    parts = tuple(name.removeprefix(ON_THE_HUB).split("/"))
    sound = name.startswith(ON_THE_HUB) and len(parts) > 1 and all(map(_is_part, parts))
    return parts if sound else ()


def _is_part(text: str) -> bool:
    return text not in ("", ".", "..") and text.isprintable() and text == text.strip() and "\\" not in text


def folder_named_by(variable: str) -> Path | None:
    """Return the folder that an environment variable names, None where it is not set or empty.

    Raises UsageError when there is no such folder.
    """
    text = os.environ.get(variable)
    if not text:
        return None
    folder = _as_path(text, variable)
    if not folder.is_dir():
        raise UsageError(f"{variable} is {text!r}, and there is no such folder; make it, or unset {variable}")
    return folder


def _read(file: Path) -> dict[str, dict[str, Path]]:
    tables = _known(file)
    return {table: _paths(file, table, tables.get(table, {})) for table in TABLES}


def _known(file: Path) -> dict[str, Any]:
    tables = _parsed(file)
    unknown = [repr(key[:80]) for key in tables if key not in (*TABLES, *OPTIONS)]
    if unknown:
        raise UsageError(f"{file}: unknown {', '.join(unknown[:8])}; {HOLDS}")
    return tables


def _table(file: Path, name: str, values: object) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UsageError(f"{file}: {name} must be a table, [{name}] with lines OPTION = VALUE; got {_kind(values)}")
    return values


def _parsed(file: Path) -> dict[str, Any]:
    if not os.path.lexists(file):
        return {}
    if not file.is_file():
        raise UsageError(f"{file} is no file; move it away, or put a file there: {HOLDS}")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise UsageError(f"{file} is nested too deeply; {HOLDS}") from error
    except ValueError as error:  # of TOML, of UTF-8, of a number with thousands of digits
        raise UsageError(f"{file} is no TOML: {error}") from error


def _paths(file: Path, table: str, values: object) -> dict[str, Path]:
    if not isinstance(values, dict):
        raise UsageError(f'{file}: {table} must be a table, [{table}] with lines NAME = "PATH"; got {_kind(values)}')
    return {name: _located(file, table, name, value) for name, value in values.items()}


def _located(file: Path, table: str, name: str, value: object) -> Path:
    field = f"{file}: [{table}] {name!r}"
    if not isinstance(value, str) or not value:
        raise UsageError(f"{field} must be a path in quotes (the {TABLES[table]}), got {_kind(value)}")
    return file.parent.resolve() / _as_path(value, field)


def _as_path(text: str, field: str) -> Path:
    """Read a path, `~` included. Raises UsageError for what can be none; a path to nothing is one."""
    try:
        path = Path(text).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()
        return path
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{field} is no path: {text[:80]!r} ({reason})") from error


def _kind(value: object) -> str:
    return "nothing" if value == "" else f"a {type(value).__name__}"


def pairs(option: str, values: Iterable[str], known: Collection[str] | None = None) -> dict[str, Path]:
    """Read NAME=PATH options; `known` are the names there are, any where it is None.

    Raises UsageError for anything else, UnknownName for another name.
    """
    result = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise UsageError(f"{option} takes NAME=PATH, got {value!r}")
        result[name] = _as_path(path, f"{option} {name}")
    if known is not None:
        check_names(result, known, f"model or metric with weights ({option})")
    return result
