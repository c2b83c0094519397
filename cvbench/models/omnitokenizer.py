"""OmniTokenizer, by codes or by means, of pictures and clips."""

from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadWeights, UsageError
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import Loading
from cvbench.models.posterior import moments, sampled
from cvbench.models.precision import computes_in
from cvbench.models.tokenizers import of_layout
from cvbench.nets import omnitokenizer as nets
from cvbench.nets.tensors import Latents, Videos

SETTINGS = {"casual_in_peg": True, "casual_in_temporal_transformer": True, "l2_code": True, "spatial_pos": "rope"}
"""What the published checkpoints were trained with and no tensor tells, by the names of their arguments."""


def state_of(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a Lightning checkpoint, without those that follow from the window.

    Raises BadWeights also for one that says that it was trained otherwise.
    """
    checkpoint = weights.read_checkpoint(file, allowed=(Namespace,))
    found = checkpoint.get("hyper_parameters") if isinstance(checkpoint, Mapping) else None
    args = found.get("args") if isinstance(found, Mapping) else None
    said = vars(args) if isinstance(args, Namespace) else {}
    for name, wanted in SETTINGS.items():
        if said.get(name, wanted) != wanted:
            raise BadWeights(f"{file} was trained with {name}={str(said[name])[:40]}; this network has {wanted}")
    state = weights.tensors_of(checkpoint, str(file))
    return {name: value for name, value in state.items() if not name.endswith(nets.CONSTANT)}


class OmniTokenizer:
    """Tokenizer of square pictures, and of clips of 1 + 4k frames.

    A network without tiles, nor without means a posterior. The option `alibi` is 1 for the
    reading of torch before 2.1, in which frames far away count less, and 0 for that of later ones. Weights: a
    Lightning checkpoint, whose discriminators and LPIPS are dropped, or a state dict of its names. Reference:
    FoundationVision/OmniTokenizer (arXiv 2406.09399). Raises UsageError for another `alibi`.
    """

    def __init__(self, loading: Loading) -> None:
        alibi = loading.options.get("alibi", 0)
        if alibi not in (0, 1):
            raise UsageError(f"alibi={alibi}: it is 0 (torch 2.1 and later) or 1 (before)")
        layout = of_layout(nets.Layout(), {**loading.options, "alibi": bool(alibi)})
        file = weights.weights_file(loading.path) if loading.path else None
        self.net = weights.network(
            partial(nets.OmniTokenizer, layout), state_of(file) if file else None, str(file), nets.KEEP,
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype, self.loading = loading.dtype, loading
        channels, codes = (layout.channels, None) if layout.vae else (0, layout.codes)
        self.traits = Traits(
            nets.FRAMES, nets.PATCH, channels, FrameRule(1, nets.FRAMES), layout.multiple, codebook=codes
        )
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Latents:
        """Code clips in [0, 1]. Raises UnsuitableInput for frames that are not square."""
        x = (videos - 0.5).to(self.dtype)
        return self.net.encode(x) if self.traits.codebook else sampled(*moments(self.net.latents(x)), self.loading)

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        assert isinstance(latents, torch.Tensor)  # noqa: S101 (what encode gave)
        z = latents.to(self.dtype) if latents.is_floating_point() else latents
        return self.net.decode(z).float() + 0.5
