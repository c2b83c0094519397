"""By what weights are known: everything that is loaded is in the hash, and the commit of the hub beside it."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import PROTOCOL

from cvbench import weights
from cvbench.core.errors import BadWeights
from cvbench.engine.subject import Listed, Setting
from cvbench.store import FileStore
from cvbench.weights import Source, digests

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "lone").mkdir()
    path = tmp_path / "lone" / "net.safetensors"
    path.write_bytes(b"one")
    return path


def settle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file count as written long ago."""
    now = time.time_ns()
    monkeypatch.setattr(digests.time, "time_ns", lambda: now + 10 * digests.SETTLED)


def test_a_lone_file_is_known_by_its_own_hash(file: Path) -> None:
    assert weights.identity(file) == weights.Identity(sha256(b"one"), "")


def test_settings_beside_a_file_are_part_of_it(file: Path) -> None:
    found = {weights.identity(file).sha256}
    for text in ("{}", '{"scale": 2}'):
        (file.parent / "config.json").write_text(text)
        found.add(weights.identity(file).sha256)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("halves", "weights_of", "spec"),
    [
        ("taesana_{}.pth", {"taesana": ""}, "taesana"),
        ("taesana_{}.pth", {"taesana": "taesana_decoder.pth"}, "taesana"),
        ("taesana_{}.pth", {"taesana": "taesana_encoder.pth"}, "taesana"),
        ("taesana_{}.pth", {}, "FOLDER/taesana_decoder.pth@as=taesana"),
        ("taesana_{}.pth", {}, "FOLDER/taesana_encoder.pth@as=taesana"),
        ("taesd_{}.safetensors", {"taesd": "taesd_encoder.safetensors"}, "taesd"),
        ("{}.jit", {"cosmos-ci8x8": ""}, "cosmos-ci8x8"),
        ("{}.jit", {"cosmos-ci8x8": "decoder.jit"}, "cosmos-ci8x8"),
        ("{}.jit", {}, "FOLDER/encoder.jit@as=cosmos-ci8x8"),
    ],
)
@pytest.mark.parametrize("changed", ["encoder", "decoder"])
def test_either_half_that_changes_makes_another_model(
    halves: str, weights_of: dict[str, str], spec: str, changed: str, tmp_path: Path
) -> None:
    given, keys = {name: tmp_path / place for name, place in weights_of.items()}, set()
    for content in (b"one", b"another"):
        for half in ("encoder", "decoder"):
            (tmp_path / halves.format(half)).write_bytes(content if half == changed else b"same")
        setting = Setting(PROTOCOL, torch.device("cpu"), given)
        keys.add(Listed(spec.replace("FOLDER", str(tmp_path)), setting).facts.digest)
    assert len(keys) == 2


@pytest.mark.parametrize("named", ["encoder", "decoder"])
def test_both_halves_are_read_whichever_is_named(named: str, tmp_path: Path) -> None:
    for name in ("a_encoder.pth", "a_encoder.pt", "a_decoder.safetensors", "ab_decoder.pth", "config.json"):
        (tmp_path / name).write_bytes(b"{}")
    files = [tmp_path / "a_encoder.pth", tmp_path / "a_decoder.safetensors"]
    named_file = next(file for file in files if file.stem.endswith(named))
    found = weights.files_read(named_file)
    assert {file.stem for file in found} == {"a_encoder", "a_decoder"}
    assert named_file in found


@pytest.mark.parametrize(
    "name",
    ["config.json", "diffusion_pytorch_model.safetensors.index.json", "a.ckpt", "a.bin", "sub/a.safetensors", "a.tar"],
)
def test_every_file_of_a_folder_that_can_be_read_is_part_of_it(name: str, file: Path) -> None:
    folder, found = file.parent, set()
    for content in (None, b"1", b"2"):
        if content:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        found.add(weights.identity(folder).sha256)
    assert len(found) == 3


def test_a_linked_folder_is_part_of_the_one_it_lies_in(file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "back").symlink_to(tmp_path)
    (file.parent / "adapter").symlink_to(tmp_path / "other")
    found = set()
    for content in ("1", "2"):
        (tmp_path / "other" / "adapter_config.json").write_text(content)
        found.add(weights.identity(file.parent).sha256)
    assert len(found) == 2


def test_nothing_heavy_is_imported_for_it(file: Path) -> None:
    code = "import sys; from pathlib import Path; from cvbench import weights; weights.identity(Path(sys.argv[1]))"
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)", str(file)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == "False\n"


