"""Finding, fetching and reading weights: hashes checked, partial files never taken for whole ones, no pickle executed."""

import hashlib
import os
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvbench.errors import BadWeights, MissingWeights
from cvbench.records import digest
from cvbench.store import RowStore, atomic, cache_root

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0 when not known)."""


@dataclass(frozen=True)
class Source:
    """Where weights come from: a hub repository or a pinned URL.

    `files` are paths in the repository, the weights first; `sha256` is of that first file, in full or as the
    leading digits its publisher gives. `page` is where a person gets what no program can fetch.
    """

    files: tuple[str, ...]
    repo: str = ""
    revision: str = "main"
    url: str = ""
    sha256: str = ""
    gated: bool = False
    page: str = ""

    @property
    def origin(self) -> str:
        """The address a person can open."""
        if self.repo:
            return f"https://huggingface.co/{self.repo} ({self.files[0]}, revision {self.revision})"
        return self.url or self.page


def locate(name: str, source: Source, given: Mapping[str, Path] | None = None) -> Path | None:
    """Return where the weights of `name` lie on this machine, without asking the network; None when nowhere.

    Looks at `given` (NAME=PATH), the folder CVBENCH_WEIGHTS (NAME, NAME.suffix, the file's own name, alone or
    under NAME/), then the caches. A folder is returned for sources of several files. Raises MissingWeights when
    a given path does not exist, BadWeights when the hash is not the published one.
    """
    if given and name in given:
        return _checked(_existing(name, given[name]), source, name)
    for candidate in _candidates(name, source):
        if candidate.exists():
            return _checked(candidate, source, name)
    cached = _from_hub(source, offline=True) if source.repo else _url_target(source)
    return cached if cached and cached.exists() else None


def fetch(name: str, source: Source, given: Mapping[str, Path] | None = None, progress: Progress | None = None) -> Path:
    """Return where the weights of `name` lie, downloading them when they are nowhere on this machine.

    Raises MissingWeights (file, source, where to put it, how to fetch it elsewhere) or BadWeights.
    """
    found = locate(name, source, given)
    if found:
        return found
    try:
        if source.repo:
            return _checked(_from_hub(source, offline=False), source, name)
        if source.url:
            return _download(name, source, progress)
    except OSError as error:
        raise MissingWeights(missing_text(name, source, _reason(error))) from error
    raise MissingWeights(missing_text(name, source, "it can only be fetched by hand"))


def missing_text(name: str, source: Source, reason: str) -> str:
    """Say which file is missing, where it comes from, where to put it and how to fetch it on another machine."""
    file = Path(source.files[0]).name
    elsewhere = (
        f"huggingface-cli download {source.repo} {' '.join(source.files)} --revision {source.revision} --local-dir {name}"
        if source.repo
        else f"download {source.origin}"
    )
    gate = " The repository is gated: accept its licence there and log in first." if source.gated else ""
    return (
        f"weights of {name} are not on this machine ({reason}). File: {source.files[0]}. Source: {source.origin}.{gate} "
        f"On a machine with network: {elsewhere}. Then pass --weights {name}=PATH, or put {file} "
        f"into the folder that CVBENCH_WEIGHTS names, as {name}/{file}."
    )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def _existing(name: str, path: Path) -> Path:
    if not path.exists():
        raise MissingWeights(f"--weights {name}={path}: there is no such file or folder")
    return path


def _candidates(name: str, source: Source) -> list[Path]:
    """Return the places in the CVBENCH_WEIGHTS folder where the weights may lie."""
    if not os.environ.get("CVBENCH_WEIGHTS"):
        return []
    folder = Path(os.environ["CVBENCH_WEIGHTS"])
    file = Path(source.files[0])
    inside = [folder / name / file, folder / name / file.name, folder / f"{name}{file.suffix}", folder / file.name]
    if len(source.files) > 1 and (folder / name / "config.json").exists():
        return [folder / name]
    return inside


def _from_hub(source: Source, *, offline: bool) -> Path | None:
    """Return the file, or for several files their folder, from the hub's cache; download it unless `offline`."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        paths = [
            Path(hf_hub_download(source.repo, file, revision=source.revision, local_files_only=offline))
            for file in source.files
        ]
    except LocalEntryNotFoundError:
        if offline:
            return None
        raise
    return paths[0] if len(paths) == 1 else paths[0].parent


def _url_target(source: Source) -> Path | None:
    """Return where a file with a URL lies once downloaded: torch's hub folder, which other tools fill too."""
    if not source.url:
        return None
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home) / "hub" / "checkpoints" / Path(source.files[0]).name


