import contextlib
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from cvbench.store import atomic, file_name, write_text
from cvbench.store.files import _sweep


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with contextlib.suppress(RuntimeError), atomic(path) as file:
        file.write(b"new, but")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def _write_often(path: Path, letter: str) -> None:
    for _ in range(200):
        write_text(path, letter * 100_000)


def test_two_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "x" * 100_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert len(set(path.read_text())) == 1
    assert all(writer.exitcode == 0 for writer in writers)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_rights_that_the_process_gives(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_killed_writers_left_is_removed_and_what_is_in_work_is_not(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".a.txt-0.part", tmp_path / ".a.txt-1.part"
    for path in (old, fresh):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    _sweep.cache_clear()
    write_text(tmp_path / "a.txt", "x")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", fresh.name}


def test_text_that_utf8_cannot_hold_is_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "caf\udce9")
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9"


def test_file_names_are_safe_and_differ_when_names_do() -> None:
    assert file_name("h264@crf=28", "coco-val", "cvvae-2405") == "h264@crf=28--coco-val--cvvae-2405"
    odd = {file_name(name) for name in ("../../etc/passwd", "a/b", "a:b", "a b", "ü", "<script>", "caf\udce9")}
    assert len(odd) == 7
    assert all("/" not in name and not name.startswith(".") for name in odd)


def test_long_names_fit_and_stay_apart() -> None:
    names = [file_name("m" * 300, "d" * 300, "p" * 300 + end) for end in "ab"]
    assert names[0] != names[1]
    assert max(map(len, names)) + len("-00000000.json") <= 255
