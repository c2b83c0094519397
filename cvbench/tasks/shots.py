"""Reconstructions that a run keeps in memory for its pictures, as far as a budget goes."""

from typing import Any

import numpy as np
import torch

from cvbench.core.types import Pixels
from cvbench.engine.coding import Coded
from cvbench.engine.loop import Prepared
from cvbench.engine.pictures import evenly
from cvbench.engine.subject import Subject
from cvbench.nets.fetching import Row, arrived, fetch

SHOWN = 1 << 22
"""Numbers of latents that a picture is made of: of larger ones some frames, evenly spaced."""
Shown = tuple[Pixels, np.ndarray | None]
"""A reconstruction in 8 bits, and its latents where they can be shown."""
Shot = tuple[Row, Row | None]
"""The same, on its way from the device perhaps."""


def shown(coded: Coded) -> Shown:
    """Return what a picture takes of a coded clip."""
    return _arrived(_shot(coded))


def _arrived(shot: Shot) -> Shown:
    recon, latents = shot
    return arrived(recon), None if latents is None else arrived(latents)


def _shot(coded: Coded) -> Shot:
    recon = coded.recon if coded.recon.dtype == torch.uint8 else (coded.recon * 255).round().byte()
    return fetch(recon), _latents(coded.latents, coded.place)


def _latents(latents: Any, place: int) -> Row | None:
    if not isinstance(latents, torch.Tensor):
        return None
    mine = latents[place]
    if mine.ndim == 4 and mine.numel() > SHOWN:
        frames = evenly(mine.shape[1], SHOWN // mine[:, 0].numel())
        mine = mine[:, frames]
    return fetch(mine.float() if mine.is_floating_point() else mine)


class Shots:
    """By sample and model what was made, and by sample its pixels: the first that come, up to `budget` bytes."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.made: dict[tuple[int, str], Shot] = {}
        self.targets: dict[int, Pixels] = {}

    def keep(self, sample: Prepared, subject: Subject, coded: Coded) -> None:
        """Keep what a model made, where there is room."""
        if self.left <= 0 or sample.pixels is None:
            return
        recon, latents = made = _shot(coded)
        self.left -= recon.nbytes + (0 if latents is None else latents.nbytes)
        self.left -= 0 if sample.index in self.targets else sample.pixels.nbytes
        if self.left >= 0:
            self.made[sample.index, subject.name] = made
            self.targets[sample.index] = sample.pixels

    def find(self, sample: Prepared, subject: Subject) -> Shown | None:
        """Return what a model made of a sample, if it was kept."""
        shot = self.made.get((sample.index, subject.name))
        return None if shot is None else _arrived(shot)

    def target(self, sample: Prepared) -> Pixels | None:
        """Return a sample's pixels, if they were kept."""
        return self.targets.get(sample.index)
