import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from cvbench.store import FileStore, MemoryStore, Store

KEY, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(params=["files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FileStore(tmp_path) if request.param == "files" else MemoryStore()


def test_rows_come_back_and_add_up(store: Store) -> None:
    store.add(KEY, {"psnr@1": np.array([1.5, 2.5])})
    store.add(KEY, {"ssim@1": np.array([0.5]), "note": np.array("too small")})
    rows = store.rows(KEY)
    assert rows["psnr@1"].tolist() == [1.5, 2.5]
    assert (rows["ssim@1"].tolist(), str(rows["note"])) == ([0.5], "too small")
    assert store.rows(OTHER) == {}


def test_facts_come_back(store: Store) -> None:
    store.remember(KEY, {"shape": [1, 2], "text": "ü"})
    assert store.facts(KEY) == {"shape": [1, 2], "text": "ü"}
    assert store.facts(OTHER) is None


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if len(path.name) == 64]


@pytest.mark.parametrize("seed", range(40))
def test_a_file_with_any_byte_changed_counts_as_missing(seed: int, tmp_path: Path) -> None:
    store, rng = FileStore(tmp_path), np.random.default_rng(seed)
    store.add(KEY, {"psnr@1": np.arange(20.0)})
    store.remember(KEY, {"sha256": "0", "shape": [1, 16, 16]})
    for path in files(tmp_path):
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content[: rng.integers(len(content))] if seed % 4 == 0 else content)
    assert store.rows(KEY) == {}
    assert store.facts(KEY) is None
    store.add(KEY, {"psnr@1": np.arange(3.0)})
    assert store.rows(KEY)["psnr@1"].tolist() == [0, 1, 2]


def test_a_file_under_anothers_name_counts_as_missing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.add(KEY, {"psnr@1": np.arange(3.0)})
    (path,) = files(tmp_path)
    target = tmp_path / "rows" / OTHER[:2] / OTHER
    target.parent.mkdir()
    target.write_bytes(path.read_bytes())
    assert store.rows(OTHER) == {}


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"{" * 9000, b"cvbench 1 " + b"0" * 64 + b"\n{}", b"\x93NUMPY"]
)
def test_what_others_left_counts_as_missing(content: bytes, tmp_path: Path) -> None:
    for kind in ("rows", "facts"):
        path = tmp_path / kind / KEY[:2] / KEY
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    store = FileStore(tmp_path)
    assert (store.rows(KEY), store.facts(KEY)) == ({}, None)


def add_columns(root: Path, writer: int) -> None:
    store = FileStore(root)
    for i in range(25):
        store.add(KEY, {f"probe {writer} {i}": np.array([float(i)])})


def test_four_writers_of_one_key_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_columns, args=(tmp_path, writer)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(FileStore(tmp_path).rows(KEY)) == 100


def test_what_cannot_be_written_is_kept_for_the_process_and_the_reason_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    store = FileStore(tmp_path / "cache")
    store.add(KEY, {"psnr@1": np.array([1.0])})
    store.remember(KEY, [1])
    assert store.rows(KEY)["psnr@1"].tolist() == [1.0]
    assert store.facts(KEY) == [1]
    assert "cannot be written" in store.trouble
    assert str(tmp_path / "cache") in store.trouble


def test_rows_that_are_no_plain_arrays_are_refused_when_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        FileStore(tmp_path).add(KEY, {"x": np.array([{}], object)})


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "mine"))
    FileStore().remember(KEY, 1)
    assert json.loads(files(tmp_path / "mine")[0].read_bytes().split(b"\n", 1)[1]) == 1
    assert os.environ["CVBENCH_CACHE"] in str(FileStore().root)
