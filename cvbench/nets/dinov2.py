"""DINOv2's vision transformer as FD-DINOv2 is defined on it: timm's network, at 224×224, with Meta's position weights.

Oquab et al. 2023, "DINOv2: Learning robust visual features without supervision". Tensors are named as in Meta's files
but for `mask_token`, which only training uses.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 224
PATCH = 14
GRID = SIDE // PATCH
OFFSET = 0.1
"""What Meta's code adds to the grid's side before it takes the ratio of sides."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Images = Float[Tensor, "b 3 224 224"]
"""RGB in [0, 1]."""


class DinoV2(nn.Module):
    """The class token of pictures, after the last norm, in eval mode. `variant` is timm's name of the network."""

    def __init__(self, variant: str, **narrower: int) -> None:
        super().__init__()
        import timm

        self.net = timm.create_model(variant, img_size=SIDE, num_classes=0, **narrower)

    def forward(self, images: Images) -> Float[Tensor, "b d"]:
        """Return one row a picture."""
        mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        tokens: Tensor = self.net((images - mean) / deviation)
        return tokens


def read_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return Meta's tensors as `DinoV2` names them, position weights brought to 16×16 places as Meta's code does it."""
    kept = {f"net.{name}": tensor for name, tensor in state.items() if name != "mask_token"}
    if (name := "net.pos_embed") in kept:
        kept[name] = positions(kept[name].float())
    return kept


def positions(trained: Float[Tensor, "1 n d"]) -> Float[Tensor, "1 m d"]:
    """Bring position weights of a square grid, after the class token's, to GRID × GRID places."""
    first, grid = trained[:, :1], trained[:, 1:]
    side = math.isqrt(grid.shape[1])
    if side == GRID:
        return trained
    places = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (GRID + OFFSET) / side
    small = F.interpolate(places, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat([first, small.permute(0, 2, 3, 1).flatten(1, 2)], 1)
