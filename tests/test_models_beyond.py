"""TAEHV, WF-VAE and LeanVAE against recorded outputs of the official code, and their entries in the harness.

Recorded with the weights of golden/weights.py: of latents every third value, of reconstructions every 23rd, TAEHV's
before its final clamp to [0, 1]. Tensor names and shapes are the official modules', full-size ones on the meta device.
Sources: madebyollin/taehv `taehv.py` at 115aaa7; WF-VAE `modeling_wfvae.py` and `modules` at 27adef1 (the copy in
yasinzaii/WF-VAE); LeanVAE `patcher_utils.py` at cf40d88 of westlake-repl/LeanVAE, `backbones.py` and `autoencoder.py`
of before its alignment with Wan (the copy in xunyouren2026/eqigen-origen at 7fea784).
"""

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import reconstruct
from golden.weights import clip, tensor
from safetensors.torch import save_file
from torch import Tensor, nn

from cvbench import models
from cvbench.core.errors import BadWeights, UnsuitableInput
from cvbench.core.protocol import EvalProtocol
from cvbench.engine.coding import pad
from cvbench.models.beyond_entries import BEYOND
from cvbench.models.entry import Loading
from cvbench.nets import leanvae, taehv, wfvae

GOLDEN = Path(__file__).parent / "golden" / "beyond.npz"
CPU, META = torch.device("cpu"), torch.device("meta")
ATOL = 1e-4
PROTOCOL = EvalProtocol("test", 1, eight="none")

SMALL_WFVAE: dict[str, Any] = {
    "base_channels": 32,
    "encoder_energy_flow_hidden_size": 32,
    "decoder_energy_flow_hidden_size": 64,
}
SMALL_LEANVAE = {"embedding_dim": 64, "l_dim": 16, "h_dim": 48}
SMALL: dict[str, dict[str, int]] = {"wf-vae": SMALL_WFVAE, "leanvae-4": SMALL_LEANVAE, "leanvae-16": SMALL_LEANVAE}
TINY = [name for name in BEYOND if name.startswith("tae")]
NETWORKS = ["taew2.1", "taehv1.5", "taew2.2", "taecvx", "taeltx2", "wf-vae", "leanvae-4"]  # one of each kind
GROUPED = wfvae.Layout(8, **SMALL_WFVAE, norm_type="groupnorm", t_interpolation="nearest", connect_res_layer_num=2)


@cache
def recorded(key: str) -> Tensor:
    with np.load(GOLDEN) as arrays:
        return torch.from_numpy(arrays[key])


@cache
def shapes() -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = json.loads(recorded("shapes").numpy().tobytes())
    return found


def shapes_of(net: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in net.state_dict().items()}


def official(variant: str) -> dict[str, Tensor]:
    """Weights by name; those of ISTA's steps are numbers, which would all be 0, and 0.7 instead."""
    state = {name: torch.from_numpy(tensor(name, tuple(shape))) for name, shape in shapes()[variant].items()}
    return {name: torch.tensor(0.7) if ".weights." in name else value for name, value in state.items()}


NETS: dict[str, Callable[[], Any]] = {
    "taew2_1": lambda: taehv.TAEHV(taehv.LAYOUTS["taehv"]),
    "taecvx": lambda: taehv.TAEHV(taehv.LAYOUTS["taehv"]),
    "taehv1_5": lambda: taehv.TAEHV(taehv.LAYOUTS["taehv1_5"]),
    "taew2_2": lambda: taehv.TAEHV(taehv.LAYOUTS["taew2_2"]),
    "taeltx_2": lambda: taehv.TAEHV(taehv.LAYOUTS["taeltx_2"]),
    "wf-layer": lambda: wfvae.WFVAE(wfvae.Layout(8, **SMALL_WFVAE)),
    "wf-group": lambda: wfvae.WFVAE(GROUPED),
    "lean": lambda: leanvae.LeanVAE(leanvae.Layout(4, **SMALL_LEANVAE)),
}


@cache
def net(variant: str) -> Any:
    made = NETS[variant]().eval().requires_grad_(False)
    made.load_state_dict(official("taew2_1" if variant == "taecvx" else variant))
    return made


def close(found: Tensor, key: str, what: str) -> None:
    thinned = found.flatten()[:: 23 if what == "recon" else 3]
    torch.testing.assert_close(thinned, recorded(f"{key}/{what}"), atol=ATOL, rtol=0)


