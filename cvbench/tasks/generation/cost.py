"""What drawing will take, before it begins."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from cvbench.engine.device import device_name
from cvbench.tasks.generation.drawing import Drawing

RATES = {"H200": 200.0, "H100": 200.0, "A100": 140.0}
"""TFLOP a second of a diffusion network on a device: from Stability's times of SVD-XT 1.1 (22.6 and 32.2 s a video)."""
OTHER_GPU, CPU = 50.0, 0.05
"""Of another GPU and of a core of a CPU: guesses, good for the order of magnitude."""
LONG = 3600.0
"""Seconds above which a run is agreed on first."""


@dataclass(frozen=True)
class Cost:
    """Samples to be drawn, seconds and bytes; `counted` is False where nobody has counted a generator's operations."""

    samples: int
    seconds: float
    latents: int
    counted: bool = True

    @classmethod
    def of(cls, drawings: Iterable[Drawing]) -> "Cost":
        """Return the cost of what is missing."""
        samples, seconds, size, counted = 0, 0.0, 0, True
        for drawing in drawings:
            missing, source = drawing.missing(), drawing.source
            tflop = source.entry.cost(source.settings)
            samples, seconds = samples + missing, seconds + missing * tflop / rate(source.device)
            size += missing * _bytes(drawing)
            counted = counted and (tflop > 0 or not missing or not source.entry.repo)
        return cls(samples, seconds, size, counted)

    def among(self, processes: int, shares: int) -> "Cost":
        """Return the cost of one of so many shares, on which so many processes work, each on a device of its own."""
        seconds = self.seconds / processes / shares
        return replace(self, samples=-(-self.samples // shares), seconds=seconds, latents=self.latents // shares)

    @property
    def worth_saying(self) -> bool:
        """True for what takes over a minute, and where nobody knows."""
        return self.seconds > 60 or not self.counted

    @property
    def long(self) -> bool:
        """True for a run that should not begin by mistake."""
        return self.seconds > LONG

    @property
    def text(self) -> str:
        """All of it as a line."""
        size = f"{self.latents / 1e6:,.0f} MB of latents" if self.latents >= 1e6 else "less than 1 MB of latents"
        if not self.counted:
            return f"{self.samples:,} samples to draw; what that takes nobody has counted for this generator"
        return f"{self.samples:,} samples to draw: about {_duration(self.seconds)} and {size}"


def rate(device: torch.device) -> float:
    """Return the TFLOP a second that are assumed of a device."""
    if device.type != "cuda":
        return CPU * torch.get_num_threads()
    name = device_name(device)
    return next((value for part, value in RATES.items() if part in name), OTHER_GPU)


def _bytes(drawing: Drawing) -> int:
    """Return the bytes of one sample's latents, by the shape of the entry at the size of the settings."""
    entry, settings = drawing.source.entry, drawing.source.settings
    usual = entry.defaults["size"] if isinstance(entry.defaults["size"], tuple) else (entry.defaults["size"],) * 2
    share = np.prod(settings.size) / np.prod(usual) * settings.frames / entry.defaults.get("frames", 1)
    return int(np.prod(entry.latent) * share * (4 if settings.dtype == "fp32" else 2))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"
