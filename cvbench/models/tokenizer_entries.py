"""Entries of discrete tokenizers, and of what else is compared with them: Cosmos, VidTok 1.0, WF-VAE."""

from collections.abc import Mapping
from typing import Any

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry
from cvbench.weights import Source

COSMOS, VQGAN = "cvbench.models.tokenizers:Cosmos", "cvbench.models.vqgan:VQGAN"
MAGVIT2, TITOK = "cvbench.models.tokenizers:OpenMagvit2", "cvbench.models.tokenizers:TiTok"
VIDTOK = "cvbench.models.diffusers:Diffusers"
SEED_VOKEN = "TencentARC/{}-Tokenizer-{}"
CODES = 64_000
"""Of Cosmos' FSQ."""


def cosmos(kind: str, ratio: str, params: tuple[int, int], release: str = "0.1") -> ModelEntry:
    """Return the entry of a Cosmos tokenizer; `kind` is CI, DI, CV or DV, `ratio` as 8x8 or 4x8x8."""
    discrete, (*temporal, spatial, _) = kind[0] == "D", (int(n) for n in ratio.split("x"))
    step = temporal[0] if temporal else 0
    channels = 256 if kind == "DI" else 16
    config = {"spatial": spatial, "temporal": step, "discrete": discrete, "latent": channels}
    short = {"short": True} if (kind, ratio) == ("CV", "4x8x8") else {}
    return ModelEntry(
        f"Cosmos tokenizer {release}, {'64,000 codes' if discrete else 'continuous'}",
        COSMOS,
        Traits(
            step or 1, spatial, 0 if discrete else 16, FrameRule(1, step) if step else FrameRule(),
            codebook=CODES if discrete else None,
        ),
        config={**config, **short},
        source=Source(("encoder.jit", "decoder.jit"), f"nvidia/Cosmos-{release}-Tokenizer-{kind}{ratio}"),
        params=params,
        licence="nvidia-open-model",
    )  # fmt: skip


def vq(
    about: str, layout: str, spatial: int, codes: int, source: Source, params: tuple[int, int], licence: str
) -> ModelEntry:
    """Return the entry of an image tokenizer with the layers of VQGAN."""
    traits = Traits(1, spatial, codebook=codes)
    config = {"layout": layout, "codes": codes}
    return ModelEntry(about, VQGAN, traits, config=config, source=source, params=params, licence=licence)


def magvit2(
    name: str, file: str, bits: int, params: tuple[int, int], sha256: str = "", video: bool = False
) -> ModelEntry:
    """Return the entry of an Open-MAGVIT2; the published scores are those of averaged weights, which are taken."""
    image, clip = Traits(1, 16, least_side=32, codebook=1 << bits), Traits(4, 8, 0, FrameRule(1, 4), 0, 16, 1 << bits)
    return ModelEntry(
        f"Open-MAGVIT2 of {'videos' if video else 'images'}, {1 << bits:,} codes without a table",
        MAGVIT2,
        clip if video else image,
        config={"bits": bits, **({"video": True, "mult": (1, 2, 2, 4)} if video else {})},
        source=Source((file,), SEED_VOKEN.format("Open-MAGVIT2", name), sha256=sha256),
        params=params,
        licence="apache-2.0",
    )


def ibq(codes: int, sha256: str) -> ModelEntry:
    """Return the entry of an IBQ."""
    source = Source((f"imagenet256_{codes}.ckpt",), SEED_VOKEN.format("IBQ", codes), sha256=sha256)
    about = f"IBQ, {codes:,} codes of 256 values, chosen by their product"
    return vq(about, "ibq", 16, codes, source, (46_752_256, 59_903_875), "apache-2.0")


