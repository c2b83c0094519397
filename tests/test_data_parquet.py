import http.server
import io
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from conftest import scene
from PIL import Image

from cvbench.cli import run_program
from cvbench.core.errors import UnreadableSample, UsageError
from cvbench.core.records import read_records
from cvbench.core.types import Sampling
from cvbench.data import hub, open_dataset, parquet

pa = pytest.importorskip("pyarrow", reason="tables need cvbench[parquet]")
pq = pytest.importorskip("pyarrow.parquet", reason="tables need cvbench[parquet]")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene(1, 48, 64, seed)[:, 0].transpose(1, 2, 0)).save(out, "PNG")
    return out.getvalue()


def write(path: Path, group: int = 2, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group, write_page_checksum=True)
    return path


def as_datasets_has_it(seeds: range) -> Any:
    """A column as `datasets.Image` keeps it."""
    return pa.array([{"bytes": png(seed), "path": "x.png"} for seed in seeds])


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Two files of five and two pictures, in row groups of two."""
    folder = tmp_path / "tables"
    write(folder / "test-00000-of-00002.parquet", image=as_datasets_has_it(range(5)), text=list("abcde"))
    write(folder / "test-00001-of-00002.parquet", image=as_datasets_has_it(range(5, 7)), text=["f", None])
    return folder


def test_rows_are_samples_with_captions(tables: Path) -> None:
    dataset = open_dataset(f"{tables}/test-{{00000..00001}}-of-00002.parquet", {})
    assert [(item.id, item.caption) for item in dataset.items] == [
        *((f"test-00000-of-00002/{k:06}", "abcde"[k]) for k in range(5)),
        ("test-00001-of-00002/000000", "f"), ("test-00001-of-00002/000001", None),
    ]  # fmt: skip
    order = [3, 0, 6, 1, 5, 4, 2]
    read = {k: dataset.items[k].read(Sampling()) for k in order}
    assert all(np.array_equal(read[k].pixels, scene(1, 48, 64, k)) for k in order)
    assert read[6].id == "test-00001-of-00002/000001"
    assert len({item.fingerprint for item in dataset.items}) == 7
    assert [item.id for item in open_dataset(f"{tables}/*.parquet", {}).items] == [item.id for item in dataset.items]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_plain_bytes_are_pictures(kind: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", jpg=pa.array([png(1)], kind), caption=[["first", "second"]])
    (item,) = open_dataset(str(path), {}).items
    assert np.array_equal(item.read(Sampling()).pixels, scene(1, 48, 64, 1))
    assert item.caption == "first"


def test_columns_are_found_or_named(tmp_path: Path) -> None:
    both = {"left": [png(1)], "right": [png(2)], "title": [" a wall "], "image": pa.array([1])}
    path = write(tmp_path / "x.parquet", **both)
    (item,) = open_dataset(f"{path}#right:title", {}).items
    assert np.array_equal(item.read(Sampling()).pixels, scene(1, 48, 64, 2))
    assert item.caption == "a wall"
    usual = write(tmp_path / "y.parquet", mask=[png(1)], image=[png(2)])
    (item,) = open_dataset(f"own={usual}", {}).items
    assert np.array_equal(item.read(Sampling()).pixels, scene(1, 48, 64, 2))


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        (
            {"url": ["http://x/1.jpg"], "caption": ["a"]},
            "",
            r"no pictures; its columns are url \(string\).*img2dataset",
        ),
        ({"left": [b"1"], "right": [b"2"]}, "", r"several columns of bytes.*FILE#COLUMN"),
        ({"image": [b"1"], "title": ["a"]}, "#photo", "no column of pictures 'photo'"),
        ({"image": [b"1"], "title": ["a"]}, "#title", "no column of pictures 'title'"),
        ({"image": [b"1"], "title": ["a"]}, "#image:caption", "no column 'caption' of captions"),
        ({"image": pa.array([], pa.binary())}, "", "no images or videos"),
    ],
)
def test_tables_without_the_columns_are_refused(columns: Any, names: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", **columns)
    with pytest.raises(UsageError, match=message):
        open_dataset(f"{path}{names}", {})


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"PAR1" + b[4:-8] + b[:8]])
def test_files_that_are_no_tables_are_refused(spoil: Callable[[bytes], bytes], tables: Path) -> None:
    path = tables / "test-00000-of-00002.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UsageError, match="is no Parquet table, or damaged"):
        open_dataset(str(path), {})


@pytest.mark.parametrize("text", ["no/such.parquet", "no/{0..3}.parquet", "no/*.parquet", "zz://b/x.parquet"])
def test_tables_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text.partition("{")[0])):
        open_dataset(text, {})


def test_damage_is_named_and_costs_its_row_or_row_group_alone(tmp_path: Path) -> None:
    cells = [png(0), png(1)[:80], None, b"no picture at all", *map(png, range(4, 8))]
    path = write(tmp_path / "x.parquet", image=pa.array(cells, pa.binary()))
    content = bytearray(path.read_bytes())
    content[content.index(png(6)[60:90]) + 10] ^= 1
    path.write_bytes(content)
    outcomes = []
    for item in open_dataset(str(path), {}).items:
        try:
            item.read(Sampling())
            outcomes.append("")
        except UnreadableSample as error:
            outcomes.append(str(error))
    assert [bool(text) for text in outcomes] == [False, True, True, True, False, False, True, True]
    assert all(text.startswith(f"x/{k:06}: ") for k, text in enumerate(outcomes) if text)
    assert "is empty there" in outcomes[2]
    assert "CRC checksum verification failed" in outcomes[6]


def test_a_table_that_changes_is_no_other_sample(tables: Path) -> None:
    path = tables / "test-00000-of-00002.parquet"
    items = open_dataset(str(path), {}).items
    before = items[4].fingerprint
    items[4].read(Sampling())
    write(path, image=as_datasets_has_it(range(3)))
    assert items[4].fingerprint != before
    with pytest.raises(UnreadableSample, match="has changed"):
        items[4].read(Sampling())
    path.unlink()
    with pytest.raises(UnreadableSample, match="there is no shard"):
        items[0].read(Sampling())


def test_each_row_group_is_read_once_in_order(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = open_dataset(f"{tables}/*.parquet", {}).items
    parquet._group.cache_clear()
    for item in items:
        item.read(Sampling())
    assert parquet._group.cache_info().misses == 4
    monkeypatch.delattr(parquet, "_looked_at")  # what a table holds is remembered
    assert len(open_dataset(f"{tables}/*.parquet", {}).items) == 7


def test_large_row_groups_and_no_pyarrow_are_told(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_OF_A_GROUP", 1000)
    with pytest.raises(UsageError, match="row_group_size=100"):
        open_dataset(f"{tables}/*.parquet", {})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'cvbench[parquet]'")):
        open_dataset(f"{tables}/*.parquet", {})


def test_a_run_over_a_table_fails_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.parquet", image=[png(0), png(1)[:80], png(2)])
    line = ["run", "-m", "pool-8x8", "-d", f"mine={path}", "--metrics", "psnr", "--set", "size=32", "--no-speed"]
    assert run_program([*line, "--out", str(tmp_path / "o")]) == 3
    (record,) = read_records([tmp_path / "o"])
    assert [sample.id for sample in record.samples] == ["x/000000", "x/000002"]
    assert "x/000001" in capsys.readouterr().err + record.failures[0].told


class Hub(http.server.BaseHTTPRequestHandler):
    """What of the hub's interface is asked for: a revision's commit and files, their sizes, and parts of them."""

    folder: Path
    asked: list[str]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, body: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _entry(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.folder).as_posix()
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": name.encode().hex()[:40]}

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.asked.append(path)
        if path in (f"/api/datasets/o/n/revision/{r}" for r in ("main", "v1", COMMIT, "refs/convert/parquet")) or (
            path == "/api/datasets/o/n"
        ):
            names = [{"rfilename": self._entry(file)["path"]} for file in self._files()]
            self._answer(json.dumps({"id": "o/n", "sha": COMMIT, "siblings": names}).encode())
        elif path.startswith(f"/api/datasets/o/n/tree/{COMMIT}"):
            self._answer(json.dumps([self._entry(file) for file in self._files()]).encode())
        elif path.startswith(f"/datasets/o/n/resolve/{COMMIT}/"):
            self._part(self.folder / path.partition(f"{COMMIT}/")[2])
        elif path.startswith("/api/datasets/o/n/revision/"):
            self._answer(b"{}", 404, X_Error_Code="RevisionNotFound")
        else:
            self._answer(b"{}", 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        fields = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(json.dumps([self._entry(f) for f in self._files() if f.name in unquote(fields)]).encode())

    def _part(self, path: Path) -> None:
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(wanted[1]), int(wanted[2])) if wanted else (0, len(content) - 1)
        part = content[first : last + 1]
        told = {"Content_Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}", "ETag": '"x"'}
        self._answer(part, 206 if wanted else 200, **told)


@pytest.fixture
def served(tables: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    from huggingface_hub import HfFileSystem, constants

    handler = type("OfTables", (Hub,), {"folder": tables.parent, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", base)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", base + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    HfFileSystem.clear_instance_cache()
    yield handler
    HfFileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()


def test_a_data_set_of_the_hub_is_read_at_its_commit(served: type[Hub], tmp_path: Path) -> None:
    dataset = open_dataset("hf:datasets/o/n@v1", {})
    assert [item.caption for item in dataset.items] == [*"abcdef", None]
    assert dataset.place == f"hf:datasets/o/n@{COMMIT}/"
    assert np.array_equal(dataset.items[6].read(Sampling()).pixels, scene(1, 48, 64, 6))
    assert all(COMMIT in path for path in served.asked if "/resolve/" in path or "/tree/" in path)
    line = ["run", "-m", "pool-8x8", "-d", "mine=hf:datasets/o/n#image", "--limit", "2", "--metrics", "psnr"]
    assert run_program([*line, "--set", "size=32", "--no-speed", "--out", str(tmp_path / "o")]) == 0
    (record,) = read_records([tmp_path / "o"])
    assert record.data.note == f"2 files of commit {COMMIT}; first 2 of 7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf:datasets/o", "name a data set of the hub as hf:datasets/OWNER/NAME"),
        ("hf:datasets/o/n@", "name a data set of the hub as"),
        ("hf:datasets/o/m", "has no data set o/m"),
        ("hf:datasets/o/n@v9", "has no revision v9"),
        ("hf:datasets/o/n/tables/val-*.parquet", r"no file matches.*o/n/tables/test-\*\.parquet"),
        ("hf:datasets/o/n#photo", "no column of pictures 'photo'"),
    ],
)
def test_what_the_hub_has_not_is_told(text: str, message: str, served: type[Hub]) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(text, {})


def test_parts_of_a_data_set_are_not_mixed(served: type[Hub], tables: Path) -> None:
    write(tables / "train-00000-of-00001.parquet", image=as_datasets_has_it(range(8, 9)))
    with pytest.raises(UsageError, match=r"several parts; name one.*n/tables/test-\*\.parquet, .*/train-\*\.parquet"):
        open_dataset("hf:datasets/o/n", {})
    assert len(open_dataset("hf:datasets/o/n/tables/train-*.parquet", {}).items) == 1
    assert len(open_dataset("hf:datasets/o/n@main/tables/test-{00000..00001}-of-00002.parquet", {}).items) == 7
    assert len(open_dataset("hf:datasets/o/n@refs/convert/parquet/tables/train-*.parquet", {}).items) == 1
    for file in tables.glob("*.parquet"):
        file.unlink()
    with pytest.raises(UsageError, match="no Parquet files there; the hub's own conversion"):
        open_dataset("hf:datasets/o/n", {})


def test_without_the_hub_the_message_says_how_to_go_on() -> None:
    with pytest.raises(UsageError, match="hf download --repo-type dataset o/n"):
        open_dataset("hf:datasets/o/n", {})


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("data/train-00000-of-00005-0123456789abcdef.parquet", "data/train-*.parquet"),
        ("default/test/0000.parquet", "default/test/*.parquet"),
        ("all.parquet", "all.parquet"),
        ("cifar_10.parquet", "cifar-*.parquet"),
    ],
)
def test_parts_are_known_by_their_names(file: str, part: str) -> None:
    assert hub.part_of(file) == part
