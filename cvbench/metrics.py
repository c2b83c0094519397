"""Metrics: stored rows to one number. The table is the registry; the direction of good lives here and nowhere else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from cvbench.errors import UnknownName
from cvbench.protocols import EvalProtocol
from cvbench.records import Score
from cvbench.statistics import bootstrap_mean

Rows = Sequence[np.ndarray]
"""One array a sample, one value a frame."""


def clip_means(rows: Rows) -> np.ndarray:
    """Mean over each clip's frames: a long clip weighs no more than a short one."""
    return np.array([np.mean(row, dtype=np.float64) for row in rows])


def clip_psnr(rows: Rows) -> np.ndarray:
    """PSNR of each clip's mean squared error, from the frames' PSNR (dB)."""
    return np.array([_decibels(np.mean(_squared_error(row))) for row in rows])


def _squared_error(psnr: np.ndarray) -> np.ndarray:
    return np.asarray(10 ** (-np.asarray(psnr, np.float64) / 10))


def _decibels(mse: float) -> float:
    return float(-10 * np.log10(mse))


class Estimate(NamedTuple):
    """A distance of two sets with its interval, None where no honest one is known."""

    value: float
    low: float | None = None
    high: float | None = None


Groups = np.ndarray
"""The sample each row comes from: rows of one clip are no independent evidence."""


def frechet(x: np.ndarray, y: np.ndarray, groups: Groups) -> Estimate:
    """Fréchet distance with a jackknife interval over samples. See `cvbench.distances`."""
    from cvbench.distances import frechet, frechet_interval

    enough = len(np.unique(groups)) > 2
    return Estimate(frechet(x, y), *((frechet_interval(x, y, groups) if enough else None) or (None, None)))


def frechet_infinite(x: np.ndarray, y: np.ndarray, groups: Groups) -> Estimate:
    """Fréchet distance extrapolated to infinitely many samples; with an interval only where that is honest."""
    from cvbench.distances import frechet_extrapolated

    value, interval = frechet_extrapolated(x, y)
    return Estimate(value, *(interval or (None, None)))


def polynomial_mmd(x: np.ndarray, y: np.ndarray, groups: Groups) -> Estimate:
    """Unbiased squared MMD of the whole sets, degree 3, γ = 1/d; it may be negative."""
    from cvbench.distances import polynomial_mmd

    return Estimate(polynomial_mmd(x, y))


def kid(x: np.ndarray, y: np.ndarray, groups: Groups) -> Estimate:
    """Mean of the same over 100 subsets of 1,000 rows, of all rows where there are fewer (the spread is no interval)."""
    from cvbench.distances import kid

    return Estimate(kid(x, y, size=min(1000, len(x), len(y))).mean)


Distance = Callable[[np.ndarray, np.ndarray, Groups], Estimate]


@dataclass(frozen=True)
class Metric:
    """A reduction of one probe's rows to a score.

    Without `distance`, `clips` gives one value a sample, whose mean is the score. With it, the probe is a feature
    probe and the score compares all rows of the reconstructions (or generated videos) with all of the targets.
    """

    probe: str
    better: Literal["higher", "lower"]
    label: str
    unit: str = ""
    digits: int = 3
    clips: Callable[[Rows], np.ndarray] = clip_means
    distance: Distance | None = None
    about: str = ""

    @property
    def arrow(self) -> str:
        """↑ when more is better, ↓ when less is."""
        return "↑" if self.better == "higher" else "↓"


