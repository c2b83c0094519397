"""Weights of diffusers' classes in every layout they come in, and models of the hub by name."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from cvbench.core.errors import BadWeights, MissingWeights, UsageError
from cvbench.core.types import FrameRule, Traits
from cvbench.models import hub
from cvbench.models.diffusers import Diffusers
from cvbench.models.entry import Loading
from cvbench.models.hub import hub_entry
from cvbench.weights import locate

KL = {
    "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3, "sample_size": 32,
    "block_out_channels": (4, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 3,
}  # fmt: skip
WAN = {"base_dim": 4, "z_dim": 3, "num_res_blocks": 1}
NAMES = {
    ".mid_block.resnets.0.": ".mid.block_1.", ".mid_block.resnets.1.": ".mid.block_2.", ".mid_block.attentions.0.":
    ".mid.attn_1.", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
    "conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut", ".resnets.": ".block.",
    ".downsamplers.0.": ".downsample.", ".upsamplers.0.": ".upsample.", "encoder.down_blocks.": "encoder.down.",
    "decoder.up_blocks.0.": "decoder.up.2.", "decoder.up_blocks.2.": "decoder.up.0.", "up_blocks.1.": "up.1.",
}  # fmt: skip
"""diffusers' names of parts of an autoencoder of three levels, and those of latent diffusion's code."""


def network(name: str = "AutoencoderKL", config: dict[str, Any] = KL) -> Any:
    torch.default_generator.manual_seed(0)
    return getattr(diffusers, name)(**config).eval()


def model(path: Path | None, name: str = "AutoencoderKL", config: dict[str, Any] = KL) -> Diffusers:
    options = {"_class_name": name, **config}
    return Diffusers(Loading(torch.device("cpu"), torch.float32, seed=1, path=path, options=options))


def holds_weights_of(loaded: Diffusers, net: Any) -> bool:
    expected, found = net.state_dict(), loaded.net.state_dict()
    return expected.keys() == found.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def ldm_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename as in the original code, where the attention's linear layers are 1×1 convolutions."""
    renamed = {}
    for key, value in state.items():
        name = key
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        renamed[name] = value[..., None, None] if ".attn_1." in name and value.ndim == 2 else value
    return renamed


