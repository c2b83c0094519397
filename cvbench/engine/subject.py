"""The model under test, whether a registry name, a file, `hf:` or an object: loaded, moved, held still, put back."""

import contextlib
import copy
import functools
import inspect
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cvbench import models, weights
from cvbench.core.digest import digest
from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.core.protocol import EvalProtocol, derive
from cvbench.core.records import ModelFacts
from cvbench.core.types import Traits
from cvbench.engine.coding import Coded, code
from cvbench.engine.fingerprint import attributes_of, enclosed, fingerprint
from cvbench.models.about import licence_of
from cvbench.models.entry import Loading, ModelEntry
from cvbench.models.own import OwnModel, load_own
from cvbench.nets.arithmetic import arithmetic
from cvbench.nets.tensors import Videos
from cvbench.probes.bits import bits_of

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Init = Literal["weights", "random"]
Shape = tuple[int, int, int]
"""Frames, height and width of a prepared clip."""
TILES = "tiles-2"
"""Which tiles official tiling makes, wherever models differ by it; it moves when theirs do."""
SMALL = (5, 64, 64)
"""Of the pattern that is coded before and after another, to see whether a model remembers; of images one frame."""


@dataclass(frozen=True)
class Setting:
    """What all models of a run share."""

    protocol: EvalProtocol
    device: torch.device
    weights: Mapping[str, Path]
    init: Init = "weights"


