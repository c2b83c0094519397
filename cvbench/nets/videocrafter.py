"""VideoCrafter2's denoiser: diffusers' UNet3DConditionModel, one more embedding for frames a second, renamed keys."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Noisy = Float[Tensor, "b c t h w"]
PREFIX = "model.diffusion_model."
"""Before the denoiser's names in the official checkpoint; TEXT before those of its text encoder."""
TEXT = "cond_stage_model.model."
BLOCK = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""Parts of a residual block."""
WHOLE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "fps_embedding.0": "fps_embedding.linear_1",
    "fps_embedding.2": "fps_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "init_attn.0": "transformer_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
LEVELS = 4
PER_LEVEL = 2


class VideoCrafter2UNet(nn.Module):
    """Predicts the noise in latents of videos from time, frames a second and text.

    Both embeddings are of sinusoids, cosines first, and added. Heights and widths are multiples of 8. Reference:
    AILab-CVC/VideoCrafter, UNetModel of inference_t2v_512_v2.0.yaml.
    """

    def __init__(self, channels: int = 320, head: int = 64, context: int = 1024, latent: int = 4) -> None:
        from diffusers import UNet3DConditionModel
        from diffusers.models.embeddings import TimestepEmbedding, Timesteps

        super().__init__()
        widths = tuple(channels * factor for factor in (1, 2, 4, 4))
        self.net = UNet3DConditionModel(
            in_channels=latent, out_channels=latent, block_out_channels=widths, cross_attention_dim=context,
            attention_head_dim=head,
        )  # fmt: skip
        self.fps_embedding = TimestepEmbedding(channels, 4 * channels)
        self.sinusoids = Timesteps(channels, flip_sin_to_cos=True, downscale_freq_shift=0)

    def forward(
        self, x: Noisy, times: Int[Tensor, " b"], fps: Int[Tensor, " b"], text: Float[Tensor, "b l d"]
    ) -> Noisy:
        """Return the noise in x."""
        more = self.fps_embedding(self.sinusoids(fps).to(x.dtype))
        hook = self.net.time_embedding.register_forward_hook(lambda _module, _inputs, made: made + more)
        try:
            noise: Tensor = self.net(x, times, text).sample
        finally:
            hook.remove()
        return noise

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of `named`, as they are."""
        own = {key if key.startswith("fps_embedding.") else f"net.{key}": value for key, value in state.items()}
        self.load_state_dict(own, assign=True)

    def named(self) -> dict[str, Tensor]:
        """Return the tensors by the names of diffusers' class, the embedding of frames a second beside them."""
        return {key.removeprefix("net."): value for key, value in self.state_dict().items()}


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the official checkpoint's tensors of the denoiser, whether others are among them or not.

    Names of diffusers are left as they are, as folders of the converted network have them.
    """
    own = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)} or dict(state)
    if not any(key.startswith("input_blocks.") for key in own):
        return own
    return {new: _linear(new, value) for key, value in own.items() if (new := renamed(key, own))}


def _linear(name: str, value: Tensor) -> Tensor:
    """Take the last axis from the 1-wide convolutions around the first attention, linear layers in diffusers."""
    around = name.startswith(("transformer_in.proj_in.", "transformer_in.proj_out."))
    return value.flatten(1) if around and value.ndim == 3 else value


def renamed(key: str, state: Mapping[str, Any]) -> str:
    """Return diffusers' name of a tensor of the official denoiser, "" for what is none of its."""
    for old, new in WHOLE.items():
        if key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    place = re.fullmatch(r"(input_blocks|output_blocks|middle_block)\.(\d+)\.(?:(\d+)\.)?(.+)", key)
    if place is None:
        return ""
    part, number = place[1], int(place[2])
    if part == "middle_block":
        return _middle(number, key.removeprefix(f"middle_block.{number}."))
    return _block(part, number, int(place[3] or 0), place[4], state)


