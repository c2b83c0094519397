"""The models by name, and how a name becomes a model."""

import importlib
import re
from typing import Any

from cvbench.core.errors import UnknownName, UsageError
from cvbench.models.beyond_entries import BEYOND
from cvbench.models.builtin import BUILTIN
from cvbench.models.entry import ModelEntry, Option
from cvbench.models.interp_entries import INTERPOLATION, at_factor
from cvbench.models.own import is_own
from cvbench.models.paper import PAPER
from cvbench.models.tiny_entries import TINY
from cvbench.models.zoo import ZOO

__all__ = ["MODELS", "find", "is_own", "parse", "resolve"]

MODELS: dict[str, ModelEntry] = {**BUILTIN, **TINY, **PAPER, **ZOO, **BEYOND, **INTERPOLATION}
TIMES = re.compile(r"\d+x")


def parse(spec: str) -> tuple[str, ModelEntry, dict[str, Option]]:
    """Split `NAME@OPTION=VALUE,...` into name, entry and options; `rife@4x` is short for `rife@factor=4`.

    Raises UnknownName for an unknown model or option, UsageError for a value of the wrong kind.
    """
    name, _, tail = spec.partition("@")
    entry = find(name)
    options = dict(entry.options)
    for pair in filter(None, tail.split(",")):
        key, _, text = pair.partition("=")
        if "factor" in options and TIMES.fullmatch(pair):
            key, text = "factor", pair[:-1]
        if key not in options:
            raise UnknownName(f"option of {name}", key, options or {"(it has none)": 0})
        options[key] = _option(name, key, text, type(options[key]))
    if name in INTERPOLATION:
        return name, at_factor(name, int(options["factor"])), options
    return name, entry, options


def find(name: str) -> ModelEntry:
    """Return the entry of a model by its name, or by hf:OWNER/REPO[/FOLDER] where it lies on the hub."""
    if name.startswith("hf:"):
        from cvbench.models.hub import hub_entry

        return hub_entry(name)
    if name not in MODELS:
        raise UnknownName("model", name, MODELS)
    return MODELS[name]


def _option(name: str, key: str, text: str, kind: type) -> Option:
    try:
        value: Option = kind(text)
    except ValueError as error:
        raise UsageError(f"{name}@{key}={text}: {key} takes {kind.__name__}, for example {name}@{key}=1") from error
    return value


def resolve(target: str) -> Any:
    """Import `module:attribute`."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
