"""LPIPS of each frame, with the AlexNet or VGG16 backbone."""

import importlib.util
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from cvbench.core.errors import Unavailable, UnsuitableInput
from cvbench.nets.backbones import Backbone, Net
from cvbench.nets.tensors import Video
from cvbench.probes import PROBES
from cvbench.probes.pixel import OnDevice, check_shape
from cvbench.weights import fit, read_tensors

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10
LEAST_SIDE = {"vgg": 16, "alex": 31}
FRAMES_AT_ONCE = {"vgg": 1, "alex": 8}  # features of a 256×256 frame: 32 MB and 2.6 MB


class Features(NamedTuple):
    """What LPIPS needs of a target: by frame, by layer, features of unit length at each position."""

    shape: torch.Size
    frames: list[list[Float[Tensor, "positions channels"]]]


class Lpips(OnDevice):
    """Learned perceptual distance, version 0.1, of each frame; 0 for equal frames.

    Pixels in [0, 1] become the [-1, 1] that the published networks take. `backbone` is the state dict of
    torchvision's vgg16 or alexnet, or its file; the linear heads are those the `lpips` package carries. The
    target's features are computed once for all models. Zhang et al. 2018, "The unreasonable effectiveness of deep
    features as a perceptual metric"; equals `lpips.LPIPS(net, version="0.1")`. Raises BadWeights naming what is
    missing or misshaped. With `unit` the net is fed pixels in [0, 1] as they are, which nobody meant; some scripts do.
    """

    def __init__(
        self,
        net: Net,
        backbone: Path | Mapping[str, Tensor],
        device: torch.device | None = None,
        *,
        unit: bool = False,
    ) -> None:
        self.net, self.unit = net, unit
        self.version = PROBES[f"lpips-{net}{'-unit' if unit else ''}"].version
        self.frames_at_once = FRAMES_AT_ONCE[net]
        self.device = device or torch.device("cpu")
        self.backbone = Backbone(net, backbone, self.device)
        self.heads = [head.to(self.device) for head in _heads(net, self.backbone.widths)]
        self.shift = torch.tensor(SHIFT, device=self.device).view(1, 3, 1, 1)
        self.scale = torch.tensor(SCALE, device=self.device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def prepare(self, target: Video) -> Features:
        """Return the target's features; raises UnsuitableInput for frames the backbone's pooling leaves empty."""
        least = LEAST_SIDE[self.net]
        if min(target.shape[-2:]) < least:
            height, width = target.shape[-2:]
            raise UnsuitableInput(f"LPIPS ({self.net}) needs sides of {least} px or more, got {height}×{width}")
        return Features(target.shape, [list(self._unit_features(frame)) for frame in target.unbind(1)])

    @torch.inference_mode()
    def values(self, recon: Video, prepared: Features) -> Float64[Tensor, " t"]:
        """LPIPS of each frame."""
        return reduce(torch.add, self.layers(recon, prepared).unbind(-1))

    @torch.inference_mode()
    def layers(self, recon: Video, prepared: Features) -> Float64[Tensor, "t layers"]:
        """Return what each layer adds to each frame's distance."""
        check_shape(recon, prepared.shape)
        frames = zip(recon.unbind(1), prepared.frames, strict=True)
        return torch.stack([self._distances(frame, target) for frame, target in frames])

    def _distances(self, frame: Float[Tensor, "3 h w"], target: list[Tensor]) -> Float64[Tensor, " layers"]:
        layers = zip(self._unit_features(frame), target, self.heads, strict=True)
        return torch.stack([(x.sub_(y).square_() @ head).mean(dtype=torch.float64) for x, y, head in layers])

    def _unit_features(self, frame: Float[Tensor, "3 h w"]) -> Iterator[Float[Tensor, "positions channels"]]:
        """Yield each compared layer's features, scaled to unit length over the channels."""
        for features in self._features(frame):
            flat = features.permute(0, 2, 3, 1).flatten(0, 2)
            yield flat / (torch.linalg.vector_norm(flat, dim=1, keepdim=True) + EPSILON)

    def _features(self, frame: Float[Tensor, "3 h w"]) -> Iterator[Float[Tensor, "1 channels rows columns"]]:
        """Yield each compared layer. One frame at a time: faster on a CPU, and batches cannot move a value."""
        pixels = frame[None].to(self.device, torch.float32)
        pixels = pixels if self.unit else 2 * pixels - 1
        yield from self.backbone.layers((pixels - self.shift) / self.scale)


def lpips_vgg(backbone: Path, device: torch.device) -> Lpips:
    """LPIPS on VGG16."""
    return Lpips("vgg", backbone, device)


def lpips_alex(backbone: Path, device: torch.device) -> Lpips:
    """LPIPS on AlexNet."""
    return Lpips("alex", backbone, device)


def lpips_vgg_unit(backbone: Path, device: torch.device) -> Lpips:
    """LPIPS on VGG16, fed [0, 1]."""
    return Lpips("vgg", backbone, device, unit=True)


def lpips_alex_unit(backbone: Path, device: torch.device) -> Lpips:
    """LPIPS on AlexNet, fed [0, 1]."""
    return Lpips("alex", backbone, device, unit=True)


def _heads(net: Net, widths: list[int]) -> list[Float[Tensor, " channels"]]:
    """Return the weight of every channel, layer by layer, as published with the `lpips` package."""
    found = importlib.util.find_spec("lpips")  # found, not imported: the package pulls in its training code
    if found is None or found.origin is None:
        raise Unavailable("LPIPS needs the published linear heads in the package `lpips`: pip install lpips")
    path = Path(found.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    wanted = {f"lin{k}.model.1.weight": torch.empty((1, n, 1, 1), device="meta") for k, n in enumerate(widths)}
    state = fit(read_tensors(path), wanted, str(path))
    return [state[name].flatten() for name in wanted]
