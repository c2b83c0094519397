"""Reconstructions that a run keeps in memory for its pictures, as far as a budget goes."""

from typing import Any

import numpy as np
import torch

from cvbench.core.types import Pixels
from cvbench.engine.coding import Coded
from cvbench.engine.loop import Prepared
from cvbench.engine.subject import Subject

Shown = tuple[Pixels, np.ndarray | None]
"""A reconstruction in 8 bits, and its latents where they can be shown."""


def shown(coded: Coded) -> Shown:
    """Return what a picture takes of a coded clip."""
    recon = coded.recon if coded.recon.dtype == torch.uint8 else (coded.recon * 255).round().byte()
    return recon.cpu().numpy(), _array(coded.latents, coded.place)


def _array(latents: Any, place: int) -> np.ndarray | None:
    if not isinstance(latents, torch.Tensor):
        return None
    mine = latents[place]
    array: np.ndarray = (mine.float() if mine.is_floating_point() else mine).cpu().numpy()
    return array


class Shots:
    """By sample and model what was made, and by sample its pixels: the first that come, up to `budget` bytes."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.made: dict[tuple[int, str], Shown] = {}
        self.targets: dict[int, Pixels] = {}

    def keep(self, sample: Prepared, subject: Subject, coded: Coded) -> None:
        """Keep what a model made, where there is room."""
        if self.left <= 0 or sample.pixels is None:
            return
        recon, latents = made = shown(coded)
        self.left -= recon.nbytes + (0 if latents is None else latents.nbytes)
        self.left -= 0 if sample.index in self.targets else sample.pixels.nbytes
        if self.left >= 0:
            self.made[sample.index, subject.name] = made
            self.targets[sample.index] = sample.pixels

    def find(self, sample: Prepared, subject: Subject) -> Shown | None:
        """Return what a model made of a sample, if it was kept."""
        return self.made.get((sample.index, subject.name))

    def target(self, sample: Prepared) -> Pixels | None:
        """Return a sample's pixels, if they were kept."""
        return self.targets.get(sample.index)
