import numpy as np
import pytest
import torch
from conftest import PROTOCOL

from cvbench.core.errors import UnsuitableInput
from cvbench.metrics import METRICS
from cvbench.probes.soundness import worst_place
from cvbench.probes.temporal import ColourDrift, Flicker


def flicker(recon: torch.Tensor, target: torch.Tensor) -> list[float]:
    probe = Flicker()
    return probe.rows(recon, probe.prepare(target)).tolist()


def test_a_constant_shift_does_not_flicker() -> None:
    target = torch.rand(3, 4, 8, 8)
    assert flicker(target + 0.25, target) == pytest.approx([0, 0, 0], abs=1e-7)


def test_a_frame_that_is_too_bright_flickers_on_both_sides() -> None:
    target = torch.rand(3, 4, 8, 8)
    recon = target.clone()
    recon[:, 2] += 0.1
    assert flicker(recon, target) == pytest.approx([0, 0.1, 0.1], abs=1e-6)


def test_a_frozen_clip_flickers_by_the_motion_it_lost() -> None:
    target = torch.stack([torch.full((3, 8, 8), v) for v in (0.0, 0.5, 0.25)], dim=1)
    assert flicker(torch.zeros_like(target), target) == pytest.approx([0.5, 0.25])


def test_an_image_has_no_flicker() -> None:
    with pytest.raises(UnsuitableInput, match="two frames"):
        Flicker().prepare(torch.rand(3, 1, 8, 8))


def test_colours_drift_where_a_tint_grows_and_blur_has_none() -> None:
    """Grey that gets lighter: CIEDE2000 by scikit-image; the drift leaves the first frame and the middle third out."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    target = torch.full((3, 7, 32, 32), 0.4)
    recon = target + 0.02 * torch.arange(7.0).view(1, 7, 1, 1)
    probe = ColourDrift()
    rows = probe.rows(recon, probe.prepare(target))
    labs = [rgb2lab(np.full((1, 1, 3), 0.4 + 0.02 * k)) for k in range(7)]
    assert rows == pytest.approx([float(deltaE_ciede2000(labs[0], lab)[0, 0]) for lab in labs], abs=1e-3)
    drift = METRICS["colour-drift"].values([rows], PROTOCOL)[0]
    assert drift == pytest.approx((rows[5] + rows[6]) / 2 - (rows[1] + rows[2]) / 2)
    noisy = target + 0.1 * (torch.arange(32) % 2 - 0.5)
    assert probe.rows(noisy, probe.prepare(target)).max() < 1e-3
    with pytest.raises(UnsuitableInput, match="two frames"):
        probe.prepare(target[:, :1])


def test_the_worst_place_is_named() -> None:
    error = torch.zeros(3, 4, 64, 96)
    error[:, 2, 40, 70] = 1
    assert worst_place(error, spatial=True) == "at rows 32 to 63, columns 64 to 95"
    assert worst_place(error, spatial=False) == "in frame 2"
