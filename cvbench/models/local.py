"""Weights in a folder or file of the user's as a model: what training wrote with `save_pretrained`, or one file."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cvbench.core.errors import UsageError
from cvbench.models.entry import ModelEntry
from cvbench.weights import Source, config_beside
from cvbench.weights.checkpoints import FORMATS

LIKE = "as"
"""The option that names the entry whose network the weights are of: step-1000.safetensors@as=cvvae."""


def is_local(name: str) -> bool:
    """Tell whether `name` is a path: to what is there, or by its form."""
    return bool(name) and (
        any(sign in name for sign in "/\\") or name.startswith((".", "~")) or name.endswith(FORMATS) or _there(name)
    )


def local_entry(name: str, like: ModelEntry | None, known: Mapping[str, ModelEntry]) -> ModelEntry:
    """Return the entry of weights at a path: of the network that `like` describes, or that the config.json there does.

    Without either, one file of weights is of the `known` network that has as many parameters in encoder and decoder.
    Only `like` tells the latent space, whose name is else not kept.
    Raises UsageError for a path to nothing, what cannot be told by itself, and an entry without weights;
    BadWeights for a config that makes no network.
    """
    path = Path(name).expanduser()
    if not _there(name):
        raise UsageError(f"there is no file or folder {name}; models of the hub are named hf:OWNER/REPO[/FOLDER]")
    source = Source((path.name,), page=str(path))
    if like is None:
        return replace(_with(_described(name, path, source, known), source, path), base="")
    if like.source is None:
        raise UsageError(f"{name}@{LIKE}=…: that model has no weights")
    return _with(like, source, path)


def _with(entry: ModelEntry, source: Source, path: Path) -> ModelEntry:
    """Return an entry with other weights, whose licence is not known, nor whether they pass their base's test."""
    compatible = entry.compatible if entry.compatible == "-" else ""
    return replace(entry, source=source, place=str(path), licence="", compatible=compatible)


def _described(name: str, path: Path, source: Source, known: Mapping[str, ModelEntry]) -> ModelEntry:
    config = config_beside(path)
    if config is None and (alike := _of_size(path, known)):
        return _one_of(name, alike)
    if config is None:
        raise UsageError(f"{name}: {_lacks(path)}; or say which network the weights are of: {name}@{LIKE}=vae-sd21")
    from cvbench.models.hub import described  # torch

    return described(name, config, source)


def _of_size(path: Path, known: Mapping[str, ModelEntry]) -> dict[str, ModelEntry]:
    """Return the entries whose encoder and decoder have as many parameters as those in a safetensors file."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            sizes = {key: math.prod(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError):  # reading it will say more
        return {}
    halves = tuple(sum(n for key, n in sizes.items() if f".{half}." in f".{key}") for half in ("encoder", "decoder"))
    return {name: entry for name, entry in known.items() if entry.source and entry.params == halves and all(halves)}


def _one_of(name: str, alike: Mapping[str, ModelEntry]) -> ModelEntry:
    """Return the entry that all of these are but for their weights. Raises UsageError where they differ."""
    first, *others = alike.values()
    if any((e.build, e.config, e.latents) != (first.build, first.config, first.latents) for e in others):
        raise UsageError(
            f"{name}: its network is that of {' or '.join(alike)}; say which: {name}@{LIKE}={next(iter(alike))}"
        )
    return first


def _lacks(path: Path) -> str:
    if path.is_dir() and (path / "vae").is_dir():
        return f"the folder holds a pipeline; its autoencoder lies in {path / 'vae'}"
    where = "in the folder" if path.is_dir() else "beside the file"
    return f"put the config.json of its class in diffusers {where}, as save_pretrained does"


def _there(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
