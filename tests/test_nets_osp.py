"""Open-Sora-Plan's VAEs against recorded outputs of the official code, at the published width and at a small one.

Golden values come from the official code with the weights of golden/weights.py: `mean` and `logvar` whole, of `recon`
every eleventh value in memory order (of every second row and column where STRIDED says so).
"""

import gzip
import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.weights import clip, tensor
from torch import Tensor

from cvbench.core.errors import BadWeights, UnknownName, UnsuitableInput, UsageError
from cvbench.nets.osp import (
    KEEP,
    LAYERS,
    LAYOUTS,
    AttnBlock3D,
    AttnBlock3DFix,
    OpenSoraPlanVAE,
    Tiling,
    cross_fade,
    layout_of,
    tiled,
)

GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads(gzip.decompress((GOLDEN / "osp.shapes.json.gz").read_bytes()))
ATOL = 1e-4

RELEASE = {
    "osp-v1.0": "v1.0-class-default",
    "osp-v1.0-release": "v1.0",
    "osp-v1.1": "v1.1",
    "osp-v1.2": "v1.2",
}
# parameters of encoder and decoder in the official code; quant_conv has 72 and post_quant_conv 20 in all
COUNTS = {
    ("v1.0", "small"): (5_891_496, 8_478_979),
    ("v1.0-class-default", "small"): (5_891_496, 8_478_979),
    ("v1.1", "small"): (6_111_146, 9_363_973),
    ("v1.2", "small"): (5_926_632, 9_068_803),
    ("v1.0", "full"): (93_816_456, 135_353_347),
    ("v1.0-class-default", "full"): (93_816_456, 135_353_347),
    ("v1.1", "full"): (97_349_258, 149_510_149),
    ("v1.2", "full"): (94_399_368, 144_790_531),
}
CLIPS = {
    "t1": (2, 3, 1, 48, 64),
    "t5": (1, 3, 5, 48, 64),
    "t9": (1, 3, 9, 64, 48),
    "tiled": (1, 3, 5, 96, 80),
    "tiledt": (1, 3, 17, 72, 64),
}
TILING = {"tiled": Tiling(size=64, overlap=0.25), "tiledt": Tiling(size=64, overlap=0.25, frames=9)}
STRIDED = ("t9", "tiled", "tiledt")
ALL_TILED = [f"{variant}/tiled" for variant in ("osp-v1.0-release", "osp-v1.1")]
KEYS = [f"{variant}/{case}" for variant in RELEASE for case in ("t1", "t5", "t9")] + ALL_TILED + ["osp-v1.1/tiledt"]
MARKED = [
    pytest.param(key, marks=pytest.mark.large if key.endswith(("/t9", "/tiled")) and "1.1" not in key else [])
    for key in KEYS
]


@cache
def golden(key: str, what: str) -> Tensor:
    variant, case = key.split("/")
    with np.load(GOLDEN / "osp.npz") as recorded:
        return torch.from_numpy(recorded[f"{variant}-small/{case}/{what}"])


def manifest(release: str, width: str) -> dict[str, list[int]]:
    return SHAPES[f"osp-{release.removesuffix('-class-default')}-{width}"]


@cache
def small(key: str) -> OpenSoraPlanVAE:
    release = RELEASE[key.split("/")[0]]
    net = OpenSoraPlanVAE(replace(LAYOUTS[release], hidden_size=32)).eval().requires_grad_(False)
    shapes = manifest(release, "small")
    net.load_state_dict({name: torch.from_numpy(tensor(name, tuple(s))) for name, s in shapes.items()}, strict=True)
    return net


def clips(key: str) -> Tensor:
    variant, case = key.split("/")
    return torch.from_numpy(clip(f"{variant}-small/{case}", CLIPS[case]))


@pytest.mark.parametrize(("release", "width"), COUNTS)
def test_tensors_and_parameters_are_the_official_ones(release: str, width: str) -> None:
    layout = replace(LAYOUTS[release], hidden_size=32) if width == "small" else LAYOUTS[release]
    with torch.device("meta"):
        net = OpenSoraPlanVAE(layout)
    assert {name: list(value.shape) for name, value in net.state_dict().items()} == manifest(release, width)
    parts = (net.encoder, net.decoder, net.quant_conv, net.post_quant_conv)
    assert tuple(sum(p.numel() for p in part.parameters()) for part in parts) == (*COUNTS[release, width], 72, 20)


