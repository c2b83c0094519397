"""Open-Sora-Plan CausalVideoVAE, releases 1.0, 1.1 and 1.2 (Lin et al. 2024, arXiv 2412.00131).

One network whose layers are chosen by name in the checkpoint's config.json; the tensors' names and shapes are the
official ones. Reference: PKU-YuanGroup/Open-Sora-Plan v1.0.0 and v1.1.0 `opensora/models/ae/videobase/causal_vae`,
v1.2.0 `opensora/models/causalvideovae/model`.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import BadWeights, UnknownName, UnsuitableInput, UsageError

Clips = Float[Tensor, "b 3 T H W"]
"""RGB in [-1, 1]."""
Latents = Float[Tensor, "b z t h w"]
Features = Float[Tensor, "b _ _ _ _"]
Tokens = Float[Tensor, "n hw c"]
Rule = Callable[[Tensor], Tensor]
Triple = tuple[int, int, int]
Names = tuple[str, ...]

KEEP = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
"""The parts of an official checkpoint that code and decode; the rest is `loss.*`."""
SPATIAL, TEMPORAL = 8, 4  # compression of every release


@dataclass(frozen=True)
class Layout:
    """The fields of an official config.json that the releases differ in; one name a level, level 0 the finest.

    The defaults are release 1.0's `scripts/causalvae/release.json`. Time pooling there has no tensors, so only this
    says after which levels it stands.
    """

    hidden_size: int = 128
    hidden_size_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 4
    embed_dim: int = 4
    encoder_conv_in: str = "CausalConv3d"
    encoder_attention: str = "AttnBlock3D"
    encoder_resnet_blocks: Names = ("ResnetBlock3D",) * 4
    encoder_spatial_downsample: Names = ("SpatialDownsample2x",) * 3 + ("",)
    encoder_temporal_downsample: Names = ("TimeDownsample2x", "TimeDownsample2x", "", "")
    decoder_attention: str = "AttnBlock3D"
    decoder_resnet_blocks: Names = ("ResnetBlock3D",) * 4
    decoder_spatial_upsample: Names = ("", *("SpatialUpsample2x",) * 3)
    decoder_temporal_upsample: Names = ("", "", "TimeUpsample2x", "TimeUpsample2x")


FIXED = {
    "attn_resolutions": (),
    "double_z": True,
    "q_conv": "CausalConv3d",
    "encoder_conv_out": "CausalConv3d",
    "encoder_mid_resnet": "ResnetBlock3D",
    "decoder_conv_in": "CausalConv3d",
    "decoder_conv_out": "CausalConv3d",
    "decoder_mid_resnet": "ResnetBlock3D",
}
"""The fields that are the same in every release, and here."""

_V1_1 = Layout(
    encoder_conv_in="Conv2d",
    encoder_attention="AttnBlock3DFix",
    encoder_resnet_blocks=("ResnetBlock2D", "ResnetBlock2D", "ResnetBlock3D", "ResnetBlock3D"),
    encoder_spatial_downsample=("Downsample", "Downsample", "Downsample", ""),
    encoder_temporal_downsample=("", "TimeDownsampleRes2x", "TimeDownsampleRes2x", ""),
    decoder_attention="AttnBlock3DFix",
    decoder_temporal_upsample=("", "", "TimeUpsampleRes2x", "TimeUpsampleRes2x"),
)
LAYOUTS = {
    "v1.0": Layout(),
    "v1.0-class-default": Layout(encoder_temporal_downsample=("", "TimeDownsample2x", "TimeDownsample2x", "")),
    "v1.1": _V1_1,
    "v1.2": replace(
        _V1_1,
        encoder_spatial_downsample=("Downsample", *("Spatial2xTime2x3DDownsample",) * 2, ""),
        encoder_temporal_downsample=("",) * 4,
        decoder_spatial_upsample=("", "SpatialUpsample2x", *("Spatial2xTime2x3DUpsample",) * 2),
        decoder_temporal_upsample=("",) * 4,
    ),
}
"""The releases; "v1.0-class-default" is 1.0 built from the class's defaults instead of release.json."""


