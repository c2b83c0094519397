"""Floors and the ceiling: models that learn nothing, which every learned one must be compared with."""

import torch
from jaxtyping import Float
from torch import Tensor

from cvbench.core.errors import BadOutput, UnsuitableInput
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import Loading
from cvbench.nets.tensors import Latents, Videos


class Floor:
    """What has no weights and no options: it computes in the dtype of the pixels it is given, which is float32."""

    params = (0, 0)
    computes_in = "fp32"

    @classmethod
    def build(cls, loading: Loading) -> "Floor":
        """Build it as `models.build` does; nothing of the loading changes it."""
        return cls()


class Identity(Floor):
    """Returns its input, bit for bit: the ceiling of every metric."""

    traits = Traits()

    def encode(self, videos: Videos) -> Latents:
        """Return the pixels themselves, (b, 3, t, h, w)."""
        return videos

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Return the pixels again. Raises BadOutput when they are not `frames` frames."""
        return _latents_of(latents, frames, self.traits)


class Pool8x8(Floor):
    """Area average over 8×8 pixels and bilinear interpolation back, frame by frame: the floor of an f8 image model.

    Bilinear (half-pixel centres, as `align_corners=False`) and not nearest: it is the better reconstruction
    of natural images, and a floor should not be easy to beat. A constant clip comes back exactly.
    """

    traits = Traits(temporal=1, spatial=8, channels=3)

    def encode(self, videos: Videos) -> Latents:
        """Average: (b, 3, t, h, w) to (b, 3, t, h/8, w/8), in [0, 1]. Raises UnsuitableInput for other sizes."""
        check_size(videos, self.traits, "pool-8x8")
        return _average(_average(videos, 3, 8), 4, 8)

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Interpolate: (b, 3, t, h/8, w/8) to (b, 3, t, h, w). Raises BadOutput when t is not `frames`."""
        z = _latents_of(latents, frames, self.traits)
        return _enlarge(_enlarge(z, 3), 4)


class Pool4x8x8(Floor):
    """Average over 4 frames and 8×8 pixels, linear interpolation back: the floor of a 4×8×8 video model.

    Takes 1 + 4k frames, as causal video VAEs do: the first latent frame is the mean of the first frame alone,
    the k-th that of frames 4k - 3 to 4k. In time each latent frame stands at the middle of its frames;
    outside the outermost middles it is repeated. A constant clip comes back exactly.
    """

    traits = Traits(temporal=4, spatial=8, channels=3, frame_rule=FrameRule(base=1, step=4))

    def encode(self, videos: Videos) -> Latents:
        """Average: (b, 3, 1 + 4k, h, w) to (b, 3, 1 + k, h/8, w/8). Raises UnsuitableInput for other shapes."""
        check_size(videos, self.traits, "pool-4x8x8")
        small = _average(_average(videos, 3, 8), 4, 8)
        return torch.cat([small[:, :, :1], _average(small[:, :, 1:], 2, 4)], dim=2)

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Interpolate: (b, 3, 1 + k, h/8, w/8) to (b, 3, 1 + 4k, h, w). Raises BadOutput unless that is `frames`."""
        z = _latents_of(latents, frames, self.traits)
        nodes = 4.0 * torch.arange(z.shape[2], device=z.device) - 1.5
        nodes[0] = 0
        return _enlarge(_enlarge(_interpolate(z, 2, nodes, frames), 3), 4)


def check_size(videos: Videos, traits: Traits, model: str) -> None:
    """Raise UnsuitableInput unless `traits` admit the clips' height, width and length."""
    *_, frames, height, width = videos.shape
    multiple = traits.multiple or traits.spatial
    if height % multiple or width % multiple or min(height, width) < traits.least_side:
        wanted = f"multiples of {multiple}, at least {max(multiple, traits.least_side)}"
        raise UnsuitableInput(f"{model}: frames are {height}×{width}; pad height and width to {wanted}")
    rule = traits.frame_rule
    if rule.fit(frames) != frames:
        raise UnsuitableInput(f"{model}: clips have {frames} frames; pad to {rule.fit(frames)} (it takes {rule})")


def _latents_of(latents: Latents, frames: int, traits: Traits) -> Videos:
    if not isinstance(latents, Tensor):
        raise BadOutput("latents are byte strings; give the tensor that encode returned")
    base = traits.frame_rule.base
    held = base + (latents.shape[2] - base) * traits.temporal
    if held != frames:
        raise BadOutput(f"the latents hold {held} frames, {frames} were asked for")
    return latents


def _average(values: Float[Tensor, "*shape"], dim: int, factor: int) -> Float[Tensor, "*pooled"]:
    """Mean of every `factor` (a power of two) values along `dim`.

    By halving: the mean of two equal floats is exact, that of 64 added up is not.
    """
    before = (slice(None),) * dim
    while factor > 1:
        values = (values[*before, 0::2] + values[*before, 1::2]) / 2
        factor //= 2
    return values


def _enlarge(values: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*large"]:
    """Interpolate to 8 times the length: value i stands at the middle of pixels 8i to 8i + 7."""
    length = values.shape[dim]
    return _interpolate(values, dim, 8.0 * torch.arange(length, device=values.device) + 3.5, 8 * length)


def _interpolate(
    values: Float[Tensor, "*shape"], dim: int, nodes: Float[Tensor, " n"], length: int
) -> Float[Tensor, "*large"]:
    """Sample at 0, 1, ..., length - 1 the piecewise linear function through (nodes, values), constant outside."""
    points = torch.arange(length, device=values.device, dtype=nodes.dtype)
    right = torch.searchsorted(nodes, points).clamp(max=len(nodes) - 1)
    left = (right - 1).clamp(min=0)
    gap = (nodes[right] - nodes[left]).clamp(min=1)  # 0 only before the first node, where the weight is 0 as well
    weight = ((points - nodes[left]) / gap).clamp(0, 1).to(values.dtype)
    weight = weight.view(-1, *[1] * (values.ndim - 1 - dim))
    return torch.lerp(values.index_select(dim, left), values.index_select(dim, right), weight)
