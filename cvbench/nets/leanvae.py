"""LeanVAE, a light causal video VAE without attention (Cheng and Yuan 2025, arXiv 2503.14325).

Wavelets and patches, then depthwise convolutions and feed-forward layers. The bottleneck is compressed sensing: a
linear measurement codes, unrolled iterations of ISTA decode. Names and shapes are the official ones. Reference:
westlake-repl/LeanVAE `LeanVAE/models/autoencoder.py`, `LeanVAE/modules/backbones.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.wfvae import BANDS, FLAT_BANDS, Kernels, analyse, kernel, synthesise

Clips = Float[Tensor, "b 3 T H W"]
"""RGB in [-0.5, 0.5]."""
Latents = Float[Tensor, "b z t h w"]
Bands = Float[Tensor, "b _ _ _ _"]
Tokens = Float[Tensor, "b t h w _"]
"""Channels last."""
Rows = Float[Tensor, "n _"]

KEEP = ("encoder.", "decoder.", "latent_bottleneck.", "std_layer.")
"""The parts of a checkpoint that code and decode."""
SPATIAL, TEMPORAL, PATCH = 8, 4, 4


@dataclass(frozen=True)
class Layout:
    """The settings that a published checkpoint carries; the defaults are LeanVAE with 16 channels."""

    latent_dim: int = 16
    embedding_dim: int = 512
    l_dim: int = 128
    h_dim: int = 384
    sep_num_layer: int = 2
    fusion_num_layer: int = 4
    ista_iter_num: int = 2
    ista_layer_num: int = 2


def kernels(bands: Iterable[tuple[int, ...]], like: Tensor, scale: float = 1.0) -> Kernels:
    """Return Haar kernels of `scale` and its negative."""
    return torch.cat([kernel(high, scale) for high in bands]).to(like)


def wavelets(x: Clips) -> tuple[Bands, Bands]:
    """Transform the first frame in space, the others in space and time: sums and differences, not scaled."""
    image, rest = analyse(x[:, :, 0], kernels(FLAT_BANDS.values(), x))[:, :, None], x[:, :, 1:]
    if rest.shape[2]:
        return image, analyse(rest, kernels(BANDS.values(), x))
    return image, image.repeat(1, 2, 1, 1, 1)[:, :, :0]


def pixels(image: Bands, video: Bands) -> Clips:
    """Undo `wavelets`."""
    first = synthesise(image[:, :, 0], kernels(FLAT_BANDS.values(), image, 1 / 4))[:, :, None]
    if video.shape[2]:
        return torch.cat([first, synthesise(video, kernels(BANDS.values(), video, 1 / 8))], dim=2)
    return first


class Position(nn.Module):
    """Depthwise convolution that sees no later frame; zeros around."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ds_conv = nn.Conv3d(width, width, 3, groups=width)

    def forward(self, x: Tokens) -> Tokens:
        """Convolve."""
        y: Tensor = self.ds_conv(F.pad(x.movedim(-1, 1), (1, 1, 1, 1, 2, 0)))
        return y.movedim(1, -1)


class GEGLU(nn.Module):
    """One half of the channels, gated by the other."""

    def forward(self, x: Tokens) -> Tokens:
        """Gate."""
        x, gate = x.chunk(2, dim=-1)
        return x * F.gelu(gate)


def feed_forward(width: int) -> nn.Sequential:
    """Build the layers that mix channels; the fourth is a dropout, which does nothing here."""
    inner = int(4 * (2 / 3) * width)
    wide, narrow = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)
    return nn.Sequential(nn.LayerNorm(width), wide, GEGLU(), nn.Identity(), narrow)