class Subject:
    """One model of a run. `facts` are known before the network is loaded; `model` loads it.

    `encode` and `decode` are the model's, in the arithmetic that the protocol asks for.
    """

    facts: ModelFacts
    setting: Setting
    latents: str = "raw"
    """The form in which they are coded: "raw" or "scaled" (see ModelEntry)."""

    @property
    def name(self) -> str:
        """The name users gave: model and options."""
        return self.facts.name

    @property
    def model(self) -> Any:
        """The loaded model."""
        raise NotImplementedError

    def key(self, shape: Shape) -> str | None:
        """Return what stands for all but pixels and protocol that decides the reconstruction of clips of a shape.

        None: rows are never reused beyond this process.
        """
        raise NotImplementedError

    @property
    def traits(self) -> Traits:
        """The loaded model's traits."""
        return traits_of(self.model)

    @property
    def computes_in(self) -> str:
        """The dtype that runs, where the model says that it is not the protocol's."""
        return str(getattr(self.model, "computes_in", ""))

    @contextlib.contextmanager
    def running(self) -> Iterator[Any]:
        """Give the model to be run, in the arithmetic of the protocol."""
        with arithmetic(tf32=self.setting.protocol.dtype == "tf32"):
            yield self.model

    def encode(self, videos: Videos) -> Any:
        """Code clips, (b, 3, t, h, w) in [0, 1]."""
        with self.running() as model:
            return model.encode(videos)

    def decode(self, latents: Any, frames: int) -> Any:
        """Reconstruct clips of `frames` frames; what comes back is not checked."""
        with self.running() as model:
            return model.decode(latents, frames)

    @property
    def size(self) -> int:
        """Bytes of the loaded model's parameters."""
        return sum(p.numel() * p.element_size() for net in networks_of(self.model) for p in net.parameters())

    def leave(self) -> bool:
        """Give back the memory that the model takes until it is used again; False where that cannot be."""
        return False

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Keep what belongs to somebody else as it is during a run, and give it back as it was."""
        yield


class Listed(Subject):
    """A model of the registry or the hub. Raises MissingWeights or BadWeights at once, before any clip is read."""

    def __init__(self, spec: str, setting: Setting, name: str = "") -> None:
        self.entry_name, self.entry, self.options = models.parse(spec)
        self.setting, self.spec, self.latents = setting, spec, self.entry.latents
        given = {**setting.weights, self.entry_name: Path(self.entry.place)} if self.entry.place else setting.weights
        self.random = setting.init == "random" and self.entry.source is not None
        source = None if self.random else self.entry.source
        self.path = weights.fetch(self.entry_name, source, given) if source else None
        self.held = weights.identity(self.path, self.entry.source) if self.path else None
        self.partner = self._partner(given) if self.entry.encoder and self.path else None
        facts = facts_of(name or spec, self.entry, self._identity(), "random" if self.random else "weights")
        revision = self.held.revision if self.held else ""
        self.facts = replace(facts, revision=revision, spec=spec if name else "", encoder=self._encoder())

    def _partner(self, given: Mapping[str, Path]) -> Path:
        """Return where the weights lie of the entry that encodes for a decoder."""
        source = models.find(self.entry.encoder).source
        if source is None:
            raise UsageError(f"{self.entry.encoder}, which encodes for {self.entry_name}, has no weights")
        return weights.fetch(self.entry.encoder, source, given)

    def _encoder(self) -> str:
        """Return which entry encodes for a decoder, and the commit of its weights where that is known."""
        source = models.find(self.entry.encoder).source if self.partner else None
        commit = weights.identity(self.partner, source).revision if self.partner and source else ""
        return f"{self.entry.encoder}@{commit}" if commit else self.entry.encoder

    def _identity(self) -> str:
        held = [self.held.sha256, self.held.revision] if self.held else [f"random:{self.setting.protocol.seed}"]
        held += [weights.path_digest(self.partner)] if self.partner else []
        made = [self.entry.build, dict(self.entry.config), self.options, self.entry.version]
        made += [TILES] if self.setting.protocol.tiling else []
        known_as = "" if self.entry.place else self.entry_name  # weights may move, and are known by what they hold
        return digest([known_as, made, held if self.entry.source else _codec_version(self.entry)])

    def key(self, shape: Shape) -> str | None:
        """Return the digest of weights, entry, options and adapter version."""
        return self.facts.digest

    def in_float32(self) -> "Listed | None":
        """Return the same model in float32, None where the dtype makes no difference: codecs, floors, float32."""
        if self.setting.protocol.dtype == "fp32" or self.entry.source is None:
            return None
        return Listed(self.spec, replace(self.setting, protocol=replace(self.setting.protocol, dtype="fp32")))

    @cached_property
    def model(self) -> Any:
        """Build the network and load its weights."""
        protocol = self.setting.protocol
        loading = Loading(
            device=self.setting.device,
            dtype=DTYPES[protocol.dtype],
            posterior=protocol.posterior,
            tiling=protocol.tiling,
            seed=protocol.seed,
            path=self.path,
            partner=self.partner,
            options=self.options,
        )
        return models.build(self.entry, loading)

    def leave(self) -> bool:
        """Forget the network: it is built anew, from the same weights, when it is used again."""
        return self.__dict__.pop("model", None) is not None


class Own(Subject):
    """A user's own model: an object as it is, or what a factory of theirs made (`code`).

    The code of a factory may change anywhere, so the key of its rows holds all modules of its folder, the state and
    settings of what it made, and what that makes of a pattern of the clips' own size and length. Of an object that was
    handed over nothing is known for certain: its rows live in the process, unless it states a `cache_key`.
    """

    def __init__(self, name: str, model: Any, setting: Setting, code: OwnModel | None = None, spec: str = "") -> None:
        self.setting, self.code, self.away = setting, code, False
        with self._imports():
            self.given = _with_methods(model)
            self._prepare()
            self.facts = replace(self._facts(name), spec=spec)
        self._behaviour: dict[Shape, str | None] = {}

    def _prepare(self) -> None:
        """Move and cast the networks of a factory's model, or of a copy; a user's object stays where it is."""
        dtype, held = DTYPES[self.setting.protocol.dtype], dtype_of(self.given)
        self.borrowed = self.code is None and held in (None, dtype)
        if self.code is None and not self.borrowed:
            self.given = _copied(self.given, dtype)
        self.networks = networks_of(self.given)
        if not self.borrowed:
            for network in self.networks:
                network.to(self.setting.device, dtype).eval().requires_grad_(False)
        self._model = _Adapted(_adapted(self.given, self.setting.protocol), dtype if held else torch.float32)

    def _facts(self, name: str) -> ModelFacts:
        traits = traits_of(self._model)
        try:
            self.state = fingerprint([self.given, self.networks])
        except Exception:  # a user's object may hold anything: what cannot be looked into has no key
            self.state = ""
        source = self.code.source() if self.code else ""
        return ModelFacts(
            name=name,
            digest=digest([type(self.given).__qualname__, source, self.state]),
            about=(type(self.given).__doc__ or "").strip().split("\n")[0],
            params=_params(self._model.inner, self.networks),
            temporal=traits.temporal,
            spatial=traits.spatial,
            channels=traits.channels or None,
            bpp=traits.bits_per_pixel,
            frame_rule=str(traits.frame_rule),
            window=traits.window,
        )

    @property
    def model(self) -> Any:
        """The model, with the methods that the harness calls; on its device, if it had left that."""
        if self.away:
            self._move(self.setting.device)
        return self._model

    def leave(self) -> bool:
        """Move the networks that a factory made from a GPU to main memory."""
        if self.borrowed or self.away or self.setting.device.type == "cpu":
            return False
        self._move(torch.device("cpu"))
        return True

    def _move(self, device: torch.device) -> None:
        self.away = device != self.setting.device
        for network in self.networks:
            network.to(device)

    def _imports(self) -> contextlib.AbstractContextManager[None]:
        return self.code.workspace.entered() if self.code else contextlib.nullcontext()

    @contextlib.contextmanager
    def running(self) -> Iterator[Any]:
        """Give the model to be run, with the modules of its folder in place."""
        with self._imports(), super().running() as model:
            yield model

    def key(self, shape: Shape) -> str | None:
        """Return a digest of code, state and behaviour; of a model that states a `cache_key`, of that."""
        stated = getattr(self.given, "cache_key", None)
        if isinstance(stated, str) and stated:
            return digest(["stated", type(self.given).__qualname__, stated])
        if self.code is None or not self.state:
            return None
        if shape not in self._behaviour:
            self._behaviour[shape] = self._observed(shape)
        behaviour = self._behaviour[shape]
        return behaviour and digest([self.code.factory, self.code.source(), self.state, behaviour])

    def _observed(self, shape: Shape) -> str | None:
        """Return a digest of what the model makes of a pattern; None when it cannot take it, or remembers."""
        try:
            small = (min(SMALL[0], shape[0]), *SMALL[1:])
            before = self._made_of(small)
        except Exception:  # of one fixed size, perhaps
            small, before = shape, ""
        try:
            before = before or self._made_of(small)
            made, after = self._made_of(shape), self._made_of(small)
        except Exception:  # a user's model may raise anything; it will say so again on the first clip
            return None
        return made if before == after else None

    def _made_of(self, shape: Shape) -> str:
        count = 3 * shape[0] * shape[1] * shape[2]
        ramp = torch.arange(count, dtype=torch.float64).mul_(0.6180339887498949).frac_().float().view(1, 3, *shape)
        (made,) = code(self, ramp.to(self.setting.device), [0])
        return fingerprint([made.recon, self._bits(made)])

    def _bits(self, made: Coded) -> list[float]:
        try:
            return bits_of(made.latents, made.clips, self.traits.codebook)
        except UnsuitableInput:
            return []

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Put every submodule into evaluation mode, and back into its own mode afterwards."""
        modes = [(module, module.training) for network in self.networks for module in network.modules()]
        for network in self.networks:
            network.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                if module.training != mode:
                    module.train(mode)  # some do more than set the flag
                module.training = mode


