"""The short loop in which pixels meet the model: pad, encode, decode, crop, check, clamp, with one seed a clip."""

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Shaped, UInt8
from torch import Tensor

from cvbench.core.errors import BadOutput, BadRange, CvbenchError
from cvbench.core.types import FloatPixels, Pixels, Traits
from cvbench.engine.clock import MODEL, stage
from cvbench.nets.arithmetic import arithmetic
from cvbench.nets.fetching import Row, fetch, is_queued
from cvbench.nets.tensors import Latents, Video, Videos, Windows

FAR = 0.5  # an output mostly this far outside [0, 1] has the wrong range, not an overshoot
LIKELY = 0.25  # share of the error that must be left when an output is read as [-1, 1] to say that it is


@runtime_checkable
class Coder(Protocol):
    """What codes clips, as `cvbench.engine.subject.Subject` does."""

    @property
    def traits(self) -> Traits:
        """What must be known to feed it."""
        ...

    def encode(self, videos: Videos) -> Latents:
        """Code clips."""
        ...

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips of `frames` frames."""
        ...


Pixels8 = UInt8[Tensor, "*shape"]
"""Pixels at rest: 0 to 255, a quarter of the memory of those in flight."""
Batch = Videos | Pixels8
"""Clips of one size, in flight or at rest."""


class Coded(NamedTuple):
    """A clip's reconstruction on the target's frames, and the latents it was made from.

    It is uint8 where it was to be rounded to 8 bits, else float in [0, 1]. The latents are of all `clips` that were
    coded together, of which this is the one at `place`. `raw` is one that is not rounded, before it was cut to [0, 1];
    None where that cut nothing. `sight` is what it is still to be judged by, None once it was.
    """

    recon: Video | Pixels8
    latents: Any
    clips: int = 1
    place: int = 0
    raw: Video | None = None
    sight: Row | None = None


def at_rest(clips: Sequence[Pixels | FloatPixels], device: torch.device) -> Batch:
    """Stack clips of one size, uint8 or floats; a GPU fetches them by itself while what was queued before runs."""
    stacked = torch.from_numpy(np.stack(clips) if len(clips) != 1 else clips[0][None])
    return stacked.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else stacked


def in_flight(pixels: Float[Tensor, "*shape"] | Pixels8) -> Float[Tensor, "*shape"]:
    """Return pixels as float32 in [0, 1], contiguous: a layout moves the last digit of what is measured."""
    return (pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels).contiguous()


def to_videos(clips: Sequence[Pixels | FloatPixels], device: torch.device) -> Videos:
    """Stack clips of one size, from bytes or from floats, to float32 in [0, 1]."""
    return in_flight(at_rest(clips, device))


Padding = Literal["replicate", "black", "grey"]
PIECE, MULTIPLE = 8, 16
"""What black and grey padding bring clips to: 1 + 8k frames (black alone), and sides of a multiple of 16."""


class Padded(NamedTuple):
    """Clips with frames, rows and columns added, and where in them the clips lie."""

    videos: Videos
    place: tuple[slice, slice, slice]


def pad(videos: Videos, traits: Traits) -> Float[Tensor, "b 3 padded_t padded_h padded_w"]:
    """Repeat the last frame, column and row until the model's frame rule, multiple and least side are met."""
    t, h, w = videos.shape[2:]
    frames, height, width = padded_size((t, h, w), traits)
    more = (0, width - w, 0, height - h, 0, frames - t)
    return F.pad(videos, more, mode="replicate") if any(more) else videos


