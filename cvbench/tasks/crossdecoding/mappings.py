"""The mapping functions of CV-VAE: from a clip to the frames that an image VAE is compared on."""

from collections.abc import Callable, Mapping

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from cvbench.core.errors import UnknownName, UnsuitableInput

Clip = Float[Tensor, "b c t h w"]
Chosen = Float[Tensor, "b c k h w"]
Random = torch.Generator | None


def first(x: Clip, ratio: int, random: Random = None) -> Chosen:
    """Frame 0 alone."""
    return x[:, :, :1]


def average(x: Clip, ratio: int, random: Random = None) -> Chosen:
    """Frame 0, then the mean of every `ratio` frames."""
    means = reduce(x[:, :, 1:], "b c (k r) h w -> b c k h w", "mean", r=ratio)
    return torch.cat([x[:, :, :1], means], dim=2)


def every(x: Clip, ratio: int, random: Random = None) -> Chosen:
    """Frame 0, then the last of every `ratio` frames: those at which a causal encoder's latent frames end."""
    return x[:, :, ::ratio]


def drawn(x: Clip, ratio: int, random: Random = None) -> Chosen:
    """Frame 0, then one of every `ratio` frames, the same for the whole batch."""
    groups = (x.shape[2] - 1) // ratio
    within = 1 + ratio * torch.arange(groups) + torch.randint(ratio, (groups,), generator=random)
    return x[:, :, torch.cat([within.new_zeros(1), within]).to(x.device)]


MAPPINGS: Mapping[str, Callable[[Tensor, int, Random], Tensor]] = {
    "first": first,
    "average": average,
    "slice": every,
    "random": drawn,
}


def mapped(x: Clip, mapping: str, ratio: int, random: Random = None) -> Chosen:
    """Take 1 + k * ratio frames to the 1 + k that an image VAE is compared on; "first" to frame 0 alone.

    These are the functions ψ of CV-VAE (arXiv 2405.20279, section 3.2). `random` seeds the one of that name.
    Raises UnknownName, and UnsuitableInput for other lengths.
    """
    if mapping not in MAPPINGS:
        raise UnknownName("mapping", mapping, MAPPINGS)
    if (x.shape[2] - 1) % ratio:
        raise UnsuitableInput(f"mapping {mapping} takes 1 + {ratio}k frames, not {x.shape[2]}: trim or pad the clip")
    return MAPPINGS[mapping](x, ratio, random)
