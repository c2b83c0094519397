"""The image and video autoencoder classes of diffusers, and what sets each apart from the others.

Of diffusers 0.42: the lengths and sizes that a class codes without loss, its pixel range, and how it is called.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from cvbench.core.errors import UnsuitableInput
from cvbench.core.types import FrameRule

Network = Any
"""Of one of the classes of AUTOENCODERS."""
Config = Mapping[str, Any]
"""All arguments of such a class, as in config.json, and the adapter's own settings."""
Pixels = Float[Tensor, "n ..."]
"""In the network's own range: (n, 3, h, w) of frames, (n, 3, 1, h, w) of stills, (n, 3, t, h, w) of clips."""
Codes = Shaped[Tensor, "n ..."]
"""Latents as the network gives them, or integer indices."""


@dataclass(frozen=True)
class Call:
    """What the coding of pixels depends on beside network and input."""

    config: Config
    posterior: Literal["mode", "sample"]
    seed: int


def encode_posterior(net: Network, x: Pixels, call: Call) -> Codes:
    """Code pixels. Classes without a distribution give latents that are their own mode and sample."""
    output = net.encode(x)
    if hasattr(output, "latent_dist"):
        chosen: Tensor = getattr(output.latent_dist, call.posterior)()
        return chosen
    latents: Tensor = output.latent if hasattr(output, "latent") else output.latents
    return latents


