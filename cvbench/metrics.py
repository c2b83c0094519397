"""Metrics: stored rows to one number. The table is the registry; the direction of good lives here and nowhere else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Metric:
    """A reduction of one probe's rows. `clips` gives one value a sample, whose mean is the score."""

    probe: str
    better: Literal["higher", "lower"]
    label: str
    unit: str = ""
    digits: int = 3
    clips: Callable[[Rows], np.ndarray] = clip_means
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