@pytest.mark.parametrize("key", MARKED)
def test_the_encoder_gives_the_official_posterior(key: str) -> None:
    mean, logvar = small(key).encode(clips(key), TILING.get(key.split("/")[1]))
    torch.testing.assert_close(mean, golden(key, "mean"), atol=ATOL, rtol=0)
    torch.testing.assert_close(logvar, golden(key, "logvar"), atol=ATOL, rtol=0)


@pytest.mark.parametrize("key", MARKED)
def test_the_decoder_gives_the_official_pixels(key: str) -> None:
    case = key.split("/")[1]
    pixels = small(key).decode(golden(key, "mean"), TILING.get(case))
    assert pixels.shape == CLIPS[case]
    recorded = pixels[..., ::2, ::2] if case in STRIDED else pixels
    torch.testing.assert_close(recorded.flatten()[::11], golden(key, "recon"), atol=ATOL, rtol=0)


def test_log_variance_stays_within_bounds() -> None:
    net = OpenSoraPlanVAE(replace(LAYOUTS["v1.0"], hidden_size=32)).eval().requires_grad_(False)
    net.quant_conv.conv.weight.zero_()
    net.quant_conv.conv.bias.copy_(torch.tensor([50.0] * 4 + [-50.0, -30.0, 20.0, 50.0]))
    mean, logvar = net.encode(torch.zeros(1, 3, 1, 8, 8))
    assert mean.flatten().tolist() == [50] * 4
    assert logvar.flatten().tolist() == [-30, -30, 20, 20]


def test_the_attention_of_1_0_is_ordinary_for_one_frame_only() -> None:
    published, mended = AttnBlock3D(32).requires_grad_(False), AttnBlock3DFix(32).requires_grad_(False)
    mended.load_state_dict(published.state_dict())
    x = torch.from_numpy(clip("osp/attention", (1, 32, 2, 4, 4)))
    torch.testing.assert_close(published(x[:, :, :1]), mended(x[:, :, :1]), atol=1e-6, rtol=0)
    assert (published(x) - mended(x)).abs().max() > 1e-3


def frames(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, -1, 1, 1)


def test_time_is_halved_by_means_of_three_frames_the_first_repeated() -> None:
    assert LAYERS["TimeDownsample2x"](1)(frames(1, 4, 7)).flatten().tolist() == [1, 4]


def test_time_is_doubled_but_for_the_first_frame() -> None:
    # 10 and 18 become four frames, whose centres lie a quarter of a frame beside theirs
    double = LAYERS["TimeUpsample2x"](1)
    assert double(frames(0, 10, 18)).flatten().tolist() == [0, 10, 12, 16, 18]
    assert double(frames(5)).flatten().tolist() == [5]


# scripts/causalvae/release.json of Open-Sora-Plan v1.0.0, its training fields shortened
RELEASE_JSON = """{
  "_class_name": "CausalVAEModel", "attn_resolutions": [], "decoder_attention": "AttnBlock3D",
  "decoder_conv_in": "CausalConv3d", "decoder_conv_out": "CausalConv3d", "decoder_mid_resnet": "ResnetBlock3D",
  "decoder_resnet_blocks": ["ResnetBlock3D", "ResnetBlock3D", "ResnetBlock3D", "ResnetBlock3D"],
  "decoder_spatial_upsample": ["", "SpatialUpsample2x", "SpatialUpsample2x", "SpatialUpsample2x"],
  "decoder_temporal_upsample": ["", "", "TimeUpsample2x", "TimeUpsample2x"],
  "double_z": true, "dropout": 0.0, "embed_dim": 4, "encoder_attention": "AttnBlock3D",
  "encoder_conv_in": "CausalConv3d", "encoder_conv_out": "CausalConv3d", "encoder_mid_resnet": "ResnetBlock3D",
  "encoder_resnet_blocks": ["ResnetBlock3D", "ResnetBlock3D", "ResnetBlock3D", "ResnetBlock3D"],
  "encoder_spatial_downsample": ["SpatialDownsample2x", "SpatialDownsample2x", "SpatialDownsample2x", ""],
  "encoder_temporal_downsample": ["TimeDownsample2x", "TimeDownsample2x", "", ""],
  "hidden_size": 128, "hidden_size_mult": [1, 2, 4, 4], "loss_params": {"kl_weight": 1e-06}, "lr": 1e-05,
  "num_res_blocks": 2, "q_conv": "CausalConv3d", "resolution": 256, "z_channels": 4
}"""


