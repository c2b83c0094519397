"""Defaults of options from `cvbench.toml`: [defaults] always, [profiles.NAME] with --profile NAME."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from cvbench.commands import COMMANDS
from cvbench.core.config import FILE, check_names, settings_in
from cvbench.core.errors import UnknownName, UsageError

MAIN = "run"
"""The command whose options stand in a table itself; those of others stand in a table of their name within."""


def with_profile(command: click.Command, path: tuple[str, ...]) -> click.Command:
    """Give a command, and those within a group, the option --profile and the defaults of `cvbench.toml`."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            with_profile(inner, (*path, name))
    elif not any(option.name == "profile" for option in command.params):
        command.params.append(_option(path))
    return command


def _option(path: tuple[str, ...]) -> click.Option:
    def take(context: click.Context, _: click.Parameter, profile: str | None) -> None:
        context.default_map = dict(defaults(context.command, path, profile, Path.cwd()))

    return click.Option(
        ["--profile"], metavar="NAME", is_eager=True, expose_value=False, callback=take,
        help=f"Defaults of options from [profiles.NAME] in {FILE}.",
    )  # fmt: skip


def defaults(command: click.Command, path: tuple[str, ...], profile: str | None, folder: Path) -> Mapping[str, Any]:
    """Return the defaults of a command's options by the names of its parameters, the profile's before the others.

    Raises UsageError, naming file and table, for what is no option or no value of it, UnknownName for a profile that
    is not there.
    """
    settings = settings_in(folder)
    if profile is not None and profile not in settings.profiles:
        raise UnknownName(f"profile in {folder / FILE}", profile, list(settings.profiles) or ["(it has none)"])
    tables = {"defaults": settings.defaults}
    if profile is not None:
        tables[f"profiles.{profile}"] = settings.profiles[profile]
    found: dict[str, Any] = {}
    for title, table in tables.items():
        check_names((name for name, value in table.items() if isinstance(value, Mapping)), COMMANDS, _within(title))
        found |= _read(command, _table_of(table, path, f"{folder / FILE}: [{title}"))
    return found


def _within(title: str) -> str:
    return f"command (a table within [{title}] of {FILE})"


def _table_of(table: Mapping[str, Any], path: tuple[str, ...], where: str) -> "Options":
    """Return the options of a command: those of MAIN stand in the table, others in one of their name."""
    if path == (MAIN,):
        own = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
        return Options(own, f"{where}]").over(_inner(table, path, where))
    return _inner(table, path, where)


def _inner(table: Mapping[str, Any], path: Iterable[str], where: str) -> "Options":
    for name in path:
        table, where = table.get(name, {}), f"{where}.{name}"
        if not isinstance(table, Mapping):
            raise UsageError(f"{where}] must be a table of options, got {table!r}")
    return Options(dict(table), f"{where}]")


class Options:
    """Options as a table has them, and where it stands."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = {name: (value, where) for name, value in values.items()}, where

    def over(self, other: "Options") -> "Options":
        """Return these with the other's over them."""
        self.values |= other.values
        return self


def _read(command: click.Command, options: Options) -> dict[str, Any]:
    known = {name: option for option in _options(command) for name in _names(option)}
    found = {}
    for name, (value, where) in options.values.items():
        key = name.replace("_", "-")
        if key not in known:
            raise UnknownName(f"option of {command.name} ({where})", name, known)
        found[str(known[key].name)] = _value(known[key], value, f"{where} {name}")
    return found


def _options(command: click.Command) -> list[click.Option]:
    return [option for option in command.params if isinstance(option, click.Option) and option.name != "profile"]


def _names(option: click.Option) -> list[str]:
    return [text.removeprefix("--") for text in option.opts if text.startswith("--")]


def _value(option: click.Option, value: Any, where: str) -> Any:
    """Return a value as click takes defaults. Raises UsageError for one that the option would not take."""
    if isinstance(value, Mapping) or (isinstance(value, list) and not option.multiple):
        raise UsageError(f"{where}: takes one value, got {value!r}")
    if option.is_flag and not isinstance(value, bool):
        raise UsageError(f"{where}: is true or false, got {value!r}")
    if not option.is_flag and isinstance(value, bool):
        raise UsageError(f"{where}: takes a value, got {str(value).lower()}")
    given = value if isinstance(value, list) else [value]
    texts = [each if option.is_flag else str(each) for each in given]
    try:
        for text in texts:
            option.type.convert(text, option, None)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from error
    return texts if option.multiple else texts[0]
