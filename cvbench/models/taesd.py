"""Tiny image autoencoders that diffusers does not carry, and the one that decodes with memory."""

from dataclasses import replace
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import UsageError
from cvbench.core.types import Traits
from cvbench.models.entry import Loading
from cvbench.models.precision import computes_in
from cvbench.nets import osp, taesd
from cvbench.nets.tensors import Videos

Coded = Float[Tensor, "b z t y x"]

FRAMES = 8
"""Coded at a time."""
TILE, OVERLAP = 512, 0.25
"""Of tiles, as in diffusers' AutoencoderTiny: the published code has none."""


class TAESD:
    """Tiny image autoencoder in the latent space of the model it was distilled from; clips are coded frame by frame.

    Without posterior. Tiles, when the protocol asks for them, have sides of the option `tile` pixels and overlap by a
    quarter; the statistics that a `pooled` layout takes over the whole picture are then a tile's. Weights: two files,
    NAME_encoder and NAME_decoder, or one with these as prefixes of its names. Reference: madebyollin/taesd. Raises
    UsageError for a tile that does not divide.
    """

    def __init__(self, loading: Loading) -> None:
        options = loading.options
        fields = {name: value for name, value in options.items() if name not in ("layout", "file", "tile")}
        layout = replace(taesd.LAYOUTS[options["layout"]], **fields)
        self.tile = int(options.get("tile", TILE)) if loading.tiling else 0
        if self.tile % (4 * layout.spatial) or self.tile < 0:
            raise UsageError(f"tile={self.tile}: sides of tiles are multiples of {4 * layout.spatial} pixels")
        state = weights.read_halves(loading.path, options["file"]) if loading.path else None
        self.net = weights.network(
            partial(taesd.TAESD, layout), state, str(loading.path),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype, self.spatial = loading.dtype, layout.spatial
        self.traits = Traits(1, layout.spatial, layout.channels)
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Coded:
        """Code each frame: (b, 3, t, h, w) in [0, 1] to (b, z, t, h/f, w/f), f the spatial compression."""
        return self._run(self.net.encode, videos, self.tile, self.tile // self.spatial)

    def decode(self, latents: Coded, frames: int) -> Videos:
        """Reconstruct each frame, not clamped."""
        return self._run(self.net.decode, latents, self.tile // self.spatial, self.tile).float()

    def _run(self, step: osp.Rule, x: Tensor, side: int, result: int) -> Tensor:
        run = partial(by_frames, step)
        return osp.tiled(run, x.to(self.dtype), None, side, result, OVERLAP) if self.tile else run(x.to(self.dtype))


def by_frames(step: osp.Rule, x: Tensor) -> Tensor:
    """Run on a few frames at a time."""
    frames = torch.split(rearrange(x, "b c t h w -> (b t) c h w"), FRAMES)
    return rearrange(torch.cat([step(some) for some in frames]), "(b t) c h w -> b c t h w", b=len(x))


class TAESDV:
    """TAESD for clips of any length, decoded with a memory of the frame before. Reference: madebyollin/taesdv."""

    def __init__(self, loading: Loading) -> None:
        file = weights.weights_file(loading.path) if loading.path else None
        self.net = weights.network(
            taesd.TAESDV, weights.read_tensors(file) if file else None, str(file),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype = loading.dtype
        self.traits = Traits(1, 8, 4)
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Coded:
        """Code clips: (b, 3, t, h, w) in [0, 1] to (b, 4, t, h/8, w/8)."""
        return self.net.encode(videos.to(self.dtype))

    def decode(self, latents: Coded, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        return self.net.decode(latents.to(self.dtype)).float()
