"""Where the time of a run goes, stage by stage, without making the device wait."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch

MARKS = 2048
"""Marks on the device's stream that are kept before they are read."""
OTHER = "the rest"


class Clock:
    """Seconds by stage; within a stage another may run, whose time is its own.

    On a GPU the stages are marked by events on its stream, which are read much later: so the time is the device's, its
    waiting included, and nobody waits for it.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.stack: list[str] = [OTHER]
        self.marks: list[tuple[Any, str]] = []
        self.last = time.perf_counter()

    def enter(self, name: str) -> None:
        """Begin a stage."""
        self._mark()
        self.stack.append(name)

    def leave(self) -> None:
        """End the stage that began last."""
        self._mark()
        self.stack.pop()

    def _mark(self) -> None:
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self.marks.append((event, self.stack[-1]))
            if len(self.marks) >= MARKS:
                self._read()
            return
        now = time.perf_counter()
        self.seconds[self.stack[-1]] += now - self.last
        self.last = now

    def _read(self) -> None:
        for (before, _), (after, name) in zip(self.marks, self.marks[1:], strict=False):
            after.synchronize()
            self.seconds[name] += before.elapsed_time(after) / 1000
        del self.marks[:-1]

    def total(self) -> dict[str, float]:
        """Return the seconds of each stage up to now, the longest first."""
        self._mark()
        self._read()
        return dict(sorted(self.seconds.items(), key=lambda item: -item[1]))


_current: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextlib.contextmanager
def running() -> Iterator[Clock]:
    """Measure what happens within."""
    clock = Clock()
    token = _current.set(clock)
    try:
        yield clock
    finally:
        _current.reset(token)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Count what happens within as `name`, where somebody measures."""
    clock = _current.get()
    if clock is None:
        yield
        return
    clock.enter(name)
    try:
        yield
    finally:
        clock.leave()


READING, MODEL, STORE = "reading", "model", "store"
LEAST = 1.0
"""Seconds of models below which a run tells nothing."""


def summary(seconds: dict[str, float]) -> str:
    """Return where the time went, in one line, with run time over model time; "" for a run that ran no model.

    Reading is what the device waited for readers, not what they worked.
    """
    whole, models = sum(seconds.values()), seconds.get(MODEL, 0.0)
    if models < LEAST:
        return ""
    shares = ((name, spent / whole) for name, spent in seconds.items() if name != OTHER)
    told = [f"{name} {share:.0%}" for name, share in shares if share >= 0.005]
    rest = seconds.get(OTHER, 0.0) / whole
    return f"time: {', '.join([*told, f'{OTHER} {rest:.0%}'])}; run over model {whole / models:.2f}"
