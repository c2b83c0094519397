"""The small trained models: what their entries say is true, and the files that ship are those that were measured."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import reconstruct
from safetensors.torch import load_file, save_file

from cvbench import models
from cvbench.commands.list import list_models
from cvbench.core.protocol import PROTOCOLS
from cvbench.engine.subject import Listed, Setting
from cvbench.models.tiny_entries import FOLDER, SHA256, TINY

CPU = torch.device("cpu")
PROTOCOL = PROTOCOLS["cvbench-1"]


def untrained(name: str) -> Listed:
    return Listed(name, Setting(PROTOCOL, CPU, {}, "random"))


def network(listed: Listed) -> torch.nn.Module:
    return listed.model.net  # type: ignore[attr-defined,no-any-return]


def clip() -> torch.Tensor:
    """17 frames of coloured waves of 40 pixels, a pixel further in each."""
    t, y, x = torch.meshgrid(torch.arange(17), torch.arange(64), torch.arange(64), indexing="ij")
    angle = 2 * torch.pi * torch.stack([x + t, y - t, x + y]) / 40
    return (0.5 + 0.4 * angle.sin())[None]


@pytest.mark.parametrize("name", TINY)
def test_an_entry_states_what_its_network_has(name: str) -> None:
    vae, entry = untrained(name).model, models.MODELS[name]
    assert (vae.traits, vae.params) == (entry.traits, entry.params)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["tiny-image", "tiny-video"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_weights_stored_in_half_precision_are_cast_to_the_dtype_asked_for(
    name: str, dtype: str, tmp_path: Path
) -> None:
    stored = {key: tensor.half() for key, tensor in network(untrained(name)).state_dict().items()}
    save_file(stored, tmp_path / "mine.safetensors")
    protocol = replace(PROTOCOL, dtype=dtype)
    loaded = network(Listed(name, Setting(protocol, CPU, {name: tmp_path / "mine.safetensors"}))).state_dict()
    wanted = torch.float32 if dtype == "fp32" else torch.bfloat16
    assert {tensor.dtype for tensor in loaded.values()} == {wanted}
    assert all(torch.equal(loaded[key], tensor.to(wanted)) for key, tensor in stored.items())


def test_the_list_says_that_they_are_part_of_the_package() -> None:
    head, rows = list_models()
    row = dict(zip(head, next(row for row in rows if row[0] == "tiny-video"), strict=True))
    assert row["weights"] == "in the package"
    assert row["params"] == "0.1M + 0.2M"


@pytest.mark.parametrize("name", TINY)
def test_a_shipped_model_reconstructs_a_clip(name: str) -> None:
    x = clip()
    made, _ = reconstruct(Listed(name, Setting(PROTOCOL, CPU, {})).model, x, PROTOCOL)
    assert made.shape == x.shape
    assert made.isfinite().all()
    error, flat = (made - x).abs().mean(), (x.mean((2, 3, 4), keepdim=True) - x).abs().mean()
    assert error < 0.9 * flat  # it has learned more than the colour of the clip


@pytest.mark.parametrize("name", TINY)
def test_a_shipped_file_has_the_hash_that_its_entry_states(name: str) -> None:
    file = FOLDER / f"{name}.safetensors"
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    assert SHA256.get(name) == found, "run benchmarks/train_tiny.py --hashes"
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}


@pytest.mark.parametrize("name", TINY)
def test_a_shipped_model_has_a_log_and_the_card_of_these_weights(name: str) -> None:
    assert (FOLDER / f"{name}.csv").is_file()
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert SHA256[name] in card, "write the card anew: train_tiny.py --card"
    assert "## Scores" in card


def test_what_ships_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) < 8_000_000


def test_every_model_ships_and_nothing_else() -> None:
    assert set(SHA256) == set(TINY) == {file.stem for file in FOLDER.iterdir()}


def test_the_docs_list_them_with_their_parameters() -> None:
    page = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
    for name, entry in TINY.items():
        encoder, decoder = entry.params or (0, 0)
        assert f"| `{name}` | {entry.about} |" in page
        assert f"| {encoder:,} + {decoder:,} | {entry.licence} | the package |" in page
