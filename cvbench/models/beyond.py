"""Autoencoders that people use and diffusers does not carry: TAEHV, WF-VAE, LeanVAE."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadWeights
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import Loading
from cvbench.models.posterior import sampled
from cvbench.models.precision import computes_in
from cvbench.nets import leanvae, taehv, wfvae
from cvbench.nets.tensors import Videos

Coded = Float[Tensor, "b z k y x"]


class TAEHV:
    """Tiny video autoencoder of 1 + 4k or 1 + 8k frames, in the latent space of the model it was distilled from.

    A network without posterior or tiles: those of the protocol do not change it. Options: `layout`, any field of it,
    and `step`, that of its frame rule where it is not the temporal compression. Weights: a published .pth or
    .safetensors file. Reference: madebyollin/taehv.
    """

    def __init__(self, loading: Loading) -> None:
        fields = {name: value for name, value in loading.options.items() if name not in ("layout", "step")}
        layout = replace(taehv.LAYOUTS[loading.options["layout"]], **fields)
        file = weights.weights_file(loading.path) if loading.path else None
        state = taehv.newest_frames(weights.read_tensors(file), layout) if file else None
        self.net = weights.network(
            partial(taehv.TAEHV, layout), state, str(file),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.dtype, self.signed = loading.dtype, layout.signed
        rule = FrameRule(layout.shortest, loading.options.get("step", layout.chunk or layout.temporal))
        self.traits = Traits(layout.temporal, layout.spatial, layout.channels, rule)
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Coded:
        """Code clips: (b, 3, 1 + 4k, h, w) in [0, 1] to (b, z, 1 + k, h/f, w/f), f the spatial compression."""
        return self.net.encode((2 * videos - 1 if self.signed else videos).to(self.dtype))

    def decode(self, latents: Coded, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        pixels = self.net.decode(latents).float()
        return (pixels + 1) / 2 if self.signed else pixels


class WFVAE:
    """Causal video VAE of 1 + 4k frames, of which the first stands alone.

    The reference's tiling, pieces of time with caches between them, is not copied: the protocol's does not change the
    network. Weights: a diffusers folder, whose config.json is followed, a single file or the trainer's
    checkpoint. Reference: PKU-YuanGroup/WF-VAE (arXiv 2411.17459).
    """

    def __init__(self, loading: Loading) -> None:
        layout = _wfvae_layout(loading)
        file = weights.weights_file(loading.path) if loading.path else None
        state = weights.read_tensors(file) if file else None
        self.net = weights.network(
            partial(wfvae.WFVAE, layout), state, str(file), wfvae.KEEP,
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.loading, self.dtype = loading, loading.dtype
        self.traits = Traits(wfvae.TEMPORAL, wfvae.SPATIAL, layout.latent_dim, FrameRule(1, wfvae.TEMPORAL))
        self.params = weights.count(self.net.encoder), weights.count(self.net.decoder)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Coded:
        """Code clips: (b, 3, 1 + 4k, h, w) in [0, 1] to (b, z, 1 + k, h/8, w/8)."""
        mean, logvar = self.net.encode((2 * videos - 1).to(self.dtype))
        return sampled(mean, logvar, self.loading)

    def decode(self, latents: Coded, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        return (self.net.decode(latents).float() + 1) / 2


def _wfvae_layout(loading: Loading) -> wfvae.Layout:
    """Return what a config.json with the weights says, else the options over the published layout."""
    config = weights.config_beside(loading.path) if loading.path and loading.path.is_dir() else None
    return replace(wfvae.Layout(), **loading.options) if config is None else wfvae.layout_of(config)


class LeanVAE:
    """Light causal video VAE of 1 + 4k frames, of which the first stands alone.

    No tiles: the protocol's do not change it. Weights: the published checkpoint, whose settings are read from it, or a
    Lightning checkpoint of the training code, or a state dict in a single file. The iterations that recover features
    from latents count as the decoder's. Reference: westlake-repl/LeanVAE (arXiv 2503.14325).
    """

    def __init__(self, loading: Loading) -> None:
        file = weights.weights_file(loading.path) if loading.path else None
        checkpoint = weights.read_checkpoint(file, allowed=(Namespace,)) if file else None
        layout = leanvae.Layout(**{**loading.options, **leanvae_settings(checkpoint, str(file))})
        state = _autoencoder(weights.tensors_of(checkpoint, str(file))) if file else None
        self.net = weights.network(
            partial(leanvae.LeanVAE, layout), state, str(file), leanvae.KEEP,
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        self.loading, self.dtype = loading, loading.dtype
        self.traits = Traits(leanvae.TEMPORAL, leanvae.SPATIAL, layout.latent_dim, FrameRule(1, leanvae.TEMPORAL))
        parts = weights.count(self.net.decoder), weights.count(self.net.latent_bottleneck)
        self.params = weights.count(self.net.encoder), sum(parts)
        self.computes_in = computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Coded:
        """Code clips: (b, 3, 1 + 4k, h, w) in [0, 1] to (b, z, 1 + k, h/8, w/8)."""
        mean, logvar = self.net.encode((videos - 0.5).to(self.dtype))
        return sampled(mean, logvar, self.loading)

    def decode(self, latents: Coded, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        return self.net.decode(latents).float() + 0.5


def leanvae_settings(checkpoint: Any, where: str) -> dict[str, int]:
    """Return the settings of the layout that a checkpoint carries, none for other files.

    Raises BadWeights when they make no sense.
    """
    held = checkpoint if isinstance(checkpoint, Mapping) else {}
    said = held.get("args", {})
    said = vars(said) if isinstance(said, Namespace) else said
    if not isinstance(said, Mapping):
        raise BadWeights(f"{where} gives a {type(said).__name__} for its settings, not names and values")
    settings = {f.name: said[f.name] for f in fields(leanvae.Layout) if f.name in said}
    if wrong := [name for name, value in settings.items() if type(value) is not int or value < 1]:
        raise BadWeights(f"{where} gives {wrong[0]} = {settings[wrong[0]]!r}, which no LeanVAE has")
    return settings


def _autoencoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the autoencoder's tensors of a training checkpoint, which holds discriminators beside it."""
    prefix = "autoencoder."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)} or state
