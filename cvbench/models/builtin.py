"""Entries that need no weights: the identity, pooling floors, codecs."""

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry

_FLOORS = "cvbench.models.floors"
_CODECS = "cvbench.models.codecs"


BUILTIN: dict[str, ModelEntry] = {
    "identity": ModelEntry(
        "returns its input: the ceiling of every metric", f"{_FLOORS}:Identity", Traits(), "reference"
    ),
    "pool-8x8": ModelEntry(
        "area average over 8×8, bilinear back: the floor of an f8 image model",
        f"{_FLOORS}:Pool8x8",
        Traits(1, 8, 3),
        "floor",
    ),
    "pool-4x8x8": ModelEntry(
        "the same, and over 4 frames after the first: the floor of a 4×8×8 video model",
        f"{_FLOORS}:Pool4x8x8",
        Traits(4, 8, 3, FrameRule(1, 4)),
        "floor",
    ),
    "jpeg": ModelEntry("JPEG of each frame, 4:2:0", f"{_CODECS}:Jpeg", Traits(), "codec", {"quality": 75}),
    "webp": ModelEntry("WebP of each frame", f"{_CODECS}:WebP", Traits(), "codec", {"quality": 75}),
    "h264": ModelEntry(
        "H.264 (x264)", f"{_CODECS}:H264", Traits(multiple=2, least_side=16), "codec", {"crf": 23}, mixes=True
    ),
    "hevc": ModelEntry(
        "HEVC (x265)", f"{_CODECS}:Hevc", Traits(multiple=2, least_side=64), "codec", {"crf": 28}, mixes=True
    ),
    "av1": ModelEntry("AV1", f"{_CODECS}:Av1", Traits(multiple=2, least_side=64), "codec", {"crf": 35}, mixes=True),
}