def padded_size(size: tuple[int, int, int], traits: Traits) -> tuple[int, int, int]:
    """Return the frames, height and width that clips are padded to."""
    frames, *sides = size
    multiple = traits.multiple or traits.spatial
    height, width = (-(-max(side, traits.least_side) // multiple) * multiple for side in sides)
    return traits.frame_rule.fit(frames), height, width


def quantize(videos: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Round to the nearest of 256 levels: the one place where reconstructions become 8-bit."""
    return (videos * 255).round_().div_(255)


def padded_as(videos: Videos, padding: Padding) -> Padded:
    """Pad by the protocol's field `padding`, half in front and, where it is odd, one more behind.

    black: frames repeated to 1 + 8k, sides in black to multiples of 16; grey: sides alone, in the middle of [0, 1].
    As Cosmos-Tokenizer's command line and SEED-Voken's script at original resolution do it.
    """
    _, _, t, h, w = videos.shape
    (top, bottom), (left, right) = (_halves(-side % MULTIPLE) for side in (h, w))
    front, behind = _halves(-(t - 1) % PIECE) if padding == "black" else (0, 0)
    longer = torch.cat([videos[:, :, :1].expand(-1, -1, front, -1, -1), videos], 2) if front else videos
    longer = torch.cat([longer, videos[:, :, -1:].expand(-1, -1, behind, -1, -1)], 2) if behind else longer
    value = 0.0 if padding == "black" else 0.5
    place = (slice(front, front + t), slice(top, top + h), slice(left, left + w))
    return Padded(F.pad(longer, (left, right, top, bottom), value=value), place)


def _halves(more: int) -> tuple[int, int]:
    return more // 2, more - more // 2


@dataclass(frozen=True)
class Feeding:
    """How a protocol feeds a model: `window` frames at a time (0: the clip whole), padded as `padding` says."""

    window: int = 0
    padding: Padding = "replicate"


def code(
    coder: Coder,
    targets: Videos | Pixels8,
    seeds: Sequence[int],
    feeding: Feeding = Feeding(),
    *,
    round8: bool = False,
    later: bool = False,
) -> list[Coded]:
    """Encode and decode clips of one size, each as if it were alone; `round8`: to 256 levels, given as uint8.

    A model that draws random numbers codes clip by clip, each from its own seed, so that neither the batch nor what
    was done before changes a number. The targets stay as they are, whatever a model does to its input.

    Raises BadOutput for reconstructions that are no picture of the target's size: of another shape, not finite,
    constant where the target is not; BadRange for another value range. With `later`, a device that works through a
    queue is not waited for: the caller raises the last three by `judge`, once more was queued.
    """
    once = partial(_coded, coder, feeding=feeding, round8=round8, later=later and is_queued(targets.device))
    if len(targets) > 1:
        together, drew = once(targets, seeds[0])
        if not drew:
            return together
    return [once(target[None], seed)[0][0] for target, seed in zip(targets, seeds, strict=True)]


def _coded(
    coder: Coder, targets: Videos | Pixels8, seed: int, feeding: Feeding, round8: bool, later: bool
) -> tuple[list[Coded], bool]:
    runs = torch.split(targets, feeding.window or targets.shape[2], dim=2)
    parts = [_run(coder, run, seed, feeding.padding) for run in runs]
    recons = parts[0][0] if len(parts) == 1 else torch.cat([recon for recon, _, _ in parts], 2)
    latents = parts[0][1] if len(parts) == 1 else Windows([latents for _, latents, _ in parts])
    drew = any(each for _, _, each in parts)
    del parts
    with stage("checks"):
        sights = [_sight(recon, target, later) for recon, target in zip(recons, targets, strict=True)]
        kept = [finished(recon, round8) for recon in recons]
    raws = [None if round8 or torch.equal(cut, raw) else raw for cut, raw in zip(kept, recons, strict=True)]
    coded = [
        Coded(recon, latents, len(targets), place, raw, sight)
        for place, (recon, raw, sight) in enumerate(zip(kept, raws, sights, strict=True))
    ]
    return coded, drew


def _sight(recon: Video, target: Video | Pixels8, later: bool) -> Row | None:
    """Return what a reconstruction is to be judged by later, or judge it now."""
    if later:
        return fetch(seen(recon, target))
    check_output(recon, target)
    return None


def _run(coder: Coder, targets: Videos | Pixels8, seed: int, padding: Padding) -> tuple[Videos, Any, bool]:
    """Return what a model makes of a run of frames, not cut to [0, 1]; its latents; whether it drew at random."""
    outer = padded_as(in_flight(targets), padding) if padding != "replicate" else None
    fed = outer.videos if outer else targets
    t, h, w = fed.shape[2:]
    padded = (len(fed), 3, *padded_size((t, h, w), coder.traits))
    latents, encoding_drew = encoded(coder, _own_pixels(fed, coder.traits), seed)
    made, decoding_drew = decoded(coder, latents, padded[2], seed, targets.device)
    recons = cropped(made, padded, fed)
    return recons[(..., *outer.place)] if outer else recons, latents, encoding_drew or decoding_drew


def _own_pixels(targets: Videos | Pixels8, traits: Traits) -> Float[Tensor, "b 3 padded_t padded_h padded_w"]:
    """Return padded clips that belong to nobody else, in flight: a model may write into them, or keep them."""
    padded = pad(in_flight(targets), traits)
    return padded.clone() if padded.data_ptr() == targets.data_ptr() else padded


WINDOW = 1 << 24
"""Pixels that are converted at a time: a clip is never held in one more form than need be."""


def _windows(video: Shaped[Tensor, "3 t h w"]) -> Iterator[slice]:
    """Yield slices of frames of about WINDOW values."""
    frames = max(1, WINDOW // max(1, video[:, 0].numel()))
    for start in range(0, video.shape[1], frames):
        yield slice(start, start + frames)


def finished(recon: Video, round8: bool) -> Video | Pixels8:
    """Return what a model gave as it is measured: clamped and, with `round8`, rounded, in uint8.

    What the model gave is left as it is: it may be a buffer of its own.
    """
    if not round8:
        return recon.clamp(0, 1)
    levels = torch.empty(recon.shape, dtype=torch.uint8, device=recon.device)
    for window in _windows(recon):
        levels[:, window] = recon[:, window].clamp(0, 1).mul_(255).round_()
    return levels


def encoded(coder: Coder, padded: Videos, seed: int) -> tuple[Any, bool]:
    """Return the latents of padded clips, which are the model's from now, and whether random numbers were drawn."""
    with stage(MODEL), arithmetic(), seeded(seed, padded.device) as drew:
        latents = coder.encode(padded)
        return latents, drew()


def decoded(coder: Coder, latents: Any, frames: int, seed: int, device: torch.device) -> tuple[Any, bool]:
    """Return what a model makes of latents, unchecked, and whether random numbers were drawn."""
    with stage(MODEL), arithmetic(), seeded(seed, device) as drew:
        made = coder.decode(latents, frames)
        return made, drew()


def cropped(made: object, padded: Sequence[int], targets: Videos | Pixels8) -> Videos:
    """Return what was decoded on the targets' frames, rows and columns, float32. Raises BadOutput for other shapes."""
    if not isinstance(made, Tensor):
        raise BadOutput(f"decode gave a {type(made).__name__}, not a tensor (b, 3, t, h, w)")
    if tuple(made.shape) != tuple(padded):
        raise BadOutput(f"the model gave {tuple(made.shape)} for {tuple(padded)} (b, c, t, h, w)")
    if not made.is_floating_point():
        raise BadRange(f"the model gave {made.dtype} pixels; they are floats in [0, 1]")
    _, _, t, h, w = targets.shape
    return made[:, :, :t, :h, :w].to(targets.device, torch.float32)


def check_output(recon: Video, target: Video | Pixels8) -> None:
    """Raise BadOutput for an output that no average should contain, BadRange for one of another value range."""
    low, high = torch.stack(torch.aminmax(recon)).tolist()  # NaN and infinity are among these where they are anywhere
    if low >= 0 and high <= 1 and low < high:
        return
    judge(seen(recon, target).cpu().numpy())


def seen(recon: Video, target: Video | Pixels8) -> Float64[Tensor, " 9"]:
    """Return what `judge` asks of a reconstruction: extremes of both sides, the share far outside, `_errors`."""
    extremes = torch.stack([edge.double() for side in (recon, target) for edge in torch.aminmax(side)])
    outside = torch.zeros(1, dtype=torch.float64, device=recon.device)
    errors = torch.zeros(4, dtype=torch.float64, device=recon.device)
    for window in _windows(recon):
        part = recon[:, window]
        outside += ((part < -FAR) | (part > 1 + FAR)).sum()
        errors += _errors(part, in_flight(target[:, window]))
    return torch.cat([extremes, outside / recon.numel(), errors / recon.numel()])


def judge(sight: Float64[np.ndarray, " 9"]) -> None:
    """Raise what `check_output` raises, from what was seen of a reconstruction."""
    low, high, darkest, brightest, outside, as_said, as_signed, whole, squares = sight.tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BadOutput("the reconstruction contains NaN or infinity")
    if low == high and brightest > darkest:
        raise BadOutput(f"the reconstruction is constant ({high:.3g}) where the target is not")
    # it fits its target when it is read as [-1, 1], and does not as [0, 1]
    if low < 0 and as_signed < LIKELY * as_said and as_signed < LIKELY * (squares - whole * whole):
        raise BadRange("the reconstruction lies in [-1, 1], not in [0, 1]: decode must return (x + 1) / 2")
    if outside > 0.5:
        raise BadRange(f"{outside:.0%} of the reconstruction lies far outside [0, 1]: wrong value range?")


def _errors(recon: Video, target: Video) -> Float[Tensor, " 4"]:
    """Return the sums of squared errors of both readings, of the target and of its squares, in float64."""
    said = (recon.clamp(0, 1) - target).square_().sum(dtype=torch.float64)
    signed = (recon + 1).div_(2).sub_(target).square_().sum(dtype=torch.float64)
    whole = target.sum(dtype=torch.float64)
    return torch.stack([said, signed, whole, target.square().sum(dtype=torch.float64)])


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[Callable[[], bool]]:
    """Seed all random numbers within, and give the caller's back; what is yielded tells whether any were drawn.

    Of CPU, the device in use, NumPy's global and Python's own generators. No other device is touched.
    """
    generators = _generators(device)
    before = [generator.get_state() for generator in generators], np.random.get_state(), random.getstate()
    for generator in generators:
        generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)

    def drawn() -> bytes:
        _, keys, place, *_ = np.random.get_state()
        others = [np.asarray(keys).tobytes(), str(place).encode(), repr(random.getstate()).encode()]
        return b"".join([generator.get_state().numpy().tobytes() for generator in generators] + others)

    start = drawn()
    try:
        yield lambda: drawn() != start
    finally:
        for generator, state in zip(generators, before[0], strict=True):
            generator.set_state(state)
        np.random.set_state(before[1])
        random.setstate(before[2])


def _generators(device: torch.device) -> list[torch.Generator]:
    if device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


def describe(error: BaseException) -> str:
    """Return an error as one line for a record."""
    where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    text = " ".join(str(error).split())
    return where + (text[:2000] if isinstance(error, CvbenchError) else f"{type(error).__name__}: {text[:400]}")
