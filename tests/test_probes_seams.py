"""Seams against what they must be for errors whose borders are known."""

import pytest
import torch
from torch import Tensor

from cvbench.core.errors import UnsuitableInput
from cvbench.probes import load_probe
from cvbench.probes.seams import QUIET, Seam, steps, worst_line


def noise(seed: int, height: int = 64, width: int = 96, frames: int = 2) -> Tensor:
    return 0.02 * torch.randn(3, frames, height, width, generator=torch.Generator().manual_seed(seed))


def test_a_flat_step_has_its_hand_value() -> None:
    """A step of 0.1 and nothing beside it: (0.1 + a quarter of a level) over a quarter of a level."""
    error = torch.zeros(3, 1, 40, 64)
    error[..., 24:] = 0.1
    assert steps(error, -1, 16).tolist() == pytest.approx([0.1 if k == 23 else 0 for k in range(63)], abs=1e-7)
    found = worst_line([error])
    assert (found.axis, found.place) == ("column", 24)
    assert found.ratio == pytest.approx((0.1 + QUIET) / QUIET, rel=1e-5)
    assert worst_line([error.transpose(-1, -2)])[1:] == ("row", 24)
    assert worst_line([torch.zeros(3, 1, 40, 64)]) == (1.0, "", 0)


@pytest.mark.parametrize(("axis", "place"), [("column", 40), ("row", 17), ("column", 90)])
def test_a_faint_step_is_found_where_it_is(axis: str, place: int) -> None:
    errors = [noise(k) for k in range(3)]
    plain = worst_line(errors)
    for error in errors:
        (error if axis == "column" else error.transpose(-1, -2))[..., place:] += 0.01
    found = worst_line(errors)
    assert (found.axis, found.place) == (axis, place)
    assert plain.ratio < 4 < found.ratio


def test_an_edge_of_one_clip_and_one_that_is_there_without_tiles_are_no_seams() -> None:
    errors = [noise(k) for k in range(3)]
    edged = [errors[0].clone(), *errors[1:]]
    edged[0][..., :24, 50:] += 0.05 * torch.randn(1, generator=torch.Generator().manual_seed(9))
    assert worst_line(edged).ratio < 4
    both = [error.clone() for error in errors]
    for error in both:
        error[..., 50:] += 0.05
    assert worst_line(both).place == 50
    assert worst_line(both, both).ratio < 4


def test_a_row_does_not_depend_on_the_other_frames() -> None:
    probe, target = load_probe("seam", torch.device("cpu")), noise(0, frames=4).abs()
    recon = target + noise(5, frames=4)
    rows = probe.rows(recon, probe.prepare(target))
    assert isinstance(probe, Seam)
    assert rows.shape == (4,)
    assert probe.rows(recon[:, 2:3], probe.prepare(target[:, 2:3])).tolist() == rows[2:3].tolist()
    assert probe.rows(target, probe.prepare(target)).tolist() == [1.0] * 4
    with pytest.raises(UnsuitableInput, match="32 px"):
        probe.prepare(target[..., :20])
