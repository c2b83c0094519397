"""What the health suite finds: numbers with their limits and a verdict, and predictors that are not judged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "look", "broken", "predictor"]
"""A predictor is a number that goes with how well a space can be generated in: it has no limits."""


@dataclass(frozen=True)
class Limit:
    """A number up to `ok` is ok, from `broken` on it is broken (the other way round where more is better)."""

    what: str
    unit: str
    ok: float
    broken: float

    def verdict(self, value: float) -> Verdict:
        """Judge a number; one that is none is broken."""
        sign = 1 if self.ok <= self.broken else -1
        if not sign * value < sign * self.broken:
            return "broken"
        return "ok" if sign * value <= sign * self.ok else "look"

    def __str__(self) -> str:
        more = "≤" if self.ok <= self.broken else "≥"
        return f"ok {more} {self.ok:g}, broken from {self.broken:g}{self.unit and ' ' + self.unit}"


LIMITS = {
    "finite": Limit("numbers that are NaN or infinite, in latents and pixels", "", 0.0, 1.0),
    "range": Limit("how far the slope of local brightness is from 1", "", 0.15, 0.35),
    "alignment": Limit("share of 32 px pieces that fit better 1 to 4 px away", "", 0.0, 0.02),
    "repeatable": Limit("PSNR of two codings of one clip, another seed and other clips between", "dB", 90.0, 60.0),
    "colour": Limit("largest mean error of red, green or blue, first frame apart", "levels", 2.0, 6.0),
    "first frame": Limit("its mean colour error against that of the others", "levels", 2.0, 5.0),
    "drift": Limit("mean colour error of the last third against the first", "levels", 2.0, 5.0),
    "breaks in time": Limit("largest change of the error over its like", "×", 3.0, 4.0),
    "bf16": Limit("PSNR against float32", "dB", 35.0, 22.0),
    "fp16": Limit("PSNR against float32", "dB", 45.0, 30.0),
    "tf32": Limit("PSNR against float32", "dB", 45.0, 30.0),
    "device": Limit("PSNR of the CPU against the GPU, float32", "dB", 60.0, 40.0),
    "tiles": Limit("PSNR against the clip that the official spatial tiling costs", "dB", 0.5, 3.0),
    "seams": Limit("step of the error across the worst row or column, tiled or not, over its like", "×", 4.0, 8.0),
    "chunks": Limit("PSNR against the clip that coding it in two runs of frames costs", "dB", 1.0, 6.0),
    "dead channels": Limit("channels that vary by less than 1 % of the most varying", "", 0.0, math.inf),
}


@dataclass(frozen=True)
class Finding:
    """One line of a model's health: a number with its limits, or in words why there is none."""

    check: str
    verdict: Verdict
    value: str
    limits: str
    what: str


@dataclass(frozen=True)
class Checkup:
    """All findings on one model."""

    model: str
    findings: Sequence[Finding]

    @property
    def broken(self) -> bool:
        """Whether anything is."""
        return any(f.verdict == "broken" for f in self.findings)
