"""TAEHV, the tiny autoencoders in the latent spaces of video diffusion models (Boer Bohan 2025, no paper).

Frames are coded one by one but for blocks that also see the frame before, so a clip can be coded in pieces. Names and
shapes are those of the published files. Reference: madebyollin/taehv `taehv.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
Halvings = tuple[bool, bool, bool]

WIDTHS = (256, 128, 64, 64)
"""Of the decoder, from its first level; the encoder has 64 throughout."""
PIECE = 16
"""Frames coded at a time: the full-size features of many more would not fit a small GPU."""


@dataclass(frozen=True)
class Layout:
    """What the published files differ in: pixels to a side of a patch, latent channels, levels that halve time."""

    patch: int = 1
    channels: int = 16
    pools: Halvings = (True, True, False)
    grows: Halvings = (False, True, True)

    @property
    def temporal(self) -> int:
        """Frames of pixels to a latent frame."""
        return 1 << sum(self.pools)

    @property
    def spatial(self) -> int:
        """Pixels to a side of a latent."""
        return 8 * self.patch


LAYOUTS = {
    "taehv": Layout(),
    "taehv1_5": Layout(patch=2, channels=32),
    "taew2_2": Layout(patch=2, channels=48),
    "taeltx_2": Layout(4, 128, pools=(True, True, True), grows=(True, True, True)),
}
"""By the first file of that layout; taew2_1, taecvx and taeos1_3 are as taehv, taeltx2_3 as taeltx_2."""


def conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """3x3 convolution, zeros around."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


class Clamp(nn.Module):
    """Keep latents softly within 3."""

    def forward(self, x: Frames) -> Frames:
        """Squash."""
        return 3 * torch.tanh(x / 3)


class MemBlock(nn.Module):
    """Residual block over a frame and the one before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second, third = conv(2 * channels, channels), conv(channels, channels), conv(channels, channels)
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Frames, before: Frames) -> Frames:
        """Add the residual."""
        return F.relu(x + self.conv(torch.cat([x, before], dim=1)))


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
    layers: list[nn.Module] = [conv(3 * layout.patch**2, 64), nn.ReLU()]
    for pool in layout.pools:
        layers += [TPool(64, 1 + pool), conv(64, 64, stride=2, bias=False), *(MemBlock(64) for _ in range(3))]
    return Chain(*layers, conv(64, layout.channels))


def decoder(layout: Layout) -> Chain:
    """Latents to patches of pixels."""
    layers: list[nn.Module] = [Clamp(), conv(layout.channels, WIDTHS[0]), nn.ReLU()]
    for grow, width, narrower in zip(layout.grows, WIDTHS[:-1], WIDTHS[1:], strict=True):
        layers += [MemBlock(width) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), TGrow(width, 1 + grow), conv(width, narrower, bias=False)]
    return Chain(*layers, nn.ReLU(), conv(WIDTHS[-1], 3 * layout.patch**2))


def newest_frames(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return a file's tensors for a decoder that doubles time at fewer levels than the file's does.

    Of a layer that makes two frames the second is kept, as the reference does when it loads.
    """
    held = dict(state)
    for level, (grow, width) in enumerate(zip(layout.grows, WIDTHS[:-1], strict=True)):
        name = f"decoder.{7 + 6 * level}.conv.weight"
        if name in held and held[name].ndim:
            held[name] = held[name][-width * (1 + grow) :]
    return held


class TAEHV(nn.Module):
    """Tiny video autoencoder: (b, 3, T, H, W) in [0, 1] to (b, z, ceil(T/4), H/8, W/8) and back, for layout taehv.

    Frames are padded at the end to a multiple of `temporal`, and the decoder's first `temporal` - 1 frames are
    dropped, as the networks do whose latents it shares: so 1 + 4k frames come back as many, others as fewer. (Of
    CogVideoX's the reference drops none when the latent frames are even; 1 + 8k frames have odd ones.)
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
        missing = -frames % self.layout.temporal
        x = torch.cat([x, x[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
        patches = F.pixel_unshuffle(rearrange(x, "b c t h w -> b t c h w"), self.layout.patch)
        return self._pieces(self.encoder, patches, PIECE).movedim(1, 2)

    def decode(self, z: Latents) -> Clips:
        """Reconstruct `temporal` * (t - 1) + 1 frames; the output is not clamped, as the reference's is."""
        patches = self._pieces(self.decoder, z.movedim(2, 1), PIECE // self.layout.temporal)
        pixels = F.pixel_shuffle(patches, self.layout.patch)
        return pixels[:, self.layout.temporal - 1 :].movedim(1, 2)

    def _pieces(self, chain: Chain, x: Features, length: int) -> Features:
        memory: Memory = {}
        return torch.cat([chain.run(piece, memory) for piece in torch.split(x, length, dim=1)], dim=1)
