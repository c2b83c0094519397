"""Metrics: stored rows to one number. The table is the registry; all that is known of a metric stands in it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from cvbench.core.errors import UnknownName, UnsuitableInput, UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import RunRecord, Score
from cvbench.core.signature import Signature
from cvbench.metrics.statistics import bootstrap_mean, folds, jackknife

Rows = Sequence[np.ndarray]
"""One array a sample, one value a frame."""
Values = Float64[np.ndarray, " n"]
"""One value a sample."""


def clip_means(rows: Rows, protocol: EvalProtocol) -> Values:
    """Mean over each clip's frames: a long clip weighs no more than a short one."""
    return np.array([np.mean(row, dtype=np.float64) for row in rows], np.float64)


def clip_psnr(rows: Rows, protocol: EvalProtocol) -> Values:
    """What `psnr_mean` averages over clips: mean dB of the frames, dB of the clip's error, or that error negated."""
    if protocol.psnr_mean == "frames":
        return clip_means(rows, protocol)
    errors = np.array([np.mean(10 ** (-np.asarray(row, np.float64) / 10)) for row in rows], np.float64)
    return -errors if protocol.psnr_mean == "set" else np.asarray(-10 * np.log10(errors))


def set_psnr(mean: float, protocol: EvalProtocol) -> float:
    """Decibels of a mean of `clip_psnr`'s values."""
    return -10 * math.log10(max(-mean, 1e-10)) if protocol.psnr_mean == "set" else mean


def as_it_is(mean: float, protocol: EvalProtocol) -> float:
    """The mean of the values is the score."""
    return mean


class Estimate(NamedTuple):
    """A distance of two sets with its interval, None where no honest one is known."""

    value: float
    low: float | None = None
    high: float | None = None


Groups = np.ndarray
"""The sample each row comes from: rows of one clip are no independent evidence."""


FOLDS = 20  # of the jackknife


def frechet(x: np.ndarray, y: np.ndarray, groups: Groups, targets: Groups) -> Estimate:
    """Fréchet distance of pairs with a jackknife interval over samples. See `cvbench.metrics.distances`."""
    from cvbench.metrics.distances import frechet, frechet_interval

    enough = len(np.unique(groups)) > 2
    return Estimate(frechet(x, y), *((frechet_interval(x, y, groups) if enough else None) or (None, None)))


def frechet_of_sets(x: np.ndarray, y: np.ndarray, groups: Groups, targets: Groups) -> Estimate:
    """Fréchet distance of two sets that have nothing to do with each other; the jackknife thins each by itself."""
    from cvbench.metrics.distances import frechet

    value, rng = frechet(x, y), np.random.default_rng(0)
    count = min(FOLDS, len(np.unique(groups)), len(np.unique(targets)))
    if count < 3:
        return Estimate(value)
    out_x, out_y = folds(len(x), groups, count, rng), folds(len(y), targets, count, rng)
    low, high = jackknife(value, [frechet(x[out_x != fold], y[out_y != fold]) for fold in range(count)])
    return Estimate(value, max(low, 0.0), high)


def frechet_infinite(x: np.ndarray, y: np.ndarray, groups: Groups, targets: Groups) -> Estimate:
    """Fréchet distance extrapolated to infinitely many samples; with an interval only where that is honest.

    Where samples have several rows each (frames of a clip), there is none: it would take them for independent.
    """
    from cvbench.metrics.distances import frechet_extrapolated

    value, interval = frechet_extrapolated(x, y)
    single = len(np.unique(groups)) == len(x) and len(np.unique(targets)) == len(y)
    return Estimate(value, *((interval if single else None) or (None, None)))


def polynomial_mmd(x: np.ndarray, y: np.ndarray, groups: Groups, targets: Groups) -> Estimate:
    """Unbiased squared MMD of the whole sets, degree 3, γ = 1/d; it may be negative."""
    from cvbench.metrics.distances import polynomial_mmd

    return Estimate(polynomial_mmd(x, y))


def kid(x: np.ndarray, y: np.ndarray, groups: Groups, targets: Groups) -> Estimate:
    """Mean of the same over 100 subsets of 1,000 rows, of all where there are fewer; their spread is no interval."""
    from cvbench.metrics.distances import kid

    return Estimate(kid(x, y, size=min(1000, len(x), len(y))).mean)


