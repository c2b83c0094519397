"""WF-VAE, a causal video VAE with wavelets beside its convolutions (Li et al. 2024, arXiv 2411.17459).

Low frequencies flow past the convolutional backbone: the encoder is given their Haar coefficients at every level, the
decoder predicts them. Names and shapes are the official ones. Reference: PKU-YuanGroup/WF-VAE
`causalvideovae/model/vae/modeling_wfvae.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from itertools import product

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import BadWeights, UnsuitableInput
from cvbench.nets import osp

Clips = Float[Tensor, "b 3 T H W"]
"""RGB in [-1, 1]."""
Latents = Float[Tensor, "b z t h w"]
Features = Float[Tensor, "b _ _ _ _"]
Planes = Float[Tensor, "b _ ..."]
Kernels = Float[Tensor, "k 1 *taps"]

KEEP = ("encoder.", "decoder.")
"""The parts of a checkpoint that code and decode; a trainer's also holds its losses."""
SPATIAL, TEMPORAL = 8, 4
BANDS = {
    **{"h": (0, 0, 0), "g": (0, 0, 1), "hh": (0, 1, 0), "gh": (0, 1, 1)},
    **{"h_v": (1, 0, 0), "g_v": (1, 0, 1), "hh_v": (1, 1, 0), "gh_v": (1, 1, 1)},
}
"""Official names of the kernels in time, height and width: 1 where the kernel is high-pass."""
FLAT_BANDS = {"aa": (0, 0), "ad": (1, 0), "da": (0, 1), "dd": (1, 1)}
"""The same in height and width."""
ROOT = 0.3536
"""The reference's 1/sqrt(8): a clip goes through the wavelets and back 1.0003 times as bright."""


@dataclass(frozen=True)
class Layout:
    """The fields of an official config.json that networks differ in; the defaults are WF-VAE-L with 16 channels."""

    latent_dim: int = 16
    base_channels: int = 192
    encoder_num_resblocks: int = 2
    encoder_energy_flow_hidden_size: int = 128
    decoder_num_resblocks: int = 2
    decoder_energy_flow_hidden_size: int = 128
    connect_res_layer_num: int = 1
    norm_type: str = "layernorm"
    t_interpolation: str = "trilinear"


FIXED = {
    "attention_type": "AttnBlock3DFix",
    "use_attention": True,
    "l1_dowmsample_block": "Downsample",  # the official spelling
    "l1_downsample_wavelet": "HaarWaveletTransform2D",
    "l2_dowmsample_block": "Spatial2xTime2x3DDownsample",
    "l2_downsample_wavelet": "HaarWaveletTransform3D",
    "l1_upsample_block": "Upsample",
    "l1_upsample_wavelet": "InverseHaarWaveletTransform2D",
    "l2_upsample_block": "Spatial2xTime2x3DUpsample",
    "l2_upsample_wavelet": "InverseHaarWaveletTransform3D",
}
"""The fields that other networks of the code base have other values of, and this file only these."""
CHOICES = {"norm_type": ("layernorm", "groupnorm"), "t_interpolation": ("trilinear", "nearest")}


def layout_of(config: Mapping[str, object]) -> Layout:
    """Read an official config.json. Raises BadWeights for a field that is missing or asks for another network."""
    for name, only in FIXED.items():
        if config.get(name, only) != only:
            raise BadWeights(f"config.json asks for {name} = {config[name]!r}; this WF-VAE has {only!r}")
    if missing := [f.name for f in fields(Layout) if f.name not in config]:
        raise BadWeights(f"config.json lacks {', '.join(missing)}: not one of WFVAEModel")
    for name, known in CHOICES.items():
        if config[name] not in known:
            raise BadWeights(f"config.json asks for {name} = {config[name]!r}; WF-VAE has {' and '.join(known)}")
    if wrong := [f.name for f in fields(Layout) if f.type is int and type(config[f.name]) is not int]:
        raise BadWeights(f"config.json gives no whole number for {', '.join(wrong)}")
    return Layout(**{f.name: config[f.name] for f in fields(Layout)})  # type: ignore[arg-type]


