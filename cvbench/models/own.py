"""A user's own model: FILE.py:FACTORY or package.module:FACTORY, imported with its neighbours, apart from others."""

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, UsageError

INSTALLED = tuple(
    Path(place).resolve()
    for key, place in sysconfig.get_paths().items()
    if key in ("stdlib", "platstdlib", "purelib", "platlib")
)
"""Where Python's own modules and installed packages lie, whose versions are known otherwise."""


def is_own(spec: str) -> bool:
    """Tell whether `spec` names a user's own model: path/to/file.py:factory or package.module:factory."""
    head, colon, tail = spec.rpartition(":")
    return bool(colon) and tail.isidentifier() and head != "hf" and "@" not in tail


class Workspace:
    """A folder of a user's code, first on the path while its code runs, as it is for `python FILE.py`.

    Its modules are in `sys.modules` only then: a neighbour called `net` of one folder is never another folder's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.modules: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run code with the folder's modules in place."""
        before, text = dict(sys.modules), str(self.folder)
        for name in [n for n, m in before.items() if self._is_shadowed(n, m)]:
            del sys.modules[name]
        sys.modules.update(self.modules)
        sys.path.insert(0, text)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(text)
            now = list(sys.modules.items())  # at once: another thread may import
            self.modules |= {n: m for n, m in now if before.get(n) is not m and self._is_local(m)}
            for name in self.modules:
                sys.modules.pop(name, None)
            sys.modules.update({n: m for n, m in before.items() if n not in sys.modules})

    def _is_shadowed(self, name: str, module: object) -> bool:
        """Tell whether the folder has another module of this name than the one that is loaded."""
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("__main__", "cvbench") or _file(module) is None:
            return False
        here = (self.folder / f"{top}.py").is_file() or (self.folder / top / "__init__.py").is_file()
        return here and not _below(module, self.folder)

    def _is_local(self, module: object) -> bool:
        """Tell modules of users from installed ones."""
        return _file(module) is not None and not any(_below(module, place) for place in (*INSTALLED, PACKAGE))

    def source(self) -> str:
        """Digest of all modules that were imported from here so far."""
        files = {name: file for name, module in self.modules.items() if (file := _file(module))}
        return digest({name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in sorted(files.items())})


PACKAGE = Path(__file__).resolve().parents[1]


def _file(module: object) -> Path | None:
    found = getattr(module, "__file__", None)
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def _below(module: object, folder: Path) -> bool:
    file = _file(module)
    return file is not None and file.resolve().is_relative_to(folder)


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
        loaded = {n: f for n, m in list(sys.modules.items()) if top and n.partition(".")[0] == top and (f := _file(m))}
        held = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in sorted(loaded.items())}
        return digest([self.factory, self.workspace.source(), held])


def load_own(spec: str) -> OwnModel:
    """Call a user's factory. Raises UsageError when file, module or factory is not there, fails, or makes no model."""
    head, _, factory = spec.rpartition(":")
    is_file = head.endswith(".py")
    workspace = Workspace(Path(head).parent if is_file else Path.cwd())
    try:
        with workspace.entered():
            module = _run_file(Path(head)) if is_file else importlib.import_module(head)
            model = getattr(module, factory)()
    except CvbenchError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"--models {spec}: {type(error).__name__}: {error}") from error
    return OwnModel(model, factory, workspace, None if is_file else module)


def _run_file(path: Path) -> ModuleType:
    """Import a file under its own name, so that its neighbours and its dataclasses find it."""
    if not path.is_file():
        raise UsageError(f"--models: {path} is no file")
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names or not path.stem.isidentifier()
    name = f"cvbench_own_{digest(path.stem)[:8]}" if taken else path.stem
    location = importlib.util.spec_from_file_location(name, path.resolve())
    if location is None or location.loader is None:
        raise UsageError(f"--models: {path} cannot be imported")
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    location.loader.exec_module(module)
    return module
