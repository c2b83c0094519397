"""Finite scalar quantisation (Mentzer et al. 2023, arXiv 2309.15505): every channel rounded to a few levels.

Reference: the copy in NVIDIA/Cosmos-Tokenizer at 3584ae7, of lucidrains/vector-quantize-pytorch.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Latents = Float[Tensor, "b c *cells"]
Indices = Int[Tensor, "b *cells"]

SLACK = 1e-3
"""By which the bound lies beyond the outermost levels."""


def bound(z: Latents, levels: Sequence[int]) -> Latents:
    """Squash channels to where rounding gives as many levels as each has."""
    count = _columns(levels, z)
    half, offset = (count - 1) * (1 + SLACK) / 2, (count % 2 == 0) * 0.5
    return torch.tanh(z.float() + torch.atanh(offset / half)) * half - offset


def indices(z: Latents, levels: Sequence[int]) -> Indices:
    """Code each position; the first channel counts least."""
    half = _columns(levels, z) // 2
    places = _columns([1, *torch.tensor(levels).cumprod(0).tolist()][:-1], z)
    return ((bound(z, levels).round() + half) * places).sum(1).round().long()


def vectors(codes: Indices, levels: Sequence[int]) -> Latents:
    """Return the levels that codes stand for, within [-1, 1]."""
    channels = []
    for count in levels:
        channels.append((codes % count - count // 2) / (count // 2))
        codes = codes // count
    return torch.stack(channels, dim=1)


def _columns(values: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, *[1] * (like.ndim - 2))
