"""The worst tiles of a model's pictures, cut out beside their targets."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cvbench.engine.pictures import Gallery, Stored

SIDE = 32
"""Of a tile, in pixels of the stored picture."""
MARGIN = 16
"""What is shown around it on each side."""

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Tile:
    """A piece of a frame: where it is, in pixels of the clip, its PSNR, and target beside reconstruction as a URI."""

    sample: str
    frame: int
    row: int
    column: int
    psnr: float
    picture: str


def worst_tiles(clips: Sequence[tuple[Gallery, Stored]], model: str, most: int) -> list[Tile]:
    """Return the tiles of largest squared error of a model's pictures, worst first: one a sample, `most` in all.

    Pictures that cannot be read cost their tiles alone: the report names them where it shows the clip.
    """
    found = [tile for gallery, clip in clips if most and (tile := _worst_of(gallery, clip, model))]
    return sorted(found, key=lambda tile: tile.psnr)[:most]


def _worst_of(gallery: Gallery, clip: Stored, model: str) -> Tile | None:
    found = [(float(errors.max()), frame, errors) for frame, errors in _errors(gallery, clip, model)]
    if not found:
        return None
    worst, frame, errors = max(found, key=lambda each: each[0])
    row, column = (int(i) * SIDE for i in np.unravel_index(int(errors.argmax()), errors.shape))
    place = list(clip.frames).index(frame)
    pair = [_read(gallery.folder / files[place]) for files in (clip.target, clip.recons[model])]
    psnr = 100.0 if worst == 0 else float(10 * np.log10(255**2 / worst))
    return Tile(clip.id, frame, row * clip.scale, column * clip.scale, psnr, _beside(pair, row, column))


def _errors(gallery: Gallery, clip: Stored, model: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield by frame shown the mean squared error of each tile."""
    for frame, target, recon in zip(clip.frames, clip.target, clip.recons.get(model, ()), strict=False):
        try:
            x, y = (_read(gallery.folder / file).astype(np.float32) for file in (target, recon))
        except (OSError, ValueError, SyntaxError):
            continue
        if x.shape == y.shape and min(x.shape[:2]) >= SIDE:
            rows, columns = (side // SIDE for side in x.shape[:2])
            cut = np.square(x - y)[: rows * SIDE, : columns * SIDE]
            yield frame, cut.reshape(rows, SIDE, columns, SIDE, 3).mean(axis=(1, 3, 4))


def _read(path: Path) -> Picture:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _beside(pair: Sequence[Picture], row: int, column: int) -> str:
    """Return both pieces, with what is around them, side by side as a URI that needs no file."""
    height, width = pair[0].shape[:2]
    top, left = (max(0, min(at - MARGIN, size - SIDE - 2 * MARGIN)) for at, size in ((row, height), (column, width)))
    pieces = [each[top : top + SIDE + 2 * MARGIN, left : left + SIDE + 2 * MARGIN] for each in pair]
    gap = np.full((pieces[0].shape[0], 2, 3), 255, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.concatenate([pieces[0], gap, pieces[1]], 1)).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
