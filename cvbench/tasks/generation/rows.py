"""A row at work: one VAE that decodes a generator's latents, in the way that the row says."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cvbench.core.digest import digest
from cvbench.core.errors import BadOutput, UnsuitableInput
from cvbench.core.types import Traits
from cvbench.engine.coding import check_output, decoded, quantize
from cvbench.engine.ranks import current
from cvbench.engine.subject import Subject
from cvbench.generators import Row
from cvbench.generators.spaces import scaled
from cvbench.nets.tensors import Video

Latent = Float[Tensor, "c latent_t latent_h latent_w"]
BaseVideo = Float[Tensor, "3 base_t base_h base_w"]
"""What the base VAE made of the same latents: of other rows there may be more frames."""
VERSION = 2
"""Raise it when what is made of latents changes."""


def frames_of(traits: Traits, latents: int) -> int:
    """Return the frames that a VAE makes of so many latent frames, decoded together."""
    return traits.frame_rule.fit(1) + (latents - 1) * traits.temporal


def positions(frames: int, base: int) -> list[int]:
    """Return where the `base` frames of another clip of the same duration lie among `frames`.

    The first and last frames of both are the same moments: 97 frames hold those of 25 at 0, 4, …, 96. Raises
    UnsuitableInput where there is no such step.
    """
    if frames == base:
        return list(range(frames))
    if base < 2 or frames < base or (frames - 1) % (base - 1):
        raise UnsuitableInput(f"its {frames} frames have none at the positions of the base VAE's {base}")
    return list(range(0, frames, (frames - 1) // (base - 1)))


def seed_of(latents: str) -> int:
    """Return the seed of a row that draws random numbers, by the SHA-256 of the latents that it decodes."""
    return int(latents[:8], 16)


@dataclass
class Decoder:
    """A row and the models it needs: `subject` decodes, `base` is the generator's own VAE."""

    row: Row
    subject: Subject
    base: Subject

    @property
    def name(self) -> str:
        """The row's name."""
        return self.row.name

    @property
    def is_base(self) -> bool:
        """True where the generator's own VAE decodes as the generator does."""
        return not self.row.vae and self.row.decode == "together"

    @property
    def of_base(self) -> "Decoder":
        """The row of the generator's own VAE."""
        return Decoder(Row(self.row.generator, self.row.generator), self.base, self.base)

    @property
    def space(self) -> str:
        """The space of latents that the VAE wants."""
        return self.row.space or self.subject.latents

    @property
    def digest(self) -> str:
        """What stands for the row, without asking its models what they do."""
        models = [subject.facts.digest for subject in (self.subject, self.base)]
        return digest([models, self.row.decode, self.space, VERSION])

    def key(self, shape: tuple[int, int, int]) -> str | None:
        """Return what stands for all that decides the frames made of latents, None for a model without a key."""
        if not current().computes:
            return self.digest
        keys = [subject.key(shape) for subject in (self.subject, self.base)]
        return None if None in keys else digest([keys, self.row.decode, self.space, VERSION])

    def frames(self, latents: int) -> int:
        """Return how many frames it makes of so many latent frames."""
        if self.row.decode == "after":
            return 1 + (frames_of(self.base.traits, latents) - 1) * self.subject.traits.temporal
        if self.row.decode == "each":
            return latents * self.subject.traits.frame_rule.fit(1)
        return frames_of(self.subject.traits, latents)

    def decode(self, latents: Latent, base: BaseVideo | None, seed: int) -> Video:
        """Return the frames, not rounded, in [0, 1]; `base` are the base VAE's where they are there.

        Raises BadOutput for what is no clip of the base's size, and what the model raises.
        """
        if self.row.decode == "after":
            if base is None:
                raise UnsuitableInput("interpolates the base VAE's frames, of which there are none")
            return self._decoded([quantize(base)[None]], seed, base)
        whole = latents[None]
        if self.space == "scaled":
            whole = scaled(whole.float(), self.base.model)
        whole = whole.to(getattr(self.subject.model, "dtype", torch.float32))
        each = self.row.decode == "each"
        return self._decoded([whole[:, :, t : t + 1] for t in range(whole.shape[2])] if each else [whole], seed, base)

    def _decoded(self, parts: Sequence[Tensor], seed: int, base: BaseVideo | None) -> Video:
        made = [self._part(part, seed) for part in parts]
        video = torch.cat(made, 1)
        if base is not None:
            if video.shape[-2:] != base.shape[-2:]:
                raise BadOutput(f"it makes {_size(video)} of latents of which the base VAE makes {_size(base)}")
            check_output(video, base if video.shape == base.shape else video)
        if not torch.isfinite(video).all():
            raise BadOutput("what was decoded contains NaN or infinity")
        return video.clamp(0, 1)

    def _part(self, part: Tensor, seed: int) -> Video:
        frames = frames_of(self.subject.traits, part.shape[2])
        made, _ = decoded(self.subject, part, frames, seed, part.device)
        if not isinstance(made, Tensor) or made.ndim != 5 or made.shape[1:3] != (3, frames):
            got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise BadOutput(f"decode gave {got} for (1, 3, {frames}, height, width)")
        return made[0].float()


def _size(video: Video) -> str:
    return f"{video.shape[2]}×{video.shape[3]} pixels"
