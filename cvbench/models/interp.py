"""Frame interpolation as a codec in time: some frames are kept as they are, the others made from their neighbours."""

from abc import ABC, abstractmethod
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadOutput
from cvbench.models.entry import Loading
from cvbench.models.floors import check_size
from cvbench.models.interp_entries import FACTOR, traits_at
from cvbench.models.precision import computes_in
from cvbench.nets import rife
from cvbench.nets.tensors import Latents, Videos

Frames = Float[Tensor, "b 3 h w"]
Between = Float[Tensor, "b 3 steps h w"]


class Interpolator(ABC):
    """Keeps every `factor`-th frame of 1 + factor · k and makes those between from the two around them.

    A kept frame comes back bit for bit. Every pair is interpolated: nothing is skipped at cuts or in still passages.
    """

    name: str
    params: tuple[int, int] = (0, 0)
    computes_in = "fp32"

    def __init__(self, factor: int = FACTOR) -> None:
        self.factor = factor
        self.traits = traits_at(factor)

    @abstractmethod
    def between(self, first: Frames, last: Frames) -> Between:
        """Return the factor - 1 frames, evenly spaced, between frames in [0, 1]; they lie in [0, 1] as well."""

    def encode(self, videos: Videos) -> Latents:
        """Keep frames 0, factor, 2 · factor, ...: (b, 3, 1 + factor · k, h, w) to (b, 3, 1 + k, h, w).

        Raises UnsuitableInput for clips of another length.
        """
        check_size(videos, self.traits, self.name)
        return videos[:, :, :: self.factor]

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Interpolate the others: (b, 3, 1 + k, h, w) to (b, 3, frames, h, w). Raises BadOutput unless that fits."""
        if not isinstance(latents, Tensor):
            raise BadOutput("latents are byte strings; give the frames that encode returned")
        held = 1 + (latents.shape[2] - 1) * self.factor
        if held != frames:
            raise BadOutput(f"the latents hold {held} frames, {frames} were asked for")
        kept = latents.unbind(2)
        parts = [torch.cat([first[:, :, None], self.between(first, last)], 2) for first, last in pairwise(kept)]
        return torch.cat([*parts, latents[:, :, -1:]], 2)


class Floor(Interpolator):
    """An interpolator without weights."""

    @classmethod
    def build(cls, loading: Loading) -> "Floor":
        """Build it as `models.build` does; options: `factor`."""
        return cls(**loading.options)


class Repeat(Floor):
    """Shows each kept frame until the next one: what a player does at the lower frame rate."""

    name = "interp-repeat"

    def between(self, first: Frames, last: Frames) -> Between:
        """Return the first frame over and over."""
        return first[:, :, None].expand(-1, -1, self.factor - 1, -1, -1)


class Linear(Floor):
    """Fades from each kept frame to the next; equal pixels stay exactly as they are."""

    name = "interp-linear"

    def between(self, first: Frames, last: Frames) -> Between:
        """Return (1 - s) · first + s · last for s = 1 / factor, 2 / factor, ..."""
        steps = torch.arange(1, self.factor, device=first.device) / self.factor
        return torch.lerp(first[:, :, None], last[:, :, None], steps.to(first.dtype)[:, None, None])


class Rife(Interpolator):
    """RIFE between each kept frame and the next, by timestep or, where the network has none, by middles of middles.

    A network without posterior or tiles: those of the protocol do not change it; frames are padded with zeros to what
    it divides by and the result is cropped. Weights: the official archives, of which the pickle of tensors is read and
    none of the code, or that file, or the same tensors as .safetensors. Reference: hzwer/Practical-RIFE and
    megvii-research/ECCV2022-RIFE (arXiv 2011.06294).
    """

    def __init__(self, loading: Loading) -> None:
        super().__init__(loading.options["factor"])
        layout = loading.options["layout"]
        self.name = f"RIFE {layout}"
        self.net = weights.network(
            partial(rife.RIFE, rife.LAYOUTS[layout]), None, "",
            seed=loading.seed, device=loading.device, dtype=loading.dtype,
        )  # fmt: skip
        if loading.path:
            file = weights.weights_file(loading.path)
            rife.load(self.net, weights.read_tensors(file), str(file))
        self.dtype = loading.dtype
        self.params = (0, weights.count(self.net))
        self.computes_in = computes_in(self.net, self.dtype)

    def between(self, first: Frames, last: Frames) -> Between:
        """Interpolate one pair."""
        pair = torch.stack([first, last], 2).to(self.dtype)
        return rife.interpolate_clip(self.net, pair, self.factor)[:, :, 1:-1].to(first.dtype).clamp(0, 1)
