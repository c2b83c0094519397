"""Inception-v3 as FID is defined on it: the network of TensorFlow's `inception-2015-12-05`, up to its pooled features.

Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision"; modules carry the tensor names of
`pt_inception-2015-12-05-6726825d.pth`, which are torchvision's. That network differs from torchvision's in its
branches that pool: their averages leave the padding out, and the last block takes the maximum.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
WIDTH = 2048

Images = Float[Tensor, "b 3 299 299"]
"""RGB in [-1, 1]."""
Pool = Callable[[Tensor], Tensor]


class Conv(NamedTuple):
    """Output channels and kernel; stride 1 keeps the size unless `padded` is false, stride 2 never pads."""

    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


Steps = Sequence[tuple[Conv, ...]]
"""Steps one after another; the convolutions of one step stand side by side and their outputs are joined."""


class Block(NamedTuple):
    """Paths side by side, by the name their layers start with, after them the pooled input, and its pooling."""

    inputs: int
    paths: dict[str, Steps]
    pool: Pool


def average(x: Tensor) -> Tensor:
    """Mean over 3×3 without the padding."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def maximum(x: Tensor) -> Tensor:
    """Maximum over 3×3, same size."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


def halve(x: Tensor) -> Tensor:
    """Maximum over 3×3 at every second position."""
    return F.max_pool2d(x, 3, stride=2)


def chain(*steps: Conv | tuple[Conv, ...]) -> Steps:
    """Return steps of a path, single convolutions wrapped."""
    return [(step,) if isinstance(step, Conv) else step for step in steps]


ROW, COLUMN = (1, 7), (7, 1)
FORK = (Conv(384, (1, 3)), Conv(384, (3, 1)))
STEM = {
    "Conv2d_1a_3x3": (3, Conv(32, (3, 3), 2)),
    "Conv2d_2a_3x3": (32, Conv(32, (3, 3), padded=False)),
    "Conv2d_2b_3x3": (32, Conv(64, (3, 3))),
    "Conv2d_3b_1x1": (64, Conv(80)),
    "Conv2d_4a_3x3": (80, Conv(192, (3, 3), padded=False)),
}
HALVED_BEFORE = ("Conv2d_3b_1x1", "Mixed_5b")


def block_5(inputs: int, pooled: int) -> Block:
    """35×35 positions."""
    paths = {
        "branch1x1": chain(Conv(64)),
        "branch5x5": chain(Conv(48), Conv(64, (5, 5))),
        "branch3x3dbl": chain(Conv(64), Conv(96, (3, 3)), Conv(96, (3, 3))),
        "branch_pool": chain(Conv(pooled)),
    }
    return Block(inputs, paths, average)


def block_6(width: int) -> Block:
    """17×17 positions; `width` of the factorised 7×7 convolutions."""
    row, column = Conv(width, ROW), Conv(width, COLUMN)
    paths = {
        "branch1x1": chain(Conv(192)),
        "branch7x7": chain(Conv(width), row, Conv(192, COLUMN)),
        "branch7x7dbl": chain(Conv(width), column, row, column, Conv(192, ROW)),
        "branch_pool": chain(Conv(192)),
    }
    return Block(768, paths, average)


def block_7(inputs: int, pool: Pool) -> Block:
    """8×8 positions."""
    paths = {
        "branch1x1": chain(Conv(320)),
        "branch3x3": chain(Conv(384), FORK),
        "branch3x3dbl": chain(Conv(448), Conv(384, (3, 3)), FORK),
        "branch_pool": chain(Conv(192)),
    }
    return Block(inputs, paths, pool)


BLOCKS = {
    "Mixed_5b": block_5(192, 32),
    "Mixed_5c": block_5(256, 64),
    "Mixed_5d": block_5(288, 64),
    "Mixed_6a": Block(
        288,
        {
            "branch3x3": chain(Conv(384, (3, 3), 2)),
            "branch3x3dbl": chain(Conv(64), Conv(96, (3, 3)), Conv(96, (3, 3), 2)),
        },
        halve,
    ),
    "Mixed_6b": block_6(128),
    "Mixed_6c": block_6(160),
    "Mixed_6d": block_6(160),
    "Mixed_6e": block_6(192),
    "Mixed_7a": Block(
        768,
        {
            "branch3x3": chain(Conv(192), Conv(320, (3, 3), 2)),
            "branch7x7x3": chain(Conv(192), Conv(192, ROW), Conv(192, COLUMN), Conv(192, (3, 3), 2)),
        },
        halve,
    ),
    "Mixed_7b": block_7(1280, average),
    "Mixed_7c": block_7(2048, maximum),
}


class Unit(nn.Module):
    """Convolution, batch normalisation and ReLU."""

    def __init__(self, inputs: int, conv: Conv) -> None:
        super().__init__()
        padding = [k // 2 if conv.padded and conv.stride == 1 else 0 for k in conv.kernel]
        self.conv = nn.Conv2d(inputs, conv.outputs, conv.kernel, conv.stride, (padding[0], padding[1]), bias=False)
        self.bn = nn.BatchNorm2d(conv.outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(b c h w) -> (b outputs h w), fewer positions where strided or not padded."""
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Inception module: the block's paths side by side."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.pool = block.pool
        self.paths = {name: self._add(name, block.inputs, path) for name, path in block.paths.items()}

    def _add(self, name: str, inputs: int, path: Steps) -> list[list[str]]:
        """Add a path's layers, `name` or `name_1`, `name_2a`, `name_2b`; return their names by step."""
        names = []
        for number, step in enumerate(path, 1):
            place = name if len(path) == 1 else f"{name}_{number}"
            names.append([place] if len(step) == 1 else [f"{place}{letter}" for letter in "ab"])
            for layer, conv in zip(names[-1], step, strict=True):
                self.add_module(layer, Unit(inputs, conv))
            inputs = step[-1].outputs
        return names

    def forward(self, x: Tensor) -> Tensor:
        """Join the paths' outputs over the channels, what was pooled last."""
        parts = [self._path(self.pool(x) if name == "branch_pool" else x, steps) for name, steps in self.paths.items()]
        return torch.cat(parts if "branch_pool" in self.paths else [*parts, self.pool(x)], 1)

    def _path(self, x: Tensor, steps: list[list[str]]) -> Tensor:
        for names in steps:
            x = torch.cat([self.get_submodule(name)(x) for name in names], 1)
        return x


