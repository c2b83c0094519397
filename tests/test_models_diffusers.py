"""Every class of diffusers through the adapter, at a small size, and every entry at full size on the meta device."""

import inspect
import json
from dataclasses import replace
from functools import cache
from typing import Any

import diffusers
import pytest
import torch

from cvbench.core.errors import BadOutput, Unavailable, UnsuitableInput
from cvbench.core.protocol import PROTOCOLS
from cvbench.engine.coding import reconstruct
from cvbench.models.autoencoders import AUTOENCODERS
from cvbench.models.building import full_config, on_meta
from cvbench.models.diffusers import Diffusers, halves, measure
from cvbench.models.entry import Loading
from cvbench.models.paper import PAPER
from cvbench.models.zoo import IMAGES, VIDEOS, ZOO

PROTOCOL = PROTOCOLS["cvvae-2405"]
CPU, FP32 = torch.device("cpu"), torch.float32
ENTRIES = {**ZOO, **{name: PAPER[name] for name in ("vae-sd21", "vae-sd3")}}
DC_BLOCKS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
SMALL: dict[str, dict[str, Any]] = {
    "AsymmetricAutoencoderKL": {
        "down_block_out_channels": (8, 8, 16, 16), "up_block_out_channels": (8, 16, 16, 24), "layers_per_down_block": 1,
        "layers_per_up_block": 1, "norm_num_groups": 4,
    },
    "AutoencoderDC": {
        "attention_head_dim": 8, "latent_channels": 8, "encoder_block_types": DC_BLOCKS,
        "decoder_block_types": DC_BLOCKS, "encoder_layers_per_block": (1,) * 6,
        "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
        "encoder_block_out_channels": (8, 8, 16, 16, 32, 32), "decoder_block_out_channels": (8, 8, 16, 16, 32, 32),
        "decoder_layers_per_block": (1,) * 6, "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
        "decoder_norm_types": "rms_norm", "decoder_act_fns": "silu",
    },
    "AutoencoderKL": {
        "block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 32,
    },
    "AutoencoderKLAllegro": {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4},
    "AutoencoderKLCogVideoX": {
        "block_out_channels": (8, 8, 8, 16), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
    },
    "AutoencoderKLCosmos": {
        "latent_channels": 4, "encoder_block_out_channels": (8, 8, 8, 8), "decode_block_out_channels": (8, 8, 8, 8),
        "num_layers": 1,
    },
    "AutoencoderKLFlux2": {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4},
    "AutoencoderKLHunyuanImage": {"latent_channels": 16, "block_out_channels": (64,) * 6, "layers_per_block": 1},
    "AutoencoderKLHunyuanImageRefiner": {"latent_channels": 8, "block_out_channels": (16,) * 5, "layers_per_block": 1},
    "AutoencoderKLHunyuanVideo": {
        "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
    },
    "AutoencoderKLHunyuanVideo15": {"latent_channels": 8, "block_out_channels": (16,) * 5, "layers_per_block": 1},
    "AutoencoderKLKVAE": {
        "channels": 64, "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4, "ch_mult": (1,) * 4,
    },
    "AutoencoderKLKVAEVideo": {"ch": 64, "ch_mult": (1,) * 4, "num_res_blocks": 1, "z_channels": 4},
    "AutoencoderKLLTX2Video": {
        "latent_channels": 16, "block_out_channels": (8, 16, 32, 64), "decoder_block_out_channels": (8, 16, 32),
        "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 4,
    },
    "AutoencoderKLLTXVideo": {
        "latent_channels": 16, "block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4,
        "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5,
    },
    "AutoencoderKLMagvit": {
        "latent_channels": 4, "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4,
    },
    "AutoencoderKLMiniMaxH3": {
        "latent_channels": 4, "block_out_channels": (8,) * 6, "layers_per_block": 1, "norm_num_groups": 4,
        "decoder_num_layers": 1, "decoder_num_attention_heads": 2, "decoder_attention_head_dim": 16,
    },
    "AutoencoderKLMochi": {
        "encoder_block_out_channels": (64,) * 4, "decoder_block_out_channels": (64,) * 4, "layers_per_block": (1,) * 5,
        "latent_channels": 4,
    },
    "AutoencoderKLQwenImage": {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1},
    "AutoencoderKLQwenImage21": {
        "base_dim": 8, "decoder_base_dim": 8, "z_dim": 8, "num_res_blocks": 1, "dim_mult": [1, 1, 1, 2, 2],
    },
    "AutoencoderKLTemporalDecoder": {"block_out_channels": (64,) * 4, "layers_per_block": 1},
    "AutoencoderKLWan": {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1},
    "AutoencoderRAE": {
        "encoder_hidden_size": 64, "encoder_patch_size": 8, "encoder_num_hidden_layers": 1, "encoder_input_size": 32,
        "decoder_hidden_size": 32, "decoder_intermediate_size": 32, "decoder_num_attention_heads": 2,
        "decoder_num_hidden_layers": 1,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4, "latent_channels": 4,
    },
    "AutoencoderVidTok": {"ch": 8, "ch_mult": (1, 1, 2, 2), "num_res_blocks": 1},
    "ConsistencyDecoderVAE": {
        "encoder_block_out_channels": (8,) * 4, "encoder_norm_num_groups": 4, "encoder_layers_per_block": 1,
        "decoder_block_out_channels": (8,) * 4, "decoder_norm_num_groups": 4, "decoder_layers_per_block": 1,
    },
    "Kandinsky6SRVAE": {
        "latent_channels": 8, "encoder_block_out_channels": (16, 16, 16, 32, 32), "layers_per_block": 1,
        "decoder_block_out_channels": (16, 16, 32, 32, 32),
    },
    "ltx-0.9.5": {
        "latent_channels": 16, "block_out_channels": (8, 8, 16, 16, 16), "decoder_block_out_channels": (8, 16, 32),
        "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 4,
    },
    "wan-2.2": {"base_dim": 8, "decoder_base_dim": 8, "z_dim": 8, "num_res_blocks": 1},
}  # fmt: skip
"""Few channels, for a class, or for an entry that differs from others of its class."""


