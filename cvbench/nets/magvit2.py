"""Open-MAGVIT2 (Luo et al. 2024, arXiv 2409.04410): lookup-free codes, a decoder that also sees their statistics.

Names and shapes are those of the published files. Reference: TencentARC/SEED-Voken at b9a17ea.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput

Pixels = Float[Tensor, "b 3 *sides"]
"""RGB in [-1, 1]: of images (b, 3, H, W), of clips (b, 3, T, H, W)."""
Codes = Int[Tensor, "b *cells"]
Features = Float[Tensor, "b _ ..."]

Stride = int | tuple[int, int, int]

KEEP = ("encoder.", "decoder.")
TEMPORAL = 4


@dataclass(frozen=True)
class Layout:
    """`bits` of a code, `mult` of `channels` at each level; clips are halved in time where the multiple is above 1."""

    bits: int = 18
    mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    video: bool = False
    channels: int = 128
    blocks: int = 4

    @property
    def spatial(self) -> int:
        """Pixels to a side of a latent."""
        return 1 << (len(self.mult) - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * m for m in self.mult)


class CausalConv(nn.Module):
    """3-D convolution that sees zeros before the first frame."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Stride, bias: bool) -> None:
        super().__init__()
        self.pad = (*[kernel // 2] * 4, kernel - 1, 0)
        self.conv_1 = nn.Conv3d(inputs, outputs, kernel, stride, bias=bias)

    def forward(self, x: Features) -> Features:
        """Convolve."""
        y: Tensor = self.conv_1(F.pad(x, self.pad))
        return y


def conv(
    layout: Layout, inputs: int, outputs: int, kernel: int = 3, stride: Stride = 1, bias: bool = True
) -> nn.Module:
    """Build a convolution of frames or clips."""
    if layout.video:
        return CausalConv(inputs, outputs, kernel, stride, bias)
    return nn.Conv2d(
        inputs, outputs, kernel, stride if isinstance(stride, int) else stride[1:], padding=kernel // 2, bias=bias
    )


def norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """Normalise over all positions, of all frames too."""
    return nn.GroupNorm(32, channels, eps=1e-6, affine=affine)


class ResBlock(nn.Module):
    """Two convolutions without bias, and a shortcut."""

    def __init__(self, layout: Layout, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = conv(layout, inputs, outputs, bias=False)
        self.conv2 = conv(layout, outputs, outputs, bias=False)
        self.nin_shortcut = conv(layout, inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Features) -> Features:
        """Add the residual."""
        y: Tensor = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        short: Tensor = self.nin_shortcut(x)
        return short + y


def blocks(layout: Layout, inputs: int, outputs: int) -> nn.Sequential:
    """Build the residual blocks of a level."""
    return nn.Sequential(*(ResBlock(layout, outputs if i else inputs, outputs) for i in range(layout.blocks)))


class Upsample(nn.Module):
    """Channels to twice the sides and, with `time`, twice the frames but for the second; blocks vary slowest."""

    def __init__(self, layout: Layout, channels: int, time: bool) -> None:
        super().__init__()
        self.time = time
        self.conv1 = conv(layout, channels, channels * (8 if time else 4))

    def forward(self, x: Features) -> Features:
        """Enlarge."""
        y: Tensor = self.conv1(x)
        if not self.time:
            return rearrange(y, "b (p q c) ... h w -> b c ... (h p) (w q)", p=2, q=2)
        y = rearrange(y, "b (s p q c) t h w -> b c (t s) (h p) (w q)", s=2, p=2, q=2)
        return torch.cat([y[:, :, :1], y[:, :, 2:]], dim=2)


class Adaptive(nn.Module):
    """Normalise, then scale by the spread of the codes and shift by their mean."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.norm = norm(channels, affine=False)
        self.gamma, self.beta = nn.Linear(bits, channels), nn.Linear(bits, channels)

    def forward(self, x: Features, codes: Features) -> Features:
        """Modulate features by the statistics of a code tensor of at least two positions."""
        seen = codes.flatten(2)
        scale, shift = self.gamma((seen.var(2) + 1e-6).sqrt()), self.beta(seen.mean(2))
        tail = [1] * (x.ndim - 2)
        y: Tensor = self.norm(x) * scale.view(*scale.shape, *tail) + shift.view(*shift.shape, *tail)
        return y


class Encoder(nn.Module):
    """Pixels to what signs are taken of."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        widths = layout.widths
        self.conv_in = conv(layout, 3, widths[0], bias=False)
        self.down = nn.ModuleList()
        for level, (inputs, outputs) in enumerate(pairwise((widths[0], *widths))):
            stride = (1 if layout.mult[level] == 1 else 2, 2, 2) if layout.video else 2
            parts = {"block": blocks(layout, inputs, outputs)}
            last = level == len(widths) - 1
            self.down.append(
                nn.ModuleDict(parts if last else {**parts, "downsample": conv(layout, outputs, outputs, stride=stride)})
            )
        self.mid_block = blocks(layout, widths[-1], widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1]), conv(layout, widths[-1], layout.bits, 1)

    def forward(self, x: Pixels) -> Features:
        """Return one channel a bit."""
        x = self.conv_in(x)
        for level in self.down:
            for layer in level.values():  # type: ignore[operator]
                x = layer(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(self.mid_block(x))))
        return y


class Decoder(nn.Module):
    """Signs to pixels."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        widths, deepest = layout.widths, layout.widths[-1]
        self.conv_in, self.mid_block = conv(layout, layout.bits, deepest), blocks(layout, deepest, deepest)
        entering = (*widths[1:], deepest)
        self.up = nn.ModuleList()
        for level, (inputs, outputs) in enumerate(zip(entering, widths, strict=True)):
            parts: dict[str, nn.Module] = {"block": blocks(layout, inputs, outputs)}
            if level:
                parts["upsample"] = Upsample(layout, outputs, layout.video and layout.mult[level - 1] > 1)
            self.up.append(nn.ModuleDict(parts))
        self.adaptive = nn.ModuleList(Adaptive(width, layout.bits) for width in entering)
        self.norm_out, self.conv_out = norm(widths[0]), conv(layout, widths[0], 3)

    def forward(self, codes: Features) -> Pixels:
        """Return pixels, not clamped."""
        x = self.mid_block(self.conv_in(codes))
        for level in reversed(range(len(self.up))):
            x = self.adaptive[level](x, codes)
            for layer in self.up[level].values():  # type: ignore[operator]
                x = layer(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class OpenMagvit2(nn.Module):
    """Tokenizer of images, or of 1 + 4k frames, in [-1, 1]: one of 2^bits codes a position, and back."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.decoder = Encoder(layout), Decoder(layout)

    def latents(self, x: Pixels) -> Features:
        """Return what signs are taken of. Raises UnsuitableInput for sizes that would not come back."""
        *_, height, width = x.shape
        step, factor = TEMPORAL, self.layout.spatial
        if height % factor or width % factor or (self.layout.video and (x.shape[2] - 1) % step):
            frames = f"1 + {step}k frames with " if self.layout.video else ""
            raise UnsuitableInput(f"Open-MAGVIT2 takes {frames}sides divisible by {factor}, got {tuple(x.shape[2:])}")
        z: Tensor = self.encoder(x)
        return z

    def encode(self, x: Pixels) -> Codes:
        """Code pixels; the first channel is the lowest bit."""
        bits = (self.latents(x) > 0).movedim(1, -1)
        return (bits * (1 << torch.arange(self.layout.bits, device=x.device))).sum(-1)

    def decode(self, codes: Codes) -> Pixels:
        """Reconstruct; the output is not clamped."""
        bits = (
            codes[:, None] >> torch.arange(self.layout.bits, device=codes.device).view(1, -1, *[1] * (codes.ndim - 1))
            & 1
        )
        dtype = next(self.parameters()).dtype
        x: Tensor = self.decoder((2 * bits - 1).to(dtype))
        return x
