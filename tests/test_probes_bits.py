"""The bits of latents, by hand."""

import dataclasses
import math
import types
from typing import Any

import numpy as np
import pytest
import torch
from conftest import reconstruct, scene

from cvbench.core.errors import UnsuitableInput
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.types import FrameRule, Traits
from cvbench.engine.coding import to_videos
from cvbench.probes.bits import bits_of


@dataclasses.dataclass
class Scales:
    coarse: torch.Tensor
    fine: torch.Tensor
    note: str = "no number"


class Posterior:
    def __init__(self) -> None:
        self.mean, self.std = torch.rand(2, 3), torch.rand(2, 3)


A, B = torch.rand(2, 3), torch.rand(2, 5)
CODES = torch.tensor([[0, 7, 3], [1, 2, 2]])


@pytest.mark.parametrize(
    ("latents", "clips", "codebook", "each"),
    [
        (A, 1, None, [16 * 6]),
        (A, 2, None, [16 * 3] * 2),
        (A.bfloat16(), 2, None, [16 * 3] * 2),
        (A.double(), 2, None, [16 * 3] * 2),
        (torch.complex(A, A), 2, None, [32 * 3] * 2),
        ([A, B], 2, None, [16 * 8] * 2),  # two scales, or two clips of one shape: the share is the same
        ([A, A + 1], 2, None, [16 * 6] * 2),
        ((A, (B,)), 1, None, [16 * 16]),
        ({"coarse": A, "fine": [B]}, 2, None, [16 * 8] * 2),
        (Scales(A, B), 2, None, [16 * 8] * 2),
        (types.SimpleNamespace(inner=Scales(A, B)), 2, None, [16 * 8] * 2),
        (Posterior(), 2, None, [16 * 3] * 2),
        ([A, A], 2, None, [16 * 3] * 2),  # a copy costs nothing
        (CODES, 1, 8, [3 * 6]),
        (CODES, 2, 1000, [math.log2(1000) * 3] * 2),
        ([CODES, CODES[:, :1]], 2, 16, [4 * 4] * 2),
        (CODES > 1, 2, None, [3] * 2),
        ([b"abc"], 1, None, [24]),
        ([b"abc", b"abc"], 2, None, [24, 24]),  # two clips, each of its own
        ([b"", b"ab"], 2, None, [0, 16]),
        ((b"abc", b"a"), 2, None, [24, 8]),
        ([b"abc", b"a"], 1, None, [32]),  # two parts of one clip
        ([[b"abc", b"a"], [b"ab"]], 2, None, [24, 24]),
        ({"bytes": b"abc", "latent": A}, 1, None, [24 + 96]),
    ],
)
def test_bits_by_hand(latents: Any, clips: int, codebook: int | None, each: list[float]) -> None:
    assert bits_of(latents, clips, codebook) == pytest.approx(each)


@pytest.mark.parametrize("latents", [CODES, [CODES], {"codes": CODES}])
def test_indices_without_a_stated_codebook_have_no_bits(latents: Any) -> None:
    with pytest.raises(UnsuitableInput, match="codebook"):
        bits_of(latents, 1, None)


@pytest.mark.parametrize("latents", [None, 3, "text", [], {}, object()])
def test_where_nothing_can_be_counted_nothing_is(latents: Any) -> None:
    with pytest.raises(UnsuitableInput, match="count"):
        bits_of(latents, 1, None)


class Strided:
    """Keeps one number of four channels for each 4×8×8 pixels, the first frame alone."""

    traits = Traits(temporal=4, spatial=8, channels=4, frame_rule=FrameRule(1, 4))

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        return videos[:, [0, 1, 2, 0], ::4, ::8, ::8]

    def decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        wide = latents[:, :3].repeat_interleave(8, 3).repeat_interleave(8, 4)
        return torch.cat([wide[:, :, :1], wide[:, :, 1:].repeat_interleave(4, 2)], 2)


@pytest.mark.parametrize(("frames", "bpp"), [(1, 1.0), (17, 5 / 17), (33, 9 / 33), (2, 2 / 2), (16, 5 / 16)])
@pytest.mark.parametrize("clips", [1, 3])
def test_a_video_vae_of_4x8x8_and_four_channels_spends_what_its_frames_cost(
    frames: int, bpp: float, clips: int
) -> None:
    videos = to_videos([scene(frames, 32, 48, seed) for seed in range(clips)], torch.device("cpu"))
    _, bits = reconstruct(Strided(), videos, PROTOCOLS["cvvae-2405"])
    assert np.array(bits) / (frames * 32 * 48) == pytest.approx([bpp] * clips)


def test_padding_is_paid_for() -> None:
    video = to_videos([scene(1, 30, 44)], torch.device("cpu"))
    _, (bits,) = reconstruct(Strided(), video, PROTOCOLS["cvvae-2405"])
    assert bits / (30 * 44) == pytest.approx(16 * 4 * 4 * 6 / (30 * 44))
