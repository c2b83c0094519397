"""TATS against recorded outputs of the official code, at the published widths and at small ones.

Golden values come from the official code with the weights of golden/weights.py: every third value of `z` and every
eleventh of `recon` in memory order; `clear` marks positions whose nearest code leads by more than 1e-3.
"""

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.weights import clip, tensor
from torch import Tensor

from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.nets.tats import KEEP, TATS, same_pad, strides

GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads(gzip.decompress((GOLDEN / "tats.shapes.json.gz").read_bytes()))
ATOL = 1e-4

BUILD = {
    "tats-batch-full": lambda: TATS(),
    "tats-group-full": lambda: TATS(norm_type="group"),
    "tats-batch-small": lambda: TATS(n_hiddens=8, embedding_dim=32, n_codes=256),
    "tats-group-small": lambda: TATS(32, embedding_dim=32, n_codes=256, downsample=(4, 4, 4), norm_type="group"),
}
# parameters of encoder, decoder, pre_vq_conv, post_vq_conv in the official code
COUNTS = {
    "tats-batch-full": (7_403_648, 16_116_995, 65_792, 65_792),
    "tats-group-full": (7_403_648, 16_116_995, 65_792, 65_792),
    "tats-batch-small": (463_904, 1_009_475, 2_080, 2_112),
    "tats-group-small": (1_765_504, 3_792_643, 4_128, 4_224),
}
# the letter behind a clip's name, chosen when recording so that few codes are close to a tie
CASES = {
    "tats-group-small/t4": ("", (2, 3, 4, 32, 48)),
    "tats-group-small/t16": ("d", (1, 3, 16, 32, 32)),
    "tats-group-small/t16wide": ("d", (1, 3, 16, 64, 40)),
    "tats-batch-small/t4": ("", (2, 3, 4, 32, 48)),
    "tats-batch-small/t16": ("a", (1, 3, 16, 32, 32)),
    "tats-batch-small/t16wide": ("a", (1, 3, 16, 64, 40)),
}


@cache
def golden(key: str) -> Tensor:
    with np.load(GOLDEN / "tats.npz") as recorded:
        return torch.from_numpy(recorded[key])


@cache
def small(variant: str) -> TATS:
    net = BUILD[variant]().eval().requires_grad_(False)
    official = {name: torch.from_numpy(tensor(name, tuple(shape))) for name, shape in SHAPES[variant].items()}
    net.load_state_dict(official, strict=True)
    return net


def clips(key: str) -> Tensor:
    letter, shape = CASES[key]
    return torch.from_numpy(clip(key + letter, shape, -0.5, 0.5))


@pytest.mark.parametrize("variant", BUILD)
def test_tensors_and_parameters_are_the_official_ones(variant: str) -> None:
    with torch.device("meta"):
        net = BUILD[variant]()
    assert {name: list(value.shape) for name, value in net.state_dict().items()} == SHAPES[variant]
    parts = (net.encoder, net.decoder, net.pre_vq_conv, net.post_vq_conv)
    assert tuple(sum(p.numel() for p in part.parameters()) for part in parts) == COUNTS[variant]


@pytest.mark.parametrize("key", CASES)
def test_the_encoder_gives_the_official_latents_and_codes(key: str) -> None:
    net, x = small(key.split("/")[0]), clips(key)
    torch.testing.assert_close(net.latents(x).flatten()[::3], golden(f"{key}/z"), atol=ATOL, rtol=0)
    clear, official = golden(f"{key}/clear"), golden(f"{key}/indices").long()
    assert clear.float().mean() > 0.9
    assert torch.equal(net.encode(x)[clear], official[clear])


@pytest.mark.parametrize("key", CASES)
def test_the_decoder_gives_the_official_pixels(key: str) -> None:
    pixels = small(key.split("/")[0]).decode(golden(f"{key}/indices").long())
    assert pixels.shape == clips(key).shape
    recorded = pixels[..., ::2, ::2] if key.endswith("wide") else pixels
    torch.testing.assert_close(recorded.flatten()[::11], golden(f"{key}/recon"), atol=ATOL, rtol=0)


def test_one_clip_is_coded_as_in_a_batch() -> None:
    net, x = small("tats-batch-small"), clips("tats-batch-small/t4")
    assert torch.equal(net.encode(x)[1:], net.encode(x[1:]))  # all its margins are above 1e-3


def test_the_kept_prefixes_cover_a_checkpoint_but_its_losses() -> None:
    assert all(name.startswith(KEEP) for name in SHAPES["tats-batch-full"])
    losses = ("image_discriminator.model0.0.bias", "video_discriminator.model0.0.bias", "perceptual_model.lin0.weight")
    assert not any(name.startswith(KEEP) for name in losses)


@pytest.mark.parametrize("size", [(1, 32, 32), (33, 32, 32), (4, 68, 64)], ids=str)
def test_sizes_that_would_be_cropped_or_fail_are_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(UnsuitableInput, match=r"\(4, 8, 8\)"):
        small("tats-batch-small").encode(torch.zeros(1, 3, *size))


def test_thirty_six_frames_make_nine_codes_in_time() -> None:
    codes = small("tats-batch-small").encode(torch.zeros(1, 3, 36, 8, 8))
    assert codes.shape == (1, 9, 1, 1)
    assert small("tats-batch-small").decode(codes).shape == (1, 3, 36, 8, 8)


def test_four_by_eight_by_eight_halves_time_twice_and_space_three_times() -> None:
    assert strides((4, 8, 8)) == [(2, 2, 2), (2, 2, 2), (1, 2, 2)]
    assert strides((4, 4, 4)) == [(2, 2, 2), (2, 2, 2)]


def test_factors_other_than_powers_of_two_are_refused() -> None:
    with pytest.raises(UsageError, match="powers of two"):
        strides((4, 6, 6))


def test_padding_repeats_the_border_with_the_odd_frame_in_front() -> None:
    x = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1, 1)
    assert same_pad(x, (4, 1, 1), (1, 1, 1)).flatten().tolist() == [1, 1, 1, 2, 3, 3]
    assert same_pad(x, (4, 1, 1), (2, 1, 1)).flatten().tolist() == [1, 1, 2, 3, 3]
    assert same_pad(x.mT.movedim(2, 4), (1, 1, 4), (1, 1, 1)).flatten().tolist() == [1, 1, 1, 2, 3, 3]
