"""Image VAEs of Stable Diffusion's kind, through diffusers' AutoencoderKL."""

import json
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from cvbench import weights
from cvbench.errors import BadWeights
from cvbench.models.entry import Loading
from cvbench.tensors import Latents, Videos
from cvbench.types import Traits

BLOCKS = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
DROP = ("loss.", "model_ema.")
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class KL:
    """Image VAE with a Gaussian posterior; a clip is coded frame by frame.

    Weights: a diffusers folder, a single safetensors or checkpoint file in diffusers' or the original (LDM)
    layout. Reference: diffusers `AutoencoderKL`.
    """

    def __init__(self, loading: Loading) -> None:
        from diffusers import AutoencoderKL

        config = _config(loading)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(loading.seed)
            net = AutoencoderKL(**config)
        if loading.path:
            _load(net, _weights_file(loading.path))
        self.net = net.to(loading.device, loading.dtype).eval().requires_grad_(False)
        if loading.tiling:
            self.net.enable_tiling()
        self.posterior = loading.posterior
        self.traits = Traits(1, 2 ** (len(config["block_out_channels"]) - 1), config["latent_channels"])
        self.params = (_count(net.encoder), _count(net.decoder))

    def encode(self, videos: Videos) -> Latents:
        """Code each frame: (b, 3, t, h, w) in [0, 1] to (b, channels, t, h/8, w/8)."""
        frames = rearrange(2 * videos - 1, "b c t h w -> (b t) c h w").to(self.net.dtype)
        posterior = self.net.encode(frames).latent_dist
        z = posterior.mode() if self.posterior == "mode" else posterior.sample()
        return rearrange(z, "(b t) c h w -> b c t h w", b=len(videos))

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct each frame, not clamped."""
        z = rearrange(latents, "b c t h w -> (b t) c h w")
        pixels = self.net.decode(z.to(self.net.dtype)).sample.float()
        return rearrange((pixels + 1) / 2, "(b t) c h w -> b c t h w", t=frames)


def _count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _config(loading: Loading) -> dict[str, Any]:
    """Return the folder's config.json where there is one, else the entry's."""
    config = dict(loading.options)
    file = loading.path / "config.json" if loading.path and loading.path.is_dir() else None
    if file and file.is_file():
        raw = json.loads(file.read_text(encoding="utf-8"))
        config.update({k: raw[k] for k in KEYS if k in raw})
    levels = len(config["block_out_channels"])
    return {
        "down_block_types": BLOCKS[0][:1] * levels,
        "up_block_types": BLOCKS[1][:1] * levels,
        "layers_per_block": 2,
        **config,
    }


KEYS = (
    "block_out_channels", "latent_channels", "layers_per_block", "norm_num_groups", "use_quant_conv",
    "use_post_quant_conv", "down_block_types", "up_block_types", "mid_block_add_attention",
)  # fmt: skip


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin")) or sorted(path.glob("*.ckpt"))
    if not files:
        raise BadWeights(f"{path} has no .safetensors, .bin or .ckpt file")
    return files[0]


def _load(net: torch.nn.Module, file: Path) -> None:
    state = weights.read_tensors(file)
    if any(k.startswith("first_stage_model.") for k in state):
        state = {
            k.removeprefix("first_stage_model."): v for k, v in state.items() if k.startswith("first_stage_model.")
        }
    state = {k: v for k, v in state.items() if not k.startswith(DROP)}
    if any(".down." in k for k in state):
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        state = convert_ldm_vae_checkpoint(state, net.config)
    state = {_modern(k): v.flatten(1) if _is_convolved_attention(k, v) else v for k, v in state.items()}
    net.load_state_dict(weights.fit(state, net.state_dict(), str(file)))


def _is_convolved_attention(key: str, value: torch.Tensor) -> bool:
    """Tell a 1×1 convolution of the original layout from the linear layer that diffusers has in its place."""
    return ".attentions." in key and value.ndim == 4 and value.shape[2:] == (1, 1)


def _modern(key: str) -> str:
    """Rename attention tensors of diffusers folders made before version 0.18."""
    for old, new in OLD_ATTENTION.items():
        key = key.replace(f"attentions.0.{old}.", f"attentions.0.{new}.")
    return key