def test_the_published_config_gives_release_1_0() -> None:
    assert layout_of(json.loads(RELEASE_JSON)) == LAYOUTS["v1.0"]


def test_the_levels_of_time_pooling_come_from_the_config() -> None:
    config = {**json.loads(RELEASE_JSON), "encoder_temporal_downsample": ["", "TimeDownsample2x"] * 2}
    assert layout_of(config).encoder_temporal_downsample == ("", "TimeDownsample2x", "", "TimeDownsample2x")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"q_conv": "Conv2d"}, "q_conv"),
        ({"attn_resolutions": [16]}, "attn_resolutions"),
        ({"hidden_size_mult": [1, 2, 4]}, "one layer for each level"),
    ],
)
def test_a_config_of_another_network_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(BadWeights, match=says):
        layout_of({**json.loads(RELEASE_JSON), **change})


def test_a_config_that_leaves_the_levels_open_is_refused() -> None:
    config = json.loads(RELEASE_JSON)
    del config["encoder_temporal_downsample"]
    with pytest.raises(BadWeights, match="lacks encoder_temporal_downsample"):
        layout_of(config)


def test_a_layer_that_is_not_known_is_named() -> None:
    layout = layout_of({**json.loads(RELEASE_JSON), "encoder_attention": "AttnBlock3DFixed"})
    with pytest.raises(UnknownName, match=r"AttnBlock3DFixed.*AttnBlock3DFix"):
        OpenSoraPlanVAE(replace(layout, hidden_size=32))


def test_every_release_survives_its_own_config() -> None:
    for layout in LAYOUTS.values():
        assert layout_of(json.loads(json.dumps(asdict(layout)))) == layout


def test_the_kept_prefixes_cover_a_checkpoint_but_its_loss() -> None:
    assert all(name.startswith(KEEP) for shapes in SHAPES.values() for name in shapes)
    assert not "loss.perceptual_loss.net.slice1.0.weight".startswith(KEEP)


@pytest.mark.parametrize("size", [(16, 32, 32), (5, 36, 32), (5, 32, 36)], ids=str)
def test_sizes_that_would_be_cropped_are_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(UnsuitableInput, match="trim or pad"):
        small("osp-v1.0/t1").encode(torch.zeros(1, 3, *size))


def test_a_clip_that_fits_one_tile_is_coded_whole() -> None:
    net, x = small("osp-v1.0/t1"), clips("osp-v1.0/t1")
    plain, fitted = net.encode(x), net.encode(x, Tiling(size=64, frames=5))
    assert torch.equal(plain[0], fitted[0])
    assert torch.equal(net.decode(plain[0]), net.decode(plain[0], Tiling(size=64, frames=5)))


def test_tiles_of_an_identity_give_the_clip_back() -> None:
    x = torch.from_numpy(clip("osp/tiles", (1, 2, 21, 40, 56)))
    torch.testing.assert_close(tiled(lambda part: part.clone(), x, 9, 16, 16, 0.25), x, atol=1e-6, rtol=0)


def test_a_cross_fade_is_a_ramp() -> None:
    black, white = torch.zeros(1, 1, 1, 6, 6), torch.ones(1, 1, 1, 6, 6)
    assert cross_fade(black, white, 4, -1)[0, 0, 0, 3].tolist() == [0, 0.25, 0.5, 0.75, 1, 1]
    assert cross_fade(black, white, 4, -2)[0, 0, 0, :, 3].tolist() == [0, 0.25, 0.5, 0.75, 1, 1]
    assert cross_fade(black, white[..., :2], 4, -1)[0, 0, 0, 3].tolist() == [0, 0.5]


@pytest.mark.parametrize("wrong", [{"size": 60}, {"size": 72, "overlap": 0.25}, {"overlap": 1.0}, {"frames": 8}])
def test_tiles_off_the_latent_grid_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="tile"):
        Tiling(**wrong)
