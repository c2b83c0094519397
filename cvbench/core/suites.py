"""Suites: what a run does when it is not told otherwise, one TOML each in `benchmarks/`."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import msgspec

from cvbench.core.errors import UnknownName, UsageError

Task = Literal["reconstruct", "compat", "drop-in", "generate", "health"]
TASKS: tuple[str, ...] = get_args(Task)


@dataclass(frozen=True)
class Suite:
    """Models, data sets (with what stands in when none is configured), metrics and protocol.

    `where_found` are metrics that join where their weights are on the machine: what a suite does by default needs no
    download. `task` is what is done with the models: each reconstructs by itself, they decode each
    other's latents, or those of the first (drop-in), or those of generators, which the suite `makes` pictures or videos
    with (t2i, i2v, t2v), or they are examined. A suite of generators that names no `protocol` leaves it to each
    generator ("").
    """

    name: str
    models: tuple[str, ...]
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    about: str = ""
    fallback: tuple[str, ...] = ()
    protocol: str = "cvbench-1"
    speed: bool = False
    where_found: tuple[str, ...] = ()
    task: Task = "reconstruct"
    makes: str = ""


def folder() -> Path:
    """Return the folder of the benchmark files: inside the package when installed, beside it in a checkout."""
    here = Path(__file__).parents[1]
    packaged = here / "benchmarks"
    return packaged if packaged.is_dir() else here.parent / "benchmarks"


def suite_names() -> list[str]:
    """Return the names of all suites."""
    return sorted(path.stem.removeprefix("suite-") for path in folder().glob("suite-*.toml"))


def load_suite(name: str) -> Suite:
    """Read a suite: one of the benchmark files by its name, or a user's own by the path of its TOML.

    Raises UnknownName for another name, UsageError naming file and field for what is no suite.
    """
    if name.endswith(".toml"):
        return read_suite(Path(name))
    if name not in suite_names():
        raise UnknownName("suite", name, suite_names())
    return read_suite(folder() / f"suite-{name}.toml", name)


def read_suite(path: Path, name: str = "") -> Suite:
    """Read the suite in a file, called as the file where it has no `name`. Raises UsageError."""
    try:
        raw = {"name": name or path.stem, **tomllib.loads(path.read_text(encoding="utf-8"))}
        known = [field.name for field in fields(Suite)]
        if unknown := [key for key in raw if key not in known]:
            raise UsageError(f"unknown {', '.join(map(repr, unknown))}; a suite holds {', '.join(known)}")
        if raw.get("task", TASKS[0]) not in TASKS:
            raise UsageError(f"`task` is one of {', '.join(TASKS)}, not {raw['task']!r}")
        own = {"protocol": ""} if raw.get("task") == "generate" else {}
        return msgspec.convert({**own, **raw}, Suite)
    except OSError as error:
        raise UsageError(f"there is no suite {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError, msgspec.ValidationError, UsageError) as error:
        raise UsageError(f"{path} is no suite: {error}") from error
