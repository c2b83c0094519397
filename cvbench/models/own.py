"""A user's own model: FILE.py:FACTORY or package.module:FACTORY, imported with its neighbours, apart from others."""

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.models.naming import OWN, arguments

INSTALLED = tuple(Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib"))
"""Where Python's own modules lie."""
PACKAGE = Path(__file__).resolve().parents[1]


class Workspace:
    """A folder of a user's code, first on the path while its code runs, as it is for `python FILE.py`.

    All modules that are not installed, and paths that the code adds, are there only then, and read from their files:
    a neighbour called `net` of one folder is never another folder's, nor one that the caller has loaded before.
    An installed module of the name `kept`, which is that of the user's file, stays.
    """

    def __init__(self, folder: Path, kept: str = "") -> None:
        self.folder, self.kept = folder.resolve(), kept
        self.path = [str(self.folder)]
        self.modules: dict[str, ModuleType] = {}
        self._listing: tuple[int, set[str]] = (0, set())

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run code with the folder's modules in place."""
        before, path, bytecode = dict(sys.modules), list(sys.path), sys.dont_write_bytecode
        neighbours = self._neighbours()
        for name in [*_of_users(before), *(n for n in before if neighbours and n.partition(".")[0] in neighbours)]:
            sys.modules.pop(name, None)
        sys.modules.update(self.modules)
        sys.path[:0] = self.path
        sys.dont_write_bytecode = True  # an edit within the second, of equal length, would not be noticed
        try:
            yield
        finally:
            new = {name: module for name, module in list(sys.modules.items()) if before.get(name) is not module}
            self.modules |= {name: new[name] for name in _of_users(new)}
            self.path = [p for p in dict.fromkeys(sys.path) if p in self.path or p not in path]
            for name in self.modules:
                sys.modules.pop(name, None)
            sys.modules.update({name: module for name, module in before.items() if name not in sys.modules})
            sys.path[:], sys.dont_write_bytecode = path, bytecode

    def _neighbours(self) -> set[str]:
        """Return the names of the folder's modules that are loaded from elsewhere."""
        changed = self.folder.stat().st_mtime_ns
        if self._listing[0] != changed:
            self._listing = changed, {e.stem for e in self.folder.iterdir() if e.suffix in ("", ".py")}
        return self._listing[1].intersection(sys.modules) - sys.stdlib_module_names - {self.kept, "__main__", "cvbench"}

    def source(self) -> str:
        """Digest of all modules that were imported from here so far."""
        return _hashed(self.modules)


INSTALLED_MODULES: dict[str, object] = {}
"""Modules that were found to be no user's: there are thousands, and a folder is entered twice a clip."""


def _of_users(modules: Mapping[str, object]) -> list[str]:
    """Return the names of those modules that are users'."""
    users = []
    for name, module in modules.items():
        if INSTALLED_MODULES.get(name) is not module:
            if _is_users(name, module):
                users.append(name)
            else:
                INSTALLED_MODULES[name] = module
    return users


def _is_users(name: str, module: object) -> bool:
    """Tell modules and namespaces of users from installed ones."""
    held = getattr(module, "__dict__", {})
    place = held.get("__file__") or next(iter(held.get("__path__") or ()), None)
    return isinstance(place, str) and name != "__main__" and not _is_installed(place)


@cache
def _is_installed(place: str) -> bool:
    path = Path(place).resolve()
    below = any(path.is_relative_to(folder) for folder in (*INSTALLED, PACKAGE))
    return below or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def _hashed(modules: Mapping[str, object]) -> str:
    """Digest the files of modules by name."""
    files = {name: Path(file) for name, m in sorted(modules.items()) if (file := getattr(m, "__file__", None))}
    return digest({name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()})


@dataclass(frozen=True)
class OwnModel:
    """What a factory made, under what name, and the code that it came from."""

    model: Any
    factory: str
    workspace: Workspace
    package: ModuleType | None = None

    def source(self) -> str:
        """Digest of the code: all modules imported from its folder, or of its installed package."""
        top = self.package.__name__.partition(".")[0] if self.package else ""
        loaded = {name: module for name, module in sys.modules.items() if top and name.partition(".")[0] == top}
        return digest([self.factory, self.workspace.source(), _hashed(loaded)])


def load_own(spec: str) -> OwnModel:
    """Call a user's factory with its arguments: FILE.py:FACTORY@KEY=VALUE,...

    Raises UsageError when file, module or factory is not there, fails, or makes no model.
    """
    parts = OWN.fullmatch(spec)
    if parts is None:
        raise UsageError(f"{spec!r} is neither FILE.py:FACTORY nor package.module:FACTORY")
    head, factory, given = parts["place"], parts["factory"], arguments(spec, parts["options"])
    is_file = head.endswith(".py")
    if is_file and not Path(head).is_file():
        raise UsageError(f"--models: {head} is no file")
    workspace = Workspace(Path(head).parent, Path(head).stem) if is_file else Workspace(Path.cwd())
    try:
        importlib.invalidate_caches()
        with workspace.entered():
            module = _run_file(Path(head)) if is_file else importlib.import_module(head)
            model = getattr(module, factory)(**given)
    except CvbenchError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        hint = "; two models are told apart by a second --models" if given and isinstance(error, TypeError) else ""
        raise UsageError(f"--models {spec}: {type(error).__name__}: {error}{hint}") from error
    return OwnModel(model, factory, workspace, None if is_file else module)


def _run_file(path: Path) -> ModuleType:
    """Import a file under its own name, so that its neighbours and its dataclasses find it."""
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names or not path.stem.isidentifier()
    name = f"cvbench_own_{digest(path.stem)[:8]}" if taken else path.stem
    location = importlib.util.spec_from_file_location(name, path.resolve())
    if location is None or location.loader is None:
        raise UsageError(f"--models: {path} cannot be imported")
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    location.loader.exec_module(module)
    return module
