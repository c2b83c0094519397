"""Damage that a checksum or a size shows: nothing is taken from such a file, and no memory that it could not fill."""

import io
import json
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadWeights
from cvbench.weights.checkpoints import check_whole, config_in, shards_in

STATE = {"conv.weight": torch.arange(64.0).reshape(8, 8), "conv.bias": torch.ones(8)}
INDEX = "diffusion_pytorch_model.safetensors.index.json"


def as_torch(folder: Path) -> Path:
    torch.save(STATE, folder / "net.pt")
    return folder / "net.pt"


def as_archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "net.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log/flownet.pkl", as_torch(folder).read_bytes())
    return folder / "net.zip"


def as_safetensors(folder: Path) -> Path:
    save_file(STATE, folder / "net.safetensors")
    return folder / "net.safetensors"


def same(state: dict[str, Tensor]) -> bool:
    return set(state) == set(STATE) and all(torch.equal(state[key], STATE[key]) for key in STATE)


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """Flip a bit, overwrite a byte, or lose or double a stretch."""
    at, kind = rng.randrange(len(whole)), rng.randrange(4)
    content = bytearray(whole)
    if kind == 0:
        content[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content[at] = rng.randrange(256)
    elif kind == 2:
        del content[at : at + rng.randrange(1, 40)]
    else:
        content[at:at] = content[at : at + rng.randrange(1, 40)]
    return bytes(content)


@pytest.mark.parametrize("layout", [as_torch, as_archive])
def test_damage_to_a_zip_is_seen_or_touches_no_tensor(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    file, rng, seen = layout(tmp_path), random.Random(5), 0
    whole = file.read_bytes()
    for _ in range(400):
        file.write_bytes(mutated(whole, rng))
        try:
            assert same(weights.read_tensors(file))
        except BadWeights:
            seen += 1
    assert seen > 200


def test_damage_to_safetensors_is_an_error_or_a_state_of_that_size(tmp_path: Path) -> None:
    file, rng = as_safetensors(tmp_path), random.Random(6)
    whole = file.read_bytes()
    for _ in range(400):
        file.write_bytes(mutated(whole, rng))
        try:
            state = weights.read_tensors(file)
        except BadWeights:
            continue
        assert sum(value.numel() * value.element_size() for value in state.values()) <= len(whole) + 40


def test_a_flipped_bit_in_any_tensor_of_a_torch_file_is_refused(tmp_path: Path) -> None:
    file = as_torch(tmp_path)
    whole = file.read_bytes()
    values = STATE["conv.weight"].numpy().tobytes()
    start = whole.index(values)
    for offset in range(0, len(values), 17):
        content = bytearray(whole)
        content[start + offset] ^= 4
        file.write_bytes(content)
        with pytest.raises(BadWeights, match="Bad CRC-32"):
            weights.read_tensors(file)
        with pytest.raises(BadWeights, match="Bad CRC-32"):
            check_whole(file)


def test_checksums_are_compared_in_little_memory(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(8 << 20)}, tmp_path / "net.pt")  # 32 MiB
    tracemalloc.start()
    check_whole(tmp_path / "net.pt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def bomb(member: str) -> Callable[[Path], Path]:
    """Pack 200 MiB of zeros, 200 kB as a file."""

    def write(folder: Path) -> Path:
        file = folder / ("net.zip" if member.endswith(".pkl") else "net.pt")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as opened:
            for _ in range(200):
                opened.write(bytes(1 << 20))
        return file

    return write


@pytest.mark.parametrize("make", [bomb("flownet.pkl"), bomb("net/data/0")])
def test_an_archive_that_grows_beyond_what_weights_do_is_refused(make: Callable[[Path], Path], tmp_path: Path) -> None:
    file = make(tmp_path)
    assert file.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(BadWeights, match=r"is refused: its .* bytes would become 2097152"):
        weights.read_tensors(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A list of members may name one place many times: overlapping zips grow without compression."""
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/data/0", bytes(1 << 20))
        archive.filelist *= 200
    with pytest.raises(BadWeights, match="is refused"):
        weights.read_tensors(tmp_path / "net.pt")


def forged_header(shape: list[int], end: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        forged_header([200_000_000_000], 800_000_000_000),
        forged_header([200_000_000_000], 64),
        forged_header([1 << 62, 4], 64),
        struct.pack("<Q", 800_000_000_000) + b"{}",
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 2) + b"[]" + bytes(64),
    ],
    ids=["beyond the file", "shape", "overflow", "header", "largest header", "no header"],
)
def test_a_forged_header_of_safetensors_allocates_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(BadWeights, match="is damaged"):
        weights.read_tensors(tmp_path / "net.safetensors")


class Forged:
    """Pickles as a torch tensor whose storage claims `count` float32 values."""

    def __init__(self, count: int) -> None:
        self.count = count


class Forger(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", thing.count) if isinstance(thing, Forged) else None

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, Tensor):
            storage = Forged(int(thing.numel()))
            return torch._utils._rebuild_tensor_v2, (storage, 0, tuple(thing.shape), thing.stride(), False, {})
        return NotImplemented


@pytest.mark.parametrize("count", [40_000_000, 10**12])
def test_a_tensor_that_claims_more_than_its_file_holds_is_refused(count: int, tmp_path: Path) -> None:
    pickled = io.BytesIO()
    Forger(pickled, 2).dump({"w": torch.empty(count, device="meta")})
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/data.pkl", pickled.getvalue())
        archive.writestr("net/version", "3\n")
        archive.writestr("net/byteorder", "little")
        archive.writestr("net/data/0", bytes(64))
    with pytest.raises(BadWeights):
        weights.read_tensors(tmp_path / "net.pt")


def test_one_value_that_stands_for_a_terabyte_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(10**12)}, tmp_path / "net.pt")
    with pytest.raises(BadWeights, match="claim more bytes than the file can hold"):
        weights.read_tensors(tmp_path / "net.pt")


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, "9" * 5000, "é".encode("latin-1").decode("latin-1") + "}", "[]", "5", '"a"']
)
def test_settings_that_are_none_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadWeights, match=r"config\.json (is no JSON|holds a)"):
        config_in(tmp_path / "config.json")


@pytest.mark.parametrize(
    "content",
    [
        *("{}", "[]", '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": {"a": 5}}', "[" * 100_000),
        *(json.dumps({"weight_map": {"a": name}}) for name in ("../a.safetensors", "/a.bin", "sub/a.bin", "", "a.exe")),
    ],
)
def test_an_index_names_files_of_weights_beside_it(content: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(BadWeights, match=r"index\.json (is no|names)"):
        shards_in(tmp_path / INDEX)


def test_names_out_of_a_file_reach_no_terminal_as_they_are() -> None:
    with pytest.raises(BadWeights) as refused:
        weights.fit({"a\x1b[2J": torch.ones(1), "b\u202e" * 200: torch.ones(1)}, {}, "net.pt")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1500
