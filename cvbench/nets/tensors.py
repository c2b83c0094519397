"""The shapes of pixels in flight, and what a model must be able to do."""

from typing import Any, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor

Video = Float[Tensor, "3 t h w"]
"""One clip, RGB in [0, 1]."""
Videos = Float[Tensor, "b 3 t h w"]
"""Clips of one size, RGB in [0, 1]."""
Latents: TypeAlias = Shaped[Tensor, "b ..."] | list[bytes]
"""Continuous latents or code indices; a codec gives one byte string a clip, whose length is its bits."""


class Windows(list[Any]):
    """Latents of clips that were coded in runs of frames, those of each run after another."""


@runtime_checkable
class VideoVAE(Protocol):
    """Any object with these two methods is a model.

    It may also have `traits` (a `cvbench.core.types.Traits`) and `params` (encoder, decoder parameter counts).
    The harness hands over float32 in [0, 1] on the run's device, padded to the frame rule and multiple of
    `traits`; the adapter converts to what its network wants and back.
    """

    def encode(self, videos: Videos) -> Latents:
        """Code clips."""
        ...

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips of `frames` frames."""
        ...
