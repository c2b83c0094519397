"""The mapping functions of CV-VAE, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvbench.core.errors import UnknownName, UnsuitableInput
from cvbench.tasks.crossdecoding.mappings import MAPPINGS, mapped

CLIP = torch.arange(9.0).view(1, 1, 9, 1, 1)


@pytest.mark.parametrize(
    ("mapping", "frames"), [("first", [0.0]), ("average", [0.0, 2.5, 6.5]), ("slice", [0.0, 4.0, 8.0])]
)
def test_frames_by_hand(mapping: str, frames: list[float]) -> None:
    assert mapped(CLIP, mapping, 4).flatten().tolist() == frames


@given(seed=st.integers(0, 2**31), groups=st.integers(0, 5), ratio=st.sampled_from([2, 4, 8]))
def test_random_takes_frame_0_and_one_of_each_group(seed: int, groups: int, ratio: int) -> None:
    clip = torch.arange(1.0 + groups * ratio).view(1, 1, -1, 1, 1).expand(2, 1, -1, 1, 1)
    chosen = mapped(clip, "random", ratio, torch.Generator().manual_seed(seed))
    assert (chosen[0] == chosen[1]).all()
    frames = chosen[0].flatten().tolist()
    assert frames[0] == 0
    assert [(frame - 1) // ratio for frame in frames[1:]] == list(range(groups))


def test_random_reaches_every_frame_of_a_group() -> None:
    draws = {mapped(CLIP, "random", 4, torch.Generator().manual_seed(seed))[0, 0, 1].item() for seed in range(40)}
    assert draws == {1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_an_image_stays_itself(mapping: str) -> None:
    assert mapped(CLIP[:, :, 3:4], mapping, 4).flatten().tolist() == [3.0]


def test_other_lengths_and_names_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match=r"takes 1 \+ 4k frames, not 8"):
        mapped(CLIP[:, :, :8], "slice", 4)
    with pytest.raises(UnknownName, match="no mapping is called 'last'"):
        mapped(CLIP, "last", 4)