def small_options(name: str) -> dict[str, Any]:
    entry = ENTRIES[name]
    return {**entry.config, **entry.options, **SMALL.get(name, SMALL[entry.config["_class_name"]])}


NETWORKS = list({json.dumps(small_options(name), sort_keys=True): name for name in reversed(ENTRIES)}.values())
"""Entries whose small networks are all there are: others of a class differ in weights, width or channels."""


@cache
def small(name: str) -> Diffusers:
    model = Diffusers(Loading(CPU, FP32, options=small_options(name)))
    if name == "allegro":  # whose tiles of 24×320×320 cannot be made small by its config
        model.net.kernel, model.net.stride = (24, 32, 32), (16, 16, 24)
    return model


def side_of(model: Diffusers) -> int:
    if model.kind.sides:
        return model.kind.sides(model.net)[0][0]
    return max(2 * model.traits.spatial, model.traits.least_side)


def clips(model: Diffusers, frames: int, clips: int = 1) -> torch.Tensor:
    shape = (clips, 3, frames, side_of(model), side_of(model))
    return torch.rand(shape, generator=torch.Generator().manual_seed(frames))


def test_every_class_with_pixels_is_known() -> None:
    base = diffusers.AutoencoderKL.__module__.rpartition(".")[0]
    found = {n for n in dir(diffusers) if str(getattr(getattr(diffusers, n), "__module__", "")).startswith(base)}
    sound = {n for n in found if "Audio" in n or "Vocoder" in n or n.startswith("MMAudio")}
    other = {"AutoencoderOobleck", "AutoencoderSAME", "RFD4ProteinaAutoencoder"}  # sound, sound, proteins
    halves_only = {"LTX2VideoDiffusionDecoderModel"}
    assert found - sound - other - halves_only == set(AUTOENCODERS)


