"""Decoders alone, with the encoder of the network whose latents they take: Turbo-VAED, LTX-2.5's diffusion decoder."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from cvbench import weights
from cvbench.core.errors import UnsuitableInput
from cvbench.core.types import FrameRule, Traits
from cvbench.models.building import build, cast, settings_of
from cvbench.models.diffusers import Diffusers, tiles
from cvbench.models.entry import Loading
from cvbench.models.precision import computes_in
from cvbench.models.tokenizers import of_layout
from cvbench.nets import turbovaed as nets
from cvbench.nets.neighbourhood import neighbourhood_attention
from cvbench.nets.tensors import Latents, Videos

TRAINING = "aligned_feature_projection_heads."


class Decoder:
    """A decoder behind a partner's encoder; parameters are those of the two halves that run.

    `teacher` of the options is the partner's class and config; its weights are the loading's `partner`, of which the
    decoder is not kept.
    """

    net: Any
    traits: Traits

    def _adopt(self, loading: Loading, net: nn.Module) -> None:
        teacher = replace(loading, path=loading.partner, options=loading.options["teacher"], tiling=False)
        self.partner: Any = Diffusers(teacher)
        self.net, self.dtype = net, loading.dtype
        self.params = self.partner.params[0], weights.count(net)
        self.computes_in = computes_in(net, self.dtype)
        del self.partner.net.decoder

    def encode(self, videos: Videos) -> Latents:
        """Code clips by the partner."""
        latents: Latents = self.partner.encode(videos)
        return latents

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips, not clamped. Raises UnsuitableInput for latents of another network."""
        if not isinstance(latents, Tensor) or latents.shape[1] != self.traits.channels:
            raise UnsuitableInput(f"this decoder takes latents of {self.traits.channels} channels")
        return (self._pixels(latents.to(self.dtype)).float() + 1) / 2

    def _pixels(self, z: Tensor) -> Tensor:
        """Return pixels in [-1, 1]."""
        pixels: Tensor = self.net(z)
        return pixels


class TurboVAED(Decoder):
    """Turbo-VAED. Weights: the decoder's state dict. Reference: hustvl/Turbo-VAED (arXiv 2508.09136)."""

    def __init__(self, loading: Loading) -> None:
        layout = of_layout(nets.Layout(), loading.options)
        file = weights.weights_file(loading.path) if loading.path else None
        state = weights.read_tensors(file) if file else None
        kept = state and decoder_of(state)
        net = weights.network(
            partial(nets.TurboVAED, layout), kept, str(file),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self._adopt(loading, net)
        rule = self.partner.traits.frame_rule
        self.traits = Traits(layout.temporal, layout.spatial, layout.channels, rule)


def decoder_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a decoder by its own names, which may be those of a whole autoencoder."""
    own = {name.removeprefix("decoder."): value for name, value in state.items() if not name.startswith("encoder.")}
    return {name: value for name, value in own.items() if not name.startswith(TRAINING)}


class DiffusionDecoder(Decoder):
    """LTX-2.5's decoder, which denoises pixels in one step; every clip starts from the same seeded noise.

    Its attention is computed a part at a time, since diffusers' own takes memory by the square of the positions.
    Options are the class' arguments where they differ from its defaults; over them goes a config.json next to the
    weights. Weights: a diffusers folder or file.
    Reference: diffusers 0.42 `LTX2VideoDiffusionDecoderModel`.
    """

    def __init__(self, loading: Loading) -> None:
        own = {name: value for name, value in loading.options.items() if name != "teacher"}
        name, config = settings_of(replace(loading, options=own))
        net = cast(build(name, config, loading), loading.device, loading.dtype)
        net.set_attn_processor(ByParts())
        self._adopt(loading, net)
        self.seed, self.tiling, self.traits = loading.seed, loading.tiling, reach(net.config)

    def _pixels(self, z: Tensor) -> Tensor:
        generators = [torch.Generator().manual_seed(self.seed) for _ in z]
        with tiles(self.net, self.tiling):
            pixels: Tensor = self.net.decode(z, generator=generators).sample
        return pixels


class ByParts:
    """Runs the class' attention by `neighbourhood_attention`."""

    def __call__(self, attn: Any, hidden_states: Tensor, block_mask: None = None) -> Tensor:
        """Attend: (b, t, h, w, c) to the same."""
        query, key, value = attn.project_qkv(hidden_states)
        seen = neighbourhood_attention(query, key, value, attn.kernel_size, scale=1.0)
        result: Tensor = attn.to_out[0](seen.flatten(-2))
        return result


def reach(config: Mapping[str, Any]) -> Traits:
    """Return the traits: no axis may be shorter than the windows of any stage, counted in its own positions."""
    strides = config["decoder_upsample_strides"]
    kernels = (*config["decoder_stage_kernels"], config["decoder_stage5_kernel"])
    grown = [[prod(stride[axis] for stride in strides[:stage]) for axis in range(3)] for stage in range(len(kernels))]
    side = max(-(-kernel[axis] // by[axis]) for kernel, by in zip(kernels, grown, strict=True) for axis in (1, 2))
    temporal, spatial = config["temporal_compression_ratio"], config["spatial_compression_ratio"]
    least = config["decoder_stage5_kernel"][0]  # the stages before it see frames more
    return Traits(
        temporal, spatial, config["latent_channels"], FrameRule(1, temporal, least), least_side=side * spatial
    )