def build(name: str, path: Path | None = None, small: bool = True, **settings: Any) -> Any:
    """Build an entry's model as the harness does."""
    entry = BEYOND[name]
    options = {**entry.config, **entry.options, **(SMALL.get(name, {}) if small else {})}
    loading = Loading(**{"device": CPU, "dtype": torch.float32, "path": path, "options": options, **settings})
    return models.resolve(entry.build)(loading)


@cache
def untrained(name: str) -> Any:
    """Build an entry's network at random, once."""
    return build(name)


@cache
def on_meta(name: str) -> Any:
    """Build an entry's full-size network without memory for its weights."""
    with META:
        return build(name, small=False, device=META)


def video(name: str, *shape: int) -> Tensor:
    """Pixels in [0, 1]."""
    return torch.from_numpy(clip(name, shape, 0, 1))


# ---- the networks are the official ones


OFFICIAL = {
    **{"taehv": "taew2_1", "taew2.1": "taew2_1", "taecvx": "taew2_1", "taeos1.3": "taew2_1"},
    **{"taehv1.5": "taehv1_5", "taew2.2": "taew2_2", "taeltx2": "taeltx_2", "taeltx2.3": "taeltx_2"},
    **{"wf-vae": "wf-vae", "leanvae-4": "leanvae-4", "leanvae-16": "leanvae-16"},
}


@pytest.mark.parametrize("name", BEYOND)
def test_full_size_tensors_are_the_official_ones(name: str) -> None:
    assert shapes_of(on_meta(name).net) == shapes()[OFFICIAL[name]]


@pytest.mark.parametrize("variant", ["wf-layer", "wf-group", "lean"])
def test_small_tensors_are_the_official_ones(variant: str) -> None:
    assert shapes_of(net(variant)) == shapes()[variant]


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("taehv", 1_470_928 + 9_844_611),
        ("taehv1.5", 1_485_344 + 9_886_668),
        ("taew2.2", 1_494_576 + 9_923_532),
        ("taeltx2", 1_565_568 + 10_194_160),
        ("wf-vae", 317_081_372),
        ("leanvae-4", 39_767_496 - 2_052),  # but for the layer of log-variances
        ("leanvae-16", 39_785_940 - 8_208),
    ],
)
def test_parameters_are_those_of_the_official_code(name: str, total: int) -> None:
    params = BEYOND[name].params
    assert params is not None
    assert sum(params) == total


@pytest.mark.parametrize("name", BEYOND)
def test_the_full_size_network_is_the_one_of_the_entry(name: str) -> None:
    model = on_meta(name)
    assert model.params == BEYOND[name].params
    assert model.traits == BEYOND[name].traits


TINY_CASES = [
    ("taew2_1/t1", (2, 3, 1, 16, 8)),
    ("taew2_1/t5", (1, 3, 5, 16, 8)),
    ("taew2_1/t8", (1, 3, 8, 16, 8)),
    ("taew2_1/t21", (1, 3, 21, 16, 8)),  # more than one piece
    ("taecvx/t9", (1, 3, 9, 16, 8)),
    ("taehv1_5/t5", (1, 3, 5, 32, 16)),
    ("taew2_2/t5", (1, 3, 5, 32, 16)),
    ("taeltx_2/t9", (1, 3, 9, 64, 32)),
]


@pytest.mark.parametrize(("key", "shape"), TINY_CASES)
def test_taehv_gives_the_official_latents_and_pixels(key: str, shape: tuple[int, ...]) -> None:
    tiny = net(key.split("/")[0])
    z = tiny.encode(video(key, *shape))
    close(z, key, "z")
    close(tiny.decode(z), key, "recon")


@pytest.mark.parametrize("frames", [1, 5, 9])
@pytest.mark.parametrize("variant", ["wf-layer", "wf-group"])
def test_wfvae_gives_the_official_posterior_and_pixels(variant: str, frames: int) -> None:
    key, wf = f"{variant}/t{frames}", net(variant)
    mean, logvar = wf.encode(torch.from_numpy(clip(key, (1 if frames > 1 else 2, 3, frames, 24, 16), -1, 1)))
    close(mean, key, "mean")
    close(logvar, key, "logvar")
    close(wf.decode(mean), key, "recon")


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_leanvae_gives_the_official_latents_and_pixels(frames: int) -> None:
    key, lean = f"lean/t{frames}", net("lean")
    mean, _ = lean.encode(torch.from_numpy(clip(key, (1 if frames > 1 else 2, 3, frames, 24, 16), -0.5, 0.5)))
    close(mean, key, "mean")
    close(lean.decode(mean), key, "recon")


