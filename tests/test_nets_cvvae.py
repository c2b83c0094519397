"""CV-VAE's network against recorded outputs of the official code, and inflation against diffusers' image VAE."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from golden.weights import clip, tensor
from torch import Tensor, nn

from cvbench.core.errors import BadWeights, UnsuitableInput, UsageError
from cvbench.nets.cvvae import CVVAE, FULL_3D, SD3, Z4, Form, Tiling, diffusers_name, inflate

GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads((GOLDEN / "cvvae.shapes.json").read_text())
FORMS = {"cvvae": Z4, "cvvae-3d": FULL_3D, "cvvae-sd3": SD3}
CASES = {
    "image": (2, 3, 1, 48, 64),
    "clip5": (1, 3, 5, 32, 48),
    "clip37": (1, 3, 37, 32, 32),
    "tiled": (1, 3, 5, 96, 112),
}
QUANT = ("quant_conv", "post_quant_conv")
STRIDED = {"clip37": 3, "tiled": 3}  # every third pixel of these reconstructions is recorded

# Few channels, otherwise the form whose inflation equals an image VAE; 1e-6 is AutoencoderKL's epsilon.
TINY = Form(channels=8, multipliers=(1, 2, 2, 4), groups=4, temporal_attention=False, eps=1e-6)


def fill(net: nn.Module) -> None:
    """Load golden weights by tensor name."""
    state = {name: torch.from_numpy(tensor(name, tuple(value.shape))) for name, value in net.state_dict().items()}
    net.load_state_dict(state, strict=True)
    net.eval().requires_grad_(False)


@cache
def small(name: str) -> CVVAE:
    net = CVVAE(replace(FORMS[name], channels=32))
    fill(net)
    return net


def image_vae(quant: bool = False) -> AutoencoderKL:
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=TINY.widths,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=4,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )
    fill(vae)
    return vae


def inflated(vae: AutoencoderKL, form: Form) -> CVVAE:
    net = CVVAE(form).eval().requires_grad_(False)
    net.load_state_dict(inflate(vae.state_dict(), net), strict=True)
    return net


def video(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(clip(name, shape))


def equal(got: Tensor, expected: Tensor | np.ndarray, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(got, torch.as_tensor(expected), atol=tolerance, rtol=0)


@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("name", FORMS)
def test_names_and_shapes_are_the_official_checkpoints(name: str, size: str) -> None:
    with torch.device("meta"):
        net = CVVAE(FORMS[name] if size == "full" else replace(FORMS[name], channels=32))
    assert {key: list(value.shape) for key, value in net.state_dict().items()} == SHAPES[f"{name}-{size}"]


@pytest.mark.parametrize(
    ("name", "total", "encoder"),
    [
        ("cvvae", 182_446_475, 68_748_936),
        ("cvvae-3d", 255_879_563, 100_009_608),
        ("cvvae-sd3", 181_892_515, 69_080_736),
    ],
)
def test_parameter_counts_are_the_official_networks(name: str, total: int, encoder: int) -> None:
    with torch.device("meta"):
        net = CVVAE(FORMS[name])
    assert sum(p.numel() for p in net.parameters()) == total
    assert sum(p.numel() for p in net.encoder.parameters()) == encoder


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, marks=pytest.mark.large if case in STRIDED and name != "cvvae" else [])
        for name in FORMS
        for case in CASES
    ],
)
def test_posterior_and_reconstruction_equal_the_official_code(name: str, case: str) -> None:
    key, stride = f"{name}-small/{case}", STRIDED.get(case, 1)
    net = small(name)
    net.tiling = Tiling(64, 0.25) if case == "tiled" else Tiling()
    with np.load(GOLDEN / "cvvae.npz") as golden:
        mean, logvar = net.encode(video(key, *CASES[case]))
        equal(mean, golden[f"{key}/mean"])
        equal(net.decode(mean)[..., ::stride, ::stride], golden[f"{key}/recon"])
        if case != "tiled":  # not recorded there
            equal(logvar, golden[f"{key}/logvar"])


def test_a_window_knows_nothing_of_the_frames_before_it() -> None:
    net = small("cvvae")
    whole = video("windows", 1, 3, 21, 16, 16)
    mean, _ = net.encode(whole)
    equal(mean[:, :, :5], net.encode(whole[:, :, :17])[0], 1e-5)
    equal(mean[:, :, 5:], net.encode(whole[:, :, 16:])[0][:, :, 1:], 1e-5)


@pytest.mark.parametrize("sides", [(576, 576), (584, 1024), (1032, 200)])
def test_published_tiles_leave_a_local_map_unchanged(sides: tuple[int, int]) -> None:
    pixels = video("tiles", 1, 3, 1, *sides)
    pooled = F.avg_pool3d(pixels, (1, 8, 8))
    equal(Tiling().run(lambda x: F.avg_pool3d(x, (1, 8, 8)), pixels, 576, 72), pooled, 1e-6)
    enlarged = F.interpolate(pooled, scale_factor=(1.0, 8.0, 8.0))
    equal(Tiling().run(lambda x: F.interpolate(x, scale_factor=(1.0, 8.0, 8.0)), pooled, 72, 576), enlarged, 1e-6)


def test_pictures_within_one_tile_are_coded_whole() -> None:
    net, x = small("cvvae"), video("whole", 1, 3, 1, 64, 64)
    net.tiling = None
    expected, _ = net.encode(x)
    for tiling, same in ((Tiling(64, 0.25), True), (Tiling(32, 0.25), False)):
        net.tiling = tiling
        assert torch.equal(net.encode(x)[0], expected) is same


@pytest.mark.parametrize("half_3d", [True, False])
def test_inflated_video_vae_equals_the_image_vae_on_single_frames(half_3d: bool) -> None:
    vae, x = image_vae(), video("inflate", 2, 3, 1, 48, 40)
    net = inflated(vae, replace(TINY, half_3d=half_3d))
    posterior = vae.encode(x[:, :, 0]).latent_dist
    mean, logvar = net.encode(x)
    equal(mean[:, :, 0], posterior.mean)
    equal(logvar[:, :, 0], posterior.logvar)
    equal(net.decode(mean)[:, :, 0], vae.decode(posterior.mean).sample)


def test_quant_convs_are_reproduced_exactly_when_the_form_keeps_the_second() -> None:
    vae, x = image_vae(quant=True), video("inflate", 1, 3, 1, 32, 40)
    net = inflated(vae, replace(TINY, post_quant=True))
    expected = vae.encode(x[:, :, 0]).latent_dist.mean
    mean, _ = net.encode(x)
    equal(mean[:, :, 0], expected)
    equal(net.decode(mean)[:, :, 0], vae.decode(expected).sample)


def test_folded_post_quant_conv_is_exact_but_for_the_border() -> None:
    vae, z = image_vae(quant=True), video("latent", 1, 4, 1, 6, 7)
    first = inflated(vae, TINY).decoder.get_submodule("conv_in")(z)[:, :, 0]
    expected = vae.decoder.conv_in(vae.post_quant_conv(z[:, :, 0]))
    equal(first[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], 1e-5)
    assert (first - expected).abs().amax() > 1e-3


def test_folded_post_quant_conv_without_bias_is_exact() -> None:
    vae, z = image_vae(quant=True), video("latent", 1, 4, 1, 6, 7)
    vae.post_quant_conv.bias.zero_()
    equal(inflated(vae, TINY).decode(z)[:, :, 0], vae.decode(z[:, :, 0]).sample)


def test_inflation_puts_kernels_into_the_newest_and_the_middle_tap() -> None:
    vae = image_vae()
    state = inflate(vae.state_dict(), CVVAE(TINY))
    kernel = vae.encoder.down_blocks[0].downsamplers[0].conv.weight
    zeros = torch.zeros_like(kernel)
    assert torch.equal(state["encoder.down.0.downsample.conv.weight"], torch.stack([zeros, zeros, kernel], 2))
    kernel = vae.decoder.up_blocks[0].upsamplers[0].conv.weight  # level 3 of 0 to 3: the deepest
    doubled, zeros = torch.cat([kernel, kernel]), torch.zeros(2 * len(kernel), *kernel.shape[1:])
    assert torch.equal(state["decoder.up.3.upsample.conv.weight"], torch.stack([zeros, doubled, zeros], 2))
    bias = vae.decoder.up_blocks[0].upsamplers[0].conv.bias
    assert torch.equal(state["decoder.up.3.upsample.conv.bias"], torch.cat([bias, bias]))


def test_inflation_keeps_temporal_attention_and_needs_nothing_for_it() -> None:
    net = CVVAE(replace(TINY, temporal_attention=True))
    state = inflate(image_vae().state_dict(), net)
    net_state = net.state_dict()
    kept = [name for name in state if torch.equal(state[name], net_state[name])]
    assert len([name for name in kept if "attn_1" in name and "_t." in name]) == 10
    assert "decoder.mid.attn_1.q.weight" not in kept


@pytest.mark.parametrize("rename", [{"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}])
def test_inflation_reads_older_names(rename: dict[str, str]) -> None:
    state = image_vae().state_dict()
    older = {}
    for name, value in state.items():
        for new, old in rename.items():
            name = name.replace(new, old)
        older[name] = value
    expected = inflate(state, CVVAE(TINY))
    assert all(torch.equal(value, expected[name]) for name, value in inflate(older, CVVAE(TINY)).items())


def test_ldm_names_become_what_diffusers_makes_of_them() -> None:
    # The names tell their own place: each tensor carries its number through diffusers' converter.
    ldm = [*CVVAE(TINY).state_dict(), *(f"{conv}.{kind}" for conv in QUANT for kind in ("weight", "bias"))]
    numbered = {name: torch.full((1, 1, 1, 1), float(i)) for i, name in enumerate(ldm)}
    converted = convert_ldm_vae_checkpoint(numbered, {"down_block_types": [""] * 4, "up_block_types": [""] * 4})
    place = {int(value): name for name, value in converted.items()}
    assert [diffusers_name(name, 4) for name in ldm] == [place[i] for i in range(len(ldm))]


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        (replace(TINY, blocks=1), "left over, the first"),
        (replace(TINY, blocks=3), "tensors are missing"),
        (replace(TINY, post_quant=True), "first post_quant_conv.bias"),
        (replace(TINY, channels=16), "in the image VAE"),
    ],
)
def test_inflation_refuses_another_architecture(form: Form, complaint: str) -> None:
    with pytest.raises(BadWeights, match=complaint):
        inflate(image_vae().state_dict(), CVVAE(form))


@pytest.mark.parametrize(
    ("levels", "latent_frames"), [((), 17), ((0,), 9), ((1,), 9), ((0, 2), 5), ((1, 2), 5), ((0, 1, 2), 3)]
)
def test_any_temporal_compression_gives_the_frames_back(levels: tuple[int, ...], latent_frames: int) -> None:
    net = CVVAE(replace(TINY, blocks=1, time_levels=levels, temporal_attention=True)).requires_grad_(False)
    x = video("general", 1, 3, 17, 16, 24)
    mean, logvar = net.encode(x)
    assert mean.shape == logvar.shape == (1, 4, latent_frames, 2, 3)
    assert net.decode(mean).shape == x.shape


@pytest.mark.parametrize("shape", [(1, 3, 4, 16, 16), (1, 3, 18, 16, 16), (1, 3, 5, 20, 16), (1, 3, 1, 16, 12)])
def test_clips_that_would_be_truncated_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsuitableInput, match=r"1 \+ 4k frames with sides that divide by 8"):
        small("cvvae").encode(torch.zeros(shape))


def test_latents_of_another_vae_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match="4 latent channels, not 16"):
        small("cvvae").decode(torch.zeros(1, 16, 1, 2, 2))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"channels": 20}, "do not divide into 32 groups"),
        ({"time_levels": (3,)}, "only levels 0 to 2"),
        ({"window": 18}, "no multiple of the temporal compression 4"),
        ({"sd3": True}, "no temporal attention"),
    ],
)
def test_forms_that_do_not_fit_together_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        replace(Z4, **change)


@pytest.mark.parametrize("tiling", [Tiling(100, 0.25), Tiling(64, 0.3), Tiling(64, 1.0)])
def test_tiles_that_would_tear_the_picture_are_refused(tiling: Tiling) -> None:
    with pytest.raises(UsageError, match="do not fall on multiples of 8"):
        CVVAE(TINY, tiling)
