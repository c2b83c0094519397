"""Every metric of the tables as a `torchmetrics.Metric`: the same probes, the same reductions, the same numbers.

Pixels are RGB in [0, 1] (or uint8), images (b, 3, h, w) or clips (b, 3, t, h, w), prepared as the protocol says. What
the harness does from there on is done here too: a reconstruction is checked and clamped, and it and its target become
bytes as the protocol says. A sample is a clip or an image, however they are batched. A protocol whose numbers need more
than the pixels, such as a file at the clip's frame rate, is refused.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Literal
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from cvbench.core.errors import Unavailable, UnsuitableInput, UsageError
from cvbench.core.fields import refuse_undone
from cvbench.core.protocol import EvalProtocol
from cvbench.core.protocol import protocol as named_protocol
from cvbench.engine.coding import check_output, quantize
from cvbench.engine.measuring import compared
from cvbench.engine.shown import Showing, Side
from cvbench.metrics import METRICS, distances, registry
from cvbench.nets.inception import prepare
from cvbench.nets.tensors import Video, Videos
from cvbench.probes import FEATURES, PROBES, FeatureProbe, PairProbe, load_feature_probe, load_probe
from cvbench.probes.features import frames_of, in_batches
from cvbench.tasks.scoring.score import UNDONE
from cvbench.weights import read_tensors, weights_file

Init = Literal["weights", "random"]
ORDER = 15
"""Hexadecimal digits of a sample's SHA-256 by which sets are put in order: so many fit into 64 bits."""
VALUES = {registry.frechet: distances.frechet, registry.frechet_of_sets: distances.frechet}
"""Distances whose value alone is wanted here, without the interval, which costs twenty more."""


@lru_cache(maxsize=8)
def _pair_probe(name: str, device: torch.device, weights: Path | None, protocol: EvalProtocol) -> PairProbe:
    return load_probe(name, device, {name: weights} if weights else {}, protocol)


@lru_cache(maxsize=8)
def _feature_probe(name: str, device: torch.device, weights: Path | None, init: Init) -> FeatureProbe:
    given = dict.fromkeys(FEATURES[name].weights, weights) if weights else {}
    return load_feature_probe(name, device, {key: path for key, path in given.items() if path}, init)


class TableMetric(Metric):
    """A metric by its name in `cvbench list metrics`, under a protocol; `weights` is the path of its network's.

    Plain names mean what the protocol says (`lpips`, `ssim`, `rfid`, `rfvd`). Raises UnknownName, and UsageError for a
    metric of another kind and for a protocol that cannot be kept to here. Other arguments are those of
    torchmetrics.Metric.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(
        self,
        metric: str,
        protocol: EvalProtocol | str = "cvvae-2405",
        weights: str | Path | None = None,
        init: Init = "weights",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.protocol = named_protocol(protocol) if isinstance(protocol, str) else protocol
        plain = registry.meant(metric, self.protocol)
        task = METRICS[plain].task if plain in METRICS else "reconstruction"
        (self.metric,), self.init = registry.resolve([metric], self.protocol, task), init
        self.weights = Path(weights) if weights else None
        if unmet := _unmet(self.metric, self.protocol):
            raise UsageError(
                f"{self.metric}: {unmet} of the protocol cannot be kept to from pixels alone; use cvbench.evaluate"
            )

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Which way is better."""
        return METRICS[self.metric].better == "higher"

    def _sides(self, preds: Tensor, target: Tensor) -> Iterator[tuple[Side, Side, Video]]:
        """Yield reconstructions and targets as the protocol shows them to metrics, and the target as it was given."""
        showing = Showing(self.protocol)
        for recon, video in _pairs(preds, target):
            yield showing.recon(recon.clamp(0, 1), recon), showing.target(video), video


