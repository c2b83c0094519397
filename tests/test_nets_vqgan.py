"""VQGAN against recorded outputs of taming-transformers and latent-diffusion, at the official widths and at small ones.

Golden values come from the official code with the weights of golden/weights.py: every third value of `z` and every
eleventh of `recon` in memory order; `clear` marks positions whose best code leads by more than 1e-3.
"""

import gzip
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.weights import clip, tensor
from torch import Tensor

from cvbench.core.errors import BadWeights, UnsuitableInput, UsageError
from cvbench.nets.vqgan import (
    KEEP,
    LAYOUTS,
    ROWS,
    VQGAN,
    GumbelQuantizer,
    VectorQuantizer,
    nearest,
    to_diffusers,
)

GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads(gzip.decompress((GOLDEN / "vqgan.shapes.json.gz").read_bytes()))
ATOL = 1e-4

SMALL = {
    "vqgan-gumbel-f8-small": replace(LAYOUTS["gumbel-f8-8192"], channels=32, latent=32, codes=512),
    "vqgan-f16-16384-small": replace(LAYOUTS["f16-16384"], channels=32, latent=32, codes=512),
    "ldm-vq-f8-small": replace(LAYOUTS["ldm-vq-f8"], channels=32, codes=512),
}
FULL = {
    "vqgan-gumbel-f8-full": LAYOUTS["gumbel-f8-8192"],
    "vqgan-f16-16384-full": LAYOUTS["f16-16384"],
    "ldm-vq-f8-full": LAYOUTS["ldm-vq-f8"],
    "ldm-vq-f8-n256-full": LAYOUTS["ldm-vq-f8-n256"],
    "ldm-vq-f4-full": LAYOUTS["ldm-vq-f4"],
}
# parameters of encoder, decoder, quant_conv, post_quant_conv, quantize in the official code
COUNTS = {
    "vqgan-gumbel-f8-small": (1_615_904, 2_365_987, 1_056, 1_056, 33_280),
    "vqgan-f16-16384-small": (1_801_056, 2_625_251, 1_056, 1_056, 16_384),
    "ldm-vq-f8-small": (1_722_276, 2_527_875, 20, 20, 2_048),
    "vqgan-gumbel-f8-full": (26_345_728, 38_316_163, 65_792, 65_792, 4_202_496),
    "vqgan-f16-16384-full": (29_298_176, 42_449_795, 65_792, 65_792, 4_194_304),
    "ldm-vq-f8-full": (27_397_764, 40_253_955, 20, 20, 65_536),
    "ldm-vq-f8-n256-full": (27_397_764, 40_253_955, 20, 20, 1_024),
    "ldm-vq-f4-full": (22_337_411, 32_960_771, 12, 12, 24_576),
}
# the letter behind a clip's name, chosen when recording so that few codes are close to a tie
CASES = {
    "vqgan-gumbel-f8-small/sq": ("a", (2, 3, 1, 64, 64)),
    "vqgan-gumbel-f8-small/wide": ("a", (1, 3, 1, 64, 96)),
    "vqgan-f16-16384-small/sq": ("a", (2, 3, 1, 64, 64)),
    "vqgan-f16-16384-small/wide": ("", (1, 3, 1, 64, 96)),
    "ldm-vq-f8-small/sq": ("b", (2, 3, 1, 64, 64)),
    "ldm-vq-f8-small/wide": ("a", (1, 3, 1, 64, 96)),
}


@cache
def golden(key: str) -> Tensor:
    with np.load(GOLDEN / "vqgan.npz") as recorded:
        return torch.from_numpy(recorded[key])


@cache
def small(variant: str) -> VQGAN:
    net = VQGAN(SMALL[variant]).eval().requires_grad_(False)
    official = {name: torch.from_numpy(tensor(name, tuple(shape))) for name, shape in SHAPES[variant].items()}
    net.load_state_dict(to_diffusers(official), strict=True)
    return net


def images(key: str) -> Tensor:
    letter, shape = CASES[key]
    return torch.from_numpy(clip(key + letter, shape))[:, :, 0]


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize("variant", [*SMALL, *FULL])
def test_the_renamed_official_tensors_are_the_networks_own(variant: str) -> None:
    with torch.device("meta"):
        net = VQGAN({**SMALL, **FULL}[variant])
        official = {name: torch.empty(shape) for name, shape in SHAPES[variant].items()}
    assert shapes(net.state_dict()) == shapes(to_diffusers(official))
    parts = (net.encoder, net.decoder, net.quant_conv, net.post_quant_conv, net.quantize)
    assert tuple(sum(p.numel() for p in part.parameters()) for part in parts) == COUNTS[variant]


@pytest.mark.parametrize("key", CASES)
def test_the_encoder_gives_the_official_latents_and_codes(key: str) -> None:
    net, x = small(key.split("/")[0]), images(key)
    torch.testing.assert_close(net.latents(x).flatten()[::3], golden(f"{key}/z"), atol=ATOL, rtol=0)
    clear, official = golden(f"{key}/clear"), golden(f"{key}/indices").long()
    assert clear.float().mean() > 0.9
    assert torch.equal(net.encode(x)[clear], official[clear])


