"""TAEHV, the tiny autoencoders in the latent spaces of video diffusion models (Boer Bohan 2025, no paper).

Frames are coded one by one but for blocks that also see the frame before, so a clip can be coded in pieces. Names and
shapes are those of the published files. Reference: madebyollin/taehv `taehv.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput

Clips = Float[Tensor, "b 3 T H W"]
"""RGB in [0, 1]."""
Latents = Float[Tensor, "b z t h w"]
"""As the diffusion model takes them: no mean and scale are to be applied."""
Features = Float[Tensor, "b _ _ _ _"]
"""Time before channels."""
Frames = Float[Tensor, "_ _ _ _"]
Memory = dict[int, Tensor]
"""The last frame that each block with memory has seen, by the block's place."""
Strides = tuple[int, int, int]
"""Frames that become one, or that one becomes, at each level."""

PIECE = 16
"""Frames coded at a time: the full-size features of many more would not fit a small GPU."""


@dataclass(frozen=True)
class Layout:
    """What the published files differ in.

    `patch` pixels to a side of a patch, `channels` of latents, `widths` of the decoder's levels and of its last layer
    (the encoder has 64 throughout), `block` of which the decoder is built, `slope` of its activations below zero.
    `chunk` frames are coded by themselves behind black ones, `pairs` of latents keep all frames that they decode to.
    `signed` pixels lie in [-1, 1].
    """

    patch: int = 1
    channels: int = 16
    pools: Strides = (2, 2, 1)
    grows: Strides = (1, 2, 2)
    widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    block: Literal["plain", "wide", "super"] = "plain"
    slope: float = 0.0
    chunk: int = 0
    pairs: bool = False
    signed: bool = False

    @property
    def temporal(self) -> int:
        """Frames of pixels to a latent frame."""
        return math.prod(self.pools)

    @property
    def spatial(self) -> int:
        """Pixels to a side of a latent."""
        return 8 * self.patch

    @property
    def dropped(self) -> int:
        """Latents left out at the end of a clip in chunks."""
        return self.temporal - 1 if self.chunk else 0

    @property
    def shortest(self) -> int:
        """Frames of the shortest clip that comes back whole."""
        return self.chunk - self.dropped * self.temporal if self.chunk else 1


SUPER: tuple[int, int, int, int] = (512, 256, 128, 64)
LAYOUTS = {
    "taehv": Layout(),
    "taecvx": Layout(pairs=True),
    "taem1": Layout(channels=12, pools=(3, 2, 1), grows=(1, 2, 3)),
    "taehv1_5": Layout(patch=2, channels=32),
    "taew2_2": Layout(patch=2, channels=48),
    "taeh3": Layout(patch=2, channels=24, chunk=17),
    "taeltx_2": Layout(4, 128, pools=(2, 2, 2), grows=(2, 2, 2)),
    "taehv1_5_super": Layout(2, 32, widths=SUPER, block="super"),
    "taew2_2_super": Layout(2, 48, widths=SUPER, block="super"),
    "taeltx2_3_wide": Layout(4, 128, (2, 2, 2), (2, 2, 2), widths=(1024, 512, 256, 64), block="wide"),
    "lighttaehy1_5": Layout(patch=2, channels=32, slope=0.2, signed=True),
}
"""By the first file of that layout; taew2_1, taeos1_3 and LightTAE's of Wan 2.1 are as taehv, taeltx2_3 as taeltx_2."""


def conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """3x3 convolution, zeros around."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


class Clamp(nn.Module):
    """Keep latents softly within 3."""

    def forward(self, x: Frames) -> Frames:
        """Squash."""
        return 3 * torch.tanh(x / 3)


def activation(slope: float) -> nn.Module:
    """Rectify, with a slope below zero where there is one."""
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


class MemBlock(nn.Module):
    """Residual block over a frame and the one before it."""

    def __init__(self, channels: int, slope: float = 0.0) -> None:
        super().__init__()
        first, second, third = conv(2 * channels, channels), conv(channels, channels), conv(channels, channels)
        self.conv = nn.Sequential(first, activation(slope), second, activation(slope), third)
        self.last = activation(slope)

    def forward(self, x: Frames, before: Frames) -> Frames:
        """Add the residual."""
        y: Tensor = self.last(x + self.conv(torch.cat([x, before], dim=1)))
        return y


class WideMemBlock(MemBlock):
    """The same of convolutions in groups of 64 channels, between others of single pixels."""

    def __init__(self, channels: int, slope: float = 0.0) -> None:
        nn.Module.__init__(self)
        mix, between = nn.Conv2d(2 * channels, channels, 1), nn.Conv2d(channels, channels, 1)
        groups = [nn.Conv2d(channels, channels, 3, padding=1, groups=channels // 64) for _ in range(2)]
        self.conv = nn.Sequential(mix, nn.ReLU(), groups[0], nn.ReLU(), between, nn.ReLU(), groups[1])
        self.last = nn.ReLU()


class SuperMemBlock(MemBlock):
    """The same of a wide kernel for each channel and a mix of single pixels, without activation at its end."""

    def __init__(self, channels: int, slope: float = 0.0) -> None:
        nn.Module.__init__(self)
        both = 2 * channels
        seen = nn.Conv2d(both, both, 7, padding=3, groups=both, bias=False)
        mix, back = nn.Conv2d(both, 2 * both, 1), nn.Conv2d(2 * both, channels, 1, bias=False)
        self.conv = nn.Sequential(seen, mix, nn.ReLU(), back)
        self.last = nn.Identity()


class TPool(nn.Module):
    """Make one frame of `stride`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels * stride, channels, 1, bias=False)

    def forward(self, x: Frames) -> Frames:
        """Mix."""
        y: Tensor = self.conv(rearrange(x, "(n s) c h w -> n (s c) h w", s=self.stride))
        return y


class TGrow(nn.Module):
    """Make `stride` frames of one."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels, channels * stride, 1, bias=False)

    def forward(self, x: Frames) -> Frames:
        """Unmix."""
        y: Tensor = rearrange(self.conv(x), "n (s c) h w -> (n s) c h w", s=self.stride)
        return y


class Chain(nn.Sequential):
    """Layers of frames, of which MemBlocks also see the frame before: zeros before the first."""

    def run(self, x: Features, memory: Memory) -> Features:
        """Run on the next piece of a clip; `memory`, empty for the first piece, is brought up to date."""
        for place, layer in enumerate(self):
            frames = x.flatten(0, 1)
            if isinstance(layer, MemBlock):
                first = memory.get(place, torch.zeros_like(x[:, :1]))
                memory[place] = x[:, -1:]
                frames = layer(frames, torch.cat([first, x[:, :-1]], dim=1).flatten(0, 1))
            else:
                frames = layer(frames)
            x = rearrange(frames, "(b t) c h w -> b t c h w", b=len(x))
        return x


def encoder(layout: Layout) -> Chain:
    """Patches of pixels to latents."""
    layers: list[nn.Module] = [conv(3 * layout.patch**2, 64), activation(layout.slope)]
    for stride in layout.pools:
        blocks = [MemBlock(64, layout.slope) for _ in range(3)]
        layers += [TPool(64, stride), conv(64, 64, stride=2, bias=False), *blocks]
    return Chain(*layers, conv(64, layout.channels))


def decoder(layout: Layout) -> Chain:
    """Latents to patches of pixels."""
    if layout.block == "super":
        return super_decoder(layout)
    block = WideMemBlock if layout.block == "wide" else partial(MemBlock, slope=layout.slope)
    layers: list[nn.Module] = [Clamp(), conv(layout.channels, layout.widths[0]), activation(layout.slope)]
    for stride, width, narrower in zip(layout.grows, layout.widths[:-1], layout.widths[1:], strict=True):
        layers += [block(width) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), TGrow(width, stride), conv(width, narrower, bias=False)]
    return Chain(*layers, activation(layout.slope), conv(layout.widths[-1], 3 * layout.patch**2))


def super_decoder(layout: Layout) -> Chain:
    """The same of large kernels, whose levels rearrange channels to pixels; latents are taken as they are."""
    layers: list[nn.Module] = [nn.Conv2d(layout.channels, layout.widths[0], 1, bias=False)]
    for stride, width, narrower in zip(layout.grows, layout.widths[:-1], layout.widths[1:], strict=True):
        layers += [SuperMemBlock(width) for _ in range(3)]
        layers += [conv(width, 4 * narrower), nn.ReLU(), nn.PixelShuffle(2), TGrow(narrower, stride)]
    return Chain(*layers, conv(layout.widths[-1], 3 * layout.patch**2))


def newest_frames(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return a file's tensors for a decoder that doubles time at fewer levels than the file's does.

    Of a layer that makes two frames the second is kept, as the reference does when it loads.
    """
    held = dict(state)
    if layout.block == "super":
        return held
    for level, (stride, width) in enumerate(zip(layout.grows, layout.widths[:-1], strict=True)):
        name = f"decoder.{7 + 6 * level}.conv.weight"
        if name in held and held[name].ndim:
            held[name] = held[name][-width * stride :]
    return held


