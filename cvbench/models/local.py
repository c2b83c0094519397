"""Weights in a folder or file of the user's as a model: what training wrote with `save_pretrained`, or one file."""

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
    return any(sign in name for sign in "/\\") or name.startswith((".", "~")) or name.endswith(FORMATS) or _there(name)


def local_entry(name: str, like: ModelEntry | None = None) -> ModelEntry:
    """Return the entry of weights at a path: of the network that `like` describes, or that the config.json there does.

    Raises UsageError for a path to nothing, a folder or file without config.json, and an entry without weights;
    BadWeights for a config that makes no network.
    """
    path = Path(name).expanduser()
    if not _there(name):
        raise UsageError(f"there is no file or folder {name}; models of the hub are named hf:OWNER/REPO[/FOLDER]")
    source = Source((path.name,), page=str(path))
    if like is None:
        return replace(_described(name, path, source), place=str(path))
    if like.source is None:
        raise UsageError(f"{name}@{LIKE}=…: that model has no weights")
    return replace(like, source=source, place=str(path))


def _described(name: str, path: Path, source: Source) -> ModelEntry:
    config = config_beside(path)
    if config is None:
        raise UsageError(f"{name}: {_lacks(path)}; or say which network the weights are of: {name}@{LIKE}=vae-sd21")
    from cvbench.models.hub import described  # torch

    return described(name, config, source)


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
