"""Reading ahead: threads decode and prepare the next samples while the model works, within bounds, in order."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from cvbench.engine.memory import available

T = TypeVar("T")

MOST_THREADS = 16
BUDGET = 1 << 30
"""Bytes of pixels that wait at most, where the machine has eight times that for each of its processes."""


def threads_for(local_world: int) -> int:
    """Return how many readers each of the processes on this machine has: its share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_THREADS, cores // local_world))


def budget_for(local_world: int) -> int:
    """Return how many bytes may wait to be worked on."""
    return min(BUDGET, available() // (8 * local_world))


class Readers(Generic[T]):
    """At most `threads` jobs at a time; `queue` holds their results in the order in which they were asked for.

    A job is begun only while what waits, with the largest result so far for each job under way, stays within `budget`
    bytes. Of the first, whose size nobody knows, there is one.
    """

    def __init__(self, threads: int, budget: int, size: Callable[[T], int]) -> None:
        self.threads, self.budget, self.size = threads, budget, size
        self.largest = 0
        self.queue: deque[tuple[int, Future[T]]] = deque()
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")

    def __enter__(self) -> "Readers[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def ask(self, place: int, job: Callable[[], T]) -> None:
        """Queue a job."""
        self.queue.append((place, self.pool.submit(self._measured, job)))

    def put(self, place: int, value: T) -> None:
        """Queue what is known already."""
        future: Future[T] = Future()
        future.set_result(value)
        self.queue.append((place, future))

    def _measured(self, job: Callable[[], T]) -> T:
        value = job()
        self.largest = max(self.largest, self.size(value))
        return value

    def has_room(self, left: int) -> bool:
        """Tell whether to ask for more: not for more than half of what is `left` to all."""
        if not self.queue:
            return True
        if len(self.queue) >= max(2, min(2 * self.threads, left // 2)):
            return False
        waiting = [self.size(f.result()) for _, f in self.queue if f.done() and not f.exception()]
        under_way = sum(not future.done() for _, future in self.queue)
        if under_way and not self.largest:
            return False
        return sum(waiting) + (under_way + 1) * self.largest <= self.budget
