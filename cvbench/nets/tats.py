"""TATS 3D-VQGAN (Ge et al. 2022, arXiv 2204.03638): a video tokenizer with a codebook.

Names and shapes are those of the official checkpoints. Reference: songweige/TATS `tats/tats_vqgan.py`,
`tats/modules/codebook.py`.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.nets.vqgan import nearest

Clips = Float[Tensor, "b 3 T H W"]
"""RGB in [-0.5, 0.5]."""
Features = Float[Tensor, "b _ _ _ _"]
Codes = Int[Tensor, "b t h w"]
Triple = tuple[int, int, int]
Norm = Literal["batch", "group"]

KEEP = ("encoder.", "decoder.", "pre_vq_conv.", "post_vq_conv.", "codebook.")
"""The parts of an official checkpoint's `state_dict` that code and decode; the rest is discriminators and LPIPS."""


def same_pad(x: Features, kernel: Triple, stride: Triple) -> Features:
    """Repeat the border, kernel - stride in all on each axis, the odd one in front."""
    pads: list[int] = []
    for k, s in zip(reversed(kernel), reversed(stride), strict=True):
        pads += [(k - s + 1) // 2, (k - s) // 2]
    return F.pad(x, pads, mode="replicate")


class SamePadConv3d(nn.Module):
    """Convolution whose output has 1/stride of the input's size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel, kernel, kernel), stride
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride)

    def forward(self, x: Features) -> Features:
        """Pad and convolve."""
        y: Tensor = self.conv(same_pad(x, self.kernel, self.stride))
        return y


class SamePadConvTranspose3d(nn.Module):
    """Transposed convolution whose output has stride times the input's size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel, kernel, kernel), stride
        self.convt = nn.ConvTranspose3d(inputs, outputs, kernel, stride, padding=kernel - 1)

    def forward(self, x: Features) -> Features:
        """Pad and convolve."""
        y: Tensor = self.convt(same_pad(x, self.kernel, self.stride))
        return y


def normalize(channels: int, norm: Norm) -> nn.Module:
    """Batch norm (the published checkpoints: SyncBatchNorm has the same names) or group norm."""
    if norm == "batch":
        return nn.BatchNorm3d(channels)
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResBlock(nn.Module):
    """Two pre-activated convolutions and the identity."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm1, self.norm2 = normalize(channels, norm), normalize(channels, norm)
        self.conv1, self.conv2 = (SamePadConv3d(channels, channels, 3) for _ in range(2))

    def forward(self, x: Features) -> Features:
        """Add the residual."""
        h = self.conv1(F.silu(self.norm1(x)))
        y: Tensor = x + self.conv2(F.silu(self.norm2(h)))
        return y


class DownBlock(nn.Module):
    """Halve the axes whose stride is 2."""

    def __init__(self, inputs: int, outputs: int, stride: Triple, norm: Norm) -> None:
        super().__init__()
        self.down = SamePadConv3d(inputs, outputs, 4, stride)
        self.res = ResBlock(outputs, norm)

    def forward(self, x: Features) -> Features:
        """Shrink."""
        y: Tensor = self.res(self.down(x))
        return y


class UpBlock(nn.Module):
    """Double the axes whose stride is 2."""

    def __init__(self, inputs: int, outputs: int, stride: Triple, norm: Norm) -> None:
        super().__init__()
        self.up = SamePadConvTranspose3d(inputs, outputs, 4, stride)
        self.res1, self.res2 = ResBlock(outputs, norm), ResBlock(outputs, norm)

    def forward(self, x: Features) -> Features:
        """Grow."""
        y: Tensor = self.res2(self.res1(self.up(x)))
        return y


def strides(factors: Triple) -> list[Triple]:
    """Split compression factors (t, h, w) into steps of 2, taken as early as each axis can: 4 8 8 is 222 222 122."""
    if any(f < 1 or f & (f - 1) for f in factors):
        raise UsageError(f"TATS downsamples by powers of two, got {factors}")
    depth = [f.bit_length() - 1 for f in factors]
    steps = [tuple(2 if level < d else 1 for d in depth) for level in range(max(depth))]
    return [(t, h, w) for t, h, w in steps]


class Encoder(nn.Module):
    """Pixels to features, widening by two at each step."""

    def __init__(self, hidden: int, downsample: Triple, norm: Norm) -> None:
        super().__init__()
        self.conv_first = SamePadConv3d(3, hidden, 3)
        steps = enumerate(strides(downsample))
        self.conv_blocks = nn.ModuleList(DownBlock(hidden << i, hidden << (i + 1), s, norm) for i, s in steps)
        width = hidden << len(self.conv_blocks)
        self.final_block = nn.Sequential(normalize(width, norm), nn.SiLU())

    def forward(self, x: Clips) -> Features:
        """Return features before quantisation."""
        h: Tensor = self.conv_first(x)
        for block in self.conv_blocks:
            h = block(h)
        y: Tensor = self.final_block(h)
        return y


class Decoder(nn.Module):
    """Features to pixels; `final_block` runs first, as in the published network."""

    def __init__(self, hidden: int, upsample: Triple, norm: Norm) -> None:
        super().__init__()
        steps = strides(upsample)
        depth = len(steps)
        widths = [hidden << depth, *(hidden << (depth - i) for i in range(depth))]  # the first step does not narrow
        self.final_block = nn.Sequential(normalize(widths[0], norm), nn.SiLU())
        self.conv_blocks = nn.ModuleList(UpBlock(widths[i], widths[i + 1], s, norm) for i, s in enumerate(steps))
        self.conv_last = SamePadConv3d(widths[-1], 3, 3)

    def forward(self, h: Features) -> Clips:
        """Return pixels, not clamped."""
        h = self.final_block(h)
        for block in self.conv_blocks:
            h = block(h)
        y: Tensor = self.conv_last(h)
        return y


class Codebook(nn.Module):
    """The codes, and the training's moving averages that every checkpoint carries."""

    embeddings: Tensor

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(codes, channels))
        self.register_buffer("N", torch.zeros(codes))
        self.register_buffer("z_avg", torch.zeros(codes, channels))

    def indices(self, z: Features) -> Codes:
        """Index of the code nearest to each position."""
        return nearest(z.movedim(1, -1).flatten(0, 3), self.embeddings).reshape(len(z), *z.shape[2:])

    def vectors(self, indices: Codes) -> Features:
        """Look the codes up."""
        return self.embeddings[indices].movedim(-1, 1)


