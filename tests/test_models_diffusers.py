"""Every class of diffusers through the adapter, at a small size, and every entry at full size on the meta device."""

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from conftest import reconstruct
from small import small as build_small
from small import small_options

from cvbench.core.errors import BadOutput, Unavailable, UnsuitableInput
from cvbench.core.protocol import PROTOCOLS
from cvbench.models.autoencoders import AUTOENCODERS, Call
from cvbench.models.building import construct, full_config, on_meta
from cvbench.models.diffusers import Diffusers, halves, is_known, measure
from cvbench.models.entry import Loading
from cvbench.models.paper import PAPER
from cvbench.models.zoo import IMAGES, VIDEOS, ZOO

PROTOCOL = PROTOCOLS["cvvae-2405"]
CPU, FP32 = torch.device("cpu"), torch.float32
ENTRIES = {**ZOO, **{name: PAPER[name] for name in ("vae-sd21", "vae-sd3")}}
NETWORKS = list({json.dumps(small_options(name), sort_keys=True): name for name in reversed(ENTRIES)}.values())
"""Entries whose small networks are all there are: others of a class differ in weights, width or channels."""


@cache
def small(name: str) -> Diffusers:
    model: Diffusers = build_small(name)
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
    found = {n for n in dir(diffusers) if str(getattr(getattr(diffusers, n, None), "__module__", "")).startswith(base)}
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
    assert set(entry.config) - set(known) <= {"_class_name", "force_upcast", "release"}
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


KEPT = "fp32 in encoder, norm1, norm2, norm_out, quant_conv, scale1, scale2"
BESIDE = {
    torch.float16: {"svd": "fp32", "minimax-h3": f"fp16 but {KEPT}"},
    torch.bfloat16: {"minimax-h3": f"bf16 but {KEPT}"},
}
"""What computes in another dtype than is asked for; all others in that alone."""
NAMED = {"fp32": FP32, "fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.mark.parametrize("dtype", BESIDE)
@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_of_the_dtypes_that_the_model_says(name: str, dtype: torch.dtype) -> None:
    model = Diffusers(Loading(CPU, dtype, options=small_options(name)))
    first, _, others = model.computes_in.partition(" but fp32 in ")
    assert model.computes_in == BESIDE[dtype].get(name, {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype])
    assert model.dtype == NAMED[first]
    for key, parameter in model.net.named_parameters():
        kept = set(key.split(".")) & set(filter(None, others.split(", ")))
        assert parameter.dtype == (FP32 if kept else NAMED[first]), key


@pytest.mark.parametrize("said", [None, True, False])
@pytest.mark.parametrize("beside", [None, True, False])
def test_fp16_is_left_only_where_a_config_says_so_and_none_the_contrary(
    said: bool | None, beside: bool | None, tmp_path: Path
) -> None:
    options = {**small_options("vae-sd21"), "_class_name": "AutoencoderKL"}
    Diffusers(Loading(CPU, FP32, options=options)).net.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for settings, word in ((options, said), (config, beside)):
        settings.pop("force_upcast")
        settings.update({} if word is None else {"force_upcast": word})
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = Diffusers(Loading(CPU, torch.float16, path=tmp_path, options=options))
    upcast = True in (said, beside) and False not in (said, beside)
    assert model.computes_in == ("fp32" if upcast else "fp16")
    assert {p.dtype for p in model.net.parameters()} == {FP32 if upcast else torch.float16}


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


def test_what_minimax_keeps_in_float32_is_not_rounded_on_the_way() -> None:
    half = Diffusers(Loading(CPU, torch.bfloat16, options=small_options("minimax-h3"))).net
    whole = dict(small("minimax-h3").net.named_parameters())
    kept = [key for key, parameter in half.named_parameters() if parameter.dtype == FP32]
    assert all(torch.equal(half.get_parameter(key), whole[key]) for key in kept)
    assert half.decoder.proj_out.weight.dtype == torch.bfloat16


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


# ---- networks that exist


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_network_that_exists_gives_what_the_entry_s_does(name: str) -> None:
    built = small(name)
    model = Diffusers.around(built.net)
    assert is_known(built.net)
    assert (model.traits, model.params, model.name) == (built.traits, built.params, built.name)
    model.call = Call({**model.call.config, **small_options(name)}, "mode", 0)  # with the pipeline's own settings
    pixels = clips(model, model.traits.frame_rule.fit(1))
    latents = model.encode(pixels)
    assert torch.equal(latents, built.encode(pixels))
    assert torch.equal(model.decode(latents, pixels.shape[2]), built.decode(latents, pixels.shape[2]))


class Mine(diffusers.AutoencoderKL):
    pass


@pytest.mark.parametrize("tiling", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_nothing_of_a_network_is_changed(tiling: bool, before: bool) -> None:
    net = construct("AutoencoderKL", small_options("flux1"))
    net.to(torch.float64).train()
    net.use_tiling = before
    state = {key: value.clone() for key, value in net.state_dict().items()}
    model = Diffusers.around(net, tiling=tiling)
    pixels = torch.rand(1, 3, 1, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    recon = model.decode(model.encode(pixels.float()), 1)
    assert model.net is net
    assert (net.training, net.use_tiling, net.dtype) == (True, before, torch.float64)
    assert all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert model.computes_in == "fp64"
    assert recon.shape == pixels.shape


@torch.inference_mode()
def test_tiles_are_as_asked_for_whatever_the_network_is_set_to() -> None:
    net = small("flux1").net
    pixels = torch.rand(1, 3, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    whole, tiled = Diffusers.around(net), Diffusers.around(net, tiling=True)
    expected = whole.encode(pixels)
    net.enable_tiling()
    assert torch.equal(whole.encode(pixels), expected)
    net.disable_tiling()
    assert not torch.equal(tiled.encode(pixels), expected)
    with pytest.raises(Unavailable, match="tiling=false"):
        Diffusers.around(small("svd").net, tiling=True)


@torch.inference_mode()
def test_a_subclass_is_what_it_derives_from() -> None:
    torch.manual_seed(1)
    net = Mine(**{k: v for k, v in small_options("vae-sd21").items() if k != "_class_name"}).eval()
    model = Diffusers.around(net, posterior="sample", seed=3)
    assert (model.name, model.call.posterior, model.call.seed) == ("AutoencoderKL", "sample", 3)
    assert model.encode(torch.rand(1, 3, 1, 16, 16)).shape == (1, 4, 1, 2, 2)


def test_a_compiled_network_is_the_network() -> None:
    net = small("taesd").net
    compiled = torch.compile(net)
    assert is_known(compiled)
    assert Diffusers.around(compiled).net is net


def test_other_objects_are_not_known() -> None:
    class AutoencoderKL(torch.nn.Module):
        pass

    others = (AutoencoderKL(), torch.nn.Identity(), object(), None, 5, diffusers.AutoencoderKL)
    assert not any(map(is_known, others))
    assert not is_known(diffusers.schedulers.DDPMScheduler())
    with pytest.raises(Unavailable, match="a Identity is none of AsymmetricAutoencoderKL"):
        Diffusers.around(torch.nn.Identity())


def test_asking_imports_no_diffusers() -> None:
    code = "import sys; from cvbench.models.diffusers import is_known; is_known(3); print('diffusers' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