def test_every_class_but_vqmodel_has_an_entry() -> None:
    assert set(AUTOENCODERS) - {entry.config["_class_name"] for entry in ZOO.values()} == {"VQModel"}
    assert len(IMAGES) >= 15
    assert len(VIDEOS) >= 17


@pytest.mark.parametrize("name", ENTRIES)
def test_configs_are_arguments_of_their_class(name: str) -> None:
    entry = ENTRIES[name]
    known = inspect.signature(getattr(diffusers, entry.config["_class_name"]).__init__).parameters
    assert set(entry.config) - set(known) <= {"_class_name", "force_upcast"}
    assert not set(entry.options) & set(known)


MILLIONS = {
    "flux1": (34.3, 49.5), "flux2": (34.4, 49.6), "taesd": (1.2, 1.2), "hunyuan-image": (145.0, 260.6),
    "kvae-2d": (86.2, 131.3), "svd": (34.2, 63.6), "cogvideox": (92.2, 123.4), "wan-2.1": (53.6, 73.3),
    "wan-2.2": (149.6, 555.1), "hunyuan-video": (100.3, 146.1), "hunyuan-video-1.5": (389.3, 871.3),
    "hunyuan-image-refiner": (389.3, 871.3), "ltx": (180.4, 238.8), "ltx-2": (694.1, 528.4), "mochi": (97.2, 362.5),
    "cosmos": (42.9, 62.7), "allegro": (64.0, 111.0), "easyanimate": (99.3, 145.1), "qwen-image": (53.6, 73.3),
    "qwen-image-2.1": (78.7, 259.0), "vidtok-kl4": (69.3, 88.2), "kvae-3d": (250.4, 367.6),
    "minimax-h3": (180.3, 2423.5), "kandinsky-6-sr": (275.8, 1463.1),
}  # fmt: skip
"""Parameters of encoder and decoder, counted in the published networks."""
MEGABYTES = {"dc-ae-f32c32": 1250, "easyanimate": 978, "vae-sd21": 335, "qwen-image-2.1": 1351, "minimax-h3": 10419}
"""Of the published files, four bytes a parameter (Qwen-Image 2.1 from one of two bytes)."""


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_state_what_the_full_network_has(name: str) -> None:
    entry = ENTRIES[name]
    config = full_config(entry.config["_class_name"], {**entry.config, **entry.options})
    assert measure(entry.config["_class_name"], config) == entry.traits
    net = on_meta(entry.config["_class_name"], {**config, "regularizer": "kl"})
    assert halves(net) == entry.params
    for counted, millions in zip(entry.params, MILLIONS.get(name, ()), strict=False):
        assert counted / 1e6 == pytest.approx(millions, abs=0.06)
    whole = sum(p.numel() for p in net.parameters()) * 4 / 1e6
    assert whole == pytest.approx(MEGABYTES.get(name, whole), rel=2e-3)


@pytest.mark.parametrize(("name", "millions"), [("AutoencoderDC", (144.6, 218.3)), ("AutoencoderRAE", (86.6, 26.0))])
def test_defaults_of_classes_whose_published_networks_are_others(name: str, millions: tuple[float, float]) -> None:
    assert [count / 1e6 for count in halves(on_meta(name, {}))] == pytest.approx(millions, abs=0.06)


def test_paper_counts_are_exact() -> None:
    assert ENTRIES["vae-sd21"].params == (34_163_592, 49_490_179)
    assert ENTRIES["vae-sd3"].params == (34_274_208, 49_545_475)


