"""Small configs of every family, in one table, and the models of the registry built with them."""

from dataclasses import replace
from typing import Any
from unittest import mock

import torch

from cvbench import models, weights
from cvbench.models.entry import Loading
from cvbench.nets import rife

DC_BLOCKS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
SMALL: dict[str, dict[str, Any]] = {
    "AsymmetricAutoencoderKL": {
        "down_block_out_channels": (8, 8, 16, 16), "up_block_out_channels": (8, 16, 16, 24), "layers_per_down_block": 1,
        "layers_per_up_block": 1, "norm_num_groups": 4,
    },
    "AutoencoderDC": {
        "attention_head_dim": 8, "latent_channels": 8, "encoder_block_types": DC_BLOCKS,
        "decoder_block_types": DC_BLOCKS, "encoder_layers_per_block": (1,) * 6,
        "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
        "encoder_block_out_channels": (8, 8, 16, 16, 32, 32), "decoder_block_out_channels": (8, 8, 16, 16, 32, 32),
        "decoder_layers_per_block": (1,) * 6, "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
        "decoder_norm_types": "rms_norm", "decoder_act_fns": "silu",
    },
    "AutoencoderKL": {
        "block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 32,
    },
    "AutoencoderKLAllegro": {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4},
    "AutoencoderKLCogVideoX": {
        "block_out_channels": (8, 8, 8, 16), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
    },
    "AutoencoderKLCosmos": {
        "latent_channels": 4, "encoder_block_out_channels": (8, 8, 8, 8), "decode_block_out_channels": (8, 8, 8, 8),
        "num_layers": 1,
    },
    "AutoencoderKLFlux2": {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4},
    "AutoencoderKLHunyuanImage": {"latent_channels": 16, "block_out_channels": (64,) * 6, "layers_per_block": 1},
    "AutoencoderKLHunyuanImageRefiner": {"latent_channels": 8, "block_out_channels": (16,) * 5, "layers_per_block": 1},
    "AutoencoderKLHunyuanVideo": {
        "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
    },
    "AutoencoderKLHunyuanVideo15": {"latent_channels": 8, "block_out_channels": (16,) * 5, "layers_per_block": 1},
    "AutoencoderKLKVAE": {
        "channels": 64, "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4, "ch_mult": (1,) * 4,
    },
    "AutoencoderKLKVAEVideo": {"ch": 64, "ch_mult": (1,) * 4, "num_res_blocks": 1, "z_channels": 4},
    "AutoencoderKLLTX2Video": {
        "latent_channels": 16, "block_out_channels": (8, 16, 32, 64), "decoder_block_out_channels": (8, 16, 32),
        "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 4,
    },
    "AutoencoderKLLTXVideo": {
        "latent_channels": 16, "block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4,
        "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5,
    },
    "AutoencoderKLMagvit": {
        "latent_channels": 4, "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4,
    },
    "AutoencoderKLMiniMaxH3": {
        "latent_channels": 4, "block_out_channels": (8,) * 6, "layers_per_block": 1, "norm_num_groups": 4,
        "decoder_num_layers": 1, "decoder_num_attention_heads": 2, "decoder_attention_head_dim": 16,
    },
    "AutoencoderKLMochi": {
        "encoder_block_out_channels": (64,) * 4, "decoder_block_out_channels": (64,) * 4, "layers_per_block": (1,) * 5,
        "latent_channels": 4,
    },
    "AutoencoderKLQwenImage": {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1},
    "AutoencoderKLQwenImage21": {
        "base_dim": 8, "decoder_base_dim": 8, "z_dim": 8, "num_res_blocks": 1, "dim_mult": [1, 1, 1, 2, 2],
    },
    "AutoencoderKLTemporalDecoder": {"block_out_channels": (64,) * 4, "layers_per_block": 1},
    "AutoencoderKLWan": {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1},
    "AutoencoderRAE": {
        "encoder_hidden_size": 64, "encoder_patch_size": 8, "encoder_num_hidden_layers": 1, "encoder_input_size": 32,
        "decoder_hidden_size": 32, "decoder_intermediate_size": 32, "decoder_num_attention_heads": 2,
        "decoder_num_hidden_layers": 1,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4, "latent_channels": 4,
    },
    "AutoencoderVidTok": {"ch": 8, "ch_mult": (1, 1, 2, 2), "num_res_blocks": 1},
    "ConsistencyDecoderVAE": {
        "encoder_block_out_channels": (8,) * 4, "encoder_norm_num_groups": 4, "encoder_layers_per_block": 1,
        "decoder_block_out_channels": (8,) * 4, "decoder_norm_num_groups": 4, "decoder_layers_per_block": 1,
    },
    "Kandinsky6SRVAE": {
        "latent_channels": 8, "encoder_block_out_channels": (16, 16, 16, 32, 32), "layers_per_block": 1,
        "decoder_block_out_channels": (16, 16, 32, 32, 32),
    },
    "ltx-0.9.5": {
        "latent_channels": 16, "block_out_channels": (8, 8, 16, 16, 16), "decoder_block_out_channels": (8, 16, 32),
        "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 4,
    },
    "wan-2.2": {"base_dim": 8, "decoder_base_dim": 8, "z_dim": 8, "num_res_blocks": 1},
    "lightvae-w2.2": {"base_dim": 8, "decoder_base_dim": 8, "z_dim": 8, "num_res_blocks": 1},
    "lightvae-w2.2-half": {"base_dim": 8, "decoder_base_dim": 8, "z_dim": 8, "num_res_blocks": 1},
    "taeltx2.3-wide": {"widths": (64,) * 4},
    "cvbench.models.beyond:TAEHV": {"widths": (16, 16, 8, 8)},
    "cvbench.models.taesd:TAESD": {"widths": (8,) * 3},
    "taesana": {"widths": (8,) * 5},
    "flux2-small-decoder": {
        "block_out_channels": (8, 8, 16, 16), "decoder_block_out_channels": (8, 8, 8, 16), "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    "ltx-2.3": {
        "latent_channels": 16, "block_out_channels": (8, 16, 32, 32), "decoder_block_out_channels": (8, 16, 16, 32),
        "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5,
    },
    "cvbench.models.tokenizers:Cosmos": {"channels": 32},
    "cvbench.models.tokenizers:OpenMagvit2": {"channels": 32, "bits": 10, "blocks": 1},
    "cvbench.models.tokenizers:TiTok": {
        "encoder": "small", "decoder": "small", "tokens": 24, "codes": 256, "side": 64, "blocks": 1, "hidden": 32,
    },
    "cvbench.models.omnitokenizer:OmniTokenizer": {"width": 64, "heads": 2, "window": 4, "codes": 256},
    "cvbench.models.beyond:LeanVAE": {"embedding_dim": 32, "l_dim": 8, "h_dim": 24},
    "cvbench.models.beyond:WFVAE": {
        "base_channels": 32, "encoder_energy_flow_hidden_size": 32, "decoder_energy_flow_hidden_size": 64,
    },
    "cvbench.models.cvvae:CVVAE": {"channels": 8, "groups": 4},
    "cvbench.models.osp:OpenSoraPlan": {"hidden_size": 32},
    "cvbench.models.tats:TATS": {"n_hiddens": 8, "embedding_dim": 32, "n_codes": 256},
    "cvbench.models.vqgan:VQGAN": {"channels": 32, "latent": 32, "codes": 512},
}  # fmt: skip
F16 = {"block_out_channels": (8, 8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 8}
SMALL |= dict.fromkeys(("va-vae", "repa-e-invae", "repa-e-vavae", "e2e-invae", "e2e-vavae"), F16)


def _taught(by: str, **layout: Any) -> dict[str, Any]:
    return {"widths": (16,) * 4, "blocks": (1,) * 5, "teacher": {"_class_name": by, **SMALL[by]}, **layout}


SMALL |= {
    "turbo-vaed-hunyuan": _taught("AutoencoderKLHunyuanVideo", channels=4),
    "turbo-vaed-cogvideox": _taught("AutoencoderKLCogVideoX", channels=4),
    "turbo-vaed-ltx": _taught("AutoencoderKLLTXVideo", channels=16),
    "ltx-2.5-diffusion": {
        "teacher": {**models.MODELS["ltx-2.3"].config, **SMALL["ltx-2.3"]},
        "latent_channels": 16,
        "decoder_head_dim": 8,
        "decoder_stage_channels": (32, 16, 8, 8, 8),
        "decoder_stage_depths": (1,) * 5,
        "decoder_stage_kernels": ((3, 3, 3),) * 4,
        "decoder_t_emb_dim": 16,
        "decoder_upsample_channel_reductions": (2, 2, 1, 1),
        "decoder_stage5_kernel": (3, 3, 3),
    },
}
"""Few channels: by entry, by class of diffusers, or by adapter, the first that is there."""
RIFE = {
    "v4.26": rife.Layout((16, 8), multiple=16, head=(4, 4), carried=2, new_mask=True),
    "m": rife.Layout((16, 8, 8), paper=True),
    "eccv2022": rife.Layout((16, 8, 8), timed=False, paper=True),
}
"""Layouts of the names that entries have, which are no options of theirs."""


def small_options(name: str) -> dict[str, Any]:
    """Options of an entry with few channels."""
    entry = models.MODELS[name]
    keys = (name, entry.config.get("_class_name"), entry.build)
    return {**entry.config, **entry.options, **next((SMALL[key] for key in keys if key in SMALL), {})}


def small(name: str, **settings: Any) -> Any:
    """Build an entry as the harness does: with the weights that ship with the package, else few channels at random."""
    entry = models.MODELS[name]
    shipped = entry.source is not None and entry.source.bundled
    path = weights.path_of(name, entry.source) if entry.source and shipped else settings.pop("path", None)
    options = {**(entry.options if shipped else small_options(name)), **settings.pop("options", {})}
    loading = Loading(**{"device": torch.device("cpu"), "dtype": torch.float32, **settings, "path": path})
    with mock.patch.dict(rife.LAYOUTS, RIFE):
        model = models.build(entry, replace(loading, options=options))
    if name == "allegro":  # whose tiles of 24×320×320 cannot be made small by its config
        model.net.kernel, model.net.stride = (24, 32, 32), (16, 16, 24)
    return model