Distance = Callable[[np.ndarray, np.ndarray, Groups, Groups], Estimate]


def cosines(frames: np.ndarray, partner: np.ndarray | None) -> np.ndarray:
    """Cosine, in [-1, 1], of each frame's embedding (t, d) with its partner's (1, d): neither clamped nor scaled.

    With CLIP's, the partner being the prompt, CLIP score and text alignment (Hessel et al. 2021 without their factor;
    Wu et al., arXiv 2212.11565). With DreamSim's, the partner being the input image, PIC's 1 - D (Xing et al., arXiv
    2310.12190; D is 1 - cosine, Fu et al. 2023).
    """
    if partner is None:
        raise UnsuitableInput("has no partner to be held against")
    return np.asarray(_unit(frames) @ _unit(partner)[0])


def frame_consistency(frames: np.ndarray, partner: np.ndarray | None) -> np.ndarray:
    """Mean cosine over all pairs of different frames, as one value (Wu et al., arXiv 2212.11565)."""
    if len(frames) < 2:
        raise UnsuitableInput("frame consistency needs two frames, this is an image")
    unit = _unit(frames)
    total = unit.sum(axis=0)
    return np.array([(total @ total - (unit**2).sum()) / (len(unit) * (len(unit) - 1))])


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


Derive = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
Task = Literal["reconstruction", "generation"]


@dataclass(frozen=True)
class Metric:
    """A reduction of one probe's rows to a score, and all that tables and checks must know of it.

    Without `distance`, samples are averaged: `per_sample` gives one value each, on the scale on which they are
    averaged, more being better or worse as `better` says, and `of_mean` takes their mean to the score. With it, the
    probe is a feature probe and the score compares all rows of the reconstructions (or generated videos) with all of
    the targets.

    With `derive`, the rows called `probe` are made from those of the feature probe `features`: of a generated video
    and, where `partner` names one, of the prompt or picture that it was made from.

    `reduced_by` names the protocol's fields that `per_sample` and `of_mean` ask for. `least` and `most` bound what the
    metric can be. `tolerance` is how much worse a stored score may become, in the metric's unit; None stands for a
    hundredth of it. One that is not `ranked` has no best.
    """

    probe: str
    better: Literal["higher", "lower"]
    label: str
    unit: str = ""
    digits: int = 3
    tolerance: float | None = None
    least: float = -math.inf
    most: float = math.inf
    ranked: bool = True
    per_sample: Callable[[Rows, EvalProtocol], Values] = clip_means
    of_mean: Callable[[float, EvalProtocol], float] = as_it_is
    reduced_by: tuple[str, ...] = ()
    distance: Distance | None = None
    about: str = ""
    task: Task = "reconstruction"
    features: str = ""
    derive: Derive | None = None
    partner: Literal["", "prompt", "first frame"] = ""

    @property
    def network(self) -> str:
        """The probe that looks at pixels."""
        return self.features or self.probe

    @property
    def arrow(self) -> str:
        """↑ when more is better, ↓ when less is, nothing where there is no best."""
        return ("↑" if self.better == "higher" else "↓") if self.ranked else ""

    @property
    def title(self) -> str:
        """Label and arrow, as a column has them."""
        return f"{self.label} {self.arrow}".rstrip()

    def values(self, rows: Rows, protocol: EvalProtocol) -> Values:
        """One value a sample, on the scale on which samples are averaged."""
        return self.per_sample(rows, protocol)

    def score(self, mean: float, protocol: EvalProtocol) -> float:
        """The score that a mean of such values stands for; it is monotone, and keeps the direction."""
        return min(max(self.of_mean(mean, protocol), self.least), self.most)


def _of_sets(probe: str, label: str, digits: int, distance: Distance, about: str, **more: Any) -> Metric:
    return Metric(probe, "lower", label, digits=digits, distance=distance, about=about, **more)


def _generated(probe: str, label: str, digits: int, distance: Distance, about: str) -> Metric:
    return _of_sets(probe, label, digits, distance, about, task="generation")


