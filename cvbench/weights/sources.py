"""Where weights come from and where they lie."""

import hashlib
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from cvbench.core.config import folder_named_by
from cvbench.core.errors import BadWeights, CvbenchError, MissingWeights
from cvbench.store import atomic
from cvbench.weights.checkpoints import FORMATS, HALVES, brief, files_of_weights
from cvbench.weights.digests import file_digest

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0 when not known)."""
Given = Mapping[str, Path]
"""What --weights NAME=PATH and cvbench.toml say."""

PACKAGE = Path(__file__).parents[1]
GENERIC = ("model", "checkpoint", "diffusion_pytorch_model", "pytorch_model", *HALVES, "autoencoder")
"""File names that say nothing of the model."""


@dataclass(frozen=True)
class Source:
    """Where weights come from: a hub repository, a pinned URL, or this package itself.

    `files` are paths in the repository, the weights first; `sha256` is of that first file, in full or as the
    leading digits its publisher gives, `git_blob` its id in git where that is all there is. A URL that ends with a
    slash is the folder of all files, `others` the SHA-256 of those after the first. `page` is where a person
    gets what no program can fetch, `unpublished` says why nobody gets them; who has such weights passes them by
    NAME=PATH all the same. A `bundled` file ships with the package, its path being relative to the package's folder.
    """

    files: tuple[str, ...]
    repo: str = ""
    revision: str = "main"
    url: str = ""
    sha256: str = ""
    others: tuple[str, ...] = ()
    git_blob: str = ""
    gated: bool = False
    page: str = ""
    unpublished: str = ""
    bundled: bool = False

    @property
    def parts(self) -> tuple["Source", ...]:
        """A source for each file of a folder at a URL; all others are one."""
        if not self.url.endswith("/"):
            return (self,)
        hashes = (self.sha256, *self.others, *("" for _ in self.files))
        alone = replace(self, others=())
        return tuple(
            replace(alone, files=(file,), url=f"{self.url}{file}", sha256=known)
            for file, known in zip(self.files, hashes, strict=False)
        )

    @property
    def origin(self) -> str:
        """The address a person can open, or what the file is part of."""
        if self.bundled:
            return f"part of cvbench ({self.files[0]})"
        if self.repo:
            return f"https://huggingface.co/{self.repo} ({self.files[0]}, revision {self.revision})"
        return self.url or self.page or "unpublished"

    @property
    def file(self) -> str:
        """The weights' own file name."""
        return Path(self.files[0]).name

    @property
    def hash(self) -> str:
        """What its content is known by, for messages."""
        known = {"SHA-256": self.sha256, "git blob": self.git_blob}
        return "".join(f" ({kind} {value})" for kind, value in known.items() if value)

    @property
    def suffix(self) -> str:
        """Of that name."""
        return Path(self.files[0]).suffix


def locate(name: str, source: Source, given: Given | None = None) -> Path | None:
    """Return where the weights of `name` lie on this machine, without asking the network; None when nowhere.

    Looks at `given`, the folder CVBENCH_WEIGHTS (see `places`), then the package and the caches. A folder is returned
    for sources of several files. Raises MissingWeights when a given path does not exist, BadWeights when the hash is
    not the published one, UsageError when CVBENCH_WEIGHTS names no folder.
    """
    found = _given(name, given[name]) if given and name in given else _found(name, source)
    return _checked(_complete(found, source), source, name) if found else None


def path_of(name: str, source: Source, given: Given | None = None) -> Path:
    """Return where the weights of `name` lie on this machine. Raises MissingWeights or BadWeights."""
    found = locate(name, source, given)
    if found is None:
        raise MissingWeights(missing_text(name, source, "not fetched yet"))
    return found


def fetch(name: str, source: Source, given: Given | None = None, progress: Progress | None = None) -> Path:
    """Return where the weights of `name` lie, downloading them when they are nowhere on this machine.

    Raises MissingWeights (file, source, where to put it, how to fetch it elsewhere) or BadWeights.
    """
    found = locate(name, source, given)
    if found:
        return found
    try:
        if source.repo:
            return _checked(_from_hub(source), source, name)
        if source.url:
            paths = [_download(name, part, progress) for part in source.parts]
            return paths[0] if len(paths) == 1 else paths[0].parent
    except CvbenchError:
        raise
    except Exception as error:  # hub and network libraries raise many kinds
        raise MissingWeights(missing_text(name, source, brief(error))) from error
    raise MissingWeights(missing_text(name, source, "it can only be fetched by hand"))


def missing_text(name: str, source: Source, reason: str) -> str:
    """Say which file is missing, where it comes from, where to put it and how to fetch it on another machine."""
    put = (
        f"pass --weights {name}=PATH, or put {source.file} into the folder that CVBENCH_WEIGHTS names, "
        f"as {name}/{source.file}."
    )
    if source.bundled:
        return f"weights of {name} should lie at {PACKAGE / source.files[0]}: reinstall cvbench. For others, {put}"
    if source.unpublished:
        return f"weights of {name} cannot be fetched: {source.unpublished}. If you have them, {put}"
    elsewhere = (
        f"hf download {source.repo} {' '.join(source.files)} --revision {source.revision} --local-dir {name}"
        if source.repo
        else f"download {' and '.join(part.origin for part in source.parts)}"
    )
    gate = " The repository is gated: accept its licence there and log in first." if source.gated else ""
    return (
        f"weights of {name} were not found ({reason}). "
        f"File: {source.files[0]}{source.hash}. Source: {source.origin}.{gate} "
        f"On a machine with network: {elsewhere}. Then {put}"
    )


