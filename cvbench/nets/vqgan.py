"""VQGAN (Esser et al. 2021, arXiv 2012.09841): diffusers' encoder and decoder, our own quantisers.

diffusers' `VQModel` has the layers of taming-transformers and latent-diffusion under other names, but no Gumbel
quantiser and no converter. `to_diffusers` renames an official checkpoint; what it returns loads strictly.
Reference: CompVis/taming-transformers `taming/models/vqgan.py`, CompVis/latent-diffusion `ldm/models/autoencoder.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import BadWeights, UnsuitableInput, UsageError
from cvbench.weights.checkpoints import listed

Images = Float[Tensor, "b 3 H W"]
"""RGB in [-1, 1]."""
Codes = Int[Tensor, "b h w"]

KEEP = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")
"""The parts of an official checkpoint's `state_dict` that code and decode; the rest is loss and EMA."""
AVERAGED = "model_ema."
OF_AVERAGING = ("model_ema.decay", "model_ema.num_updates")
ROWS = 4096  # vectors compared with the codebook at a time: bounds the memory of a long clip


@dataclass(frozen=True)
class Layout:
    """The widths of one published VQGAN; `attention` are the levels (0 = full resolution) with self-attention.

    `embed` is the width of the codes where it is not `latent`, `layers` the residual blocks of a level. `quantizer`:
    the nearest code, the one of the largest product ("dot"), the nearest of both at unit length ("cosine"), or gumbel.
    """

    channels: int = 128
    mult: tuple[int, ...] = (1, 1, 2, 4)
    attention: tuple[int, ...] = (3,)
    latent: int = 256
    codes: int = 8192
    quantizer: Literal["nearest", "dot", "cosine", "gumbel"] = "nearest"
    embed: int = 0
    layers: int = 2

    @property
    def factor(self) -> int:
        """Spatial compression."""
        return 1 << (len(self.mult) - 1)


LAYOUTS = {
    "gumbel-f8-8192": Layout(quantizer="gumbel"),
    "f16-16384": Layout(mult=(1, 1, 2, 2, 4), attention=(4,), codes=16384),
    "ldm-vq-f8": Layout(mult=(1, 2, 2, 4), latent=4, codes=16384),
    "ldm-vq-f8-n256": Layout(mult=(1, 2, 2, 4), latent=4, codes=256),
    "ldm-vq-f4": Layout(mult=(1, 2, 4), attention=(), latent=3, codes=8192),
    "ibq": Layout(mult=(1, 1, 2, 2, 4), attention=(4,), codes=16384, quantizer="dot", layers=4),
    "llamagen-ds16": Layout(mult=(1, 1, 2, 2, 4), attention=(4,), codes=16384, quantizer="cosine", embed=8),
    "llamagen-ds8": Layout(mult=(1, 2, 2, 4), attention=(3,), codes=16384, quantizer="cosine", embed=8),
}
"""The public checkpoints: taming's two, latent-diffusion's first stages, SEED-Voken's IBQ, LlamaGen's."""


def nearest(vectors: Float[Tensor, "n c"], codebook: Float[Tensor, "k c"]) -> Int[Tensor, " n"]:
    """Index of the code with the least squared distance to each vector, in float32."""
    codes = codebook.float()
    # |v - e|^2 without |v|^2, which is the same for all codes
    gaps = (codes.square().sum(1) - 2 * part.float() @ codes.T for part in torch.split(vectors, ROWS))
    return torch.cat([gap.argmin(1) for gap in gaps])