def _derived(
    probe: str, label: str, features: str, derive: Derive, partner: Literal["", "prompt", "first frame"], about: str
) -> Metric:
    return Metric(
        probe, "higher", label, about=about, task="generation", features=features, derive=derive, partner=partner,
        least=-1.0, most=1.0,
    )  # fmt: skip


METRICS = {
    "psnr": Metric(
        "psnr", "higher", "PSNR", "dB", 2, 0.02, most=100.0, per_sample=clip_psnr, of_mean=set_psnr,
        reduced_by=("psnr_mean",),
        about="peak signal-to-noise ratio of each frame",
    ),
    "ssim": Metric(
        "ssim", "higher", "SSIM", tolerance=5e-4, least=-1.0, most=1.0,
        about="structural similarity, Gaussian window 11, valid region, RGB",
    ),
    "ms-ssim": Metric(
        "ms-ssim", "higher", "MS-SSIM", tolerance=5e-4, least=-1.0, most=1.0,
        about="multi-scale SSIM, 5 scales (sides above 160 px)",
    ),
    "xpsnr": Metric(
        "xpsnr", "higher", "XPSNR", "dB", 2, 0.05, least=0.0, most=100.0,
        about="PSNR of luma weighted by how visible errors are, in space and time (FFmpeg's filter)",
    ),
    "vif": Metric(
        "vif", "higher", "VIF", tolerance=1e-3, least=0.0,
        about="visual information fidelity of luma, mean of four scales (FFmpeg's filter)",
    ),
    "lpips-vgg": Metric(
        "lpips-vgg", "lower", "LPIPS-VGG", tolerance=5e-4, least=0.0, about="learned perceptual distance v0.1, VGG16"
    ),
    "lpips-alex": Metric(
        "lpips-alex", "lower", "LPIPS-Alex", tolerance=5e-4, least=0.0,
        about="learned perceptual distance v0.1, AlexNet",
    ),
    "flicker": Metric(
        "flicker", "lower", "Flicker", digits=4, tolerance=1e-4, least=0.0, most=1.0,
        about="error of the change from frame to frame, in [0, 1]",
    ),
    "rfid": _of_sets("inception", "rFID", 2, frechet, "FID of reconstructions and targets", tolerance=0.05),
    "rkid": _of_sets("inception", "rKID", 4, kid, "KID of reconstructions and targets", tolerance=1e-4),
    "rfvd": _of_sets("i3d-direct224", "rFVD", 2, frechet, "FVD of reconstructions and targets", tolerance=0.5),
    "rkvd": _of_sets("i3d-direct224", "rKVD", 3, polynomial_mmd, "KVD of the same", tolerance=0.05),
    "rfvd-stylegan": _of_sets(
        "i3d-short224crop", "rFVD-StyleGAN", 2, frechet, "FVD with StyleGAN-V's resize and crop", tolerance=0.5
    ),
    "bpp": Metric(
        "bpp", "lower", "bpp", "bit/px", 3, 1e-3, least=0.0, ranked=False,
        about="bits spent per pixel: a codec's bytes, a network's latents of the padded clip (16 bits a number)",
    ),
    "fid": _generated(
        "inception", "FID", 2, frechet_of_sets, "Fréchet distance of Inception's features, as pytorch-fid"
    ),
    "fid-inf": _generated("inception", "FID∞", 2, frechet_infinite, "FID extrapolated to infinitely many samples"),
    "kid": _generated("inception", "KID", 4, kid, "kernel distance of the same features, 100 subsets of 1,000"),
    "fvd": _generated("i3d-direct224", "FVD", 2, frechet_of_sets, "Fréchet distance of I3D's logits, clips at 224×224"),
    "fvd-inf": _generated("i3d-direct224", "FVD∞", 2, frechet_infinite, "FVD extrapolated to infinitely many samples"),
    "kvd": _generated("i3d-direct224", "KVD", 3, polynomial_mmd, "kernel distance of the same, unbiased, whole sets"),
    "fvd-stylegan": _generated(
        "i3d-short224crop", "FVD-StyleGAN", 2, frechet_of_sets, "FVD of clips with short side 224, cropped"
    ),
    "clip": _derived("clip-text", "CLIP", "clip", cosines, "prompt", "cosine of CLIP's embeddings, picture and prompt"),
    "frame-consistency": _derived(
        "clip-frames", "Frame consistency", "clip", frame_consistency, "", "CLIP's cosine over all pairs of frames"
    ),
    "text-alignment": _derived(
        "clip-text", "Text alignment", "clip", cosines, "prompt", "CLIP's cosine of frames and prompt, mean over frames"
    ),
    "pic": _derived(
        "pic", "PIC", "dreamsim", cosines, "first frame", "1 - DreamSim of each frame and the input picture, mean"
    ),
}  # fmt: skip
ALIASES = {"lpips": "lpips-vgg or lpips-alex, as the protocol's field `lpips` says"}