def kernel(high: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Return a Haar kernel: (1, 1) along low-pass axes, (1, -1) along high-pass ones, times `scale`."""
    flips = (sum(bit * tap for bit, tap in zip(high, taps, strict=True)) for taps in product((0, 1), repeat=len(high)))
    return torch.tensor([scale * (-1) ** flip for flip in flips]).reshape(1, 1, *[2] * len(high))


def analyse(x: Planes, kernels: Kernels) -> Planes:
    """Convolve every channel with every kernel at half the resolution; channels vary faster than kernels."""
    convolve = F.conv3d if kernels.ndim == 5 else F.conv2d
    bands = convolve(x.flatten(0, 1)[:, None], kernels, stride=2)
    return rearrange(bands, "(b c) k ... -> b (k c) ...", b=len(x))


def synthesise(bands: Planes, kernels: Kernels) -> Planes:
    """Undo `analyse`, up to the kernels' scale."""
    convolve = F.conv_transpose3d if kernels.ndim == 5 else F.conv_transpose2d
    x = convolve(rearrange(bands, "b (k c) ... -> (b c) k ...", k=len(kernels)), kernels, stride=2)
    return rearrange(x, "(b c) 1 ... -> b c ...", b=len(bands))


class Haar3D(nn.Module):
    """Causal wavelet transform: 1 + 2k frames to 1 + k, the first taken twice. The kernels are parameters."""

    def __init__(self) -> None:
        super().__init__()
        for name, high in BANDS.items():
            conv = nn.Conv3d(1, 1, 2, bias=False)
            conv.weight.data.copy_(kernel(high, ROOT))
            self.add_module(f"{name}_conv", osp.chain(conv=conv))

    def forward(self, x: Features) -> Features:
        """Return eight bands of every channel."""
        return analyse(osp.repeat_first(x, 1), torch.cat(list(self.parameters())))


class InverseHaar3D(nn.Module):
    """Undo Haar3D: 1 + k frames to 1 + 2k."""

    def __init__(self) -> None:
        super().__init__()
        for name, high in BANDS.items():
            self.register_buffer(name, kernel(high, ROOT))

    def forward(self, bands: Features) -> Features:
        """Join eight bands of every channel."""
        return synthesise(bands, torch.cat(list(self.buffers())))[:, :, 1:]


class Haar2D(nn.Module):
    """Wavelet transform of every frame, or with `back` its inverse."""

    def __init__(self, back: bool = False) -> None:
        super().__init__()
        self.rule = synthesise if back else analyse
        for name, high in FLAT_BANDS.items():
            self.register_buffer(name, kernel(high, 0.5))

    def forward(self, x: Features) -> Features:
        """Split or join four bands of every channel."""
        return osp.per_frame(partial(self.rule, kernels=torch.cat(list(self.buffers()))), x)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Features) -> Features:
        """Normalise."""
        y: Tensor = self.norm(x.movedim(1, -1))
        return y.movedim(-1, 1)


def norm(channels: int, kind: str) -> nn.Module:
    """Build a norm of clips by its official name."""
    return ChannelNorm(channels) if kind == "layernorm" else nn.GroupNorm(32, channels, eps=1e-6)


def block(inputs: int, outputs: int, kind: str, flat: bool = False) -> osp.ResnetBlock:
    """Build a residual block, of frames when `flat`."""
    made = osp.ResnetBlock(inputs, outputs, flat)
    if kind == "layernorm":
        made.add_module("norm1", ChannelNorm(inputs))
        made.add_module("norm2", ChannelNorm(outputs))
    return made


def middle(inputs: int, channels: int, outputs: int, kind: str) -> nn.Sequential:
    """Build the coarsest level."""
    attention = osp.AttnBlock3DFix(channels)
    attention.add_module("norm", norm(channels, kind))
    return nn.Sequential(block(inputs, channels, kind), attention, block(channels, outputs, kind))


def enlarge(x: Features, time: str) -> Features:
    """Double time but for the first frame, by the interpolation `time`, and space linearly."""
    first, rest = x[:, :, :1], x[:, :, 1:]
    if rest.shape[2]:
        rest = F.interpolate(rest, scale_factor=(2, 1, 1), mode=time)
    return F.interpolate(torch.cat([first, rest], dim=2), scale_factor=(1, 2, 2), mode="trilinear")


