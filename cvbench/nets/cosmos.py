"""Cosmos tokenizers (NVIDIA 2024, arXiv 2501.03575): wavelet patches, diffusers' layers, continuous or FSQ.

Of videos diffusers has encoder and decoder, of images the layers. Reference: NVIDIA/Cosmos-Tokenizer at 3584ae7.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log2, prod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from cvbench.core.errors import UnsuitableInput
from cvbench.nets import fsq

Images = Float[Tensor, "b _ _ _"]
Pixels = Float[Tensor, "b 3 *sides"]
"""RGB in [-1, 1]: of images (b, 3, H, W), of clips (b, 3, T, H, W)."""
Codes = Shaped[Tensor, "b *cells"]
"""Continuous latents with channels, or indices without."""

LEVELS = (8, 8, 8, 5, 5, 5)
KEEP = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
PATCH = 4


@dataclass(frozen=True)
class Layout:
    """What the published tokenizers differ in; `temporal` 0 is an image tokenizer.

    `latent` channels stand before a discrete one's `quant_conv`. A decoder of `short` has one level less.
    """

    spatial: int = 8
    temporal: int = 0
    discrete: bool = False
    channels: int = 128
    latent: int = 16
    short: bool = False

    @property
    def codes(self) -> int | None:
        """Size of the codebook."""
        return prod(LEVELS) if self.discrete else None

    @property
    def embed(self) -> int:
        """Channels that are coded."""
        return len(LEVELS) if self.discrete else self.latent


class Cosmos(nn.Module):
    """A tokenizer of images, or of 1 + ck frames: pixels in [-1, 1] to latents or indices, and back."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.decoder = (video_halves if layout.temporal else image_halves)(layout)
        conv = nn.Conv3d if layout.temporal else nn.Conv2d
        self.quant_conv: nn.Module = conv(layout.latent, layout.embed, 1)
        self.post_quant_conv: nn.Module = conv(layout.embed, layout.latent, 1)

    def latents(self, x: Pixels) -> Float[Tensor, "b _ *cells"]:
        """Return what is coded, before any rounding. Raises UnsuitableInput for sizes that would not come back."""
        *_, height, width = x.shape
        factor, step = self.layout.spatial, self.layout.temporal
        if height % factor or width % factor or (step and (x.shape[2] - 1) % step):
            frames = f"1 + {step}k frames with " if step else ""
            raise UnsuitableInput(f"this Cosmos takes {frames}sides divisible by {factor}, got {tuple(x.shape[2:])}")
        z: Tensor = self.quant_conv(self.encoder(x if step else to_patches(to_patches(x))))
        return z

    def encode(self, x: Pixels) -> Codes:
        """Code pixels."""
        z = self.latents(x)
        return fsq.indices(z, LEVELS) if self.layout.discrete else z

    def decode(self, codes: Codes) -> Pixels:
        """Reconstruct; the output is not clamped."""
        weight = next(self.post_quant_conv.parameters())
        z = fsq.vectors(codes, LEVELS) if self.layout.discrete else codes
        x: Tensor = self.decoder(self.post_quant_conv(z.to(weight.dtype)))
        return x if self.layout.temporal else from_patches(from_patches(x))


def to_patches(x: Images) -> Images:
    """Halve height and width by a Haar transform, halved once more; bands stand one after another."""
    low, high = (x[..., 0::2] + x[..., 1::2]), (x[..., 0::2] - x[..., 1::2])
    bands = [
        band
        for half in (low, high)
        for band in (half[..., 0::2, :] + half[..., 1::2, :], half[..., 0::2, :] - half[..., 1::2, :])
    ]
    return torch.cat(bands, dim=1) / 4


def from_patches(x: Images) -> Images:
    """Undo `to_patches`."""
    ll, lh, hl, hh = x.chunk(4, dim=1)
    low, high = _woven(ll + lh, ll - lh, -2), _woven(hl + hh, hl - hh, -2)
    return _woven(low + high, low - high, -1)


def _woven(first: Images, second: Images, dim: int) -> Images:
    return torch.stack([first, second], dim).flatten(dim - 1, dim)


def image_halves(layout: Layout) -> tuple[nn.Module, nn.Module]:
    """Build diffusers' encoder and decoder with another first width, and fewer levels that halve the sides."""
    with torch.device("cpu"):  # modules of the package make constants where they are first imported
        from diffusers.models.autoencoders.vae import Decoder, Encoder
        from diffusers.models.resnet import ResnetBlock2D

    c, bands = layout.channels, 3 * PATCH**2
    widths, halvings = (2 * c, 4 * c, 4 * c), int(log2(layout.spatial // PATCH))
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 3, "double_z": False}
    encoder = Encoder(bands, layout.latent, block_out_channels=widths, layers_per_block=2, **kinds)
    encoder.conv_in = nn.Conv2d(bands, c, 3, padding=1)
    encoder.down_blocks[0].resnets[0] = ResnetBlock2D(
        in_channels=c, out_channels=widths[0], temb_channels=None, groups=32, eps=1e-6
    )
    ups = ("UpDecoderBlock2D",) * 3
    decoder = Decoder(layout.latent, bands, up_block_types=ups, block_out_channels=widths, layers_per_block=2)
    for place in range(halvings, 3):
        encoder.down_blocks[place].downsamplers = None
        decoder.up_blocks[place].upsamplers = None
    return encoder, decoder


def video_halves(layout: Layout) -> tuple[nn.Module, nn.Module]:
    """Build diffusers' encoder and decoder."""
    with torch.device("cpu"):  # the module makes constants where it is first imported
        from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosDecoder3d, CosmosEncoder3d

    c = layout.channels
    ups = (2 * c, 4 * c) if layout.short else (2 * c, 4 * c, 4 * c)
    ratios = {"spatial_compression_ratio": layout.spatial, "temporal_compression_ratio": layout.temporal}
    encoder = CosmosEncoder3d(
        3, layout.latent, block_out_channels=(c, 2 * c, 4 * c, 4 * c), num_resnet_blocks=2, **ratios
    )
    decoder = CosmosDecoder3d(layout.latent, 3, block_out_channels=(*ups, 4 * c), num_resnet_blocks=2, **ratios)
    for module in (encoder.patch_embed, decoder.unpatch_embed):
        module._non_persistent_buffers_set.clear()  # so that they move, and load, as all else does
    return encoder, decoder


def constants(wanted: Iterable[str]) -> dict[str, Tensor]:
    """Return what a video network's patches hold beside weights, of the names that are wanted."""
    from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosPatchEmbed3d

    made = dict(CosmosPatchEmbed3d(PATCH, "haar").named_buffers())
    return {name: made[name.rpartition(".")[2]] for name in wanted if "patch_embed." in name}