def resolve(names: Sequence[str], protocol: EvalProtocol, task: Task = "reconstruction") -> list[str]:
    """Return the metrics' own names, `lpips` replaced by the protocol's net, each once.

    Raises UnknownName, and UsageError for metrics of another task.
    """
    resolved = [f"lpips-{protocol.lpips}" if name == "lpips" else name for name in names]
    for name in resolved:
        if name not in METRICS:
            raise UnknownName("metric", name, [*METRICS, *ALIASES])
        if METRICS[name].task != task:
            raise UsageError(_elsewhere(name))
    return list(dict.fromkeys(resolved))


def _elsewhere(name: str) -> str:
    """Say where a metric of the other task is measured, and what comes nearest to it here."""
    if METRICS[name].task == "generation":
        text, like = f"{name} is of generated samples: use `cvbench score`", f"r{name}"
    else:
        text, like = f"{name} is of reconstructions: use `cvbench run`", name.removeprefix("r")
    return f"{text}; what comes nearest here is {like}" if like in METRICS and like != name else text


def score(name: str, rows: Rows, protocol: EvalProtocol, signature: Signature) -> Score:
    """Reduce rows to the score of metric `name` with a 95 % bootstrap interval over samples.

    Raises UnsuitableInput for no rows, and for rows that are not finite.
    """
    metric = METRICS[name]
    values = metric.values(rows, protocol)
    mean, interval = float(values.mean()), bootstrap_mean(values)
    low, high = (metric.score(edge, protocol) for edge in interval) if interval else (None, None)
    return Score(metric.score(mean, protocol), low, high, len(values), signature)


def sample_values(record: RunRecord, name: str) -> dict[tuple[str, str], float]:
    """Return one value a sample by id and hash of its pixels, as the metric averages them; none for metrics of sets."""
    metric = METRICS[name]
    samples = [s for s in record.samples if metric.probe in s.rows]
    values = metric.values([np.asarray(s.rows[metric.probe], np.float64) for s in samples], record.protocol)
    return {(s.id, s.sha256): float(v) for s, v in zip(samples, values, strict=True)}


FEW = 2048  # rows below which Fréchet distances are biased by units (Chong & Forsyth 2020)


def set_score(name: str, rows: Rows, targets: Rows, signature: Signature) -> Score:
    """Compare all feature rows of the samples with all of their targets; `note` says when they are too few.

    Raises UnsuitableInput, saying why, for fewer than two rows on a side and for rows that are not finite.
    """
    distance = METRICS[name].distance
    if distance is None:
        raise UnknownName("metric of sets", name, [n for n, m in METRICS.items() if m.distance])
    for side in (rows, targets):
        if (count := sum(map(len, side))) < 2:
            raise UnsuitableInput(f"compares whole sets, of which {count} row is none")
        if broken := sum(not np.isfinite(row).all() for row in side):
            raise UnsuitableInput(f"the features of {broken} of {len(side)} samples are not finite")
    groups, others = (np.repeat(np.arange(len(side)), [len(row) for row in side]) for side in (rows, targets))
    x, y = np.concatenate(rows), np.concatenate(targets)
    value, low, high = distance(x, y, groups, others)
    return Score(value, low, high, len(x), signature, few(name, min(len(x), len(y)), x.shape[1]))


def few(name: str, n: int, d: int) -> str:
    """Say when a set is too small for its metric; unbiased estimators need no such word."""
    if METRICS[name].distance not in (frechet, frechet_of_sets, frechet_infinite) or n >= FEW:
        return ""
    if n <= d:
        return f"**under-sampled**: {n} rows in {d} dimensions; compare only at equal n"
    return f"n = {n} < {FEW}: biased upwards; compare only at equal n"