def layout_of(config: Mapping[str, object]) -> Layout:
    """Read an official config.json. Raises BadWeights for a field that is missing or asks for another network."""
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    for name, only in FIXED.items():
        if config.get(name, only) != only:
            raise BadWeights(f"config.json asks for {name} = {config[name]!r}; Open-Sora-Plan 1.0 to 1.2 have {only!r}")
    if missing := [f.name for f in fields(Layout) if f.name not in config]:
        raise BadWeights(f"config.json lacks {', '.join(missing)}: not one of CausalVAEModel")
    layout = Layout(**{f.name: config[f.name] for f in fields(Layout)})  # type: ignore[arg-type]
    if len({len(value) for value in vars(layout).values() if isinstance(value, tuple)}) != 1:
        raise BadWeights(f"config.json does not name one layer for each level: {layout}")
    return layout


def per_frame(image_layer: Callable[[Tensor], Tensor], x: Features) -> Features:
    """Apply a layer of images to every frame."""
    frames = image_layer(rearrange(x, "b c t h w -> (b t) c h w"))
    return rearrange(frames, "(b t) c h w -> b c t h w", b=len(x))


def repeat_first(x: Features, times: int = 2) -> Features:
    """Put `times` copies of the first frame in front, so that nothing depends on later frames."""
    return torch.cat([x[:, :, :1]] * times + [x], dim=2) if times else x


def mean_of_three(x: Features) -> Features:
    """Average three frames, every second frame."""
    return F.avg_pool3d(x.float(), (3, 1, 1), (2, 1, 1)).to(x.dtype)  # no bfloat16 kernel on CPUs


def stretch(x: Features, scale: Triple) -> Features:
    """Enlarge linearly; in time the first frame stays one frame and the others are interpolated among themselves."""
    first = F.interpolate(x[:, :, :1], scale_factor=(1, *scale[1:]), mode="trilinear")
    if x.shape[2] == 1:
        return first
    return torch.cat([first, F.interpolate(x[:, :, 1:], scale_factor=scale, mode="trilinear")], dim=2)


class PerFrameConv(nn.Conv2d):
    """2-D convolution of every frame."""

    def forward(self, x: Features) -> Features:
        """Convolve."""
        return per_frame(super().forward, x)


class PerFrameNorm(nn.GroupNorm):
    """Group norm with the statistics of one frame."""

    def forward(self, x: Features) -> Features:
        """Normalise."""
        return per_frame(super().forward, x)


class CausalConv3d(nn.Module):
    """3-D convolution that sees no later frame; zeros around the frames unless `pad` is false."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1), pad: bool = True) -> None:
        super().__init__()
        self.lead = kernel[0] - 1
        edges = (0, kernel[1] // 2, kernel[2] // 2) if pad else 0
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, edges)

    def forward(self, x: Features) -> Features:
        """Convolve."""
        y: Tensor = self.conv(repeat_first(x, self.lead))
        return y


def frame_conv(inputs: int, outputs: int, size: int) -> PerFrameConv:
    """2-D convolution that keeps the size."""
    return PerFrameConv(inputs, outputs, size, padding=size // 2)


def causal_conv(inputs: int, outputs: int, size: int) -> CausalConv3d:
    """3-D convolution that keeps the size."""
    return CausalConv3d(inputs, outputs, (size, size, size))


class ResnetBlock(nn.Module):
    """Two pre-activated convolutions and a shortcut, of frames (`flat`) or of clips."""

    def __init__(self, inputs: int, outputs: int, flat: bool) -> None:
        super().__init__()
        conv, norm = (frame_conv, PerFrameNorm) if flat else (causal_conv, nn.GroupNorm)
        self.norm1, self.conv1 = norm(32, inputs, eps=1e-6), conv(inputs, outputs, 3)
        self.norm2, self.conv2 = norm(32, outputs, eps=1e-6), conv(outputs, outputs, 3)
        self.nin_shortcut = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1)

    def forward(self, x: Features) -> Features:
        """Add the residual."""
        h = self.conv1(F.silu(self.norm1(x)))
        y: Tensor = self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))
        return y


class AttnBlock3D(nn.Module):
    """Release 1.0's self-attention, which cuts (c, t) into t "frames" of c channels without moving t before c.

    A slip of the reference that its weights were trained with; with one latent frame it is ordinary attention.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (causal_conv(channels, channels, 1) for _ in range(4))

    def tokens(self, x: Features) -> Tokens:
        """Pixels of each "frame" as a sequence."""
        b, c, t, h, w = x.shape
        return x.reshape(b * t, c, h * w).mT

    def features(self, tokens: Tokens, like: Features) -> Features:
        """Undo `tokens`."""
        return tokens.mT.reshape(like.shape)

    def forward(self, x: Features) -> Features:
        """Attend within frames."""
        h = self.norm(x)
        q, k, v = (self.tokens(head(h)) for head in (self.q, self.k, self.v))
        y: Tensor = x + self.proj_out(self.features(F.scaled_dot_product_attention(q, k, v), x))
        return y


