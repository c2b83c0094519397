"""Two spaces of one VAE's latents: raw, as its decoder takes them, and scaled, as the generator's network works on."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cvbench.core.errors import Unavailable

Latents = Float[Tensor, "b c t h w"]


def scaled(latents: Latents, base: Any) -> Latents:
    """Return raw latents of the VAE `base` as its generator's network knows them.

    (z − mean) / std · scaling_factor where its config has mean and std, else (z − shift_factor) · scaling_factor.
    Raises Unavailable for a VAE whose config is not known.
    """
    config = getattr(getattr(base, "call", None), "config", None)
    if config is None:
        raise Unavailable(f"how a {type(base).__name__} scales its latents is not known; say space=raw")
    mean, std = (_by_channel(base.net, config, name, latents) for name in ("latents_mean", "latents_std"))
    scale = float(config.get("scaling_factor") or 1.0)
    if mean is not None and std is not None:
        return (latents - mean) / std * scale
    return (latents - float(config.get("shift_factor") or 0.0)) * scale


def raw(latents: Latents, base: Any) -> Latents:
    """Undo `scaled`. Raises Unavailable for a VAE whose config is not known."""
    zero, one = (scaled(torch.full_like(latents, value), base) for value in (0.0, 1.0))
    return (latents - zero) / (one - zero)


def _by_channel(net: Any, config: Any, name: str, like: Tensor) -> Tensor | None:
    """Return numbers by channel, from the config or from what the weights hold, (c, 1, 1, 1); None without."""
    found = config.get(name)
    found = getattr(net, name, None) if found is None else found
    if found is None:
        return None
    return torch.as_tensor(found, dtype=like.dtype, device=like.device).flatten().view(-1, 1, 1, 1)
