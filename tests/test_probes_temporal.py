import pytest
import torch

from cvbench.core.errors import UnsuitableInput
from cvbench.probes.temporal import Flicker


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
