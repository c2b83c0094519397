"""What a clip shows, in three numbers: how bright it is, how much detail it has, and how much moves."""

import numpy as np
from jaxtyping import Float32

from cvbench.core.types import FloatPixels, Pixels

PLACES = 8
"""Frames that are looked at, spread evenly, each with the one after it."""
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""BT.709."""


def scene(pixels: Pixels | FloatPixels) -> dict[str, float]:
    """Return `luma`, the mean of 0 to 255; `si` and, of a clip, `ti`: spatial and temporal information.

    ITU-T P.910: the largest standard deviation over a frame of its luma's Sobel gradient, and of the difference from
    one frame to the next; here of at most PLACES frames of the prepared clip, whose neighbours are `stride` apart.
    """
    last = max(pixels.shape[1] - 2, 0)
    places = sorted({round(k * last / (PLACES - 1)) for k in range(PLACES)})
    frames = {k: _luma(pixels[:, k]) for place in places for k in (place, place + 1) if k < pixels.shape[1]}
    found = {
        "luma": float(np.mean([frame.mean() for frame in frames.values()])),
        "si": max(float(_gradient(frames[k]).std()) for k in places) if min(pixels.shape[2:]) > 2 else 0.0,
    }
    if pixels.shape[1] > 1:
        found["ti"] = max(float((frames[k + 1] - frames[k]).std()) for k in places)
    return {name: round(value, 1) for name, value in found.items()}


def _luma(frame: np.ndarray) -> Float32[np.ndarray, "h w"]:
    scale = 1 if frame.dtype == np.uint8 else 255
    luma: np.ndarray = np.einsum("c,chw->hw", LUMA * scale, frame.astype(np.float32))
    return luma


def _gradient(y: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h2 w2"]:
    """Return the size of Sobel's gradient, without the border."""
    across, down = y[:, 2:] - y[:, :-2], y[2:] - y[:-2]
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return np.asarray(np.hypot(gx, gy))