def _download(name: str, source: Source, progress: Progress | None) -> Path:
    """Download a pinned URL; the file appears only when it is whole and its hash is right."""
    target = _url_target(source)
    if target is None or not source.url.startswith("https://"):
        raise MissingWeights(missing_text(name, source, "no address to fetch it from"))
    with urllib.request.urlopen(source.url, timeout=60) as reply, atomic(target) as file:  # noqa: S310 (https only, above)
        total = int(reply.headers.get("Content-Length") or 0)
        sha, done = hashlib.sha256(), 0
        while block := reply.read(1 << 20):
            file.write(block)
            sha.update(block)
            done += len(block)
            if progress:
                progress(done, total)
        if total and done != total:
            raise OSError(f"the connection closed after {done} of {total} bytes")
        _compare(sha.hexdigest(), source, f"{source.url}")
    return target


def file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered for as long as its size and time stay the same."""
    state = path.stat()
    key = digest({"file": str(path.resolve()), "size": state.st_size, "time": state.st_mtime_ns})
    store = RowStore(cache_root())
    known = store.facts(key)
    if isinstance(known, str):
        return known
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    store.remember(key, found)
    return found


def path_digest(path: Path) -> str:
    """SHA-256 that stands for a weights file or for a folder of them."""
    if path.is_file():
        return file_digest(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in SUFFIXES)
    return digest([[p.relative_to(path).as_posix(), file_digest(p)] for p in files])


SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".pkl", ".bin", ".json")


def _checked(path: Path | None, source: Source, name: str) -> Path:
    if path is None:
        raise MissingWeights(missing_text(name, source, "the hub gave no file"))
    file = path if path.is_file() else path / Path(source.files[0]).name
    if source.sha256 and file.is_file() and file.name == Path(source.files[0]).name:
        _compare(file_digest(file), source, str(file))
    return path


def _compare(found: str, source: Source, where: str) -> None:
    if source.sha256 and not found.startswith(source.sha256):
        raise BadWeights(
            f"{where} is not the published file: SHA-256 {found}, expected {source.sha256}; "
            f"delete it and fetch it again from {source.origin}"
        )


def read_tensors(path: Path, allowed: Sequence[type] = ()) -> dict[str, "Tensor"]:
    """Read a state dict from .safetensors, .ckpt, .pt, .pth, .bin or .pkl without executing anything in it.

    `allowed` are the classes, beyond tensors, that this file may mention. A Lightning checkpoint gives what lies
    under `state_dict`. Raises BadWeights for truncated files, other layouts and pickles that would run code.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    import torch

    try:
        with torch.serialization.safe_globals(list(allowed)):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise BadWeights(_why_unreadable(path, error)) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise BadWeights(f"{path} holds a {type(loaded).__name__}, not a state dict")
    return {str(k): v for k, v in state.items() if isinstance(v, torch.Tensor)}


def _read_safetensors(path: Path) -> dict[str, "Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadWeights(f"{path} is no whole safetensors file ({error}); fetch it again") from error


def _why_unreadable(path: Path, error: Exception) -> str:
    text = str(error)
    if "Unsupported" in text or "WeightsUnpickler" in text or "GLOBAL" in text:
        culprit = next((line.strip() for line in text.splitlines() if "GLOBAL" in line), "").strip()
        return (
            f"{path} is refused: its pickle asks for more than tensors ({culprit[:200] or 'see the file'}), which would "
            "run code from the file. Convert it to safetensors on a machine you can lose"
        )
    return f"{path} is damaged or no torch file ({_reason(error)}); fetch it again"


def fit(
    state: Mapping[str, "Tensor"], wanted: Mapping[str, "Tensor"], where: str, drop: Sequence[str] = ()
) -> dict[str, "Tensor"]:
    """Return the tensors of `state` that a network wants, those whose names start with `drop` left out.

    Raises BadWeights listing every missing, unexpected and misshaped tensor (the first few of each).
    """
    kept = {k: v for k, v in state.items() if not k.startswith(tuple(drop))} if drop else dict(state)
    missing = [k for k in wanted if k not in kept]
    extra = [k for k in kept if k not in wanted]
    shapes = [
        f"{k} {tuple(kept[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in kept and kept[k].shape != wanted[k].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}"
        for what, names in (("missing", missing), ("unexpected", extra), ("misshaped", shapes))
        if names
    ]
    if problems:
        raise BadWeights(f"{where} belongs to another architecture; {'; '.join(problems)}")
    return kept