class TATS(nn.Module):
    """Video tokenizer: (b, 3, T, H, W) in [-0.5, 0.5] to (b, T/4, H/8, W/8) code indices and back.

    The defaults are the README's recipe for the published UCF-101, Sky, Taichi and MUGEN checkpoints; a file of
    theirs names its own in `hyper_parameters.args`. Use in evaluation mode: batch norm must not see the clip.
    """

    def __init__(
        self,
        n_hiddens: int = 32,
        embedding_dim: int = 256,
        n_codes: int = 16384,
        downsample: Triple = (4, 8, 8),
        norm_type: Norm = "batch",
    ) -> None:
        super().__init__()
        self.downsample = downsample
        self.encoder = Encoder(n_hiddens, downsample, norm_type)
        self.decoder = Decoder(n_hiddens, downsample, norm_type)
        width = n_hiddens * max(downsample)
        self.pre_vq_conv = SamePadConv3d(width, embedding_dim, 1)
        self.post_vq_conv = SamePadConv3d(embedding_dim, width, 1)
        self.codebook = Codebook(n_codes, embedding_dim)

    def latents(self, x: Clips) -> Features:
        """Return what the codebook sees. Raises UnsuitableInput for sizes that the network would crop."""
        if any(size % factor for size, factor in zip(x.shape[2:], self.downsample, strict=True)):
            raise UnsuitableInput(
                f"this TATS takes frames, height and width divisible by {self.downsample}, got {tuple(x.shape[2:])};"
                " repeat frames, pad or crop"
            )
        z: Tensor = self.pre_vq_conv(self.encoder(x))
        return z

    def encode(self, x: Clips) -> Codes:
        """Code clips."""
        return self.codebook.indices(self.latents(x))

    def decode(self, indices: Codes) -> Clips:
        """Reconstruct; the output is not clamped."""
        x: Tensor = self.decoder(self.post_vq_conv(self.codebook.vectors(indices)))
        return x
