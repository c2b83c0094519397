"""CV-VAE: a video VAE that shares the latent space of an image VAE (arXiv 2405.20279), in its three published forms.

One `Form` describes them all, and smaller networks too. Tensor names are those of the published checkpoints, which
come in two dialects: LDM's (`down.0.block.1`) for v1 and full 3-D, diffusers' (`down_blocks.0.resnets.1`) for SD3.
Encoder and decoder are therefore plain lists of (official name, module) run in order.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from cvbench.core.errors import BadWeights, UnsuitableInput, UsageError

Pixels = Float[Tensor, "b 3 t h w"]
"""RGB in [-1, 1]."""
Latent = Float[Tensor, "b z k y x"]
Activation = Float[Tensor, "b c t h w"]
Changed = Float[Tensor, "b _ _ _ _"]
"""An activation of another width or size than what came in."""
Tokens = Float[Tensor, "b t n c"]
Run = Callable[[Tensor], Tensor]

LOGVAR = (-30.0, 20.0)


@dataclass(frozen=True)
class Form:
    """Widths and variant of a CV-VAE; the defaults are the published z4 network ("2D+3D").

    Level i has `channels * multipliers[i]` channels; every level but the last halves height and width, those in
    `time_levels` time as well. `window` is the number of frames coded at a time, after a first one shared with the
    window before. `half_3d` makes every second convolution of a residual block two-dimensional. `sd3` takes the
    SD3 variant's names and paddings. `temporal_attention` belongs to the decoder, and `post_quant` adds the image
    VAE's 1x1 convolution in front of it, which no published network has. `blocks` are those of an encoder level (the
    decoder has one more), `groups` and `eps` those of the group norms.

    Raises UsageError when the numbers do not fit together.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    latent_channels: int = 4
    blocks: int = 2
    groups: int = 32
    time_levels: tuple[int, ...] = (0, 2)
    half_3d: bool = True
    temporal_attention: bool = True
    sd3: bool = False
    post_quant: bool = False
    eps: float = 1e-5
    window: int = 16

    def __post_init__(self) -> None:
        if any(width % self.groups for width in self.widths):
            raise UsageError(f"CV-VAE widths {self.widths} do not divide into {self.groups} groups: change `groups`")
        if not set(self.time_levels) <= set(range(self.levels - 1)):
            raise UsageError(f"time_levels {self.time_levels}: only levels 0 to {self.levels - 2} reduce anything")
        if self.window % self.temporal:
            raise UsageError(f"window {self.window} is no multiple of the temporal compression {self.temporal}")
        if self.sd3 and self.temporal_attention:
            raise UsageError("the SD3 form has no temporal attention: pass temporal_attention=False")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the pixels down."""
        return tuple(self.channels * m for m in self.multipliers)

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.multipliers)

    @property
    def temporal(self) -> int:
        """Compression in time."""
        return int(2 ** len(self.time_levels))

    @property
    def spatial(self) -> int:
        """Compression in height and in width."""
        return int(2 ** (self.levels - 1))


Z4 = Form()
FULL_3D = Form(half_3d=False)
SD3 = Form(latent_channels=16, temporal_attention=False, sd3=True, eps=1e-6)


class NormSiLU(nn.GroupNorm):
    """Group norm, then SiLU. Statistics run over time too, so a longer window changes every frame of it."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__(form.groups, channels, form.eps)

    def forward(self, x: Activation) -> Activation:
        """Keep the shape."""
        return F.silu(super().forward(x))