@pytest.mark.parametrize("name", NETWORKS)
def test_frames_and_size_out_equal_those_in(name: str) -> None:
    model = small(name)
    step = model.traits.frame_rule.step
    for frames in {1: (1, 2), 16: (1, 25), 17: (1, 5, 22, 23, 40)}.get(step, (*range(1, step + 2), 33)):
        targets = clips(model, frames)
        recon, _ = reconstruct(model, targets, PROTOCOL)
        assert recon.shape == targets.shape


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "allegro"])
def test_odd_sizes_come_back(name: str) -> None:
    model = small(name)
    height, width = side_of(model) - 3, side_of(model) - 7
    targets = torch.rand(1, 3, 2, height, width, generator=torch.Generator().manual_seed(1))
    assert reconstruct(model, targets, PROTOCOL)[0].shape == targets.shape


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_deterministic_and_a_batch_equals_its_clips(name: str) -> None:
    model = small(name)
    frames = model.traits.frame_rule.fit(3)
    targets = clips(model, frames, 2)
    latents = model.encode(targets)
    recons = model.decode(latents, frames)
    assert torch.equal(model.encode(targets), latents)
    assert torch.equal(model.decode(latents, frames), recons)
    torch.testing.assert_close(model.encode(targets[1:]), latents[1:], atol=1e-5, rtol=1e-5)
    error = (model.decode(latents[1:], frames) - recons[1:]).abs()
    assert error.amax() < 5e-5  # float32: sums are taken in another order, and untrained norms amplify that


