"""Where a user's data and weights lie: options, then `cvbench.toml`, then the environment."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cvbench.core.errors import UsageError

TABLES = {"data": "folder of a data set", "weights": "weights of a model"}


@dataclass(frozen=True)
class Config:
    """Folders of data sets and paths of weights, by name."""

    data: Mapping[str, Path] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)


def load_config(folder: Path, known_data: Iterable[str]) -> Config:
    """Read `cvbench.toml` in `folder` and the folder CVBENCH_DATA (its subfolders named like data sets).

    Raises UsageError for a file that is no TOML or has tables or values of another kind.
    """
    tables = _read(folder / "cvbench.toml")
    root = os.environ.get("CVBENCH_DATA")
    found = {name: Path(root) / name for name in known_data if root and (Path(root) / name).is_dir()}
    return Config({**found, **tables["data"]}, tables["weights"])


def _read(file: Path) -> dict[str, dict[str, Path]]:
    raw = {}
    if file.is_file():
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} is no TOML: {error}") from error
    unknown = [key for key in raw if key not in TABLES]
    if unknown:
        raise UsageError(f"{file}: unknown {', '.join(unknown)}; it may hold the tables [data] and [weights]")
    return {table: {k: _path(file, table, k, v) for k, v in raw.get(table, {}).items()} for table in TABLES}


def _path(file: Path, table: str, key: str, value: object) -> Path:
    if not isinstance(value, str):
        raise UsageError(f"{file}: [{table}] {key} must be a path (the {TABLES[table]}), got {value!r}")
    return (file.parent / Path(value).expanduser()).resolve()


def pairs(option: str, values: Iterable[str]) -> dict[str, Path]:
    """Read NAME=PATH options. Raises UsageError for anything else."""
    result = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise UsageError(f"{option} takes NAME=PATH, got {value!r}")
        result[name] = Path(path).expanduser()
    return result
