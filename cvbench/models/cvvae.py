"""CV-VAE, in its published forms and the unpublished full 3-D one."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from cvbench import weights
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import Loading
from cvbench.models.precision import computes_in
from cvbench.nets import cvvae as nets
from cvbench.nets.tensors import Videos

FORMS = {"z4": nets.Z4, "3d": nets.FULL_3D, "sd3": nets.SD3}
KEEP = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
"""The parts of a checkpoint that count. No published network has the last two: in a file, they are an error."""


def network(options: Mapping[str, Any]) -> nets.CVVAE:
    """Build the network of `form`, any field of it overridden, with tiles of `tile` pixels (0: frames whole).

    Raises UsageError for a tile size off the latent grid.
    """
    fields = {name: value for name, value in options.items() if name not in ("form", "tile")}
    tile = options.get("tile", nets.Tiling.size)
    return nets.CVVAE(replace(FORMS[options["form"]], **fields), nets.Tiling(tile) if tile else None)


class CVVAE:
    """Video VAE in the latent space of an image VAE: 1 + 4k frames, of which the first stands alone.

    Windows of 17 frames, and tiles where a side exceeds 576 pixels, are part of the published method and not of the
    protocol's tiling; `tile=0` codes frames whole. Weights: a diffusers folder or a single file, tensors named as
    published. Reference: AILab-CVC/CV-VAE (arXiv 2405.20279).
    """

    def __init__(self, loading: Loading) -> None:
        file = weights.weights_file(loading.path) if loading.path else None
        state = weights.read_tensors(file) if file else None
        self.net = weights.network(
            partial(network, loading.options), state, str(file), KEEP,
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype, self.posterior = loading.dtype, loading.posterior
        form = self.net.form
        rule = FrameRule(1, form.temporal)
        self.traits = Traits(form.temporal, form.spatial, form.latent_channels, rule, window=form.window)
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> nets.Latent:
        """Code clips: (b, 3, 1 + 4k, h, w) in [0, 1] to (b, channels, 1 + k, h/8, w/8)."""
        mean, logvar = self.net.encode((2 * videos - 1).to(self.dtype))
        return mean if self.posterior == "mode" else mean + (logvar / 2).exp() * torch.randn_like(mean)

    def decode(self, latents: nets.Latent, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        return (self.net.decode(latents).float() + 1) / 2
