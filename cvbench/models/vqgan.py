"""VQGAN image tokenizers of taming-transformers and latent-diffusion."""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadWeights, UsageError
from cvbench.core.types import Traits
from cvbench.models.entry import Loading
from cvbench.models.precision import computes_in
from cvbench.nets import vqgan as nets
from cvbench.nets.tensors import Video, Videos

Codes = Int[Tensor, "b t y x"]
Image = Float[Tensor, "3 h w"]

FRAMES = 8
"""Coded at a time: a frame of 256×256 has 33 MB of logits over 8192 codes."""


def network(options: Mapping[str, Any]) -> nets.VQGAN:
    """Build the network of `layout`, any field of it overridden."""
    fields = {name: value for name, value in options.items() if name not in ("layout", "noise")}
    return nets.VQGAN(replace(nets.LAYOUTS[options["layout"]], **fields))


def _state(file: Path) -> dict[str, Tensor]:
    try:
        return nets.to_diffusers(weights.read_tensors(file))
    except BadWeights as error:
        raise BadWeights(f"{file}: {error}" if str(file) not in str(error) else str(error)) from error


class VQGAN:
    """Image tokenizer; a clip is coded frame by frame, each position by its most probable or nearest code.

    The official code of the Gumbel model draws the codes, in evaluation too, so its scores differ from run to run:
    `noise=1` does as it does, from a seed made of the protocol's, the frame's pixels and its place in the clip.
    Weights: the official checkpoint; `loss.*` is dropped. Reference: CompVis/taming-transformers (arXiv 2012.09841).
    Raises UsageError for noise other than 0 and 1.
    """

    def __init__(self, loading: Loading) -> None:
        self.noise, self.seed, self.dtype = loading.options.get("noise", 0), loading.seed, loading.dtype
        if self.noise not in (0, 1):
            raise UsageError(f"noise is 0 (the most probable code) or 1 (one drawn by probability), not {self.noise}")
        file = weights.weights_file(loading.path) if loading.path else None
        self.net = weights.network(
            partial(network, loading.options), _state(file) if file else None, str(file),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.traits = Traits(1, self.net.layout.factor, codebook=self.net.layout.codes)
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Codes:
        """Code each frame: (b, 3, t, h, w) in [0, 1] to code indices (b, t, h/f, w/f), f the spatial compression."""
        if self.noise:
            return torch.stack([self._draw(clip) for clip in videos])
        frames = rearrange(videos, "b c t h w -> (b t) c h w")
        codes = torch.cat([self.net.encode(self._input(some)) for some in torch.split(frames, FRAMES)])
        return rearrange(codes, "(b t) h w -> b t h w", b=len(videos))

    def decode(self, latents: Codes, frames: int) -> Videos:
        """Reconstruct each frame, not clamped."""
        codes = rearrange(latents, "b t h w -> (b t) h w")
        pixels = torch.cat([self.net.decode(some).float() for some in torch.split(codes, FRAMES)])
        return rearrange((pixels + 1) / 2, "(b t) c h w -> b c t h w", t=frames)

    def _input(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        return (2 * frames - 1).to(self.dtype)

    def _draw(self, clip: Video) -> Int[Tensor, "t y x"]:
        """Code a clip frame by frame with noise of its own, so that no other clip of a batch changes it."""
        frames = clip.unbind(1)
        return torch.cat([self.net.encode(self._input(f[None]), self._generator(f, t)) for t, f in enumerate(frames)])

    def _generator(self, frame: Image, t: int) -> torch.Generator:
        seed = zlib.crc32(frame.cpu().contiguous().numpy().tobytes(), self.seed + t)
        return torch.Generator(frame.device).manual_seed(seed)