class _Adapted:
    """A user's model as the harness calls it: pixels in its networks' dtype, `decode(z)` of one argument as well."""

    def __init__(self, inner: Any, dtype: torch.dtype) -> None:
        self.inner, self.dtype, self.traits = inner, dtype, traits_of(inner)
        self.computes_in = str(getattr(inner, "computes_in", ""))
        self.takes_frames = _takes_two(inner.decode)

    def encode(self, videos: Tensor) -> Any:
        """Encode in the dtype."""
        return self.inner.encode(videos.to(self.dtype))

    def decode(self, latents: Any, frames: int) -> Any:
        """Decode; an output object with a `sample`, as diffusers has them, gives that."""
        made = self.inner.decode(latents, frames) if self.takes_frames else self.inner.decode(latents)
        sample = getattr(made, "sample", None)
        return sample if not isinstance(made, Tensor) and isinstance(sample, Tensor) else made


def subject_of(model: Any, setting: Setting, name: str = "") -> Subject:
    """Return the subject for [LABEL=]SPEC, a name of the registry or the hub, a path or FILE.py:FACTORY, or an object.

    Raises UsageError for unknown names and for objects without `encode` and `decode`, MissingWeights, BadWeights.
    """
    if not isinstance(model, str):
        return Own(name or type(model).__name__, model, setting)
    label, spec = models.labelled(model)
    if not models.is_own(spec):
        return Listed(spec, setting, name or label)
    own = load_own(spec)
    return Own(name or label or spec, own.model, setting, own, spec if name or label else "")


def protocol_for(model: Any, protocol: EvalProtocol) -> EvalProtocol:
    """Return the protocol for a user's object: one of half precision says so in the protocol's name and signature."""
    names = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    held = None if isinstance(model, str) else names.get(dtype_of(model) or torch.float32)
    return derive(protocol, [f"dtype={held}"]) if held and protocol.dtype == "fp32" else protocol