class Conv(nn.Conv3d):
    """3x3x3 convolution; what `padding` does not fill with zeros is padded by repeating the edge.

    `repeat` is in `F.pad`'s order: left, right, top, bottom, earlier, later.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        repeat: tuple[int, ...] = (0,) * 6,
        padding: tuple[int, int, int] = (0, 0, 0),
        stride: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__(inputs, outputs, 3, stride, padding)
        self.repeat = repeat

    def forward(self, x: Activation) -> Changed:
        """Pad, then convolve."""
        return super().forward(F.pad(x, self.repeat, mode="replicate") if any(self.repeat) else x)


class FrameConv(nn.Conv2d):
    """2-D convolution of every frame by itself."""

    def forward(self, x: Activation) -> Changed:
        """Fold time into the batch and back."""
        frames = super().forward(rearrange(x, "b c t h w -> (b t) c h w"))
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(x))


class PointConv(nn.Conv2d):
    """1x1 convolution of tokens whose channels come last: LDM's attention stores its projections as convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tokens) -> Tokens:
        """Multiply each token."""
        return F.linear(x, self.weight.flatten(1), self.bias)


def causal(inputs: int, outputs: int, form: Form) -> Conv:
    """Encoder convolution: a frame sees itself and the two before."""
    if form.sd3:
        return Conv(inputs, outputs, repeat=(1, 1, 1, 1, 2, 0))
    return Conv(inputs, outputs, repeat=(0, 0, 0, 0, 2, 0), padding=(0, 1, 1))


def centred(inputs: int, outputs: int, form: Form) -> Conv:
    """Decoder convolution: a frame sees both neighbours."""
    return Conv(inputs, outputs, repeat=(1,) * 6) if form.sd3 else Conv(inputs, outputs, padding=(1, 1, 1))


Conv3 = Callable[[int, int, Form], Conv]


class ResBlock(nn.Module):
    """Two normalised convolutions and a shortcut, 1x1 where the width changes."""

    def __init__(self, inputs: int, outputs: int, conv: Conv3, form: Form) -> None:
        super().__init__()
        self.norm1 = NormSiLU(inputs, form)
        self.conv1 = conv(inputs, outputs, form)
        self.norm2 = NormSiLU(outputs, form)
        self.conv2 = FrameConv(outputs, outputs, 3, padding=1) if form.half_3d else conv(outputs, outputs, form)
        self.shortcut = "" if inputs == outputs else "conv_shortcut" if form.sd3 else "nin_shortcut"
        if self.shortcut:
            self.add_module(self.shortcut, (FrameConv if form.sd3 else nn.Conv3d)(inputs, outputs, 1))

    def forward(self, x: Activation) -> Changed:
        """Change the width only."""
        residual: Tensor = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return residual + (self.get_submodule(self.shortcut)(x) if self.shortcut else x)


class Downsample(nn.Module):
    """Halve height and width, and time where asked: frame 0 stays alone, then pairs."""

    def __init__(self, channels: int, time: bool, form: Form) -> None:
        super().__init__()
        # LDM pads one zero right and bottom; the SD3 variant repeats the edge on all sides, which shifts the grid.
        self.zeros = (0, 0, 0, 0) if form.sd3 else (0, 1, 0, 1)
        repeat = (1, 1, 1, 1, 2, 0) if form.sd3 else (0, 0, 0, 0, 2, 0)
        self.conv = Conv(channels, channels, repeat, stride=(2 if time else 1, 2, 2))

    def forward(self, x: Activation) -> Changed:
        """Reduce t, h, w to 1 + (t - 1) / 2 or t, h / 2, w / 2."""
        halved: Tensor = self.conv(F.pad(x, self.zeros))
        return halved


class Upsample(nn.Module):
    """Double height and width; where time doubles too, the convolution makes two frames of one and the first goes."""

    def __init__(self, channels: int, time: bool, form: Form) -> None:
        super().__init__()
        self.time = time
        repeat, padding = ((1,) * 6, (0, 0, 0)) if form.sd3 else ((0, 0, 0, 0, 1, 1), (0, 1, 1))
        self.conv = Conv(channels, channels * (2 if time else 1), repeat, padding)

    def forward(self, x: Activation) -> Changed:
        """Enlarge t, h, w to 2t - 1 or t, 2h, 2w."""
        x = self.conv(F.interpolate(x, scale_factor=(1.0, 2.0, 2.0)))
        return rearrange(x, "b (n c) t h w -> b c (t n) h w", n=2)[:, :, 1:] if self.time else x


