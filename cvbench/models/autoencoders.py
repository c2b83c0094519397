"""The image and video autoencoder classes of diffusers, and what sets each apart from the others.

Facts from diffusers 0.42: what lengths and sizes a class codes without loss, its pixel range, how it is called.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from cvbench.errors import UnsuitableInput
from cvbench.types import FrameRule

Config = Mapping[str, Any]
"""Of a network: the arguments of its class, as in config.json."""
Network = Any
"""Of one of diffusers' classes."""
Pixels = Float[Tensor, "n ..."]
"""In the network's own range: (n, 3, h, w) of frames, (n, 3, 1, h, w) of stills, (n, 3, t, h, w) of clips."""
Codes = Shaped[Tensor, "n ..."]
"""Latents as the network gives them, or integer indices."""


@dataclass(frozen=True)
class Setting:
    """What a call may depend on beside its input."""

    config: Config
    posterior: Literal["mode", "sample"]
    seed: int
    frames: int = 1


def posterior(net: Network, x: Pixels, setting: Setting) -> Codes:
    """Latents of a class that gives a distribution, or no more than latents: those are their own mode and sample."""
    output = net.encode(x)
    if hasattr(output, "latent_dist"):
        chosen: Tensor = getattr(output.latent_dist, setting.posterior)()
        return chosen
    latents: Tensor = output.latent if hasattr(output, "latent") else output.latents
    return latents


def sample(net: Network, z: Codes, setting: Setting) -> Pixels:
    """Pixels of a class that needs nothing but latents."""
    pixels: Tensor = net.decode(z).sample
    return pixels


def clips_of_any_length(config: Config) -> FrameRule:
    """Return the rule of networks that code each frame, or all that there are."""
    return FrameRule()


def clips_of_steps(*keys: str, factor: int = 1, default: int = 4) -> Callable[[Config], FrameRule]:
    """Return the rule 1 + ck of causal networks, c the compression in time under the first of `keys` that is set."""

    def rule(config: Config) -> FrameRule:
        found = next((config[key] for key in keys if config.get(key)), default)
        return FrameRule(1, factor * int(found))

    return rule


@dataclass(frozen=True)
class Kind:
    """What sets a class apart; the defaults describe most.

    `layout`: a network is given frames (n, 3, h, w), stills (n, 3, 1, h, w) or clips (n, 3, t, h, w). Pixels in
    [0, 1] become (x - mean) / std. `least_side` is the smallest height and width that it codes without error,
    `grid` the heights and widths, where not every multiple will do. `tiled`: tiles are part of the published method,
    and always on. `singly`: takes no batches.
    """

    layout: Literal["frames", "stills", "clips"] = "clips"
    rule: Callable[[Config], FrameRule] = clips_of_any_length
    encode: Callable[[Network, Pixels, Setting], Codes] = posterior
    decode: Callable[[Network, Codes, Setting], Pixels] = sample
    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.5,)
    least_side: int = 1
    grid: Callable[[Network], tuple[range, range]] | None = None
    probe_side: int = 256
    tiled: bool = False
    singly: bool = False


def _temporal(net: Network, z: Codes, setting: Setting) -> Pixels:
    """SVD's decoder takes frames one after another and mixes those of a clip."""
    pixels: Tensor = net.decode(z, num_frames=setting.frames).sample
    return pixels


def _allegro(net: Network, z: Codes, setting: Setting) -> Pixels:
    """Allegro gives (n, t, 3, h, w)."""
    return sample(net, z, setting).transpose(1, 2)


def _allegro_grid(net: Network) -> tuple[range, range]:
    """Sides that Allegro's tiles cover whole: what they do not cover comes out as zeros, without any error."""
    return range(net.kernel[1], 1 << 14, net.stride[1]), range(net.kernel[2], 1 << 14, net.stride[2])


def _rae_grid(net: Network) -> tuple[range, range]:
    """RAE resizes what it is given, and gives pictures of one size only."""
    side = net.decoder_image_size
    return range(side, side + 1), range(side, side + 1)


def _ltx(net: Network, z: Codes, setting: Setting) -> Pixels:
    """LTX 0.9.1 and later: a decoder that takes the last step of denoising, as the pipelines call it.

    The noise is one and the same for every clip.
    """
    if not net.config.timestep_conditioning:
        return sample(net, z, setting)
    weight = setting.config.get("decode_noise", 0.0)
    noise = torch.randn(z.shape[1:], generator=torch.Generator().manual_seed(setting.seed))
    mixed = z if not weight else torch.lerp(z, noise.to(z).expand_as(z), weight)
    time = torch.full((len(z),), setting.config.get("decode_timestep", 0.0), device=z.device, dtype=z.dtype)
    pixels: Tensor = net.decode(mixed, temb=time).sample
    return pixels


def _consistency(net: Network, z: Codes, setting: Setting) -> Pixels:
    """Start every frame from the same noise, so that none depends on its place in a batch."""
    generators = [torch.Generator(z.device).manual_seed(setting.seed) for _ in z]
    pixels: Tensor = net.decode(z, generator=generators).sample
    return pixels


def _with_alpha(net: Network, x: Pixels, setting: Setting) -> Codes:
    """Qwen-Image 2.1 codes RGBA: add an opaque plane."""
    return posterior(net, F.pad(x, (0, 0, 0, 0, 0, 0, 0, 1), value=1.0), setting)


def _without_alpha(net: Network, z: Codes, setting: Setting) -> Pixels:
    return sample(net, z, setting)[:, :3]


def _mode_only(net: Network, x: Pixels, setting: Setting) -> Codes:
    """KVAE's video class leaves the variance out, and would draw from unit variance in its place."""
    if setting.posterior == "sample":
        raise UnsuitableInput("AutoencoderKLKVAEVideo keeps no variance to sample from; set posterior=mode")
    return posterior(net, x, setting)


def _vidtok_encode(net: Network, x: Pixels, setting: Setting) -> Codes:
    """Repeat the first frame in front, as the class's forward does; discrete models give indices."""
    before = net.temporal_compression_ratio - 1 if net.is_causal else 0
    x = F.pad(x, (0, 0, 0, 0, before, 0), mode="replicate")
    if net.regularizer == "kl":
        return posterior(net, x, setting)
    indices: Tensor = net.encode(x)[1]
    return indices


def _vidtok_decode(net: Network, z: Codes, setting: Setting) -> Pixels:
    pixels: Tensor = net.decode(z, decode_from_indices=not z.is_floating_point())
    return pixels


def _vidtok_rule(config: Config) -> FrameRule:
    if config.get("is_causal", True):
        return FrameRule(1, 2 ** len(config.get("tempo_ds") or (1, 2)))
    return FrameRule(0, 16, 16)  # the class codes sixteen frames at a time and drops what remains


def _vq_encode(net: Network, x: Pixels, setting: Setting) -> Codes:
    z = net.encode(x).latents
    indices: Tensor = net.quantize(z)[2][2]
    return indices.view(len(z), *z.shape[2:])


def _vq_decode(net: Network, z: Codes, setting: Setting) -> Pixels:
    codes = net.quantize.embedding(z).movedim(-1, 1)
    pixels: Tensor = net.decode(codes, force_not_quantize=True).sample
    return pixels


def _frames(**_: Any) -> Kind: ...


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
