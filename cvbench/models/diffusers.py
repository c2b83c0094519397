"""Every image and video autoencoder of diffusers through one adapter."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadOutput, Unavailable, UnsuitableInput
from cvbench.core.types import Traits
from cvbench.models.autoencoders import AUTOENCODERS, Call, Config, Network
from cvbench.models.building import build, cast, on_meta, settings_of
from cvbench.models.entry import Loading
from cvbench.models.floors import check_size
from cvbench.models.precision import computes_in
from cvbench.nets.tensors import Latents, Videos

AT_ONCE = 8
"""Frames that networks for images are given at a time."""
PROBE = 256
"""Height and width of what measures a network's traits: every spatial compression divides it."""
FORGET = ("clear_cache", "_clear_conv_cache")
"""Methods that clear what causal networks keep of earlier frames."""


class Diffusers:
    """An autoencoder of one of the classes AUTOENCODERS, whose peculiarities stand there.

    The loading's options are the class (`_class_name`) and its arguments where they differ from its defaults; over
    them goes a config.json next to the weights. Weights: a diffusers folder, sharded or not, or a single file in its
    layout; AutoencoderKL also in the original one. In fp16 a network whose config says `force_upcast` runs in fp32,
    as in diffusers' pipelines: `dtype` and `computes_in` tell. Latents are not scaled for diffusion, as that cancels
    out. Raises BadWeights, or Unavailable for tiles that a class does not have. Reference: diffusers 0.42.
    """

    def __init__(self, loading: Loading) -> None:
        name, config = settings_of(loading)
        dtype = torch.float32 if loading.dtype == torch.float16 and config["force_upcast"] else loading.dtype
        net = cast(build(name, config, loading), loading.device, dtype)
        self._adopt(net, name, Call(config, loading.posterior, loading.seed), tiling=loading.tiling)

    @classmethod
    def around(
        cls, net: Network, posterior: Literal["mode", "sample"] = "mode", seed: int = 0, tiling: bool = False
    ) -> "Diffusers":
        """Adapt a network that exists, of one of AUTOENCODERS or a subclass; nothing of it is changed.

        Device, dtype and evaluation mode are the caller's. Raises Unavailable for another class, and for tiles that it
        does not have.
        """
        net = _uncompiled(net)
        name = known_class(net)
        if not name:
            raise Unavailable(f"a {type(net).__name__} is none of {', '.join(AUTOENCODERS)}")
        adapter = cls.__new__(cls)
        adapter._adopt(net, name, Call(dict(net.config), posterior, seed), tiling=tiling)
        return adapter

    def _adopt(self, net: Network, name: str, call: Call, *, tiling: bool) -> None:
        self.net, self.name, self.call, self.kind = net, name, call, AUTOENCODERS[name]
        if tiling and not self.kind.tiles(call.config):
            raise Unavailable(f"{name} cannot cut pictures into tiles in diffusers; set tiling=false")
        self.tiling = tiling or self.kind.tiled
        with weights.sound_settings(f"a {name}"):
            self.traits = measure(name, call.config)
        self.params = halves(net)

    @property
    def dtype(self) -> torch.dtype:
        """What the network's input comes in: of the parameters, but for those that its class keeps in float32."""
        dtype: torch.dtype = self.net.dtype
        return dtype

    @property
    def computes_in(self) -> str:
        """The name of that dtype, and in which modules it is another."""
        return computes_in(self.net, self.dtype)

    def encode(self, videos: Videos) -> Latents:
        """Code clips: (b, 3, t, h, w) in [0, 1] to (b, c, t', h', w'), or indices (b, t', h', w').

        Raises UnsuitableInput for lengths and sizes that the class does not give back, or not whole.
        """
        check_size(videos, self.traits, self.name)
        self._check_sides(*videos.shape[-2:])
        mean, std = self._normal(videos)
        x = fold(((videos - mean) / std).to(self.dtype), self.kind.layout)
        z = self._run(lambda part: self.kind.encode(self.net, part, self.call), self._parts(x, AT_ONCE))
        return unfold(z, self.kind.layout, len(videos))

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips of `frames` frames, float32, not clamped. Raises BadOutput for what is no tensor."""
        if not isinstance(latents, Tensor):
            raise BadOutput(f"{self.name} decodes the tensor that encode returned, not a {type(latents).__name__}")
        z = fold(latents.to(self.dtype) if latents.is_floating_point() else latents, self.kind.layout)
        parts = self._parts(z, frames if self.kind.together else AT_ONCE)
        pixels = self._run(lambda part: self.kind.decode(self.net, part, self.call, frames), parts)
        mean, std = self._normal(pixels)
        return unfold(pixels.float(), self.kind.layout, len(latents)) * std + mean

    def _parts(self, x: Tensor, frames: int) -> Iterable[Tensor]:
        if self.kind.singly:
            return torch.split(x, 1)
        return [x] if self.kind.layout == "clips" else torch.split(x, frames)

    def _run(self, step: Callable[[Tensor], Tensor], parts: Iterable[Tensor]) -> Tensor:
        try:
            with tiles(self.net, self.tiling):
                return torch.cat([step(part) for part in parts])
        except BaseException:
            for method in FORGET:  # or the next clip would begin with the end of this one
                getattr(self.net, method, lambda: None)()
            raise

    def _normal(self, like: Tensor) -> list[Tensor]:
        """Return mean and standard deviation of the network's pixels, (1, c, 1, 1, 1) with c 1 or 3."""
        return [torch.tensor(v, device=like.device).view(1, -1, 1, 1, 1) for v in (self.kind.mean, self.kind.std)]

    def _check_sides(self, height: int, width: int) -> None:
        if self.kind.sides is None:
            return
        heights, widths = self.kind.sides(self.net)
        if height not in heights or width not in widths:
            raise UnsuitableInput(
                f"{self.name}: frames are {height}×{width}; heights can be {some(heights)}, "
                f"widths {some(widths)}: {self.kind.refusal}"
            )


