"""The fields of a TOML file by their types; what is wrong is named with the file and the field."""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cvbench.core.errors import UsageError

T = TypeVar("T")
NEEDED: Any = object()
KINDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}


def read_toml(path: Path) -> "Fields":
    """Read a TOML file, numbers with all their digits. Raises UsageError for one that cannot be read."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)  # keeps the digits: 0.810
    except RecursionError as error:
        raise UsageError(f"{path} cannot be read: it is nested too deeply") from error
    except (OSError, ValueError, ArithmeticError) as error:  # not there, no text, no TOML, a number beyond all use
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return Fields(raw, str(path), "")


class Fields:
    """A table of the file: `place` says where it stands, "" for the whole."""

    def __init__(self, raw: Mapping[str, Any], file: str, place: str) -> None:
        self.raw, self.file, self.place = raw, file, place

    def refuse(self, what: str, key: str = "") -> NoReturn:
        """Raise UsageError about a field, or the table itself."""
        where = ".".join(filter(None, (self.place, key)))
        raise UsageError(
            f"{self.file} is no table: {f'{where}: ' if where else ''}{what}; see the files of `benchmarks/`"
        )

    def only(self, *known: str) -> None:
        """Raise UsageError for a field that is none of `known`."""
        for key in self.raw:
            if key not in known:
                self.unknown("field", key, known)

    def unknown(self, kind: str, name: str, known: Collection[str], key: str = "") -> NoReturn:
        """Raise UsageError for a name that is none of `known`."""
        nearest = get_close_matches(name, known) or sorted(known)
        self.refuse(f"no {kind} is called {name!r}; try {', '.join(nearest)}", key)

    def get(self, key: str, kind: type[T], default: T = NEEDED) -> T:
        """Return a field of a type, `default` where it is not there. Raises UsageError."""
        if key not in self.raw:
            return self.refuse(f"no {key!r}") if default is NEEDED else default
        value = self.raw[key]
        if type(value) is not kind:
            self.refuse(f"must be {KINDS[kind]}, got {shortened(value)}", key)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, none where it is not there."""
        values: list[Any] = self.get(key, list, [])
        for number, value in enumerate(values):
            if not isinstance(value, str):
                self.refuse(f"must be a text, got {shortened(value)}", f"{key}[{number}]")
        return tuple(values)

    def numbers(self, key: str) -> tuple[Decimal | int, ...]:
        """Return a list of finite numbers, none where it is not there."""
        values: list[Any] = self.get(key, list, [])
        for number, value in enumerate(values):
            if type(value) not in (int, Decimal) or not Decimal(value).is_finite():
                self.refuse(f"must be a number, got {shortened(value)}", f"{key}[{number}]")
        return tuple(values)

    def table(self, key: str) -> "Fields":
        """Return a table within this one, an empty one where it is not there."""
        return Fields(self.get(key, dict, {}), self.file, ".".join(filter(None, (self.place, key))))

    def tables(self, key: str) -> Iterator["Fields"]:
        """Yield the tables of a list."""
        for number, value in enumerate(self.get(key, list)):
            place = f"{'.'.join(filter(None, (self.place, key)))}[{number}]"
            if not isinstance(value, dict):
                Fields({}, self.file, place).refuse(f"must be a table, got {shortened(value)}")
            yield Fields(value, self.file, place)


def shortened(value: object) -> str:
    """Return a value as a message shows it."""
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        shown = type(value).__name__
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
