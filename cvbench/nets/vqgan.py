"""VQGAN (Esser et al. 2021, arXiv 2012.09841): diffusers' encoder and decoder, our own quantisers.

diffusers' `VQModel` has the layers of taming-transformers and latent-diffusion under other names, but no Gumbel
quantiser and no converter. `to_diffusers` renames an official checkpoint; what it returns loads strictly.
Reference: CompVis/taming-transformers `taming/models/vqgan.py`, CompVis/latent-diffusion `ldm/models/autoencoder.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cvbench.core.errors import BadWeights, UnsuitableInput, UsageError

Images = Float[Tensor, "b 3 H W"]
"""RGB in [-1, 1]."""
Codes = Int[Tensor, "b h w"]

KEEP = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")
"""The parts of an official checkpoint's `state_dict` that code and decode; the rest is loss and EMA."""
ROWS = 4096  # vectors compared with the codebook at a time: bounds the memory of a long clip


@dataclass(frozen=True)
class Layout:
    """The widths of one published VQGAN; `attention` are the levels (0 = full resolution) with self-attention."""

    channels: int = 128
    mult: tuple[int, ...] = (1, 1, 2, 4)
    attention: tuple[int, ...] = (3,)
    latent: int = 256
    codes: int = 8192
    gumbel: bool = False

    @property
    def factor(self) -> int:
        """Spatial compression."""
        return 1 << (len(self.mult) - 1)


LAYOUTS = {
    "gumbel-f8-8192": Layout(gumbel=True),
    "f16-16384": Layout(mult=(1, 1, 2, 2, 4), attention=(4,), codes=16384),
    "ldm-vq-f8": Layout(mult=(1, 2, 2, 4), latent=4, codes=16384),
    "ldm-vq-f8-n256": Layout(mult=(1, 2, 2, 4), latent=4, codes=256),
    "ldm-vq-f4": Layout(mult=(1, 2, 4), attention=(), latent=3, codes=8192),
}
"""The public checkpoints: taming's two, then latent-diffusion's first stages."""


def nearest(vectors: Float[Tensor, "n c"], codebook: Float[Tensor, "k c"]) -> Int[Tensor, " n"]:
    """Index of the code with the least squared distance to each vector, in float32."""
    codes = codebook.float()
    # |v - e|^2 without |v|^2, which is the same for all codes
    gaps = (codes.square().sum(1) - 2 * part.float() @ codes.T for part in torch.split(vectors, ROWS))
    return torch.cat([gap.argmin(1) for gap in gaps])


class VectorQuantizer(nn.Module):
    """Nearest neighbour in a codebook (VQ-VAE; taming `VectorQuantizer2`)."""

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, channels)

    def indices(self, z: Float[Tensor, "b c h w"], noise: torch.Generator | None = None) -> Codes:
        """Code each position. Raises UsageError for `noise`: this quantiser has none."""
        if noise is not None:
            raise UsageError("a nearest-neighbour VQGAN has no noise; leave `noise` out, or use gumbel-f8-8192")
        return nearest(z.movedim(1, -1).flatten(0, 2), self.embedding.weight).reshape(len(z), *z.shape[2:])

    def vectors(self, indices: Codes) -> Float[Tensor, "b c h w"]:
        """Look the codes up."""
        return self.embedding.weight[indices].movedim(-1, 1)


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
        from diffusers import VQModel

        super().__init__()
        self.layout = layout
        base = VQModel(num_vq_embeddings=1, **_vqmodel_settings(layout))
        self.encoder, self.decoder = base.encoder, base.decoder
        self.quant_conv, self.post_quant_conv = base.quant_conv, base.post_quant_conv
        self.quantize: GumbelQuantizer | VectorQuantizer = (
            GumbelQuantizer(layout.codes, layout.latent)
            if layout.gumbel
            else VectorQuantizer(layout.codes, layout.latent)
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
        "layers_per_block": 2,
        "latent_channels": layout.latent,
        "vq_embed_dim": layout.latent,
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
_UP = re.compile(r"decoder\.up\.(\d+)\.")


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a taming or latent-diffusion checkpoint for `VQGAN`, leaving out all but KEEP.

    Raises BadWeights when there is no decoder among the names: another kind of file, or a prefix not taken off.
    """
    kept = {name: tensor for name, tensor in state.items() if name.startswith(KEEP)}
    ups = [int(found[1]) for name in kept if (found := _UP.match(name))]
    if not ups:
        raise BadWeights("no tensor is named decoder.up.*: not a VQGAN checkpoint; pass its 'state_dict'")
    renamed = ((_rename(name, max(ups)), tensor) for name, tensor in kept.items())
    return {name: _linear(tensor) if _is_projection(name) else tensor for name, tensor in renamed}


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