@pytest.mark.parametrize("key", CASES)
def test_the_decoder_gives_the_official_pixels(key: str) -> None:
    pixels = small(key.split("/")[0]).decode(golden(f"{key}/indices").long())
    assert pixels.shape == images(key).shape
    torch.testing.assert_close(pixels.flatten()[::11], golden(f"{key}/recon"), atol=ATOL, rtol=0)


def test_one_image_is_coded_as_in_a_batch() -> None:
    net, x = small("vqgan-gumbel-f8-small"), images("vqgan-gumbel-f8-small/sq")
    assert torch.equal(net.encode(x)[1:], net.encode(x[1:]))  # all its margins are above 1e-3


def test_decoder_levels_are_renumbered_from_the_coarsest_and_attention_becomes_matrices() -> None:
    names = to_diffusers(
        {
            "decoder.up.0.block.2.nin_shortcut.weight": torch.empty(1),
            "decoder.up.3.attn.1.q.weight": torch.empty(4, 4, 1, 1),
            "decoder.up.3.upsample.conv.bias": torch.empty(1),
            "encoder.mid.attn_1.proj_out.weight": torch.empty(4, 4, 1, 1),
            "encoder.mid.block_2.norm1.weight": torch.empty(1),
            "quant_conv.weight": torch.empty(4, 4, 1, 1),
        }
    )
    assert shapes(names) == {
        "decoder.up_blocks.3.resnets.2.conv_shortcut.weight": (1,),
        "decoder.up_blocks.0.attentions.1.to_q.weight": (4, 4),
        "decoder.up_blocks.0.upsamplers.0.conv.bias": (1,),
        "encoder.mid_block.attentions.0.to_out.0.weight": (4, 4),
        "encoder.mid_block.resnets.1.norm1.weight": (1,),
        "quant_conv.weight": (4, 4, 1, 1),
    }


def test_loss_and_moving_averages_are_left_out_and_nothing_else() -> None:
    official = SHAPES["ldm-vq-f4-full"]
    assert all(name.startswith(KEEP) for name in official)
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in official.items()}
        extra = {name: torch.empty(1) for name in ("loss.discriminator.main.0.bias", "model_ema.decay", "colorize")}
        assert shapes(to_diffusers({**state, **extra})) == shapes(to_diffusers(state))


def test_a_checkpoint_still_wrapped_is_refused() -> None:
    with pytest.raises(BadWeights, match="state_dict"):
        to_diffusers({"first_stage_model.decoder.up.0.block.0.conv1.weight": torch.empty(1)})


def test_gumbel_noise_is_that_of_the_official_gumbel_softmax() -> None:
    quantizer = GumbelQuantizer(64, 8).requires_grad_(False)
    z = torch.from_numpy(tensor("noise/z.weight", (2, 8, 16, 16)))
    torch.manual_seed(7)
    official = F.gumbel_softmax(quantizer.proj(z), tau=1, hard=True, dim=1).argmax(1)
    drawn = quantizer.indices(z, torch.Generator().manual_seed(7))
    assert torch.equal(drawn, official)
    assert (drawn != quantizer.indices(z)).float().mean() > 0.1  # noise does change codes


def test_gumbel_noise_repeats_with_its_seed() -> None:
    net, x = small("vqgan-gumbel-f8-small"), images("vqgan-gumbel-f8-small/wide")
    first, again, other = (net.encode(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_noise_is_refused_where_there_is_none() -> None:
    with pytest.raises(UsageError, match="nearest"):
        VectorQuantizer(4, 2).indices(torch.zeros(1, 2, 1, 1), torch.Generator())


def test_nearest_is_by_distance_not_by_angle() -> None:
    codebook = torch.tensor([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]])
    vectors = torch.tensor([[0.4, 0.4], [0.6, 0.6], [4.9, 4.9], [5.1, 5.1]])
    assert nearest(vectors, codebook).tolist() == [0, 1, 1, 2]


def test_nearest_agrees_with_all_distances_beyond_one_portion() -> None:
    vectors = torch.from_numpy(tensor("nearest/v.weight", (ROWS + 5, 3)))
    codebook = torch.from_numpy(tensor("nearest/e.weight", (7, 3)))
    distances = (vectors[:, None].double() - codebook.double()).square().sum(-1)
    best = distances.topk(2, dim=1, largest=False).values
    clear = best[:, 1] - best[:, 0] > 1e-5
    assert clear.float().mean() > 0.99
    assert torch.equal(nearest(vectors, codebook)[clear], distances.argmin(1)[clear])


def test_sides_that_would_be_cropped_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match="divisible by 8"):
        small("vqgan-gumbel-f8-small").encode(torch.zeros(1, 3, 64, 68))
