"""Pipelines of diffusers with few channels and random weights, none of which reads a text; each with its arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from small import SMALL

Made = tuple[Any, dict[str, Any]]
SIZE = {"height": 16, "width": 16}
FLOW = diffusers.FlowMatchEulerDiscreteScheduler


def texts(width: int = 16, length: int = 7, **more: tuple[int, ...]) -> dict[str, Any]:
    """Embeddings of a prompt and of none, and others of the shapes given, each also for no prompt; True for masks."""
    made: dict[str, Any] = {}
    for name, shape in {"prompt_embeds": (1, length, width), **more}.items():
        mask = torch.ones(shape, dtype=torch.bool) if "mask" in name else None
        made[name] = torch.randn(shape) if mask is None else mask
        made[f"negative_{name}"] = torch.zeros(shape) if mask is None else mask
    return made


def kl(**more: Any) -> Any:
    return diffusers.AutoencoderKL(**{
        "block_out_channels": (8, 8), "down_block_types": ("DownEncoderBlock2D",) * 2, "layers_per_block": 1,
        "up_block_types": ("UpDecoderBlock2D",) * 2, "norm_num_groups": 4, "latent_channels": 4, **more,
    })  # fmt: skip


def video(name: str, **more: Any) -> Any:
    return getattr(diffusers, name)(**{**SMALL[name], **more})


def unet(**more: Any) -> Any:
    return diffusers.UNet2DConditionModel(**{
        "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "cross_attention_dim": 16,
        "norm_num_groups": 4, "attention_head_dim": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), **more,
    })  # fmt: skip


def stable_diffusion() -> Made:
    pipe = diffusers.StableDiffusionPipeline(
        kl(), None, None, unet(), diffusers.EulerDiscreteScheduler(), None, None, requires_safety_checker=False
    )
    return pipe, {**SIZE, **texts()}


def stable_diffusion_xl() -> Made:
    net = unet(
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 16,
    )  # fmt: skip
    vae = kl(scaling_factor=0.13025, force_upcast=True)
    scheduler = diffusers.EulerDiscreteScheduler()
    pipe = diffusers.StableDiffusionXLPipeline(vae, None, None, None, None, net, scheduler, add_watermarker=False)
    return pipe, {**SIZE, **texts(pooled_prompt_embeds=(1, 16))}


def stable_diffusion_3() -> Made:
    net = diffusers.SD3Transformer2DModel(
        sample_size=8, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16, pos_embed_max_size=8,
    )  # fmt: skip
    pipe = diffusers.StableDiffusion3Pipeline(
        net, FLOW(), kl(scaling_factor=1.5305, shift_factor=0.0609), None, None, None, None, None, None
    )
    return pipe, {**SIZE, **texts(pooled_prompt_embeds=(1, 16))}


def flux() -> Made:
    net = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    vae = kl(scaling_factor=0.3611, shift_factor=0.1159)
    pipe = diffusers.FluxPipeline(FLOW(), vae, None, None, None, None, net)
    found = texts(pooled_prompt_embeds=(1, 16))
    return pipe, {**SIZE, **{name: found[name] for name in ("prompt_embeds", "pooled_prompt_embeds")}}


def qwen_image() -> Made:
    net = diffusers.QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    vae = video("AutoencoderKLQwenImage", latents_mean=[0.1, 0, 0, -0.2], latents_std=[1.5, 2, 1, 1])
    pipe = diffusers.QwenImagePipeline(FLOW(), vae, None, None, net)
    return pipe, {**SIZE, **texts(prompt_embeds_mask=(1, 7)), "true_cfg_scale": 2.0}


def sana() -> Made:
    net = diffusers.SanaTransformer2DModel(
        in_channels=8, out_channels=8, num_layers=1, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
        sample_size=2,
    )  # fmt: skip
    pipe = diffusers.SanaPipeline(None, None, video("AutoencoderDC"), net, FLOW())
    more = {"height": 64, "width": 64, "use_resolution_binning": False}
    return pipe, {**more, "negative_prompt": None, **texts(prompt_attention_mask=(1, 7))}


def pixart() -> Made:
    net = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
        cross_attention_dim=16, sample_size=8, caption_channels=16,
    )  # fmt: skip
    pipe = diffusers.PixArtSigmaPipeline(None, None, kl(), net, diffusers.DPMSolverMultistepScheduler())
    return pipe, {
        **SIZE,
        "use_resolution_binning": False,
        "negative_prompt": None,
        **texts(prompt_attention_mask=(1, 7)),
    }


def wan() -> Made:
    net = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=16, ffn_dim=16,
        num_layers=1, rope_max_seq_len=32, in_channels=4, out_channels=4,
    )  # fmt: skip
    vae = video("AutoencoderKLWan", latents_mean=[0.1, 0, 0, -0.2], latents_std=[1.5, 2, 1, 1])
    return diffusers.WanPipeline(None, None, vae, FLOW(), net), {**SIZE, "num_frames": 5, **texts()}


def skyreels() -> Made:
    net = diffusers.SkyReelsV2Transformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=16, ffn_dim=16,
        num_layers=1, rope_max_seq_len=32, in_channels=4, out_channels=4,
    )  # fmt: skip
    vae = video("AutoencoderKLWan", latents_mean=[0.1, 0, 0, -0.2], latents_std=[1.5, 2, 1, 1])
    pipe = diffusers.SkyReelsV2Pipeline(None, None, net, vae, diffusers.UniPCMultistepScheduler(flow_shift=8.0))
    return pipe, {**SIZE, "num_frames": 5, **texts()}


def ltx() -> Made:
    net = diffusers.LTXVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
        num_layers=1, caption_channels=16,
    )  # fmt: skip
    pipe = diffusers.LTXPipeline(FLOW(), video("AutoencoderKLLTXVideo"), None, None, net)
    more = {"height": 32, "width": 32, "num_frames": 9}
    return pipe, {**more, **texts(prompt_attention_mask=(1, 7))}


def cogvideox() -> Made:
    net = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, time_embed_dim=8, num_layers=1,
        text_embed_dim=16, sample_width=2, sample_height=2, sample_frames=9, max_text_seq_length=7,
    )  # fmt: skip
    vae = video("AutoencoderKLCogVideoX", scaling_factor=1.15258426)
    pipe = diffusers.CogVideoXPipeline(None, None, vae, net, diffusers.CogVideoXDDIMScheduler())
    return pipe, {**SIZE, "num_frames": 9, **texts()}


def hunyuan_video() -> Made:
    net = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, text_embed_dim=16, pooled_projection_dim=16,
        rope_axes_dim=(4, 4, 8),
    )  # fmt: skip
    pipe = diffusers.HunyuanVideoPipeline(
        None, None, net, video("AutoencoderKLHunyuanVideo", scaling_factor=0.476986), FLOW(), None, None
    )
    found = texts(pooled_prompt_embeds=(1, 16), prompt_attention_mask=(1, 7))
    return pipe, {**SIZE, "num_frames": 5, **{k: v for k, v in found.items() if "negative" not in k}}


def mochi() -> Made:
    net = diffusers.MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=8, in_channels=12,
        text_embed_dim=16, time_embed_dim=16, max_sequence_length=7,
    )  # fmt: skip
    vae = video("AutoencoderKLMochi", latent_channels=12)
    pipe = diffusers.MochiPipeline(FLOW(), vae, None, None, net)
    return pipe, {**SIZE, "num_frames": 7, **texts(prompt_attention_mask=(1, 7))}


def latte() -> Made:
    net = diffusers.LatteTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
        cross_attention_dim=16, sample_size=8, patch_size=2, norm_type="ada_norm_single", caption_channels=16,
        num_embeds_ada_norm=1000, norm_elementwise_affine=False, video_length=3,
    )  # fmt: skip
    pipe = diffusers.LattePipeline(None, None, kl(), net, diffusers.DDIMScheduler())
    return pipe, {
        **SIZE,
        "video_length": 3,
        "decode_chunk_size": 3,
        "clean_caption": False,
        "negative_prompt": None,
        **texts(),
    }


def animatediff() -> Made:
    adapter = diffusers.MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=4, motion_num_attention_heads=2
    )
    pipe = diffusers.AnimateDiffPipeline(kl(), None, None, unet(), adapter, diffusers.DDIMScheduler())
    return pipe, {**SIZE, "num_frames": 3, "decode_chunk_size": 3, **texts()}


def stable_video_diffusion(levels: int = 2) -> Made:
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    net = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=16, num_attention_heads=(1, 2),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"), addition_time_embed_dim=8,
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), num_frames=3,
        projection_class_embeddings_input_dim=24,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32,) * levels, down_block_types=("DownEncoderBlock2D",) * levels, layers_per_block=1
    )
    seen = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=16, projection_dim=16, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=56,
        intermediate_size=16,
    ))  # fmt: skip
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0, timestep_spacing="leading", steps_offset=1,
        timestep_type="continuous",
    )  # fmt: skip
    pipe = diffusers.StableVideoDiffusionPipeline(vae, seen.eval(), net, scheduler, CLIPImageProcessor())
    image = Image.fromarray(torch.arange(768, dtype=torch.uint8).reshape(16, 16, 3).numpy())
    return pipe, {**SIZE, "image": image, "num_frames": 3, "decode_chunk_size": 3}


PIPELINES: dict[str, Callable[[], Made]] = {
    make.__name__: make
    for make in (
        stable_diffusion, stable_diffusion_xl, stable_diffusion_3, flux, qwen_image, sana, pixart, wan, skyreels, ltx,
        cogvideox, hunyuan_video, mochi, latte, animatediff, stable_video_diffusion,
    )
}  # fmt: skip


def save_stable_diffusion(folder: Path, levels: int = 4) -> Path:
    """Write a whole pipeline as published ones lie in a folder: with texts read, and a VAE of the usual factor 8."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer({token: i for i, token in enumerate(tokens)}, [], model_max_length=77)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1,
    ))  # fmt: skip
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type="v_prediction",
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        kl(block_out_channels=(8,) * levels, **blocks), text, tokenizer, unet(), scheduler, None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return folder
