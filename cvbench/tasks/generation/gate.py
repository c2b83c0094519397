"""Whether a VAE can decode a generator's latents: tried before a generator runs, on a picture with known pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, UnsuitableInput
from cvbench.core.types import Sampling
from cvbench.data import open_dataset
from cvbench.data.frames import prepare
from cvbench.engine.coding import encoded, pad
from cvbench.engine.device import runtime
from cvbench.engine.subject import Subject
from cvbench.nets.tensors import Videos
from cvbench.store import Store
from cvbench.tasks.generation.rows import Decoder

SIDE, SCENE = 256, "image-leaves-01"
MARGIN = 3.0
"""Decibels that a VAE may lose when the base VAE encodes for it, before it counts as one of another space."""


@dataclass(frozen=True)
class Gate:
    """PSNR in dB of a picture that the VAE codes itself, and of what it makes of the base VAE's latents of it."""

    own: float
    through: float

    @property
    def note(self) -> str:
        """What a table says of a VAE that decodes the base VAE's latents much worse than its own; "" for others."""
        if self.own - self.through <= MARGIN:
            return ""
        return (
            f"of another latent space, or told a wrong scale: a picture that the generator's own VAE encodes comes out "
            f"at {self.through:.1f} dB, its own latents at {self.own:.1f} dB"
        )


def gate(decoder: Decoder, store: Store) -> Gate | None:
    """Try a row; None for what decodes nothing of its own: the base VAE, and interpolation of its frames.

    Raises UnsuitableInput for latents of another shape, and for a VAE without continuous latents.
    """
    if decoder.is_base or decoder.row.decode == "after" or decoder.subject is decoder.base:
        return None
    key = decoder.key((1, SIDE, SIDE))
    setting = decoder.subject.setting
    made = digest(["gate", SIDE, MARGIN, key, setting.protocol.of("code"), runtime(setting.device)])
    held = store.facts(made) if key else None
    found = Gate(*held) if held else _tried(decoder)
    if key:
        store.remember(made, [found.own, found.through])
    return found


def _tried(decoder: Decoder) -> Gate:
    base, subject, device = decoder.base, decoder.subject, decoder.base.setting.device
    picture = _picture(device)
    theirs = _latents(base, picture)
    try:
        ours = _latents(subject, picture)
    except CvbenchError:  # a decoder alone
        ours = None
    for name, latents in ((base.name, theirs), (subject.name, ours)):
        if latents is not None and not (isinstance(latents, Tensor) and latents.is_floating_point()):
            raise UnsuitableInput(f"{name} has no continuous latents that another VAE could make or decode")
    if ours is not None and ours.shape[1:] != theirs.shape[1:]:
        raise UnsuitableInput(
            f"{subject.name} makes latents {_shape(ours)} of a picture, {base.name}, whose latents these are, "
            f"{_shape(theirs)}: channels and compression must agree"
        )
    through = _psnr(decoder.decode(theirs[0], None, 0)[None], picture)
    own = _decoded(subject, ours) if ours is not None else _decoded(base, theirs)
    return Gate(_psnr(own, picture), through)


def _picture(device: torch.device) -> Videos:
    (item,) = (item for item in open_dataset("sample-images", {}).items if item.id == SCENE)
    pixels = prepare(item.read(Sampling(1, 1)).pixels, SIDE, "bicubic", True, "center")
    return torch.from_numpy(pixels)[None].to(device).float() / 255


def _latents(subject: Subject, picture: Videos) -> Tensor:
    latents: Tensor = encoded(subject, pad(picture, subject.traits), 0)[0]
    return latents


def _decoded(subject: Subject, latents: Tensor) -> Tensor:
    with torch.no_grad():
        made: Tensor = subject.decode(latents, subject.traits.frame_rule.fit(1))
    return made


def _psnr(made: Tensor, picture: Videos) -> float:
    """PSNR of the first frame, where more were made of it."""
    error = (made[:, :, :1].float().clamp(0, 1) - picture).square().mean()
    return float(-10 * error.clamp(min=1e-10).log10())


def _shape(latents: Tensor) -> str:
    return "×".join(map(str, latents.shape[1:]))