METRICS = {
    "psnr": Metric("psnr", "higher", "PSNR", "dB", 2, about="peak signal-to-noise ratio of each frame"),
    "ssim": Metric("ssim", "higher", "SSIM", about="structural similarity, Gaussian window 11, valid region, RGB"),
    "ms-ssim": Metric("ms-ssim", "higher", "MS-SSIM", about="multi-scale SSIM, 5 scales (sides above 160 px)"),
    "lpips-vgg": Metric("lpips-vgg", "lower", "LPIPS-VGG", about="learned perceptual distance v0.1, VGG16"),
    "lpips-alex": Metric("lpips-alex", "lower", "LPIPS-Alex", about="learned perceptual distance v0.1, AlexNet"),
    "flicker": Metric(
        "flicker", "lower", "Flicker", digits=4, about="error of the change from frame to frame, in [0, 1]"
    ),
    "rfid": Metric("inception", "lower", "rFID", "", 2, distance=frechet, about="FID of reconstructions and targets"),
    "rkid": Metric("inception", "lower", "rKID", "", 4, distance=kid, about="KID of reconstructions and targets"),
    "rfvd": Metric(
        "i3d-direct224", "lower", "rFVD", "", 2, distance=frechet, about="FVD of reconstructions and targets"
    ),
    "rkvd": Metric("i3d-direct224", "lower", "rKVD", "", 3, distance=polynomial_mmd, about="KVD of the same"),
    "rfvd-stylegan": Metric(
        "i3d-short224crop",
        "lower",
        "rFVD-StyleGAN",
        "",
        2,
        distance=frechet,
        about="FVD with StyleGAN-V's resize and crop",
    ),
    "bpp": Metric("bpp", "lower", "bpp", "bit/px", 3, about="bits spent per pixel: counted for codecs, else nominal"),
}
ALIASES = {"lpips": "lpips-vgg or lpips-alex, as the protocol's field `lpips` says"}


def resolve(names: Sequence[str], protocol: EvalProtocol) -> list[str]:
    """Return the metrics' own names, `lpips` replaced by the protocol's net, each once. Raises UnknownName."""
    resolved = [f"lpips-{protocol.lpips}" if name == "lpips" else name for name in names]
    for name in resolved:
        if name not in METRICS:
            raise UnknownName("metric", name, [*METRICS, *ALIASES])
    return list(dict.fromkeys(resolved))


def score(name: str, rows: Rows, protocol: EvalProtocol, signature: str) -> Score:
    """Reduce rows to the score of metric `name` with a 95 % bootstrap interval over samples."""
    metric = METRICS[name]
    if name == "psnr" and protocol.psnr_mean == "set":
        return _set_psnr(rows, signature)
    values = clip_psnr(rows) if name == "psnr" and protocol.psnr_mean == "clip" else metric.clips(rows)
    low, high = bootstrap_mean(values) or (None, None)
    return Score(float(values.mean()), low, high, len(values), signature)


FEW = 2048  # rows below which Fréchet distances are biased by units (Chong & Forsyth 2020)


def set_score(name: str, rows: Rows, targets: Rows, signature: str) -> Score:
    """Compare all feature rows of the samples with all of their targets; `note` says when they are too few."""
    distance = METRICS[name].distance
    if distance is None:
        raise UnknownName("metric of sets", name, [n for n, m in METRICS.items() if m.distance])
    groups = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    x, y = np.concatenate(rows), np.concatenate(targets)
    value, low, high = distance(x, y, groups)
    return Score(value, low, high, len(x), signature, few(name, len(x), x.shape[1]))


def few(name: str, n: int, d: int) -> str:
    """Say when a set is too small for its metric; unbiased estimators need no such word."""
    if METRICS[name].distance not in (frechet, frechet_infinite) or n >= FEW:
        return ""
    if n <= d:
        return f"**under-sampled**: {n} rows in {d} dimensions; compare only at equal n"
    return f"n = {n} < {FEW}: biased upwards; compare only at equal n"


def _set_psnr(rows: Rows, signature: str) -> Score:
    """PSNR of the mean squared error of the whole set; the interval is that of the error, in decibels."""
    errors = np.array([np.mean(_squared_error(row)) for row in rows])
    low, high = bootstrap_mean(errors) or (None, None)
    return Score(
        _decibels(errors.mean()),
        None if high is None else _decibels(high),
        None if low is None else _decibels(max(low, 1e-10)),
        len(rows),
        signature,
    )


def signature(name: str, data: str, manifest: str, protocol: EvalProtocol, version: str) -> str:
    """Return what must agree before two scores may share a column, as one line to read and compare."""
    fields = {k: v for k, v in protocol.as_dict().items() if k not in ("name", "version")}
    shown = " ".join(f"{k}={str(v).lower()}" for k, v in fields.items())
    return f"{name}:{version} data={data}#{manifest[:12]} protocol={protocol.name}/{protocol.version} {shown}"
