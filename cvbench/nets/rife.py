"""RIFE: frames between two frames, from intermediate optical flow estimated coarse to fine.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022
(megvii-research/ECCV2022-RIFE: layouts `eccv2022` and `m`), and its successors (hzwer/Practical-RIFE: `v4.*`).
Modules carry the names of the official checkpoints, without the prefix `module.`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.tensors import Videos
from cvbench.weights import fit

Images = Float[Tensor, "b 3 h w"]

FINEST = 64
"""Networks that know only the middle frame are asked for multiples of 1 / 64 at the finest: six halvings."""

INFERENCE_PARTS = re.compile(r"(block\d+|encode|contextnet|unet)\.")
"""What other parts a checkpoint has (block_tea, teacher, caltime) served training alone."""


@dataclass(frozen=True)
class Layout:
    """What tells the published networks apart.

    `widths` are the channels of the blocks, coarsest first; each works at twice the resolution of the one before,
    the last at full. Height and width are padded to `multiple`. `head` are the inner and outer channels of the
    per-frame features (0: none), `carried` the channels each block hands to the next. `new_mask`: a block replaces
    the mask of the one before instead of correcting it. `timed`: any timestep, not only the middle. `paper`: the
    plain PReLU blocks and the refinement of 2022.
    """

    widths: tuple[int, ...]
    multiple: int = 32
    head: tuple[int, int] = (0, 0)
    carried: int = 0
    new_mask: bool = False
    timed: bool = True
    paper: bool = False

    @property
    def scales(self) -> list[float]:
        """By how much each block shrinks the frames."""
        return [2.0**power for power in reversed(range(len(self.widths)))]

    def inputs(self, index: int) -> int:
        """Channels that block `index` sees: both frames and their features, time, then all that is known so far."""
        first = 2 * (3 + self.head[1]) + self.timed
        known = 1 + self.carried + 4 + (6 if self.paper else 0)
        return first + (known if index else 0)


LAYOUTS = {
    "eccv2022": Layout((240, 150, 90), timed=False, paper=True),
    "m": Layout((240, 150, 90), paper=True),
    "v4.6": Layout((192, 128, 96, 64)),
    "v4.17": Layout((192, 128, 96, 64), head=(32, 8), new_mask=True),
    "v4.25": Layout((192, 128, 96, 64, 32), 64, head=(16, 4), carried=8, new_mask=True),
    "v4.26": Layout((192, 128, 96, 64, 32), 64, head=(16, 4), carried=8, new_mask=True),
    "v4.26-heavy": Layout((192, 128, 96, 64, 32), 64, head=(16, 16), carried=8, new_mask=True),
}
"""v4.25 and v4.26 differ in weights only; v4.17's layout serves 4.13 to 4.20; the heavy one is also called 4.25."""


class Motion(NamedTuple):
    """What is known of the frame wanted: flow from it to each given frame (x, y; pixels), blend logits, features."""

    flow: Float[Tensor, "b 4 h w"]
    mask: Float[Tensor, "b 1 h w"]
    carried: Float[Tensor, "b c h w"]


def _resize(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample `image` where `flow` (b 2 h w: x, y in pixels) points; beyond the border its nearest pixel."""
    height, width = image.shape[-2:]
    flow = flow.float()  # half precision places points up to half a pixel off, and at 256 px gives NaN
    x = torch.linspace(-1, 1, width, device=flow.device) + flow[:, 0] * (2 / (width - 1))
    y = torch.linspace(-1, 1, height, device=flow.device)[:, None] + flow[:, 1] * (2 / (height - 1))
    points = torch.stack([x, y], -1)
    return F.grid_sample(image.float(), points, padding_mode="border", align_corners=True).to(image.dtype)


def _warp_both(sources: list[Tensor], flow: Tensor) -> list[Tensor]:
    return [_warp(sources[0], flow[:, :2]), _warp(sources[1], flow[:, 2:])]


def _pad(images: Tensor, multiple: int) -> Tensor:
    """Zeros to the right and below until both sides divide by `multiple`."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))


def _conv(inputs: int, outputs: int, stride: int = 1, paper: bool = True) -> nn.Sequential:
    activation = nn.PReLU(outputs) if paper else nn.LeakyReLU(0.2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), activation)


class ResidualConv(nn.Module):
    """A convolution whose output is weighted per channel before its input is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return F.leaky_relu(self.conv(x) * self.beta + x, 0.2)


class Block(nn.Module):
    """One estimate of motion at one scale: (b 4+1+carried h w), flow in full-resolution pixels."""

    def __init__(self, layout: Layout, index: int) -> None:
        super().__init__()
        width, self.scale, self.paper = layout.widths[index], layout.scales[index], layout.paper
        self.conv0 = nn.Sequential(
            _conv(layout.inputs(index), width // 2, 2, self.paper), _conv(width // 2, width, 2, self.paper)
        )
        self.convblock = nn.Sequential(*(_conv(width, width) if self.paper else ResidualConv(width) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, 1) if self.paper else self._shuffled(width, layout.carried)

    @staticmethod
    def _shuffled(width: int, carried: int) -> nn.Module:
        outputs = 5 + (carried or 1)  # layouts that carry nothing have a sixth channel all the same, unused
        return nn.Sequential(nn.ConvTranspose2d(width, 4 * outputs, 4, 2, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Take frames and what is known of the motion, all at full resolution."""
        x = self.conv0(_resize(x, 1 / self.scale))
        x = self.convblock(x) + x if self.paper else self.convblock(x)
        grow = 2 * self.scale if self.paper else self.scale  # the paper's lastconv undoes one of two halvings
        x = _resize(self.lastconv(x), grow)
        return torch.cat([x[:, :4] * grow, x[:, 4:]], 1)


