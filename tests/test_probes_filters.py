import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate, correlate1d

from cvbench.core.errors import UnsuitableInput
from cvbench.probes.filters import Vif, Xpsnr, filtered, to_planes
from cvbench.probes.pixel import CEILING


def noisy(shape: tuple[int, ...], sigma: float = 0.03, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth moving target and the same with noise, both rounded to 8 bits."""
    generator = torch.Generator().manual_seed(seed)
    _, t, h, w = shape
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    frames = [0.5 + 0.3 * torch.sin((x + 3 * k) / 9) * torch.cos(y / 13) for k in range(t)]
    target = torch.stack(frames)[None].expand(3, t, h, w) * torch.tensor([1.0, 0.8, 0.9]).view(3, 1, 1, 1)
    recon = (target + sigma * torch.randn(shape, generator=generator)).clamp(0, 1)
    return (recon * 255).round() / 255, (target * 255).round() / 255


def test_planes_are_those_of_bt709() -> None:
    """The primaries of Rec. ITU-R BT.709-6, 8 bits, table of the digital representation."""
    colours = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float32)
    planes = to_planes(colours.T.reshape(3, 1, 1, 5))
    expected = [[235, 128, 128], [16, 128, 128], [63, 102, 240], [173, 42, 26], [32, 240, 118]]
    assert planes[0, :, 0].T.tolist() == expected


def xpsnr_of(recon: np.ndarray, target: np.ndarray, before: np.ndarray) -> float:
    """XPSNR of one luma plane above 640 × 480 px after the formulas of Helmrich et al. 2020, in float64."""
    height, width = target.shape
    share = height * width / (3840 * 2160)
    block = 4 * int(32 * math.sqrt(share) + 0.5)
    high_pass = np.array([[-1, -2, -1], [-2, 12, -2], [-1, -2, -1]])
    space = np.abs(correlate(target, high_pass, mode="constant"))
    time = 2 * np.abs(target - before)
    total = 0.0
    for top in range(0, height, block):
        for left in range(0, width, block):
            rows, columns = slice(top, min(top + block, height)), slice(left, min(left + block, width))
            inner = slice(max(top, 1), min(top + block, height - 1)), slice(max(left, 1), min(left + block, width - 1))
            activity = max(space[inner].mean() + time[rows, columns].mean(), 4.0)
            total += np.square(recon[rows, columns] - target[rows, columns]).sum() / activity
    weight = math.sqrt(16 * 2**7 / math.sqrt(share))
    return 10 * math.log10(height * width * 255**2 / (total * weight))


def test_xpsnr_equals_its_formulas() -> None:
    recon, target = noisy((3, 2, 512, 704))
    x, y = to_planes(recon)[:, 0].astype(np.float64), to_planes(target)[:, 0].astype(np.float64)
    probe = Xpsnr()
    rows = probe.rows(recon, probe.prepare(target))
    expected = [xpsnr_of(x[0], y[0], np.zeros_like(y[0])), xpsnr_of(x[1], y[1], y[0])]
    assert rows.tolist() == pytest.approx(expected, abs=1e-4)


def vif_of(recon: np.ndarray, target: np.ndarray) -> list[float]:
    """Pixel-domain VIF at four scales (Sheikh & Bovik 2006, as VMAF computes it), in float64."""
    found = []
    for scale, size in enumerate((17, 9, 5, 3)):
        taps = np.exp(-0.5 * ((np.arange(size) - size // 2) / (size / 5)) ** 2)
        taps /= taps.sum()

        def blurred(z: np.ndarray, taps: np.ndarray = taps) -> np.ndarray:
            return np.asarray(correlate1d(correlate1d(z, taps, 0, mode="mirror"), taps, 1, mode="mirror"))

        if scale:
            recon, target = blurred(recon)[::2, ::2], blurred(target)[::2, ::2]
        mx, my = blurred(recon), blurred(target)
        vx, vy = (np.maximum(blurred(z * z) - m * m, 0) for z, m in ((recon, mx), (target, my)))
        covariance = blurred(recon * target) - mx * my
        gain = covariance / (vy + 1e-10)
        left = vx - gain * covariance
        flat = vy < 1e-10
        gain, left, vy = np.where(flat, 0, gain), np.where(flat, vx, left), np.where(flat, 0, vy)
        still = vx < 1e-10
        gain, left = np.where(still, 0, gain), np.where(still, 0, left)
        left = np.where(gain < 0, vx, left)
        gain = np.maximum(gain, 0)
        left = np.maximum(left, 1e-10)
        top, bottom = np.log2(1 + gain**2 * vy / (left + 2)), np.log2(1 + vy / 2)
        found.append(float(top.sum() / bottom.sum()))
    return found


def test_vif_equals_its_formulas() -> None:
    recon, target = noisy((3, 1, 96, 128))
    x, y = to_planes(recon), to_planes(target)
    (found,) = filtered("vif", x, y)
    expected = vif_of(x[0, 0].astype(np.float64), y[0, 0].astype(np.float64))
    assert [float(found[f"lavfi.vif.scale.{k}"]) for k in range(4)] == pytest.approx(expected, abs=2e-3)
    assert Vif().rows(recon, y).tolist() == pytest.approx([np.mean(expected)], abs=2e-3)


@pytest.mark.parametrize(("probe", "equal"), [(Xpsnr(), CEILING), (Vif(), 1.0)])
def test_equal_frames_are_best_and_more_noise_is_worse(probe: Xpsnr | Vif, equal: float) -> None:
    _, target = noisy((3, 3, 63, 70))
    prepared = probe.prepare(target)
    assert probe.rows(target, prepared).tolist() == pytest.approx([equal] * 3, abs=1e-6)
    values = [probe.rows(noisy((3, 3, 63, 70), sigma)[0], prepared).mean() for sigma in (0.01, 0.03, 0.1)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("probe", [Xpsnr(), Vif()])
def test_a_frame_depends_on_nothing_after_it(probe: Xpsnr | Vif) -> None:
    recon, target = noisy((3, 4, 64, 64))
    rows = probe.rows(recon, probe.prepare(target))
    assert rows[:2].tolist() == probe.rows(recon[:, :2], probe.prepare(target[:, :2])).tolist()


@pytest.mark.parametrize(("probe", "size", "least"), [(Xpsnr(), (40, 50), "45×45"), (Vif(), (15, 90), "16 px")])
def test_frames_that_are_too_small_are_refused(probe: Xpsnr | Vif, size: tuple[int, int], least: str) -> None:
    """FFmpeg's XPSNR ends the process there."""
    with pytest.raises(UnsuitableInput, match=least):
        probe.prepare(noisy((3, 1, *size))[1])
    least_sides = {"45×45": (45, 45), "16 px": (16, 16)}[least]
    recon, target = noisy((3, 1, *least_sides))
    assert np.isfinite(probe.rows(recon, probe.prepare(target))).all()
