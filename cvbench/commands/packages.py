"""Which packages are installed, in which versions, and which of them do not fit each other, without loading them.

Loading all would take seven seconds and a gigabyte; of a version that does not fit, its metadata says the same.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator

from packaging.requirements import InvalidRequirement, Requirement

OURS = "cvbench"
DISTRIBUTIONS = {"PIL": "pillow", "open_clip": "open_clip_torch"}


def distribution(module: str) -> str:
    """Return under which name a module is installed."""
    return DISTRIBUTIONS.get(module, module)


def version(module: str) -> str:
    """Return a module's name and the version that is installed; raises PackageNotFoundError for one that is not."""
    return f"{module} {importlib.metadata.version(distribution(module))}"


def why_not(module: str, extra: str = "") -> str:
    """Return why a module will not load, as far as its files and its metadata tell, and what to do; else nothing."""
    get = f": pip install '{extra or distribution(module)}'"
    try:
        if importlib.util.find_spec(module) is None:
            return f"not installed{get}"
        importlib.metadata.version(distribution(module))
    except (ImportError, ValueError):  # no distribution either; a module whose place does not say what it is
        return f"not installed as a package{get}"
    return ", ".join([*_refused(OURS, only=distribution(module)), *_refused(distribution(module))])


def _refused(by: str, only: str = "") -> Iterator[str]:
    """Yield what a package stands on in a version that it does not take."""
    for requirement in _requirements(by):
        here = _installed(requirement.name)
        fits = here is None or requirement.specifier.contains(here, prereleases=True)
        if not fits and only in ("", requirement.name):
            needed = f"{requirement.name}{requirement.specifier}"
            yield f"{by} needs {needed}, here is {here}: pip install '{needed}'"


def _requirements(name: str) -> Iterator[Requirement]:
    """Yield what a package stands on here, without its extras."""
    for text in _texts(name):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # of an old wheel
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _texts(name: str) -> Iterable[str]:
    try:
        return importlib.metadata.requires(name) or ()
    except importlib.metadata.PackageNotFoundError:  # the sources, on the path
        return ()


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