class VectorQuantizer(nn.Module):
    """One code of a codebook: the nearest (VQ-VAE; taming `VectorQuantizer2`), or as `rule` says (see Layout)."""

    def __init__(self, codes: int, channels: int, rule: str = "nearest") -> None:
        super().__init__()
        self.rule = rule
        self.embedding = nn.Embedding(codes, channels)

    def indices(self, z: Float[Tensor, "b c h w"], noise: torch.Generator | None = None) -> Codes:
        """Code each position. Raises UsageError for `noise`: this quantiser has none."""
        if noise is not None:
            raise UsageError("a nearest-neighbour VQGAN has no noise; leave `noise` out, or use gumbel-f8-8192")
        vectors = z.movedim(1, -1).flatten(0, 2)
        if self.rule == "dot":
            found = torch.cat([(part.float() @ self._codes().T).argmax(1) for part in torch.split(vectors, ROWS)])
        else:
            found = nearest(F.normalize(vectors, dim=1) if self.rule == "cosine" else vectors, self._codes())
        return found.reshape(len(z), *z.shape[2:])

    def vectors(self, indices: Codes) -> Float[Tensor, "b c h w"]:
        """Look the codes up."""
        return self._codes().to(self.embedding.weight.dtype)[indices].movedim(-1, 1)

    def _codes(self) -> Float[Tensor, "k c"]:
        codes = self.embedding.weight.float()
        return F.normalize(codes, dim=1) if self.rule == "cosine" else codes


class GumbelQuantizer(nn.Module):
    """The most probable code, or with `noise` a code drawn by its probability (taming `GumbelQuantize`).

    The official code draws with Gumbel noise in evaluation too, so its reconstructions differ from run to run.
    """

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, codes, 1)
        self.embed = nn.Embedding(codes, channels)

    def indices(self, z: Float[Tensor, "b c h w"], noise: torch.Generator | None = None) -> Codes:
        """Code each position; `noise` is a generator on the device of `z`."""
        logits: Tensor = self.proj(z)
        if noise is not None:
            logits = logits - torch.empty_like(logits).exponential_(generator=noise).log()
        return logits.argmax(1)

    def vectors(self, indices: Codes) -> Float[Tensor, "b c h w"]:
        """Look the codes up."""
        return self.embed.weight[indices].movedim(-1, 1)


class VQGAN(nn.Module):
    """Image tokenizer: (b, 3, H, W) in [-1, 1] to (b, H/f, W/f) code indices and back; f is 4, 8 or 16."""

    def __init__(self, layout: Layout = LAYOUTS["gumbel-f8-8192"]) -> None:
        with torch.device("cpu"):  # modules of the package make constants where they are first imported
            from diffusers import VQModel

        super().__init__()
        self.layout = layout
        base = VQModel(num_vq_embeddings=1, **_vqmodel_settings(layout))
        self.encoder, self.decoder = base.encoder, base.decoder
        self.quant_conv, self.post_quant_conv = base.quant_conv, base.post_quant_conv
        self.quantize: GumbelQuantizer | VectorQuantizer = (
            GumbelQuantizer(layout.codes, layout.latent)
            if layout.quantizer == "gumbel"
            else VectorQuantizer(layout.codes, layout.embed or layout.latent, layout.quantizer)
        )

    def latents(self, x: Images) -> Float[Tensor, "b c h w"]:
        """Return what the quantiser sees. Raises UnsuitableInput for sides that the network would crop."""
        factor = self.layout.factor
        if x.shape[-2] % factor or x.shape[-1] % factor:
            raise UnsuitableInput(f"this VQGAN takes sides divisible by {factor}, got {tuple(x.shape)}; pad or crop")
        z: Tensor = self.quant_conv(self.encoder(x))
        return z

    def encode(self, x: Images, noise: torch.Generator | None = None) -> Codes:
        """Code images; deterministic unless a Gumbel model is given a generator for its `noise`."""
        return self.quantize.indices(self.latents(x), noise)

    def decode(self, indices: Codes) -> Images:
        """Reconstruct; the output is not clamped."""
        x: Tensor = self.decoder(self.post_quant_conv(self.quantize.vectors(indices)))
        return x


