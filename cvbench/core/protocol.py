"""The protocols by name, one TOML each in `benchmarks/protocols/`, and a user's own by path."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.fields import EvalProtocol, Stage, as_text, derive, jsonable, settable
from cvbench.core.suites import folder

__all__ = [
    "PROTOCOLS", "EvalProtocol", "Origin", "Stage", "as_text", "derive", "jsonable", "origin", "protocol", "settable",
]  # fmt: skip

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Where a protocol comes from: whose it is, repository, commit and files, and the data that it is meant for.

    `doc` is what only a paper or a README says, `open` what is not known, `faults` what its script does that nobody
    meant, `beyond` what of it no field expresses.
    """

    about: str
    repository: str = ""
    commit: str = ""
    files: Texts = ()
    data: str = ""
    doc: Texts = ()
    open: Texts = ()
    faults: Texts = ()
    beyond: Texts = ()


def _read(path: Path) -> tuple[EvalProtocol, Origin]:
    """Read a protocol's file. Raises UsageError naming the file and what is wrong in it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return _made(raw, path.stem), _origin(raw)
    except OSError as error:
        raise UsageError(f"the protocol {path} cannot be read: {error.strerror or error}") from error
    except (UsageError, tomllib.TOMLDecodeError, UnicodeError) as error:
        raise UsageError(f"{path} is no protocol: {error}") from error


def _made(raw: Mapping[str, Any], name: str) -> EvalProtocol:
    changes = raw.get("fields", {})
    if not isinstance(changes, dict):
        raise UsageError("`fields` is a table")
    base = raw.get("base")
    if base is not None and base not in PROTOCOLS:
        raise UnknownName("protocol (`base`)", str(base), PROTOCOLS)
    start = PROTOCOLS[base] if base else EvalProtocol("", 1)
    head = {"name": raw.get("name", name), "version": raw.get("version", 1)}
    return EvalProtocol.from_dict({**start.as_dict(), **changes, **head})


def _origin(raw: Mapping[str, Any]) -> Origin:
    known = [f.name for f in fields(Origin)]
    if unknown := [key for key in raw if key not in known and key not in ("name", "version", "base", "fields")]:
        hint = "; fields of the protocol stand in a table [fields]" if hasattr(EvalProtocol("", 1), unknown[0]) else ""
        raise UsageError(f"a protocol's file has no {', '.join(map(repr, unknown))}{hint}")
    try:
        return msgspec.convert({"about": "", **{key: raw[key] for key in known if key in raw}}, Origin)
    except msgspec.ValidationError as error:
        raise UsageError(str(error)) from error


ORIGINS: dict[str, Origin] = {}
PROTOCOLS: dict[str, EvalProtocol] = {
    "cvvae-2405": EvalProtocol("cvvae-2405", 1),
    "cvbench-1": EvalProtocol("cvbench-1", 1, frames=17, stride=1),
    "cvbench-gen-1": EvalProtocol("cvbench-gen-1", 1, frames=16, stride=1, size=None),
}
"""Ours, and those of other projects from their files."""

for _path in sorted((folder() / "protocols").glob("*.toml")):
    PROTOCOLS[_path.stem], ORIGINS[_path.stem] = _read(_path)


def protocol(name: str, changes: Iterable[str] = ()) -> EvalProtocol:
    """Return the protocol called `name`, or in the file `name` ending in .toml, with `FIELD=VALUE` changes applied.

    A name may hold changes itself, as derived ones do: cvvae-2405+size=128+stride=1. Raises UnknownName for an unknown
    protocol or field, UsageError for a value the field cannot take and for a file that holds no protocol.
    """
    if name.endswith(".toml"):
        return derive(_from_file(Path(name)), changes)
    name, *own = name.split("+") if "=" in name else [name]
    changes = [*own, *changes]
    if name not in PROTOCOLS:
        raise UnknownName("protocol", name, PROTOCOLS)
    return derive(PROTOCOLS[name], changes)


@cache
def _from_file(path: Path) -> EvalProtocol:
    return _read(path)[0]


def origin(name: str) -> Origin | None:
    """Return where a named protocol comes from, None for a user's own."""
    return ORIGINS.get(name)