class AttnBlock3DFix(AttnBlock3D):
    """Self-attention within each frame, from release 1.1 on."""

    def tokens(self, x: Features) -> Tokens:
        """Pixels of each frame as a sequence."""
        return rearrange(x, "b c t h w -> (b t) (h w) c")

    def features(self, tokens: Tokens, like: Features) -> Features:
        """Undo `tokens`."""
        return rearrange(tokens, "(b t) (h w) c -> b c t h w", b=len(like), h=like.shape[3])


class Resample(nn.Module):
    """A fixed rule, then a convolution."""

    def __init__(self, rule: Rule, conv: nn.Module) -> None:
        super().__init__()
        self.rule, self.conv = rule, conv

    def forward(self, x: Features) -> Features:
        """Change the size."""
        y: Tensor = self.conv(self.rule(x))
        return y


class Mixture(nn.Module):
    """After `before`, a learned mixture of a fixed rule and a convolution."""

    def __init__(self, before: Rule, rule: Rule, conv: nn.Module) -> None:
        super().__init__()
        self.before, self.rule, self.conv = before, rule, conv
        self.mix_factor = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Features) -> Features:
        """Change the size."""
        x = self.before(x)
        return torch.lerp(self.conv(x), self.rule(x), self.mix_factor.sigmoid())


def shrink(conv: nn.Module) -> Resample:
    """Strided convolution that sees one row and one column of zeros, at the bottom and at the right."""
    return Resample(partial(F.pad, pad=(0, 1, 0, 1)), conv)


double_space = partial(F.interpolate, scale_factor=(1, 2, 2), mode="nearest")
double_time = partial(stretch, scale=(2, 1, 1))
double_all = partial(stretch, scale=(2, 2, 2))
LAYERS: Mapping[str, Callable[..., nn.Module]] = {
    "": lambda c: nn.Identity(),
    "Conv2d": frame_conv,
    "CausalConv3d": causal_conv,
    "ResnetBlock2D": partial(ResnetBlock, flat=True),
    "ResnetBlock3D": partial(ResnetBlock, flat=False),
    "AttnBlock3D": AttnBlock3D,
    "AttnBlock3DFix": AttnBlock3DFix,
    "Downsample": lambda c: shrink(PerFrameConv(c, c, 3, stride=2)),
    "SpatialDownsample2x": lambda c: shrink(CausalConv3d(c, c, (1, 3, 3), (1, 2, 2), pad=False)),
    "Spatial2xTime2x3DDownsample": lambda c: shrink(CausalConv3d(c, c, (3, 3, 3), (2, 2, 2), pad=False)),
    "TimeDownsample2x": lambda c: Resample(lambda x: mean_of_three(repeat_first(x)), nn.Identity()),
    "TimeDownsampleRes2x": lambda c: Mixture(repeat_first, mean_of_three, nn.Conv3d(c, c, 3, (2, 1, 1), (0, 1, 1))),
    "SpatialUpsample2x": lambda c: Resample(double_space, CausalConv3d(c, c, (1, 3, 3))),
    "Spatial2xTime2x3DUpsample": lambda c: Resample(double_all, causal_conv(c, c, 3)),
    "TimeUpsample2x": lambda c: Resample(double_time, nn.Identity()),
    "TimeUpsampleRes2x": lambda c: Mixture(double_time, nn.Identity(), causal_conv(c, c, 3)),
}
"""The official names of layers, each with what builds it from channel numbers."""


