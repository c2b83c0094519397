"""The probes of a run, built when the first clip needs them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from cvbench import metrics
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.engine.coding import describe
from cvbench.engine.subject import Init
from cvbench.probes import (
    FEATURES,
    PROBES,
    FeatureProbe,
    PairProbe,
    feature_loading,
    load_feature_probe,
    load_probe,
)

P = TypeVar("P")


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; auto takes the GPU when there is one. Raises UsageError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device {name}: {reason}; use auto, cpu or cuda:N of {torch.cuda.device_count()}"
        ) from error
    return device


class Probes:
    """The probes of a run, loaded when first needed; `reasons` tells why one could not be."""

    def __init__(
        self,
        metric_names: Sequence[str],
        device: torch.device,
        weights: Mapping[str, Path],
        init: Init = "weights",
        seed: int = 0,
    ) -> None:
        self.metrics = [name for name in metric_names if name != "bpp"]
        self.names = list(dict.fromkeys(metrics.METRICS[name].network for name in self.metrics))
        self.device, self.weights = device, weights
        self.init, self.seed = init, seed
        self.pairs: dict[str, PairProbe] = {}
        self.features: dict[str, FeatureProbe] = {}
        self.reasons: dict[str, str] = {}
        self.versions = {name: self._version(name) for name in self.names}

    def _version(self, name: str) -> str:
        """Return a probe's version without building it; that of a feature probe holds its weights' hash."""
        if name in PROBES:
            return PROBES[name].version
        try:
            return feature_loading(name, self.device, self.weights, self.init, self.seed).version
        except CvbenchError as error:
            self.reasons[name] = describe(error)
            return ""

    def column(self, name: str) -> str:
        """Return the name under which a probe's rows are stored."""
        return f"{name}@{self.versions[name]}"

    def pair(self, name: str) -> PairProbe:
        """Return a probe that needs no weights, whether the run asked for it or not."""
        return self.pairs.get(name) or load_probe(name, self.device, self.weights)

    def pair_probes(self, names: Sequence[str]) -> dict[str, PairProbe]:
        """Return those of `names` that compare frames and can be loaded here."""
        return self._loaded(names, self.pairs, lambda name: load_probe(name, self.device, self.weights), PROBES)

    def feature_probes(self, names: Sequence[str]) -> dict[str, FeatureProbe]:
        """Return those of `names` that describe videos and can be loaded here."""

        def load(name: str) -> FeatureProbe:
            return load_feature_probe(name, self.device, self.weights, self.init, self.seed)

        return self._loaded(names, self.features, load, FEATURES)

    def _loaded(
        self, names: Sequence[str], held: dict[str, P], load: Callable[[str], P], registry: Mapping[str, object]
    ) -> dict[str, P]:
        for name in names:
            if name in registry and name not in held and name not in self.reasons:
                try:
                    held[name] = load(name)
                except CvbenchError as error:
                    self.reasons[name] = describe(error)
        return {name: held[name] for name in names if name in held}
