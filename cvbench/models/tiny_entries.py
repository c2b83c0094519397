"""Entries of the small trained models that ship with the package (`models/tiny/`).

Trained by benchmarks/train_tiny.py on procedural data. They are for demonstrations, gates and ablations: few channels
and a short training, so not a tokenizer to build on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry
from cvbench.weights import Source

FOLDER = Path(__file__).with_name("tiny")
SHA256: dict[str, str] = {
    "tiny-image": "a5f2fd59c3bc4de9f91844958b46ce4cd12d2f571ce5efcba26c13d53b3f5bc6",
    "tiny-image-z16": "3e2ba0b7debc9b70777f7556157fffdf57bcc3dc2354476dfc8eaca1c4f6b693",
    "tiny-video": "199e59ae21f33525d675a99ec36ba96f08e63fe37ab783d0731f6b4dc83bb12a",
    "tiny-video-random": "b60a9dda6c8b84749420e8a9c7e4f9eb6f1c788a6ca2f47f17a2d5b526895e06",
    "tiny-video-none": "c1d0550ccecc5710f2515798aed9eb0d7476cd5ea9db43026fa97568ad86004b",
    "tiny-video-encoder": "4e3e7bf9af95ee27b7810615612db96e9090b879bd82fa8c21b78e1226072873",
    "tiny-video-both": "243da42fba4bd5f517e4b140578f805709cfe322afe1ca1ac19f6fd3ccef1006",
    "tiny-video-first": "ee3ef16e1aaa34649ad336dd4472dce35306ea80b0919fe0e2954c157f4dca5f",
    "tiny-video-average": "54c89c9f663b5db1803f1c27265e5b6780eb54523556a87d4b5a91f3325959f5",
    "tiny-video-slice": "fc16028f87d82da6e3b564f7fadc992dcb41c9fc6ceadc44443f93ddabb7687c",
    "tiny-video-3d": "0ae7ac91e70416be964cd164391015f0ca38cea8ef72b95df54ce42294b64a4f",
    "tiny-video-z16": "f4a63a9bd0ae38c5d309bb2e5b87c42b2909fa19c69d9ba44cbeec72eaf707b6",
}
"""Of the files in FOLDER, by model; `train_tiny.py --hashes` writes this. What is not here is not checked."""
IMAGE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "force_upcast": False,
    "block_out_channels": [8, 16, 24, 24],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""SD's autoencoder, narrow and shallow."""
FORM: dict[str, Any] = {
    "form": "z4",
    "channels": 8,
    "multipliers": (1, 2, 3, 3),
    "blocks": 1,
    "groups": 2,
    "eps": 1e-6,
}
"""CV-VAE of the same widths."""


class Variant(NamedTuple):
    """What a form of CV-VAE makes of FORM."""

    about: str
    channels: int
    params: tuple[int, int]
    image: str = "tiny-image"


VARIANTS: Mapping[str, Variant] = {
    "z4": Variant("2D+3D", 4, (119_648, 223_123)),
    "3d": Variant("3D", 4, (166_880, 296_851)),
    "sd3": Variant("2D+3D, 16 channels", 16, (135_224, 228_451), "tiny-image-z16"),
}


def bundled(name: str) -> Source:
    """Return the source of a file in FOLDER."""
    return Source((f"models/tiny/{name}.safetensors",), sha256=SHA256.get(name, ""), bundled=True)


def image(name: str, about: str, channels: int, params: tuple[int, int]) -> ModelEntry:
    """Return the entry of an image VAE."""
    return ModelEntry(
        about,
        "cvbench.models.diffusers:Diffusers",
        Traits(1, 8, channels),
        config={**IMAGE, "latent_channels": channels},
        source=bundled(name),
        params=params,
        licence="apache-2.0",
        compatible="-",
    )


def video(name: str, about: str, compatible: str, form: str = "z4") -> ModelEntry:
    """Return the entry of a video VAE."""
    variant = VARIANTS[form]
    return ModelEntry(
        f"tiny CV-VAE ({variant.about}), {about}",
        "cvbench.models.cvvae:CVVAE",
        Traits(4, 8, variant.channels, FrameRule(1, 4), window=16),
        options={"tile": 576},
        config={**FORM, "form": form},
        source=bundled(name),
        params=variant.params,
        licence="apache-2.0",
        compatible=compatible,
        base=variant.image if compatible == "yes" else "",
    )


def held(name: str, part: str, mapping: str = "random", form: str = "z4", compatible: str = "yes") -> ModelEntry:
    """Return the entry of a video VAE that a `part` of the image VAE held, on the frames that `mapping` chose."""
    space = f"latent space of {VARIANTS[form].image}"
    return video(name, f"held in the {space} by its {part}, {mapping} mapping", compatible, form)


# `compatible` is what `cvbench run --suite compat --data sample-images` found (docs/compat.md).
TINY: dict[str, ModelEntry] = {
    "tiny-image": image("tiny-image", "tiny image VAE, 4 channels", 4, (58_160, 93_483)),
    "tiny-image-z16": image("tiny-image-z16", "tiny image VAE, 16 channels", 16, (63_368, 96_075)),
    "tiny-video": held("tiny-video", "decoder"),
    "tiny-video-random": held("tiny-video-random", "decoder"),
    "tiny-video-none": video("tiny-video-none", "started from tiny-image, not held in its latent space", "no"),
    "tiny-video-encoder": held("tiny-video-encoder", "encoder"),
    "tiny-video-both": held("tiny-video-both", "encoder and decoder"),
    "tiny-video-first": held("tiny-video-first", "decoder", "first"),
    "tiny-video-average": held("tiny-video-average", "decoder", "average"),
    "tiny-video-slice": held("tiny-video-slice", "decoder", "slice"),
    "tiny-video-3d": held("tiny-video-3d", "decoder", form="3d"),
    "tiny-video-z16": held("tiny-video-z16", "decoder", form="sd3", compatible="no"),
}