class Blocks(nn.Module):
    """Depthwise convolutions and feed-forward layers by turns, each with a shortcut if `residual`."""

    def __init__(self, width: int, count: int, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.dconv_layer = nn.Sequential(*(Position(width) for _ in range(count)))
        self.ffd_layer = nn.Sequential(*(feed_forward(width) for _ in range(count)))

    def forward(self, x: Tokens) -> Tokens:
        """Mix."""
        for pair in zip(self.dconv_layer, self.ffd_layer, strict=True):
            for layer in pair:
                x = x + layer(x) if self.residual else layer(x)
        return x


def patch_sizes(frames: int) -> tuple[int, int]:
    """Return the numbers in a patch's low band and in its other bands, `frames` deep (1 for images)."""
    low = 3 * frames * PATCH**2
    return low, low * (4 * frames - 1)


class Halves(nn.Module):
    """What encoder and decoder have in common: layers of the low band, of the others and of both together."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.widths = [layout.l_dim, layout.h_dim]
        self.low_layer = Blocks(layout.l_dim, layout.sep_num_layer)
        self.high_layer = Blocks(layout.h_dim, layout.sep_num_layer)
        self.fusion_layer = Blocks(layout.l_dim + layout.h_dim, layout.fusion_num_layer)


class Encoder(Halves):
    """Bands to features."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        for kind, frames in (("image", 1), ("video", 2)):
            for part, size, width in zip(("low", "high"), patch_sizes(frames), self.widths, strict=True):
                self.add_module(f"{kind}_{part}_proj", nn.Sequential(nn.Identity(), nn.Linear(size, width)))

    def forward(self, image: Bands, video: Bands) -> Tokens:
        """Embed patches of the low band and of the others, and mix."""
        low = self.low_layer(self._embed(image[:, :3], video[:, :3], "low"))
        high = self.high_layer(self._embed(image[:, 3:], video[:, 3:], "high"))
        y: Tensor = self.fusion_layer(torch.cat([low, high], dim=-1))
        return y

    def _embed(self, image: Bands, video: Bands, part: str) -> Tokens:
        form = "b c (t p) (h q) (w r) -> b t h w (c p q r)"
        first = self.get_submodule(f"image_{part}_proj")(rearrange(image, form, p=1, q=PATCH, r=PATCH))
        rest = self.get_submodule(f"video_{part}_proj")(rearrange(video, form, p=2, q=PATCH, r=PATCH))
        return torch.cat([first, rest], dim=1)


class Decoder(Halves):
    """Features to bands."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        for kind, frames in (("image", 1), ("video", 2)):
            for part, size, width in zip(("low", "high"), patch_sizes(frames), self.widths, strict=True):
                self.add_module(f"{kind}_{part}_proj", nn.Sequential(nn.Linear(width, size)))

    def forward(self, x: Tokens) -> tuple[Bands, Bands]:
        """Return the bands of the first frame and of the others."""
        low, high = self.fusion_layer(x).split(self.widths, dim=-1)
        low, high = self.low_layer(low), self.high_layer(high)
        return self._bands(low[:, :1], high[:, :1], "image", 1), self._bands(low[:, 1:], high[:, 1:], "video", 2)

    def _bands(self, low: Tokens, high: Tokens, kind: str, frames: int) -> Bands:
        form = "b t h w (c p q r) -> b c (t p) (h q) (w r)"
        patches = [self.get_submodule(f"{kind}_low_proj")(low), self.get_submodule(f"{kind}_high_proj")(high)]
        return torch.cat([rearrange(some, form, p=frames, q=PATCH, r=PATCH) for some in patches], dim=1)


class Bottleneck(nn.Module):
    """Measure features with `phi`; recover them by iterative shrinkage and thresholding, unrolled."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        width, count = layout.embedding_dim, layout.ista_iter_num
        bound = (3 / width) ** 0.5  # variance 1 / width; normal values on the meta device cost seconds of imports
        phi = torch.empty(layout.latent_dim, width).uniform_(-bound, bound)
        self.phi, self.Q = nn.Parameter(phi), nn.Parameter(phi.mT.clone())
        self.forward_l, self.backward_l = (
            nn.ModuleList(Blocks(width, layout.ista_layer_num, residual=False) for _ in range(count)) for _ in range(2)
        )
        self.weights = nn.ParameterList(torch.ones(()) for _ in range(count))
        self.threshold = nn.ParameterList(torch.full((1,), 0.01) for _ in range(count))

    def measure(self, x: Tokens) -> Tokens:
        """Return the mean of the latents, channels last."""
        y: Tensor = x @ self.phi.mT
        return y

    def recover(self, y: Tokens) -> Tokens:
        """Return features that measure as `y`, more or less."""
        x = y @ self.Q.mT
        steps = zip(self.weights, self.threshold, self.forward_l, self.backward_l, strict=True)
        for weight, threshold, forth, back in steps:
            x = x - weight * ((x @ self.phi.mT - y) @ self.phi)
            h = forth(x)
            x = x + back(h.sign() * F.relu(h.abs() - threshold))
        return x


class LeanVAE(nn.Module):
    """Causal video VAE: (b, 3, 1 + 4k, H, W) in [-0.5, 0.5] to a Gaussian over (b, z, 1 + k, H/8, W/8) and back."""

    def __init__(self, layout: Layout | None = None) -> None:
        super().__init__()
        self.layout = layout or Layout()
        self.latent_bottleneck = Bottleneck(self.layout)
        self.encoder, self.decoder = Encoder(self.layout), Decoder(self.layout)
        self.std_layer = nn.Linear(self.layout.embedding_dim, self.layout.latent_dim)

    def encode(self, x: Clips) -> tuple[Latents, Latents]:
        """Return mean and log-variance (within [-30, 20]) of the posterior; the reference codes by the mean.

        Raises UnsuitableInput for sizes that the network cannot take.
        """
        frames, height, width = x.shape[2:]
        if (frames - 1) % TEMPORAL or height % SPATIAL or width % SPATIAL:
            raise UnsuitableInput(
                f"LeanVAE takes 1 + {TEMPORAL}k frames with sides divisible by {SPATIAL}, "
                f"got {frames} of {height}x{width}; trim or pad"
            )
        h = self.encoder(*wavelets(x))
        mean, logvar = self.latent_bottleneck.measure(h), self.std_layer(h)
        return mean.movedim(-1, 1), logvar.movedim(-1, 1).clamp(-30, 20)

    def decode(self, z: Latents) -> Clips:
        """Reconstruct; the output is not clamped."""
        return pixels(*self.decoder(self.latent_bottleneck.recover(z.movedim(1, -1))))
