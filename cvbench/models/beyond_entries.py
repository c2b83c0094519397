"""Entries of autoencoders that people use and diffusers does not carry."""

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry
from cvbench.weights import Source

TAEHV_COMMIT = "093b918971d59001a0bad6dfd6e0409b5e1752cf"
"""Of madebyollin/taehv: the commit fixes the files' content, whose SHA-256 are not published."""


BASES = {
    **{"taehv": "hunyuan-video", "taehv1_5": "hunyuan-video-1.5", "taew2_1": "wan-2.1", "taew2_2": "wan-2.2"},
    **{"taecvx": "cogvideox", "taeltx_2": "ltx-2", "taeltx2_3": "ltx-2.3"},
}
"""The models whose latents the tiny ones share."""


def taehv(
    name: str, of: str, traits: Traits, params: tuple[int, int], layout: str = "taehv", step: int = 0
) -> ModelEntry:
    """Return the entry of a tiny autoencoder; `step` is its frame rule's where it is not `traits.temporal`."""
    return ModelEntry(
        f"tiny autoencoder for the latents of {of}",
        "cvbench.models.beyond:TAEHV",
        traits,
        config={"layout": layout, **({"step": step} if step else {})},
        source=Source((f"{name}.pth",), url=f"https://raw.githubusercontent.com/madebyollin/taehv/{TAEHV_COMMIT}/{name}.pth"),
        params=params,
        licence="mit",
        base=BASES.get(name, ""),
        latents="scaled",
    )  # fmt: skip


def leanvae(channels: int) -> ModelEntry:
    """Return the entry of a published LeanVAE."""
    return ModelEntry(
        f"LeanVAE, {channels} channels",
        "cvbench.models.beyond:LeanVAE",
        Traits(4, 8, channels, FrameRule(1, 4)),
        config={"latent_dim": channels},
        source=Source((f"LeanVAE-dim{channels}.ckpt",), repo="Yumic/LeanVAE"),
        params=(11_432_704, 28_328_644 + 1_024 * channels),
        licence="mit",
        compatible="no",
    )


TINY16 = Traits(4, 8, 16, FrameRule(1, 4))
TINY16_PARAMS = (1_470_928, 9_844_611)
TINY128 = Traits(8, 32, 128, FrameRule(1, 8))
TINY128_PARAMS = (1_565_568, 10_194_160)

BEYOND: dict[str, ModelEntry] = {
    "taehv": taehv("taehv", "HunyuanVideo", TINY16, TINY16_PARAMS),
    "taehv1.5": taehv(
        "taehv1_5", "HunyuanVideo 1.5", Traits(4, 16, 32, FrameRule(1, 4)), (1_485_344, 9_886_668), "taehv1_5"
    ),
    "taew2.1": taehv("taew2_1", "Wan 2.1, Wan 2.2 14B and Qwen-Image", TINY16, TINY16_PARAMS),
    "taew2.2": taehv("taew2_2", "Wan 2.2 5B", Traits(4, 16, 48, FrameRule(1, 4)), (1_494_576, 9_923_532), "taew2_2"),
    # the reference keeps all frames of an even number of latents, so of 4k frames only some come back in their places
    "taecvx": taehv("taecvx", "CogVideoX", Traits(4, 8, 16, FrameRule(1, 8)), TINY16_PARAMS, "taecvx", 8),
    "taeos1.3": taehv("taeos1_3", "Open-Sora 1.3", TINY16, TINY16_PARAMS),
    "taeltx2": taehv("taeltx_2", "LTX-2", TINY128, TINY128_PARAMS, "taeltx_2"),
    "taeltx2.3": taehv("taeltx2_3", "LTX-2.3", TINY128, TINY128_PARAMS, "taeltx_2"),
    "wf-vae": ModelEntry(
        "WF-VAE-L, 16 channels",
        "cvbench.models.beyond:WFVAE",
        Traits(4, 8, 16, FrameRule(1, 4)),
        source=Source(("diffusion_pytorch_model.safetensors", "config.json"), repo="chestnutlzj/WF-VAE-L-16Chn"),
        params=(84_587_040, 232_494_332),
        licence="apache-2.0",
        compatible="no",
    ),
    "leanvae-4": leanvae(4),
    "leanvae-16": leanvae(16),
}