class Head(nn.Module):
    """Features of one frame at its own size."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, inner, 3, 2, 1)
        self.cnn1 = nn.Conv2d(inner, inner, 3, 1, 1)
        self.cnn2 = nn.Conv2d(inner, inner, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(inner, outer, 4, 2, 1)

    def forward(self, frame: Tensor) -> Tensor:
        """(b 3 h w) -> (b outer h w)."""
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            frame = F.leaky_relu(layer(frame), 0.2)
        return cast(Tensor, self.cnn3(frame))


class ConvPair(nn.Module):
    """Two convolutions, the first halving height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(inputs, outputs, 2), _conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(b inputs h w) -> (b outputs h/2 w/2)."""
        return cast(Tensor, self.conv2(self.conv1(x)))


class Contextnet(nn.Module):
    """Features of a given frame at 1/2 to 1/16, warped to the frame wanted (2022 only)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvPair(3, 16), ConvPair(16, 32)
        self.conv3, self.conv4 = ConvPair(32, 64), ConvPair(64, 128)

    def forward(self, x: Tensor, flow: Tensor) -> list[Tensor]:
        """Finest first."""
        warped = []
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x, flow = layer(x), _resize(flow, 0.5) * 0.5
            warped.append(_warp(x, flow))
        return warped


class Unet(nn.Module):
    """What warping and blending left to correct (2022 only): values in [-1, 1] to add to the blend."""

    def __init__(self) -> None:
        super().__init__()
        self.down0, self.down1 = ConvPair(17, 32), ConvPair(64, 64)
        self.down2, self.down3 = ConvPair(128, 128), ConvPair(256, 256)
        self.up0, self.up1, self.up2, self.up3 = map(self._up, (512, 256, 128, 64), (128, 64, 32, 16))
        self.conv = nn.Conv2d(16, 3, 3, 1, 1)

    @staticmethod
    def _up(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.PReLU(outputs))

    def forward(self, x: Tensor, context0: list[Tensor], context1: list[Tensor]) -> Tensor:
        """Take frames, warped frames, mask and flow (b 17 h w) and both frames' context."""
        contexts = [torch.cat(level, 1) for level in zip(context0, context1, strict=True)]
        s0 = self.down0(x)
        s1 = self.down1(torch.cat([s0, contexts[0]], 1))
        s2 = self.down2(torch.cat([s1, contexts[1]], 1))
        s3 = self.down3(torch.cat([s2, contexts[2]], 1))
        x = self.up0(torch.cat([s3, contexts[3]], 1))
        for layer, skip in ((self.up1, s2), (self.up2, s1), (self.up3, s0)):
            x = layer(torch.cat([x, skip], 1))
        return 2 * torch.sigmoid(self.conv(x)) - 1


