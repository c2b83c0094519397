"""VidTok 1.0: the tensors of release 1.1, which diffusers has, and other arithmetic at the edges of time.

Convolutions and averages see zeros before the first frame, not that frame again; time is doubled by repetition.
Reference: microsoft/VidTok at d6ad92d.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Features = Float[Tensor, "b _ _ ..."]


def first_release(net: Any) -> Any:
    """Give the layers of diffusers' AutoencoderVidTok the arithmetic of release 1.0; return the network."""
    from diffusers.models.autoencoders import autoencoder_vidtok as modules

    rules = {
        modules.VidTokCausalConv1d: _convolve,
        modules.VidTokCausalConv3d: _convolve,
        modules.VidTokDownsample3D: _halve,
        modules.VidTokUpsample3D: _double,
    }
    for module in net.modules():
        if type(module) in rules:
            module.forward = rules[type(module)].__get__(module)
    return net


def _convolve(self: Any, x: Features) -> Features:
    space = getattr(self, "spatial_padding", (0, 0))[:-2]
    y: Tensor = self.conv(F.pad(x, (*space, self.time_pad, 0)))
    return y


def _halve(self: Any, x: Features) -> Features:
    alpha, pooled = torch.sigmoid(self.mix_factor), self.avg_pool(F.pad(x, (0, 0, 0, 0, 1, 0)))
    y: Tensor = alpha * pooled + (1 - alpha) * self.conv(x)
    return y


def _double(self: Any, x: Features) -> Features:
    alpha, doubled = torch.sigmoid(self.mix_factor), x.repeat_interleave(2, dim=2)
    y: Tensor = alpha * doubled + (1 - alpha) * self.conv(doubled)
    return y
