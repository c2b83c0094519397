"""The bits that a model spends: counted on what it really made of the padded clip."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from cvbench.core.errors import UnsuitableInput
from cvbench.nets.tensors import Windows

PER_NUMBER = 16
"""Bits of a continuous latent, as half precision keeps it."""


def bits_of(latents: object, clips: int, codebook: int | None) -> list[float]:
    """Return the bits of each of `clips` clips of one size that were coded together.

    A codec's byte strings, one a clip, count as they are. Of numbers at any depth (a tensor, several scales in a list,
    a tuple, a mapping, a dataclass) each clip has an equal share: 16 bits a continuous number, log2(codebook) an index,
    nothing a copy.
    Raises UnsuitableInput for indices without a stated codebook, and for latents in which there is nothing to count.
    """
    if isinstance(latents, Windows):
        return [sum(of_clip) for of_clip in zip(*(bits_of(run, clips, codebook) for run in latents), strict=True)]
    if (
        isinstance(latents, (list, tuple))
        and len(latents) == clips
        and all(isinstance(code, bytes) for code in latents)
    ):
        return [8.0 * len(code) for code in latents]
    parts = _different(list(_leaves(latents)))
    if not parts:
        raise UnsuitableInput(f"latents of type {type(latents).__name__} hold no numbers and no bytes to count")
    return [sum(_bits(part, codebook) for part in parts) / clips] * clips


def _leaves(latents: object) -> Iterator[torch.Tensor | bytes]:
    if isinstance(latents, (torch.Tensor, bytes)):
        yield latents
    elif isinstance(latents, Mapping):
        yield from (leaf for part in latents.values() for leaf in _leaves(part))
    elif isinstance(latents, (list, tuple, set)):
        yield from (leaf for part in latents for leaf in _leaves(part))
    elif isinstance(mean := getattr(latents, "mean", None), torch.Tensor):  # a posterior: its mode is passed on
        yield mean
    elif dataclasses.is_dataclass(latents) or isinstance(getattr(latents, "__dict__", None), dict):
        held: dict[str, Any] = vars(latents)
        yield from (leaf for part in held.values() for leaf in _leaves(part))


def _different(parts: Sequence[torch.Tensor | bytes]) -> list[torch.Tensor | bytes]:
    """Return each part once: a copy of another costs nothing."""
    kept: list[torch.Tensor | bytes] = []
    for part in parts:
        if not any(_equal(part, other) for other in kept):
            kept.append(part)
    return kept


def _equal(a: torch.Tensor | bytes, b: torch.Tensor | bytes) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and a == b


def _bits(part: torch.Tensor | bytes, codebook: int | None) -> float:
    if isinstance(part, bytes):
        return 8.0 * len(part)
    if part.is_floating_point() or part.is_complex():
        return float(PER_NUMBER * part.numel() * (2 if part.is_complex() else 1))
    if part.dtype == torch.bool:
        return float(part.numel())
    if not codebook:
        raise UnsuitableInput("latents are indices of a codebook whose size `traits.codebook` does not state")
    return math.log2(codebook) * part.numel()
