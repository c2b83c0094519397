"""DISTS of each frame: structure and texture, on VGG16."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.backbones import Backbone
from cvbench.nets.tensors import Video
from cvbench.probes import PROBES, Rows
from cvbench.probes.pixel import check_shape
from cvbench.weights import fit, read_tensors

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
SMALL = 1e-6
LEAST_SIDE = 16
TAPS = torch.tensor([0.5, 1.0, 0.5])
"""Hann's window of five points without its zeros."""
Layer = Float64[Tensor, "channels positions"]


class Described(NamedTuple):
    """A layer's features less their means, and these."""

    centred: Layer
    mean: Float64[Tensor, " channels"]
    variance: Float64[Tensor, " channels"]


class Dists:
    """Deep image structure and texture similarity of each frame, a distance; 0 for equal frames.

    One minus the weighted similarity of means (texture) and of covariances (structure) of the picture itself and five
    layers of VGG16 whose max pooling is replaced by the root of a blurred square. Frames are taken as they are, not
    first made 256 px as the authors' demonstration does. Ding et al. 2020, "Image Quality Assessment: Unifying
    Structure and Texture Similarity"; equals torchmetrics, whose variances are in float32. `backbone` is the state
    dict of torchvision's vgg16 or its file, `weights` the authors' `alpha` and `beta`. Raises BadWeights.
    """

    version, frames_at_once = PROBES["dists"].version, 1

    def __init__(
        self, backbone: Path | Mapping[str, Tensor], weights: Path | Mapping[str, Tensor], device: torch.device
    ) -> None:
        self.device, self.backbone = device, Backbone("vgg", backbone, device)
        self.widths = [3, *self.backbone.widths]
        state = read_tensors(weights) if isinstance(weights, Path) else weights
        wanted = {name: torch.empty((1, sum(self.widths), 1, 1), device="meta") for name in ("alpha", "beta")}
        alpha, beta = (x.flatten().double().to(device) for x in fit(state, wanted, "the weights of DISTS").values())
        total = alpha.sum() + beta.sum()
        self.textures, self.structures = (torch.split(x / total, self.widths) for x in (alpha, beta))
        self.shift, self.scale = (torch.tensor(x, device=device).view(1, 3, 1, 1) for x in (MEAN, DEVIATION))

    @torch.inference_mode()
    def prepare(self, target: Video) -> tuple[torch.Size, list[list[Described]]]:
        """Return the target's layers, frame by frame. Raises UnsuitableInput for sides below 16 px."""
        if min(target.shape[-2:]) < LEAST_SIDE:
            raise UnsuitableInput(f"DISTS needs sides of {LEAST_SIDE} px or more, got {tuple(target.shape[-2:])}")
        return target.shape, [list(self._described(frame)) for frame in target.unbind(1)]

    @torch.inference_mode()
    def rows(self, recon: Video, prepared: tuple[torch.Size, list[list[Described]]]) -> Rows:
        """One value a frame."""
        check_shape(recon, prepared[0])
        frames = zip(recon.unbind(1), prepared[1], strict=True)
        return np.array([float(self._distance(frame, target)) for frame, target in frames], np.float64)

    def _distance(self, frame: Float[Tensor, "3 h w"], target: list[Described]) -> Tensor:
        layers = zip(self._described(frame), target, self.textures, self.structures, strict=True)
        return torch.stack([a @ (1 - _texture(x, y)) + b @ (1 - _structure(x, y)) for x, y, a, b in layers]).sum()

    def _described(self, frame: Float[Tensor, "3 h w"]) -> Iterator[Described]:
        """Yield the picture and each layer. One frame at a time, so that batches cannot move a value."""
        pixels = frame[None].to(self.device, torch.float32)
        yield _describe(pixels)
        yield from map(_describe, self.backbone.layers((pixels - self.shift) / self.scale, root_pool))


def root_pool(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pool by the root of the blurred square, at every second position."""
    taps = (TAPS[:, None] * TAPS / TAPS.sum() ** 2).to(x)
    square = F.conv2d(x**2, taps.expand(x.shape[1], 1, 3, 3), stride=stride, padding=1, groups=x.shape[1])
    return (square + 1e-12).sqrt()


def _describe(features: Float[Tensor, "1 channels rows columns"]) -> Described:
    flat = features[0].flatten(1).double()
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    return Described(centred, mean, (centred**2).mean(1))


def _texture(x: Described, y: Described) -> Float64[Tensor, " channels"]:
    return (2 * x.mean * y.mean + SMALL) / (x.mean**2 + y.mean**2 + SMALL)


def _structure(x: Described, y: Described) -> Float64[Tensor, " channels"]:
    covariance = (x.centred * y.centred).mean(1)
    return (2 * covariance + SMALL) / (x.variance + y.variance + SMALL)
