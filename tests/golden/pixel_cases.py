"""The frames whose recorded measurements are in pixel.json: uint8, (3, t, h, w)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import weights

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("pixel.json").read_text())
SHAPES = {"image1": (1, 3, 1, 192, 256), "image2": (1, 3, 1, 192, 256), "clip": (1, 3, 17, 64, 64)}
NOISE = {"image1": (8, 0), "image2": (25, 1), "clip": (12, 1)}


@cache
def frames(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Return target and reconstruction, after checking their sums against the recorded ones."""
    target = np.rint(weights.clip(f"pixel/{case}", SHAPES[case], 0, 255)).astype(np.uint8)[0]
    recon = _noisy(target, f"pixel/{case}/noise", *NOISE[case])
    if (target.sum(), recon.sum()) != (RECORDED[case]["sum_a"], RECORDED[case]["sum_b"]):
        raise ValueError(f"the frames of {case} are not those that were recorded")
    return target, recon


def videos(case: str, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Return target and reconstruction in [0, 1]."""
    target, recon = (torch.from_numpy(pixels).to(dtype) / 255 for pixels in frames(case))
    return target, recon


def _noisy(target: np.ndarray, name: str, deviation: float, shift: int) -> np.ndarray:
    """Add Gaussian noise, then (for a shift) average with a horizontally shifted copy."""
    noisy = target.astype(np.float64) + deviation * weights.rng(name).standard_normal(target.shape)
    if shift:
        noisy = (noisy + np.roll(noisy, shift, axis=-1)) / 2
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