def _given(name: str, path: Path) -> Path:
    if not os.path.exists(path):  # noqa: PTH110 (Path's own raises for names that are too long)
        raise MissingWeights(f"--weights {name}={path}: there is no such file or folder")
    return path


def _found(name: str, source: Source) -> Path | None:
    return next((place for place in [*places(name, source), _kept(source)] if place and place.exists()), None)


def _kept(source: Source) -> Path | None:
    """Return where the package, or a cache, would hold the file."""
    if source.bundled:
        return PACKAGE / source.files[0]
    if source.repo:
        return _in_hub_cache(source)
    targets = [_url_target(part) for part in source.parts]
    return targets[0] if all(target and target.exists() for target in targets) else None


def places(name: str, source: Source) -> list[Path]:
    """Return the places in the folder CVBENCH_WEIGHTS where weights may lie, the first that exists being taken.

    NAME/ with the file as in the repository or by its own name, NAME with any suffix that can be read, the file by
    its own name unless many models' files are called so, and NAME/ with whatever one file it holds.
    """
    folder = folder_named_by("CVBENCH_WEIGHTS")
    if not folder:
        return []
    found = [folder / name / source.files[0], folder / name / source.file]
    found += [folder / f"{name}{suffix}" for suffix in dict.fromkeys((source.suffix, *FORMATS))]
    found += [] if Path(source.file).stem in GENERIC else [folder / source.file]
    return found + ([folder / name] if files_of_weights(folder / name) else [])


def _complete(path: Path, source: Source) -> Path:
    """Return the folder of `path` where all files of the source lie together, else `path`."""
    if (path / source.files[0]).is_file():
        path = path / source.files[0]
    names = [Path(file).name for file in source.files]
    together = path.name == source.file and all((path.parent / name).is_file() for name in names)
    return path.parent if len(names) > 1 and together else path


def _in_hub_cache(source: Source) -> Path | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _from_hub(source, offline=True)
    except LocalEntryNotFoundError:
        return None


def _from_hub(source: Source, *, offline: bool = False) -> Path:
    """Return the file, or for several files their folder, from the hub's cache; download it unless `offline`."""
    from huggingface_hub import constants, hf_hub_download

    if not (offline or constants.HF_HUB_OFFLINE):
        require_reachable(constants.ENDPOINT)
    paths = [
        Path(hf_hub_download(source.repo, file, revision=source.revision, local_files_only=offline))
        for file in source.files
    ]
    return paths[0] if len(paths) == 1 else paths[0].parent


def require_reachable(address: str) -> None:
    """Raise OSError at once where a host cannot be reached; the hub's client would try for half a minute a file."""
    if not urllib.request.getproxies() and (reason := _unreachable(urllib.parse.urlsplit(address).hostname or "")):
        raise OSError(reason)


@lru_cache
def _unreachable(host: str) -> str:
    try:
        socket.create_connection((host, 443), timeout=5).close()
        return ""
    except OSError as error:
        return f"{host} cannot be reached: {error.strerror or error}"


def _url_target(source: Source) -> Path | None:
    """Return where a file with a URL lies once downloaded: torch's hub folder, which other tools fill too."""
    if not source.url:
        return None
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home) / "hub" / "checkpoints" / source.file


def _download(name: str, source: Source, progress: Progress | None) -> Path:
    """Download a pinned URL; the file appears only when it is whole and its hash is right."""
    target = _url_target(source)
    if target is None or not source.url.startswith("https://"):
        raise MissingWeights(missing_text(name, source, "no address to fetch it from"))
    with urllib.request.urlopen(source.url, timeout=20) as reply, atomic(target) as file:  # noqa: S310 (https only, above)
        total = int(reply.headers.get("Content-Length") or 0)
        if source.git_blob and not total:  # git needs it before the content
            raise OSError("the server does not say how long the file is")
        sha, blob, done = hashlib.sha256(), _blob_hash(total), 0
        while block := reply.read(1 << 20):
            file.write(block)
            sha.update(block)
            blob.update(block)
            done += len(block)
            if progress:
                progress(done, total)
        if total and done != total:
            raise OSError(f"the connection closed after {done} of {total} bytes")
        _compare(sha.hexdigest(), source, source.url)
        _compare_blob(blob.hexdigest(), source, source.url)
    return target


def git_blob(path: Path) -> str:
    """Id that git gives a file's content."""
    blob = _blob_hash(path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            blob.update(block)
    return blob.hexdigest()


def _blob_hash(size: int) -> "hashlib._Hash":
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _checked(path: Path, source: Source, name: str) -> Path:
    """Compare the hash of a file that is meant to be the published one; others are the user's."""
    for part in source.parts:
        file = path if path.is_file() else path / part.file
        if file.is_file() and _published(file, part, name):
            if part.sha256:
                _compare(file_digest(file), part, str(file))
            if part.git_blob:
                _compare_blob(git_blob(file), part, str(file))
    return path


def _published(file: Path, source: Source, name: str) -> bool:
    """Tell by its name whether a file is meant to be the published one; who trains a bundled model keeps its name."""
    if source.bundled:
        return file == PACKAGE / source.files[0]
    return file.name in (source.file, f"{name}{source.suffix}")


def _again(source: Source) -> str:
    return "reinstall cvbench" if source.bundled else f"delete it and fetch it again from {source.origin}"


def _compare(found: str, source: Source, where: str) -> None:
    if source.sha256 and not found.startswith(source.sha256):
        raise BadWeights(
            f"{where} is not the published file: SHA-256 {found}, expected {source.sha256}; {_again(source)}"
        )


def _compare_blob(found: str, source: Source, where: str) -> None:
    if source.git_blob and found != source.git_blob:
        raise BadWeights(
            f"{where} is not the published file: git blob {found}, expected {source.git_blob}; {_again(source)}"
        )
