"""The probes: what measures pixels, listed so that names and versions are known without loading torch."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float64

from cvbench.errors import UnknownName
from cvbench.weights import Source, fetch

if TYPE_CHECKING:
    import torch

    from cvbench.tensors import Video

Rows = Float64[np.ndarray, " t"]
"""What a pair probe found: one value a frame."""


@runtime_checkable
class PairProbe(Protocol):
    """Compares reconstructions with their target, frame by frame.

    The caller feeds at most `frames_at_once` frames, which bounds memory; where a clip is cut never changes a
    value. `version` enters the cache key: it changes whenever a number may.
    """

    version: str
    frames_at_once: int

    def prepare(self, target: "Video") -> Any:
        """Compute what depends on the target alone, once for all models.

        Raises UnsuitableInput when frames of this size cannot be measured.
        """
        ...

    def rows(self, recon: "Video", prepared: Any) -> Rows:
        """Measure a reconstruction of that target; raises BadOutput when it has another shape."""
        ...


@dataclass(frozen=True)
class ProbeEntry:
    """What is known of a probe without loading it.

    `build` names "module:callable"; with a `source` it is called with the weights' path and the device, else with
    nothing. `per` says what one row stands for.
    """

    build: str
    version: str
    per: Literal["frame", "clip"] = "frame"
    source: Source | None = None


_VGG = Source(
    ("vgg16-397923af.pth",),
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
_ALEX = Source(
    ("alexnet-owt-7be5be79.pth",),
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
)

PROBES: dict[str, ProbeEntry] = {
    "psnr": ProbeEntry("cvbench.probes.pixel:Psnr", "1"),
    "ssim": ProbeEntry("cvbench.probes.pixel:Ssim", "1"),
    "ms-ssim": ProbeEntry("cvbench.probes.pixel:MsSsim", "1"),
    "lpips-vgg": ProbeEntry("cvbench.probes.perceptual:lpips_vgg", "vgg-v0.1-1", source=_VGG),
    "lpips-alex": ProbeEntry("cvbench.probes.perceptual:lpips_alex", "alex-v0.1-1", source=_ALEX),
}


def load_probe(name: str, device: "torch.device", weights: Mapping[str, Path] | None = None) -> PairProbe:
    """Build a probe, with its weights from `weights` (by probe name), the caches or their source.

    Raises UnknownName, MissingWeights or BadWeights.
    """
    if name not in PROBES:
        raise UnknownName("probe", name, PROBES)
    entry = PROBES[name]
    module, _, attribute = entry.build.partition(":")
    build = getattr(importlib.import_module(module), attribute)
    if entry.source is None:
        return cast(PairProbe, build())
    return cast(PairProbe, build(fetch(name, entry.source, weights), device))