def frame_attention(x: Activation, norm: nn.Module, q: nn.Module, k: nn.Module, v: nn.Module, out: nn.Module) -> Tokens:
    """Single-head attention among the pixels of each frame; this group norm, unlike the others, sees one frame.

    Frames stand where PyTorch has its heads, so one long clip does not overflow a kernel's batch.
    """
    frames = norm(rearrange(x, "b c t h w -> (b t) c h w"))
    tokens = rearrange(frames, "(b t) c h w -> b t (h w) c", b=len(x))
    mixed: Tensor = out(F.scaled_dot_product_attention(q(tokens), k(tokens), v(tokens)))
    return mixed


def pixels(tokens: Tokens, like: Activation) -> Activation:
    """Put tokens back into the shape of `like`."""
    return rearrange(tokens, "b t (h w) c -> b c t h w", h=like.shape[3])


class Attention(nn.Module):
    """Attention within frames, under LDM's names."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(form.groups, channels, form.eps)
        self.q, self.k, self.v, self.proj_out = (PointConv(channels, channels) for _ in range(4))

    def forward(self, x: Activation) -> Activation:
        """Keep the shape."""
        return x + pixels(frame_attention(x, self.norm, self.q, self.k, self.v, self.proj_out), x)


class TemporalAttention(Attention):
    """Attention within frames, then along time, and one residual around both: it can never be the image VAE's."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__(channels, form)
        self.norm_t = nn.LayerNorm(channels)
        self.q_t, self.k_t, self.v_t, self.proj_out_t = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Activation) -> Activation:
        """Keep the shape."""
        tokens = frame_attention(x, self.norm, self.q, self.k, self.v, self.proj_out)
        tokens = self.norm_t(rearrange(tokens, "b t n c -> b n t c"))
        mixed = F.scaled_dot_product_attention(self.q_t(tokens), self.k_t(tokens), self.v_t(tokens))
        return x + pixels(rearrange(self.proj_out_t(mixed), "b n t c -> b t n c"), x)


class SD3Attention(nn.Module):
    """Attention within frames, under diffusers' names."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(form.groups, channels, form.eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Activation) -> Activation:
        """Keep the shape."""
        return x + pixels(frame_attention(x, self.group_norm, self.to_q, self.to_k, self.to_v, self.to_out), x)


Stage = tuple[str, nn.Module]


def middle(width: int, conv: Conv3, attention: type[nn.Module], form: Form) -> Iterator[Stage]:
    """Yield the stages at the lowest resolution."""
    yield "mid.block_1", ResBlock(width, width, conv, form)
    yield "mid.attn_1", attention(width, form)
    yield "mid.block_2", ResBlock(width, width, conv, form)


def encoder_stages(form: Form) -> Iterator[Stage]:
    """Yield the encoder's modules in order, under LDM's names."""
    width = form.widths[0]
    yield "conv_in", causal(3, width, form)
    for level, outputs in enumerate(form.widths):
        for block in range(form.blocks):
            yield f"down.{level}.block.{block}", ResBlock(width, outputs, causal, form)
            width = outputs
        if level < form.levels - 1:
            yield f"down.{level}.downsample", Downsample(width, level in form.time_levels, form)
    yield from middle(width, causal, SD3Attention if form.sd3 else Attention, form)
    yield "norm_out", NormSiLU(width, form)
    yield "conv_out", causal(width, 2 * form.latent_channels, form)


def decoder_stages(form: Form) -> Iterator[Stage]:
    """Yield the decoder's modules in order, under LDM's names: level 3 comes first."""
    width = form.widths[-1]
    attention = SD3Attention if form.sd3 else TemporalAttention if form.temporal_attention else Attention
    yield "conv_in", centred(form.latent_channels, width, form)
    yield from middle(width, centred, attention, form)
    for level in reversed(range(form.levels)):
        for block in range(form.blocks + 1):
            yield f"up.{level}.block.{block}", ResBlock(width, form.widths[level], centred, form)
            width = form.widths[level]
        if level > 0:
            yield f"up.{level}.upsample", Upsample(width, level - 1 in form.time_levels, form)
    yield "norm_out", NormSiLU(width, form)
    yield "conv_out", centred(width, 3, form)


class Stages(nn.Module):
    """Modules run one after another, each registered under its dotted name."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        super().__init__()
        self.order: list[str] = []
        for path, module in stages:
            self._place(path, module)
            self.order.append(path)

    def _place(self, path: str, module: nn.Module) -> None:
        node: nn.Module = self
        *folders, name = path.split(".")
        for folder in folders:
            if not hasattr(node, folder):
                node.add_module(folder, nn.Module())
            node = node.get_submodule(folder)
        node.add_module(name, module)

    def forward(self, x: Activation) -> Changed:
        """Run them."""
        for path in self.order:
            x = self.get_submodule(path)(x)
        return x


