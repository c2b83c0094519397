"""Whether text is still read: OCR on frames and on their targets, by the extra `text`, its networks within."""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from cvbench.core.errors import OF_TEXT, UnsuitableInput
from cvbench.nets.tensors import Video
from cvbench.probes import PROBES
from cvbench.probes.pixel import check_shape, finite

Picture = UInt8[np.ndarray, "h w 3"]
Box = tuple[tuple[float, float], ...]
"""Four corners (x, y) in pixels, from the upper left one clockwise as the text is read."""
EVERY = 8
"""Text hardly changes from frame to frame: frames 0, 8, 16, … are read."""
LEAST_SIDE, LONGEST = 16, 10
"""Frames with a shorter side hold no text; the detector makes short sides 736 px, so long frames would fill memory."""
LEGIBLE = 0.5
"""Least confidence of the recogniser in the target: what was not legible cannot be lost."""
HEIGHTS = {
    "text": (0.0, math.inf), "text-small": (0.0, 16.0), "text-medium": (16.0, 32.0), "text-large": (32.0, math.inf)
}  # fmt: skip
"""From and up to which height of a line's box, in pixels of the target."""


class Line(NamedTuple):
    """A line of text in a target, without its spaces, which recognisers set at will."""

    box: Box
    text: str

    @property
    def height(self) -> float:
        """Mean length of the box's left and right side, in pixels."""
        return (math.dist(self.box[0], self.box[3]) + math.dist(self.box[1], self.box[2])) / 2


Lines = tuple[torch.Size, list[tuple[int, list[Line]]]]
"""A target's shape, and its lines by the number of the frame."""


class Text:
    """1 - normalised edit distance of what is read in frame and target, of each eighth frame that has text; 1 is best.

    Lines are looked for in the target alone. Each is cut out of both pictures by the same box and read by itself, with
    the models PP-OCRv4 that rapidocr-onnxruntime carries. A frame's value is 1 - Σ edit distances / Σ lengths of the
    longer text, so characters weigh alike; `kind` says of which heights of lines. This is not TokBench's number, which
    reads other pictures with another network against texts that people wrote. Raises UnsuitableInput where nothing is
    read in the target, and for frames over ten times as long as wide.
    """

    frames_at_once = 1 << 30  # so that frames are counted from the clip's first

    def __init__(self, kind: str = "text") -> None:
        self.version, self.kind = PROBES[kind].version, kind

    def prepare(self, target: Video) -> Lines:
        """Return the target's lines by the number of the frame."""
        height, width = target.shape[-2:]
        if max(height, width) > LONGEST * min(height, width):
            raise UnsuitableInput(f"text needs sides of a ratio up to {LONGEST}, got {height}×{width}")
        least, below = HEIGHTS[self.kind]
        pictures = _pictures(target) if min(height, width) >= LEAST_SIDE else ()
        read = ((k, lines_of(*_key(picture))) for k, picture in pictures)
        found = [(k, [line for line in lines if least <= line.height < below]) for k, lines in read]
        held = [(k, lines) for k, lines in found if lines]
        if not held:
            raise UnsuitableInput(f"{self.kind} {OF_TEXT}")
        return target.shape, held

    def rows(self, recon: Video, prepared: Lines) -> Float64[np.ndarray, " read"]:
        """One value a frame that was read."""
        check_shape(recon, prepared[0])
        pictures = dict(_pictures(recon))
        return np.array([_legibility(pictures[k], lines) for k, lines in prepared[1]], np.float64)


def small() -> Text:
    """Lines below 16 px."""
    return Text("text-small")


def medium() -> Text:
    """Lines of 16 to 32 px."""
    return Text("text-medium")


def large() -> Text:
    """Lines of 32 px and more."""
    return Text("text-large")


def _legibility(picture: Picture, lines: list[Line]) -> float:
    texts = [text_in(*_key(picture), line.box)[0] for line in lines]
    lost = sum(edits(line.text, text) for line, text in zip(lines, texts, strict=True))
    return 1 - lost / sum(max(len(line.text), len(text)) for line, text in zip(lines, texts, strict=True))


def edits(first: str, second: str) -> int:
    """Return how many characters must be put in, taken out or changed to make one text of the other (Levenshtein)."""
    costs = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, costs[0] = costs[0], i
        for j, b in enumerate(second, 1):
            before, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, before + (a != b))
    return costs[-1]


def _pictures(video: Video | Tensor) -> Iterator[tuple[int, Picture]]:
    """Yield the frames that are read, in blue, green, red, as the package takes them."""
    for k in range(0, video.shape[1], EVERY):
        pixels = (finite(video[:, k : k + 1])[:, 0] * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        yield k, np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()[..., ::-1])


def _key(picture: Picture) -> tuple[bytes, tuple[int, ...]]:
    return picture.tobytes(), picture.shape


def _picture(pixels: bytes, shape: tuple[int, ...]) -> Picture:
    return np.frombuffer(pixels, np.uint8).reshape(shape)


@lru_cache(maxsize=1)
def _engine() -> Any:
    """The package's pipeline, on one thread so that its sums do not move."""
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


@lru_cache(maxsize=64)
def lines_of(pixels: bytes, shape: tuple[int, ...]) -> list[Line]:
    """Return the legible lines of a picture; kept for a while, for the kinds of heights share them."""
    found, _ = _engine()(_picture(pixels, shape), use_cls=False, use_rec=False)
    boxes: list[Box] = [tuple((float(x), float(y)) for x, y in corners) for corners in found or ()]
    read = [(box, *text_in(pixels, shape, box)) for box in boxes]
    return [Line(box, text) for box, text, sure in read if text and sure >= LEGIBLE]


@lru_cache(maxsize=1024)
def text_in(pixels: bytes, shape: tuple[int, ...], box: Box) -> tuple[str, float]:
    """Read one box of a picture by itself, so that no other moves what is read. Return the text and how sure it is."""
    engine = _engine()
    (crop,) = engine.get_crop_img_list(_picture(pixels, shape), np.array([box], np.float32))
    if not crop.size:
        return "", 0.0
    ((text, sure),), _ = engine.text_rec([crop], False)
    return "".join(text.split()), float(sure)
