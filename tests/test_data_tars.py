import http.server
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import scene
from PIL import Image

from cvbench.cli import run_program
from cvbench.core.errors import UnreadableSample, UsageError
from cvbench.core.records import read_records
from cvbench.core.types import Sampling
from cvbench.data import open_dataset, packed, tars


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene(1, 48, 64, seed)[:, 0].transpose(1, 2, 0)).save(out, "PNG")
    return out.getvalue()


def clip(folder: Path, seed: int, frames: int = 5) -> bytes:
    path = folder / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for frame in scene(frames, 48, 64, seed).transpose(1, 2, 3, 0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def shard(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards as img2dataset and video2dataset write them."""
    folder = tmp_path / "shards"
    told = json.dumps({"caption": "a wall", "url": "x"}).encode()
    shard(
        folder / "00000.tar", {"000.png": png(0), "000.txt": "eine Tür".encode(), "000.json": told, "001.png": png(1)}
    )
    shard(folder / "00001.tar", {"000.json": told, "000.mkv": clip(tmp_path, 2), "a/1.png": png(3), "readme": b"x"})
    return folder


def test_shards_hold_samples_with_captions(shards: Path) -> None:
    dataset = open_dataset(f"{shards}/{{00000..00001}}.tar", {})
    assert [(item.id, item.caption) for item in dataset.items] == [
        ("00000/000", "eine Tür"), ("00000/001", None), ("00001/000", "a wall"), ("00001/a/1", None),
    ]  # fmt: skip
    samples = [item.read(Sampling(frames=3, stride=2)) for item in dataset.items]
    assert [sample.pixels.shape for sample in samples] == [(3, 1, 48, 64)] * 2 + [(3, 3, 48, 64), (3, 1, 48, 64)]
    assert np.array_equal(samples[1].pixels, scene(1, 48, 64, 1))
    assert np.array_equal(samples[2].pixels, scene(5, 48, 64, 2)[:, ::2])
    assert samples[2].id == "00001/000"
    assert open_dataset(f"{shards}/*.tar", {}).items[3].id == "00001/a/1"
    assert len(open_dataset(f"{shards / '00001.tar'}", {}).items) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/{00..02}.tar", ["s3://b/00.tar", "s3://b/01.tar", "s3://b/02.tar"]),
        ("s3://b/{9..10}/{1..2}.tar", ["s3://b/9/1.tar", "s3://b/9/2.tar", "s3://b/10/1.tar", "s3://b/10/2.tar"]),
        ("https://h/a.tar", ["https://h/a.tar"]),
        ("x/{098..101}.tar", ["x/098.tar", "x/099.tar", "x/100.tar", "x/101.tar"]),
    ],
)
def test_ranges_are_spelt_out(text: str, expected: list[str]) -> None:
    assert packed.shards_of(text) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ({}, "no images or videos"),
        (b"", "is no tar file"),
        (b"\x1f\x8b" + b"0" * 2000, "is no tar file"),
        ({"0.png": png(0), "0.jpg": png(0)}, "one sample with two pictures"),
    ],
)
def test_what_is_no_shard_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    shard(path, make) if isinstance(make, dict) else path.write_bytes(make)
    with pytest.raises(UsageError, match=message):
        open_dataset(str(path), {})


@pytest.mark.parametrize("text", ["no/such.tar", "no/{0..3}.tar", "no/*.tar", "no/{3..0}.tar", "zz://b/x.tar"])
def test_shards_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text.partition("{")[0])):
        open_dataset(text, {})


def test_a_shard_that_is_cut_or_changed_is_no_other_sample(shards: Path) -> None:
    path = shards / "00000.tar"
    first, second = open_dataset(str(path), {}).items
    before = first.fingerprint
    assert first.fingerprint != second.fingerprint
    os.truncate(path, path.stat().st_size // 4)
    assert first.fingerprint != before
    with pytest.raises(UnreadableSample, match="fetch its shard again"):
        second.read(Sampling())
    path.unlink()
    with pytest.raises(UnreadableSample, match="cannot be read"):
        second.read(Sampling())


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"001.png") + 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda path: os.truncate(path, path.read_bytes().index(b"001.png") + 100),
        lambda path: path.write_bytes(2 * path.read_bytes()),
    ],
    ids=["a head", "cut in a head", "two in one"],
)
def test_a_shard_that_ends_too_early_is_refused(damage: Callable[[Path], None], shards: Path) -> None:
    damage(shards / "00000.tar")
    with pytest.raises(UsageError, match="stands what is no member"):
        open_dataset(str(shards / "00000.tar"), {})


def test_a_shard_without_its_end_is_read(shards: Path) -> None:
    path = shards / "00000.tar"
    path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(600))
    assert len(open_dataset(str(path), {}).items) == 2


def test_links_among_members_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(0))
    os.link(tmp_path / "0.png", tmp_path / "1.png")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("0.png", "1.png"):
            tar.add(tmp_path / name, name)
    with pytest.raises(UsageError, match=r"1\.png is a link"):
        open_dataset(str(tmp_path / "x.tar"), {})


def test_damage_within_a_member_is_found(tmp_path: Path) -> None:
    content = bytearray(png(0))
    content[len(content) // 2] ^= 1
    (item,) = open_dataset(str(shard(tmp_path / "x.tar", {"0.png": bytes(content)})), {}).items
    with pytest.raises(UnreadableSample, match="x/0: "):
        item.read(Sampling())


def test_members_are_listed_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [item.id for item in open_dataset(str(shards / "00000.tar"), {}).items]
    monkeypatch.delattr(tars, "_listed")
    assert [item.id for item in open_dataset(str(shards / "00000.tar"), {}).items] == ids


def test_everyone_picks_the_same_by_hash(shards: Path, tmp_path: Path) -> None:
    whole = open_dataset(f"{shards}/{{00000..00001}}.tar", {})
    picked = open_dataset(f"{shards}/{{00000..00001}}.tar", {}, 2, pick="hash")
    assert {item.id for item in picked.items} < {item.id for item in whole.items}
    other = open_dataset(f"{shards}/{{00000..00001}}.tar", {}, 3, pick="hash")
    assert [item.id for item in other.items[:2]] == [
        item.id for item in picked.items
    ]  # a smaller N is a part of a larger
    assert picked.note == "hash picks 2 of 4"


class Ranged(http.server.SimpleHTTPRequestHandler):
    """A server that gives parts of files, as those of object stores do."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not wanted or not path.is_file():
            super().do_GET()
            return
        first = int(wanted[1])
        with path.open("rb") as file:
            file.seek(first)
            part = file.read(int(wanted[2]) + 1 - first)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{path.stat().st_size}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture
def server(shards: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="addresses need cvbench[remote]")
    served = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0),
        lambda *given: Ranged(*given, directory=str(shards)),  # type: ignore[arg-type]
    )
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_shards_are_read_over_the_network(server: str, shards: Path) -> None:
    here, there = (open_dataset(f"{base}/{{00000..00001}}.tar", {}) for base in (str(shards), server))
    assert [(a.id, a.caption) for a in here.items] == [(b.id, b.caption) for b in there.items]
    for a, b in zip(here.items, there.items, strict=True):
        assert np.array_equal(a.read(Sampling(5, 1)).pixels, b.read(Sampling(5, 1)).pixels)
    assert there.place == f"{server}/{{00000..00001}}.tar"
    with pytest.raises(UsageError, match=f"{server}/7.tar"):
        open_dataset(f"{server}/7.tar", {})