def _unmet(name: str, protocol: EvalProtocol) -> str:
    """Name what a protocol asks for that tensors alone do not tell, "" where there is nothing."""
    metric = METRICS[name]
    if metric.distance:
        held = {"fvd_batch": registry.in_batches(name, protocol) > 0}
    else:
        average = registry.average_of(metric, protocol)
        held = {
            "average": average.startswith("batches"),
            "windows": protocol.windows == "all" and average == "clips",
        }
    held["through"] = protocol.through not in ("none", "png")
    return ", ".join(f"{name}={getattr(protocol, name)}" for name, found in held.items() if found)


class Paired(TableMetric):
    """A metric that compares each reconstruction with its target and averages over samples: PSNR, SSIM, LPIPS, ...

    Across ranks values are put one rank after the other; the mean differs from that in the data set's order by
    rounding in float64 at most.
    """

    sample_values: list[Tensor]

    def __init__(self, metric: str, **options: Any) -> None:
        super().__init__(metric, **options)
        m = METRICS[self.metric]
        if m.distance or PROBES.get(m.probe, PROBES["bpp"]).looks_at != "frames":
            raise UsageError(f"{metric} does not compare frames with their targets")
        self.add_state("sample_values", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Measure reconstructions. Raises BadOutput for what no average should hold, BadRange for another range."""
        m = METRICS[self.metric]
        probe = _pair_probe(m.probe, preds.device, self.weights, self.protocol)
        side = attrgetter(PROBES[m.probe].side)
        shown = [(side(recon), side(video)) for recon, video, _ in self._sides(preds, target)]
        rows = [compared(probe, {"": recon}, video)[""] for recon, video in shown]
        values = m.values(rows, self.protocol)
        self.sample_values.append(torch.from_numpy(values).to(preds.device))

    def compute(self) -> Tensor:
        """Return the score, as the table has it."""
        values = _joined(self.sample_values)
        if not len(values):
            raise UnsuitableInput(f"{self.metric} was given no sample")
        score = METRICS[self.metric].score(float(values.cpu().numpy().mean()), self.protocol)
        return torch.tensor(score, dtype=torch.float64, device=values.device)


class OfSets(TableMetric):
    """A distance of two sets of features; both are kept whole, and put in order by content as the table does."""

    features: list[Tensor]
    counts: list[Tensor]
    order: list[Tensor]
    target_features: list[Tensor]
    target_counts: list[Tensor]
    target_order: list[Tensor]

    def __init__(self, metric: str, network: str = "cvbench", **options: Any) -> None:
        super().__init__(metric, **options)
        if not METRICS[self.metric].distance:
            raise UsageError(f"{metric} compares no sets")
        if network != "cvbench" and (network, METRICS[self.metric].network) != ("pytorch-fid", "inception"):
            raise UsageError(f"network={network!r} does not describe samples for {metric}; leave it out")
        self.network = network
        for side in ("", "target_"):
            for state in ("features", "counts", "order"):
                self.add_state(f"{side}{state}", [], dist_reduce_fx="cat")

    def _add(self, videos: Videos, side: str, keys: Sequence[int]) -> None:
        """Describe videos, one after the other."""
        probe = self._probe(videos.device)
        rows = [torch.from_numpy(probe.rows(video)).to(videos.device) for video in videos]
        counts = torch.tensor([len(each) for each in rows], device=videos.device)
        for state, value in (("features", torch.cat(rows)), ("counts", counts), ("order", _longs(keys, videos))):
            getattr(self, f"{side}{state}").append(value)

    def _probe(self, device: torch.device) -> FeatureProbe:
        name = METRICS[self.metric].network
        if self.network == "pytorch-fid":
            return PytorchFid(self.weights, device)
        return _feature_probe(name, device, self.weights, self.init)

    def _side(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a set's rows in order of content, and the sample each comes from."""
        features, counts, order = (_joined(getattr(self, f"{side}{s}")) for s in ("features", "counts", "order"))
        if len(features) < 2:
            raise UnsuitableInput(f"{self.metric} compares whole sets, of which {len(features)} row is none")
        rows = torch.split(features, [int(count) for count in counts])
        ordered = [rows[i].cpu().numpy() for i in torch.argsort(order, stable=True).tolist()]
        return np.concatenate(ordered), np.repeat(np.arange(len(ordered)), [len(row) for row in ordered])

    def compute(self) -> Tensor:
        """Return the distance, as the table has it."""
        (x, groups), (y, targets) = self._side(""), self._side("target_")
        distance = METRICS[self.metric].distance
        assert distance is not None  # noqa: S101  # seen in __init__
        value = VALUES[distance](x, y) if distance in VALUES else distance(x, y, groups, targets).value
        return torch.tensor(value, dtype=torch.float64)


class OfReconstructions(OfSets):
    """A distance of reconstructions and their targets: rFID, rKID, rFVD, rKVD."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Describe reconstructions and targets."""
        sides = list(self._sides(preds, target))
        keys = [_content(video) for *_, video in sides]
        self._add(torch.stack([recon.features for recon, *_ in sides]), "", keys)
        self._add(torch.stack([video.features for _, video, _ in sides]), "target_", keys)


class OfGenerated(OfSets):
    """A distance of generated and real samples; `update(images, real=True)` takes either, as torchmetrics' FID does.

    What a generator leaves as floats becomes bytes first, as in the files that `cvbench score` reads.
    """

    def __init__(self, metric: str, **options: Any) -> None:
        super().__init__(metric, **options)
        refuse_undone(self.protocol, UNDONE, "samples of sets")

    def update(self, imgs: Tensor, real: bool) -> None:
        """Describe samples of one of the sets."""
        p, videos = self.protocol, _in_range(_videos(imgs, "imgs"), "imgs")
        videos = quantize(videos) if p.resizer != "float" and p.cast == "none" else videos
        shown = torch.stack([Showing(p).target(video).features for video in videos])
        self._add(shown, "target_" if real else "", [_content(video) for video in videos])


class PSNR(Paired):
    """PSNR of each frame in dB, mean over a clip's frames, then over clips (`psnr_mean` of the protocol)."""

    def __init__(self, **options: Any) -> None:
        super().__init__("psnr", **options)


class SSIM(Paired):
    """Structural similarity: Gaussian window 11, valid region, RGB, unless the protocol's `ssim` says otherwise."""

    def __init__(self, **options: Any) -> None:
        super().__init__("ssim", **options)


class MSSSIM(Paired):
    """Multi-scale structural similarity, five scales."""

    def __init__(self, **options: Any) -> None:
        super().__init__("ms-ssim", **options)


class Flicker(Paired):
    """Error of the change from frame to frame."""

    def __init__(self, **options: Any) -> None:
        super().__init__("flicker", **options)


class LPIPS(Paired):
    """Learned perceptual distance v0.1, on pixels in [0, 1]; of the protocol's net and input unless `net` is said."""

    def __init__(self, net: Literal["vgg", "alex"] | None = None, **options: Any) -> None:
        super().__init__(f"lpips-{net}" if net else "lpips", **options)


class CVVDP(Paired):
    """ColorVideoVDP in JOD, 10 for equal clips, on the protocol's `display`; extra `perceptual`."""

    def __init__(self, **options: Any) -> None:
        super().__init__("cvvdp", **options)


class RFID(OfReconstructions):
    """FID of reconstructions and targets."""

    def __init__(self, **options: Any) -> None:
        super().__init__("rfid", **options)


class RKID(OfReconstructions):
    """KID of reconstructions and targets."""

    def __init__(self, **options: Any) -> None:
        super().__init__("rkid", **options)


class RFVD(OfReconstructions):
    """FVD of reconstructed and target clips."""

    def __init__(self, **options: Any) -> None:
        super().__init__("rfvd", **options)


class RKVD(OfReconstructions):
    """KVD of the same."""

    def __init__(self, **options: Any) -> None:
        super().__init__("rkvd", **options)


class FID(OfGenerated):
    """FID of generated and real images; `network` says whose code computes the features, ours or pytorch-fid's."""

    def __init__(self, **options: Any) -> None:
        super().__init__("fid", **options)


class KID(OfGenerated):
    """Kernel distance of the same features."""

    def __init__(self, **options: Any) -> None:
        super().__init__("kid", **options)


class FVD(OfGenerated):
    """FVD of generated and real clips."""

    def __init__(self, **options: Any) -> None:
        super().__init__("fvd", **options)


class KVD(OfGenerated):
    """KVD of generated and real clips."""

    def __init__(self, **options: Any) -> None:
        super().__init__("kvd", **options)


class PytorchFid:
    """FID's features by the package pytorch-fid, on the same weights and the same resized pixels.

    Raises Unavailable where the package is not installed or no weights are given.
    """

    version = "pytorch-fid"
    _nets: ClassVar[dict[tuple[Path, torch.device], nn.Module]] = {}

    def __init__(self, weights: Path | None, device: torch.device) -> None:
        if weights is None:
            raise Unavailable("network='pytorch-fid' needs weights=PATH of pt_inception-2015-12-05-6726825d.pth")
        self.device = device
        if (weights, device) not in self._nets:
            self._nets[weights, device] = _pytorch_fid(read_tensors(weights_file(weights))).to(device)
        self.net = self._nets[weights, device]

    def rows(self, video: Video) -> np.ndarray:
        """One row a frame."""
        found: np.ndarray = in_batches(frames_of(video), self._features, self.device).cpu().numpy()
        return found

    def _features(self, frames: Tensor) -> Tensor:
        (features,) = self.net(prepare(frames.float()))
        flat: Tensor = features.flatten(1)
        return flat


def _pytorch_fid(state: Mapping[str, Tensor]) -> nn.Module:
    """Build the package's network with these weights, which it would fetch by itself otherwise."""
    try:
        from pytorch_fid import inception
    except ImportError as error:
        raise Unavailable("network='pytorch-fid' needs the package: pip install cvbench[fid]") from error
    with mock.patch.object(inception, "load_state_dict_from_url", return_value=dict(state)):
        net: nn.Module = inception.InceptionV3([3], resize_input=False, normalize_input=False)
    return net.eval().requires_grad_(False)


def _videos(images: Tensor, name: str) -> Videos:
    """Return images or clips as clips of floats in [0, 1]. Raises UnsuitableInput."""
    videos = images[:, :, None] if images.ndim == 4 else images
    if videos.ndim != 5 or videos.shape[1] != 3:
        raise UnsuitableInput(f"{name} is (b, 3, h, w) or (b, 3, t, h, w), RGB, not {tuple(images.shape)}")
    if videos.dtype == torch.uint8:
        return videos.float() / 255
    if not videos.is_floating_point():
        raise UnsuitableInput(f"{name} holds floats in [0, 1] or uint8, not {videos.dtype}")
    return videos.detach().float()


def _pairs(preds: Tensor, target: Tensor) -> Iterator[tuple[Video, Video]]:
    """Yield reconstructions, checked, each with its target."""
    recons, targets = _videos(preds, "preds"), _videos(target, "target")
    if recons.shape != targets.shape:
        raise UnsuitableInput(f"preds is {tuple(preds.shape)} and target {tuple(target.shape)}; give equal shapes")
    for recon, video in zip(recons, _in_range(targets, "target"), strict=True):
        check_output(recon, video)
        yield recon, video


def _in_range(videos: Videos, name: str) -> Videos:
    """Return videos as they are. Raises UnsuitableInput for pixels outside [0, 1], and for what is no number."""
    low, high = videos.aminmax()
    if not (low >= 0 and high <= 1):
        raise UnsuitableInput(f"{name} lies in [{low:.3g}, {high:.3g}]; give pixels in [0, 1]")
    return videos


def _content(video: Video) -> int:
    """Return the beginning of the SHA-256 that a data set's sample of these pixels has, where it is bytes there."""
    pixels = (video * 255).round().byte().cpu().numpy()
    found = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())
    return int(found.hexdigest()[:ORDER], 16)


def _longs(values: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.int64, device=like.device)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """Return a state as one tensor: torchmetrics hands a list out before ranks are joined, and a tensor after."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else torch.empty(0)
