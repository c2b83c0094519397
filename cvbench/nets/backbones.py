"""AlexNet's and VGG16's convolutions, up to the layers that perceptual distances compare."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cvbench.weights import fit, read_tensors

Net = Literal["vgg", "alex"]
Pool = Callable[[Tensor, int, int], Tensor]
"""From features, kernel and stride."""


class Conv(NamedTuple):
    """A convolution followed by ReLU; `place` is its number in torchvision's `features`."""

    place: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


class Stage(NamedTuple):
    """Layers up to one whose output LPIPS compares; `pool` is kernel and stride of the max pooling before them."""

    pool: tuple[int, int] | None
    convs: tuple[Conv, ...]


STAGES: dict[str, tuple[Stage, ...]] = {
    "alex": (
        Stage(None, (Conv(0, 3, 64, 11, 4, 2),)),
        Stage((3, 2), (Conv(3, 64, 192, 5, 1, 2),)),
        Stage((3, 2), (Conv(6, 192, 384),)),
        Stage(None, (Conv(8, 384, 256),)),
        Stage(None, (Conv(10, 256, 256),)),
    ),
    "vgg": (
        Stage(None, (Conv(0, 3, 64), Conv(2, 64, 64))),
        Stage((2, 2), (Conv(5, 64, 128), Conv(7, 128, 128))),
        Stage((2, 2), (Conv(10, 128, 256), Conv(12, 256, 256), Conv(14, 256, 256))),
        Stage((2, 2), (Conv(17, 256, 512), Conv(19, 512, 512), Conv(21, 512, 512))),
        Stage((2, 2), (Conv(24, 512, 512), Conv(26, 512, 512), Conv(28, 512, 512))),
    ),
}


def max_pool(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pool as the networks were trained."""
    return F.max_pool2d(x, kernel, stride)


class Backbone:
    """The convolutions of torchvision's vgg16 or alexnet, from a state dict or its file, also of a whole classifier.

    Full float32 on every device: TF32, cuDNN's default, moves distances in the third digit. Raises BadWeights naming
    what is missing or misshaped.
    """

    def __init__(self, net: Net, source: Path | Mapping[str, Tensor], device: torch.device) -> None:
        self.stages = STAGES[net]
        state = read_tensors(source) if isinstance(source, Path) else source
        where = str(source) if isinstance(source, Path) else f"the {net} backbone"
        self.weights = {
            name: weight.to(device, torch.float32)
            for name, weight in fit(state, self._wanted(), where, drop=("classifier.",)).items()
        }
        for name, weight in self.weights.items():
            if weight.ndim == 4:
                self.weights[name] = weight.contiguous(memory_format=torch.channels_last)

    def _wanted(self) -> dict[str, Tensor]:
        wanted: dict[str, Tensor] = {}
        for conv in (conv for stage in self.stages for conv in stage.convs):
            shape = (conv.outputs, conv.inputs, conv.kernel, conv.kernel)
            wanted[f"features.{conv.place}.weight"] = torch.empty(shape, device="meta")
            wanted[f"features.{conv.place}.bias"] = torch.empty(conv.outputs, device="meta")
        return wanted

    @property
    def widths(self) -> list[int]:
        """Channels of the compared layers."""
        return [stage.convs[-1].outputs for stage in self.stages]

    def layers(
        self, x: Float[Tensor, "1 3 h w"], pool: Pool = max_pool
    ) -> Iterator[Float[Tensor, "1 channels rows columns"]]:
        """Yield each compared layer of a normalised picture."""
        x = x.contiguous(memory_format=torch.channels_last)
        for size, convs in self.stages:
            x = pool(x, *size) if size else x
            for conv in convs:
                x = self._convolved(x, conv).relu_()
            yield x

    def _convolved(self, x: Tensor, conv: Conv) -> Tensor:
        weight, bias = (self.weights[f"features.{conv.place}.{part}"] for part in ("weight", "bias"))
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, deterministic=True, allow_tf32=False):
            return F.conv2d(x, weight, bias, conv.stride, conv.padding)