@pytest.mark.large
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", ["here", "there"])
def test_ten_thousand_clips_stream_with_memory_flat(place: str, server: str, shards: Path, tmp_path: Path) -> None:
    content = clip(tmp_path, 5, frames=2)  # a clip that stayed would be seen: 10,000 of them are 180 MB
    for i in range(10):
        shard(shards / f"big{i}.tar", {f"{k:05}.mkv": content for k in range(1000)})
    dataset = open_dataset(f"{shards if place == 'here' else server}/big{{0..9}}.tar", {})
    assert len(dataset.items) == 10_000
    used = []
    for i, item in enumerate(dataset.items):
        assert item.read(Sampling(2, 1)).pixels.shape == (3, 2, 48, 64)
        if i in (1000, 9999):
            used.append(int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]))  # type: ignore[index]
    assert used[1] - used[0] < 32 * 1024  # KiB


def test_a_run_over_shards(shards: Path, tmp_path: Path) -> None:
    line = ["run", "-m", "pool-8x8", "-d", f"mine={shards}/{{00000..00001}}.tar", "--limit", "3", "--pick", "hash"]
    assert (
        run_program([*line, "--metrics", "psnr", "--set", "size=32", "--no-speed", "--out", str(tmp_path / "o")]) == 0
    )
    (record,) = read_records([tmp_path / "o"])
    assert (record.data.name, record.data.n, record.data.note) == ("mine", 3, "hash picks 3 of 4")