def test_a_folder_as_diffusers_saves_it(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    assert holds_weights_of(model(tmp_path), network())


def test_a_folder_s_config_goes_over_the_entry_s(tmp_path: Path) -> None:
    wide = {**KL, "latent_channels": 5}
    network(config=wide).save_pretrained(tmp_path)
    assert model(tmp_path).traits == Traits(1, 4, 5)
    assert model(tmp_path / "diffusion_pytorch_model.safetensors").traits == Traits(1, 4, 5)


def test_shards(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("*-of-*.safetensors"))
    assert len(shards) > 2
    assert holds_weights_of(model(tmp_path), network())
    shards[1].unlink()
    with pytest.raises(BadWeights, match=f"lacks {shards[1].name}"):
        model(tmp_path)


def test_a_single_file(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "vae.safetensors")
    assert holds_weights_of(model(tmp_path / "vae.safetensors"), network())


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    network().half().save_pretrained(tmp_path)
    loaded = model(tmp_path)
    assert {p.dtype for p in loaded.net.parameters()} == {torch.float32}
    assert torch.equal(loaded.net.decoder.conv_in.weight, network().half().decoder.conv_in.weight.float())


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_an_original_checkpoint_with_its_loss(tmp_path: Path, prefix: str) -> None:
    state = {prefix + key: value for key, value in ldm_names(network().state_dict()).items()}
    others = {f"{prefix}loss.logvar": torch.zeros(()), "model.diffusion_model.x": torch.zeros(1)}
    torch.save(
        {"state_dict": state | (others if prefix else {"loss.logvar": torch.zeros(())})}, tmp_path / "model.ckpt"
    )
    assert holds_weights_of(model(tmp_path / "model.ckpt"), network())


def test_a_folder_from_before_attention_was_renamed(tmp_path: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in network().state_dict().items():
        layer = next((part for part in old if f"attentions.0.{part}." in key), "")
        state[key.replace(f".{layer}.", f".{old[layer]}.") if layer else key] = value
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in state
    save_file(state, tmp_path / "vae.safetensors")
    assert holds_weights_of(model(tmp_path / "vae.safetensors"), network())


def test_buffers_that_files_do_not_hold_are_computed(tmp_path: Path) -> None:
    config = {"latent_channels": 4, "encoder_block_out_channels": (8,) * 4, "decode_block_out_channels": (8,) * 4,
              "num_layers": 1}  # fmt: skip
    network("AutoencoderKLCosmos", config).save_pretrained(tmp_path)  # whose wavelets are no weights
    loaded, pixels = model(tmp_path, "AutoencoderKLCosmos", config), torch.rand(1, 3, 9, 16, 16)
    with torch.inference_mode():
        expected = network("AutoencoderKLCosmos", config)(2 * pixels - 1).sample
        torch.testing.assert_close(2 * loaded.decode(loaded.encode(pixels), 9) - 1, expected, atol=1e-5, rtol=1e-5)


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    config = {"block_out_channels": (4, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 2}
    network("AutoencoderKLFlux2", config).save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != "bn.num_batches_tracked"}, file)
    assert holds_weights_of(model(tmp_path, "AutoencoderKLFlux2", config), network("AutoencoderKLFlux2", config))


def test_another_architecture_is_refused_with_its_tensors(tmp_path: Path) -> None:
    state = network(config={**KL, "layers_per_block": 2}).state_dict()
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(BadWeights, match=r"another architecture; \d+ unexpected: decoder.up_blocks.0.resnets.2"):
        model(tmp_path / "vae.safetensors")


def test_another_class_is_refused(tmp_path: Path) -> None:
    network("AutoencoderKLWan", WAN).save_pretrained(tmp_path)
    with pytest.raises(BadWeights, match="is of a AutoencoderKLWan, not of a AutoencoderKL"):
        model(tmp_path)


@pytest.mark.parametrize(("text", "problem"), [("{", "no JSON"), ("[]", "holds a list")])
def test_a_config_that_says_nothing_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    network().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadWeights, match=problem):
        model(tmp_path)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose OWNER/REPO are the repositories of a hub."""

    def file(spec: str, repo: str, path: str) -> Path | None:
        found = tmp_path / repo / path
        return found if found.is_file() else None

    monkeypatch.setattr(hub, "_file", file)
    monkeypatch.setattr(hub, "_has", lambda repo, path: (tmp_path / repo / path).is_file())
    return tmp_path


def test_a_model_of_the_hub_by_name(published: Path) -> None:
    network("AutoencoderKLWan", WAN).save_pretrained(published / "someone/wan/vae")
    entry = hub_entry("hf:someone/wan/vae")
    net = network("AutoencoderKLWan", WAN)
    assert entry.traits == Traits(4, 8, 3, FrameRule(1, 4))
    assert entry.params == tuple(sum(p.numel() for p in half.parameters()) for half in (net.encoder, net.decoder))
    assert entry.source is not None
    assert entry.source.repo == "someone/wan"
    assert entry.source.files == ("vae/diffusion_pytorch_model.safetensors", "vae/config.json")
    options = dict(entry.config)
    loaded = Diffusers(Loading(torch.device("cpu"), torch.float32, path=published / "someone/wan/vae", options=options))
    assert holds_weights_of(loaded, net)
    assert loaded.traits == entry.traits


def test_a_vq_model_of_the_hub_gives_indices(published: Path) -> None:
    config = {**KL, "num_vq_embeddings": 32}
    network("VQModel", config).save_pretrained(published / "someone/vq")
    entry = hub_entry("hf:someone/vq")
    assert entry.traits == Traits(1, 4, codebook=32)
    coder, pixels = model(published / "someone/vq", "VQModel", config), torch.rand(2, 3, 3, 16, 16)
    with torch.inference_mode():
        codes = coder.encode(pixels)
        expected = network("VQModel", config)(2 * pixels[:, :, 1] - 1).sample
        torch.testing.assert_close(2 * coder.decode(codes, 3)[:, :, 1] - 1, expected, atol=1e-5, rtol=1e-5)
    assert codes.shape == (2, 3, 4, 4)
    assert not codes.is_floating_point()


def test_shards_and_old_weights_of_the_hub_are_found(published: Path) -> None:
    network().save_pretrained(published / "someone/shards", max_shard_size="20KB")
    network().save_pretrained(published / "someone/old", safe_serialization=False)
    sharded, old = (hub_entry(f"hf:someone/{repo}").source for repo in ("shards", "old"))
    assert sharded is not None
    assert old is not None
    assert [(published / "someone/shards" / file).is_file() for file in sharded.files] == [True] * len(sharded.files)
    assert len(sharded.files) > 4
    assert old.files == ("diffusion_pytorch_model.bin", "config.json")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"_class_name": "AutoencoderOobleck"}, "of a AutoencoderOobleck; supported are .*AutoencoderKLWan"),
        ({}, "without _class_name; supported"),
        (None, r"has no config.json; .*hf:someone/other/vae"),
    ],
)
def test_what_is_no_known_autoencoder_is_refused(published: Path, config: Any, problem: str) -> None:
    (published / "someone/other").mkdir(parents=True)
    if config is not None:
        (published / "someone/other/config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=problem):
        hub_entry("hf:someone/other")


def test_a_config_that_makes_no_network_is_refused(published: Path) -> None:
    (published / "someone/other").mkdir(parents=True)
    config = {"_class_name": "AutoencoderKL", **KL, "norm_num_groups": 3}
    (published / "someone/other/config.json").write_text(json.dumps(config))
    with pytest.raises(BadWeights, match="hf:someone/other: its settings make no network"):
        hub_entry("hf:someone/other")


@pytest.mark.parametrize(
    "spec",
    [
        *("hf:someone", "hf:", "someone/wan", "hf:/wan", "hf:someone/", "hf:someone//vae", "hf:someone/wan/"),
        *("hf:someone/wan/../..", "hf:../wan", "hf:someone/..", "hf:someone/wan/./vae", "hf:someone/wan//vae"),
        *("hf:someone/wan/\x1b[2J", "hf:someone/wan\n", "hf:some\0one/wan", "hf:someone/\u202ewan", "hf:a/b\\..\\c"),
        *("hf: someone/wan", "hf:someone/wan/ vae"),
    ],
)
def test_another_form_of_name_is_refused_in_printable_signs(spec: str) -> None:
    with pytest.raises(UsageError, match="hf:OWNER/REPO") as refused:
        hub_entry(spec)
    assert str(refused.value).isprintable()


def test_without_network_the_error_says_what_to_fetch() -> None:
    with pytest.raises(MissingWeights, match=r"hf download someone/wan vae/config.json"):
        hub_entry("hf:someone/wan/vae")


def test_what_can_be_no_repository_is_refused() -> None:
    with pytest.raises(UsageError, match="no repository someone/-"):
        hub_entry("hf:someone/-")


def test_a_folder_in_the_hub_s_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--someone--wan"
    network("AutoencoderKLWan", WAN).save_pretrained(repo / "snapshots/0123/vae")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("0123")
    entry = hub_entry("hf:someone/wan/vae")
    assert entry.source is not None
    found = locate("hf:someone/wan/vae", entry.source)
    assert found == repo / "snapshots/0123/vae"
    assert holds_weights_of(model(found, "AutoencoderKLWan", WAN), network("AutoencoderKLWan", WAN))
