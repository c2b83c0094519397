"""The files of a bundle: a manifest with the SHA-256 of every other one, in a folder or a zip, read with suspicion."""

import contextlib
import hashlib
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from cvbench import __version__
from cvbench.core.errors import UsageError
from cvbench.store import atomic

MANIFEST = "manifest.json"
SCHEMA = 1
MOST_BYTES, MOST_FILES = 4 << 30, 100_000
"""Of a bundle, unpacked."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a zip: equal runs make equal bundles."""


class Held(msgspec.Struct, forbid_unknown_fields=True):
    """A file as the manifest has it."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """What a bundle says of itself: the version that wrote it, and all its files by name."""

    bundle: int
    cvbench: str
    files: dict[str, Held]


@dataclass(frozen=True)
class Opened:
    """A bundle as a folder; `sha256`, of its manifest, stands for all that is in it."""

    folder: Path
    manifest: Manifest
    sha256: str

    def files(self) -> dict[str, Path]:
        """Return the files that are there, by name, the manifest left out."""
        found = {path.relative_to(self.folder).as_posix(): path for path in sorted(self.folder.rglob("*"))}
        return {name: path for name, path in found.items() if path.is_file() and name != MANIFEST}


def sealed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return files with their manifest."""
    held = {name: Held(hashlib.sha256(content).hexdigest(), len(content)) for name, content in sorted(files.items())}
    text = msgspec.json.format(msgspec.json.encode(Manifest(SCHEMA, __version__, held)), indent=1)
    return {MANIFEST: text + b"\n", **dict(sorted(files.items()))}


def write(files: Mapping[str, bytes], out: Path) -> None:
    """Write a bundle: a zip where `out` ends in .zip, else a folder. Raises UsageError for one that is in use."""
    if out.suffix == ".zip":
        return _write_zip(files, out)
    if out.exists() and not _is_ours(out):
        raise UsageError(f"{out} is there and is no bundle; name another place to write to")
    part = Path(tempfile.mkdtemp(prefix=f".{out.name[:40]}-", dir=_made(out.absolute().parent)))
    for name, content in files.items():
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    part.chmod(0o755)
    if out.exists():
        shutil.rmtree(out)
    part.replace(out)
    return None


def _is_ours(out: Path) -> bool:
    """Tell whether a folder holds nothing but a bundle, which another may replace."""
    if not out.is_dir() or not any(out.iterdir()):
        return out.is_dir()
    try:
        held = _opened(out, out)
    except UsageError:
        return False
    return held.files().keys() <= held.manifest.files.keys()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_zip(files: Mapping[str, bytes], out: Path) -> None:
    with atomic(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, EARLIEST)
            info.external_attr, info.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            packed.writestr(info, content)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a bundle, a zip by unpacking it to a folder that goes again.

    Raises UsageError for what is no bundle, or none that is safe to read: links, names that lead elsewhere, too large.
    """
    if path.is_dir():
        if link := next((each for each in path.rglob("*") if each.is_symlink()), None):
            raise UsageError(f"{path} is no bundle that is safe to read: {link.relative_to(path)} is a link")
        yield _opened(path, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as packed:
                _unpack(path, packed, Path(folder))
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise UsageError(f"{path} is no bundle: {error}") from error
        yield _opened(Path(folder), path)


def _opened(folder: Path, path: Path) -> Opened:
    try:
        text = (folder / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(text, type=Manifest)
    except OSError as error:
        raise UsageError(f"{path} is no bundle: it has no {MANIFEST}; `cvbench bundle RUN` makes one") from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UsageError(f"{path} is no bundle: {MANIFEST}: {error}") from error
    if manifest.bundle != SCHEMA:
        raise UsageError(f"{path} is a bundle of kind {manifest.bundle}; this cvbench reads kind {SCHEMA}")
    return Opened(folder, manifest, hashlib.sha256(text).hexdigest())


def _unpack(path: Path, packed: zipfile.ZipFile, folder: Path) -> None:
    infos = [info for info in packed.infolist() if not info.is_dir()]
    if fault := _fault(infos):
        raise UsageError(f"{path} is no bundle that is safe to read: {fault}")
    for info in infos:
        target = folder / info.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with packed.open(info) as source, target.open("xb") as file:  # reads no more than `file_size`
            shutil.copyfileobj(source, file)


def _fault(infos: list[zipfile.ZipInfo]) -> str:
    """Say what keeps the files of a zip from being unpacked; "" where nothing does."""
    names = [info.filename for info in infos]
    if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > MOST_BYTES:
        return f"more than {MOST_FILES:,} files or {MOST_BYTES:,} bytes"
    if twice := next((name for name in names if names.count(name) > 1), "") if len(set(names)) < len(names) else "":
        return f"{twice!r} is in it twice"
    if link := next((i.filename for i in infos if stat.S_ISLNK(i.external_attr >> 16)), ""):
        return f"{link!r} is a link"
    elsewhere = (info.orig_filename for info in infos if not _is_inside(info.orig_filename))
    return next((f"{name!r} leads out of it" for name in elsewhere), "")


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not (name.startswith("/") or ".." in parts or any(sign in name for sign in "\\:\0"))