def layer(name: str, *sizes: int) -> nn.Module:
    """Build the layer that config.json calls `name`."""
    if name not in LAYERS:
        raise UnknownName("Open-Sora-Plan layer", name, LAYERS)
    return LAYERS[name](*sizes)


def chain(**layers: nn.Module) -> nn.Sequential:
    """Run layers one after another, under these names in the checkpoint."""
    return nn.Sequential(OrderedDict(layers))


def blocks(name: str, inputs: int, outputs: int, count: int) -> nn.Sequential:
    """Build the residual blocks of a level; the first changes the width."""
    return nn.Sequential(*(layer(name, outputs if i else inputs, outputs) for i in range(count)))


def middle(channels: int, attention: str) -> nn.Sequential:
    """Build the coarsest level."""
    block_1, block_2 = (layer("ResnetBlock3D", channels, channels) for _ in range(2))
    return chain(block_1=block_1, attn_1=layer(attention, channels), block_2=block_2)


def output(channels: int, outputs: int) -> dict[str, nn.Module]:
    """Build what both halves end in."""
    norm = nn.GroupNorm(32, channels, eps=1e-6)
    return {"norm_out": norm, "act": nn.SiLU(), "conv_out": causal_conv(channels, outputs, 3)}


def encoder(layout: Layout) -> nn.Sequential:
    """Clips to moments, before `quant_conv`."""
    widths = [layout.hidden_size * m for m in (1, *layout.hidden_size_mult)]
    levels = [
        chain(
            block=blocks(layout.encoder_resnet_blocks[i], widths[i], widths[i + 1], layout.num_res_blocks),
            downsample=layer(layout.encoder_spatial_downsample[i], widths[i + 1]),
            time_downsample=layer(layout.encoder_temporal_downsample[i], widths[i + 1]),
        )
        for i in range(len(layout.hidden_size_mult))
    ]
    return chain(
        conv_in=layer(layout.encoder_conv_in, 3, widths[0], 3),
        down=nn.Sequential(*levels),
        mid=middle(widths[-1], layout.encoder_attention),
        **output(widths[-1], 2 * layout.z_channels),
    )


def decoder(layout: Layout) -> nn.Sequential:
    """Latents to clips, after `post_quant_conv`; levels are numbered from the finest and run from the coarsest."""
    widths = [layout.hidden_size * m for m in (*layout.hidden_size_mult, layout.hidden_size_mult[-1])]
    levels = {
        str(i): chain(
            block=blocks(layout.decoder_resnet_blocks[i], widths[i + 1], widths[i], layout.num_res_blocks + 1),
            upsample=layer(layout.decoder_spatial_upsample[i], widths[i]),
            time_upsample=layer(layout.decoder_temporal_upsample[i], widths[i]),
        )
        for i in reversed(range(len(layout.hidden_size_mult)))
    }
    return chain(
        conv_in=causal_conv(layout.z_channels, widths[-1], 3),
        mid=middle(widths[-1], layout.decoder_attention),
        up=chain(**levels),
        **output(widths[0], 3),
    )


