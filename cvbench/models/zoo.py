"""Entries of autoencoders that have a class in diffusers.

The configs are those arguments of the class that differ from its defaults, so that a network can be built where
there are neither weights nor network; a config.json next to the weights goes over them.
"""

from collections.abc import Mapping
from typing import Any

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry, Option
from cvbench.weights import Source

Config = Mapping[str, Any]

STEM = "diffusion_pytorch_model"
INDEX = f"{STEM}.safetensors.index.json"


def entry(
    about: str,
    name: str,
    traits: Traits,
    source: Source,
    params: tuple[int, int],
    licence: str,
    config: Config | None = None,
    options: Mapping[str, Option] | None = None,
    compatible: str = "",
    version: int = 1,
    base: str = "",
    mixes: bool = False,
) -> ModelEntry:
    """Return the entry of a network of diffusers' class `name`."""
    return ModelEntry(
        about,
        "cvbench.models.diffusers:Diffusers",
        traits,
        options=options or {},
        config={"_class_name": name, **(config or {})},
        source=source,
        params=params,
        licence=licence,
        compatible=compatible,
        version=version,
        base=base,
        latents="scaled" if name == "AutoencoderTiny" else "raw",
        mixes=mixes,
    )


def hub(repo: str, folder: str = "vae/", file: str = f"{STEM}.safetensors") -> Source:
    """Return the source of a folder in diffusers' layout."""
    return Source((f"{folder}{file}", f"{folder}config.json"), repo)


def hub_shards(repo: str, folder: str, shards: int) -> Source:
    """Return the source of a folder whose weights are in several files."""
    names = [f"{STEM}-{i:05}-of-{shards:05}.safetensors" for i in range(1, shards + 1)]
    return Source(tuple(f"{folder}{name}" for name in (*names, INDEX, "config.json")), repo)


def vidtok(file: str) -> Source:
    """Return the source of a checkpoint of VidTok 1.1: its tensor names are those of diffusers' class."""
    return Source((f"checkpoints/vidtok_v1_1/{file}_v1_1.ckpt",), "microsoft/VidTok")


