import hashlib
import io
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from cvbench.store import FileStore, MemoryStore, Store, shards, view

KEY, OTHER = "ab" * 32, "cd" * 32
RAN = json.dumps({"cvbench": "1", "device": "a processor with a long name", "system": "Linux x86_64"})


@pytest.fixture(params=["files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FileStore(tmp_path) if request.param == "files" else MemoryStore()


def key(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


def anew(root: Path) -> FileStore:
    """The store as another process would see it."""
    shards.shards_in.cache_clear()
    return FileStore(root)


def shard_of(root: Path) -> Path:
    (path,) = root.glob("store/*.shard")
    return path


def test_rows_come_back_and_add_up(store: Store) -> None:
    store.add(KEY, {"psnr@1": np.array([1.5, 2.5])})
    store.add(KEY, {"ssim@1": np.array([0.5]), "note": np.array("too small")})
    rows = store.rows(KEY)
    assert rows["psnr@1"].tolist() == [1.5, 2.5]
    assert (rows["ssim@1"].tolist(), str(rows["note"])) == ([0.5], "too small")
    assert store.rows(OTHER) == {}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3), np.array(3.5), np.empty((0, 4)), np.array([True, False]),
        np.array(["a", "ü"]), np.array(""), np.array("x" * 500), np.array("\udcff"), np.arange(6)[::-2],
        np.array([1, 2], ">i2"), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.float16(1) / np.arange(1, 4),
    ],
    ids=str,
)  # fmt: skip
def test_arrays_come_back_as_they_were(array: np.ndarray, tmp_path: Path) -> None:
    FileStore(tmp_path).add(KEY, {"x": array})
    back = anew(tmp_path).rows(KEY)["x"]
    assert (back.dtype, back.shape) == (np.asarray(array).dtype, np.shape(array))
    assert back.tobytes() == np.asarray(array).tobytes()
    assert back.flags.writeable


def test_facts_come_back_the_last_one(store: Store) -> None:
    store.remember(KEY, 1)
    store.remember(KEY, {"shape": [1, 2], "text": "ü"})
    assert store.facts(KEY) == {"shape": [1, 2], "text": "ü"}
    assert store.facts(OTHER) is None


def test_a_text_that_many_rows_hold_is_kept_once(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for i in range(100):
        store.add(key(i), {"psnr@1": np.array([float(i)]), "environment": np.array(RAN)})
    assert shard_of(tmp_path).read_bytes().count(RAN.encode()) == 1
    assert shard_of(tmp_path).stat().st_size < 100 * 200
    assert str(anew(tmp_path).rows(key(7))["environment"]) == RAN


@pytest.mark.parametrize("seed", range(60))
def test_what_is_damaged_counts_as_missing_and_costs_nothing_else(seed: int, tmp_path: Path) -> None:
    store, rng = FileStore(tmp_path), np.random.default_rng(seed)
    for i in range(6):
        store.add(key(i), {"x": np.arange(5.0) + i, "environment": np.array(RAN)})
        store.remember(key(i), {"i": i})
    content = bytearray(shard_of(tmp_path).read_bytes())
    at = int(rng.integers(len(content)))
    content[at] ^= 1 << rng.integers(8)
    shard_of(tmp_path).write_bytes(content[: rng.integers(len(content))] if seed % 4 == 0 else content)
    again = anew(tmp_path)
    rows, facts = [again.rows(key(i)) for i in range(6)], [again.facts(key(i)) for i in range(6)]
    assert all(row == {} or row["x"].tolist() == (np.arange(5.0) + i).tolist() for i, row in enumerate(rows))
    assert all(fact in (None, {"i": i}) for i, fact in enumerate(facts))
    lost = sum(row == {} for row in rows) + sum(fact is None for fact in facts)
    assert seed % 4 == 0 or lost <= 1 or at < 500  # before 500 lies the text that all rows name
    for i in range(6):
        again.add(key(i), {"x": np.arange(5.0) + i, "environment": np.array(RAN)})
    assert all(anew(tmp_path).rows(key(i))["x"][0] == i for i in range(6))


def test_a_torn_tail_is_cut_by_the_next_writer(tmp_path: Path) -> None:
    FileStore(tmp_path).add(KEY, {"x": np.arange(3.0)})
    path = shard_of(tmp_path)
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() * 2)
    os.truncate(path, 2 * whole - 1)
    store = anew(tmp_path)
    assert store.rows(KEY)["x"].tolist() == [0, 1, 2]
    store.add(OTHER, {"x": np.arange(4.0)})
    assert shard_of(tmp_path) == path
    assert path.stat().st_size == 2 * whole + 8
    assert anew(tmp_path).rows(OTHER)["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{" * 9000, b"\xc7vb2" * 5000, b"\x93NUMPY"])
