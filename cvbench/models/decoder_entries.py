"""Entries of decoders alone; their encoders are those of the networks whose latents they take."""

from collections.abc import Mapping
from typing import Any

from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry
from cvbench.models.zoo import VIDEOS
from cvbench.weights import Source

TURBO: dict[str, Any] = {"widths": (512, 256, 32, 16), "blocks": (5, 4, 4, 4, 5)}
TURBO_LTX: dict[str, Any] = {"channels": 128, "blocks": (1, 1, 3, 2, 3), "strides": (2, 2, 2), "patch": 4}
LTX25 = "Lightricks/LTX-2.5-Diffusers"


def decoder(
    about: str,
    build: str,
    of: str,
    config: Mapping[str, Any],
    source: Source,
    params: int,
    licence: str = "",
    traits: Traits | None = None,
) -> ModelEntry:
    """Return the entry of a decoder of `params` parameters for the latents of the entry `of`, by which it encodes."""
    teacher = VIDEOS[of]
    encoder = teacher.params[0] if teacher.params else 0
    return ModelEntry(
        about, f"cvbench.models.decoders:{build}", traits or teacher.traits,
        config={**config, "teacher": teacher.config}, source=source, params=(encoder, params), licence=licence,
        base=of, encoder=of,
    )  # fmt: skip


def turbo(of: str, file: str, layout: Mapping[str, Any], params: int, doubt: str = "") -> ModelEntry:
    """Return the entry of a Turbo-VAED; `doubt` is what is not known of it."""
    about = f"light decoder for the latents of {of}{doubt}"
    return decoder(about, "TurboVAED", of, layout, Source((f"{file}.pth",), "hustvl/Turbo-VAED"), params)


DECODERS: dict[str, ModelEntry] = {
    "turbo-vaed-hunyuan": turbo("hunyuan-video", "Turbo-VAED-HunyuanVideo", TURBO, 40_687_811),
    "turbo-vaed-cogvideox": turbo(
        "cogvideox", "Turbo-VAED-CogVideo5B", TURBO, 40_687_811,
        "; it was made for the VAE of CogVideoX1.5-5B, and that this one's latents equal that one's is not established",
    ),
    "turbo-vaed-ltx": turbo(
        "ltx", "Turbo-VAED-LTX", TURBO_LTX, 41_896_023,
        "; which version of LTX-Video it was made for is not established",
    ),
    "ltx-2.5-diffusion": decoder(
        "diffusion decoder of LTX-2.5: pixels denoised in one step from seeded noise, for LTX-2.3's latents",
        "DiffusionDecoder", "ltx-2.3", {"_class_name": "LTX2VideoDiffusionDecoderModel"},
        Source(
            ("diffusion_decoder/diffusion_pytorch_model.safetensors", "diffusion_decoder/config.json"), LTX25,
            gated=True,
        ),
        417_133_616, "ltx-2-community", Traits(8, 32, 128, FrameRule(1, 8, 11), least_side=224),
    ),
}  # fmt: skip
