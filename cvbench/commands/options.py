"""How options are read that several commands have."""

import contextlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cvbench.core.config import load_config, pairs
from cvbench.core.errors import UnknownName, Unwritable, UsageError
from cvbench.data import DATASETS
from cvbench.metrics import METRICS
from cvbench.models import MODELS
from cvbench.models.naming import PATTERN, expanded, split
from cvbench.probes import known_weights


def model_names(texts: Sequence[str], default: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the models given with --models, `all`, patterns and families replaced by what they stand for.

    Raises UsageError for no name at all, and for a pattern that matches nothing.
    """
    return expanded(_some("--models", texts, split(texts, MODELS), default), MODELS)


def generator_names(texts: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Return the rows GENERATOR[+VAE] given with --models; options behind an @ may hold commas. Raises UsageError."""
    return tuple(dict.fromkeys(_some("--models", texts, split(texts, {}), default)))


def listed(texts: Iterable[str]) -> list[str]:
    """Return names given with commas, repetition or both."""
    return [name for text in texts for name in map(str.strip, text.split(",")) if name]


def metric_names(texts: Sequence[str], default: Sequence[str] = (), task: str = "reconstruction") -> tuple[str, ...]:
    """Return the metrics given with --metrics; `all` and patterns stand for those of the task. Raises UsageError."""
    names = _some("--metrics", texts, listed(texts), default)
    known = [name for name, metric in METRICS.items() if metric.task == task]
    return tuple(dict.fromkeys(each for name in names for each in matching("metric", name, known)))


def data_names(texts: Sequence[str], roots: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the data sets given with --data; a comma in the name of what is there splits nothing.

    `all` and patterns that match no file stand for the data sets that have a folder (`roots`). Raises UsageError.
    """
    given = [name.strip() for text in texts for name in ([text] if _is_there(text) else text.split(","))]
    names = _some("--data", texts, given, ())
    return tuple(dict.fromkeys(each for name in names for each in _data_meant(name, roots)))


def _data_meant(name: str, roots: Mapping[str, Path]) -> Iterable[str]:
    if name != "all" and (_is_there(name) or "/" in name or not any(fnmatchcase(known, name) for known in DATASETS)):
        return [name]
    configured = [known for known, entry in DATASETS.items() if known in roots or entry.folder in roots]
    built_in = [known for known, entry in DATASETS.items() if entry.folder == ""]
    return matching("data set with a folder", name, configured if name == "all" else [*built_in, *configured])


def matching(kind: str, name: str, known: Sequence[str]) -> list[str]:
    """Return what `all` or a pattern stands for; a name as it is. Raises UnknownName for what stands for nothing."""
    if name != "all" and not PATTERN.search(name):
        return [name]
    found = [each for each in known if name == "all" or fnmatchcase(each, name)]
    if not found:
        raise UnknownName(kind, name, known)
    return found


def _some(option: str, texts: Sequence[str], names: Sequence[str], default: Sequence[str]) -> list[str]:
    """Return the names, the default where the option was not given. Raises UsageError for no name at all."""
    held = list(filter(None, names))
    if texts and not held:
        raise UsageError(f"{option} names nothing; leave it out for the default")
    return held or list(default)


def _is_there(spec: str) -> bool:
    return any(Path(text).expanduser().exists() for text in (spec, spec.partition("=")[2]) if text)


def count_of(option: str, text: str) -> int:
    """Read --batch or --workers: auto is 0."""
    if text == "auto":
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < 1:
        raise UsageError(f"{option} takes auto or a positive number, got {text!r}")
    return int(text)


def existing(names: Sequence[str]) -> list[Path]:
    """Return paths. Raises UsageError for one that is not there."""
    for name in names:
        if not Path(name).exists():
            raise UsageError(f"there is no file or folder {name}")
    return [Path(name) for name in names]


@contextlib.contextmanager
def at_ref(text: str) -> Iterator[Path]:
    """Yield a path that is here, or what REF:PATH is in git, relative to the current folder. Raises UsageError."""
    ref, colon, path = text.partition(":")
    if Path(text).exists() or not (colon and ref and path):
        yield existing([text])[0]
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(_archived(ref, path))) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder) / path


def _archived(ref: str, path: str) -> bytes:
    """Return a folder at a ref as a tar file, by git itself."""
    line = ["git", "archive", "--format=tar", "--end-of-options", ref, path]
    try:
        made = subprocess.run(line, capture_output=True, check=False)  # noqa: S603  # no shell, and no option
    except FileNotFoundError as error:
        raise UsageError(f"there is no file or folder {ref}:{path}, and no git here to look for it") from error
    if made.returncode:
        told = made.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"there is no file or folder {ref}:{path}, and git says: {told[-1] if told else 'nothing'}")
    return made.stdout


def changes_of(given: Mapping[str, Any]) -> list[str]:
    """Return what --set, --dtype and --seed change. Raises UsageError for a field that is given two values."""
    typed = [f"{name}={given[name]}" for name in ("dtype", "seed") if given.get(name) is not None]
    return _once("--set", [*given["changes"], *typed])


def weights_of(texts: Iterable[str]) -> dict[str, Path]:
    """Read --weights NAME=PATH; two files of one folder stand for it. Raises UsageError for other paths of one name."""
    return pairs("--weights", _once("--weights", _folders(list(texts))), known_weights())


def _folders(texts: list[str]) -> list[str]:
    """Name the folder where the files of a name, several, are all in it."""
    given = [text.partition("=")[::2] for text in texts]
    files = {name: {path for other, path in given if other == name and Path(path).is_file()} for name, _ in given}
    folders = {name: {str(Path(path).parent) for path in paths} for name, paths in files.items() if len(paths) > 1}
    return [
        f"{name}={min(folders[name])}" if len(folders.get(name, ())) == 1 and path in files[name] else text
        for text, (name, path) in zip(texts, given, strict=True)
    ]


def _once(option: str, texts: Iterable[str]) -> list[str]:
    """Return NAME=VALUE texts. Raises UsageError where one would silently win over another."""
    values: dict[str, str] = {}
    given = list(texts)
    for name, _, value in (text.partition("=") for text in given):
        if values.setdefault(name, value) != value:
            raise UsageError(f"{option}: {name} is both {values[name]} and {value}; give it once")
    return given


def check_folder(folder: Path) -> None:
    """Raise Unwritable for a folder that cannot be made or written to, before hours of work are to go there."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:  # a name too long, or a folder that may not be looked into
        raise Unwritable(f"{error.strerror}: {folder}; name another place to write to") from error
    if not there.is_dir():
        raise Unwritable(f"Not a directory: {there}; name another place to write to")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Unwritable(f"Permission denied: {there}; name another place to write to")


def configured_weights() -> Mapping[str, Path]:
    """Return the paths of weights that cvbench.toml names."""
    return load_config(Path.cwd(), DATASETS, known_weights()).weights