def traits_of(model: Any) -> Traits:
    """Return the model's traits; a model that states none is taken to accept any length and size."""
    found = getattr(model, "traits", None)
    return found if isinstance(found, Traits) else Traits()


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
        licence=licence_of(entry),
        encoder=entry.encoder,
        init=init,
        window=traits.window,
    )


def networks_of(model: object) -> list[nn.Module]:
    """Return the outermost torch modules that an object is or holds, at any depth, each once."""
    found: list[nn.Module] = []
    seen: dict[int, object] = {}

    def look(value: Any) -> None:
        if id(value) in seen or isinstance(value, (str, bytes, int, float, Tensor)) or inspect.ismodule(value):
            return
        seen[id(value)] = value
        if isinstance(value, nn.Module):
            found.append(value)
        for part in _held_by(value):
            look(part)

    look(model)
    inner = {id(child) for network in found for child in network.modules() if child is not network}
    return [network for network in found if id(network) not in inner]


def _held_by(value: Any) -> Iterable[Any]:
    """Return what an object holds: elements, attributes of its own and of its class, what a function encloses."""
    if isinstance(value, type):
        held = [v for kind in value.__mro__ for v in vars(kind).values()]
        return [v for v in held if isinstance(v, (nn.Module, list, tuple, dict, types.FunctionType))]
    parts = [type(value), *attributes_of(value).values()]
    if isinstance(value, Mapping):
        return [*parts, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [*parts, *value]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    if inspect.isfunction(value):
        named = (value.__globals__.get(name) for name in value.__code__.co_names)
        return [*enclosed(value), *(v for v in named if isinstance(v, nn.Module))]
    return parts


def dtype_of(model: object) -> torch.dtype | None:
    """Return the dtype of most parameters of a model, None without any."""
    counts: dict[torch.dtype, int] = {}
    for network in networks_of(model):
        for p in network.parameters():
            if p.is_floating_point():
                counts[p.dtype] = counts.get(p.dtype, 0) + p.numel()
    return max(counts, key=lambda dtype: counts[dtype]) if counts else None


def device_of(model: object) -> torch.device | None:
    """Return the device of a model's first parameter, None without any."""
    return next((p.device for network in networks_of(model) for p in network.parameters()), None)


def _copied(model: Any, dtype: torch.dtype) -> Any:
    """Return a copy of a user's object with networks of its own. Raises UsageError where there is none."""
    cannot = f"a {type(model).__name__} cannot be copied to be measured in {dtype}; cast it yourself"
    try:
        made = copy.deepcopy(model)
    except Exception as error:  # whatever the object holds
        raise UsageError(f"{cannot}: {error}") from error
    if {*map(id, networks_of(made))} & {*map(id, networks_of(model))}:
        raise UsageError(f"{cannot}: functions or its class hold its networks")
    return made


def _with_methods(model: Any) -> Any:
    """Return the object that encodes and decodes: the model, or what DistributedDataParallel and the like wrap."""
    while not _codes(model) and isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    if not _codes(model):
        raise UsageError(f"a {type(model).__name__} is no model: it has no methods encode and decode")
    return model


def _codes(model: Any) -> bool:
    return callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None))


def _adapted(model: Any, protocol: EvalProtocol) -> Any:
    """Return a model of diffusers with its adapter around it, any other as it is."""
    from cvbench.models import diffusers

    bare = getattr(model, "_orig_mod", model)
    if not diffusers.is_known(bare):
        return model
    return diffusers.Diffusers.around(model, protocol.posterior, protocol.seed, protocol.tiling)


def _takes_two(method: Any) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    second = positional[1:2]
    takes = [p.default is p.empty or "frames" in p.name for p in second]  # any other default is a setting
    return any(takes) or any(p.kind == p.VAR_POSITIONAL for p in parameters)


def _codec_version(entry: ModelEntry) -> str:
    version = getattr(models.resolve(entry.build), "codec_version", None)
    return str(version()) if version else ""


def _params(model: object, networks: list[nn.Module]) -> tuple[int, int] | None:
    """Count encoder and decoder parameters where the model has parts of these names."""
    stated = getattr(model, "params", None)
    if isinstance(stated, tuple):
        return stated
    for owner in (model, *networks):
        halves = [getattr(owner, half, None) for half in ("encoder", "decoder")]
        if all(isinstance(half, nn.Module) for half in halves):
            counts = [sum(p.numel() for p in half.parameters()) for half in halves if half is not None]
            return counts[0], counts[1]
    return None