def titok(file: str, about: str, config: Mapping[str, Any], params: tuple[int, int]) -> ModelEntry:
    """Return the entry of a TiTok, of pictures of 256×256."""
    vae = config["kind"] == "vae"
    return ModelEntry(
        f"TiTok, {about}; 256×256 only",
        TITOK,
        Traits(
            1, 16, 16 if vae else 0, multiple=256,
            codebook=None if vae else config.get("codes", 4096), tokens=config["tokens"],
        ),
        config=config,
        source=Source(("model.safetensors", "config.json"), f"yucornetto/tokenizer_titok_{file}_imagenet"),
        params=params,
        licence="apache-2.0",
        version=2 if vae else 1,  # its means are drawn where the protocol asks for a sample
    )  # fmt: skip


def vidtok(
    file: str,
    about: str,
    channels: int,
    params: tuple[int, int],
    config: Mapping[str, Any],
    codes: int | None = None,
    sha256: str = "",
) -> ModelEntry:
    """Return the entry of a checkpoint of VidTok 1.0."""
    causal = config.get("is_causal", True)
    release = {} if not causal else {"release": "1.0"}  # which are told apart by what they see before the first frame
    return ModelEntry(
        f"VidTok 1.0, {about}",
        VIDTOK,
        Traits(4, 8, channels, FrameRule(1, 4) if causal else FrameRule(0, 16, 16), codebook=codes),
        config={"_class_name": "AutoencoderVidTok", **config, **release},
        source=Source((f"checkpoints/{file}.ckpt",), "microsoft/VidTok", sha256=sha256),
        params=params,
        licence="mit",
    )


def omnitokenizer(file: str, of: str, sha256: str = "") -> ModelEntry:
    """Return the entry of an OmniTokenizer, whose `alibi` is the reading of its attention (see its adapter)."""
    vae = file.endswith("_vae")
    return ModelEntry(
        f"OmniTokenizer of pictures and videos, {'8 channels' if vae else '8,192 codes'} ({of}); square frames only",
        "cvbench.models.omnitokenizer:OmniTokenizer",
        Traits(4, 8, 8 if vae else 0, FrameRule(1, 4), 64, codebook=None if vae else 8192),
        options={"alibi": 0},
        config={"vae": True} if vae else {},
        source=Source((f"{file}.ckpt",), "Daniel0724/OmniTokenizer", OMNITOKENIZER, sha256=sha256),
        params=(26_839_216, 26_860_512),
        licence="mit",
    )


def wfvae(
    about: str, config: Mapping[str, Any], source: Source, params: tuple[int, int], licence: str = ""
) -> ModelEntry:
    """Return the entry of a WF-VAE beside the published large one."""
    traits = Traits(4, 8, config["latent_dim"], FrameRule(1, 4))
    return ModelEntry(
        about, "cvbench.models.beyond:WFVAE", traits,
        config=config, source=source, params=params, licence=licence, compatible="no",
    )  # fmt: skip


WFVAE_S: dict[str, Any] = {"base_channels": 128}
NO_WFVAE = "its paper has its scores, no weights were found"
FSQ = {"z_channels": 5, "double_z": False, "regularizer": "fsq", "codebook_size": 32768}
IBQ = {
    1024: "68f6d2949a5a646acf0a384941e2ac03f3fbabf8babbe3e0a8659f6368750294",
    8192: "264ef1e25fcecb951435fd84dcc7bd318ae6729cd42215e97c4fac253c74381f",
    16384: "26ecf8be32c2796edd03d9b1aec1fe1fc18e9dae2ded51ef54b504cc32d05144",
    262144: "",
}
OMNITOKENIZER = "337629d5bcbec90492eed3ee9212e97bb5f6dd4a"
LLAMAGEN = "FoundationVision/LlamaGen"
LLAMAGEN16 = (29_298_176, 42_449_795)
LEGACY, VAE = {"kind": "legacy"}, {"kind": "vae", "channels": 16}
BASE, S128 = ({**LEGACY, "encoder": size, "decoder": size} for size in ("base", "small"))
BL_VAE = {**VAE, "encoder": "base"}
VQ = {"kind": "vq", "codes": 8192, "channels": 64}

