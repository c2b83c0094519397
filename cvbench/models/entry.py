"""What is known of a model without loading it, and what an adapter is given to load it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cvbench.core.types import Traits
from cvbench.weights import Source

if TYPE_CHECKING:
    import torch

Option = int | float | str


@dataclass(frozen=True)
class Loading:
    """All an adapter needs to build its model. `path` is None when `init` is random, and for what has no weights.

    `partner` are the weights of the entry that encodes for a decoder.
    """

    device: "torch.device"
    dtype: "torch.dtype"
    posterior: Literal["mode", "sample"] = "mode"
    tiling: bool = False
    seed: int = 0
    path: Path | None = None
    partner: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelEntry:
    """What is known of a model without loading it.

    `build` names "module:class"; the class takes a Loading or, where its constructor is for people, has a class
    method `build` that does (see `models.build`). `options` are what a user may set (`h264@crf=28`) with their
    defaults, `config` is handed to the adapter. `version` enters the cache key: raise it when the adapter's numbers
    may change. `place` is where weights lie that a user named by their path. `base` is
    the entry whose latents it shares, `latents` the form in which it does: "raw" as that one's encoder gives them, or
    "scaled" as its diffusion model takes them. `encoder` is the entry that encodes for a decoder alone. `mixes` says
    that frames of a clip are coded or decoded together although time is not compressed.
    """

    about: str
    build: str
    traits: Traits
    role: Literal["network", "codec", "floor", "reference"] = "network"
    options: Mapping[str, Option] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None
    params: tuple[int, int] | None = (0, 0)
    licence: str = ""
    compatible: str = ""
    base: str = ""
    latents: Literal["raw", "scaled"] = "raw"
    encoder: str = ""
    version: int = 1
    place: str = ""
    mixes: bool = False

    @property
    def of_videos(self) -> bool:
        """Whether it is a model of clips; others code each frame by itself."""
        return self.mixes or self.traits.temporal > 1
