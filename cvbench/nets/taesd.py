"""TAESD, the tiny autoencoders in the latent spaces of image diffusion models (Boer Bohan 2023, no paper).

Names and shapes are those of the published files, `encoder.` or `decoder.` before them. Reference: madebyollin/taesd
`taesd.py` at 5cccb12; of the decoder with memory madebyollin/taesdv `taesdv.py` at 1b2655e.
"""

from collections.abc import Callable
from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.taehv import Chain, Clamp, MemBlock, conv

Images = Float[Tensor, "b 3 H W"]
"""RGB in [0, 1]."""
Latents = Float[Tensor, "b z h w"]
"""As the diffusion model takes them: no mean and scale are to be applied."""
Features = Float[Tensor, "_ _ _ _"]

WIDTH = 64
"""Channels of the encoder, and of the decoder but for its first levels in `Layout.widths`."""


@dataclass(frozen=True)
class Layout:
    """What the published files differ in.

    `stem` are the widths of strided convolutions before the encoder, `widths` those of the decoder's levels from its
    first, `pooled` says that blocks at the lowest resolution also mix statistics of the whole picture.
    """

    channels: int = 4
    stem: tuple[int, ...] = ()
    widths: tuple[int, ...] = (WIDTH,) * 3
    pooled: bool = False

    @property
    def spatial(self) -> int:
        """Pixels to a side of a latent."""
        return 1 << len(self.widths)


LAYOUTS = {
    "taesd": Layout(),
    "taesd3": Layout(16),
    "taef2": Layout(32, pooled=True),
    "taesana": Layout(32, stem=(32, 64), widths=(256, 128, 64, 64, 64)),
}
"""By the first file of that layout; taesdxl is as taesd, taef1 as taesd3."""


class Block(nn.Module):
    """Residual block, with `pooled` on features to which a gate normalised over the whole picture was added."""

    def __init__(self, channels: int, pooled: bool = False) -> None:
        super().__init__()
        first, second, third = (conv(channels, channels) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        self.pool = pool(channels) if pooled else None

    def forward(self, x: Features) -> Features:
        """Add the residual."""
        x = x + self.pool(x) if self.pool else x
        return F.relu(self.conv(x) + x)


def pool(channels: int) -> nn.Sequential:
    """Four groups of wide features, normalised over all positions."""
    wide = 4 * channels
    inner, outer = nn.Conv2d(channels, wide, 1, bias=False), nn.Conv2d(wide, channels, 1, bias=False)
    return nn.Sequential(inner, nn.GroupNorm(4, wide), nn.ReLU(), outer)


def encoder(layout: Layout) -> nn.Sequential:
    """Pixels to latents."""
    layers: list[nn.Module] = [] if layout.stem else [conv(3, WIDTH)]
    for inputs, outputs in zip((3, *layout.stem), layout.stem, strict=False):
        layers += [conv(inputs, outputs, stride=2), nn.ReLU()]
    layers.append(Block(WIDTH))
    for lowest in (False, False, True):
        blocks = [Block(WIDTH, layout.pooled and lowest) for _ in range(3)]
        layers += [conv(WIDTH, WIDTH, stride=2, bias=False), *blocks]
    return nn.Sequential(*layers, conv(WIDTH, layout.channels))


def decoder_layers(layout: Layout, block: Callable[[int, bool], nn.Module] = Block) -> list[nn.Module]:
    """Latents to pixels; `block` makes the residual block of a width."""
    layers: list[nn.Module] = [Clamp(), conv(layout.channels, layout.widths[0]), nn.ReLU()]
    for level, (width, narrower) in enumerate(zip(layout.widths, (*layout.widths[1:], WIDTH), strict=True)):
        blocks = [block(width, layout.pooled and not level) for _ in range(3)]
        layers += [*blocks, nn.Upsample(scale_factor=2), conv(width, narrower, bias=False)]
    return [*layers, block(WIDTH, False), conv(WIDTH, 3)]


class TAESD(nn.Module):
    """Tiny image autoencoder: (b, 3, H, W) in [0, 1] to (b, z, H/f, W/f) and back, f 8 or 32."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.decoder = encoder(layout), nn.Sequential(*decoder_layers(layout))

    def encode(self, x: Images) -> Latents:
        """Code images. Raises UnsuitableInput for sides that would not come back."""
        check_sides(x, self.layout.spatial)
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z: Latents) -> Images:
        """Reconstruct; the output is not clamped, and of real weights reaches a tenth outside [0, 1]."""
        x: Tensor = self.decoder(z)
        return x


class TAESDV(nn.Module):
    """TAESD's encoder of single frames, and a decoder that also sees the frame before: (b, 3, T, H, W) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layout = LAYOUTS["taesd"]
        self.encoder = encoder(self.layout)
        self.decoder = Chain(*decoder_layers(self.layout, lambda width, _: MemBlock(width)))

    def encode(self, x: Float[Tensor, "b 3 T H W"]) -> Float[Tensor, "b z T h w"]:
        """Code clips of any length. Raises UnsuitableInput for sides that would not come back."""
        check_sides(x, self.layout.spatial)
        z: Tensor = self.encoder(rearrange(x, "b c t h w -> (b t) c h w"))
        return rearrange(z, "(b t) c h w -> b c t h w", b=len(x))

    def decode(self, z: Float[Tensor, "b z T h w"]) -> Float[Tensor, "b 3 T H W"]:
        """Reconstruct as many frames; the output is not clamped."""
        return self.decoder.run(z.movedim(2, 1), {}).movedim(1, 2)


def check_sides(x: Float[Tensor, "... H W"], spatial: int) -> None:
    """Raise UnsuitableInput for pictures that a network of this compression would crop."""
    height, width = x.shape[-2:]
    if height % spatial or width % spatial:
        raise UnsuitableInput(f"this TAESD takes sides divisible by {spatial}, got {height}x{width}; pad or crop")
