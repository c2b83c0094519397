"""What is being worked on, told to whoever watches; where nobody does, nothing is done."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import NamedTuple


class Working(NamedTuple):
    """A model begins with samples: the `place`th of so many `models`, from 1."""

    model: str
    place: int
    models: int
    samples: Sequence[str]


class Done(NamedTuple):
    """What was measured of a sample is stored; `errors` say what was not. `model` is "" for the sample itself."""

    data: str
    model: str
    sample: str
    errors: Sequence[str] = ()


Watcher = Callable[[Working | Done], None]
_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())


@contextlib.contextmanager
def watched(*by: Watcher) -> Iterator[None]:
    """Tell these what happens within."""
    token = _watchers.set((*_watchers.get(), *by))
    try:
        yield
    finally:
        _watchers.reset(token)


def tell(what: Working | Done) -> None:
    """Tell whoever watches."""
    for watcher in _watchers.get():
        watcher(what)
