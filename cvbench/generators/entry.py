"""What is known of a generator without loading it, and what it is given to draw a sample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from cvbench.core.errors import UsageError
from cvbench.core.protocol import EvalProtocol

if TYPE_CHECKING:
    import torch

Task = Literal["t2i", "i2v", "t2v"]
"""What a generator makes of what: text to image, image to video, text to video."""
Latent = Float[np.ndarray, "c t h w"]
"""A sample before it is decoded, in the space of the generator's own VAE: what that VAE's `decode` takes."""
FirstFrame = UInt8[np.ndarray, "3 1 h w"]
DRAWN = {
    "steps": "steps",
    "guidance": "guidance",
    "guidance_first": "guidance_first",
    "frames": "video_frames",
    "fps": "video_fps",
    "motion": "motion",
    "noise": "noise",
}
"""Settings of a generator, each with the protocol's field that states it."""


@dataclass(frozen=True)
class Condition:
    """What one sample is made from: a prompt, or a first frame of the generator's size."""

    prompt: str = ""
    first_frame: FirstFrame | None = None


@dataclass(frozen=True)
class Settings:
    """How a generator draws: `size` is height and width of its pictures, `frames` 1 for a picture.

    `values` are the other settings by the names of DRAWN, as far as it has them; `scheduler` own or another's name,
    `dtype` that of its networks.
    """

    size: tuple[int, int]
    frames: int
    values: Mapping[str, int | float]
    scheduler: str = "own"
    dtype: str = "fp32"

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values, for keys and records."""
        made = {"size": "x".join(map(str, self.size)), "frames": self.frames, **self.values}
        return {**made, "scheduler": self.scheduler, "dtype": self.dtype}


@dataclass(frozen=True)
class GeneratorLoading:
    """All a generator needs to be built. `path` is None for one without weights.

    `encoder` codes first frames in place of its own VAE: pixels (b, 3, t, h, w) in [0, 1] to raw latents.
    """

    device: "torch.device"
    settings: Settings
    path: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    encoder: "Callable[[torch.Tensor], torch.Tensor] | None" = None


@runtime_checkable
class Generator(Protocol):
    """Draws samples. `facts` tells what a record keeps of it beside its settings: the scheduler as resolved, say."""

    facts: Mapping[str, Any]

    def draw(self, condition: Condition, seed: int) -> Latent:
        """Draw one sample, which depends on condition and seed alone."""
        ...


@dataclass(frozen=True)
class GeneratorEntry:
    """What is known of a generator without loading it.

    `build` names "module:class", called with a GeneratorLoading. `vae` is the model that decodes its latents, of
    `latent` shape (c, t, h, w) by default; `scale` tells how the network's own latents follow from those. `defaults`
    are its size and the settings of DRAWN that it has; `dtype` that of its networks. `repo` and `revision` say where
    its weights lie on the hub. `tflop` is what one call of the network costs, `params` the parameters of the network
    that denoises. `protocol` is the one that a published table made with it.
    """

    about: str
    task: Task
    build: str
    vae: str
    latent: tuple[int, int, int, int]
    defaults: Mapping[str, Any]
    scale: str = ""
    dtype: str = "fp16"
    repo: str = ""
    revision: str = "main"
    gated: bool = False
    licence: str = ""
    tflop: float = 0.0
    params: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "cvbench-gen-1"
    version: int = 1

    def settings(self, protocol: EvalProtocol) -> Settings:
        """Return how it draws under a protocol. Raises UsageError for a field that it has no setting for."""
        given = {name: getattr(protocol, key) for name, key in DRAWN.items() if getattr(protocol, key) is not None}
        foreign = [DRAWN[name] for name in given if name not in self.defaults]
        if foreign:
            raise UsageError(f"it takes no {', '.join(foreign)}; its settings are {', '.join(self.defaults)}")
        values = {k: v for k, v in {**self.defaults, **given}.items() if k not in ("size", "frames")}
        size = self.defaults["size"] if protocol.size is None else protocol.size
        sides = size if isinstance(size, tuple) else (size, size)
        frames = given.get("frames", self.defaults.get("frames", 1))
        dtype = self.dtype if protocol.drawn_in == "own" else protocol.drawn_in
        return Settings(sides, int(frames), values, protocol.scheduler, dtype)

    def cost(self, settings: Settings) -> float:
        """Return the TFLOP of one sample, decoding not counted; scaled by area and frames, attention by neither."""
        height, width = settings.size
        usual = self.defaults["size"] if isinstance(self.defaults["size"], tuple) else (self.defaults["size"],) * 2
        share = height * width * settings.frames / (usual[0] * usual[1] * self.defaults.get("frames", 1))
        guided = 2 if settings.values.get("guidance", 1) > 1 and not self.config.get("distilled") else 1
        return float(self.tflop * settings.values.get("steps", 1) * guided * share)