LATENT_FRAMES = {"allegro": lambda t: t // 4, "minimax-h3": lambda t: (t - 5) // 17 * 5 + 2}
"""As published, where it is not 1 + (t - 1) / temporal compression."""


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_traits_match_latents(name: str) -> None:
    model = small(name)
    traits = model.traits
    for frames in (traits.frame_rule.fit(1), traits.frame_rule.fit(9)):
        latents = model.encode(clips(model, frames))
        expected = LATENT_FRAMES.get(name, lambda t: 1 + (t - 1) // traits.temporal)(frames)
        side = side_of(model) // traits.spatial
        assert latents.shape == (1, *([] if traits.codebook else [traits.channels]), expected, side, side)
        if traits.codebook:
            assert not latents.is_floating_point()
            assert latents.amin() >= 0
            assert latents.amax() < traits.codebook


FRAME_BY_FRAME = [name for name in NETWORKS if small_options(name)["_class_name"] in AUTOENCODERS and
                  AUTOENCODERS[small_options(name)["_class_name"]].layout != "clips" and name != "svd"]  # fmt: skip


@pytest.mark.parametrize("name", FRAME_BY_FRAME)
@torch.inference_mode()
def test_image_networks_code_each_frame_by_itself(name: str) -> None:
    model = small(name)
    clip = clips(model, 10)  # more than are coded at once
    whole = model.decode(model.encode(clip), 10)
    alone = model.decode(model.encode(clip[:, :, 8:9]), 1)
    torch.testing.assert_close(whole[:, :, 8:9], alone, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_svd_mixes_the_frames_of_a_clip_and_no_others() -> None:
    model = small("svd")
    latents = model.encode(clips(model, 5, 2))
    whole = model.decode(latents, 5)
    torch.testing.assert_close(model.decode(latents[1:], 5), whole[1:], atol=1e-5, rtol=1e-5)
    assert (model.decode(latents[:, :, :1], 1) - whole[:, :, :1]).abs().amax() > 1e-3


IMAGENET = [(0.0 - 0.485) / 0.229, (1.0 - 0.485) / 0.229]
RANGES = {"AutoencoderRAE": [0.0, 1.0], "AutoencoderKLMiniMaxH3": IMAGENET, "Kandinsky6SRVAE": [-1.0, 127 / 128]}


@pytest.mark.parametrize("name", NETWORKS)
def test_pixels_reach_the_network_in_its_range_and_come_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = small(name), []

    def record(net: Any, x: torch.Tensor, call: Any) -> torch.Tensor:
        seen.append(x)
        return x

    through = replace(model.kind, encode=record, decode=lambda net, z, call, frames: z)
    monkeypatch.setattr(model, "kind", through)
    pixels = clips(model, model.traits.frame_rule.fit(9), 2)
    pixels[0, 0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    returned = model.decode(model.encode(pixels), pixels.shape[2])
    torch.testing.assert_close(returned, pixels, atol=1e-6, rtol=0)
    black_and_white = seen[0].flatten()[:2].tolist()
    assert black_and_white == pytest.approx(RANGES.get(model.name, [-1.0, 1.0]), abs=1e-6)


def test_qwen_image_gets_an_opaque_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("qwen-image-2.1")
    given = []
    encode = model.net.encode
    monkeypatch.setattr(model.net, "encode", lambda x: given.append(x) or encode(x))
    model.encode(clips(model, 1))
    assert given[0].shape[1] == 4
    assert (given[0][:, 3] == 1).all()


@pytest.mark.parametrize("side", [256, 321, 512])
def test_allegro_refuses_what_its_tiles_do_not_cover(side: int) -> None:
    model = Diffusers(Loading(CPU, FP32, options=small_options("allegro")))
    with pytest.raises(UnsuitableInput, match=r"(?s)Allegro.*(320, 520, 720, …, widths 320, 560, 800|pad height)"):
        reconstruct(model, torch.rand(1, 3, 24, side, side), PROTOCOL)


@torch.inference_mode()
def test_allegro_gives_no_zeros_where_tiles_end() -> None:
    model = small("allegro")
    pixels = torch.rand(1, 3, 40, 48, 56, generator=torch.Generator().manual_seed(0))  # two tiles each way
    recon = model.decode(model.encode(pixels), 40)
    flat = 2 * recon - 1
    assert all(flat[index].abs().amax() > 1e-3 for index in ((..., -1, slice(None)), (..., -1), (0, 0, -1)))


def test_rae_refuses_larger_pictures_than_it_makes() -> None:
    model = small("rae-dinov2")
    with pytest.raises(UnsuitableInput, match="resizes"):
        reconstruct(model, torch.rand(1, 3, 1, 65, 64), PROTOCOL)


def test_lengths_and_sizes_that_would_be_cut_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match="pad to 5"):
        small("wan-2.1").encode(torch.rand(1, 3, 4, 16, 16))
    with pytest.raises(UnsuitableInput, match="multiples of 8"):
        small("wan-2.1").encode(torch.rand(1, 3, 5, 16, 20))


@pytest.mark.parametrize("name", ["easyanimate", "wan-2.1", "qwen-image"])
@torch.inference_mode()
def test_a_failed_call_leaves_nothing_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(name)
    pixels = clips(model, 9)
    before = model.encode(pixels)
    forward, calls = model.net.encoder.forward, iter(range(9))

    def fail_on_the_second(*args: Any, **options: Any) -> Any:
        if next(calls) == 1:
            raise MemoryError
        return forward(*args, **options)

    monkeypatch.setattr(model.net.encoder, "forward", fail_on_the_second)
    with pytest.raises(MemoryError):
        model.encode(1 - pixels)
    monkeypatch.undo()
    assert torch.equal(model.encode(pixels), before)


def test_untrained_networks_are_seeded_and_leave_the_generator_alone() -> None:
    options = small_options("vae-sd21")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    models = [Diffusers(Loading(CPU, FP32, seed=seed, options=options)) for seed in (3, 3, 4)]
    one, same, other = (model.net.state_dict() for model in models)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["encoder.conv_in.weight"], other["encoder.conv_in.weight"])


@torch.inference_mode()
def test_posterior_samples_are_drawn_from_the_generator() -> None:
    options = small_options("vae-sd21")
    model = Diffusers(Loading(CPU, FP32, posterior="sample", options=options))
    pixels = clips(model, 1)
    torch.manual_seed(1)
    first = model.encode(pixels)
    torch.manual_seed(1)
    assert torch.equal(model.encode(pixels), first)
    assert not torch.equal(first, small("vae-sd21").encode(pixels))


def test_kvae_video_has_no_variance_to_sample_from() -> None:
    model = Diffusers(Loading(CPU, FP32, posterior="sample", options=small_options("kvae-3d")))
    with pytest.raises(UnsuitableInput, match="posterior=mode"):
        model.encode(clips(model, 1))


@pytest.mark.parametrize(
    ("name", "runs_in"),
    [("vae-sd21", FP32), ("flux2", FP32), ("svd", FP32), ("sdxl-vae", torch.float16), ("wan-2.1", torch.float16)],
)
def test_fp16_is_left_where_the_config_says_so(name: str, runs_in: torch.dtype) -> None:
    model = Diffusers(Loading(CPU, torch.float16, options=small_options(name)))
    assert model.dtype == runs_in
    assert {p.dtype for p in model.net.parameters()} == {runs_in}


@pytest.mark.parametrize("name", ["vae-sd21", "wan-2.1", "minimax-h3", "vidtok-fsq"])
@torch.inference_mode()
def test_bf16_gives_float32_pixels_near_those_of_fp32(name: str) -> None:
    model = Diffusers(Loading(CPU, torch.bfloat16, options=small_options(name)))
    frames = model.traits.frame_rule.fit(1)
    pixels = clips(model, frames)
    recon = model.decode(small(name).encode(pixels), frames)  # the same latents: near codes may change
    exact = small(name).decode(small(name).encode(pixels), frames)
    assert recon.dtype == FP32
    assert (recon - exact).square().mean().sqrt() < 0.02


def test_minimax_keeps_its_encoder_and_norms_in_float32() -> None:
    net = Diffusers(Loading(CPU, torch.bfloat16, options=small_options("minimax-h3"))).net
    assert {p.dtype for p in net.encoder.parameters()} == {FP32}
    assert net.decoder.proj_out.weight.dtype == torch.bfloat16


@torch.inference_mode()
def test_codes_of_vidtok_decode_as_its_quantized_latents_do() -> None:
    model = small("vidtok-fsq")
    padded = torch.nn.functional.pad(2 * clips(model, 5) - 1, (0, 0, 0, 0, 3, 0), mode="replicate")
    quantized, indices = model.net.encode(padded)
    assert torch.equal(model.encode(clips(model, 5)), indices)
    torch.testing.assert_close(2 * model.decode(indices, 5) - 1, model.net.decode(quantized), atol=1e-5, rtol=1e-5)


NO_TILES = {
    "asymmetric-x1.5", "cosmos", "hunyuan-image", "hunyuan-image-refiner", "kandinsky-6-sr", "kvae-3d", "rae-dinov2",
    "svd",
}  # fmt: skip
"""Entries whose class has no code for tiles, or code that fails."""


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_are_switched_on_or_said_to_be_missing(name: str) -> None:
    loading = Loading(CPU, FP32, tiling=True, options=small_options(name))
    if name in NO_TILES:
        with pytest.raises(Unavailable, match="tiling=false"):
            Diffusers(loading)
    else:
        assert Diffusers(loading).tiling


def test_tiny_autoencoders_of_sixteen_channels_have_no_tiles() -> None:
    with pytest.raises(Unavailable, match="tiling=false"):
        Diffusers(Loading(CPU, FP32, tiling=True, options={**small_options("taef1"), "latent_channels": 16}))


@pytest.mark.parametrize(
    ("name", "side"), [("flux1", 48), ("taesd", 528), ("dc-ae-f32c32", 576), ("wan-2.2", 288), ("ltx-2", 576)]
)
@torch.inference_mode()
def test_tiles_change_large_pictures_and_keep_their_size(name: str, side: int) -> None:
    pixels = torch.rand(1, 3, 1, side, side, generator=torch.Generator().manual_seed(0))
    tiled = Diffusers(Loading(CPU, FP32, tiling=True, options=small_options(name)))
    one, other = (model.decode(model.encode(pixels), 1) for model in (tiled, small(name)))
    assert one.shape == pixels.shape
    assert not torch.allclose(one, other, atol=1e-5)


def test_a_codec_s_bytes_are_no_latents() -> None:
    with pytest.raises(BadOutput, match="tensor"):
        small("taesd").decode([b"1"], 1)
