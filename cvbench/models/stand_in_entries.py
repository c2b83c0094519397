"""Entries of small networks that stand in for large ones: their latents, a fraction of their cost."""

from collections.abc import Mapping
from typing import Any, Literal

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry
from cvbench.models.zoo import WAN22
from cvbench.weights import Source

GITHUB = "https://raw.githubusercontent.com/madebyollin"
TAESD = f"{GITHUB}/taesd/5cccb12dc72074a4be35680c3b108548a7c69978/"
TAESDV = f"{GITHUB}/taesdv/1b2655e57693c2bf2bd016451f86f5cbf5aa5169/taesdv.pth"
TAEHV, WIDE, TAEM1 = "1f14a56", "32ac014", "863c0eb"
"""Commits by the leading digits that are known of them."""
DIFFUSERS, TINY = "cvbench.models.diffusers:Diffusers", "cvbench.models.beyond:TAEHV"
WAN = {"_class_name": "AutoencoderKLWan"}


def taesd(
    name: str, of: str, traits: Traits, params: tuple[int, int], base: str, sha256: tuple[str, str] = ("", "")
) -> ModelEntry:
    """Return the entry of a tiny image autoencoder in two files, `sha256` those of encoder and decoder."""
    return ModelEntry(
        f"tiny autoencoder for the latents of {of}",
        "cvbench.models.taesd:TAESD",
        traits,
        options={"tile": 512},
        config={"layout": name, "file": name},
        source=Source((f"{name}_encoder.pth", f"{name}_decoder.pth"), url=TAESD, sha256=sha256[0], others=sha256[1:]),
        params=params,
        licence="mit",
        base=base,
        latents="scaled",
    )


def taehv(
    file: str, of: str, traits: Traits, params: tuple[int, int], base: str, commit: str = TAEHV, repo: str = "taehv"
) -> ModelEntry:
    """Return the entry of a tiny video autoencoder whose layout has the name of its file."""
    return ModelEntry(
        f"tiny autoencoder for the latents of {of}",
        "cvbench.models.beyond:TAEHV",
        traits,
        config={"layout": file},
        source=Source((f"{file}.pth",), url=f"https://github.com/madebyollin/{repo}/raw/{commit}/{file}.pth"),
        params=params,
        licence="mit",
        base=base,
        latents="scaled",
    )


def light(
    file: str,
    about: str,
    build: str,
    config: Mapping[str, Any],
    traits: Traits,
    params: tuple[int, int],
    base: str,
    latents: Literal["raw", "scaled"] = "raw",
    sha256: str = "",
) -> ModelEntry:
    """Return the entry of an autoencoder of LightX2V."""
    return ModelEntry(
        about,
        build,
        traits,
        config=config,
        source=Source((f"{file}.safetensors",), "lightx2v/Autoencoders", sha256=sha256),
        params=params,
        licence="apache-2.0",
        base=base,
        latents=latents,
    )


def pruned_wan22(share: str, width: int, decoder: int) -> ModelEntry:
    """Return the entry of Wan 2.2 5B's VAE with a `share` of its decoder's channels pruned, `width` being left."""
    return ModelEntry(
        f"Wan 2.2 5B's VAE with {share} of its decoder's channels pruned",
        DIFFUSERS,
        causal(4, 16, 48),
        config={**WAN22, **WAN, "decoder_base_dim": width},
        source=Source(
            (f"lightvae-w2.2-{width}.pth",),
            unpublished="it comes with Matrix-Game 3, whose file names were not seen",
        ),
        params=(149_627_776, decoder),
        base="wan-2.2",
    )


def causal(temporal: int, spatial: int, channels: int) -> Traits:
    """Return the traits of a network whose first latent frame codes one frame."""
    return Traits(temporal, spatial, channels, FrameRule(1, temporal))


STAND_INS: dict[str, ModelEntry] = {
    "taef2": taesd(
        "taef2",
        "FLUX.2",
        Traits(1, 8, 32),
        (1_338_528, 1_338_499),
        "flux2",
        (
            "10a4e1021e89d7551eaf161352da8dbd0b1aa83872ae28b150c1df1ce2f147b6",
            "0a44a31e1ae59eb9dbf9359d24942fd3ef5928162c1800d97a28c61d51be0ab5",
        ),
    ),
    "taesana": taesd("taesana", "Sana (DC-AE f32c32)", Traits(1, 32, 32), (1_256_288, 8_301_763), "dc-ae-f32c32"),
    "taesdv": ModelEntry(
        "TAESD for video: Stable Diffusion's latents, a tiny decoder that remembers the frame before",
        "cvbench.models.taesd:TAESDV",
        Traits(1, 8, 4),
        source=Source(("taesdv.pth",), url=TAESDV),
        params=(1_222_532, 1_591_171),
        licence="mit",
        compatible="yes",
        base="vae-sd21",
        latents="scaled",
        mixes=True,
    ),
    "taehv1.5-super": taehv(
        "taehv1_5_super",
        "HunyuanVideo 1.5, of large kernels",
        causal(4, 16, 32),
        (1_485_344, 18_985_228),
        "hunyuan-video-1.5",
    ),
    "taew2.2-super": taehv(
        "taew2_2_super", "Wan 2.2 5B, of large kernels", causal(4, 16, 48), (1_494_576, 18_993_420), "wan-2.2"
    ),
    "taeltx2.3-wide": taehv(
        "taeltx2_3_wide", "LTX-2.3, a wide decoder", causal(8, 32, 128), (1_565_568, 28_607_536), "ltx-2.3", WIDE
    ),
    "taem1": taehv("taem1", "Mochi 1", causal(6, 8, 12), (1_472_716, 9_839_491), "mochi", TAEM1, "taem1"),
    "taeh3": taehv("taeh3", "MiniMax-H3", Traits(4, 16, 24, FrameRule(5, 17)), (1_480_728, 9_868_236), "minimax-h3"),
    "lightvae-w2.1": light(
        "lightvaew2_1",
        "Wan 2.1's VAE with three quarters of its channels pruned, encoder and decoder",
        DIFFUSERS,
        {**WAN, "base_dim": 24},
        causal(4, 8, 16),
        (3_416_336, 4_617_339),
        "wan-2.1",
        sha256="1821a86dacb322e33da0995e920818f11bac1655d38177586f3ebc35bc7a4ba8",
    ),
    "lightvae-w2.2": pruned_wan22("three quarters", 64, 34_965_580),
    "lightvae-w2.2-half": pruned_wan22("half", 128, 139_128_972),
    "lighttae-w2.1": light(
        "lighttaew2_1",
        "tiny autoencoder for the latents of Wan 2.1 as its VAE gives them",
        TINY,
        {"layout": "taehv"},
        causal(4, 8, 16),
        (1_470_928, 9_844_611),
        "wan-2.1",
        sha256="8666e769f449f2d955651564bcadb0c5e12461b50480e67b7241f32c15f11a19",
    ),
    "lighttae-w2.2": light(
        "lighttaew2_2",
        "tiny autoencoder for the latents of Wan 2.2 5B as its VAE gives them",
        TINY,
        {"layout": "taew2_2"},
        causal(4, 16, 48),
        (1_494_576, 9_923_532),
        "wan-2.2",
    ),
    "lighttae-hy1.5": light(
        "lighttaehy1_5",
        "tiny autoencoder for the latents of HunyuanVideo 1.5",
        TINY,
        {"layout": "lighttaehy1_5"},
        causal(4, 16, 32),
        (1_485_344, 9_886_668),
        "hunyuan-video-1.5",
        "scaled",
    ),
}
