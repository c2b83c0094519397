"""Turbo-VAED (Zou et al. 2025, arXiv 2508.09136): light decoders for the latents of large video VAEs.

Names and shapes are those of the published decoders. Reference: hustvl/Turbo-VAED at 9268488.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Clips = Float[Tensor, "b 3 T H W"]
"""RGB in [-1, 1]."""
Latents = Float[Tensor, "b z t h w"]
"""As the teacher's encoder gives them, not scaled."""
Features = Float[Tensor, "b _ _ _ _"]


@dataclass(frozen=True)
class Layout:
    """`widths`, `blocks` and `strides` of time are listed from the mid block to the last level, `patch` 1 or 4.

    The mid block and the first level are of depthwise convolutions. Where `drop`, the first frames of a level that
    doubles time are left out, so that the first latent frame codes one frame.
    """

    channels: int = 16
    widths: tuple[int, int, int, int] = (512, 256, 128, 64)
    blocks: tuple[int, int, int, int, int] = (4, 4, 4, 4, 4)
    strides: tuple[int, int, int] = (2, 2, 1)
    patch: int = 1
    drop: bool = True

    @property
    def temporal(self) -> int:
        """Frames of pixels to a latent frame."""
        return self.strides[0] * self.strides[1] * self.strides[2]

    @property
    def spatial(self) -> int:
        """Pixels to a side of a latent."""
        return 8 * self.patch


class Conv(nn.Module):
    """3-D convolution that sees zeros around, and in time the first and last frame again."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, depthwise: bool = False) -> None:
        super().__init__()
        if depthwise and kernel > 1:
            kernel = 5
            self.depthwise_conv = nn.Conv3d(inputs, inputs, kernel, padding=(0, 2, 2), groups=inputs)
            self.pointwise_conv = nn.Conv3d(inputs, outputs, 1)
        else:
            self.conv = nn.Conv3d(inputs, outputs, kernel, padding=(0, kernel // 2, kernel // 2))
        self.reach = kernel // 2

    def forward(self, x: Features) -> Features:
        """Convolve."""
        x = torch.cat([x[:, :, :1]] * self.reach + [x] + [x[:, :, -1:]] * self.reach, dim=2)
        y: Tensor = self.conv(x) if hasattr(self, "conv") else self.pointwise_conv(self.depthwise_conv(x))
        return y


def normed(x: Features) -> Features:
    """Divide by the root mean square over channels."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class ResBlock(nn.Module):
    """Two convolutions and a shortcut; `rectified` levels begin with ReLU."""

    def __init__(self, inputs: int, outputs: int, depthwise: bool = False, rectified: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(inputs, outputs, 3, depthwise), Conv(outputs, outputs, 3, depthwise)
        self.first = F.relu if rectified else F.silu
        if inputs != outputs:
            self.norm3 = nn.LayerNorm(inputs, eps=1e-6)
            self.conv_shortcut = Conv(inputs, outputs, 1, depthwise)

    def forward(self, x: Features) -> Features:
        """Add the residual."""
        y: Tensor = self.conv2(F.silu(normed(self.conv1(self.first(normed(x))))))
        if not hasattr(self, "norm3"):
            return x + y
        short: Tensor = self.conv_shortcut(self.norm3(x.movedim(1, -1)).movedim(-1, 1))
        return short + y


class Upsampler(nn.Module):
    """Twice the sides, and `stride` times the frames."""

    def __init__(self, channels: int, stride: int, drop: bool) -> None:
        super().__init__()
        self.stride, self.first = stride, stride - 1 if drop else 0
        self.conv = Conv(channels, channels * stride * 4)

    def forward(self, x: Features) -> Features:
        """Enlarge."""
        y: Tensor = rearrange(self.conv(x), "b (c p q s) t h w -> b c (t s) (h p) (w q)", p=2, q=2, s=self.stride)
        return y[:, :, self.first :]


class Level(nn.Module):
    """A change of width, an enlargement, residual blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int, drop: bool, depthwise: bool) -> None:
        super().__init__()
        scales = stride > 0
        self.conv_in = ResBlock(inputs, outputs, depthwise) if inputs != outputs else nn.Identity()
        self.upsamplers = nn.ModuleList([Upsampler(outputs, stride, drop)] if scales else [])
        self.resnets = nn.Sequential(*(ResBlock(outputs, outputs, depthwise, scales) for _ in range(blocks)))

    def forward(self, x: Features) -> Features:
        """Run all."""
        x = self.conv_in(x)
        for layer in self.upsamplers:
            x = layer(x)
        y: Tensor = self.resnets(x)
        return y


class Shuffle(nn.Module):
    """Channels of each frame to twice the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Features) -> Features:
        """Enlarge."""
        frames = self.conv(rearrange(x, "b c t h w -> (b t) c h w"))
        return rearrange(F.pixel_shuffle(frames, 2), "(b t) c h w -> b c t h w", b=len(x))


class TurboVAED(nn.Module):
    """Decoder of (b, z, t, h, w) to (b, 3, T, H, W) in [-1, 1]; T is 1 + c(t - 1), or ct where no frame is dropped."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        mid, *blocks = layout.blocks
        widths = layout.widths
        self.conv_in = Conv(layout.channels, widths[0])
        self.mid_block = nn.ModuleDict(
            {"resnets": nn.Sequential(*(ResBlock(widths[0], widths[0], True) for _ in range(mid)))}
        )
        self.up_blocks = nn.Sequential(
            *(
                Level(inputs, outputs, count, stride, layout.drop, depthwise=level == 0)
                for level, (inputs, outputs, count, stride) in enumerate(
                    zip((widths[0], *widths[:-1]), widths, blocks, (0, *layout.strides), strict=True)
                )
            )
        )
        last = widths[-1]
        if layout.patch == 4:
            self.upsampler2d_1, self.upsampler2d_2 = Shuffle(last), Shuffle(last // 4)
            last //= 16
        self.conv_out = Conv(last, 3)

    def forward(self, z: Latents) -> Clips:
        """Reconstruct; the output is not clamped."""
        x = self.up_blocks(self.mid_block["resnets"](self.conv_in(z)))
        if self.layout.patch == 4:
            for shuffle in (self.upsampler2d_1, self.upsampler2d_2):
                x = shuffle(F.silu(normed(x)))
        y: Tensor = self.conv_out(F.silu(normed(x)))
        return y
