"""A model on its way through a run: what it is, when it is loaded, and what must be equal before rows are reused."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cvbench import models, weights
from cvbench.core.errors import CvbenchError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import ModelFacts, digest
from cvbench.core.types import Traits
from cvbench.engine.coding import DTYPES, reconstruct, traits_of
from cvbench.models.entry import Loading, ModelEntry
from cvbench.nets.tensors import VideoVAE

Init = Literal["weights", "random"]


@dataclass(frozen=True)
class Setting:
    """What all models of a run share."""

    protocol: EvalProtocol
    device: torch.device
    weights: Mapping[str, Path]
    init: Init = "weights"


class Contender:
    """One model of a run. `facts` and `key` are known before the network is loaded; `vae` loads it.

    `key` stands for everything but the pixels and the protocol that decides the model's reconstruction: its
    weights, options, adapter version, the libraries it runs on and the kind of device. None: never reuse rows.
    """

    facts: ModelFacts
    key: str | None
    vae: VideoVAE

    @property
    def name(self) -> str:
        """The name users gave: model and options."""
        return self.facts.name

    @property
    def traits(self) -> Traits:
        """The loaded model's traits."""
        return traits_of(self.vae)


class Listed(Contender):
    """A model of the registry. Raises MissingWeights or BadWeights at once, before any clip is read."""

    def __init__(self, spec: str, setting: Setting) -> None:
        self.label, self.entry, self.options = models.parse(spec)
        self.setting = setting
        self.random = setting.init == "random" and self.entry.source is not None
        self.path = None if self.random or not self.entry.source else self._fetch()
        self.facts = facts_of(spec, self.entry, self._identity(), "random" if self.random else "weights")
        self.key = digest([self.facts.digest, _runtime(setting.device)])

    def _fetch(self) -> Path:
        source = self.entry.source
        if source is None:
            raise CvbenchError(f"{self.label} has no weights to fetch")
        return weights.fetch(self.label, source, self.setting.weights)

    def _identity(self) -> str:
        held = weights.path_digest(self.path) if self.path else f"random:{self.setting.protocol.seed}"
        codec = _codec_version(self.entry)
        return digest([self.label, self.entry.version, self.options, held if self.entry.source else codec])

    def in_float32(self) -> "Listed | None":
        """Return the same model in float32, None where the dtype makes no difference: codecs, floors, float32."""
        if self.setting.protocol.dtype == "fp32" or self.entry.source is None:
            return None
        return Listed(self.facts.name, replace(self.setting, protocol=replace(self.setting.protocol, dtype="fp32")))

    @cached_property
    def vae(self) -> VideoVAE:  # type: ignore[override]
        """Build the network and load its weights."""
        build = models.resolve(self.entry.build)
        if self.entry.source is None:
            built: VideoVAE = build(**self.options)
            return built
        protocol = self.setting.protocol
        options = {**self.entry.config, **self.options}
        loaded: VideoVAE = build(
            Loading(
                device=self.setting.device,
                dtype=DTYPES[protocol.dtype],
                posterior=protocol.posterior,
                tiling=protocol.tiling,
                seed=protocol.seed,
                path=self.path,
                options=options,
            )
        )
        return loaded


class Custom(Contender):
    """A user's own model, from a file, a module or an object; its networks must be in evaluation mode.

    Its code may change anywhere, so its key holds, beside the source file and every parameter, what it makes of
    a fixed test pattern: when that changes, rows are measured anew.
    """

    def __init__(self, name: str, vae: VideoVAE, setting: Setting, source: str = "") -> None:
        networks = networks_of(vae)
        self.vae = vae if setting.protocol.dtype == "fp32" else Cast(vae, DTYPES[setting.protocol.dtype])
        traits = traits_of(vae)
        held = digest([source, [_state_digest(network) for network in networks]])
        self.facts = ModelFacts(
            name=name,
            digest=held,
            about=(type(vae).__doc__ or "").strip().split("\n")[0],
            params=_params(vae, networks),
            temporal=traits.temporal,
            spatial=traits.spatial,
            channels=traits.channels or None,
            bpp=traits.bits_per_pixel,
            frame_rule=str(traits.frame_rule),
            window=traits.window,
        )
        behaviour = _behaviour(self.vae, traits, setting)
        self.key = behaviour and digest([held, behaviour, _runtime(setting.device)])


class Cast:
    """Runs a user's model in another dtype than float32."""

    def __init__(self, vae: VideoVAE, dtype: torch.dtype) -> None:
        self.inner, self.dtype, self.traits = vae, dtype, traits_of(vae)

    def encode(self, videos: torch.Tensor) -> Any:
        """Encode in the dtype."""
        return self.inner.encode(videos.to(self.dtype))

    def decode(self, latents: Any, frames: int) -> torch.Tensor:
        """Decode, back to float32."""
        return self.inner.decode(latents, frames).float()


def facts_of(spec: str, entry: ModelEntry, identity: str = "", init: str = "weights") -> ModelFacts:
    """Return what the registry tells a table of a model."""
    traits = entry.traits
    return ModelFacts(
        name=spec,
        digest=identity,
        role=entry.role,
        about=entry.about,
        params=entry.params,
        temporal=traits.temporal,
        spatial=traits.spatial,
        channels=traits.channels or None,
        bpp=traits.bits_per_pixel,
        frame_rule=str(traits.frame_rule),
        compatible=entry.compatible,
        licence=entry.licence,
        init=init,
        window=traits.window,
    )


def _codec_version(entry: ModelEntry) -> str:
    version = getattr(models.resolve(entry.build), "codec_version", None)
    return str(version()) if version else ""


def _runtime(device: torch.device) -> list[str]:
    """Return what else may move a reconstruction in its last digits."""
    return [device.type, torch.__version__, importlib.metadata.version("diffusers")]


def networks_of(vae: object) -> list[torch.nn.Module]:
    """Return the torch modules a model is or holds."""
    if isinstance(vae, torch.nn.Module):
        return [vae]
    held = vars(vae).values() if hasattr(vae, "__dict__") else ()
    return [value for value in held if isinstance(value, torch.nn.Module)]


def _state_digest(network: torch.nn.Module) -> str:
    return digest([[name, list(t.shape), _tensor_digest(t)] for name, t in network.state_dict().items()])


def _tensor_digest(tensor: torch.Tensor) -> str:
    return digest(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes().hex())


def _params(vae: object, networks: list[torch.nn.Module]) -> tuple[int, int] | None:
    """Count encoder and decoder parameters where the model has parts of these names."""
    stated = getattr(vae, "params", None)
    if isinstance(stated, tuple):
        return stated
    for owner in (vae, *networks):
        halves = [getattr(owner, half, None) for half in ("encoder", "decoder")]
        if all(isinstance(half, torch.nn.Module) for half in halves):
            counts = [sum(p.numel() for p in half.parameters()) for half in halves if half is not None]
            return counts[0], counts[1]
    return None


def _behaviour(vae: VideoVAE, traits: Traits, setting: Setting) -> str | None:
    """Return a digest of what the model makes of a fixed pattern, None when it cannot take it."""
    side = max(64, traits.least_side)
    ramp = torch.arange(3 * 5 * side * side, dtype=torch.float32).mul_(0.618034).frac_().view(1, 3, 5, side, side)
    try:
        recon, _ = reconstruct(vae, ramp.to(setting.device), setting.protocol)
    except Exception:  # a user's model may raise anything; it will say so again on the first clip
        return None
    return digest(np.asarray(recon.cpu()).tobytes().hex())