TOKENIZERS: dict[str, ModelEntry] = {
    "cosmos-ci8x8": cosmos("CI", "8x8", (31_153_552, 45_635_376)),
    "cosmos-ci16x16": cosmos("CI", "16x16", (33_513_360, 47_995_184)),
    "cosmos-di8x8": cosmos("DI", "8x8", (32_259_712, 46_741_296)),
    "cosmos-di16x16": cosmos("DI", "16x16", (34_619_520, 49_101_104)),
    "cosmos-cv4x8x8": cosmos("CV", "4x8x8", (42_717_728, 43_064_960)),
    "cosmos-cv8x8x8": cosmos("CV", "8x8x8", (42_914_592, 62_738_560)),
    "cosmos-cv8x16x16": cosmos("CV", "8x16x16", (45_537_056, 65_361_024)),
    "cosmos-dv4x8x8": cosmos("DV", "4x8x8", (42_717_728, 61_951_616)),
    "cosmos-dv8x8x8": cosmos("DV", "8x8x8", (42_914_592, 62_738_560)),
    "cosmos-dv8x16x16": cosmos("DV", "8x16x16", (45_537_056, 65_361_024)),
    "cosmos-1.0-dv8x16x16": cosmos("DV", "8x16x16", (45_537_056, 65_361_024), "1.0"),
    "open-magvit2": magvit2(
        "256-resolution", "imagenet_256_L.ckpt", 18, (49_751_442, 65_376_387),
        "a0e27c4a5ab21db0f38cba484e717584e8a8ea7d9fda9a729d058bc8d68d0922",
    ),
    "open-magvit2-128": magvit2("128-resolution", "imagenet_128_L.ckpt", 18, (49_751_442, 65_376_387)),
    "open-magvit2-pretrain": magvit2("262144-Pretrain", "pretrain256_262144.ckpt", 18, (49_751_442, 65_376_387)),
    "open-magvit2-16384": magvit2("16384-Pretrain", "pretrain256_16384.ckpt", 14, (49_749_390, 65_344_643)),
    "open-magvit2-video": magvit2("262144-Video", "video_128_262144.ckpt", 18, (144_865_298, 225_682_051), video=True),
    **{f"ibq-{codes}": ibq(codes, sha256) for codes, sha256 in IBQ.items()},
    "llamagen-ds16": vq(
        "LlamaGen's tokenizer, f16, 16,384 codes of unit length (ImageNet)", "llamagen-ds16", 16, 16384,
        Source(("vq_ds16_c2i.pt",), LLAMAGEN), LLAMAGEN16, "mit",
    ),
    "llamagen-ds16-t2i": vq(
        "the same for text to image", "llamagen-ds16", 16, 16384,
        Source(("vq_ds16_t2i.pt",), "peizesun/llamagen_t2i"), LLAMAGEN16, "mit",
    ),
    "llamagen-ds8": vq(
        "LlamaGen's tokenizer, f8, 16,384 codes of unit length (ImageNet)", "llamagen-ds8", 8, 16384,
        Source(
            ("vq_ds8_c2i.pt",), LLAMAGEN, sha256="c70d2966ec012f378793214ff0755087e7c5fe6f035b469995143325dca4a4e3"
        ),
        (28_559_232, 41_415_171), "mit",
    ),
    "titok-l32": titok("l32", "32 tokens", {**LEGACY, "tokens": 32}, (303_410_188, 337_300_483)),
    "titok-b64": titok("b64", "64 tokens", {**BASE, "tokens": 64}, (85_904_652, 118_548_995)),
    "titok-s128": titok(
        "s128", "128 tokens", {**S128, "tokens": 128}, (25_818_636, 57_479_171)
    ),
    "titok-bl64-vq8k": titok(
        "bl64_vq8k", "64 tokens, 8,192 codes", {**VQ, "encoder": "base", "tokens": 64}, (85_944_640, 303_498_068)
    ),
    "titok-bl128-vq8k": titok(
        "bl128_vq8k", "128 tokens, 8,192 codes", {**VQ, "encoder": "base", "tokens": 128}, (85_993_792, 303_563_604)
    ),
    "titok-sl256-vq8k": titok(
        "sl256_vq8k", "256 tokens, 8,192 codes", {**VQ, "encoder": "small", "tokens": 256}, (25_910_848, 303_694_676)
    ),
    "titok-ll32-vae": titok("ll32_vae_c16", "32 means", {**VAE, "tokens": 32}, (303_430_688, 303_416_148)),
    "titok-bl64-vae": titok("bl64_vae_c16", "64 means", {**BL_VAE, "tokens": 64}, (85_920_032, 303_448_916)),
    "titok-bl128-vae": titok(
        "bl128_vae_c16", "128 means", {**BL_VAE, "tokens": 128}, (85_969_184, 303_514_452)
    ),
    "vidtok-1.0-kl16": vidtok(
        "vidtok_kl_causal_488_16chn", "continuous, 16 channels", 16, (69_589_922, 88_359_429), {"z_channels": 16}
    ),
    "vidtok-1.0-kl4": vidtok(
        "vidtok_kl_causal_488_4chn", "continuous, 4 channels", 4, (69_258_122, 88_193_541), {"z_channels": 4},
        sha256="e10481b370af68b3712d91affd0d5a8a59e83a1d18dcbdcc3fa02376668a682c",
    ),
    "vidtok-1.0-fsq": vidtok(
        "vidtok_fsq_causal_488_32768", "32,768 codes (FSQ)", 0, (69_216_647, 88_207_365), FSQ, 32768
    ),
    "vidtok-noncausal-kl4": vidtok(
        "vidtok_kl_noncausal_488_4chn", "not causal, 4 channels, of 16k frames", 4, (69_258_122, 88_193_541),
        {"z_channels": 4, "is_causal": False},
        sha256="a0ebf5e03f4bc1855f98a83c45097e305f2704a3d814e916e90b6b730d4b49e7",
    ),
    "wf-vae-s-8": wfvae(
        "WF-VAE-S, 8 channels, of Open-Sora-Plan 1.3", {**WFVAE_S, "latent_dim": 8},
        Source(("vae/merged.ckpt",), "LanguageBind/Open-Sora-Plan-v1.3.0"), (38_268_304, 108_394_428), "mit",
    ),
    "wf-vae-s-4": wfvae(
        "WF-VAE-S, 4 channels", {**WFVAE_S, "latent_dim": 4},
        Source(("wf-vae-s-4.safetensors",), unpublished=NO_WFVAE), (38_157_704, 108_339_132),
    ),
    "wf-vae-l-4": wfvae(
        "WF-VAE-L, 4 channels", {"latent_dim": 4},
        Source(("wf-vae-l-4.safetensors",), unpublished=NO_WFVAE), (84_089_352, 232_245_500),
    ),
    "omnitokenizer": omnitokenizer(
        "imagenet_k600", "ImageNet and Kinetics-600",
        "0a1d9f863f874d2af57855951fa53b92cb0d5aea4f8bf2d8f91007e44b14c01c",
    ),
    "omnitokenizer-ucf": omnitokenizer(
        "imagenet_ucf", "ImageNet and UCF-101", "e446a8fad9e085c8a73a91db9cdee45f7a5c00abe10516ce552c20985306691b"
    ),
    "omnitokenizer-mit": omnitokenizer(
        "imagenet_mit", "ImageNet and Moments in Time",
        "2c9555b8bdc670ce3f44fb759db83603a93d9b496400920362d31a84c902423d",
    ),
    "omnitokenizer-sthv2": omnitokenizer(
        "imagenet_sthv2", "ImageNet and Something-Something v2",
        "feaf65345a00e1ae140003e0baa93ca0517a332f9f01b5d71a1a8860baaabc08",
    ),
    "omnitokenizer-vae": omnitokenizer(
        "imagenet_k600_vae", "ImageNet and Kinetics-600",
        "d1f1dfc5ca56093945d1ecb45c6bedf0a9157ac80dbf0547e33294a02edeb777",
    ),
    "omnitokenizer-vae-ucf": omnitokenizer("imagenet_ucf_vae", "ImageNet and UCF-101"),
}  # fmt: skip
