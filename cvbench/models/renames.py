"""Names of tensors in the checkpoints of others, and as diffusers has them: rules, tried in their order."""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

WAN: Rules = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"coder\.conv1\.", "coder.conv_in."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.head\.0\.", ".norm_out."),
    (r"\.head\.2\.", ".conv_out."),
    (r"\.downsamples\.(\d+)\.downsamples\.2\.", r".down_blocks.\1.downsampler."),
    (r"\.upsamples\.(\d+)\.upsamples\.3\.", r".up_blocks.\1.upsampler."),
    (r"\.(down|up)samples\.(\d+)\.(?:down|up)samples\.(\d+)\.", r".\1_blocks.\2.resnets.\3."),
    (r"\.downsamples\.", ".down_blocks."),
    *((rf"\.upsamples\.{4 * i + 3}\.", f".up_blocks.{i}.upsamplers.0.") for i in range(3)),
    *((rf"\.upsamples\.{4 * i + j}\.", f".up_blocks.{i}.resnets.{j}.") for i in range(4) for j in range(3)),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)
"""Wan 2.1 and 2.2, whose own code names layers by their place."""

TINY: Rules = (
    (r"^encoder\.", "encoder.layers."),
    *((rf"^decoder\.{i}\.", f"decoder.layers.{i - 1}.") for i in range(1, 20)),
)
"""TAESD, whose files count the squashing of latents as a layer."""

COSMOS: Rules = (
    (r"\.mid\.block_([12])\.", lambda found: f".mid_block.resnets.{int(found[1]) - 1}."),
    (r"\.mid\.attn_1\.0\.", ".mid_block.attentions.0."),
    (r"\.mid\.attn_1\.1\.", ".mid_block.temp_attentions.0."),
    (r"\.(down|up)\.(\d+)\.block\.", r".\1_blocks.\2.resnets."),
    (r"\.(down|up)\.(\d+)\.(down|up)sample\.", r".\1_blocks.\2.\3samplers.0."),
    (r"\.([qkv])\.conv3d\.", r".to_\1."),
    (r"\.proj_out\.conv3d\.", ".to_out.0."),
    (r"\.0\.conv3d\.", ".conv_s."),
    (r"\.1\.conv3d\.", ".conv_t."),
    (r"\.nin_shortcut\.conv3d\.", ".conv_shortcut."),
    (r"\.conv3d\.", "."),
)
"""Cosmos of videos, but for the places of the decoder's levels, which diffusers counts as they run."""


def cosmos(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a Cosmos video tokenizer by diffusers' names, those that no layer uses left in."""
    levels = [int(found[1]) for name in state if (found := re.match(r"decoder\.up\.(\d+)\.", name))]

    def in_order(name: str) -> str:
        return re.sub(r"^decoder\.up\.(\d+)\.", lambda found: f"decoder.up.{max(levels) - int(found[1])}.", name)

    return renamed({in_order(name): tensor for name, tensor in state.items()}, COSMOS)


def renamed(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Return tensors by the names that rules make of theirs."""
    return {_renamed(name, rules): tensor for name, tensor in state.items()}


def _renamed(name: str, rules: Rules) -> str:
    for old, new in rules:
        name = re.sub(old, new, name)
    return name
