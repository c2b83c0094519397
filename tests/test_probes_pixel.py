"""PSNR, SSIM and MS-SSIM against recorded values, hand arithmetic, scikit-image and torchmetrics."""

import numpy as np
import pytest
import torch
from golden.pixel_cases import RECORDED, videos
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from cvbench.core.errors import BadOutput, UnknownName, UnsuitableInput
from cvbench.probes import PROBES, PairProbe, load_probe
from cvbench.probes.pixel import CEILING, MsSsim, Psnr, Ssim, ms_ssim, psnr, ssim

CASES = ["image1", "image2", "clip"]
IMAGES = ["image1", "image2"]
PIXEL_PROBES = {"psnr": Psnr, "ssim": Ssim, "ms-ssim": MsSsim}
C1 = 1e-4
C2 = 9e-4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pair(height: int, width: int, frames: int = 2, deviation: float = 0.1) -> tuple[Tensor, Tensor]:
    """A random target and a noisy reconstruction, in [0, 1]."""
    target = noise(3, frames, height, width).mul(0.2).add(0.5).clamp(0, 1)
    return target, (target + deviation * noise(3, frames, height, width, seed=1)).clamp(0, 1)


def skimage_ssim(recon: Tensor, target: Tensor) -> list[float]:
    """Gaussian, population covariance, valid region, mean over channels, all in float64."""
    return [
        structural_similarity(
            x.double().numpy(),
            y.double().numpy(),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(recon.unbind(1), target.unbind(1), strict=True)
    ]


def luminance(a: float, b: float) -> float:
    return (2 * a * b + C1) / (a * a + b * b + C1)


@pytest.mark.parametrize("case", CASES)
def test_psnr_equals_the_recorded_float64_value_of_each_frame(case: str) -> None:
    target, recon = videos(case)
    assert psnr(recon, target) == pytest.approx(RECORDED[case]["psnr_float64_per_frame"], abs=1e-6)
    assert psnr(recon, target) == pytest.approx(RECORDED[case]["psnr_skimage_uint8_per_frame"], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_psnr_and_ssim_equal_the_values_common_metrics_on_video_quality_gives(case: str) -> None:
    target, recon = videos(case)
    assert psnr(recon, target) == pytest.approx(RECORDED[case]["common_metrics_psnr"], abs=1e-5)  # its MSE is float32
    assert ssim(recon, target) == pytest.approx(RECORDED[case]["common_metrics_ssim"], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_ssim_equals_the_recorded_value_of_each_frame(case: str) -> None:
    target, recon = videos(case)
    assert ssim(recon, target) == pytest.approx(RECORDED[case]["ssim_skimage_gauss_per_frame"], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_ssim_of_float64_frames_equals_the_recorded_value_to_twelve_digits(case: str) -> None:
    target, recon = videos(case, torch.float64)
    assert ssim(recon, target) == pytest.approx(RECORDED[case]["ssim_skimage_gauss_per_frame"], abs=1e-12)


@pytest.mark.parametrize("case", IMAGES)
def test_ms_ssim_equals_the_recorded_value(case: str) -> None:
    target, recon = videos(case)
    assert ms_ssim(recon, target) == pytest.approx(RECORDED[case]["ms_ssim_torchmetrics_per_frame"], abs=1e-6)


@pytest.mark.parametrize("case", IMAGES)
def test_equal_frames_have_the_recorded_perfect_scores_exactly(case: str) -> None:
    target, _ = videos(case)
    same = RECORDED["same"]
    assert psnr(target, target).tolist() == same["common_metrics_psnr"] == [CEILING]
    assert ssim(target, target).tolist() == same["ssim_skimage_gauss_per_frame"] == [1.0]
    assert ms_ssim(target, target).tolist() == same["ms_ssim_torchmetrics_per_frame"] == [1.0]


@pytest.mark.parametrize(("shift", "decibels"), [(0.1, 20.0), (0.01, 40.0), (1e-6, CEILING), (0.0, CEILING)])
def test_psnr_of_a_constant_shift(shift: float, decibels: float) -> None:
    target = torch.full((3, 2, 8, 8), 0.5, dtype=torch.float64)
    assert psnr(target + shift, target).tolist() == pytest.approx([decibels] * 2, abs=1e-9)


def test_psnr_averages_the_error_of_a_frame_over_its_channels_before_the_logarithm() -> None:
    target = torch.zeros(3, 2, 4, 4)
    recon = target.clone()
    recon[0, 1] = 0.3  # frame 1: one channel of three off by 0.3, so the mean squared error is 0.03
    assert psnr(recon, target) == pytest.approx([CEILING, -10 * np.log10(0.03)], abs=1e-6)


def test_a_frame_that_is_not_a_number_is_not_a_perfect_frame() -> None:
    target = torch.zeros(3, 1, 16, 16)
    recon = torch.full_like(target, torch.nan)
    assert np.isnan(psnr(recon, target)).all()
    assert np.isnan(ssim(recon, target)).all()


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.6), (0.0, 1.0), (0.98, 1.0), (0.02, 0.0)])
def test_ssim_of_two_constant_frames_is_their_luminance_term(a: float, b: float) -> None:
    target = torch.full((3, 1, 32, 20), a)
    assert ssim(torch.full_like(target, b), target) == pytest.approx([luminance(a, b)], abs=1e-7)


def test_ms_ssim_of_two_constant_frames_is_the_luminance_of_the_last_scale() -> None:
    target = torch.full((3, 1, 180, 200), 0.5)
    assert ms_ssim(target + 0.2, target) == pytest.approx([luminance(0.5, 0.7) ** 0.1333], abs=1e-6)


def checkerboards(side: int) -> tuple[Tensor, Tensor]:
    """Opposite boards of 0.5 ± 0.1: windowed means 0.5 (to 1e-10), variances 0.01, covariance -0.01."""
    rows = torch.arange(side)
    board = 0.1 * (1 - 2 * ((rows[:, None] + rows) % 2)).expand(3, 1, side, side)
    return 0.5 + board, 0.5 - board


def test_ssim_of_opposite_checkerboards() -> None:
    assert ssim(*checkerboards(24)) == pytest.approx([(C2 - 0.02) / (C2 + 0.02)], abs=1e-6)


def test_ms_ssim_counts_a_negative_scale_as_zero() -> None:
    assert ms_ssim(*checkerboards(176)).tolist() == [0.0]


@pytest.mark.parametrize("level", [0, 2, 128, 250, 255])
@pytest.mark.parametrize("deviation", [0.0005, 0.002, 0.01])
def test_ssim_of_flat_frames_is_within_a_millionth_of_float64(level: int, deviation: float) -> None:
    flat = torch.full((3, 1, 96, 96), level / 255)
    target, recon = ((flat + deviation * noise(3, 1, 96, 96, seed=seed)).clamp(0, 1) for seed in (0, 1))
    assert ssim(recon, target) == pytest.approx(skimage_ssim(recon, target), abs=1e-6)


@pytest.mark.parametrize("side", [16, 64, 128])
def test_ssim_of_flat_patches_is_within_a_millionth_of_float64(side: int) -> None:
    patches = noise(3, 2, 256 // side, 256 // side).abs().clamp(0, 1).mul(255).round() / 255
    target = patches.repeat_interleave(side, 2).repeat_interleave(side, 3)
    recon = (0.9 * target + 0.05).clamp(0, 1)
    assert ssim(recon, target) == pytest.approx(skimage_ssim(recon, target), abs=1e-6)


@pytest.mark.parametrize("size", [(11, 11), (12, 40), (37, 53), (160, 1024), (1030, 70)])
def test_ssim_agrees_with_scikit_image_at_any_size(size: tuple[int, int]) -> None:
    target, recon = pair(*size)
    assert ssim(recon, target) == pytest.approx(skimage_ssim(recon, target), abs=1e-6)
    assert ssim(recon.double(), target.double()) == pytest.approx(skimage_ssim(recon, target), abs=1e-12)


@pytest.mark.parametrize("size", [(176, 176), (191, 203), (256, 180)])
def test_ms_ssim_agrees_with_torchmetrics_in_float64_at_even_and_odd_sizes(size: tuple[int, int]) -> None:
    target, recon = (video.double() for video in pair(*size, deviation=0.3))
    theirs = multiscale_structural_similarity_index_measure(
        recon.transpose(0, 1), target.transpose(0, 1), data_range=1.0, reduction="none"
    )
    assert ms_ssim(recon, target) == pytest.approx(theirs.tolist(), abs=1e-8)  # its scale weights are float32
    assert ms_ssim(recon.float(), target.float()) == pytest.approx(theirs.tolist(), abs=1e-6)


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_swapping_reconstruction_and_target_changes_nothing(measure) -> None:
    target, recon = pair(176, 180)
    assert measure(recon, target) == pytest.approx(measure(target, recon), abs=1e-12)


@pytest.mark.parametrize("name", PIXEL_PROBES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_where_a_clip_is_cut_changes_no_bit(name: str, size: int) -> None:
    target, recon = pair(161, 450, frames=5)
    probe = PIXEL_PROBES[name]()
    whole = probe.rows(recon, probe.prepare(target))
    pieces = zip(recon.split(size, 1), target.split(size, 1), strict=True)
    assert np.array_equal(np.concatenate([probe.rows(x, probe.prepare(y)) for x, y in pieces]), whole)
    assert whole.shape == (5,)
    assert whole.dtype == np.float64
    assert len(set(whole.tolist())) == 5


@pytest.mark.parametrize("name", PIXEL_PROBES)
def test_what_was_prepared_serves_many_reconstructions_unchanged(name: str) -> None:
    target, recon = pair(161, 170)
    probe = PIXEL_PROBES[name]()
    prepared = probe.prepare(target)
    first = probe.rows(recon, prepared)
    probe.rows(1 - recon, prepared)
    assert np.array_equal(probe.rows(recon, prepared), first)


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_the_layout_in_memory_changes_nothing(measure) -> None:
    target, recon = pair(170, 165)
    strided = recon.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    assert not strided.is_contiguous()
    assert measure(strided, target) == pytest.approx(measure(recon, target), abs=1e-9)


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_half_precision_frames_are_measured_in_float32(measure) -> None:
    target, recon = (frames.half() for frames in pair(161, 165))
    assert np.array_equal(measure(recon, target), measure(recon.float(), target.float()))


@pytest.mark.parametrize(("height", "width"), [(10, 40), (40, 10), (1, 1)])
def test_ssim_refuses_frames_smaller_than_its_window(height: int, width: int) -> None:
    with pytest.raises(UnsuitableInput, match=f"11 px or more, got {height}×{width}"):
        ssim(*pair(height, width))


@pytest.mark.parametrize(("height", "width"), [(160, 300), (300, 160)])
def test_ms_ssim_refuses_sides_up_to_160(height: int, width: int) -> None:
    with pytest.raises(UnsuitableInput, match=f"161 px or more, got {height}×{width}"):
        ms_ssim(*pair(height, width))


def test_ms_ssim_of_the_smallest_frames_is_a_score() -> None:
    target, recon = pair(161, 161)
    score = ms_ssim(recon, target)
    assert ((score > 0) & (score < 1)).all()


@pytest.mark.parametrize("name", PIXEL_PROBES)
@pytest.mark.parametrize("shape", [(3, 1, 170, 170), (3, 2, 170, 169)])
def test_a_reconstruction_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    probe = PIXEL_PROBES[name]()
    prepared = probe.prepare(torch.zeros(3, 2, 170, 170))
    with pytest.raises(BadOutput, match=r"its target \(3, 2, 170, 170\)"):
        probe.rows(torch.zeros(shape), prepared)


@given(st.integers(11, 40), st.integers(11, 40), st.floats(0, 2), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_ssim_lies_between_minus_one_and_one(height: int, width: int, contrast: float, seed: int) -> None:
    draws = torch.rand(2, 3, 1, height, width, generator=torch.Generator().manual_seed(seed))
    target, recon = (contrast * (draws - 0.5) + 0.5).clamp(0, 1)
    assert -1 <= ssim(recon, target).item() <= 1


@pytest.mark.parametrize("name", PIXEL_PROBES)
def test_the_registry_builds_the_probe_with_the_version_it_lists(name: str) -> None:
    probe = load_probe(name, torch.device("cpu"))
    assert isinstance(probe, PIXEL_PROBES[name])
    assert isinstance(probe, PairProbe)
    assert probe.version == PROBES[name].version


def test_an_unknown_probe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="ssim"):
        load_probe("sim", torch.device("cpu"))