def test_what_others_left_counts_as_missing(content: bytes, tmp_path: Path) -> None:
    for path in ("rows/ab/" + KEY, "facts/ab/" + KEY, "store/0.shard", "store/index"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    store = FileStore(tmp_path)
    assert (store.rows(KEY), store.facts(KEY)) == ({}, None)
    store.add(KEY, {"x": np.arange(2.0)})
    assert anew(tmp_path).rows(KEY)["x"].tolist() == [0, 1]


def test_what_another_process_writes_is_seen(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert store.rows(KEY) == {}
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=add_columns, args=(tmp_path, 0, 1))
    writer.start()
    writer.join()
    store.refresh()
    assert "probe 0 0" in store.rows(KEY)


def add_columns(root: Path, writer: int, count: int = 25) -> None:
    store = FileStore(root)
    for i in range(count):
        store.add(KEY, {f"probe {writer} {i}": np.array([float(i)]), "environment": np.array(RAN)})


def test_two_writers_of_one_key_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_columns, args=(tmp_path, writer)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 2
    assert len(FileStore(tmp_path).rows(KEY)) == 51
    add_columns(tmp_path, 5)
    assert len(list(tmp_path.glob("store/*.shard"))) <= 2  # a shard that nobody writes is taken up


def test_a_child_writes_a_shard_of_its_own(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.add(KEY, {"parent": np.arange(2.0)})
    child = multiprocessing.get_context("fork").Process(target=store.add, args=(KEY, {"child": np.arange(3.0)}))
    child.start()
    child.join()
    store.add(KEY, {"again": np.arange(2.0)})
    assert set(anew(tmp_path).rows(KEY)) == {"parent", "child", "again"}
    assert len(list(tmp_path.glob("store/*.shard"))) == 2


def test_a_cache_that_is_deleted_meanwhile_is_begun_anew(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.add(KEY, {"x": np.arange(2.0)})
    shard_of(tmp_path).unlink()
    store.add(OTHER, {"x": np.arange(3.0)})
    store.refresh()
    assert (store.rows(KEY), store.rows(OTHER)["x"].tolist()) == ({}, [0, 1, 2])


def test_many_entries_are_found_through_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "FOLD", 100)
    store = FileStore(tmp_path)
    for i in range(400):
        store.remember(key(i), i)
        store.add(key(i), {"x": np.array([float(i)])})
    assert (tmp_path / "store/index").is_file()
    again = anew(tmp_path)
    assert len(again._shards._view.tail) < 300
    assert [again.facts(key(i)) for i in range(400)] == list(range(400))
    assert all(again.rows(key(i))["x"] == i for i in range(400))
    assert again.facts(key(-1)) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_index_gives_no_wrong_rows(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "FOLD", 20)
    store, rng = FileStore(tmp_path), np.random.default_rng(seed)
    for i in range(40):
        store.remember(key(i), i)
    index = tmp_path / "store/index"
    content = bytearray(index.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    index.write_bytes(content[: rng.integers(len(content))] if seed % 4 == 0 else content)
    again = anew(tmp_path)
    assert all(again.facts(key(i)) in (None, i) for i in range(40))


def test_an_old_cache_is_taken_over(tmp_path: Path) -> None:
    arrays = {"psnr@1": np.arange(4.0), "environment": np.array(RAN)}
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    old_file(tmp_path, "rows", KEY, out.getvalue())
    old_file(tmp_path, "rows", OTHER, out.getvalue())
    old_file(tmp_path, "facts", KEY, b'{"shape": [1, 2]}')
    store = FileStore(tmp_path)
    store.add(KEY, {"ssim@1": np.arange(2.0)})
    assert list(store.rows(KEY)) == ["psnr@1", "environment", "ssim@1"]
    assert str(store.rows(KEY)["environment"]) == RAN
    assert store.facts(KEY) == {"shape": [1, 2]}
    assert store.facts(OTHER) is None
    assert [path.name for path in tmp_path.glob("*/??/*")] == [OTHER]  # what was read is taken over, once
    assert store.take_over() == 1
    assert not (tmp_path / "rows").exists()
    assert anew(tmp_path).rows(OTHER)["psnr@1"].tolist() == [0, 1, 2, 3]


def old_file(root: Path, kind: str, name: str, content: bytes) -> None:
    path = root / kind / name[:2] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    told = hashlib.sha256(name.encode() + b"\n" + content).hexdigest()
    path.write_bytes(b"cvbench 1 " + told.encode() + b"\n" + content)


def test_what_cannot_be_written_is_kept_for_the_process_and_the_reason_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    store = FileStore(tmp_path / "cache")
    store.add(KEY, {"psnr@1": np.array([1.0])})
    store.remember(KEY, [1])
    assert store.rows(KEY)["psnr@1"].tolist() == [1.0]
    assert store.facts(KEY) == [1]
    assert "cannot be written" in store.trouble
    assert str(tmp_path / "cache") in store.trouble


def test_what_does_not_fit_on_the_disk_leaves_no_torn_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, write = FileStore(tmp_path), os.write
    store.add(KEY, {"x": np.arange(3.0)})
    whole = shard_of(tmp_path).stat().st_size

    def full(file: int, data: bytes) -> int:
        write(file, data[:50])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        store.add(OTHER, {"x": np.arange(3.0)})
    assert shard_of(tmp_path).stat().st_size == whole
    assert "No space left" in store.trouble
    assert store.rows(OTHER)["x"].tolist() == [0, 1, 2]


def test_rows_that_are_no_plain_arrays_are_refused_when_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        FileStore(tmp_path).add(KEY, {"x": np.array([{}], object)})


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "mine"))
    FileStore().remember(KEY, 1)
    assert shard_of(tmp_path / "mine").stat().st_size > 0
    assert os.environ["CVBENCH_CACHE"] in str(FileStore().root)