class RIFE(nn.Module):
    """Interpolates between two frames; see `interpolate` and `interpolate_clip`."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        for index in range(len(layout.widths)):
            self.add_module(f"block{index}", Block(layout, index))
        if layout.head[1]:
            self.encode = Head(*layout.head)
        if layout.paper:
            self.contextnet, self.unet = Contextnet(), Unet()

    def motion(self, frame0: Images, frame1: Images, timestep: float) -> Motion:
        """Estimate the motion at `timestep`, for frames whose sides divide by the layout's multiple."""
        sources = [torch.cat([f, self.encode(f)], 1) if self.layout.head[1] else f for f in (frame0, frame1)]
        time = torch.full_like(frame0[:, :1], timestep)
        seen = self._seen_by_paper if self.layout.paper else self._seen
        motion: Motion | None = None
        for index, scale in enumerate(self.layout.scales):
            block = self.get_submodule(f"block{index}")
            motion = self._update(motion, block(torch.cat(seen(sources, time, motion, scale), 1)))
        return cast(Motion, motion)

    def _seen(self, sources: list[Tensor], time: Tensor, motion: Motion | None, scale: float) -> list[Tensor]:
        """List a v4 block's input: frames and features, warped as soon as there is a flow to warp with."""
        if motion:
            sources = _warp_both(sources, motion.flow)
        pictures = [*(s[:, :3] for s in sources), *(s[:, 3:] for s in sources), time]
        return [*pictures, motion.mask, motion.carried, motion.flow / scale] if motion else pictures

    def _seen_by_paper(self, frames: list[Tensor], time: Tensor, motion: Motion | None, scale: float) -> list[Tensor]:
        """List a 2022 block's input: the frames as they are, then warped."""
        pictures = [*frames, time] if self.layout.timed else frames
        if motion is None:
            return pictures
        return [*pictures, *_warp_both(frames, motion.flow), motion.mask, motion.flow / scale]

    def _update(self, motion: Motion | None, estimate: Tensor) -> Motion:
        flow, mask, carried = estimate[:, :4], estimate[:, 4:5], estimate[:, 5 : 5 + self.layout.carried]
        if motion is None:
            return Motion(flow, mask, carried)
        return Motion(motion.flow + flow, mask if self.layout.new_mask else motion.mask + mask, carried)

    def forward(self, frame0: Images, frame1: Images, timestep: float) -> Images:
        """Return the frame at `timestep`, for frames whose sides divide by the layout's multiple."""
        motion = self.motion(frame0, frame1, timestep)
        warped0, warped1 = _warp_both([frame0, frame1], motion.flow)
        share = torch.sigmoid(motion.mask)
        blend = share * warped0 + (1 - share) * warped1
        if not self.layout.paper:
            return blend
        contexts = [self.contextnet(frame0, motion.flow[:, :2]), self.contextnet(frame1, motion.flow[:, 2:])]
        correction = self.unet(torch.cat([frame0, frame1, warped0, warped1, motion.mask, motion.flow], 1), *contexts)
        return cast(Tensor, blend + correction).clamp(0, 1)

    def _at(self, frame0: Images, frame1: Images, timestep: float) -> Images:
        """Like `forward`; a network without a timestep takes the middle of middles."""
        if self.layout.timed or timestep == 0.5:
            return cast(Tensor, self(frame0, frame1, timestep))
        middle = self(frame0, frame1, 0.5)
        if timestep < 0.5:
            return self._at(frame0, middle, 2 * timestep)
        return self._at(middle, frame1, 2 * timestep - 1)

    @torch.no_grad()
    def interpolate(self, frame0: Images, frame1: Images, timestep: float) -> Images:
        """Return the frame at `timestep` in (0, 1) between two frames in [0, 1], of one size that may be any.

        The frames are padded with zeros to the right and below, the result cropped, as the official scripts do.
        Raises UnsuitableInput for a timestep the network cannot reach: `eccv2022` halves, so it takes multiples
        of 1 / 64.
        """
        self._check(timestep)
        padded0, padded1 = (_pad(frame, self.layout.multiple) for frame in (frame0, frame1))
        height, width = frame0.shape[-2:]
        return self._at(padded0, padded1, timestep)[..., :height, :width]

    def _check(self, timestep: float) -> None:
        if not 0 < timestep < 1:
            raise UnsuitableInput(f"timestep {timestep} does not lie between the frames; give one in (0, 1)")
        if not (self.layout.timed or (timestep * FINEST).is_integer()):
            reach = f"this RIFE halves and cannot reach timestep {timestep}"
            raise UnsuitableInput(f"{reach}; take a multiple of 1/{FINEST}, or layout m or v4")


@torch.no_grad()
def interpolate_clip(net: RIFE, video: Videos, factor: int) -> Float[Tensor, "b 3 longer h w"]:
    """Put factor - 1 frames, evenly spaced, between neighbours: (b 3 t h w) -> (b 3 1+(t-1)*factor h w), [0, 1].

    The given frames stand in the result as they are: 25 frames become 97 at factor 4. Every pair is interpolated;
    unlike the official video script, nothing is skipped at scene cuts or in still passages.
    Raises UnsuitableInput for a factor below 1 and, if the network only halves, for one that is no power of two.
    """
    if factor < 1 or not (net.layout.timed or factor.bit_count() == 1):
        wanted = "at least 1" if net.layout.timed else "a power of two, as this RIFE only halves"
        raise UnsuitableInput(f"a clip cannot get {factor} times as many frames: the factor must be {wanted}")
    height, width = video.shape[-2:]
    padded = _pad(video, net.layout.multiple).unbind(2)
    frames = [padded[0]]
    for first, last in pairwise(padded):
        frames += [*_between(net, first, last, factor), last]
    return torch.stack(frames, 2)[..., :height, :width]


def _between(net: RIFE, first: Tensor, last: Tensor, factor: int) -> list[Tensor]:
    if net.layout.timed:
        return [net(first, last, step / factor) for step in range(1, factor)]
    if factor == 1:
        return []
    middle = net(first, last, 0.5)
    return [*_between(net, first, middle, factor // 2), middle, *_between(net, middle, last, factor // 2)]


def load(net: RIFE, checkpoint: Mapping[str, Tensor], where: str) -> None:
    """Load an official state dict, with or without `module.` before its names; `where` is its file, for errors.

    Parts that only training used (block_tea, teacher, caltime) are passed over. Raises BadWeights listing tensors
    that are missing, of another shape, or of a part that other layouts have and this one has not.
    """
    named = {name.removeprefix("module."): tensor for name, tensor in checkpoint.items()}
    kept = {name: tensor for name, tensor in named.items() if INFERENCE_PARTS.match(name)}
    net.load_state_dict(fit(kept, net.state_dict(), where))
