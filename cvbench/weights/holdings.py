"""What `cvbench weights` shows of the weights on a machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cvbench.core.errors import CvbenchError, UsageError
from cvbench.weights.checkpoints import check_whole, files_of_weights, files_read, weights_file
from cvbench.weights.digests import file_digest, identity
from cvbench.weights.sources import Given, Source, git_blob, locate

OTHER = "here, not the published file"
COLUMNS = ("model", "weights", "size", "where")


@dataclass(frozen=True)
class Holding:
    """Weights of one model: where they lie, or come from, and whether they are good.

    `size` is in bytes. `bad`: they are there, or were said to be, and cannot be used.
    """

    name: str
    state: str
    where: str
    size: int | None = None
    bad: bool = False

    @property
    def row(self) -> tuple[str, ...]:
        """The cells under COLUMNS."""
        return self.name, self.state, "–" if self.size is None else f"{self.size / 1e6:.1f} MB", self.where


def listing(sources: Mapping[str, Source], given: Given | None = None) -> list[Holding]:
    """Return what is known of each model's weights; only files with a published hash are read."""
    return [_holding(name, source, given, _known) for name, source in sources.items()]


def verify(sources: Mapping[str, Source], given: Given | None = None) -> list[Holding]:
    """Return the same after reading every file: whole, and its hash compared, or shown where none is published.

    A file that is not the published one is bad here: who verifies asks for that.
    """
    found = [_holding(name, source, given, _verified) for name, source in sources.items()]
    return [replace(holding, bad=holding.bad or holding.state.startswith(OTHER)) for holding in found]


def _holding(name: str, source: Source, given: Given | None, examine: Callable[[Path, Source], str]) -> Holding:
    try:
        path = locate(name, source, given)
        if path is None:
            return Holding(name, _absent(source), source.origin, bad=source.bundled)
        return Holding(name, examine(path, source), str(path), _size(path, source))
    except UsageError:  # the request is wrong, not these weights
        raise
    except CvbenchError as error:
        return Holding(name, f"unusable: {error}", source.origin, bad=True)


def _absent(source: Source) -> str:
    if source.bundled:
        return "missing: reinstall cvbench"
    return "unpublished" if source.unpublished else "not here"


def _known(path: Path, source: Source) -> str:
    if not (source.sha256 or source.git_blob):
        return "here, no hash published"
    files = [path] if path.is_file() else [path / part.file for part in source.parts]
    files = files if all(file.is_file() for file in files) else [weights_file(path)]
    return "verified" if all(map(_is_published, files, source.parts)) else OTHER


def _is_published(file: Path, part: Source) -> bool:
    by_sha = not part.sha256 or file_digest(file).startswith(part.sha256)
    return by_sha and (not part.git_blob or git_blob(file) == part.git_blob)


def _verified(path: Path, source: Source) -> str:
    files = _files(path, source)
    for file in files:
        check_whole(file)
    return (
        f"{_known(path, source)}, SHA-256 {file_digest(files[0]) if len(files) == 1 else identity(path, source).sha256}"
    )


def _size(path: Path, source: Source) -> int:
    return sum(file.stat().st_size for file in _files(path, source))


def _files(path: Path, source: Source) -> list[Path]:
    """Return the files of weights: one, the two of a network in a folder of many, or the shards of a network."""
    parts = [path / part.file for part in source.parts]
    if len(parts) > 1 and all(file.is_file() for file in parts):
        return parts
    return list(files_read(path)) if path.is_file() else files_of_weights(path) or [weights_file(path)]
