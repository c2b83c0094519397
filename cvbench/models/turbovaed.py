"""Turbo-VAED: light decoders, with the encoder of the network that they were taught by."""

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from cvbench import weights
from cvbench.core.errors import UnsuitableInput
from cvbench.core.types import Traits
from cvbench.models.diffusers import Diffusers
from cvbench.models.entry import Loading
from cvbench.models.precision import computes_in
from cvbench.models.tokenizers import of_layout
from cvbench.nets import turbovaed as nets
from cvbench.nets.tensors import Latents, Videos

TRAINING = "aligned_feature_projection_heads."


class TurboVAED:
    """A decoder of its own behind a partner's encoder; parameters are those of the two halves that run.

    `teacher` of the options is the partner's class and config; its weights are the loading's `partner`, of which the
    decoder stays unused. Weights: the decoder's state dict. Reference: hustvl/Turbo-VAED (arXiv 2508.09136).
    """

    def __init__(self, loading: Loading) -> None:
        layout = of_layout(nets.Layout(), loading.options)
        teacher = replace(loading, path=loading.partner, options=loading.options["teacher"], tiling=False)
        self.partner: Any = Diffusers(teacher)
        file = weights.weights_file(loading.path) if loading.path else None
        state = weights.read_tensors(file) if file else None
        kept = state and {name: value for name, value in state.items() if not name.startswith(TRAINING)}
        self.net = weights.network(
            partial(nets.TurboVAED, layout), kept, str(file),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype, self.layout = loading.dtype, layout
        of_partner = self.partner.traits
        self.traits = Traits(layout.temporal, layout.spatial, layout.channels, of_partner.frame_rule)
        self.params = self.partner.params[0], weights.count(self.net)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Latents:
        """Code clips by the partner."""
        latents: Latents = self.partner.encode(videos)
        return latents

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips, not clamped. Raises UnsuitableInput for latents of another network."""
        if not isinstance(latents, Tensor) or latents.shape[1] != self.layout.channels:
            raise UnsuitableInput(f"this decoder takes latents of {self.layout.channels} channels")
        pixels: Tensor = self.net(latents.to(self.dtype)).float()
        return (pixels + 1) / 2
