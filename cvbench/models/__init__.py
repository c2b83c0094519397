"""The models by name, and how a name becomes a model.

Entries stand in files without torch, their adapters in others: lists, tables and `--help` read all entries.
"""

import importlib
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cvbench.core.errors import UnknownName, UsageError
from cvbench.models.beyond_entries import BEYOND
from cvbench.models.builtin import BUILTIN
from cvbench.models.decoder_entries import DECODERS
from cvbench.models.entry import Loading, ModelEntry, Option
from cvbench.models.interp_entries import INTERPOLATION, at_factor
from cvbench.models.local import LIKE, is_local, local_entry
from cvbench.models.naming import called, is_own, labelled
from cvbench.models.paper import PAPER
from cvbench.models.stand_in_entries import STAND_INS
from cvbench.models.tiny_entries import TINY
from cvbench.models.tokenizer_entries import TOKENIZERS
from cvbench.models.zoo import ZOO

if TYPE_CHECKING:
    from cvbench.nets.tensors import VideoVAE

__all__ = ["MODELS", "build", "called", "find", "is_own", "labelled", "parse", "resolve"]

MODELS: dict[str, ModelEntry] = {
    **BUILTIN,
    **TINY,
    **PAPER,
    **ZOO,
    **BEYOND,
    **STAND_INS,
    **TOKENIZERS,
    **DECODERS,
    **INTERPOLATION,
}
TIMES = re.compile(r"\d+x")


def parse(spec: str) -> tuple[str, ModelEntry, dict[str, Option]]:
    """Split `NAME@OPTION=VALUE,...` into name, entry and options; `rife@4x` is short for `rife@factor=4`.

    Weights at a path take the option `as`, the name of the entry that they are of.

    Raises UnknownName for an unknown model or option, UsageError for a value of the wrong kind.
    """
    name, pairs = _cut(spec)
    like = next((pair.partition("=")[2] for pair in pairs if pair.startswith(f"{LIKE}=")), "") if is_local(name) else ""
    entry = find(name, like)
    given: dict[str, Option] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if like and key == LIKE:
            continue
        if "factor" in entry.options and TIMES.fullmatch(pair):
            key, text = "factor", pair[:-1]
        if key not in entry.options:
            raise UnknownName(f"option of {name}", key, entry.options or {"(it has none)": 0})
        if key in given:
            raise UsageError(f"{spec!r}: {key} is said twice")
        given[key] = _option(name, key, text, type(entry.options[key]))
    options = {**entry.options, **given}
    if name in INTERPOLATION:
        return name, at_factor(name, int(options["factor"])), options
    return name, entry, options


def _cut(spec: str) -> tuple[str, list[str]]:
    """Cut a name from its options; a path may hold the sign that stands between them."""
    name, at, tail = spec.rpartition("@") if is_local(spec) else spec.partition("@")
    if is_local(spec) and (not at or "=" not in tail or "/" in tail.partition("=")[0]):
        return spec, []
    return name, tail.split(",") if at else []


def find(name: str, like: str = "") -> ModelEntry:
    """Return the entry of a model: by its name, by hf:OWNER/REPO[/FOLDER], or by the path of its weights.

    `like` names the entry whose network lies at a path that does not say it itself.
    """
    if name.startswith("hf:"):
        from cvbench.models.hub import hub_entry

        return hub_entry(name)
    if name in MODELS:
        return MODELS[name]
    if is_local(name):
        return local_entry(name, find(like) if like else None, MODELS)
    raise UnknownName("model", name, MODELS)


def _option(name: str, key: str, text: str, kind: type) -> Option:
    try:
        value: Option = kind(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(text)
    except ValueError as error:
        raise UsageError(f"{name}@{key}={text!r}: {key} takes {kind.__name__}, for example {name}@{key}=1") from error
    return value


def resolve(target: str) -> Any:
    """Import `module:attribute`."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def build(entry: ModelEntry, loading: Loading) -> "VideoVAE":
    """Build the model of an entry, whatever its kind.

    The loading's options go over the entry's config and default options. Raises what the adapter raises: BadWeights,
    Unavailable, UsageError for an option out of range.
    """
    adapter = resolve(entry.build)
    options = {**entry.config, **entry.options, **loading.options}
    model: VideoVAE = getattr(adapter, "build", adapter)(replace(loading, options=options))
    return model