def decode_sample(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """Decode with a class that wants nothing but latents."""
    pixels: Tensor = net.decode(z).sample
    return pixels


def any_length(config: Config) -> FrameRule:
    """Return the rule of networks that code each frame by itself."""
    return FrameRule()


def no_codebook(config: Config) -> None:
    """Say that latents are continuous."""


def has_tiles(config: Config) -> bool:
    """Say that diffusers cuts large pictures into tiles on request."""
    return True


def has_no_tiles(config: Config) -> bool:
    """Say that it does not, whatever `enable_tiling` says, or that its code for it fails."""
    return False


def tiny_tiles(config: Config) -> bool:
    """AutoencoderTiny joins its tiles in four channels."""
    return bool(config["latent_channels"] == 4)


def unchanged(config: Config) -> Config:
    """Say that a network of any config can be built on the meta device."""
    return {}


def steps_of(length: int) -> Callable[[Config], FrameRule]:
    """Return the rule 1 + ck of networks whose class has c built in."""
    return lambda config: FrameRule(1, length)


def steps_by(key: str, factor: int = 1) -> Callable[[Config], FrameRule]:
    """Return the rule 1 + ck of networks that have c, or c / factor, in their config."""
    return lambda config: FrameRule(1, factor * int(config[key]))


@dataclass(frozen=True)
class Autoencoder:
    """What sets a class apart; the defaults are those of most.

    `layout`: networks are given frames, stills or clips (see Pixels). Pixels in [0, 1] become (x - mean) / std.
    `least_side` is the smallest height and width coded without error; `sides` the heights and widths, where not
    every multiple will do, and `refusal` what else would happen. `tiles`: whether it can cut pictures into tiles;
    `tiled`: its tiles are part of the published method and always on. `singly`: the class takes no batches.
    `together`: it decodes the frames of a clip together. `codes` is the size of the codebook, `probed_as` what to
    change in a config that the meta device cannot take, so that latents keep their shape.
    """

    layout: Literal["frames", "stills", "clips"] = "clips"
    rule: Callable[[Config], FrameRule] = any_length
    encode: Callable[[Network, Pixels, Call], Codes] = encode_posterior
    decode: Callable[[Network, Codes, Call, int], Pixels] = decode_sample
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    least_side: int = 1
    sides: Callable[[Network], tuple[range, range]] | None = None
    refusal: str = ""
    tiles: Callable[[Config], bool] = has_tiles
    tiled: bool = False
    singly: bool = False
    together: bool = False
    codes: Callable[[Config], int | None] = no_codebook
    probed_as: Callable[[Config], Config] = unchanged


def svd_decode(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """SVD's decoder takes frames one after another and mixes those of a clip."""
    pixels: Tensor = net.decode(z, num_frames=frames).sample
    return pixels


def consistency_decode(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """Every frame starts from the same noise, so that none depends on its place in a batch."""
    generators = [torch.Generator(z.device).manual_seed(call.seed) for _ in z]
    pixels: Tensor = net.decode(z, generator=generators).sample
    return pixels


def vq_encode(net: Network, x: Pixels, call: Call) -> Codes:
    """Give code indices; the class gives what is to be quantized, and quantizes on decoding."""
    z = net.encode(x).latents
    indices: Tensor = net.quantize(z)[2][2]
    return indices.view(len(z), *z.shape[2:])


def vq_decode(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """Look the codes up, as the class does after quantizing."""
    codes = net.quantize.embedding(z).movedim(-1, 1)
    pixels: Tensor = net.decoder(net.post_quant_conv(codes), codes if net.config.norm_type == "spatial" else None)
    return pixels


def rgba_encode(net: Network, x: Pixels, call: Call) -> Codes:
    """Qwen-Image 2.1 codes RGBA: add an opaque plane."""
    return encode_posterior(net, torch.cat([x, torch.ones_like(x[:, :1])], dim=1), call)


def rgba_decode(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """Leave the plane out again."""
    return decode_sample(net, z, call, frames)[:, :3]


def ltx_decode(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """LTX from 0.9.1 decodes by a last step of denoising; the noise added before is the same for every clip.

    `decode_timestep` and `decode_noise` of the config are the pipelines' decode_timestep and decode_noise_scale.
    """
    if not call.config["timestep_conditioning"]:
        return decode_sample(net, z, call, frames)
    noise = torch.randn(z.shape[1:], generator=torch.Generator().manual_seed(call.seed)).to(z)
    share = call.config.get("decode_noise", 0.0)
    time = z.new_full((len(z),), call.config.get("decode_timestep", 0.0))
    pixels: Tensor = net.decode((1 - share) * z + share * noise, temb=time).sample
    return pixels


def ltx_rule(config: Config) -> FrameRule:
    """Return 1 + ck, c from the levels that compress time (the class' own attribute counts spatial ones too)."""
    levels = zip(config["spatio_temporal_scaling"], config["downsample_type"], strict=False)
    return FrameRule(1, config["patch_size_t"] * 2 ** sum(scales and kind != "spatial" for scales, kind in levels))


def mochi_rule(config: Config) -> FrameRule:
    """Return 1 + 6k as published."""
    return FrameRule(1, math.prod(config["temporal_expansions"]))


def minimax_rule(config: Config) -> FrameRule:
    """Return 17n + 5, n at least 1, as published: whole clips, and the overlap that dropped tokens leave."""
    clip, ratio = config["clip_length"], math.prod(config["temporal_downsample_factors"])
    overlap = -config["token_drop"] % -(-clip // ratio)
    rest = max(overlap * ratio - -clip % ratio, 0)
    return FrameRule(rest, clip, rest + clip)


def mode_encode(net: Network, x: Pixels, call: Call) -> Codes:
    """KVAE's video class drops the variance and puts 1 in its place: refuse to sample."""
    if call.posterior == "sample":
        raise UnsuitableInput("AutoencoderKLKVAEVideo keeps no variance to sample with; set posterior=mode")
    return encode_posterior(net, x, call)


def allegro_decode(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """Allegro gives (n, t, 3, h, w)."""
    return decode_sample(net, z, call, frames).transpose(1, 2)


def allegro_sides(net: Network) -> tuple[range, range]:
    """Return the heights and widths that Allegro's tiles cover whole."""
    return range(net.kernel[1], 1 << 14, net.stride[1]), range(net.kernel[2], 1 << 14, net.stride[2])


def rae_sides(net: Network) -> tuple[range, range]:
    """RAE resizes its input and gives pictures of one size."""
    only = range(net.decoder_image_size, net.decoder_image_size + 1)
    return only, only


def vidtok_encode(net: Network, x: Pixels, call: Call) -> Codes:
    """Repeat the first frame in front, as the class' forward does and its encode does not; FSQ gives indices."""
    before = net.temporal_compression_ratio - 1 if net.is_causal else 0
    x = F.pad(x, (0, 0, 0, 0, before, 0), mode="replicate")
    if net.regularizer == "kl":
        return encode_posterior(net, x, call)
    indices: Tensor = net.encode(x)[1]
    return indices


def vidtok_decode(net: Network, z: Codes, call: Call, frames: int) -> Pixels:
    """Decode latents, or indices: the class looks them up in float32 whatever its weights are."""
    latents = z if z.is_floating_point() else net.indices_to_latent(z).to(net.dtype)
    pixels: Tensor = net.decode(latents)
    return pixels


def vidtok_rule(config: Config) -> FrameRule:
    """Return 1 + ck, or 16k where frames are not coded causally: there the class drops what remains."""
    return FrameRule(1, 2 ** len(config["tempo_ds"] or (1, 2))) if config["is_causal"] else FrameRule(0, 16, 16)


def vidtok_codes(config: Config) -> int | None:
    """Return the number of codes of FSQ."""
    return config["codebook_size"] if config["regularizer"] == "fsq" else None


def vidtok_probed(config: Config) -> Config:
    """FSQ computes its codebook when it is built."""
    return {"regularizer": "kl", "double_z": True}


def vq_codes(config: Config) -> int | None:
    """Return the number of codes."""
    return int(config["num_vq_embeddings"])


ZEROS = "what its tiles do not cover would come out as zeros"
RESIZED = "it resizes all input to this size"

AUTOENCODERS: dict[str, Autoencoder] = {
    "AsymmetricAutoencoderKL": Autoencoder("frames", tiles=has_no_tiles),
    "AutoencoderDC": Autoencoder("frames"),
    "AutoencoderKL": Autoencoder("frames"),
    "AutoencoderKLAllegro": Autoencoder(
        rule=lambda config: FrameRule(24, 16, 24),
        decode=allegro_decode,
        sides=allegro_sides,
        refusal=ZEROS,
        tiled=True,
        singly=True,
    ),
    "AutoencoderKLCogVideoX": Autoencoder(rule=steps_by("temporal_compression_ratio", 2)),
    "AutoencoderKLCosmos": Autoencoder(rule=steps_by("temporal_compression_ratio"), tiles=has_no_tiles),
    "AutoencoderKLFlux2": Autoencoder("frames"),
    "AutoencoderKLHunyuanImage": Autoencoder("frames", tiles=has_no_tiles),
    "AutoencoderKLHunyuanImageRefiner": Autoencoder("stills", tiles=has_no_tiles),
    "AutoencoderKLHunyuanVideo": Autoencoder(rule=steps_by("temporal_compression_ratio")),
    "AutoencoderKLHunyuanVideo15": Autoencoder(rule=steps_by("temporal_compression_ratio"), singly=True),
    "AutoencoderKLKVAE": Autoencoder("frames"),
    "AutoencoderKLKVAEVideo": Autoencoder(
        rule=steps_by("temporal_compress_times"), encode=mode_encode, tiles=has_no_tiles
    ),
    "AutoencoderKLLTX2Video": Autoencoder(rule=ltx_rule, decode=ltx_decode, least_side=64),
    "AutoencoderKLLTXVideo": Autoencoder(rule=ltx_rule, decode=ltx_decode),
    "AutoencoderKLMagvit": Autoencoder(rule=steps_of(4)),
    "AutoencoderKLMiniMaxH3": Autoencoder(
        rule=minimax_rule, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), least_side=32, tiled=True
    ),
    "AutoencoderKLMochi": Autoencoder(rule=mochi_rule),
    "AutoencoderKLQwenImage": Autoencoder(rule=steps_of(4)),
    "AutoencoderKLQwenImage21": Autoencoder("stills", encode=rgba_encode, decode=rgba_decode),
    "AutoencoderKLTemporalDecoder": Autoencoder("frames", decode=svd_decode, tiles=has_no_tiles, together=True),
    "AutoencoderKLWan": Autoencoder(rule=steps_of(4)),
    "AutoencoderRAE": Autoencoder(
        "frames", mean=(0.0,), std=(1.0,), sides=rae_sides, refusal=RESIZED, tiles=has_no_tiles
    ),
    "AutoencoderTiny": Autoencoder("frames", tiles=tiny_tiles),
    "AutoencoderVidTok": Autoencoder(
        rule=vidtok_rule,
        encode=vidtok_encode,
        decode=vidtok_decode,
        codes=vidtok_codes,
        probed_as=vidtok_probed,
        tiles=lambda config: config.get("release") != "1.0",
    ),
    "ConsistencyDecoderVAE": Autoencoder("frames", decode=consistency_decode),
    "Kandinsky6SRVAE": Autoencoder(
        rule=steps_by("temporal_compression_ratio"),
        tiles=has_no_tiles,
        mean=(128 / 255,),
        std=(128 / 255,),  # pixels / 128 - 1
    ),
    "VQModel": Autoencoder("frames", encode=vq_encode, decode=vq_decode, codes=vq_codes, tiles=has_no_tiles),
}