# ---- what they are made of


@pytest.mark.parametrize(("frames", "back"), [(1, 1), (4, 1), (5, 5), (8, 5), (37, 37)])
def test_taehv_drops_the_frames_that_its_rule_does_not_allow(frames: int, back: int) -> None:
    tiny = net("taew2_1")
    z = tiny.encode(video("dropped", 1, 3, frames, 8, 8))
    assert z.shape[2] == -(-frames // 4)
    assert tiny.decode(z).shape[2] == back


@pytest.mark.parametrize("piece", [8, 64])
def test_taehv_in_pieces_is_taehv_at_once(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, target = net("taew2_1"), video("pieces", 2, 3, 33, 16, 16)
    usual = tiny.encode(target), tiny.decode(tiny.encode(target))
    monkeypatch.setattr(taehv, "PIECE", piece)
    torch.testing.assert_close(tiny.encode(target), usual[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(tiny.decode(usual[0]), usual[1], atol=1e-5, rtol=0)


def test_taehv_remembers_the_frame_before() -> None:
    tiny, target = net("taew2_1"), video("memory", 1, 3, 9, 16, 16)
    changed = torch.cat([1 - target[:, :, :4], target[:, :, 4:]], dim=2)  # all that the first latent codes
    difference = (tiny.encode(target) - tiny.encode(changed)).abs().amax(dim=(0, 1, 3, 4))
    assert difference[1] > 1e-4


def test_a_layer_that_makes_two_frames_gives_its_second_where_one_is_wanted(tmp_path: Path) -> None:
    state = official("taew2_1")
    width = state["decoder.7.conv.weight"].shape[0]
    longer = torch.cat([torch.ones(width, width, 1, 1), state["decoder.7.conv.weight"]])
    torch.save({**state, "decoder.7.conv.weight": longer}, tmp_path / "taew2_1.pth")
    loaded = build("taew2.1", tmp_path / "taew2_1.pth").net.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_the_low_band_of_a_constant_clip_is_eight_times_its_value_times_the_scale() -> None:
    bands = wfvae.Haar3D()(torch.full((1, 3, 5, 4, 4), 0.25))
    assert bands.shape == (1, 24, 3, 2, 2)
    torch.testing.assert_close(bands[:, :3], torch.full((1, 3, 3, 2, 2), 8 * 0.25 * 0.3536))
    assert bands[:, 3:].abs().max() < 1e-6


def test_bands_are_ordered_by_time_then_height_then_width() -> None:
    x = torch.zeros(1, 1, 2, 2, 2)
    x[0, 0, 1, 0, 1] = 1.0  # late, above, at the right: minus for high-pass in time and in width
    eight = torch.cat([wfvae.kernel(high) for high in wfvae.BANDS.values()])
    assert wfvae.analyse(x, eight).flatten().tolist() == [1, -1, 1, -1, -1, 1, -1, 1]


def test_wavelets_of_wfvae_are_undone_but_for_their_rounded_scale() -> None:
    x = video("haar", 2, 3, 5, 8, 12)
    torch.testing.assert_close(wfvae.InverseHaar3D()(wfvae.Haar3D()(x)), x * 8 * 0.3536**2)
    torch.testing.assert_close(wfvae.Haar2D(back=True)(wfvae.Haar2D()(x)), x)


@pytest.mark.parametrize("frames", [1, 5])
def test_wavelets_of_leanvae_are_undone(frames: int) -> None:
    x = video("haar", 2, 3, frames, 16, 8)
    image, bands = leanvae.wavelets(x)
    assert (image.shape, bands.shape) == ((2, 12, 1, 8, 4), (2, 24, frames // 2, 8, 4))
    torch.testing.assert_close(leanvae.pixels(image, bands), x)


@pytest.mark.parametrize("variant", ["wf-layer", "lean"])
def test_no_frame_depends_on_a_later_one(variant: str) -> None:
    causal, target = net(variant), video("causal", 1, 3, 9, 16, 16) - 0.5
    changed = torch.cat([target[:, :, :5], -target[:, :, 5:]], dim=2)
    first, second = (causal.encode(x)[0] for x in (target, changed))
    torch.testing.assert_close(first[:, :, :2], second[:, :, :2])
    assert (first[:, :, 2] - second[:, :, 2]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("variant", "shape"),
    [
        *(("taew2_1", (1, 12, 8)), ("taehv1_5", (1, 24, 16)), ("wf-layer", (4, 8, 8))),
        *(("wf-layer", (5, 12, 8)), ("lean", (3, 8, 8)), ("lean", (5, 8, 4))),
    ],
)
def test_sizes_that_would_not_come_back_are_refused(variant: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsuitableInput, match=f"got .*{shape[1]}x{shape[2]}"):
        net(variant).encode(torch.zeros(1, 3, *shape))


# ---- shapes and half precision; all else that the harness relies on is in test_model_contract.py


@pytest.mark.parametrize("name", BEYOND)
def test_traits_give_the_shape_of_the_latents(name: str) -> None:
    traits, model = BEYOND[name].traits, on_meta(name)
    with META:
        padded = pad(torch.empty(2, 3, 33, 256, 192), traits)
        coded = model.encode(padded)
        held = 1 + (padded.shape[2] - 1) // traits.temporal
        assert coded.shape == (2, traits.channels, held, 256 // traits.spatial, 192 // traits.spatial)
        assert model.decode(coded, padded.shape[2]).shape == padded.shape


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_stays_near_full_precision(name: str) -> None:
    model, target = build(name, dtype=torch.bfloat16), video("half", 1, 3, 5, 32, 32)
    half, full = (reconstruct(m, target, PROTOCOL)[0] for m in (model, untrained(name)))
    assert half.dtype == torch.float32
    assert {p.dtype for p in model.net.parameters()} == {torch.bfloat16}
    assert (half - full).square().mean().sqrt() < 0.03


@pytest.mark.parametrize("name", ["wf-vae", "leanvae-4"])
def test_a_sample_of_the_posterior_has_its_mean_and_variance(name: str) -> None:
    model, target = build(name, posterior="sample"), video("posterior", 1, 3, 9, 64, 64)
    mean, logvar = model.net.encode(2 * target - 1 if name == "wf-vae" else target - 0.5)
    torch.manual_seed(3)
    standard = (model.encode(target) - mean) / (logvar / 2).exp()
    n = standard.numel()  # 768 or more: three standard errors of mean and variance
    assert abs(standard.mean()) < 3 / n**0.5
    assert abs(standard.var() - 1) < 3 * (2 / n) ** 0.5
    assert torch.equal(build(name).encode(target), mean)


@pytest.mark.parametrize("name", TINY)
def test_tiny_autoencoders_are_pinned_to_a_commit(name: str) -> None:
    source = BEYOND[name].source
    assert source is not None
    assert source.url.split("/")[-2:] == ["093b918971d59001a0bad6dfd6e0409b5e1752cf", source.file]


# ---- checkpoints as they were published


Save = Callable[[dict[str, Tensor], Path], Path]
LOSSES = {"loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.ones(2, 3, 1, 1)}
SAID = {"latent_dim": 4, **SMALL_LEANVAE, "lr": 1e-4, "use_tile_inference": False, "data_path": ["a"]}


def as_pth(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


def as_safetensors(state: dict[str, Tensor], folder: Path) -> Path:
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    return folder / "diffusion_pytorch_model.safetensors"


def as_folder(state: dict[str, Tensor], folder: Path, layout: wfvae.Layout) -> Path:
    """Save as diffusers does, with fields that are none of the layout's."""
    config = {"_class_name": "WFVAEModel", "dropout": 0.0, "scale": [0.18215] * 4, **wfvae.FIXED, **asdict(layout)}
    (folder / "config.json").write_text(json.dumps(config))
    return as_safetensors(state, folder).parent


def as_trainer(state: dict[str, Tensor], folder: Path) -> Path:
    """Save as WF-VAE's trainer does: averaged weights beside others, and discriminators."""
    wrong = {name: torch.zeros_like(value) for name, value in state.items()}
    ema = {f"module.{name}": value for name, value in state.items()}
    content = {"state_dict": {"gen_model": wrong, "dics_model": LOSSES}, "ema_state_dict": ema}
    torch.save(content, folder / "checkpoint.ckpt")
    return folder / "checkpoint.ckpt"


def as_leanvae(state: dict[str, Tensor], folder: Path, args: Any = None) -> Path:
    torch.save({"args": args or SAID, "state_dict": {**state, "dwt.wavelets": torch.ones(2)}}, folder / "lean.ckpt")
    return folder / "lean.ckpt"


def as_leanvae_trainer(state: dict[str, Tensor], folder: Path) -> Path:
    held = {f"autoencoder.{name}": value for name, value in state.items()}
    others = {"image_discriminator.main.0.weight": torch.ones(1), "perceptual_model.lin0.weight": torch.ones(1)}
    torch.save({"epoch": 1, "state_dict": {**held, **others}}, folder / "last.ckpt")
    return folder / "last.ckpt"


CHECKPOINTS: list[tuple[str, str, str, tuple[int, ...], Save]] = [
    ("taew2.1", "taew2_1", "t5", (1, 3, 5, 16, 8), as_pth),
    ("taew2.2", "taew2_2", "t5", (1, 3, 5, 32, 16), as_safetensors),
    ("taeltx2", "taeltx_2", "t9", (1, 3, 9, 64, 32), as_pth),
    ("wf-vae", "wf-layer", "t5", (1, 3, 5, 24, 16), partial(as_folder, layout=wfvae.Layout(8, **SMALL_WFVAE))),
    ("wf-vae", "wf-group", "t5", (1, 3, 5, 24, 16), partial(as_folder, layout=GROUPED)),
    ("leanvae-16", "lean", "t5", (1, 3, 5, 24, 16), as_leanvae),  # its own settings go over the entry's
    ("leanvae-4", "lean", "t5", (1, 3, 5, 24, 16), partial(as_leanvae, args=Namespace(**SAID))),
    ("leanvae-4", "lean", "t5", (1, 3, 5, 24, 16), as_leanvae_trainer),
]


@pytest.mark.parametrize(("name", "variant", "case", "shape", "save"), CHECKPOINTS)
def test_a_checkpoint_of_the_official_layout_gives_the_recorded_values(
    name: str, variant: str, case: str, shape: tuple[int, ...], save: Save, tmp_path: Path
) -> None:
    path, key, like = save(official(variant), tmp_path), f"{variant}/{case}", variant.split("-")[0]
    model = build(name, path)
    low, high = {"wf": (-1.0, 1.0), "lean": (-0.5, 0.5)}.get(like, (0.0, 1.0))
    pixels = (torch.from_numpy(clip(key, shape, low, high)) - low) / (high - low)
    with torch.inference_mode():
        coded = model.encode(pixels)
        close(coded, key, "mean" if like in ("wf", "lean") else "z")
        close(model.decode(coded, shape[2]) * (high - low) + low, key, "recon")


def test_averaged_weights_are_taken_from_the_trainers_checkpoint(tmp_path: Path) -> None:
    state = build("wf-vae", seed=5).net.state_dict()
    loaded = build("wf-vae", as_trainer(state, tmp_path)).net.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("name", "variant", "says"),
    [
        ("taew2.1", "taew2_2", "misshaped: encoder.0.weight"),
        ("taew2.1", "lean", "missing: encoder.0.weight"),
        ("wf-vae", "lean", "missing: encoder.down1.0.weight"),
        ("leanvae-4", "wf-layer", "missing: latent_bottleneck.phi"),
        ("leanvae-16", "lean", "misshaped: latent_bottleneck.phi"),
    ],
)
def test_a_file_of_another_network_is_refused_by_name(name: str, variant: str, says: str, tmp_path: Path) -> None:
    path = as_pth(official(variant), tmp_path)
    with pytest.raises(BadWeights) as refused:
        build(name, path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_attention": False}, "asks for use_attention = False"),
        ({"l1_dowmsample_block": "Spatial2xTime2x3DDownsample"}, "asks for l1_dowmsample_block"),
        ({"norm_type": "aslayernorm"}, "norm_type = 'aslayernorm'; WF-VAE has layernorm and groupnorm"),
        ({"base_channels": "192"}, "no whole number for base_channels"),
    ],
)
def test_wfvae_refuses_a_config_of_another_network(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadWeights, match=says):
        wfvae.layout_of({**asdict(wfvae.Layout()), **change})


@pytest.mark.parametrize(("text", "says"), [("{", "is no JSON"), ("[]", "holds a list"), ("{}", "lacks latent_dim")])
def test_wfvae_refuses_a_config_that_is_none(text: str, says: str, tmp_path: Path) -> None:
    as_safetensors({"a": torch.ones(1)}, tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadWeights, match=says):
        build("wf-vae", tmp_path)


@pytest.mark.parametrize(
    ("args", "says"),
    [({"latent_dim": 0}, "latent_dim = 0"), ({"h_dim": "384"}, "h_dim = '384'"), ([1], "a list for its settings")],
)
def test_leanvae_refuses_settings_that_are_none(args: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=says):
        build("leanvae-4", as_leanvae({"a": torch.ones(1)}, tmp_path, args))
