"""The short loop in which pixels meet the model: pad, encode, decode, crop, check, clamp, with one seed a clip."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cvbench.core.errors import BadOutput, BadRange, CvbenchError
from cvbench.core.types import Pixels, Traits
from cvbench.engine.clock import MODEL, stage
from cvbench.nets.arithmetic import arithmetic
from cvbench.nets.tensors import Latents, Video, Videos

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


class Coded(NamedTuple):
    """A clip's reconstruction in [0, 1], not rounded, on the target's frames, and the latents it was made from.

    The latents are of all `clips` that were coded together, of which this is the one at `place`.
    """

    recon: Video
    latents: Any
    clips: int = 1
    place: int = 0


def to_videos(clips: Sequence[Pixels], device: torch.device) -> Videos:
    """Stack clips of one size, uint8 to float32 in [0, 1]."""
    return torch.from_numpy(np.stack(clips)).to(device).float() / 255


def pad(videos: Videos, traits: Traits) -> Float[Tensor, "b 3 padded_t padded_h padded_w"]:
    """Repeat the last frame, column and row until the model's frame rule, multiple and least side are met."""
    _, _, t, h, w = videos.shape
    multiple = traits.multiple or traits.spatial
    height, width = (-(-max(side, traits.least_side) // multiple) * multiple for side in (h, w))
    more = (0, width - w, 0, height - h, 0, traits.frame_rule.fit(t) - t)
    return F.pad(videos, more, mode="replicate") if any(more) else videos


def quantize(videos: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Round to the nearest of 256 levels: the one place where reconstructions become 8-bit."""
    return (videos * 255).round() / 255


def code(coder: Coder, targets: Videos, seeds: Sequence[int]) -> list[Coded]:
    """Encode and decode clips of one size, each as if it were alone.

    A model that draws random numbers codes clip by clip, each from its own seed, so that neither the batch nor what
    was done before changes a number. The targets stay as they are, whatever a model does to its input.

    Raises BadOutput for reconstructions that are no picture of the target's size: of another shape, not finite,
    constant where the target is not; BadRange for another value range.
    """
    if len(targets) > 1:
        together, drew = _coded(coder, targets, seeds[0])
        if not drew:
            return together
    return [_coded(coder, target[None], seed)[0][0] for target, seed in zip(targets, seeds, strict=True)]


def _coded(coder: Coder, targets: Videos, seed: int) -> tuple[list[Coded], bool]:
    padded = pad(targets, coder.traits)
    latents, encoding_drew = encoded(coder, padded, seed)
    made, decoding_drew = decoded(coder, latents, padded.shape[2], seed, targets.device)
    recons = cropped(made, padded.shape, targets)
    with stage("checks"):
        for recon, target in zip(recons, targets, strict=True):
            check_output(recon, target)
    coded = [Coded(recon.clamp(0, 1), latents, len(targets), place) for place, recon in enumerate(recons)]
    return coded, encoding_drew or decoding_drew


def encoded(coder: Coder, padded: Videos, seed: int) -> tuple[Any, bool]:
    """Return the latents of padded clips, and whether random numbers were drawn; the model gets pixels of its own."""
    with stage(MODEL), arithmetic(), seeded(seed, padded.device) as drew:
        latents = coder.encode(padded.clone())
        return latents, drew()


def decoded(coder: Coder, latents: Any, frames: int, seed: int, device: torch.device) -> tuple[Any, bool]:
    """Return what a model makes of latents, unchecked, and whether random numbers were drawn."""
    with stage(MODEL), arithmetic(), seeded(seed, device) as drew:
        made = coder.decode(latents, frames)
        return made, drew()


def cropped(made: object, padded: Sequence[int], targets: Videos) -> Videos:
    """Return what was decoded on the targets' frames, rows and columns, float32. Raises BadOutput for other shapes."""
    if not isinstance(made, Tensor):
        raise BadOutput(f"decode gave a {type(made).__name__}, not a tensor (b, 3, t, h, w)")
    if tuple(made.shape) != tuple(padded):
        raise BadOutput(f"the model gave {tuple(made.shape)} for {tuple(padded)} (b, c, t, h, w)")
    if not made.is_floating_point():
        raise BadRange(f"the model gave {made.dtype} pixels; they are floats in [0, 1]")
    _, _, t, h, w = targets.shape
    return made[:, :, :t, :h, :w].to(targets.device, torch.float32)


def check_output(recon: Video, target: Video) -> None:
    """Raise BadOutput for an output that no average should contain, BadRange for one of another value range."""
    if not torch.isfinite(recon).all():
        raise BadOutput("the reconstruction contains NaN or infinity")
    low, high = recon.amin(), recon.amax()
    if low == high and target.amax() > target.amin():
        raise BadOutput(f"the reconstruction is constant ({high:.3g}) where the target is not")
    if low < 0 and _is_signed(recon, target):
        raise BadRange("the reconstruction lies in [-1, 1], not in [0, 1]: decode must return (x + 1) / 2")
    if low < -FAR or high > 1 + FAR:
        outside = ((recon < -FAR) | (recon > 1 + FAR)).float().mean()
        if outside > 0.5:
            raise BadRange(f"{outside:.0%} of the reconstruction lies far outside [0, 1]: wrong value range?")


def _is_signed(recon: Video, target: Video) -> bool:
    """Tell whether an output fits its target when it is read as [-1, 1], and does not as [0, 1]."""
    as_said = (recon.clamp(0, 1) - target).square().mean()
    as_signed = ((recon + 1) / 2 - target).square().mean()
    return bool(as_signed < LIKELY * as_said and as_signed < LIKELY * target.var())


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