def test_what_only_people_read_is_no_part_of_a_folder(file: Path) -> None:
    before = weights.identity(file.parent)
    (file.parent / "README.md").write_text("news")
    assert weights.identity(file.parent) == before


def snapshot(root: Path, repo: str = "models--someone--net") -> Path:
    """Lay a file out as the hub's cache has it: a link to what is named by its hash."""
    blob = root / repo / "blobs" / "ab12"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"one")
    folder = root / repo / "snapshots" / COMMIT / "vae"
    folder.mkdir(parents=True)
    (folder / "net.safetensors").symlink_to(os.path.relpath(blob, folder))
    return folder


HUB = Source(("vae/net.safetensors",), repo="someone/net")


def the_file(folder: Path, root: Path) -> Path:
    return folder / "net.safetensors"


def the_folder(folder: Path, root: Path) -> Path:
    return folder


def a_link_to_the_file(folder: Path, root: Path) -> Path:
    (root / "mine.safetensors").symlink_to(folder / "net.safetensors")
    return root / "mine.safetensors"


def a_link_to_a_folder_above(folder: Path, root: Path) -> Path:
    (root / "net").symlink_to(folder.parent)
    return root / "net" / "vae" / "net.safetensors"


def a_link_to_a_link(folder: Path, root: Path) -> Path:
    (root / "second").symlink_to(a_link_to_a_folder_above(folder, root).parent)
    return root / "second"


@pytest.mark.parametrize("way", [the_file, the_folder, a_link_to_the_file, a_link_to_a_folder_above, a_link_to_a_link])
@pytest.mark.parametrize("source", [HUB, None], ids=["hub", "none"])
def test_the_commit_is_that_of_the_snapshot(
    way: Callable[[Path, Path], Path], source: Source | None, tmp_path: Path
) -> None:
    found = weights.identity(way(snapshot(tmp_path / "cache"), tmp_path), source)
    assert found.revision == COMMIT


def test_other_files_have_no_commit(file: Path, tmp_path: Path) -> None:
    elsewhere = snapshot(tmp_path / "cache", "models--someone--else")
    assert weights.identity(file, HUB).revision == ""
    assert weights.identity(elsewhere, HUB).revision == ""
    (file.parent / "snapshots" / "1" / "a").mkdir(parents=True)
    assert weights.identity(file.parent / "snapshots" / "1" / "a").revision == ""


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(BadWeights, match="cannot be read"):
        weights.identity(tmp_path / "a")


def test_a_hash_is_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(file, monkeypatch)
    first = weights.file_digest(file)
    monkeypatch.setattr(digests, "_hash", lambda path: pytest.fail("read again"))
    assert weights.file_digest(file) == first == sha256(b"one")


def test_a_hash_of_a_file_just_written_is_not_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.file_digest(file)
    monkeypatch.setattr(digests, "_hash", lambda path: "again")
    assert weights.file_digest(file) == "again"


def rewritten(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def replaced(file: Path, content: bytes) -> None:
    other = file.with_name("other")
    other.write_bytes(content)
    other.replace(file)


@pytest.mark.parametrize("change", [rewritten, replaced])
def test_another_file_of_the_same_size_and_time_is_noticed(
    change: Callable[[Path, bytes], None], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(file, monkeypatch)
    before, times = weights.file_digest(file), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    time.sleep(0.02)  # more than a tick of the file system's clock
    change(file, b"two")
    os.utime(file, ns=times)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (3, times[1])
    assert before == sha256(b"one")
    assert weights.file_digest(file) == sha256(b"two")


def test_a_file_that_changes_while_it_is_read_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = iter([b"second", b""])

    def read_and_change(path: Path) -> str:
        found = sha256(path.read_bytes())
        if content := next(contents):
            path.write_bytes(content)
        return found

    monkeypatch.setattr(digests, "_hash", read_and_change)
    assert weights.file_digest(file) == sha256(b"second")


def test_a_file_that_never_rests_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(path: Path) -> str:
        path.write_bytes(path.read_bytes() + b"more")
        return "half"

    monkeypatch.setattr(digests, "_hash", grow)
    with pytest.raises(BadWeights, match="changes while it is read"):
        weights.file_digest(file)


def test_a_damaged_memory_is_not_believed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(file, monkeypatch)
    weights.file_digest(file)
    monkeypatch.setattr(FileStore, "facts", lambda store, key: "short")
    assert weights.file_digest(file) == sha256(b"one")


def test_a_cache_that_cannot_be_written_stops_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(file, monkeypatch)
    place = Path(os.environ["CVBENCH_CACHE"])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("no folder")
    assert weights.file_digest(file) == sha256(b"one")
