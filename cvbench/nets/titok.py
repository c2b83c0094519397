"""TiTok (Yu et al. 2024, arXiv 2406.07550): a picture of one size as a row of tokens.

Names and shapes are those of the published files. Reference: bytedance/1d-tokenizer at 942a96f.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.vqgan import VectorQuantizer

Images = Float[Tensor, "b 3 H W"]
"""RGB in [0, 1]."""
Tokens = Float[Tensor, "b _ c"]
Codes = Shaped[Tensor, "b ..."]
"""Indices (b, 1, n), or means (b, c, 1, n)."""

PATCH = 16
SIZES = {"small": (512, 8, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, blocks and heads."""
PIXEL_CODES, PIXEL_WIDTH = 1024, 256


@dataclass(frozen=True)
class Layout:
    """What the published files differ in: `kind` legacy has a decoder in two stages, vq codes, vae means."""

    kind: Literal["legacy", "vq", "vae"] = "legacy"
    encoder: str = "large"
    decoder: str = "large"
    tokens: int = 32
    codes: int = 4096
    channels: int = 12
    side: int = 256
    blocks: int = 0
    hidden: int = 128

    @property
    def grid(self) -> int:
        """Patches to a side."""
        return self.side // PATCH


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tokens) -> Tokens:
        """Add both residuals."""
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False)[0]
        y: Tensor = x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))
        return y


def learned(*shape: int) -> nn.Parameter:
    """Draw a parameter."""
    return nn.Parameter(shape[-1] ** -0.5 * torch.randn(shape))


class Transformer(nn.Module):
    """What encoder and decoder share: a class token, positions, and blocks between two norms."""

    def __init__(self, layout: Layout, size: str) -> None:
        super().__init__()
        width, blocks, heads = SIZES[size]
        self.class_embedding = learned(1, width)
        self.positional_embedding = learned(layout.grid**2 + 1, width)
        self.latent_token_positional_embedding = learned(layout.tokens, width)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Sequential(*(Block(width, heads) for _ in range(layout.blocks or blocks)))

    def run(self, patches: Tokens, tokens: Tokens) -> Tokens:
        """Run on class, patches and tokens, one after another."""
        patches = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        x = [patches + self.positional_embedding, tokens + self.latent_token_positional_embedding]
        y: Tensor = self.transformer(self.ln_pre(torch.cat(x, dim=1)))
        return y


