"""Any autoencoder of the hub that has a class in diffusers: hf:OWNER/REPO[/FOLDER]."""

from pathlib import Path
from typing import Any

from cvbench.core.config import place_on_hub
from cvbench.core.errors import MissingWeights, UsageError
from cvbench.models.autoencoders import AUTOENCODERS, Config
from cvbench.models.building import INDEX, full_config, on_meta
from cvbench.models.diffusers import halves, measure
from cvbench.models.entry import ModelEntry
from cvbench.weights import Source, config_in, shards_in, sound_settings
from cvbench.weights.checkpoints import shown
from cvbench.weights.sources import require_reachable

FILES = ("diffusion_pytorch_model.safetensors", INDEX, "diffusion_pytorch_model.bin")
"""What folders of weights hold, one or another."""


def hub_entry(spec: str) -> ModelEntry:
    """Return the entry of the autoencoder in a repository, or a folder of it, that `spec` names.

    Only its config.json, and of weights in several files their index, are downloaded; traits and parameters follow
    from them. Raises UsageError for another form of `spec`, a repository that is not there and a class that is none
    of AUTOENCODERS, MissingWeights where the hub cannot be asked, BadWeights for a config that makes no network.
    """
    repo, folder = _split(spec)
    return described(spec, _config(spec, repo, folder), Source(_files(spec, repo, folder), repo))


def described(spec: str, config: Config, source: Source) -> ModelEntry:
    """Return the entry of the autoencoder that a config.json describes; traits and parameters follow from it.

    Raises UsageError, naming `spec`, for a class that is none of AUTOENCODERS, BadWeights for a config that makes no
    network.
    """
    config = dict(config)
    name = str(config.pop("_class_name", "without _class_name"))
    if name not in AUTOENCODERS:
        raise UsageError(f"{spec}: its config.json is of a {shown(name)}; supported are {', '.join(AUTOENCODERS)}")
    full = full_config(name, config)
    with sound_settings(spec):
        traits = measure(name, full)
        params = halves(on_meta(name, {**full, "regularizer": "kl"}))  # FSQ has none, and none of its own parameters
    return ModelEntry(
        f"{name} of {source.repo or source.page}",
        "cvbench.models.diffusers:Diffusers",
        traits,
        config={"_class_name": name, **config},
        source=source,
        params=params,
        latents="scaled" if name == "AutoencoderTiny" else "raw",
    )


def _split(spec: str) -> tuple[str, str]:
    """Return repository and folder, this with a slash at its end or empty."""
    parts = place_on_hub(spec)
    if not parts:
        form = "hf:OWNER/REPO or hf:OWNER/REPO/FOLDER"
        raise UsageError(f"{spec!r}: name a repository of the hub as {form}, without empty parts, . and ..")
    owner, repo, *folder = parts
    return f"{owner}/{repo}", "".join(f"{part}/" for part in folder)


def _config(spec: str, repo: str, folder: str) -> dict[str, Any]:
    file = _file(spec, repo, f"{folder}config.json")
    if file is None:
        hint = "" if folder else f"; autoencoders of pipelines lie in a folder: {spec}/vae"
        raise UsageError(f"{spec}: {repo} has no {folder}config.json{hint}")
    return config_in(file)


def _files(spec: str, repo: str, folder: str) -> tuple[str, ...]:
    """Return the files of weights that the repository has, and the config.json beside them."""
    name = next((name for name in FILES if _has(repo, f"{folder}{name}")), FILES[0])
    index = _file(spec, repo, f"{folder}{name}") if name == INDEX else None
    shards = sorted(set(shards_in(index).values())) if index else []
    return tuple(f"{folder}{file}" for file in (*shards, name, "config.json"))


def _has(repo: str, path: str) -> bool:
    """Tell whether a file is known to be in a repository; where the hub cannot be asked, those in the cache are."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repo, path), str):
        return True
    try:
        _reach()
        return HfApi().file_exists(repo, path)
    except Exception:  # the hub and network libraries raise many kinds; fetching will meet it again, and tell
        return False


def _file(spec: str, repo: str, path: str) -> Path | None:
    """Return a small file of a repository from the cache or the hub, None when the repository has none of that name."""
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(repo, path)
        if isinstance(cached, str):
            return Path(cached)
        _reach()
        return Path(hf_hub_download(repo, path))
    except errors.GatedRepoError as error:
        raise MissingWeights(f"{spec}: the repository is gated; accept its licence on its page and log in") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UsageError(f"{spec}: the hub has no repository {repo}, or none that you may read") from error
    except errors.LocalEntryNotFoundError as error:
        raise MissingWeights(f"{spec}: {_elsewhere(repo, path)} (offline)") from error
    except errors.EntryNotFoundError:
        return None
    except Exception as error:  # hub and network libraries raise many kinds
        raise MissingWeights(f"{spec}: {_elsewhere(repo, path)} ({type(error).__name__}: {error})") from error


def _reach() -> None:
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        require_reachable(constants.ENDPOINT)


def _elsewhere(repo: str, path: str) -> str:
    return (
        f"{path} is not in the hub's cache and cannot be fetched; on a machine with network run "
        f"`hf download {repo} {path}`, and copy what it adds to the hub's cache (HF_HOME)"
    )