def _vqmodel_settings(layout: Layout) -> dict[str, object]:
    attends = [level in layout.attention for level in range(len(layout.mult))]
    return {
        "block_out_channels": tuple(layout.channels * m for m in layout.mult),
        "down_block_types": tuple("AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attends),
        "up_block_types": tuple("AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attends)),
        "layers_per_block": layout.layers,
        "latent_channels": layout.latent,
        "vq_embed_dim": layout.embed or layout.latent,
    }


_RENAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
        (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
        (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
        (r"\.(down|up)\.(\d+)\.block\.", r".\1_blocks.\2.resnets."),
        (r"\.(down|up)\.(\d+)\.attn\.", r".\1_blocks.\2.attentions."),
        (r"\.(down|up)\.(\d+)\.(down|up)sample\.", r".\1_blocks.\2.\3samplers.0."),
        (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
        (r"(attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
        (r"(attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
        (r"\.nin_shortcut\.", ".conv_shortcut."),
        (r"\.norm_out\.", ".conv_norm_out."),
    )
)
_LLAMAGEN = re.compile(r"decoder\.conv_blocks\.(\d+)\.")
_UP = re.compile(r"decoder\.up\.(\d+)\.")


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a taming or latent-diffusion checkpoint for `VQGAN`, leaving out all but KEEP.

    Raises BadWeights as `averaged` does, and when there is no decoder among the names: another kind of file, or a
    prefix not taken off.
    """
    kept = {name: tensor for name, tensor in as_taming(averaged(state)).items() if name.startswith(KEEP)}
    ups = [int(found[1]) for name in kept if (found := _UP.match(name))]
    if not ups:
        raise BadWeights("no tensor is named decoder.up.*: not a VQGAN checkpoint; pass its 'state_dict'")
    renamed = ((_rename(name, max(ups)), tensor) for name, tensor in kept.items())
    return {name: _linear(tensor) if _is_projection(name) else tensor for name, tensor in renamed}


def averaged(state: Mapping[str, Tensor], keep: tuple[str, ...] = KEEP, where: str = "the file") -> dict[str, Tensor]:
    """Return the averaged tensors where a Lightning checkpoint holds them, under names without dots; else the plain.

    Raises BadWeights for averages of some parameters whose names start with one of `keep`, and not of all.
    """
    averages = {name: f"{AVERAGED}{name.replace('.', '')}" for name in state}
    needed = [name for name, tensor in state.items() if name.startswith(keep) and tensor.is_floating_point()]
    absent = [name for name in needed if averages[name] not in state]
    if absent and any(name.startswith(AVERAGED) and name not in OF_AVERAGING for name in state):
        raise BadWeights(
            f"{where} holds averages ({AVERAGED}*), but none of {len(absent)} of {len(needed)} parameters "
            f"({listed(absent[:4])}); it is cut, or of other training code: save one whole set under plain names"
        )
    return {name: state.get(averages[name], tensor) for name, tensor in state.items()}


def as_taming(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the layers of LlamaGen, which counts the decoder's levels in the order they run."""
    levels = [int(found[1]) for name in state if (found := _LLAMAGEN.match(name))]
    if not levels:
        return dict(state)

    def renamed(name: str) -> str:
        name = re.sub(r"^encoder\.conv_blocks\.", "encoder.down.", name)
        name = _LLAMAGEN.sub(lambda found: f"decoder.up.{max(levels) - int(found[1])}.", name)
        name = re.sub(r"\.res\.(\d+)\.", r".block.\1.", name)
        for place, layer in enumerate(("block_1", "attn_1", "block_2")):
            name = re.sub(rf"coder\.mid\.{place}\.", f"coder.mid.{layer}.", name)
        return name

    return {renamed(name): tensor for name, tensor in state.items() if name != "quantize.codebook_used"}


def _rename(name: str, last: int) -> str:
    # diffusers counts decoder levels in the order they run, taming by resolution
    name = _UP.sub(lambda found: f"decoder.up.{last - int(found[1])}.", name)
    for old, new in _RENAMES:
        name = old.sub(new, name)
    return name


def _is_projection(name: str) -> bool:
    return ".to_" in name and name.endswith(".weight")


def _linear(weight: Tensor) -> Tensor:
    """A 1x1 convolution as the matrix that diffusers' attention has."""
    return weight.flatten(1)
