"""What is kept of a reconstruction for its picture takes little memory, whatever the latents."""

import pytest
import torch

from cvbench.engine.coding import Coded
from cvbench.tasks import shots


@pytest.mark.parametrize(("numbers", "frames"), [(900, list(range(9))), (300, [0, 4, 8]), (150, [0]), (10, [0])])
def test_of_large_latents_some_frames_are_shown(
    numbers: int, frames: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shots, "SHOWN", numbers)
    latents = torch.rand(2, 4, 9, 5, 5, generator=torch.Generator().manual_seed(0))
    recon = torch.zeros(3, 9, 8, 8, dtype=torch.uint8)
    kept = shots.shown(Coded(recon, latents, 2, 1))[1]
    assert kept is not None
    assert torch.equal(torch.from_numpy(kept), latents[1][:, frames])
