"""Tokenizers that diffusers does not carry: Cosmos, Open-MAGVIT2, TiTok."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from cvbench import weights
from cvbench.core.errors import BadWeights
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import Loading
from cvbench.models.posterior import moments, sampled
from cvbench.models.precision import computes_in
from cvbench.models.renames import cosmos as video_names
from cvbench.nets import cosmos, magvit2, titok
from cvbench.nets.tensors import Latents, Videos
from cvbench.nets.vqgan import averaged, to_diffusers

FRAMES = 8
"""Coded at a time by networks for images."""
State = dict[str, Tensor]


class Tokenizer:
    """What the adapters share: a network of images or clips, given its own range, and parts of it that are counted.

    Indices are coded (b, t', h', w'), latents (b, c, t', h', w').
    """

    net: Any
    traits: Traits

    def _adopt(
        self, loading: Loading, net: nn.Module, halves: Sequence[Sequence[nn.Module]], signed: bool = True
    ) -> None:
        self.net, self.dtype, self.signed = net, loading.dtype, signed
        self.clips = self.traits.temporal > 1
        encoder, decoder = (sum(weights.count(part) for part in parts) for parts in halves)
        self.params = encoder, decoder
        self.computes_in = computes_in(net, self.dtype)

    def encode(self, videos: Videos) -> Latents:
        """Code clips in [0, 1]. Raises UnsuitableInput for sizes that would not come back."""
        x = (2 * videos - 1 if self.signed else videos).to(self.dtype)
        if self.clips:
            return self._code(x)
        codes = self._by_frames(self._code, rearrange(x, "b c t h w -> (b t) c h w"), len(videos))
        return codes.movedim(1, 2).contiguous() if codes.is_floating_point() else codes

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips, not clamped."""
        assert isinstance(latents, Tensor)  # noqa: S101 (what encode gave)
        if self.clips:
            pixels: Tensor = self.net.decode(latents).float()
        else:
            stills = latents.movedim(2, 1) if latents.is_floating_point() else latents
            pixels = self._by_frames(self.net.decode, stills.flatten(0, 1), len(latents)).movedim(1, 2).float()
        return (pixels + 1) / 2 if self.signed else pixels

    def _code(self, x: Tensor) -> Tensor:
        codes: Tensor = self.net.encode(x)
        return codes

    def _by_frames(self, step: Any, x: Tensor, clips: int) -> Tensor:
        made = torch.cat([step(some) for some in torch.split(x, FRAMES)])
        return rearrange(made, "(b t) ... -> b t ...", b=clips)


def of_layout(layout: Any, options: Mapping[str, Any]) -> Any:
    """Return a layout with the fields that options name."""
    names = {field.name for field in fields(layout)}
    return replace(layout, **{name: value for name, value in options.items() if name in names})


def halves_in_jit(path: Path) -> State:
    """Read both programs of a folder, encoder.jit and decoder.jit; or the one file that there is."""
    files = weights.files_read(path / "encoder.jit" if path.is_dir() else path)
    if len(files) == 2:
        return weights.read_tensors(files[0]) | weights.read_tensors(files[1])
    whole = path / "autoencoder.jit"
    return weights.read_tensors(whole if whole.is_file() else weights.weights_file(path))


class Cosmos(Tokenizer):
    """Cosmos tokenizer of images or of 1 + 4k or 1 + 8k frames, continuous or of 64,000 codes (FSQ).

    Weights: the published TorchScript, of which only tensors are read, in two files or one; or a state dict of its
    names. Reference: NVIDIA/Cosmos-Tokenizer (arXiv 2501.03575).
    """

    UNUSED = ("patcher", "unpatcher", "wavelets", "_arange")

    def __init__(self, loading: Loading) -> None:
        layout = of_layout(cosmos.Layout(), loading.options)
        state = halves_in_jit(loading.path) if loading.path else None
        self.where = str(loading.path)
        if state is not None and layout.temporal:
            levels = {name.split(".")[2] for name in state if name.startswith("decoder.up.")}
            layout = replace(layout, short=len(levels) == 2)
        net = weights.network(
            partial(cosmos.Cosmos, layout), None if state is None else self._named(state, layout), str(loading.path),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        rule = FrameRule(1, layout.temporal) if layout.temporal else FrameRule()
        channels = 0 if layout.discrete else layout.embed
        self.traits = Traits(layout.temporal or 1, layout.spatial, channels, rule, codebook=layout.codes)
        self._adopt(loading, net, ([net.encoder], [net.decoder]))

    def _named(self, state: State, layout: cosmos.Layout) -> State:
        """Return the tensors by the network's names; of samplers some are run by nothing. Raises BadWeights."""
        kept = {k: v for k, v in state.items() if k.startswith(cosmos.KEEP) and not any(w in k for w in self.UNUSED)}
        if not layout.temporal:
            try:
                return to_diffusers(kept)
            except BadWeights as error:
                raise BadWeights(f"{self.where}: {error}") from error
        with torch.device("meta"):
            wanted = cosmos.Cosmos(layout).state_dict()
        named = {k: v for k, v in video_names(kept).items() if k in wanted or "samplers.0.conv" not in k}
        return {**named, **cosmos.constants(wanted)}


class OpenMagvit2(Tokenizer):
    """Open-MAGVIT2 of images or of 1 + 4k frames: one of 2^18 codes a position.

    Weights: the Lightning checkpoint, whose averaged tensors are taken as the published scores do. Reference:
    TencentARC/SEED-Voken (arXiv 2409.04410).
    """

    def __init__(self, loading: Loading) -> None:
        layout = of_layout(magvit2.Layout(), loading.options)
        file = weights.weights_file(loading.path) if loading.path else None
        state = averaged(weights.read_tensors(file), magvit2.KEEP, str(file)) if file else None
        net = weights.network(
            partial(magvit2.OpenMagvit2, layout), state, str(file), magvit2.KEEP,
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        temporal, rule = (magvit2.TEMPORAL, FrameRule(1, magvit2.TEMPORAL)) if layout.video else (1, FrameRule())
        least = 2 * layout.spatial  # statistics are of two positions or more
        self.traits = Traits(temporal, layout.spatial, 0, rule, least_side=least, codebook=1 << layout.bits)
        self._adopt(loading, net, ([net.encoder], [net.decoder]))


class TiTok(Tokenizer):
    """TiTok: pictures of 256×256 as a row of tokens, or of means; others are padded to it or refused.

    Weights: the published state dict. Reference: bytedance/1d-tokenizer (arXiv 2406.07550).
    """

    def __init__(self, loading: Loading) -> None:
        layout = of_layout(titok.Layout(), loading.options)
        file = weights.weights_file(loading.path) if loading.path else None
        net = weights.network(
            partial(titok.TiTok, layout), weights.read_tensors(file) if file else None, str(file),
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        continuous = layout.kind == "vae"
        self.traits = Traits(
            1, titok.PATCH, layout.channels if continuous else 0, multiple=layout.side,
            codebook=None if continuous else layout.codes, tokens=layout.tokens,
        )  # fmt: skip
        self.loading = loading
        pixels = [net.pixel_decoder] if layout.kind == "legacy" else []
        self._adopt(loading, net, ([net.encoder], [net.decoder, *pixels]), signed=False)

    def _code(self, x: Tensor) -> Tensor:
        if self.traits.codebook:
            return super()._code(x)
        return sampled(*moments(self.net.latents(x)), self.loading)
