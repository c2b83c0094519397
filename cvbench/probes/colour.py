"""CIEDE2000 of each frame: how far colours are off, as an eye sees them."""

import math

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from cvbench.nets.tensors import Video
from cvbench.probes import PROBES, Rows
from cvbench.probes.pixel import check_shape

Lab = Float64[Tensor, "3 ..."]
"""CIE L*, a*, b* at D65, 2° observer."""
TO_XYZ = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
"""Of linear sRGB primaries at D65."""
WHITE = [0.95047, 1.0, 1.08883]
KNEE = 0.008856
PLATEAU = 25.0**7


def to_lab(rgb: Float64[Tensor, "3 ..."]) -> Lab:
    """Convert sRGB in [0, 1] to L*a*b* (IEC 61966-2-1, CIE 15)."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("xc,c...->x...", linear.new_tensor(TO_XYZ) / linear.new_tensor(WHITE)[:, None], linear)
    x, y, z = torch.where(xyz > KNEE, xyz.clamp(min=KNEE) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def delta_e(first: Lab, second: Lab) -> Float64[Tensor, "..."]:
    """CIEDE2000 of pairs of colours, 0 for equal ones, symmetric, kL = kC = kH = 1.

    Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula: implementation notes" (2005), equations 2 to 22.
    """
    (l1, a1, b1), (l2, a2, b2) = first, second
    mean_chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    stretch = 1 + 0.5 * (1 - _saturating(mean_chroma))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    turn, hue = _hues(torch.atan2(b1, a1), torch.atan2(b2, a2), c1 * c2)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    dl = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / torch.sqrt(20 + (lightness - 50) ** 2))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * torch.sqrt(c1 * c2) * torch.sin(turn / 2) / (1 + 0.015 * chroma * _hue_weight(hue))
    blue = torch.exp(-(((torch.rad2deg(hue) - 275) / 25) ** 2))
    rotation = -2 * _saturating(chroma) * torch.sin(math.radians(60) * blue)
    return torch.sqrt((dl**2 + dc**2 + dh**2 + rotation * dc * dh).clamp(min=0))


def _saturating(chroma: Tensor) -> Tensor:
    return torch.sqrt(chroma**7 / (chroma**7 + PLATEAU))


def _hues(first: Tensor, second: Tensor, chromas: Tensor) -> tuple[Tensor, Tensor]:
    """Return the turn from one hue to another by the shorter way, and their mean in [0, 2π), of grey the other's."""
    first, second = first % (2 * math.pi), second % (2 * math.pi)
    turn = second - first
    far = turn.abs() > math.pi
    total = first + second
    mean = torch.where(far, total + torch.where(total < 2 * math.pi, 2 * math.pi, -2 * math.pi), total) / 2
    turn = turn - torch.where(far, 2 * math.pi * torch.sign(turn), 0.0)
    grey = chromas == 0
    return turn.masked_fill(grey, 0.0), torch.where(grey, total, mean)


def _hue_weight(hue: Tensor) -> Tensor:
    waves = ((-0.17, 1, 30), (0.24, 2, 0), (0.32, 3, -6), (-0.20, 4, 63))
    return 1 + torch.stack([size * torch.cos(times * hue - math.radians(shift)) for size, times, shift in waves]).sum(0)


class Ciede2000:
    """Mean CIEDE2000 over the pixels of each frame; 0 for equal frames, about 1 is just seen, white to black is 100.

    Equals scikit-image's `deltaE_ciede2000` of `rgb2lab`, averaged; in float64.
    """

    name, frames_at_once = "ciede2000", 8

    def __init__(self) -> None:
        self.version = PROBES[self.name].version

    @torch.inference_mode()
    def prepare(self, target: Video) -> Float64[Tensor, "3 t h w"]:
        """Return the target's L*a*b*."""
        return to_lab(target.double())

    @torch.inference_mode()
    def rows(self, recon: Video, prepared: Tensor) -> Rows:
        """One value a frame."""
        check_shape(recon, prepared.shape)
        pairs = zip(recon.unbind(1), prepared.unbind(1), strict=True)
        maps = (delta_e(lab, to_lab(frame.double())).cpu().numpy() for frame, lab in pairs)
        return np.array([self.of_frame(each) for each in maps], np.float64)

    def of_frame(self, found: Float64[np.ndarray, "h w"]) -> float:
        """Reduce a frame's differences to one number."""
        return float(found.mean())


class Ciede2000P95(Ciede2000):
    """The 95th percentile of the same over the pixels of each frame: what a mean over a flat background hides."""

    name = "ciede2000-p95"

    def of_frame(self, found: Float64[np.ndarray, "h w"]) -> float:
        """The percentile, between the two nearest pixels where it falls there."""
        return float(np.percentile(found, 95))
