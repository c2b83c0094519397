"""TATS's video tokenizer."""

from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import Any

from jaxtyping import Int
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadWeights
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import Loading
from cvbench.models.precision import computes_in
from cvbench.nets import tats as nets
from cvbench.nets.tensors import Videos

Codes = Int[Tensor, "b k y x"]

SETTINGS = {"n_hiddens": int, "embedding_dim": int, "n_codes": int, "downsample": tuple, "norm_type": str}
SPREAD = 0.02  # of an untrained codebook, about that of what an untrained encoder gives


def network(options: Mapping[str, Any]) -> nets.TATS:
    """Build the network; options are SETTINGS, by default those of the published checkpoints."""
    net = nets.TATS(**options)
    net.codebook.embeddings.normal_(std=SPREAD)  # zeros would make all codes one
    return net


def settings_of(checkpoint: Any, where: str) -> dict[str, Any]:
    """Return the SETTINGS that a Lightning checkpoint was trained with, none for other files.

    Raises BadWeights when they make no sense.
    """
    found = checkpoint.get("hyper_parameters") if isinstance(checkpoint, Mapping) else None
    args = found.get("args") if isinstance(found, Mapping) else None
    said = vars(args) if isinstance(args, Namespace) else {}
    try:
        settings = {name: kind(said[name]) for name, kind in SETTINGS.items() if name in said}
    except (TypeError, ValueError) as error:
        raise BadWeights(f"{where} gives settings that no TATS has: {error}") from error
    if settings.get("norm_type", "batch") not in ("batch", "group"):
        raise BadWeights(f"{where} was trained with norm_type {settings['norm_type']!r}; TATS has batch and group")
    return settings


class TATS:
    """Video tokenizer of 4k frames; an image is repeated to four.

    A network without posterior or tiles: those of the protocol do not change it. Weights: a Lightning checkpoint,
    whose settings are read from it, or a state dict in a single file; discriminators and LPIPS are dropped.
    Reference: songweige/TATS (arXiv 2204.03638).
    """

    def __init__(self, loading: Loading) -> None:
        file = weights.weights_file(loading.path) if loading.path else None
        checkpoint = weights.read_checkpoint(file, allowed=(Namespace,)) if file else None
        options = {**loading.options, **settings_of(checkpoint, str(file))}
        state = weights.tensors_of(checkpoint, str(file)) if file else None
        self.net = weights.network(
            partial(network, options), state, str(file), nets.KEEP,
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype = loading.dtype
        frames, *sides = self.net.downsample
        codes = len(self.net.codebook.embeddings)
        self.traits = Traits(frames, max(sides), 0, FrameRule(0, frames, frames), codebook=codes)
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Codes:
        """Code clips: (b, 3, 4k, h, w) in [0, 1] to code indices (b, k, h/8, w/8)."""
        return self.net.encode((videos - 0.5).to(self.dtype))

    def decode(self, latents: Codes, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        return self.net.decode(latents).float() + 0.5
