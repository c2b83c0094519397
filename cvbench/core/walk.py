"""The way from one protocol to another: one whole protocol a step, in the order of the way of the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cvbench.core.errors import UsageError
from cvbench.core.fields import EvalProtocol, as_text, checked, settable


@dataclass(frozen=True)
class Step:
    """A step of a walk: the part of the protocol that it changes, the fields in words, and where it leads."""

    label: str
    changes: str
    protocol: EvalProtocol


def groups() -> dict[str, list[str]]:
    """Return the fields that a walk changes at once, by the name of the step, in pipeline order."""
    found: dict[str, list[str]] = {}
    for f in settable():
        found.setdefault(f.metadata["step"], []).append(f.name)
    return found


def walk(a: EvalProtocol, b: EvalProtocol) -> list[Step]:
    """Return the steps from `a` to `b`; the last one leads to `b` itself. Equal protocols have none.

    A step whose protocol could not be, for its fields contradict others that come later, is taken with the next.
    """
    steps: list[Step] = []
    here, labels, pending = a, list[str](), list[str]()
    for label, names in groups().items():
        changed = [name for name in names if getattr(here, name) != getattr(b, name)]
        if not changed:
            continue
        here = replace(here, **{name: getattr(b, name) for name in changed})
        labels.append(label)
        pending += [f"{name}={as_text(getattr(b, name))}" for name in changed]
        if possible(here):
            named = replace(here, name=f"{a.name} to {b.name}, {len(steps) + 1}")
            steps.append(Step(" and ".join(labels), " ".join(pending), named))
            labels, pending = [], []
    if steps:
        steps[-1] = replace(steps[-1], protocol=b)
    return steps


def possible(p: EvalProtocol) -> bool:
    """Tell whether the fields of a protocol go together."""
    try:
        checked(p)
    except UsageError:
        return False
    return True


def differing(a: EvalProtocol, b: EvalProtocol) -> Sequence[str]:
    """Return the fields in which two protocols differ."""
    return [f.name for f in settable() if getattr(a, f.name) != getattr(b, f.name)]
