"""Reading ahead: in order, within bounds of bytes and of what is left, and errors where they belong."""

import threading
import time
from functools import partial
from typing import Any

import pytest

from cvbench.engine import clock, memory, readers
from cvbench.engine.clock import MODEL, READING, stage, summary
from cvbench.engine.readers import Readers, budget_for, threads_for


def taken(here: Readers[bytes], jobs: list[Any], left: int) -> list[bytes]:
    found: list[bytes] = []
    for number, job in enumerate(jobs):
        here.ask(number, job)
        while not here.has_room(left):
            found.append(here.queue.popleft()[1].result())
    return found + [future.result() for _, future in here.queue]


def test_what_is_read_by_many_threads_comes_in_order() -> None:
    names: set[str] = set()

    def job(number: int) -> bytes:
        names.add(threading.current_thread().name)
        time.sleep(0.01 * (number % 3))
        return bytes([number])

    with Readers[bytes](4, 1000, len) as here:
        assert taken(here, [partial(job, n) for n in range(30)], 1000) == [bytes([n]) for n in range(30)]
    assert len(names) == 4


def test_no_more_bytes_wait_than_the_budget_and_the_first_is_read_alone() -> None:
    lock, under_way, most, held = threading.Lock(), 0, 0, [0]

    def job() -> bytes:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.005)
        with lock:
            under_way -= 1
        return bytes(100)

    with Readers[bytes](8, 350, len) as here:
        for number in range(20):
            here.ask(number, job)
            while not here.has_room(1000):
                here.queue.popleft()[1].result()
            held.append(len(here.queue))
    assert most <= 3
    assert max(held) <= 3


def test_towards_the_end_no_process_takes_what_others_could_work_on() -> None:
    with Readers[bytes](8, 1 << 30, len) as here:
        for number in range(2):
            here.put(number, b"")
        assert not here.has_room(0)
        assert not here.has_room(4)
        assert here.has_room(100)


def test_an_error_is_raised_where_its_sample_stands() -> None:
    def fails() -> bytes:
        raise ValueError("no picture")

    with Readers[bytes](2, 1000, len) as here:
        here.ask(0, lambda: b"a")
        here.ask(1, fails)
        here.put(2, b"c")
        results = [future for _, future in here.queue]
        assert (results[0].result(), results[2].result()) == (b"a", b"c")
        with pytest.raises(ValueError, match="no picture"):
            results[1].result()


def test_threads_and_bytes_are_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers.os, "sched_getaffinity", lambda _: set(range(96)), raising=False)
    assert [threads_for(processes) for processes in (1, 8, 200)] == [16, 12, 1]
    monkeypatch.setattr(readers, "available", lambda: 8 << 30)
    assert budget_for(1) == 8 * budget_for(8) == 1 << 30
    assert 0 < memory.available() < 1 << 50


def test_time_within_a_stage_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    with clock.running() as times:
        pass_time(1)
        with stage(MODEL):
            pass_time(5)
            with stage("psnr"):
                pass_time(2)
            pass_time(1)
        with stage(READING):
            pass_time(11)
        found = times.total()
    assert found == {"reading": 11, "model": 6, "psnr": 2, "the rest": 1}
    assert summary(found) == "time: reading 55%, model 30%, psnr 10%, the rest 5%; run over model 3.33"
    assert summary({"model": 0.1}) == ""
    with stage("nobody measures"):
        pass