def windowed(x: Activation, step: int, run: Run) -> Changed:
    """Run windows of 1 + step frames that share one frame; the shared frame's second copy is dropped."""
    starts = range(0, max(x.shape[2] - 1, 1), step)
    parts = [run(x[:, :, start : start + step + 1]) for start in starts]
    return torch.cat(parts[:1] + [part[:, :, 1:] for part in parts[1:]], dim=2)


def blend(before: Tensor, tile: Tensor, overlap: int, dim: int) -> Tensor:
    """Fade from the end of `before` to the beginning of `tile` along `dim`."""
    ramp = torch.arange(overlap, device=tile.device).view([-1] + [1] * (-1 - dim)) / overlap
    tail = before.narrow(dim, before.shape[dim] - overlap, overlap)
    head, rest = tile.tensor_split([overlap], dim)
    return torch.cat([((1 - ramp) * tail + ramp * head).to(tile.dtype), rest], dim)


def stitch(rows: list[list[Tensor]], overlap: int) -> Tensor:
    """Join tiles, fading over `overlap`: first from the tile above, then from the left, each as already faded.

    That order is the reference's, and decides the values where four tiles meet.
    """
    for i, row in enumerate(rows):
        for j in range(len(row)):
            row[j] = blend(rows[i - 1][j], row[j], overlap, -2) if i else row[j]
            row[j] = blend(row[j - 1], row[j], overlap, -1) if j else row[j]
    strips = [_join(row, overlap, -1) for row in rows]
    return _join(strips, overlap, -2)


def _join(tiles: list[Tensor], overlap: int, dim: int) -> Tensor:
    kept = [tile.narrow(dim, 0, tile.shape[dim] - overlap) for tile in tiles[:-1]]
    return torch.cat([*kept, tiles[-1]], dim)


@dataclass(frozen=True)
class Tiling:
    """Square tiles of `size` pixels that overlap by the fraction `overlap`; the defaults are the published ones.

    Raises UsageError when a tile's stride is not the same in pixels and in latents (`spatial` pixels each).
    """

    size: int = 576
    overlap: float = 0.2222

    def check(self, spatial: int) -> None:
        """Refuse a size and overlap that would tear the picture."""
        tile = self.size // spatial
        stride = round(tile * (1 - self.overlap)) * spatial
        strides = {round(self.size * (1 - self.overlap)), self.size - round(self.size * self.overlap)}
        strides |= {(tile - round(tile * self.overlap)) * spatial}
        if self.size % spatial or strides != {stride} or not 0 < stride <= self.size:
            raise UsageError(
                f"tiles of {self.size} pixels overlapping by {self.overlap} do not fall on multiples of {spatial}: "
                f"take a size that is one, and an overlap of k * {spatial} / size"
            )

    def run(self, run: Run, x: Activation, size: int, output: int) -> Changed:
        """Run tiles of side `size` that become tiles of side `output`, and blend them."""
        stride = round(size * (1 - self.overlap))
        tops, lefts = (range(0, max(length - size, 0) + stride, stride) for length in x.shape[3:])
        rows = [[run(x[..., i : i + size, j : j + size]) for j in lefts] for i in tops]
        return stitch(rows, round(output * self.overlap))


