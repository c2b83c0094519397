"""What goes wrong inside a picture or a clip, as one number each: range, shifted pieces, colours, breaks in time."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float64
from torch import Tensor

from cvbench.nets.tensors import Video
from cvbench.probes.colour import delta_e, to_lab

BLOCK = 32
"""Side of the pieces that are looked at for a shift, in pixels."""
REACH = 4
"""How far a piece is tried to be shifted, in pixels, each way."""
BETTER = 0.5
"""A piece is shifted when its error falls to less than this share."""
DETAIL = 2e-4
"""Variance of a piece below which a shift would not be seen."""

QUIET = 0.25
"""Levels below which a change of the error is nobody's concern."""


class Fit(NamedTuple):
    """Least squares of a reconstruction's local means on the target's: 1 and 0 where the range is right."""

    slope: float
    offset: float


def range_fit(recon: Video, target: Video) -> Fit:
    """Fit the means of 16×16 px of a reconstruction, which need not be clamped, by those of its target."""
    x, y = (_local_means(video).flatten() for video in (target, recon))
    centred = x - x.mean()
    slope = float((centred @ (y - y.mean())) / (centred @ centred).clamp(min=1e-12))
    return Fit(slope, float(y.mean() - slope * x.mean()))


def _local_means(video: Video) -> Tensor:
    side = min(16, *video.shape[-2:])
    return F.avg_pool2d(video.double().transpose(0, 1), side)


def shifted_share(recon: Video, target: Video) -> float:
    """Share of the pieces with detail that fit their target much better when they are shifted by 1 to 4 px.

    Of the middle frame. 0 for blur, noise and blocks, however strong: these have no better place.
    """
    middle = target.shape[1] // 2
    x, y = recon[:, middle].double(), target[:, middle].double()
    at_rest = _block_errors(x, y)
    moved = [
        _block_errors(x.roll((dy, dx), (1, 2)), y)
        for dy in range(-REACH, REACH + 1)
        for dx in range(-REACH, REACH + 1)
        if dy or dx
    ]
    detailed = _blocks(y).var(dim=(0, 3, 4)) > DETAIL
    shifted = (torch.stack(moved).amin(0) < BETTER * at_rest) & detailed & (at_rest > 1e-5)
    return float(shifted.sum() / detailed.sum().clamp(min=1))


def _blocks(frame: Tensor) -> Tensor:
    _, height, width = frame.shape
    inner = frame[:, : height // BLOCK * BLOCK, : width // BLOCK * BLOCK]
    return rearrange(inner, "c (y b) (x d) -> c y x b d", b=BLOCK, d=BLOCK)


def _block_errors(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each piece, without the margin that a shift brings in from its neighbours."""
    errors = _blocks((x - y).square())[..., REACH:-REACH, REACH:-REACH]
    return reduce(errors, "c y x b d -> y x", "mean")


def worst_place(error: Video, *, spatial: bool) -> str:
    """Name the piece, or the frame, of the largest mean squared error."""
    squares = error.double().square()
    if not spatial:
        return f"in frame {int(squares.mean(dim=(0, 2, 3)).argmax())}"
    side = min(BLOCK, *error.shape[-2:])
    means = F.avg_pool2d(squares.mean(dim=(0, 1))[None], side)[0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return f"at rows {row * side} to {(row + 1) * side - 1}, columns {column * side} to {(column + 1) * side - 1}"


def colour_bias(recon: Video, target: Video) -> Float64[Tensor, "t 3"]:
    """Mean error of red, green and blue of each frame, in levels of 255."""
    return 255 * (recon.double() - target.double()).mean(dim=(2, 3)).T


def colour_distance(recon: Video, target: Video) -> Float64[Tensor, " t"]:
    """Mean CIEDE2000 between the means of 16×16 px of each frame: of what is tinted, not of what is blurred."""
    x, y = (to_lab(_local_means(video.clamp(0, 1)).transpose(0, 1)) for video in (recon, target))
    return delta_e(x, y).mean(dim=(1, 2))


def change_errors(recon: Video, target: Video) -> Float64[Tensor, " changes"]:
    """Root mean square of the change from frame to frame of the error's means over 16×16 px, in levels of 255.

    Fine errors change with all that moves; what a model forgets between frames moves whole regions.
    """
    error = _local_means(recon.double() - target.double())
    return 255 * error.diff(dim=0).square().mean(dim=(1, 2, 3)).sqrt()


def worst_break(changes: Float64[Tensor, "clips changes"], period: int) -> tuple[float, int]:
    """Return by how much the worst change of the error exceeds its like, and the frame that it leads to.

    Its like: changes at the same place in the model's temporal group of `period` frames, the first change apart, for
    the first frame is coded by itself. The median over clips leaves out what is of one clip. 1 where there is no like.
    """
    typical = changes.median(0).values[1:]
    worst, frame = 1.0, 0
    for phase in range(period):
        like = typical[phase::period]
        if len(like) >= 3:
            ratio = like / like.median().clamp(min=QUIET)
            place = int(ratio.argmax())
            if float(ratio[place]) > worst:
                worst, frame = float(ratio[place]), 2 + phase + place * period
    return worst, frame


def dead_channels(latents: Tensor) -> tuple[int, int]:
    """Return how many channels of (b, c, ...) latents vary by less than 1 % of the most varying one, of how many."""
    spread = latents.double().transpose(0, 1).flatten(1).std(1)
    return int((spread < 0.01 * spread.max()).sum()), len(spread)