class Encoder(Transformer):
    """A picture to one vector a token; the legacy networks mix up channels and tokens before the last layer."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.encoder)
        width = SIZES[layout.encoder][0]
        self.mixed = layout.kind == "legacy"
        self.patch_embed = nn.Conv2d(3, width, PATCH, PATCH)
        self.conv_out = nn.Conv2d(width, layout.channels * (2 if layout.kind == "vae" else 1), 1)

    def forward(self, x: Images, tokens: Float[Tensor, "n c"]) -> Float[Tensor, "b _ 1 n"]:
        """Return vectors."""
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        made = self.ln_post(self.run(patches, tokens.expand(len(x), -1, -1))[:, 1 + patches.shape[1] :])
        batch, count, width = made.shape
        made = made.reshape(batch, width, 1, count) if self.mixed else made.transpose(1, 2)[:, :, None]
        y: Tensor = self.conv_out(made)
        return y


class Decoder(Transformer):
    """Vectors to what a picture is made of: logits of pixel codes, or patches and a last layer."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.decoder)
        width = SIZES[layout.decoder][0]
        self.grid, self.tokens = layout.grid, layout.tokens
        self.mask_token = learned(1, 1, width)
        self.decoder_embed = nn.Linear(layout.channels, width)
        if layout.kind == "legacy":
            wide, codes = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, PIXEL_CODES, 1)
            self.ffn, self.conv_out = nn.Sequential(wide, nn.Tanh(), codes), None
        else:
            self.ffn = nn.Sequential(nn.Conv2d(width, 3 * PATCH**2, 1))
            self.conv_out = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, z: Float[Tensor, "b c 1 n"]) -> Float[Tensor, "b _ _ _"]:
        """Return logits of each patch, or pixels."""
        tokens = self.decoder_embed(z.squeeze(2).transpose(1, 2))
        made = self.run(self.mask_token.expand(len(z), self.grid**2, -1), tokens)[:, 1 : 1 + self.grid**2]
        y: Tensor = self.ffn(self.ln_post(made).transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        if self.conv_out is None:
            return y
        pixels: Tensor = self.conv_out(rearrange(y, "b (p q c) h w -> b c (h p) (w q)", p=PATCH, q=PATCH))
        return pixels


class PixelBlock(nn.Module):
    """Residual block; where the width changes its shortcut is of its result, as in the reference, not of its input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, inputs, eps=1e-6), nn.GroupNorm(32, outputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.nin_shortcut = nn.Conv2d(outputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """Add the residual."""
        y: Tensor = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return y + (self.nin_shortcut(y) if self.nin_shortcut else x)


class PixelDecoder(nn.Module):
    """MaskGIT's VQGAN decoder, of 16 pixels a code."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        widths = [hidden * m for m in (1, 1, 2, 2, 4)]
        self.conv_in = nn.Conv2d(PIXEL_WIDTH, widths[-1], 3, padding=1)
        self.mid = nn.Sequential(*(PixelBlock(widths[-1], widths[-1]) for _ in range(2)))
        self.up = nn.ModuleList()
        for level, (inputs, outputs) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True)):
            parts: dict[str, nn.Module] = {
                "block": nn.Sequential(PixelBlock(inputs, outputs), PixelBlock(outputs, outputs))
            }
            if level:
                parts["upsample_conv"] = nn.Conv2d(outputs, outputs, 3, padding=1)
            self.up.append(nn.ModuleDict(parts))
        self.norm_out, self.conv_out = nn.GroupNorm(32, hidden, eps=1e-6), nn.Conv2d(hidden, 3, 3, padding=1)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Images:
        """Return pixels, not clamped."""
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level["block"](x)  # type: ignore[index]
            if "upsample_conv" in level:  # type: ignore[operator]
                x = level["upsample_conv"](F.interpolate(x, scale_factor=2.0))  # type: ignore[index]
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class TiTok(nn.Module):
    """Tokenizer of pictures of one size in [0, 1]: a row of code indices, or of means, and back."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.latent_tokens = learned(layout.tokens, SIZES[layout.encoder][0])
        self.encoder, self.decoder = Encoder(layout), Decoder(layout)
        if layout.kind != "vae":
            rule = "cosine" if layout.kind == "legacy" else "nearest"
            self.quantize = VectorQuantizer(layout.codes, layout.channels, rule)
        if layout.kind == "legacy":
            self.pixel_quantize = VectorQuantizer(PIXEL_CODES, PIXEL_WIDTH)
            self.pixel_decoder = PixelDecoder(layout.hidden)

    def latents(self, x: Images) -> Float[Tensor, "b c 1 n"]:
        """Return what is coded, of means with their variance. Raises UnsuitableInput for another size."""
        if x.shape[2:] != (self.layout.side, self.layout.side):
            height, width = x.shape[2:]
            raise UnsuitableInput(
                f"TiTok was made for {self.layout.side}x{self.layout.side} and has no positions for {height}x{width}; "
                "resize"
            )
        z: Tensor = self.encoder(x, self.latent_tokens)
        return z

    def encode(self, x: Images) -> Codes:
        """Code pictures: indices, or of a VAE the means."""
        z = self.latents(x)
        return z.chunk(2, dim=1)[0] if self.layout.kind == "vae" else self.quantize.indices(z)

    def decode(self, codes: Codes) -> Images:
        """Reconstruct; the output is not clamped."""
        z = codes if self.layout.kind == "vae" else self.quantize.vectors(codes)
        made: Tensor = self.decoder(z)
        if self.layout.kind != "legacy":
            return made
        shares = made.softmax(1)
        pixels: Tensor = self.pixel_decoder(
            torch.einsum("b k h w, k c -> b c h w", shares, self.pixel_quantize.embedding.weight)
        )
        return pixels


Indices = Int[Tensor, "b 1 n"]
