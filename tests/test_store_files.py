import contextlib
import importlib.metadata
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from conftest import record

from cvbench.store import FileStore, atomic, file_name, prepared_key, row_key, write_record, write_text


def test_rows_come_back_and_add_up(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.add("ab" * 32, {"psnr@1": np.array([1.5, 2.5])})
    store.add("ab" * 32, {"ssim@1": np.array([0.5]), "note": np.array("too small")})
    rows = store.rows("ab" * 32)
    assert rows["psnr@1"].tolist() == [1.5, 2.5]
    assert (rows["ssim@1"].tolist(), str(rows["note"])) == ([0.5], "too small")
    assert store.rows("cd" * 32) == {}


def test_a_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.add("ab" * 32, {"psnr@1": np.arange(100.0)})
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:150])
    assert store.rows("ab" * 32) == {}
    store.remember("ab" * 32, {"x": 1})
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"x"')
    assert store.facts("ab" * 32) is None


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


def test_keys_hold_everything_that_changes_the_rows() -> None:
    base = row_key("s", "m", {"round8": True})
    assert (
        len(
            {
                base,
                row_key("t", "m", {"round8": True}),
                row_key("s", "n", {"round8": True}),
                row_key("s", "m", {"round8": False}),
            }
        )
        == 4
    )
    assert prepared_key("f", {"size": 1}) != prepared_key("f", {"size": 2})


def test_file_names_are_safe_and_differ_when_names_do() -> None:
    assert file_name("h264@crf=28", "coco-val", "cvvae-2405") == "h264@crf=28--coco-val--cvvae-2405"
    odd = {file_name(name) for name in ("../../etc/passwd", "a/b", "a:b", "a b", "ü", "<script>")}
    assert len(odd) == 6
    assert all("/" not in name and not name.startswith(".") for name in odd)


def test_a_model_that_could_not_run_never_replaces_scores(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    kept = path.read_text()
    write_record(tmp_path, record(scores={}, samples=[], error="weights are missing"))
    assert path.read_text() == kept


def test_another_version_of_a_decoder_reads_sources_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepared_key("f", {})
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99" if name == "av" else version(name))
    assert prepared_key("f", {}) != before