class TAEHV(nn.Module):
    """Tiny video autoencoder: (b, 3, T, H, W) in [0, 1] to (b, z, ceil(T/4), H/8, W/8) and back, for layout taehv.

    Frames are padded at the end to a multiple of `temporal`, and the decoder's first `temporal` - 1 frames are
    dropped, as the networks do whose latents it shares: so 1 + 4k frames come back as many, others as fewer. Of
    layout taecvx none is dropped when the latent frames are even. Layout taeh3 takes 5 + 17k frames: each chunk of 17
    is coded by itself behind 3 black frames, whose places the decoder leaves out again.
    """

    def __init__(self, layout: Layout = LAYOUTS["taehv"]) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.decoder = encoder(layout), decoder(layout)

    def encode(self, x: Clips) -> Latents:
        """Code clips. Raises UnsuitableInput for sizes that would not come back."""
        frames, height, width = x.shape[2:]
        if height % self.layout.spatial or width % self.layout.spatial:
            raise UnsuitableInput(
                f"this TAEHV takes sides divisible by {self.layout.spatial}, got {height}x{width}; pad or crop"
            )
        step = self.layout.chunk or self.layout.temporal
        x = torch.cat([x, x[:, :, -1:].expand(-1, -1, -frames % step, -1, -1)], dim=2)
        patches = F.pixel_unshuffle(rearrange(x, "b c t h w -> b t c h w"), self.layout.patch)
        encode = self._chunks if self.layout.chunk else self._pieces
        return encode(self.encoder, patches, PIECE // self.layout.temporal * self.layout.temporal).movedim(1, 2)

    def decode(self, z: Latents) -> Clips:
        """Reconstruct `temporal` * (t - 1) + 1 frames; the output is not clamped, as the reference's is."""
        patches = self._pieces(self.decoder, z.movedim(2, 1), PIECE // self.layout.temporal)
        pixels = F.pixel_shuffle(patches, self.layout.patch)
        return self._kept(pixels, z.shape[2]).movedim(1, 2)

    def _kept(self, pixels: Features, latents: int) -> Features:
        """Leave out the frames that code none: the first, or of chunks those of the black ones and the padding."""
        first = self.layout.temporal - 1
        if not self.layout.chunk:
            return pixels if self.layout.pairs and latents % 2 == 0 else pixels[:, first:]
        length = self.layout.chunk + first
        chunks = -(-pixels.shape[1] // length)
        kept = [pixels[:, i * length + first : (i + 1) * length] for i in range(chunks)]
        rest = self.layout.dropped * self.layout.temporal
        return torch.cat(kept, dim=1)[:, : chunks * self.layout.chunk - rest]

    def _chunks(self, chain: Chain, x: Features, length: int) -> Features:
        black = torch.zeros_like(x[:, : self.layout.temporal - 1])
        chunks = [torch.cat([black, chunk], dim=1) for chunk in torch.split(x, self.layout.chunk, dim=1)]
        return torch.cat([self._pieces(chain, chunk, length) for chunk in chunks], dim=1)[:, : -self.layout.dropped]

    def _pieces(self, chain: Chain, x: Features, length: int) -> Features:
        memory: Memory = {}
        return torch.cat([chain.run(piece, memory) for piece in torch.split(x, length, dim=1)], dim=1)
