"""Any pipeline of the hub that diffusers has a class for: hf:OWNER/REPO."""

import inspect
import json
from pathlib import Path
from typing import Any

from cvbench.core.config import place_on_hub
from cvbench.core.errors import UsageError
from cvbench.generators.entry import GeneratorEntry, Task
from cvbench.models import hub

FOLDERS = ("vae", "vqvae", "movq")
"""Where pipelines keep their autoencoder."""


def hub_entry(spec: str) -> GeneratorEntry:
    """Return the entry of the pipeline that `spec` names; only its model_index.json and its VAE's config are fetched.

    What it makes of what, its settings and its defaults are those of the call of its class. Raises UsageError for
    another form of `spec`, a repository that is not there or of another class, MissingWeights where the hub cannot be
    asked or the repository is gated.
    """
    parts = place_on_hub(spec)
    if len(parts) != 2:
        raise UsageError(f"{spec!r}: name a pipeline of the hub as hf:OWNER/REPO")
    repo = "/".join(parts)
    index = hub._file(spec, repo, "model_index.json")
    if index is None:
        raise UsageError(f"{spec}: {repo} has no model_index.json: it is no pipeline of diffusers")
    return entry_of(spec, repo, json.loads(Path(index).read_text(encoding="utf-8")))


def entry_of(spec: str, repo: str, index: dict[str, Any]) -> GeneratorEntry:
    """Return the entry of a pipeline by its model_index.json. Raises UsageError for a class that diffusers lacks."""
    from cvbench.generators.pipelines import class_of

    make, folder = class_of(index, spec), next((name for name in FOLDERS if name in index), FOLDERS[0])
    defaults = settings_of(make)
    return GeneratorEntry(
        f"{make.__name__} of {repo}",
        task_of(make),
        "cvbench.generators.pipelines:Pipeline",
        f"hf:{repo}/{folder}",
        (0, 0, 0, 0),
        defaults,
        scale="as its VAE's config says",
        repo=repo,
        version=2 if hasattr(make, "upcast_vae") else 1,
    )


def task_of(make: type) -> Task:
    """Tell what a pipeline makes of what by the arguments of its call."""
    names = inspect.signature(make.__call__).parameters
    if "num_frames" not in names and "video_length" not in names:
        return "t2i"
    return "i2v" if "image" in names else "t2v"


def settings_of(make: type) -> dict[str, Any]:
    """Return size and settings of a pipeline's call with their defaults."""
    from cvbench.generators.pipelines import ARGUMENTS

    parameters = inspect.signature(make.__call__).parameters
    stated = {key: p.default for key, p in parameters.items() if p.default is not p.empty and p.default is not None}
    found = {ours: stated[theirs] for ours, names in ARGUMENTS.items() for theirs in names if theirs in stated}
    size = (stated.get("height", 512), stated.get("width", 512))
    return {"size": size, **({"frames": 16} if task_of(make) != "t2i" else {}), **found}
