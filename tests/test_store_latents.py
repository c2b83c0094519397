from pathlib import Path

import numpy as np

from cvbench.store import LATENTS, LatentStore
from cvbench.store.latents import content


def test_latents_come_back_as_they_were_with_their_hash(tmp_path: Path) -> None:
    store, latents = LatentStore(tmp_path), np.arange(24, dtype=np.float16).reshape(4, 1, 2, 3)
    assert store.rows("a" * 64) == {}
    store.add("a" * 64, {LATENTS: latents, "environment": np.array("here")})
    found = LatentStore(tmp_path).rows("a" * 64)
    assert found[LATENTS].dtype == np.float16
    assert np.array_equal(found[LATENTS], latents)
    assert str(found["environment"]) == "here"
    assert store.sha256("a" * 64) == content(latents) != content(latents.astype(np.float32))


def test_a_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    store.add("b" * 64, {LATENTS: np.ones((1, 1, 8, 8), np.float32)})
    raw = bytearray(store.path("b" * 64).read_bytes())
    for damaged in (bytes(raw[:-9]), bytes(raw[:-1] + b"\x01"), b"", b"nothing"):
        store.path("b" * 64).write_bytes(damaged)
        assert store.rows("b" * 64) == {}
        assert store.sha256("b" * 64) == ""
