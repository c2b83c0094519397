"""I3D and its preprocessing against recorded outputs of the official code, with deterministic weights.

Recorded in float32 on a CPU: piergiaj/pytorch-i3d 05783d1 (BatchNorm eps 1e-3), YingqingHe/LVDM d251dcc (the code
of TATS, eps 1e-5), JunyaoHu/common_metrics_on_video_quality 5f75173 (`cm-styleganv`). Of the preprocessed videos
every sixteenth pixel is kept, and mean and standard deviation of all. The two eps differ by 4e-4 in the logits.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import weights
from torch import Tensor

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.i3d import PREPROCESSING, InceptionI3d, direct_224, pad_same, short_side_224

GOLDEN = Path(__file__).parent / "golden"
RECORDED = dict(np.load(GOLDEN / "i3d.npz"))
SHAPES = json.loads((GOLDEN / "i3d.shapes.json").read_text())
EPS = {"i3d-piergiaj": 1e-3, "i3d-lvdm": 1e-5}
CLIPS = {"land": (1, 3, 4, 72, 96), "square": (1, 3, 3, 64, 64), "down": (1, 3, 2, 300, 260)}
IMPLEMENTATIONS = {"lvdm": "direct224", "cm-styleganv": "short224crop"}


@cache
def network(variant: str) -> InceptionI3d:
    net = InceptionI3d(EPS[variant]).eval()
    net.load_state_dict({name: torch.from_numpy(value) for name, value in weights.state_dict(SHAPES).items()})
    return net


def clip(frames: int) -> Tensor:
    return torch.from_numpy(weights.clip(f"i3d/t{frames}", (1, 3, frames, 224, 224)))


def ramp(height: int, width: int, axis: int) -> Tensor:
    """Return a video (1 3 1 h w) whose pixels are their own row (axis -2) or column (axis -1)."""
    rows, columns = np.indices((height, width))
    plane = torch.from_numpy((rows if axis == -2 else columns).astype(np.uint8))
    return plane.expand(1, 3, 1, height, width)


def test_names_and_shapes_are_the_official_ones() -> None:
    assert {name: list(tensor.shape) for name, tensor in InceptionI3d().state_dict().items()} == SHAPES


@pytest.mark.parametrize("frames", [10, 16])
@pytest.mark.parametrize("variant", EPS)
def test_logits_are_the_recorded_ones(variant: str, frames: int) -> None:
    with torch.no_grad():
        logits = network(variant)(clip(frames))
    recorded = RECORDED[f"{variant}/t{frames}/logits"].reshape(1, 400, -1).mean(-1)
    np.testing.assert_allclose(logits, recorded, rtol=0, atol=2e-5)


@pytest.mark.parametrize("frames", [10, 16])
def test_features_are_the_recorded_ones(frames: int) -> None:
    with torch.no_grad():
        features = network("i3d-piergiaj").features(clip(frames))
    np.testing.assert_allclose(features, RECORDED[f"i3d-piergiaj/t{frames}/features"], rtol=0, atol=2e-5)


def test_logits_of_longer_clips_are_the_mean_over_time() -> None:
    net, x = network("i3d-lvdm"), clip(17)
    with torch.no_grad():
        features, logits = net.features(x), net(x)
    assert features.shape == (1, 1024, 2)
    weight, bias = (torch.from_numpy(weights.tensor(n, tuple(SHAPES[n]))) for n in SHAPES if n.startswith("logits."))
    expected = (weight.reshape(400, 1024).double() @ features[0].double()).mean(-1) + bias
    np.testing.assert_allclose(logits[0], expected, rtol=0, atol=2e-5)


def test_nine_frames_are_enough() -> None:
    with torch.no_grad():
        assert network("i3d-lvdm")(clip(9)).shape == (1, 400)


@pytest.mark.parametrize("shape", [(8, 224, 224), (1, 224, 224), (16, 112, 224), (16, 256, 256)])
def test_short_clips_and_other_sizes_are_refused(shape: tuple[int, int, int]) -> None:
    told = "at least 9 frames" if shape[0] < 9 else f"{shape[1]}×{shape[2]}"
    with pytest.raises(UnsuitableInput, match=told):
        network("i3d-lvdm")(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "front", "behind"),
    [(224, 7, 2, 2, 3), (9, 3, 2, 1, 1), (10, 3, 2, 0, 1), (5, 3, 1, 1, 1), (5, 2, 2, 0, 1), (4, 2, 2, 0, 0)],
)
def test_same_padding_puts_the_odd_zero_behind(size: int, kernel: int, stride: int, front: int, behind: int) -> None:
    x = torch.ones(1, 1, size, 1, 1)
    padded = pad_same(x, (kernel, 1, 1), (stride, 1, 1)).flatten()
    assert padded.tolist() == [0.0] * front + [1.0] * size + [0.0] * behind


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", CLIPS)
def test_preprocessing_is_the_recorded_one(case: str, implementation: str) -> None:
    pixels = np.rint(weights.clip(f"fvdpre/{case}", CLIPS[case], 0, 255)).astype(np.uint8)
    x = PREPROCESSING[IMPLEMENTATIONS[implementation]](torch.from_numpy(pixels))
    recorded = f"fvdpre/{case}/{implementation}"
    assert x.shape[-2:] == (224, 224)
    np.testing.assert_allclose(x[..., ::16, ::16], RECORDED[f"{recorded}/sample"], rtol=0, atol=1e-5)
    moments = [x.double().mean(), x.double().std(correction=0)]
    np.testing.assert_allclose(moments, RECORDED[f"{recorded}/meanstd"], rtol=0, atol=1e-6)


def test_the_crop_takes_the_centre_and_leaves_frames_of_224_as_they_are() -> None:
    x = short_side_224(ramp(224, 256, -1))
    expected = 2 * torch.arange(16, 240) / 255 - 1
    torch.testing.assert_close(x, expected.expand_as(x), rtol=0, atol=1e-6)


def test_direct_resizing_squeezes_the_longer_side() -> None:
    x = direct_224(ramp(224, 112, -1))
    expected = ((torch.arange(224) + 0.5) * 112 / 224 - 0.5).clamp(0, 111)  # half-pixel centres
    torch.testing.assert_close(x, (2 * expected / 255 - 1).expand_as(x), rtol=0, atol=1e-6)


def test_squares_of_200_become_225_high_before_the_crop_as_in_the_references() -> None:
    x = short_side_224(ramp(200, 200, -2))  # 200 * (224 / 200) is 224.00000000000003 in floats, and rounded up
    expected = ((torch.arange(224) + 0.5) * 200 / 225 - 0.5).clamp(0, 199)
    torch.testing.assert_close(x, (2 * expected / 255 - 1)[:, None].expand_as(x), rtol=0, atol=1e-5)