def known_class(net: object) -> str:
    """Return the name of AUTOENCODERS that an object is an instance of, its own or of a base; empty for others."""
    bases = (base for base in type(net).__mro__ if base.__module__.startswith("diffusers."))
    return next((base.__name__ for base in bases if base.__name__ in AUTOENCODERS), "")


def is_known(net: object) -> bool:
    """Tell whether `Diffusers.around` takes an object; imports nothing."""
    return bool(known_class(_uncompiled(net)))


def _uncompiled(net: object) -> Network:
    """Return what `torch.compile` wraps: it compiles `forward`, which is neither encoding nor decoding."""
    return getattr(net, "_orig_mod", net)


@contextlib.contextmanager
def tiles(net: Network, wanted: bool) -> Iterator[None]:
    """Cut pictures into tiles, or not, and leave the network as it was."""
    before = getattr(net, "use_tiling", None)
    if before is None:
        yield
        return
    try:
        net.use_tiling = wanted
        yield
    finally:
        net.use_tiling = before


def some(sides: range) -> str:
    """Name the first of many sides."""
    return ", ".join(map(str, sides[:3])) + (", …" if len(sides) > 3 else "")


def fold(x: Tensor, layout: str) -> Tensor:
    """Give the time axis to the batch, as `layout` asks; indices have it second, all else third."""
    if layout == "clips":
        return x
    frames = (x.movedim(2, 1) if x.is_floating_point() else x).flatten(0, 1)
    return frames.unsqueeze(2) if layout == "stills" else frames


def unfold(x: Tensor, layout: str, clips: int) -> Tensor:
    """Undo `fold`."""
    if layout == "clips":
        return x
    frames = x.squeeze(2) if layout == "stills" else x
    frames = frames.reshape(clips, -1, *frames.shape[1:])
    return frames.movedim(1, 2) if frames.is_floating_point() else frames


def halves(net: Network) -> tuple[int, int]:
    """Count the parameters of encoder and decoder; quantizers and 1×1 convolutions between them are not counted."""
    decoder = net.decoder if hasattr(net, "decoder") else net.decoder_unet
    return weights.count(net.encoder), weights.count(decoder)


def measure(name: str, config: Config) -> Traits:
    """Return the traits of the network that a full config describes.

    Compression and channels are measured, on the meta device, by what it makes of clips of its first two lengths.
    """
    return _measured(name, json.dumps(dict(config), sort_keys=True))


@cache  # half a second for a large network
@torch.no_grad()
def _measured(name: str, settings: str) -> Traits:
    kind, config = AUTOENCODERS[name], json.loads(settings)
    net, rule, codes = on_meta(name, {**config, **kind.probed_as(config)}), kind.rule(config), kind.codes(config)
    heights, widths = kind.sides(net) if kind.sides else (range(PROBE, PROBE + 2),) * 2
    lengths = (rule.fit(1), rule.fit(rule.fit(1) + 1)) if kind.layout == "clips" else (1, 2)
    shapes = []
    for frames in lengths:
        x = fold(torch.zeros(1, 3, frames, heights[0], widths[0], device="meta"), kind.layout)
        with tiles(net, kind.tiled):
            shapes.append(unfold(kind.encode(net, x, Call(config, "mode", 0)), kind.layout, 1).shape)
    temporal = -(-(lengths[1] - lengths[0]) // (shapes[1][-3] - shapes[0][-3]))
    channels = 0 if codes else shapes[0][1]
    multiple = heights[0] if len(heights) == 1 else 0  # so that smaller frames are padded to the one size there is
    return Traits(temporal, heights[0] // shapes[0][-2], channels, rule, multiple, kind.least_side, codes)