@dataclass(frozen=True)
class Tiling:
    """Code in square tiles of `size` pixels that overlap and cross-fade, as the reference can for large frames.

    `frames` (1 + 4k) also cuts time, into pieces that share one frame: release 1.1 only. Saves memory, changes pixels.
    """

    size: int = 256
    overlap: float = 0.25
    frames: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1 or self.size % SPATIAL or (self.size * self.overlap) % SPATIAL:
            raise UsageError(f"tiles and their overlap are multiples of {SPATIAL} pixels, got {self}")
        if self.frames is not None and (self.frames <= 1 or (self.frames - 1) % TEMPORAL):
            raise UsageError(f"a tile has 1 + {TEMPORAL}k frames, got {self}")

    def encode(self, run: Rule, clips: Clips) -> Features:
        """Run an encoder tile by tile."""
        return tiled(run, clips, self.frames, self.size, self.size // SPATIAL, self.overlap)

    def decode(self, run: Rule, latents: Latents) -> Clips:
        """Run a decoder tile by tile."""
        frames = self.frames and 1 + (self.frames - 1) // TEMPORAL
        return tiled(run, latents, frames, self.size // SPATIAL, self.size, self.overlap)


def tiled(run: Rule, x: Features, frames: int | None, side: int, result: int, overlap: float) -> Features:
    """Run on pieces of `frames` frames and tiles of `side`, whose results have side `result`; or whole, if it fits."""
    if max(x.shape[-2:]) <= side and (frames is None or x.shape[2] <= frames):
        return run(x)
    in_space = partial(_tiled_space, run, side=side, result=result, overlap=overlap)
    if frames is None:
        return in_space(x)
    starts = range(0, max(x.shape[2] - 1, 1), frames - 1)
    first, *later = (in_space(x[:, :, i : i + frames]) for i in starts)
    return torch.cat([first, *(part[:, :, 1:] for part in later)], dim=2)  # the shared frame is kept once


def _tiled_space(run: Rule, x: Features, side: int, result: int, overlap: float) -> Features:
    step, fade = round(side * (1 - overlap)), round(result * overlap)
    keep = result - fade
    above: list[Tensor] = []
    strips = []
    for i in range(0, x.shape[-2], step):
        row: list[Tensor] = []
        for column, j in enumerate(range(0, x.shape[-1], step)):
            tile = run(x[..., i : i + side, j : j + side])
            tile = cross_fade(above[column], tile, fade, -2) if above else tile
            row.append(cross_fade(row[-1], tile, fade, -1) if row else tile)
        strips.append(torch.cat([tile[..., :keep, :keep] for tile in row], dim=-1))
        above = row
    return torch.cat(strips, dim=-2)


def cross_fade(before: Features, after: Features, width: int, dim: int) -> Features:
    """Blend the last `width` of `before` into the first of `after`, along `dim` -1 or -2."""
    width = min(width, before.shape[dim], after.shape[dim])
    ramp = torch.arange(width, dtype=after.dtype, device=after.device) / width
    old = before.narrow(dim, before.shape[dim] - width, width)
    new, rest = torch.split(after, [width, after.shape[dim] - width], dim)
    return torch.cat([torch.lerp(old, new, ramp if dim == -1 else ramp[:, None]), rest], dim)


class OpenSoraPlanVAE(nn.Module):
    """Causal video VAE: (b, 3, 1 + 4k, H, W) in [-1, 1] to a Gaussian over (b, 4, 1 + k, H/8, W/8) and back."""

    def __init__(self, layout: Layout = LAYOUTS["v1.0"]) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(layout), decoder(layout)
        self.quant_conv = causal_conv(2 * layout.z_channels, 2 * layout.embed_dim, 1)
        self.post_quant_conv = causal_conv(layout.embed_dim, layout.z_channels, 1)

    def encode(self, x: Clips, tiling: Tiling | None = None) -> tuple[Latents, Latents]:
        """Return mean and log-variance (within [-30, 20]) of the posterior.

        Raises UnsuitableInput for sizes that the network would crop.
        """
        frames, height, width = x.shape[2:]
        if (frames - 1) % TEMPORAL or height % SPATIAL or width % SPATIAL:
            raise UnsuitableInput(
                f"Open-Sora-Plan takes 1 + {TEMPORAL}k frames with sides divisible by {SPATIAL}, "
                f"got {frames} of {height}x{width}; trim or pad"
            )
        moments = tiling.encode(self._encode, x) if tiling else self._encode(x)
        mean, logvar = moments.chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def decode(self, z: Latents, tiling: Tiling | None = None) -> Clips:
        """Reconstruct; the output is not clamped."""
        return tiling.decode(self._decode, z) if tiling else self._decode(z)

    def _encode(self, x: Clips) -> Features:
        moments: Tensor = self.quant_conv(self.encoder(x))
        return moments

    def _decode(self, z: Latents) -> Clips:
        x: Tensor = self.decoder(self.post_quant_conv(z))
        return x
