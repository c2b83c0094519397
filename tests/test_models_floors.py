"""The floors against hand arithmetic."""

import pytest
import torch
from torch.nn import functional as F

from cvbench.core.errors import BadOutput, UnsuitableInput
from cvbench.models.floors import Identity, Pool4x8x8, Pool8x8

FLOORS = (Identity, Pool8x8, Pool4x8x8)
Floor = type[Identity] | type[Pool8x8] | type[Pool4x8x8]


def noise(frames: int, height: int = 16, width: int = 24, clips: int = 2) -> torch.Tensor:
    return torch.rand(clips, 3, frames, height, width, generator=torch.Generator().manual_seed(frames))


def psnr(recon: torch.Tensor, target: torch.Tensor) -> float:
    return float(-10 * (recon - target).square().mean().log10())


def test_identity_returns_every_bit() -> None:
    videos = noise(3)
    assert torch.equal(Identity().decode(Identity().encode(videos), 3), videos)


def test_pool_8x8_averages_blocks() -> None:
    blocks = torch.arange(2 * 3 * 2 * 2 * 3).reshape(2, 3, 2, 2, 3) / 128
    videos = blocks.repeat_interleave(8, 3).repeat_interleave(8, 4)
    assert torch.equal(Pool8x8().encode(videos), blocks)


def test_pool_8x8_averages_within_a_block() -> None:
    videos = torch.zeros(1, 3, 1, 8, 8)
    videos[..., 5, 2] = 1
    assert Pool8x8().encode(videos).flatten().tolist() == [1 / 64] * 3


def test_pool_8x8_interpolates_between_the_middles_of_blocks() -> None:
    """Two blocks of 0 and 1 in a row: flat to the middle of the first at 3.5, then 1/8 a pixel."""
    latents = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 1, 2)
    row = Pool8x8().decode(latents, 1)[0, 0, 0, 0]
    assert row.tolist() == [0] * 4 + [(2 * i + 1) / 16 for i in range(8)] + [1] * 4


def test_pool_8x8_enlarges_as_torch_does_without_aligned_corners() -> None:
    latents = noise(2, 5, 4)
    expected = torch.stack([F.interpolate(z, scale_factor=8, mode="bilinear") for z in latents.unbind(2)], 2)
    assert torch.allclose(Pool8x8().decode(latents, 2), expected, rtol=0, atol=1e-6)


def test_bilinear_is_the_better_floor_on_a_smooth_picture() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    videos = (0.5 + 0.4 * torch.sin(x / 9 + y / 13)).expand(1, 3, 1, 64, 64)
    latents = Pool8x8().encode(videos)
    nearest = latents.repeat_interleave(8, 3).repeat_interleave(8, 4)
    assert psnr(Pool8x8().decode(latents, 1), videos) > psnr(nearest, videos) + 3


def test_pool_4x8x8_takes_the_first_frame_alone_then_fours() -> None:
    levels = torch.tensor([8.0, 1, 2, 3, 6, 0, 0, 4, 4]) / 8
    videos = levels[:, None, None].expand(1, 3, 9, 8, 16)
    assert Pool4x8x8().encode(videos)[0, 1, :, 0, 1].tolist() == [1, 3 / 8, 2 / 8]


def test_pool_4x8x8_interpolates_between_the_middles_of_groups() -> None:
    """Latent frames stand at 0, 2.5 and 6.5."""
    latents = torch.tensor([0.0, 10, 2])[:, None, None].expand(1, 3, 3, 1, 1)
    frames = Pool4x8x8().decode(latents, 9)[0, 2, :, 4, 4]
    assert frames.tolist() == pytest.approx([0, 4, 8, 9, 7, 5, 3, 2, 2], abs=1e-6)


def test_pool_4x8x8_is_pool_8x8_on_an_image() -> None:
    image = noise(1)
    spatial, causal = Pool8x8(), Pool4x8x8()
    assert torch.equal(causal.encode(image), spatial.encode(image))
    assert torch.equal(causal.decode(causal.encode(image), 1), spatial.decode(spatial.encode(image), 1))


@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, 77 / 255, 0.999, 1.0])
def test_constants_come_back_exactly(floor: Floor, level: float) -> None:
    videos = torch.full((1, 3, 9, 24, 16), level)
    assert torch.equal(floor().decode(floor().encode(videos), 9), videos)


def test_the_pools_compress_as_named() -> None:
    assert (Pool8x8.traits.temporal, Pool8x8.traits.spatial) == (1, 8)
    assert (Pool4x8x8.traits.temporal, Pool4x8x8.traits.spatial) == (4, 8)
    assert Pool8x8.traits.bits_per_pixel == 16 * 3 / 64
    assert str(Pool4x8x8.traits.frame_rule) == "1 + 4k"


@pytest.mark.parametrize("floor", [Pool8x8, Pool4x8x8])
@pytest.mark.parametrize(("height", "width"), [(12, 16), (16, 12), (4, 8)])
def test_other_sizes_are_refused(floor: type[Pool8x8] | type[Pool4x8x8], height: int, width: int) -> None:
    with pytest.raises(UnsuitableInput, match=f"{height}×{width}.*multiples of 8"):
        floor().encode(noise(1, height, width))


@pytest.mark.parametrize(("frames", "next_fit"), [(2, 5), (4, 5), (8, 9)])
def test_other_lengths_are_refused(frames: int, next_fit: int) -> None:
    with pytest.raises(UnsuitableInput, match=f"{frames} frames; pad to {next_fit}"):
        Pool4x8x8().encode(noise(frames))


@pytest.mark.parametrize("floor", FLOORS)
def test_latents_of_another_length_are_refused(floor: Floor) -> None:
    with pytest.raises(BadOutput, match="hold 5 frames, 9 were asked for"):
        floor().decode(floor().encode(noise(5)), 9)


@pytest.mark.parametrize("floor", FLOORS)
def test_bytes_are_not_latents(floor: Floor) -> None:
    with pytest.raises(BadOutput, match="byte strings"):
        floor().decode([b"jpeg"], 1)