class Encoder(nn.Module):
    """Clips to moments: the backbone is joined by the coefficients of two more levels of wavelets."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        c, flow, n = layout.base_channels, layout.encoder_energy_flow_hidden_size, layout.encoder_num_resblocks
        kind = layout.norm_type
        fine, coarse = ([block(w, w, kind, flat=w == c) for _ in range(n)] for w in (c, 2 * c))
        self.down1 = nn.Sequential(osp.frame_conv(24, c, 3), *fine, osp.layer("Downsample", c))
        shrink = osp.layer("Spatial2xTime2x3DDownsample", 2 * c)
        self.down2 = nn.Sequential(osp.frame_conv(c + flow, 2 * c, 3), *coarse, shrink)
        self.connect_l1, self.connect_l2 = osp.frame_conv(12, flow, 3), osp.frame_conv(24, flow, 3)
        self.mid = middle(2 * c + flow, 4 * c, 4 * c, kind)
        self.norm_out, self.conv_out = norm(4 * c, kind), osp.causal_conv(4 * c, 2 * layout.latent_dim, 3)
        self.wavelet_transform_in, self.wavelet_transform_l1 = Haar3D(), Haar2D()
        self.wavelet_transform_l2 = Haar3D()

    def forward(self, x: Clips) -> Features:
        """Return mean and log-variance, one after the other."""
        bands = self.wavelet_transform_in(x)
        bands1 = self.wavelet_transform_l1(bands[:, :3])
        bands2 = self.wavelet_transform_l2(bands1[:, :3])
        h = torch.cat([self.down1(bands), self.connect_l1(bands1)], dim=1)
        h = self.mid(torch.cat([self.down2(h), self.connect_l2(bands2)], dim=1))
        y: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return y


class Decoder(nn.Module):
    """Latents to clips: the last channels of two levels become wavelet coefficients of what they leave to add."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        c, self.flow, n = layout.base_channels, layout.decoder_energy_flow_hidden_size, layout.decoder_num_resblocks
        kind, made = layout.norm_type, partial(block, kind=layout.norm_type)
        self.conv_in = osp.causal_conv(layout.latent_dim, 4 * c, 3)
        self.mid = middle(4 * c, 4 * c, 4 * c + self.flow, kind)
        larger = osp.Resample(partial(enlarge, time=layout.t_interpolation), osp.causal_conv(4 * c, 4 * c, 3))
        coarse = [made(4 * c, 4 * c) for _ in range(n)]
        self.up2 = nn.Sequential(*coarse, larger, made(4 * c, 4 * c + self.flow))
        wider = osp.Resample(osp.double_space, osp.frame_conv(2 * c, 2 * c, 3))
        fine = [made(2 * c if i else 4 * c, 2 * c) for i in range(n)]
        self.up1 = nn.Sequential(*fine, wider, made(2 * c, 2 * c))
        self.layer = nn.Sequential(made(2 * c, c), made(c, c))
        self.connect_l1, self.connect_l2 = (self._connection(layout, bands) for bands in (12, 24))
        self.norm_out, self.conv_out = norm(c, kind), osp.frame_conv(c, 24, 3)
        self.inverse_wavelet_transform_out, self.inverse_wavelet_transform_l2 = InverseHaar3D(), InverseHaar3D()
        self.inverse_wavelet_transform_l1 = Haar2D(back=True)

    def _connection(self, layout: Layout, bands: int) -> nn.Sequential:
        blocks = [block(self.flow, self.flow, layout.norm_type) for _ in range(layout.connect_res_layer_num)]
        return nn.Sequential(*blocks, osp.frame_conv(self.flow, bands, 3))

    def forward(self, z: Latents) -> Clips:
        """Return pixels, not clamped."""
        h = self.mid(self.conv_in(z))
        low = self.inverse_wavelet_transform_l2(self.connect_l2(h[:, -self.flow :]))
        h = self.up2(h[:, : -self.flow])
        low = self.inverse_wavelet_transform_l1(add_low(self.connect_l1(h[:, -self.flow :]), low))
        h = self.layer(self.up1(h[:, : -self.flow]))
        bands = self.conv_out(F.silu(self.norm_out(h)))
        x: Tensor = self.inverse_wavelet_transform_out(add_low(bands, low))
        return x


def add_low(bands: Features, low: Features) -> Features:
    """Add to the low-pass band of three channels."""
    return torch.cat([bands[:, :3] + low, bands[:, 3:]], dim=1)


class WFVAE(nn.Module):
    """Causal video VAE: (b, 3, 1 + 4k, H, W) in [-1, 1] to a Gaussian over (b, z, 1 + k, H/8, W/8) and back."""

    def __init__(self, layout: Layout | None = None) -> None:
        super().__init__()
        self.layout = layout or Layout()
        self.encoder, self.decoder = Encoder(self.layout), Decoder(self.layout)

    def encode(self, x: Clips) -> tuple[Latents, Latents]:
        """Return mean and log-variance (within [-30, 20]) of the posterior.

        Raises UnsuitableInput for sizes that the network would crop.
        """
        frames, height, width = x.shape[2:]
        if (frames - 1) % TEMPORAL or height % SPATIAL or width % SPATIAL:
            raise UnsuitableInput(
                f"WF-VAE takes 1 + {TEMPORAL}k frames with sides divisible by {SPATIAL}, "
                f"got {frames} of {height}x{width}; trim or pad"
            )
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def decode(self, z: Latents) -> Clips:
        """Reconstruct; the output is not clamped."""
        x: Tensor = self.decoder(z)
        return x