def _middle(number: int, rest: str) -> str:
    names = {0: "resnets.0", 1: "attentions.0", 2: "temp_attentions.0", 3: "resnets.1"}
    return (
        _residual("mid_block", names[number].partition(".")[2], rest)
        if number in (0, 3)
        else f"mid_block.{names[number]}.{rest}"
    )


def _block(part: str, number: int, place: int, rest: str, state: Mapping[str, Any]) -> str:
    """Name a tensor of a block that goes down or up: residual block, attentions, sampling."""
    per = PER_LEVEL + 1
    level, j = divmod(number - 1, per) if part == "input_blocks" else divmod(number, per)
    base = f"{'down' if part == 'input_blocks' else 'up'}_blocks.{level}"
    if rest.startswith("op."):
        return f"{base}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    if rest.startswith("conv.") and place > 0:
        return f"{base}.upsamplers.0.{rest}"
    if place == 0:
        return _residual(base, str(j), rest)
    return f"{base}.{'attentions' if place == 1 else 'temp_attentions'}.{j}.{rest}"


def _residual(base: str, j: str, rest: str) -> str:
    """Name a tensor of a residual block; its convolutions in time lie beside it."""
    if rest.startswith("temopral_conv."):
        return f"{base}.temp_convs.{j}.{rest.removeprefix('temopral_conv.')}"
    for old, new in BLOCK.items():
        if rest.startswith(f"{old}."):
            return f"{base}.resnets.{j}.{new}{rest.removeprefix(old)}"
    return ""


def text_encoder(state: Mapping[str, Tensor], heads: int = 0) -> Any:
    """Return OpenCLIP's text tower without its last block, as transformers' CLIPTextModel, with the tensors of `state`.

    Names of `state` are OpenCLIP's, with or without TEXT before them. Its last_hidden_state is what VideoCrafter2 and
    SD2.1 condition on. `heads` is width / 64 where it is not said.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    own = {k.removeprefix(TEXT): v for k, v in state.items() if k.startswith(TEXT)} or dict(state)
    vocabulary, width = own["token_embedding.weight"].shape
    blocks = 1 + max(int(k.split(".")[2]) for k in own if k.startswith("transformer.resblocks."))
    hidden = own["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=hidden, num_hidden_layers=blocks - 1,
        num_attention_heads=heads or width // 64, max_position_embeddings=len(own["positional_embedding"]),
        hidden_act="gelu", projection_dim=width, bos_token_id=0, eos_token_id=vocabulary - 1, pad_token_id=0,
    )  # fmt: skip
    model = CLIPTextModel(config).eval().requires_grad_(False)
    wanted = _text_state(own, blocks - 1)
    prefix = "text_model." if any(key.startswith("text_model.") for key in model.state_dict()) else ""
    held = {key: value for key, value in model.state_dict().items() if key.endswith("position_ids")}
    model.load_state_dict({**held, **{prefix + key: value for key, value in wanted.items()}})
    return model


def _text_state(own: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    made = {
        "embeddings.token_embedding.weight": own["token_embedding.weight"],
        "embeddings.position_embedding.weight": own["positional_embedding"],
        **{f"final_layer_norm.{kind}": own[f"ln_final.{kind}"] for kind in ("weight", "bias")},
    }
    names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    names["attn.out_proj"] = "self_attn.out_proj"
    for i in range(blocks):
        old, new = f"transformer.resblocks.{i}", f"encoder.layers.{i}"
        for kind in ("weight", "bias"):
            made |= {f"{new}.{theirs}.{kind}": own[f"{old}.{ours}.{kind}"] for ours, theirs in names.items()}
            parts = own[f"{old}.attn.in_proj_{kind}"].chunk(3)
            made |= {f"{new}.self_attn.{p}_proj.{kind}": v for p, v in zip("qkv", parts, strict=True)}
    return made


def rescale(times: Tensor | int) -> Tensor:
    """Return by how much VideoCrafter2 scales x0 at a time: from 1 to 0.7 over the first 400 of 1,000, then 0.7."""
    return torch.cat([torch.linspace(1, 0.7, 400, dtype=torch.float64), torch.full((600,), 0.7, dtype=torch.float64)])[
        times
    ]
