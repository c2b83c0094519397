"""Seams: rows and columns along which an error jumps, as at the borders of tiles."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.tensors import Video
from cvbench.probes import PROBES, Rows
from cvbench.probes.pixel import check_shape

QUIET = 0.25 / 255
"""Step below which no border is seen: a quarter of a level."""
BESIDE = 8
"""Lines on each side that a line is held against."""
PIECE = 16
"""Pixels along a line over which the step is averaged: a border's keeps its sign, that of noise does not."""
AXES = {-1: "column", -2: "row"}

Error = Float[Tensor, "3 t h w"]


class Line(NamedTuple):
    """A border between two rows or columns: by how much the step there exceeds its like; it leads to `place`."""

    ratio: float
    axis: str
    place: int

    def __str__(self) -> str:
        return f"{self.ratio:.2f}" + (f" at {self.axis} {self.place}" if self.place else "")


def steps(error: Error, axis: int, piece: int) -> Float64[Tensor, " lines"]:
    """Return the typical step of an error across each border between rows (axis -2) or columns (-1).

    Averaged with its sign over frames and `piece` pixels along the border, then its size over colours; the median of
    the pieces, for a seam runs through the picture, an edge of what is shown seldom through half of it.
    """
    jumps = error.double().diff(dim=axis).mean(dim=1).movedim(axis, 0)
    pieces = jumps.unfold(-1, piece, piece).mean(dim=-1).abs().mean(dim=1)
    return pieces.median(dim=-1).values


def worst_line(errors: Sequence[Error], like: Sequence[Error] = ()) -> Line:
    """Return the border whose step most exceeds its like; 1 where there is no error.

    Its like: the median of the lines within BESIDE of it and, where errors of the same clips are given that have no
    such borders, the step there. Looked for in pieces, by the median over clips (a model's borders are at one place,
    what is shown is not), and along the whole line of all clips together, where even a faint step of one sign stands
    out.
    """
    found = [Line(1.0, "", 0)]
    for axis, name in AXES.items():
        whole = errors[0].shape[-1 if axis == -2 else -2]
        together = ([torch.cat(list(errors), 1)], [torch.cat(list(like), 1)] if like else [])
        for (each, base), piece in (((errors, like), PIECE), (together, whole)):
            ratios = _over_clips(each, base, axis, piece)
            place = int(ratios.argmax())
            found.append(Line(float(ratios[place]), name, place + 1))
    return max(found, key=lambda line: line.ratio)


def _over_clips(errors: Sequence[Error], like: Sequence[Error], axis: int, piece: int) -> Float64[Tensor, " lines"]:
    bases = [steps(each, axis, piece) for each in like] or [torch.zeros(())] * len(errors)
    ratios = [_ratios(steps(error, axis, piece), base) for error, base in zip(errors, bases, strict=True)]
    return torch.stack(ratios).median(dim=0).values


def _ratios(found: Float64[Tensor, " lines"], base: Tensor) -> Float64[Tensor, " lines"]:
    around = F.pad(found[None], (BESIDE, BESIDE), mode="replicate")[0].unfold(0, 2 * BESIDE + 1, 1)
    return (found + QUIET) / (around.median(dim=1).values.maximum(base.to(found)) + QUIET)


class Seam:
    """The worst line of each frame's error: by how much its step exceeds that of the lines beside it; 1 without error.

    Some 2 to 3 where there is no seam, for it is the worst of some hundred lines.
    """

    version = PROBES["seam"].version
    frames_at_once = 64

    def prepare(self, target: Video) -> Video:
        """Return the target. Raises UnsuitableInput for frames that are narrower than a piece of a border."""
        if min(target.shape[-2:]) < 2 * PIECE:
            raise UnsuitableInput(f"seams need sides of {2 * PIECE} px, got {target.shape[-2]}×{target.shape[-1]}")
        return target

    @torch.inference_mode()
    def rows(self, recon: Video, prepared: Tensor) -> Rows:
        """One value a frame."""
        check_shape(recon, prepared.shape)
        errors = (recon - prepared)[:, :, None].unbind(1)
        return np.array([worst_line([error]).ratio for error in errors], np.float64)
