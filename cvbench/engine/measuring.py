"""The probes of a run at work: loaded when the first clip needs them; what cannot be measured is a reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from cvbench.core.errors import CvbenchError, UnsuitableInput
from cvbench.core.protocol import EvalProtocol
from cvbench.engine.clock import stage
from cvbench.engine.coding import Coded, Pixels8, describe, in_flight
from cvbench.metrics import METRICS
from cvbench.nets.arithmetic import arithmetic
from cvbench.nets.fetching import Fetched, Row, arrived, fetch
from cvbench.nets.tensors import Video
from cvbench.probes import (
    FEATURES,
    PLAIN,
    PROBES,
    DeviceFeatureProbe,
    DevicePairProbe,
    FeatureProbe,
    PairProbe,
    feature_loading,
    load_feature_probe,
    load_probe,
    probe_version,
)
from cvbench.probes.bits import bits_of

P = TypeVar("P")
Clip = Video | Pixels8
"""A video in flight or at rest."""
LARGEST = 64 << 20
"""Bytes of one side in float32 that a pair probe is given at once: beside a clip, little."""
Rows = dict[str, Row]
"""By column a row of numbers, on its way perhaps, or the text that says why there is none."""


class Probes:
    """The probes of a run, loaded when first needed; `reasons` tells why one could not be."""

    def __init__(
        self,
        metric_names: Sequence[str],
        device: torch.device,
        weights: Mapping[str, Path],
        init: Literal["weights", "random"] = "weights",
        seed: int = 0,
        protocol: EvalProtocol = PLAIN,
    ) -> None:
        self.metrics = list(metric_names)
        self.names = list(dict.fromkeys(METRICS[name].network for name in self.metrics))
        self.device, self.weights, self.protocol = device, weights, protocol
        self.init, self.seed = init, seed
        self.pairs: dict[str, PairProbe] = {}
        self.features: dict[str, FeatureProbe] = {}
        self.reasons: dict[str, str] = {}
        self.versions = {name: self._version(name) for name in self.names}

    def _version(self, name: str) -> str:
        """Return a probe's version without building it; that of a feature probe holds its weights' hash."""
        try:
            if name in PROBES:
                return probe_version(name)
            return feature_loading(name, self.device, self.weights, self.init, self.seed).version
        except CvbenchError as error:
            self.reasons[name] = describe(error)
            return ""

    def column(self, name: str) -> str:
        """Return the name under which a probe's rows are stored."""
        return f"{name}@{self.versions[name]}"

    def columns(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Return the columns of the probes that can be had here, each with its probe; of `names` where given."""
        wanted = self.names if names is None else names
        return {self.column(name): name for name in wanted if name not in self.reasons}

    @property
    def of_videos(self) -> list[str]:
        """The probes that describe one video: the target has rows of its own."""
        return [name for name in self.names if name in FEATURES]

    def pair(self, name: str) -> PairProbe:
        """Return a probe that needs no weights, whether the run asked for it or not."""
        return self.pairs.get(name) or self._load(name)

    def _load(self, name: str) -> PairProbe:
        return load_probe(name, self.device, self.weights, self.protocol)

    def pair_probes(self, names: Iterable[str], side: str = "") -> dict[str, PairProbe]:
        """Return those of `names` that compare frames, of one `side` where that is said, and can be loaded here."""
        known = [name for name in names if name in PROBES and PROBES[name].looks_at == "frames"]
        known = [name for name in known if side in ("", PROBES[name].side)]
        return self._loaded(known, self.pairs, self._load)

    def feature_probes(self, names: Iterable[str]) -> dict[str, FeatureProbe]:
        """Return those of `names` that describe videos and can be loaded here."""

        def load(name: str) -> FeatureProbe:
            return load_feature_probe(name, self.device, self.weights, self.init, self.seed)

        return self._loaded([name for name in names if name in FEATURES], self.features, load)

    def _loaded(self, names: Iterable[str], held: dict[str, P], load: Callable[[str], P]) -> dict[str, P]:
        wanted = [name for name in names if name not in self.reasons]
        for name in wanted:
            if name not in held:
                try:
                    held[name] = load(name)
                except CvbenchError as error:
                    self.reasons[name] = describe(error)
        return {name: held[name] for name in wanted if name in held}


def is_measured(row: np.ndarray) -> bool:
    """Tell numbers from the stored reason why there are none."""
    return row.dtype.kind == "f"


def measured(step: Callable[[], Row]) -> Row:
    """Return a row, on its way perhaps, or as a text why this sample has none: it does not suit the probe."""
    try:
        row = step()
    except UnsuitableInput as error:
        return np.array(str(error))
    return row if isinstance(row, Fetched) else settled(row)


def settled(row: Row) -> np.ndarray:
    """Return a row that has arrived, or as a text why there is none: it came out not finite."""
    array = np.asarray(arrived(row), order="C")  # a layout moves the last digit of what is made of it
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return np.array("what was measured is not finite")
    return array


@dataclass
class Measured:
    """Rows by column of what was measured, and of each probe that failed the error."""

    rows: Rows = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)


def measure_pairs(
    probes: Probes, recons: Mapping[str, Clip], target: Clip, wanted: Mapping[str, Iterable[str]], side: str = ""
) -> dict[str, Measured]:
    """Measure reconstructions of one target by the probes `wanted` of each that compare frames, on one `side` or any.

    What a probe needs of the target alone is computed once for all. One that fails for all together is tried for each
    alone, and fails for that one only.
    """
    found = {name: Measured() for name in recons}
    asked = {name: set(wanted[name]) for name in recons}
    for name, probe in probes.pair_probes(dict.fromkeys(p for each in wanted.values() for p in each), side).items():
        mine = {recon: video for recon, video in recons.items() if name in asked[recon]}
        try:
            with stage(name):
                rows = queued(probe, mine, target)
        except Exception:  # out of memory, say, or a size that it cannot measure: each alone tells which
            rows = {}
        for recon, video in mine.items():
            alone = partial(_one, probe, video, target) if recon not in rows else partial(rows.__getitem__, recon)
            _add(found[recon], probes, name, alone)
    return found


def _one(probe: PairProbe, recon: Clip, target: Clip) -> Row:
    return queued(probe, {"": recon}, target)[""]


def measure_video(probes: Probes, clip: Clip, wanted: Iterable[str]) -> Measured:
    """Describe a video by the feature probes `wanted`."""
    found = Measured()
    for name, probe in probes.feature_probes(wanted).items():
        with stage(name):
            _add(found, probes, name, partial(_described, probe, clip))
    return found


def _described(probe: FeatureProbe, clip: Clip) -> Row:
    video = in_flight(clip)
    return fetch(probe.values(video)) if isinstance(probe, DeviceFeatureProbe) else probe.rows(video)


def measure_latents(probes: Probes, coded: Coded, codebook: int | None, pixels: int, wanted: Iterable[str]) -> Measured:
    """Measure by those of the probes `wanted` that look at latents, per pixel of the target."""
    found = Measured()
    for name in (name for name in wanted if name in PROBES and PROBES[name].looks_at == "latents"):
        _add(found, probes, name, partial(_bits_per_pixel, coded, codebook, pixels))
    return found


def _bits_per_pixel(coded: Coded, codebook: int | None, pixels: int) -> np.ndarray:
    return np.array([bits_of(coded.latents, coded.clips, codebook)[coded.place] / pixels])


def _add(found: Measured, probes: Probes, name: str, step: Callable[[], Row]) -> None:
    try:
        found.rows[probes.column(name)] = measured(step)
    except Exception as error:  # a network library may raise anything: the others go on
        found.failed[name] = error


def compared(probe: PairProbe, recons: Mapping[str, Clip], target: Clip) -> dict[str, np.ndarray]:
    """Return a pair probe's row of each reconstruction. Raises UnsuitableInput for frames that it cannot measure."""
    return {name: arrived(row) for name, row in queued(probe, recons, target).items()}


def queued(probe: PairProbe, recons: Mapping[str, Clip], target: Clip) -> dict[str, Row]:
    """Queue what `compared` returns, window by window of frames, each in flight for that time alone."""
    measure = probe.values if isinstance(probe, DevicePairProbe) else probe.rows
    pieces: dict[str, list[Any]] = {name: [] for name in recons}
    with arithmetic():
        for window in _windows(probe, target) if recons else ():
            prepared: Any = probe.prepare(in_flight(target[:, window]))
            for name, recon in recons.items():
                pieces[name].append(measure(in_flight(recon[:, window]), prepared))
    return {name: _joined(parts) for name, parts in pieces.items()}


def _joined(parts: Sequence[Any]) -> Row:
    """Return one row of a probe's pieces, fetched in one copy where they are on a device."""
    return fetch(torch.cat(list(parts))) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts)


def _windows(probe: PairProbe, target: Clip) -> Iterator[slice]:
    """Yield as many frames as a probe takes at once, and as fit into LARGEST bytes of float32."""
    frames = probe.frames_at_once
    if frames < target.shape[1]:
        frames = min(frames, max(1, LARGEST // (4 * target[:, 0].numel())))
    for start in range(0, target.shape[1], frames):
        yield slice(start, start + frames)