class CVVAE(nn.Module):
    """The network of one `Form`. `tiling` None codes frames of any size whole.

    Reference: AILab-CVC/CV-VAE, classes CVVAEModel and CVVAESD3Model.
    """

    def __init__(self, form: Form = Z4, tiling: Tiling | None = Tiling()) -> None:
        super().__init__()
        if tiling:
            tiling.check(form.spatial)
        self.form, self.tiling = form, tiling
        self.encoder = Stages(dialect(encoder_stages(form), form))
        self.decoder = Stages(dialect(decoder_stages(form), form))
        self.post_quant_conv = nn.Conv3d(form.latent_channels, form.latent_channels, 1) if form.post_quant else None

    def encode(self, x: Pixels) -> tuple[Latent, Latent]:
        """Return mean and log-variance of the posterior of 1 + k * temporal frames: 1 + k latent frames.

        Windows of 17 frames that share one are part of the method: group norm sees a window, never the whole clip.
        Raises UnsuitableInput for other lengths, and for sides that do not divide by `form.spatial`.
        """
        frames, *sides = x.shape[2:]
        if (frames - 1) % self.form.temporal or any(side % self.form.spatial for side in sides):
            raise UnsuitableInput(
                f"CV-VAE codes 1 + {self.form.temporal}k frames with sides that divide by {self.form.spatial}, "
                f"not {frames} frames of {' x '.join(map(str, sides))}: pad the clip"
            )
        mean, logvar = windowed(x, self.form.window, self._encode).chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR)

    def decode(self, z: Latent) -> Pixels:
        """Return 1 + k * temporal frames of 1 + k latent frames, in [-1, 1] up to the network's error."""
        if z.shape[1] != self.form.latent_channels:
            raise UnsuitableInput(f"this CV-VAE has {self.form.latent_channels} latent channels, not {z.shape[1]}")
        return windowed(z, self.form.window // self.form.temporal, self._decode)

    def _encode(self, x: Tensor) -> Tensor:
        return self._tiled(self.encoder, x, 1, self.form.spatial)

    def _decode(self, z: Tensor) -> Tensor:
        z = self.post_quant_conv(z) if self.post_quant_conv else z
        return self._tiled(self.decoder, z, self.form.spatial, 1)

    def _tiled(self, run: Run, x: Tensor, before: int, after: int) -> Tensor:
        if self.tiling is None:
            return run(x)
        return self.tiling.run(run, x, self.tiling.size // before, self.tiling.size // after)


DIFFUSERS = (
    (r"\b(down|up)\.(\d+)\.block\.", r"\1_blocks.\2.resnets."),
    (r"\b(down|up)\.(\d+)\.(down|up)sample\b", r"\1_blocks.\2.\3samplers.0"),
    (r"\bmid\.block_1\b", "mid_block.resnets.0"),
    (r"\bmid\.block_2\b", "mid_block.resnets.1"),
    (r"\bmid\.attn_1\b", "mid_block.attentions.0"),
    (r"\bnin_shortcut\b", "conv_shortcut"),
    (r"\bnorm_out\b", "conv_norm_out"),
    (r"attentions\.0\.norm\.", "attentions.0.group_norm."),
    (r"attentions\.0\.(q|k|v)\.", r"attentions.0.to_\1."),
    (r"attentions\.0\.(q|k|v)(uery|ey|alue)\.", r"attentions.0.to_\1."),  # as older diffusers files have it
    (r"attentions\.0\.proj_(out|attn)\.", "attentions.0.to_out.0."),
)
QUANT = {f"{conv}.{kind}" for conv in ("quant_conv", "post_quant_conv") for kind in ("weight", "bias")}
TEMPORAL = re.compile(r"_t\.(weight|bias)$")


def diffusers_name(name: str, levels: int) -> str:
    """Turn an LDM name into diffusers'; names that are diffusers' already stay."""
    name = re.sub(r"\bup\.(\d+)", lambda found: f"up.{levels - 1 - int(found[1])}", name)
    for pattern, replacement in DIFFUSERS:
        name = re.sub(pattern, replacement, name)
    return name


def dialect(stages: Iterable[Stage], form: Form) -> Iterator[Stage]:
    """Name the stages as the form's checkpoints do."""
    return ((diffusers_name(path, form.levels) if form.sd3 else path, module) for path, module in stages)


def inflate(image_state: Mapping[str, Tensor], net: CVVAE) -> dict[str, Tensor]:
    """Give the image VAE's weights (LDM's or diffusers' names) in `net`'s layout, to be loaded strictly.

    The newest tap of the encoder's convolutions and the middle tap of the decoder's hold the 2-D kernel, the others
    zero; convolutions that double time hold it twice. With `temporal_attention=False` and the image VAE's `eps`, a
    net in LDM's form then equals the image VAE at T = 1 (arXiv 2405.20279). Other forms do not: temporal
    attention, which no image VAE has, keeps `net`'s values, and the SD3 form pads and strides differently.

    `quant_conv` goes into the encoder's last convolution exactly. `post_quant_conv` is copied when the form has
    `post_quant`; otherwise it goes into the decoder's first one. That is exact but for the outermost latents, where
    the image VAE pads zeros after the bias and a folded network before it; norms and attention spread the difference
    over the picture, so measure equality with `post_quant`. Raises BadWeights for tensors missing, left over or of
    another shape.
    """
    targets = net.state_dict()
    names = {diffusers_name(name, net.form.levels): name for name in targets}
    source = {diffusers_name(name, net.form.levels): tensor for name, tensor in image_state.items()}
    _check_names({name for name in names if not TEMPORAL.search(name)}, set(source))
    source = _fold(source, keep_post_quant=net.form.post_quant)
    return {name: _inflated(name, source.get(key), targets[name]) for key, name in names.items()}


def _check_names(wanted: set[str], given: set[str]) -> None:
    given = given - (QUANT - wanted)  # these are folded
    if wrong := sorted(wanted ^ given):
        raise BadWeights(
            f"not this CV-VAE's image VAE: {len(wanted - given)} tensors are missing and {len(given - wanted)} left "
            f"over, the first {wrong[0]}; give the state dict of an AutoencoderKL with as many levels and blocks"
        )


def _fold(source: Mapping[str, Tensor], keep_post_quant: bool) -> dict[str, Tensor]:
    """Multiply the 1x1 convolutions around the latents into their neighbours, in float64."""
    folded = dict(source)
    if "quant_conv.weight" in source:
        weight, bias = _pop(folded, "quant_conv")
        inner, inner_bias = _pop(folded, "encoder.conv_out")
        folded["encoder.conv_out.weight"] = torch.einsum("oc,cihw->oihw", weight[..., 0, 0], inner)
        folded["encoder.conv_out.bias"] = weight[..., 0, 0] @ inner_bias + bias
    if "post_quant_conv.weight" in source and not keep_post_quant:
        weight, bias = _pop(folded, "post_quant_conv")
        outer, outer_bias = _pop(folded, "decoder.conv_in")
        folded["decoder.conv_in.weight"] = torch.einsum("oihw,ic->ochw", outer, weight[..., 0, 0])
        folded["decoder.conv_in.bias"] = torch.einsum("oihw,i->o", outer, bias) + outer_bias
    return folded


def _pop(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return state.pop(f"{name}.weight").double(), state.pop(f"{name}.bias").double()


def _inflated(name: str, tensor: Tensor | None, target: Tensor) -> Tensor:
    if tensor is None:  # temporal attention
        return target.clone()
    if "upsample" in name:
        tensor = torch.cat([tensor] * (len(target) // len(tensor)))
    if tensor.squeeze().shape == target.squeeze().shape:  # biases, 1x1 and per-frame kernels
        return tensor.reshape(target.shape).to(target)
    if target.ndim != 5 or tensor.shape != target[:, :, 0].shape:
        raise BadWeights(f"{name} is {tuple(target.shape)} here, but {tuple(tensor.shape)} in the image VAE")
    inflated = torch.zeros_like(target)
    inflated[:, :, -1 if name.startswith("encoder.") else target.shape[2] // 2] = tensor.to(target)
    return inflated
