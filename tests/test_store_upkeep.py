import os
import time
from pathlib import Path

import numpy as np
import pytest
from test_store_rows import KEY, OTHER, RAN, anew, key, old_file

from cvbench.store import FileStore, upkeep
from cvbench.store.entries import ROWS
from cvbench.store.packing import pack_rows
from cvbench.store.shards import begun


def filled(root: Path, writers: int = 3) -> None:
    """Shards of several writers, each with rows, facts and doubles."""
    for writer in range(writers):
        for i in range(10):
            store = FileStore(root)
            store.add(key(10 * writer + i), {"x": np.arange(50.0) + i, "environment": np.array(RAN)})
            store.add(key(10 * writer + i), {"x": np.arange(50.0) + i, "environment": np.array(RAN)})
            store.remember(KEY, [writer, i])
        store._shards.leave()
        begun(root / "store").close()


def test_what_a_cache_holds_is_counted(tmp_path: Path) -> None:
    assert upkeep.size(tmp_path) == (0, 0, 0, 0, 0)
    filled(tmp_path, 1)
    old_file(tmp_path, "facts", OTHER, b"1")
    size = upkeep.size(tmp_path)
    on_disk = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert (size.files, size.bytes, size.rows, size.facts, size.earlier) == (len(on_disk), sum(on_disk), 20, 10, 1)


def test_compacting_keeps_everything_once(tmp_path: Path) -> None:
    filled(tmp_path)
    old_file(tmp_path, "facts", OTHER, b"1")
    before = upkeep.size(tmp_path)
    freed = upkeep.compact(tmp_path)
    after = upkeep.size(tmp_path)
    assert (freed.entries, freed.busy) == (30 + 29, 0)
    assert (after.rows, after.facts, after.earlier) == (30, 2, 0)
    assert before.bytes - freed.bytes >= after.bytes
    assert len(list(tmp_path.glob("store/*.shard"))) == 1
    for store in (FileStore(tmp_path), anew(tmp_path)):  # one that was open meanwhile, and a new one
        assert all(store.rows(key(i))["x"][0] == i % 10 for i in range(30))
        assert str(store.rows(key(3))["environment"]) == RAN
        assert (store.facts(KEY), store.facts(OTHER)) == ([2, 9], 1)


def test_a_shard_that_another_writes_stays_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    other = begun(tmp_path / "store")
    assert upkeep.compact(tmp_path).busy == 1
    assert (tmp_path / "store" / other.name).exists()
    other.close()
    foreign = tmp_path / "store" / "00000000-1.shard"
    foreign.write_bytes(b"")
    assert upkeep.compact(tmp_path).busy == 1  # of another machine, written just now
    os.utime(foreign, (time.time() - 2 * upkeep.DAY,) * 2)
    assert upkeep.compact(tmp_path).busy == 0


def test_pruning_drops_the_oldest_rows_and_no_facts(tmp_path: Path) -> None:
    store, now = FileStore(tmp_path), time.time_ns()
    for i in range(20):
        packed = pack_rows({"x": np.arange(100.0)}, lambda text: b"")
        store._shards.append(ROWS, bytes.fromhex(key(i)), packed, now - i * 86400 * 10**9)
    store.remember(KEY, 1)
    assert upkeep.prune(tmp_path, older_than=10.5 * 86400).entries == 9
    assert [i for i in range(20) if anew(tmp_path).rows(key(i))] == list(range(11))
    limit = 5 * 1000
    upkeep.prune(tmp_path, to_bytes=limit)
    assert upkeep.size(tmp_path).bytes <= limit
    assert [i for i in range(20) if anew(tmp_path).rows(key(i))] == [0, 1, 2, 3, 4]
    assert anew(tmp_path).facts(KEY) == 1
    assert upkeep.prune(tmp_path, to_bytes=limit).entries == 0


@pytest.mark.parametrize("limit", [0, 10**9])
def test_pruning_to_nothing_and_of_nothing(limit: int, tmp_path: Path) -> None:
    assert upkeep.prune(tmp_path, to_bytes=limit).entries == 0
    filled(tmp_path, 1)
    upkeep.prune(tmp_path, to_bytes=limit)
    assert bool(FileStore(tmp_path).rows(key(0))) == (limit > 0)
