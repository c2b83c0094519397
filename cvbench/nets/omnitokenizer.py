"""OmniTokenizer (Wang et al. 2024, arXiv 2406.09399): a transformer that codes pictures and clips by one codebook.

Names and shapes are those of the published files. Reference: FoundationVision/OmniTokenizer at 701b619.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.vqgan import nearest

Clips = Float[Tensor, "b 3 T H W"]
"""RGB in [-0.5, 0.5]."""
Tokens = Float[Tensor, "b t h w c"]
Rows = Float[Tensor, "n l c"]
Codes = Shaped[Tensor, "b ..."]
"""Indices (b, t, h, w), or means (b, c, t, h, w)."""
Grid = tuple[int, int, int, int]

KEEP = ("encoder.", "decoder.", "pre_vq_conv.", "post_vq_conv.", "codebook.embeddings")
"""The parts of a published checkpoint that code and decode; the rest is discriminators, LPIPS and averages."""
CONSTANT = "relative_position_index"
"""At the end of names of what follows from the window."""
PATCH, FRAMES = 8, 4
"""Sides of a patch, and frames of all but the first."""
SCALE = 8
"""Of the product of queries and keys at unit length."""


@dataclass(frozen=True)
class Layout:
    """`encoder` and `decoder` are the kinds of spatial blocks: t sees the whole frame, w windows of `window` patches.

    `alibi` subtracts from the temporal attention what the distance of two frames costs. The published code has it in
    its own attention only, and takes torch's from torch 2.1 on, which leaves it out.
    """

    width: int = 512
    heads: int = 8
    window: int = 8
    encoder: str = "ttww"
    decoder: str = "tttt"
    temporal: int = 4
    codes: int = 8192
    channels: int = 8
    vae: bool = False
    alibi: bool = False

    @property
    def multiple(self) -> int:
        """Of the sides of a picture."""
        return PATCH * self.window


class Norm(nn.Module):
    """Layer norm with a scale that is learned and a shift that is not."""

    beta: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.register_buffer("beta", torch.zeros(width))

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Normalize."""
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Unused(nn.Module):
    """A bias by place, in the published files of temporal attention, where nothing runs it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        first, second = (nn.Sequential(nn.Linear(n, width)) for n in (2, width))
        self.net = nn.Sequential(first, second, nn.Linear(width, heads))


class Attention(nn.Module):
    """Attention of queries and keys of unit length; keys and values are of what is not normalized before.

    `context_norm` is in the published files and nothing runs it.
    """

    def __init__(self, layout: Layout, temporal: bool) -> None:
        super().__init__()
        self.heads, width = layout.heads, layout.width
        if temporal:
            self.spatial_rel_pos_bias = Unused(width, layout.heads)
        self.norm, self.context_norm = Norm(width), Norm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.q_scale, self.k_scale = (nn.Parameter(torch.ones(width // layout.heads)) for _ in range(2))

    def forward(self, x: Rows, turn: Tensor | None = None, bias: Tensor | None = None) -> Rows:
        """Attend, rows for themselves; `turn` are angles (l, c / 2 heads) by place, `bias` is added to products."""
        parts = (self.to_q(self.norm(x)), *self.to_kv(x).chunk(2, dim=-1))
        q, k, v = (rearrange(part, "n l (h c) -> n h l c", h=self.heads) for part in parts)
        q, k = (part if turn is None else turned(part, turn) for part in (q, k))
        q, k = F.normalize(q, dim=-1) * self.q_scale, F.normalize(k, dim=-1) * self.k_scale
        seen = F.scaled_dot_product_attention(q, k, v, bias, scale=SCALE)
        y: Tensor = self.to_out(rearrange(seen, "n h l c -> n l (h c)"))
        return y


def turned(x: Float[Tensor, "n h l c"], turn: Float[Tensor, "l p"]) -> Float[Tensor, "n h l c"]:
    """Turn pairs of neighbouring channels by angles."""
    even, odd = x.float()[..., ::2], x.float()[..., 1::2]
    cosine, sine = turn.cos(), turn.sin()
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2).to(x.dtype)


def by_place(side: int, channels: int, device: torch.device) -> Float[Tensor, "l p"]:
    """Return the angle of each pair of channels at each place of a square: by its column, by its row, in turn."""
    speeds = 10000 ** (-torch.arange(0, channels, 4, device=device).float() / channels)
    places = torch.arange(side * side, device=device)
    angles = [torch.outer(place.float(), speeds) for place in (places % side, places // side)]
    return torch.stack(angles, dim=-1).flatten(1)


def by_distance(frames: int, heads: int, alibi: bool, like: Tensor) -> Float[Tensor, "h t t"]:
    """Return what keeps a frame from seeing later ones, and with `alibi` lets near ones count for more."""
    place = torch.arange(frames, device=like.device)
    ahead = place - place[:, None]
    slopes = 2.0 ** (-8 * torch.arange(1, heads + 1, device=like.device) / heads)
    costs = -slopes[:, None, None] * ahead.abs() * alibi
    return costs.masked_fill(ahead > 0, -torch.inf).to(like.dtype)


class WindowAttention(nn.Module):
    """Attention within windows, as in Swin without its shift, with a bias by the way from one patch to another."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        width, self.heads, self.side = layout.width, layout.heads, layout.window
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn((2 * self.side - 1) ** 2, self.heads))
        self.norm, self.qkv = Norm(width), nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "n h w c"]) -> Float[Tensor, "n h w c"]:
        """Attend."""
        count, high = len(x), x.shape[1] // self.side
        rows = rearrange(self.norm(x), "n (h p) (w q) c -> (n h w) (p q) c", p=self.side, q=self.side)
        q, k, v = rearrange(self.qkv(rows), "n l (s h c) -> s n h l c", s=3, h=self.heads)
        seen = self.proj(rearrange(F.scaled_dot_product_attention(q, k, v, self._bias()), "n h l c -> n l (h c)"))
        y: Tensor = rearrange(seen, "(n h w) (p q) c -> n (h p) (w q) c", n=count, h=high, p=self.side)
        return y

    def _bias(self) -> Float[Tensor, "h l l"]:
        place = torch.arange(self.side**2, device=self.relative_position_bias_table.device)
        down, right = (part[:, None] - part + self.side - 1 for part in (place // self.side, place % self.side))
        return self.relative_position_bias_table[down * (2 * self.side - 1) + right].movedim(-1, 0)


class FeedForward(nn.Sequential):
    """Two layers, one half of the first switching the other."""

    def __init__(self, width: int) -> None:
        inner = int(4 * (2 / 3) * width)
        first, second = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)
        super().__init__(nn.LayerNorm(width), first, nn.Identity(), nn.Identity(), second)

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Compute."""
        norm, first, _, _, second = self
        values, gate = first(norm(x)).chunk(2, dim=-1)
        y: Tensor = second(values * F.gelu(gate))
        return y


class Nearby(nn.Module):
    """Position: each channel of a token and its neighbours, of time the two before; the reference's PEG."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dsconv = nn.Conv3d(width, width, 3, groups=width)

    def forward(self, x: Tokens) -> Tokens:
        """Convolve."""
        y: Tensor = self.dsconv(F.pad(x.movedim(-1, 1), (1, 1, 1, 1, 2, 0)))
        return y.movedim(1, -1)


def block(layout: Layout, kind: str, temporal: bool = False) -> nn.ModuleDict:
    """Return the parts of a block, by the numbers that they have in files."""
    feed = {"3": FeedForward(layout.width)}
    if kind == "w":
        return nn.ModuleDict({"1": WindowAttention(layout), **feed})
    return nn.ModuleDict({"0": Nearby(layout.width), "1": Attention(layout, temporal), **feed})


class Spatial(nn.Module):
    """Blocks over the patches of each frame."""

    def __init__(self, layout: Layout, kinds: str) -> None:
        super().__init__()
        self.channels = layout.width // layout.heads
        self.layers, self.norm_out = nn.ModuleList(block(layout, kind) for kind in kinds), Norm(layout.width)

    def forward(self, x: Tokens) -> Tokens:
        """Run all."""
        turn = by_place(x.shape[2], self.channels, x.device)
        for layer in self.layers:
            parts: nn.ModuleDict = layer  # type: ignore[assignment]
            if "0" in parts:
                x = x + parts["0"](x)
                seen = parts["1"](rearrange(x, "b t h w c -> (b t) (h w) c"), turn)
            else:
                seen = parts["1"](x.flatten(0, 1))
            x = x + seen.reshape(x.shape)
            x = x + parts["3"](x)
        y: Tensor = self.norm_out(x)
        return y


class Temporal(nn.Module):
    """Blocks over the frames of each place, of which none sees later ones.

    Their positions are those of rows taken for frames, as in the reference: tokens (b h w, t) are read as (b, t, h, w).
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.heads, self.alibi = layout.heads, layout.alibi
        self.layers = nn.ModuleList(block(layout, "t", temporal=True) for _ in range(layout.temporal))
        self.norm_out = Norm(layout.width)

    def forward(self, x: Tokens) -> Tokens:
        """Run all."""
        batch, frames, height, width, _ = x.shape
        bias = by_distance(frames, self.heads, self.alibi, x)
        rows = rearrange(x, "b t h w c -> (b h w) t c")
        for layer in self.layers:
            parts: nn.ModuleDict = layer  # type: ignore[assignment]
            rows = rows + parts["0"](rows.reshape(x.shape)).reshape(rows.shape)
            rows = rows + parts["1"](rows, bias=bias)
            rows = rows + parts["3"](rows)
        y: Tensor = rearrange(self.norm_out(rows), "(b h w) t c -> b t h w c", b=batch, h=height, w=width)
        return y


class Encoder(nn.Module):
    """Pixels to tokens: of the first frame, and of each four after it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.to_patch_emb_first_frame, self.to_patch_emb = (
            nn.Sequential(nn.Identity(), nn.LayerNorm(n), nn.Linear(n, layout.width), nn.LayerNorm(layout.width))
            for n in (3 * PATCH**2, 3 * FRAMES * PATCH**2)
        )
        self.enc_spatial_transformer = Spatial(layout, layout.encoder)
        self.enc_temporal_transformer = Temporal(layout)

    def forward(self, x: Clips) -> Tokens:
        """Run."""
        parts = [self.to_patch_emb_first_frame(patches(x[:, :, :1], 1))]
        if x.shape[2] > 1:
            parts.append(self.to_patch_emb(patches(x[:, :, 1:], FRAMES)))
        y: Tensor = self.enc_temporal_transformer(self.enc_spatial_transformer(torch.cat(parts, dim=1)))
        return y


class Decoder(nn.Module):
    """Tokens to pixels."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.dec_temporal_transformer = Temporal(layout)
        self.dec_spatial_transformer = Spatial(layout, layout.decoder)
        self.to_pixels_first_frame, self.to_pixels = (
            nn.Sequential(nn.Linear(layout.width, n)) for n in (3 * PATCH**2, 3 * FRAMES * PATCH**2)
        )

    def forward(self, tokens: Tokens) -> Clips:
        """Run."""
        x = self.dec_spatial_transformer(self.dec_temporal_transformer(tokens))
        first = from_patches(self.to_pixels_first_frame(x[:, :1]), 1)
        return torch.cat([first, from_patches(self.to_pixels(x[:, 1:]), FRAMES)], dim=2)


def patches(x: Clips, frames: int) -> Tokens:
    """Flatten patches, the channel first."""
    return rearrange(x, "b c (t f) (h p) (w q) -> b t h w (c f p q)", f=frames, p=PATCH, q=PATCH)


def from_patches(x: Tokens, frames: int) -> Clips:
    """Undo `patches`."""
    return rearrange(x, "b t h w (c f p q) -> b c (t f) (h p) (w q)", c=3, f=frames, p=PATCH)


class Codebook(nn.Module):
    """Codes, whose lengths are as learned."""

    embeddings: Tensor

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", F.normalize(torch.randn(codes, channels), dim=1))


class OmniTokenizer(nn.Module):
    """Tokenizer of square pictures, and of clips of 1 + 4k frames: code indices, or means, and back."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.decoder = Encoder(layout), Decoder(layout)
        self.codebook = Codebook(layout.codes, layout.channels)
        outputs = layout.channels * (2 if layout.vae else 1)
        self.pre_vq_conv = nn.Sequential(nn.Identity(), nn.Linear(layout.width, outputs))
        self.post_vq_conv = nn.Sequential(nn.Identity(), nn.Linear(layout.channels, layout.width))

    def latents(self, x: Clips) -> Float[Tensor, "b c t h w"]:
        """Return what is coded: vectors of unit length, or means with the logarithms of variances behind them.

        Raises UnsuitableInput for frames that are not square.
        """
        height, width = x.shape[3:]
        if height != width or height % self.layout.multiple:
            raise UnsuitableInput(
                f"OmniTokenizer takes square frames whose sides are multiples of {self.layout.multiple} (its positions "
                f"are those of a square), got {height}x{width}; crop or resize"
            )
        z: Tensor = self.pre_vq_conv(self.encoder(x)).movedim(-1, 1)
        return z if self.layout.vae else F.normalize(z, dim=1)

    def encode(self, x: Clips) -> Codes:
        """Code clips."""
        z = self.latents(x)
        return z.chunk(2, dim=1)[0] if self.layout.vae else self._indices(z)

    def decode(self, codes: Codes) -> Clips:
        """Reconstruct; the output is not clamped."""
        z = codes.movedim(1, -1) if self.layout.vae else self.codebook.embeddings[codes]
        x: Tensor = self.decoder(self.post_vq_conv(z))
        return x

    def _indices(self, z: Float[Tensor, "b c t h w"]) -> Int[Tensor, "b t h w"]:
        return nearest(z.movedim(1, -1).flatten(0, 3), self.codebook.embeddings).reshape(len(z), *z.shape[2:])