CAUSAL4, CAUSAL8 = FrameRule(1, 4), FrameRule(1, 8)
BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
FP16: Config = {"force_upcast": False}
"""Of networks that pipelines run in fp16, whatever their config.json says: mostly the default of the class."""
LDM: Config = {**BLOCKS, **FP16, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
"""The image autoencoder that Stable Diffusion began with."""
LDM16: Config = {**LDM, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
"""The same with 16 channels, as of Stable Diffusion 3 and FLUX.1."""
LDM_F16: Config = {
    **FP16,
    "block_out_channels": (128, 128, 256, 256, 512),
    "down_block_types": (*("DownEncoderBlock2D",) * 4, "AttnDownEncoderBlock2D"),
    "up_block_types": ("AttnUpDecoderBlock2D", *("UpDecoderBlock2D",) * 4),
    "layers_per_block": 2,
    "latent_channels": 32,
}
"""The same of 16 pixels a latent with attention at its last level, as of VA-VAE."""


ASYMMETRIC: Config = {
    **BLOCKS,
    "down_block_out_channels": (128, 256, 512, 512),
    "layers_per_down_block": 2,
    "up_block_out_channels": (192, 384, 768, 768),
    "layers_per_up_block": 3,
}
WAN22: Config = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}
DC_SANA: Config = {
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "downsample_block_type": "Conv",
    "upsample_block_type": "interpolate",
}
LTX_095: Config = {
    "block_out_channels": (128, 256, 512, 1024, 2048),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "decoder_block_out_channels": (256, 512, 1024),
    "layers_per_block": (4, 6, 6, 2, 2),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "decoder_inject_noise": (False,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2,) * 3,
    "timestep_conditioning": True,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}


LTX_23: Config = {
    "block_out_channels": (256, 512, 1024, 1024),
    "decoder_block_out_channels": (256, 512, 512, 1024),
    "layers_per_block": (4, 6, 4, 2, 2),
    "decoder_layers_per_block": (4, 6, 4, 2, 2),
    "decoder_spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 5,
    "upsample_residual": (False,) * 4,
    "upsample_factor": (2, 2, 1, 2),
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "decoder_spatial_padding_mode": "zeros",
    "decoder_causal": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}


def dc_in(halvings: int, channels: int) -> Config:
    """Return the config of DC-AE's `in` and `mix` models, which halve each side so many times."""
    attention = halvings - 2
    blocks, widths = (
        ("ResBlock",) * 3 + ("EfficientViTBlock",) * attention,
        (128, 256, 512, 512, 1024, 1024, 2048, 2048),
    )
    return {
        "latent_channels": channels,
        "encoder_block_types": blocks,
        "decoder_block_types": blocks,
        "encoder_block_out_channels": widths[: halvings + 1],
        "decoder_block_out_channels": widths[: halvings + 1],
        "encoder_layers_per_block": (0, 4, 8) + (2,) * attention,
        "decoder_layers_per_block": (0, 5, 10) + (2,) * attention,
        "encoder_qkv_multiscales": ((),) * (halvings + 1),
        "decoder_qkv_multiscales": ((),) * (halvings + 1),
        "decoder_norm_types": ("batch_norm",) * 3 + ("rms_norm",) * attention,
        "decoder_act_fns": ("relu",) * 3 + ("silu",) * attention,
    }


def ldm_file(about: str, repo: str, file: str, config: Config) -> ModelEntry:
    """Return the entry of one file in the layout of latent-diffusion, of the sizes of Stable Diffusion or of VA-VAE."""
    small = config is LDM
    params = (34_163_592, 49_490_179) if small else (28_413_248, 41_417_603)
    traits = Traits(1, 8, 4) if small else Traits(1, 16, 32)
    return entry(about, "AutoencoderKL", traits, Source((file,), repo), params, "mit", config)


def dc_ae(name: str, halvings: int, channels: int, params: tuple[int, int], data: str) -> ModelEntry:
    """Return the entry of a deep compression autoencoder."""
    return entry(
        f"deep compression autoencoder, trained on {data}",
        "AutoencoderDC",
        Traits(1, 1 << halvings, channels),
        hub(f"mit-han-lab/dc-ae-{name}-1.0-diffusers", ""),
        params,
        "apache-2.0",
        dc_in(halvings, channels),
    )


IMAGES: dict[str, ModelEntry] = {
    "sd-vae-ft-mse": entry(
        "Stable Diffusion's image VAE, decoder fine-tuned for squared error",
        "AutoencoderKL",
        Traits(1, 8, 4),
        hub("stabilityai/sd-vae-ft-mse", ""),
        (34_163_592, 49_490_179),
        "mit",
        LDM,
        compatible="yes",
        base="vae-sd21",
    ),
    "sd-vae-ft-ema": entry(
        "Stable Diffusion's image VAE, decoder trained longer",
        "AutoencoderKL",
        Traits(1, 8, 4),
        hub("stabilityai/sd-vae-ft-ema", ""),
        (34_163_592, 49_490_179),
        "mit",
        LDM,
        compatible="yes",
        base="vae-sd21",
    ),
    "sdxl-vae": entry(
        "image VAE of Stable Diffusion XL, in the form that runs in fp16",
        "AutoencoderKL",
        Traits(1, 8, 4),
        hub("madebyollin/sdxl-vae-fp16-fix", ""),
        (34_163_592, 49_490_179),
        "mit",
        LDM,
    ),
    "flux1": entry(
        "image VAE of FLUX.1",
        "AutoencoderKL",
        Traits(1, 8, 16),
        hub("black-forest-labs/FLUX.1-schnell"),
        (34_274_208, 49_545_475),
        "apache-2.0",
        LDM16,
    ),
    "flux2": entry(
        "image VAE of FLUX.2",
        "AutoencoderKLFlux2",
        Traits(1, 8, 32),
        hub("black-forest-labs/FLUX.2-klein-4B"),
        (34_421_696, 49_619_203),
        "apache-2.0",
    ),
    "asymmetric-x1.5": entry(
        "Stable Diffusion's latents with a decoder 1.5 times as wide, without its mask of known pixels",
        "AsymmetricAutoencoderKL",
        Traits(1, 8, 4),
        hub("cross-attention/asymmetric-autoencoder-kl-x-1-5", "", f"{STEM}.bin"),
        (34_163_592, 160_136_835),
        "",
        ASYMMETRIC,
        compatible="yes",
        base="vae-sd21",
    ),
    "asymmetric-x2": entry(
        "the same with a decoder twice as wide",
        "AsymmetricAutoencoderKL",
        Traits(1, 8, 4),
        hub("cross-attention/asymmetric-autoencoder-kl-x-2", "", f"{STEM}.bin"),
        (34_163_592, 371_966_467),
        "",
        {**ASYMMETRIC, "up_block_out_channels": (256, 512, 1024, 1024), "layers_per_up_block": 5},
        compatible="yes",
        base="vae-sd21",
    ),
    "consistency-decoder": entry(
        "Stable Diffusion's latents decoded in two diffusion steps (DALL-E 3); its noise is seeded",
        "ConsistencyDecoderVAE",
        Traits(1, 8, 4),
        hub("openai/consistency-decoder", ""),
        (34_163_592, 621_277_702),
        "mit",
        compatible="yes",
        base="vae-sd21",
    ),
    "taesd": entry(
        "tiny autoencoder for Stable Diffusion's latents",
        "AutoencoderTiny",
        Traits(1, 8, 4),
        hub("madebyollin/taesd", ""),
        (1_222_532, 1_222_531),
        "mit",
        compatible="yes",
        base="vae-sd21",
    ),
    "taesdxl": entry(
        "tiny autoencoder for Stable Diffusion XL's latents",
        "AutoencoderTiny",
        Traits(1, 8, 4),
        hub("madebyollin/taesdxl", ""),
        (1_222_532, 1_222_531),
        "mit",
        base="sdxl-vae",
    ),
    "taesd3": entry(
        "tiny autoencoder for Stable Diffusion 3's latents",
        "AutoencoderTiny",
        Traits(1, 8, 16),
        hub("madebyollin/taesd3", ""),
        (1_229_456, 1_229_443),
        "mit",
        {"latent_channels": 16},
        base="vae-sd3",
    ),
    "taef1": entry(
        "tiny autoencoder for FLUX.1's latents",
        "AutoencoderTiny",
        Traits(1, 8, 16),
        hub("madebyollin/taef1", ""),
        (1_229_456, 1_229_443),
        "mit",
        {"latent_channels": 16},
        base="flux1",
    ),
    "dc-ae-f32c32": entry(
        "deep compression autoencoder of Sana",
        "AutoencoderDC",
        Traits(1, 32, 32),
        hub("mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers", ""),
        (153_027_104, 159_223_171),
        "apache-2.0",
        DC_SANA,
    ),
    "dc-ae-f64c128": entry(
        "deep compression autoencoder, trained on ImageNet",
        "AutoencoderDC",
        Traits(1, 64, 128),
        hub("mit-han-lab/dc-ae-f64c128-in-1.0-diffusers", ""),
        (264_550_528, 412_345_612),
        "apache-2.0",
        dc_in(6, 128),
    ),
    "dc-ae-f128c512": entry(
        "deep compression autoencoder, trained on ImageNet",
        "AutoencoderDC",
        Traits(1, 128, 512),
        hub("mit-han-lab/dc-ae-f128c512-in-1.0-diffusers", ""),
        (415_661_056, 705_021_196),
        "apache-2.0",
        dc_in(7, 512),
    ),
    "dc-ae-f32c32-in": dc_ae("f32c32-in", 5, 32, (123_172_384, 200_184_076), "ImageNet"),
    "dc-ae-f32c32-mix": dc_ae("f32c32-mix", 5, 32, (123_172_384, 200_184_076), "a mixture of images"),
    "dc-ae-f64c128-mix": dc_ae("f64c128-mix", 6, 128, (264_550_528, 412_345_612), "a mixture of images"),
    "dc-ae-f128c512-mix": dc_ae("f128c512-mix", 7, 512, (415_661_056, 705_021_196), "a mixture of images"),
    "dc-ae-f32c32-sana-1.1": entry(
        "deep compression autoencoder of Sana 1.1",
        "AutoencoderDC",
        Traits(1, 32, 32),
        hub("mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers", ""),
        (153_027_104, 159_223_171),
        "apache-2.0",
        DC_SANA,
    ),
    "flux2-small-decoder": entry(
        "FLUX.2's encoder with a decoder of three quarters of the width",
        "AutoencoderKLFlux2",
        Traits(1, 8, 32),
        hub("black-forest-labs/FLUX.2-small-decoder", ""),
        (34_421_696, 27_946_179),
        "apache-2.0",
        {"decoder_block_out_channels": (96, 192, 384, 384)},
        base="flux2",
    ),
    "va-vae": ldm_file(
        "VA-VAE, whose latents were aligned with DINOv2's",
        "hustvl/vavae-imagenet256-f16d32-dinov2",
        "vavae-imagenet256-f16d32-dinov2.pt",
        LDM_F16,
    ),
    "repa-e-sdvae": ldm_file("REPA-E's copy of Stable Diffusion's VAE", "REPA-E/sdvae", "sdvae-f8d4.pt", LDM),
    "repa-e-invae": ldm_file("IN-VAE of REPA-E", "REPA-E/invae", "invae-f16d32.pt", LDM_F16),
    "repa-e-vavae": ldm_file("REPA-E's copy of VA-VAE", "REPA-E/vavae", "vavae-f16d32.pt", LDM_F16),
    "e2e-sdvae": ldm_file("SD's VAE, tuned end to end", "REPA-E/e2e-sdvae", "e2e-sdvae-400k.pt", LDM),
    "e2e-invae": ldm_file("IN-VAE, tuned end to end", "REPA-E/e2e-invae", "e2e-invae-400k.pt", LDM_F16),
    "e2e-vavae": ldm_file("VA-VAE, tuned end to end", "REPA-E/e2e-vavae", "e2e-vavae-400k.pt", LDM_F16),
    **{
        name: entry(
            f"EQ-VAE{', averaged' if name.endswith('ema') else ''}: SD's VAE made to follow scale and turn",
            "AutoencoderKL",
            Traits(1, 8, 4),
            hub(f"zelaki/{name}", ""),
            (34_163_592, 49_490_179),
            "",
            LDM,
        )
        for name in ("eq-vae", "eq-vae-ema")
    },
    "rae-dinov2": entry(
        "representation autoencoder: DINOv2 and a transformer that decodes; 256×256 only",
        "AutoencoderRAE",
        Traits(1, 16, 768, multiple=256),
        hub("nyu-visionx/RAE-dinov2-wReg-base-ViTXL-n08", ""),
        (86_582_016, 415_056_640),
        "mit",
        {
            "decoder_hidden_size": 1152,
            "decoder_intermediate_size": 4096,
            "decoder_num_attention_heads": 16,
            "decoder_num_hidden_layers": 28,
        },
    ),
    "hunyuan-image": entry(
        "image VAE of HunyuanImage 2.1",
        "AutoencoderKLHunyuanImage",
        Traits(1, 32, 64),
        hub("hunyuanvideo-community/HunyuanImage-2.1-Diffusers"),
        (145_007_552, 260_567_939),
        "tencent-hunyuan-community",
        {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 64,
            "block_out_channels": (128, 256, 512, 512, 1024, 1024),
            "layers_per_block": 2,
            "spatial_compression_ratio": 32,
            "sample_size": 384,
        },
    ),
    "hunyuan-image-refiner": entry(
        "image VAE of HunyuanImage 2.1's refiner, a video network given single frames",
        "AutoencoderKLHunyuanImageRefiner",
        Traits(1, 16, 32),
        hub("hunyuanvideo-community/HunyuanImage-2.1-Refiner-Diffusers"),
        (389_324_544, 871_309_571),
        "tencent-hunyuan-community",
    ),
    "kvae-2d": entry(
        "image VAE of Kandinsky, KVAE 1.0",
        "AutoencoderKLKVAE",
        Traits(1, 8, 16),
        hub("kandinskylab/KVAE-2D-1.0", "diffusers/"),
        (86_157_088, 131_269_635),
        "mit",
    ),
    "qwen-image-2.1": entry(
        "image VAE of Qwen-Image 2.1: RGBA, of which alpha is opaque here",
        "AutoencoderKLQwenImage21",
        Traits(1, 16, 64),
        hub("Qwen/Qwen-Image-2.1"),
        (78_675_680, 259_044_052),
        "qwen-research",
    ),
}

VIDEOS: dict[str, ModelEntry] = {
    "svd": entry(
        "Stable Video Diffusion: Stable Diffusion's latents, a decoder that mixes frames",
        "AutoencoderKLTemporalDecoder",
        Traits(1, 8, 4),
        hub("stabilityai/stable-video-diffusion-img2vid-xt"),
        (34_163_592, 63_579_183),
        "stable-video-diffusion-community",
        {**{k: v for k, v in LDM.items() if k != "up_block_types"}, "force_upcast": True},  # as its pipeline does
        compatible="yes",
        base="vae-sd21",
        mixes=True,
    ),
    "cogvideox": entry(
        "video VAE of CogVideoX",
        "AutoencoderKLCogVideoX",
        Traits(4, 8, 16, CAUSAL8),  # compresses by 4, but decodes latents in pairs
        hub("THUDM/CogVideoX-2b"),
        (92_215_456, 123_368_451),
        "apache-2.0",
        FP16,
    ),
    "wan-2.1": entry(
        "video VAE of Wan 2.1",
        "AutoencoderKLWan",
        Traits(4, 8, 16, CAUSAL4),
        hub("Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
        (53_595_872, 73_295_331),
        "apache-2.0",
    ),
    "wan-2.2": entry(
        "video VAE of Wan 2.2 5B",
        "AutoencoderKLWan",
        Traits(4, 16, 48, CAUSAL4),
        hub("Wan-AI/Wan2.2-TI2V-5B-Diffusers"),
        (149_627_776, 555_049_228),
        "apache-2.0",
        WAN22,
    ),
    "hunyuan-video": entry(
        "video VAE of HunyuanVideo; more than 16 frames in overlapping pieces, as diffusers has it",
        "AutoencoderKLHunyuanVideo",
        Traits(4, 8, 16, CAUSAL4),
        hub("hunyuanvideo-community/HunyuanVideo"),
        (100_341_408, 146_136_067),
        "tencent-hunyuan-community",
    ),
    "hunyuan-video-1.5": entry(
        "video VAE of HunyuanVideo 1.5",
        "AutoencoderKLHunyuanVideo15",
        Traits(4, 16, 32, CAUSAL4),
        hub("hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v"),
        (389_324_544, 871_309_571),
        "tencent-hunyuan-community",
    ),
    "ltx": entry(
        "video VAE of LTX-Video 0.9.0",
        "AutoencoderKLLTXVideo",
        Traits(8, 32, 128, CAUSAL8),
        hub("Lightricks/LTX-Video"),
        (180_404_353, 238_789_296),
        "ltx-video",
    ),
    "ltx-0.9.5": entry(
        "video VAE of LTX-Video 0.9.5 to 0.9.8, whose decoder takes the last denoising step",
        "AutoencoderKLLTXVideo",
        Traits(8, 32, 128, CAUSAL8),
        hub("Lightricks/LTX-Video-0.9.5"),
        (694_098_881, 552_814_641),
        "ltx-video",
        LTX_095,
        {"decode_timestep": 0.05, "decode_noise": 0.025},
    ),
    "ltx-2": entry(
        "video VAE of LTX-2",
        "AutoencoderKLLTX2Video",
        Traits(8, 32, 128, CAUSAL8, least_side=64),
        hub("Lightricks/LTX-2"),
        (694_098_881, 528_380_720),
        "ltx-2-community",
        {"decoder_causal": False, "spatial_compression_ratio": 32, "temporal_compression_ratio": 8},
    ),
    "ltx-2.3": entry(
        "video VAE of LTX-2.3",
        "AutoencoderKLLTX2Video",
        Traits(8, 32, 128, CAUSAL8, least_side=64),
        hub("OzzyGT/LTX-2.3-Distilled"),
        (318_936_897, 407_169_072),
        "ltx-2-community",
        LTX_23,
    ),
    "mochi": entry(
        "video VAE of Mochi 1",
        "AutoencoderKLMochi",
        Traits(6, 8, 12, FrameRule(1, 6)),
        hub("genmo/mochi-1-preview"),
        (97_222_016, 362_526_595),
        "apache-2.0",
    ),
    "cosmos": entry(
        "Cosmos tokenizer 1.0, continuous, 8×8×8",
        "AutoencoderKLCosmos",
        Traits(8, 8, 16, CAUSAL8),
        hub("nvidia/Cosmos-1.0-Tokenizer-CV8x8x8"),
        (42_914_592, 62_738_560),
        "nvidia-open-model",
    ),
    "allegro": entry(
        "video VAE of Allegro: 24 + 16k frames of 320 + 200i by 320 + 240j pixels, in tiles",
        "AutoencoderKLAllegro",
        Traits(4, 8, 4, FrameRule(24, 16, 24)),
        hub("rhymes-ai/Allegro"),
        (64_001_032, 110_954_627),
        "apache-2.0",
        FP16,
    ),
    "easyanimate": entry(
        "video VAE of EasyAnimate 5.1",
        "AutoencoderKLMagvit",
        Traits(4, 8, 16, CAUSAL4),
        hub("alibaba-pai/EasyAnimateV5.1-12b-zh-diffusers"),
        (99_289_760, 145_084_419),
        "apache-2.0",
    ),
    "qwen-image": entry(
        "VAE of Qwen-Image: Wan 2.1's, its decoder trained on images",
        "AutoencoderKLQwenImage",
        Traits(4, 8, 16, CAUSAL4),
        hub("Qwen/Qwen-Image"),
        (53_595_872, 73_295_331),
        "apache-2.0",
        base="wan-2.1",
    ),
    "vidtok-kl16": entry(
        "VidTok 1.1, continuous, 16 channels",
        "AutoencoderVidTok",
        Traits(4, 8, 16, CAUSAL4),
        vidtok("vidtok_kl_causal_488_16chn"),
        (69_589_922, 88_359_429),
        "mit",
        {"z_channels": 16, "release": "1.1"},
    ),
    "vidtok-kl4": entry(
        "VidTok 1.1, continuous, 4 channels",
        "AutoencoderVidTok",
        Traits(4, 8, 4, CAUSAL4),
        vidtok("vidtok_kl_causal_488_4chn"),
        (69_258_122, 88_193_541),
        "mit",
        {"release": "1.1"},
    ),
    "vidtok-fsq": entry(
        "VidTok 1.1, discrete, 32768 codes (FSQ)",
        "AutoencoderVidTok",
        Traits(4, 8, 0, CAUSAL4, codebook=32768),
        vidtok("vidtok_fsq_causal_488_32768"),
        (69_216_647, 88_207_365),
        "mit",
        {"z_channels": 5, "double_z": False, "regularizer": "fsq", "codebook_size": 32768, "release": "1.1"},
    ),
    "kvae-3d": entry(
        "video VAE of Kandinsky, KVAE 1.0",
        "AutoencoderKLKVAEVideo",
        Traits(4, 8, 16, CAUSAL4),
        hub("kandinskylab/KVAE-3D-1.0", "diffusers/"),
        (250_381_216, 367_600_899),
        "mit",
    ),
    "kandinsky-6-sr": entry(
        "video VAE of Kandinsky 6's super-resolution",
        "Kandinsky6SRVAE",
        Traits(4, 16, 64, CAUSAL4),
        hub("kandinskylab/Kandinsky-6.0-VSR-5s-Diffusers"),
        (275_807_360, 1_463_070_883),
        "mit",
    ),
    "minimax-h3": entry(
        "video VAE of MiniMax-H3: clips of 17 frames, a transformer that decodes, tiles of 256 pixels",
        "AutoencoderKLMiniMaxH3",
        Traits(4, 16, 24, FrameRule(5, 17, 22), least_side=32),
        hub_shards("MiniMaxAI/MiniMax-H3", "vae/", 3),
        (180_335_536, 2_423_530_496),
        "minimax-h3-community",
        version=2,  # what stays in float32 is no longer rounded through half precision
    ),
}

ZOO: dict[str, ModelEntry] = {**IMAGES, **VIDEOS}
