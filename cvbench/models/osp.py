"""The causal video VAEs of Open-Sora-Plan, releases 1.0, 1.1 and 1.2."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cvbench import weights
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import Loading
from cvbench.models.precision import computes_in
from cvbench.nets import osp as nets
from cvbench.nets.tensors import Videos

Coded = Float[Tensor, "b z k y x"]

TILING = {"v1.0": nets.Tiling(), "v1.1": nets.Tiling(frames=65), "v1.2": nets.Tiling(frames=65)}
"""What `enable_tiling()` of each release's code does; releases after 1.0 cut time too."""


def network(options: Mapping[str, Any]) -> nets.OpenSoraPlanVAE:
    """Build the network of `release`, any field of its layout overridden."""
    return nets.OpenSoraPlanVAE(_layout(options, None))


def _layout(options: Mapping[str, Any], path: Path | None) -> nets.Layout:
    """Return what config.json says where it lies with the weights, else the release's layout.

    Time pooling has no tensors, so a file of release 1.0 alone does not say where it stands.
    """
    config = weights.config_beside(path) if path and path.is_dir() else None
    if config is not None:
        return nets.layout_of(config)
    fields = {name: value for name, value in options.items() if name != "release"}
    return replace(nets.LAYOUTS[options["release"]], **fields)


class OpenSoraPlan:
    """Causal video VAE: 1 + 4k frames, of which the first stands alone.

    Tiles of 256 pixels that overlap by a quarter, as the reference's `enable_tiling`, when the protocol says so.
    Weights: a diffusers folder, a single file or the trainer's checkpoint, whose averaged weights are taken;
    `loss.*` is dropped. Reference: PKU-YuanGroup/Open-Sora-Plan (arXiv 2412.00131).
    """

    def __init__(self, loading: Loading) -> None:
        layout = _layout(loading.options, loading.path)
        file = weights.weights_file(loading.path) if loading.path else None
        state = weights.read_tensors(file) if file else None
        self.net = weights.network(
            partial(nets.OpenSoraPlanVAE, layout), state, str(file), nets.KEEP,
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype, self.posterior = loading.dtype, loading.posterior
        self.tiling = TILING[loading.options["release"]] if loading.tiling else None
        self.traits = Traits(nets.TEMPORAL, nets.SPATIAL, layout.embed_dim, FrameRule(1, nets.TEMPORAL))
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Coded:
        """Code clips: (b, 3, 1 + 4k, h, w) in [0, 1] to (b, 4, 1 + k, h/8, w/8)."""
        mean, logvar = self.net.encode((2 * videos - 1).to(self.dtype), self.tiling)
        return mean if self.posterior == "mode" else mean + (logvar / 2).exp() * torch.randn_like(mean)

    def decode(self, latents: Coded, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        return (self.net.decode(latents, self.tiling).float() + 1) / 2
