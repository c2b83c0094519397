"""Metrics: stored rows to one number. The table is the registry; all that is known of a metric stands in it."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from cvbench.core.errors import UnknownName, UnsuitableInput, UsageError
from cvbench.core.protocol import EvalProtocol, as_text
from cvbench.core.records import RunRecord, Score
from cvbench.core.signature import Signature
from cvbench.metrics.statistics import bootstrap_mean, folds
from cvbench.metrics.streams import Side, Streamed, looked_over

Rows = Sequence[np.ndarray]
"""One array a sample, one value a frame."""
Values = Float64[np.ndarray, " n"]
"""One value a sample."""


def clip_means(rows: Rows, protocol: EvalProtocol) -> Values:
    """Mean over each clip's frames: a long clip weighs no more than a short one."""
    return np.array([np.mean(row, dtype=np.float64) for row in rows], np.float64)


def drifts(rows: Rows, protocol: EvalProtocol) -> Values:
    """How far the mean of a clip's last third is from that of its first, frame 0, which is coded otherwise, apart."""
    return np.array([_drift(np.asarray(row, np.float64)[1:]) for row in rows], np.float64)


def _drift(later: Float64[np.ndarray, " t"]) -> float:
    third = max(len(later) // 3, 1)
    return float(abs(later[-third:].mean() - later[:third].mean()))


EQUAL = 100.0
"""Decibels that stand for no error in a row of PSNR."""


def clip_psnr(rows: Rows, protocol: EvalProtocol) -> Values:
    """What `psnr_mean` averages over clips: mean dB of the frames, dB of the clip's error, or that error negated.

    `psnr_equal` says what is done about frames without an error.
    """
    if (protocol.psnr_mean, protocol.psnr_equal) == ("frames", "frame"):
        return clip_means(rows, protocol)
    return np.array([_one_psnr(np.asarray(row, np.float64), protocol) for row in rows], np.float64)


def _one_psnr(row: Float64[np.ndarray, " t"], protocol: EvalProtocol) -> float:
    errors = np.where(row >= EQUAL, 0.0, 10 ** (-row / 10))
    if protocol.psnr_equal == "clip" and not errors.all():
        return EQUAL if protocol.psnr_mean != "set" else -(10 ** (-EQUAL / 10))
    if protocol.psnr_mean == "frames":
        return float(np.mean(decibels(errors, protocol)))
    error = float(np.mean(errors if protocol.psnr_equal != "frame" else 10 ** (-row / 10)))
    return -error if protocol.psnr_mean == "set" else float(decibels(error, protocol))


def decibels(error: np.ndarray | float, protocol: EvalProtocol) -> np.ndarray:
    """Return mean squared errors of pixels in [0, 1] in dB, what is added to them as `psnr_equal` says."""
    if protocol.psnr_equal == "root":
        return np.asarray(-20 * np.log10(np.sqrt(error) + np.finfo(np.float32).eps / 255))
    added = 1e-8 if protocol.psnr_equal == "mse" else 0.0
    return np.asarray(-10 * np.log10(np.maximum(np.asarray(error) + added, 10 ** (-EQUAL / 10))))


def set_psnr(mean: float, protocol: EvalProtocol) -> float:
    """Decibels of a mean of `clip_psnr`'s values."""
    return float(decibels(max(-mean, 0.0), protocol)) if protocol.psnr_mean == "set" else mean


def as_it_is(mean: float, protocol: EvalProtocol) -> float:
    """The mean of the values is the score."""
    return mean


class Estimate(NamedTuple):
    """A distance of two sets with its interval, None where no honest one is known."""

    value: float
    low: float | None = None
    high: float | None = None


Set = np.ndarray | Streamed
"""All rows of a side, (n, d): in memory, or read anew for each step where they do not fit there."""
Groups = np.ndarray
"""The sample each row comes from: rows of one clip are no independent evidence."""


FOLDS = 20  # of the jackknife


def frechet(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Fréchet distance of pairs with a jackknife interval over samples. See `cvbench.metrics.distances`."""
    from cvbench.metrics.distances import frechet, frechet_and_interval

    if len(np.unique(groups)) <= 2:
        return Estimate(frechet(x, y))
    value, interval = frechet_and_interval(x, y, groups)
    return Estimate(value, *(interval or (None, None)))


def frechet_of_prefixes(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Mean of the Fréchet distances of the clips' first 10, 11, … frames, one row a prefix, as far as all clips go."""
    from cvbench.metrics.distances import frechet

    lengths = np.unique(groups, return_counts=True)[1]
    place = np.arange(len(x)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = [frechet_of_few(x[place == k], y[place == k], frechet) for k in range(int(lengths.min()))]
    return Estimate(float(np.mean(values)))


def frechet_of_few(x: Set, y: Set, of_many: Callable[[Set, Set], float]) -> float:
    """Return a Fréchet distance; of one row a side, which has no covariance, the squared difference."""
    if len(x) == len(y) == 1:
        return float(((np.asarray(x) - np.asarray(y)).astype(np.float64) ** 2).sum())
    return of_many(x, y)


def frechet_of_sets(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Fréchet distance of two sets that have nothing to do with each other; the jackknife thins each by itself."""
    from cvbench.metrics.distances import frechet, frechet_without_folds

    count, rng = min(FOLDS, len(np.unique(groups)), len(np.unique(targets))), np.random.default_rng(0)
    if count < 3:
        return Estimate(frechet(x, y))
    out_x, out_y = folds(len(x), groups, count, rng), folds(len(y), targets, count, rng)
    value, interval = frechet_without_folds(x, y, out_x, out_y)
    return Estimate(value, *(interval or (None, None)))


def frechet_infinite(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Fréchet distance extrapolated to infinitely many samples; with an interval only where that is honest.

    Where samples have several rows each (frames of a clip), there is none: it would take them for independent.
    """
    from cvbench.metrics.distances import frechet_extrapolated

    value, interval = frechet_extrapolated(x, y)
    single = len(np.unique(groups)) == len(x) and len(np.unique(targets)) == len(y)
    return Estimate(value, *((interval if single else None) or (None, None)))


def polynomial_mmd(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Unbiased squared MMD of the whole sets, degree 3, γ = 1/d; it may be negative."""
    from cvbench.metrics.distances import polynomial_mmd

    return Estimate(polynomial_mmd(x, y))


def kid(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Mean of the same over 100 subsets of 1,000 rows, of all where there are fewer; their spread is no interval."""
    from cvbench.metrics.distances import kid

    return Estimate(kid(x, y, size=min(1000, len(x), len(y))).mean)


def cmmd(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Squared MMD with CMMD's Gaussian kernel, σ = 10, times 1,000; of the whole sets, biased as in its code."""
    from cvbench.metrics.distances import gaussian_mmd

    return Estimate(gaussian_mmd(x, y))


def mind(x: Set, y: Set, groups: Groups, targets: Groups) -> Estimate:
    """Monge Inception Distance with a jackknife interval over samples. See `cvbench.metrics.sliced`."""
    from cvbench.metrics.sliced import mind, mind_interval

    return Estimate(mind(x, y), *(mind_interval(x, y, groups, targets) or (None, None)))


Distance = Callable[[Set, Set, Groups, Groups], Estimate]


def cosines(frames: np.ndarray, partner: np.ndarray | None) -> np.ndarray:
    """Cosine, in [-1, 1], of each frame's embedding (t, d) with its partner's (1, d): neither clamped nor scaled.

    With CLIP's, the partner being the prompt, CLIP score and text alignment (Hessel et al. 2021 without their factor;
    Wu et al., arXiv 2212.11565). With DreamSim's, the partner being the input image, PIC's 1 - D (Xing et al., arXiv
    2310.12190; D is 1 - cosine, Fu et al. 2023).
    """
    if partner is None:
        raise UnsuitableInput("has no partner to be held against")
    return np.asarray(_unit(frames) @ _unit(partner)[0])


def cosine_distances(frames: np.ndarray, partner: np.ndarray | None) -> np.ndarray:
    """1 - cosine of each frame's embedding (t, d) and that of its target (t, d), in [0, 2] (Fu et al. 2023)."""
    if partner is None or partner.shape != frames.shape:
        raise UnsuitableInput("has no target frame by frame to be held against")
    return np.asarray(1 - (_unit(frames) * _unit(partner)).sum(axis=1)).clip(min=0)


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
Task = Literal["reconstruction", "generation", "drawing"]
"""What a metric is of: reconstructions; generated samples; samples of a generator, decoded by several VAEs."""


@dataclass(frozen=True)
class Metric:
    """A reduction of one probe's rows to a score, and all that tables and checks must know of it.

    Without `distance`, samples are averaged: `per_sample` gives one value each, on the scale on which they are
    averaged, more being better or worse as `better` says, and `of_mean` takes their mean to the score. With it, the
    probe is a feature probe and the score compares all rows of the reconstructions (or generated videos) with all of
    the targets.

    With `derive`, the rows called `probe` are made from those of the feature probe `features`: of a generated video
    and, where `partner` names one, of the prompt or picture that it was made from, or of a reconstruction's target.

    `side` is "nets" where the probe sees what the protocol shows to networks.

    Of samples that several VAEs decoded from the same latents, `aligned` takes the frames at the positions of the base
    VAE's, and `change_of` names the metric whose difference from the base VAE's sample this is.

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
    partner: Literal["", "prompt", "first frame", "target"] = ""
    side: Literal["pixels", "nets"] = "pixels"
    aligned: bool = False
    change_of: str = ""

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
        open_ended = "psnr_equal" in self.reduced_by and protocol.psnr_equal == "root"
        return min(max(self.of_mean(mean, protocol), self.least), math.inf if open_ended else self.most)


def _of_sets(probe: str, label: str, digits: int, distance: Distance, about: str, **more: Any) -> Metric:
    return Metric(probe, "lower", label, digits=digits, distance=distance, about=about, **more)


def _ssim(kind: str, label: str, about: str) -> Metric:
    side: Literal["pixels", "nets"] = "nets" if kind.endswith("signed") else "pixels"
    return Metric(f"ssim-{kind}", "higher", label, tolerance=5e-4, least=-1.0, most=1.0, about=about, side=side)


def _lpips(kind: str, label: str, about: str) -> Metric:
    return Metric(f"lpips-{kind}", "lower", label, tolerance=5e-4, least=0.0, about=about, side="nets")


def _text(probe: str, label: str, about: str) -> Metric:
    return Metric(probe, "higher", label, tolerance=5e-3, least=0.0, most=1.0, about=about)


def _generated(probe: str, label: str, digits: int, distance: Distance, about: str) -> Metric:
    return _of_sets(probe, label, digits, distance, about, task="generation")


def _derived(
    probe: str, label: str, features: str, derive: Derive, partner: Literal["", "prompt", "first frame"], about: str
) -> Metric:
    return Metric(
        probe, "higher", label, about=about, task="generation", features=features, derive=derive, partner=partner,
        least=-1.0, most=1.0,
    )  # fmt: skip


def _change(of: str, features: str, label: str, about: str) -> Metric:
    return Metric(
        f"{of}-change", "higher", label, about=about, task="drawing", features=features, change_of=of, digits=4,
        least=-2.0, most=2.0,
    )  # fmt: skip


METRICS = {
    "psnr": Metric(
        "psnr", "higher", "PSNR", "dB", 2, 0.02, most=EQUAL, per_sample=clip_psnr, of_mean=set_psnr,
        reduced_by=("psnr_mean", "psnr_equal"),
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
    "ciede2000": Metric(
        "ciede2000", "lower", "ΔE00", digits=2, tolerance=0.01, least=0.0,
        about="colour difference CIEDE2000, mean over pixels; about 1 is just seen",
    ),
    "ciede2000-p95": Metric(
        "ciede2000-p95", "lower", "ΔE00 p95", digits=2, tolerance=0.02, least=0.0,
        about="95th percentile of the same over the pixels of each frame",
    ),
    "cvvdp": Metric(
        "cvvdp", "higher", "CVVDP", "JOD", 3, 0.01, most=10.0,
        about="ColorVideoVDP of each clip: 10 is like the target; eye, display and motion modelled",
    ),
    "flip": Metric(
        "flip", "lower", "FLIP", digits=4, tolerance=5e-4, least=0.0, most=1.0,
        about="what is seen when frame and target are alternated, mean over pixels",
    ),
    "vmaf": Metric(
        "vmaf", "higher", "VMAF", digits=2, tolerance=0.1, least=0.0, most=100.0,
        about="VMAF v0.6.1 of luma: fidelity, lost detail and motion, weighted by training on opinions",
    ),
    "vmaf-neg": Metric(
        "vmaf-neg", "higher", "VMAF NEG", digits=2, tolerance=0.1, least=0.0, most=100.0,
        about="the same without reward for sharpening and contrast",
    ),
    "lpips-vgg": _lpips("vgg", "LPIPS-VGG", "learned perceptual distance v0.1, VGG16"),
    "lpips-alex": _lpips("alex", "LPIPS-Alex", "learned perceptual distance v0.1, AlexNet"),
    "dists": Metric(
        "dists", "lower", "DISTS", digits=4, tolerance=5e-4, least=0.0, most=2.0, side="nets",
        about="structure and texture on VGG16; a texture drawn anew costs little",
    ),
    "dreamsim": Metric(
        "dreamsim-distance", "lower", "DreamSim", digits=4, tolerance=5e-4, least=0.0, most=2.0, side="nets",
        features="dreamsim", derive=cosine_distances, partner="target",
        about="1 - cosine of DreamSim's embeddings of frame and target: layout, objects and mood alike",
    ),
    "text": _text("text", "Text", "share of characters that OCR still reads, of every eighth frame that has text"),
    "text-small": _text("text-small", "Text < 16 px", "the same of lines below 16 px of height"),
    "text-medium": _text("text-medium", "Text 16–32 px", "the same of lines from 16 to 32 px"),
    "text-large": _text("text-large", "Text ≥ 32 px", "the same of lines of 32 px and more"),
    "flicker": Metric(
        "flicker", "lower", "Flicker", digits=4, tolerance=1e-4, least=0.0, most=1.0,
        about="error of the change from frame to frame, in [0, 1]",
    ),
    "colour-drift": Metric(
        "colour-drift", "lower", "Colour drift", "ΔE00", 2, 0.01, least=0.0, per_sample=drifts,
        about="how far the colour error of a clip's last third is from its first third's, the first frame apart",
    ),
    "seam": Metric(
        "seam", "lower", "Seam", "×", 2, 0.05, least=0.0,
        about="step of the error at its worst row or column over that at the lines beside it; 1 without error",
    ),
    "rfid": _of_sets("inception", "rFID", 2, frechet, "FID of reconstructions and targets", tolerance=0.05),
    "rkid": _of_sets("inception", "rKID", 4, kid, "KID of reconstructions and targets", tolerance=1e-4),
    "rfvd": _of_sets(
        "i3d-direct224", "rFVD", 2, frechet, "FVD of reconstructions and targets", tolerance=0.5,
        reduced_by=("fvd_batch",),
    ),
    "rkvd": _of_sets("i3d-direct224", "rKVD", 3, polynomial_mmd, "KVD of the same", tolerance=0.05),
    "rfvd-stylegan": _of_sets(
        "i3d-short224crop", "rFVD-StyleGAN", 2, frechet, "FVD with StyleGAN-V's resize and crop", tolerance=0.5,
        reduced_by=("fvd_batch",),
    ),
    "rfdd": _of_sets("dinov2", "rFDD", 2, frechet, "Fréchet distance of DINOv2's class tokens", tolerance=0.5),
    "rcmmd": _of_sets(
        "clip-l14-336", "rCMMD", 3, cmmd, "MMD of CLIP ViT-L/14's embeddings at 336², Gaussian kernel, × 1,000",
        tolerance=0.01, least=0.0,
    ),
    "rmind": _of_sets(
        "inception", "rMIND", 2, mind, "sliced Wasserstein distance of Inception's features", tolerance=0.5, least=0.0
    ),
    "rmind-i3d": _of_sets(
        "i3d-direct224", "rMIND-I3D", 2, mind, "the same of I3D's logits of clips", tolerance=0.5, least=0.0
    ),
    "ssim-down": _ssim("down", "SSIM (down)", "SSIM after averaging by round(min side / 256)"),
    "ssim-uniform7": _ssim("uniform7", "SSIM (7 × 7)", "SSIM of scikit-image's default: uniform, sample covariance"),
    "ssim-padded": _ssim("padded", "SSIM (padded)", "SSIM of the whole picture, its border mirrored"),
    "ssim-padded-signed": _ssim("padded-signed", "SSIM (padded, signed)", "the same on [-1, 1] with range 2"),
    "lpips-vgg-unit": _lpips("vgg-unit", "LPIPS-VGG (unit)", "LPIPS, VGG16, fed [0, 1] where [-1, 1] is meant"),
    "lpips-alex-unit": _lpips("alex-unit", "LPIPS-Alex (unit)", "the same with AlexNet"),
    "rfid-tf1": _of_sets("inception-tf1", "rFID (TF1)", 2, frechet, "rFID with TensorFlow 1's resize", tolerance=0.05),
    "rfvd-prefixes": _of_sets(
        "i3d-direct224-prefixes", "rFVD (prefixes)", 2, frechet_of_prefixes, "mean rFVD of the first 10, 11, … frames",
        tolerance=0.5, reduced_by=("fvd_batch",),
    ),
    "rfvd-stylegan-prefixes": _of_sets(
        "i3d-short224crop-prefixes", "rFVD-StyleGAN (prefixes)", 2, frechet_of_prefixes, "the same, StyleGAN-V's crop",
        tolerance=0.5, reduced_by=("fvd_batch",),
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
    "fdd": _generated("dinov2", "FDD", 2, frechet_of_sets, "Fréchet distance of DINOv2 ViT-L/14's class tokens"),
    "cmmd": _generated(
        "clip-l14-336", "CMMD", 3, cmmd, "MMD of CLIP ViT-L/14's embeddings at 336², Gaussian kernel, × 1,000"
    ),
    "mind": _generated("inception", "MIND", 2, mind, "sliced Wasserstein distance of Inception's features"),
    "mind-i3d": _generated("i3d-direct224", "MIND-I3D", 2, mind, "the same of I3D's logits of clips"),
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
    "fvd-aligned": _of_sets(
        "i3d-direct224", "FVD aligned", 2, frechet_of_sets, "FVD of the frames at the base VAE's positions",
        task="drawing", aligned=True,
    ),
    "kvd-aligned": _of_sets(
        "i3d-direct224", "KVD aligned", 3, polynomial_mmd, "KVD of the same", task="drawing", aligned=True
    ),
    "clip-change": _change("clip", "clip", "ΔCLIP", "CLIP minus that of the base VAE's picture, sample by sample"),
    "pic-change": _change("pic", "dreamsim", "ΔPIC", "PIC minus that of the base VAE's sample, sample by sample"),
}  # fmt: skip
ALIASES = {"lpips": "lpips-vgg or lpips-alex, as the protocol's fields `lpips` and `lpips_input` say"}


def meant(name: str, protocol: EvalProtocol) -> str:
    """Return the metric that a name means under a protocol: which net of LPIPS, which SSIM, which resize or prefixes.

    The plain names of metrics that a protocol reads in its own way are the first reading's own.
    """
    readings = {
        "lpips": f"lpips-{protocol.lpips}" + ("-unit" if protocol.lpips_input == "unit" else ""),
        "ssim": "ssim" if protocol.ssim == "gauss" else f"ssim-{protocol.ssim}",
        "rfid": "rfid" if protocol.fid_resize == "torch" else f"rfid-{protocol.fid_resize}",
        **({name: f"{name}-prefixes" for name in ("rfvd", "rfvd-stylegan")} if protocol.fvd_prefixes else {}),
    }
    return readings.get(name, name)


def resolve(names: Sequence[str], protocol: EvalProtocol, task: Task = "reconstruction") -> list[str]:
    """Return the metrics' own names, as the protocol means them, each once.

    Raises UnknownName, and UsageError for metrics of another task and for those that a field would say wrong things of.
    """
    resolved = [meant(name, protocol) for name in names]
    for name in resolved:
        if name not in METRICS:
            raise UnknownName("metric", name, [*METRICS, *ALIASES])
        if not _is_of(METRICS[name], task):
            raise UsageError(_elsewhere(name))
        if unread := _unread(METRICS[name], protocol):
            given, plain = (as_text(getattr(p, unread)) for p in (protocol, EvalProtocol("", 1)))
            raise UsageError(f"{name} is not measured with {unread}={given}; say --set {unread}={plain}")
    return list(dict.fromkeys(resolved))


def _unread(metric: Metric, protocol: EvalProtocol) -> str:
    """Name a field that a distance of sets does not heed: one that another metric reads, of whose kind this is."""
    if metric.distance is None:
        return ""
    if protocol.fid_resize != "torch" and metric.probe == "inception":
        return "fid_resize"
    if metric.task == "reconstruction" or not metric.probe.startswith("i3d"):
        return ""
    return "fvd_batch" if protocol.fvd_batch else "fvd_prefixes" if protocol.fvd_prefixes else ""


def _is_of(metric: Metric, task: Task) -> bool:
    """Tell whether a task has a metric: samples of a generator have all but distances of pairs, and bits."""
    if task != "drawing":
        return metric.task == task
    return metric.task != "reconstruction" or (metric.distance is None and metric.ranked and not metric.derive)


def _elsewhere(name: str) -> str:
    """Say where a metric of the other task is measured, and what comes nearest to it here."""
    if METRICS[name].task == "drawing":
        return f"{name} is of generators whose latents several VAEs decode: use `cvbench run --suite t2i`, i2v or t2v"
    if METRICS[name].task == "generation":
        text, like = f"{name} is of generated samples: use `cvbench score`", f"r{name}"
    else:
        text, like = f"{name} is of reconstructions: use `cvbench run`", name.removeprefix("r")
    return f"{text}; what comes nearest here is {like}" if like in METRICS and like != name else text


def average_of(metric: Metric, protocol: EvalProtocol) -> str:
    """Return how items are averaged: by `average_nets` for what is measured on what networks see."""
    return protocol.average if protocol.average_nets == "as" or metric.side == "pixels" else protocol.average_nets


def weights(clips: Sequence[str], average: str) -> Values:
    """Return the weight of each item in a score by the protocol's field `average`; they sum to their number.

    `clips` names, for each item in the order of the data, the clip that it was cut from.
    """
    if average == "items":
        return np.ones(len(clips))
    if average == "clips":
        runs = Counter(clips)
        return np.array([len(clips) / len(runs) / runs[clip] for clip in clips], np.float64)
    size = int(average.removeprefix("batches-"))
    batches = -(-len(clips) // size)
    lengths = [min(size, len(clips) - k // size * size) for k in range(len(clips))]
    return np.array([len(clips) / batches / length for length in lengths], np.float64)


def averaged(values: Values, clips: Sequence[str], average: str) -> Values:
    """Return values whose plain mean is the mean that the protocol's `average` asks for, one an item.

    Each is the mean, moved by its weighted distance from it, so that intervals over items stay right.
    """
    weight = weights(clips, average)
    if (weight == 1).all():
        return values
    mean = float((weight * values).mean())
    return np.asarray(mean + weight * (values - mean))


def score(
    name: str, rows: Rows, protocol: EvalProtocol, signature: Signature, clips: Sequence[str] | None = None
) -> Score:
    """Reduce rows to the score of metric `name` with a 95 % bootstrap interval over samples.

    `clips` names the clip that each sample is a run of frames of, where they are that: the clip is then the unit of
    the interval. Raises UnsuitableInput for no rows, and for rows that are not finite.
    """
    metric = METRICS[name]
    sources = list(clips) if clips is not None else [str(k) for k in range(len(rows))]
    values = averaged(metric.values(rows, protocol), sources, average_of(metric, protocol))
    mean = float(values.mean())
    interval = bootstrap_mean(values, sources if len(set(sources)) < len(sources) else None)
    low, high = (metric.score(edge, protocol) for edge in interval) if interval else (None, None)
    return Score(metric.score(mean, protocol), low, high, len(values), signature)


def sample_values(record: RunRecord, name: str) -> dict[tuple[str, str], float]:
    """Return one value a sample by id and hash of its pixels, before any weight; none for metrics of sets."""
    metric = METRICS[name]
    samples = [s for s in record.samples if metric.probe in s.rows]
    values = metric.values([np.asarray(s.rows[metric.probe], np.float64) for s in samples], record.protocol)
    return {(s.id, s.sha256): float(v) for s, v in zip(samples, values, strict=True)}


FEW = 2048  # rows below which Fréchet distances are biased by units (Chong & Forsyth 2020)
FRECHETS = (frechet, frechet_of_sets, frechet_infinite)
ENOUGH: dict[Distance | None, int] = {**dict.fromkeys(FRECHETS, FEW), cmmd: FEW, mind: 5000}
"""Rows from which the bias of a distance is no news; unbiased estimators need none."""


def in_batches(name: str, protocol: EvalProtocol) -> int:
    """Return how many samples at a time a metric of sets compares, 0 for all: only Fréchet distances of I3D's do so."""
    return protocol.fvd_batch if "fvd_batch" in METRICS[name].reduced_by else 0


def set_score(
    name: str, rows: Rows, targets: Rows, signature: Signature, clips: tuple[Sequence[str], Sequence[str]] | None = None
) -> Score:
    """Compare all feature rows of the samples with all of their targets; `note` says when they are too few.

    `clips` names, for each sample and each target, the clip that it is a run of frames of: the clip is then the unit
    of the interval. Raises UnsuitableInput, saying why, for fewer than two rows on a side and for rows that are not
    finite.
    """
    distance = METRICS[name].distance
    if distance is None:
        raise UnknownName("metric of sets", name, [n for n, m in METRICS.items() if m.distance])
    batch = in_batches(name, signature.protocol)
    sides = [looked_over(side) for side in (rows, targets)]
    for side in sides:
        if (count := int(side.lengths.sum())) < (1 if batch else 2):
            raise UnsuitableInput(f"compares whole sets, of which {count} row is none")
        if side.broken:
            raise UnsuitableInput(f"the features of {side.broken} of {len(side.lengths)} samples are not finite")
    if batch:
        return _of_batches(distance, rows, targets, batch, signature)
    each = [list(map(str, range(len(side)))) for side in (rows, targets)]
    units = each if clips is None or distance is frechet_of_prefixes else clips
    groups, others = (_repeated(names, side) for names, side in zip(units, sides, strict=True))
    x, y = (side.rows for side in sides)
    value, low, high = distance(x, y, groups, others)
    return Score(value, low, high, len(x), signature, few(name, min(len(x), len(y)), x.shape[1]))


def _repeated(names: Sequence[str], side: Side) -> Groups:
    """Return a number for the name of each row's sample, in the order in which names are first met."""
    numbers = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return np.repeat([numbers[name] for name in names], side.lengths)


def _of_batches(distance: Distance, rows: Rows, targets: Rows, size: int, signature: Signature) -> Score:
    """Return the mean of the distances of runs of `size` samples, with an interval over those; of one, its square."""
    values = [_of_run(distance, rows[k : k + size], targets[k : k + size]) for k in range(0, len(rows), size)]
    low, high = bootstrap_mean(values) or (None, None)
    note = f"mean of {len(values)} distances of {size} clips each: no distance of two sets"
    return Score(float(np.mean(values)), low, high, len(rows), signature, note)


def _of_run(distance: Distance, rows: Rows, targets: Rows) -> float:
    if len(rows) == 1:
        return float(np.mean(((rows[0] - targets[0]).astype(np.float64) ** 2).sum(axis=1)))
    groups = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return distance(np.concatenate(rows), np.concatenate(targets), groups, groups).value


def few(name: str, n: int, d: int) -> str:
    """Say when a set is too small for its metric; unbiased estimators need no such word."""
    enough = ENOUGH.get(METRICS[name].distance, 0)
    if n >= enough:
        return ""
    if n <= d and METRICS[name].distance in FRECHETS:
        return f"**under-sampled**: {n} rows in {d} dimensions; compare only at equal n"
    return f"n = {n} < {enough}: biased upwards; compare only at equal n"