class FidInception(nn.Module):
    """Pooled features of images; to be used in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {name: Unit(inputs, conv) for name, (inputs, conv) in STEM.items()}
        layers |= {name: Mixed(block) for name, block in BLOCKS.items()}
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.trunk = tuple(layers)

    def forward(self, x: Images) -> Float[Tensor, "b 2048"]:
        """Mean over the last 8×8 positions."""
        for name in self.trunk:
            x = self.get_submodule(name)(halve(x) if name in HALVED_BEFORE else x)
        return x.mean((2, 3))


def prepare_tf1(images: Float[Tensor, "b 3 h w"]) -> Images:
    """Resize [0, 1] to 299×299 as TensorFlow 1's `resize_bilinear` does, in float64 on bytes, and scale to [-1, 1].

    Its pixel k lies at k · old / new: neither half-pixel centres nor aligned corners. As torch-fidelity does.
    """
    levels = (255 * images).round().double()
    for axis in (2, 3):
        levels = _at_tf1_points(levels, axis)
    return ((levels - 128) / 128).to(images.dtype)


def _at_tf1_points(levels: Float[Tensor, "b 3 _h _w"], axis: int) -> Float[Tensor, "b 3 _new_h _new_w"]:
    old = levels.shape[axis]
    place = torch.arange(SIDE, dtype=torch.float64, device=levels.device) * (old / SIDE)
    first = place.floor().long().clamp(max=old - 1)
    share = (place - first).view(-1, 1) if axis == 2 else place - first
    low, high = (levels.index_select(axis, index) for index in (first, (first + 1).clamp(max=old - 1)))
    return low + (high - low) * share


def prepare(images: Float[Tensor, "b 3 h w"]) -> Images:
    """Resize [0, 1] to 299×299, whatever the aspect ratio, and scale to [-1, 1].

    Bilinear with half-pixel centres, no antialiasing, as pytorch-fid does.
    """
    return 2 * F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1
