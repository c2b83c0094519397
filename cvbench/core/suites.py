"""Suites: what a run does when it is not told otherwise, one TOML each in `benchmarks/`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cvbench.core.errors import UnknownName


@dataclass(frozen=True)
class Suite:
    """Models, data sets (with what stands in when none is configured), metrics and protocol.

    `where_found` are metrics that join where their weights are on the machine: what a suite does by default needs no
    download. `task` is what is done with the models: each reconstructs by itself, or they decode each other's latents.
    """

    name: str
    about: str
    models: tuple[str, ...]
    data: tuple[str, ...]
    fallback: tuple[str, ...]
    metrics: tuple[str, ...]
    protocol: str
    speed: bool
    where_found: tuple[str, ...] = ()
    task: Literal["reconstruct", "compat"] = "reconstruct"


def folder() -> Path:
    """Return the folder of the benchmark files: inside the package when installed, beside it in a checkout."""
    here = Path(__file__).parents[1]
    packaged = here / "benchmarks"
    return packaged if packaged.is_dir() else here.parent / "benchmarks"


def suite_names() -> list[str]:
    """Return the names of all suites."""
    return sorted(path.stem.removeprefix("suite-") for path in folder().glob("suite-*.toml"))


def load_suite(name: str) -> Suite:
    """Read a suite. Raises UnknownName."""
    if name not in suite_names():
        raise UnknownName("suite", name, suite_names())
    raw = tomllib.loads((folder() / f"suite-{name}.toml").read_text(encoding="utf-8"))
    lists = {key: tuple(raw[key]) for key in ("models", "data", "fallback", "metrics")}
    lists["where_found"] = tuple(raw.get("where_found", ()))
    task = raw.get("task", Suite.task)
    return Suite(name=name, about=raw["about"], protocol=raw["protocol"], speed=raw["speed"], task=task, **lists)
