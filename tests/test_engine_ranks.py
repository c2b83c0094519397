"""Processes of one run: each sample is claimed once, the first knows all, and a process that dies is noticed."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvbench.commands.processes import devices_of, refuse
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.records import Failure
from cvbench.engine.ranks import Ranks, current
from cvbench.engine.shares import (
    Array,
    Ended,
    Header,
    Kept,
    Lost,
    Part,
    Sampled,
    deal,
    messages_of,
    packed,
    read_part,
    unpacked,
)

PROGRAM = """
import os, signal, sys
from cvbench.core.errors import CvbenchError
from cvbench.core.place import place_in
from cvbench.core.records import Failure
from cvbench.engine.ranks import Group, among
from cvbench.engine.shares import Ended, Lost, Sampled

class Talk:
    identity, items, total = "i", sys.argv[2], 40
    mine, heard = [], []
    def costs(self): return [1] * 40
    def closing(self): pass
    def waiting(self): pass
    def cache_root(self): return None
    def messages(self, shared):
        for place in self.mine:
            yield Sampled(str(place), "", (1, 1, 1), {"pid": os.getpid()}, {})
        yield Ended("i", "x", unread=[Lost(str(group.rank), Failure("f", "e"))])
    def absorb(self, message): self.heard.append(message)

with among(Group(place_in(os.environ))) as group:
    talk = Talk()
    try:
        places = group.begin(talk)
        for place, left in group.claims(places):
            talk.mine.append(place)
            group.advance(len(talk.mine))
            if group.rank and sys.argv[1] == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
        if group.rank:
            group.announce(Ended("i", "x", broken={"model": Lost("7", Failure("", "bad"))}))
        group.exchange(talk)
    except CvbenchError as error:
        sys.exit(f"{group.rank}: {error}")
    done = group.advance(len(talk.mine))
    news = [list(message.broken) for message in group.news()]
samples = [int(m.id) for m in talk.heard if isinstance(m, Sampled)]
print(group.rank, sorted(samples + talk.mine), done, news, talk.heard[-1].unread[0].id)
"""


FORK = """
import os, sys
import cvbench.engine.ranks
folder, how, *items = sys.argv[1:]
children = []
for rank, item in enumerate(items):
    if child := os.fork():
        children.append(child)
        continue
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{rank}.{name}", os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    sys.argv = ["", how, item]
    exec(open(f"{folder}/program").read())
    sys.exit()
print(*[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


class Process(NamedTuple):
    """How a process ended."""

    returncode: int
    stdout: str
    stderr: str


def together(folder: Path, how: str, items: Sequence[str] = ("x", "x")) -> list[Process]:
    """Run the program in as many processes as there are items; torch is imported once for all."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    (folder / "program").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(folder), how, *items], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "WORLD_SIZE": str(len(items)), "MASTER_ADDR": "localhost", "MASTER_PORT": port},
    )  # fmt: skip
    texts = [[(folder / f"{rank}.{name}").read_text() for name in ("out", "err")] for rank in range(len(items))]
    return [Process(int(code), *text) for code, text in zip(done.stdout.split(), texts, strict=True)]


def test_every_sample_is_claimed_once_and_the_first_knows_of_all(tmp_path: Path) -> None:
    first, second = together(tmp_path, "works")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    rank, known = first.stdout.split(" ", 1)
    assert (rank, known) == ("0", f"{list(range(40))} 40 [['model']] 1\n")
    assert second.stdout.endswith("0\n")  # what failed at the first is known to all


def test_a_process_that_dies_ends_the_others_with_a_word(tmp_path: Path) -> None:
    first, second = together(tmp_path, "dies")
    assert second.returncode == -9
    assert first.returncode == 1
    assert "another process of this run is gone" in first.stderr


def test_processes_that_see_other_samples_do_not_begin(tmp_path: Path) -> None:
    _, second = together(tmp_path, "works", ("x", "y"))
    assert second.returncode == 1
    assert "sees other samples" in second.stderr


@given(st.lists(st.integers(1, 1000), max_size=60), st.integers(1, 7))
def test_fixed_shares_are_whole_and_of_equal_cost(costs: list[int], count: int) -> None:
    shares = [deal(costs, number, count) for number in range(1, count + 1)]
    assert sorted(place for share in shares for place in share) == list(range(len(costs)))
    loads = [sum(costs[place] for place in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs, default=0)


def test_shares_are_of_cost_and_not_of_count() -> None:
    assert [deal([97, 1, 1, 1, 97, 1], number, 2) for number in (1, 2)] == [[0, 1, 3], [2, 4, 5]]


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<i8", "<U9"])
def test_rows_travel_as_they_are(dtype: str) -> None:
    for row in (
        np.arange(6).reshape(2, 3).astype(dtype),
        np.array("a reason").astype(dtype if "U" in dtype else "<U9"),
    ):
        kept = Kept("key", {"column": Array.of(row)})
        message = unpacked(packed(Sampled("id ü", "0", (1, 2, 3), {"pts": [0.1]}, {"owner": kept})))
        assert isinstance(message, Sampled)
        columns = message.rows["owner"].columns or {}
        assert columns["column"].unpacked().dtype == row.dtype
        assert np.array_equal(columns["column"].unpacked(), row)
        assert columns["column"].unpacked().shape == row.shape


def test_bytes_of_others_are_refused() -> None:
    with pytest.raises(CvbenchError, match="one version"):
        unpacked(b"\x81\xa1a\x01")


def test_a_part_holds_the_loops_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    with path.open("wb") as file:
        part = Part(file, Header(1, 2, ["run"]))
        for loop in ("first", "second"):
            part.write(Sampled(loop, "", (1, 1, 1), {}, {}))
            part.write(Ended("", loop, unread=[Lost("x", Failure("x", "y"))]))
    assert (part.samples, part.lost) == (2, 2)
    assert [type(message).__name__ for message in read_part(path)] == ["Header", *["Sampled", "Ended"] * 2]
    (sample, _) = messages_of([path], 1)
    assert isinstance(sample, Sampled)
    assert sample.id == "second"
    (tmp_path / "b.part").write_bytes(b"something else")
    with pytest.raises(CvbenchError, match="is no part"):
        list(read_part(tmp_path / "b.part"))


def test_nobody_joined_anything() -> None:
    assert type(current()) is Ranks
    assert list(current().claims(range(3))) == [(0, 2), (1, 1), (2, 0)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0-2", ["cuda:0", "cuda:1", "cuda:2"]),
        ("0,3", ["cuda:0", "cuda:3"]),
        ("cuda:1-1", ["cuda:1"]),
        ("cpu:2", ["cpu"] * 2),
    ],
)
def test_devices_are_named_by_number(text: str, names: list[str]) -> None:
    assert devices_of(text) == names


@pytest.mark.parametrize("text", ["", "3-1", "a", "cpu", "cpu:0", "0,0", "0-2,1", "-1"])
def test_devices_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--devices takes"):
        devices_of(text)


@pytest.mark.parametrize("given", [{"shard": "1/2", "devices": None}, {"shard": None, "devices": "cpu:2"}])
def test_what_one_process_must_do_is_not_done_by_several(given: dict[str, str | None]) -> None:
    refuse({"shard": None, "devices": None}, "the suite")
    with pytest.raises(UsageError, match="the suite runs in one"):
        refuse(given, "the suite")
