"""Neighbourhood attention (Hassani et al. 2023, arXiv 2204.07143) in time and space, a part at a time.

Each query sees the window of a size that is centred on it where that is possible and shifted inwards at borders, as
NATTEN's `na3d` has it. Nothing is as large as the square of the positions, so that it runs wherever PyTorch does.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

Grid = Float[Tensor, "b t h w heads c"]
QUERIES = (2, 8, 8)
"""Queries of one part, along time, height and width."""


def neighbourhood_attention(q: Grid, k: Grid, v: Grid, kernel: Sequence[int], scale: float) -> Grid:
    """Attend; `kernel` is the window, which no axis may be shorter than."""
    out = torch.empty_like(q)
    axes = [list(_parts(length, size, part)) for length, size, part in zip(q.shape[1:4], kernel, QUERIES, strict=True)]
    for parts in product(*axes):
        of_queries = (slice(None), *(queries for queries, _ in parts))
        of_keys = (slice(None), *(keys for _, keys in parts))
        rows = _rows(q[of_queries]), _rows(k[of_keys]), _rows(v[of_keys])
        seen = F.scaled_dot_product_attention(*rows, _mask(parts, kernel, q), scale=scale)
        out[of_queries] = seen.movedim(1, 2).reshape(q[of_queries].shape)
    return out


Part = tuple[slice, slice]
"""Of queries, and of the keys that they see together."""


def _parts(length: int, size: int, part: int) -> Iterator[Part]:
    for first in range(0, length, part):
        last = min(first + part, length)
        yield slice(first, last), slice(_start(first, length, size), _start(last - 1, length, size) + size)


def _start(query: int, length: int, size: int) -> int:
    return min(max(query - size // 2, 0), length - size)


def _rows(x: Grid) -> Float[Tensor, "b heads l c"]:
    return x.flatten(1, 3).movedim(2, 1)


def _mask(parts: Sequence[Part], kernel: Sequence[int], like: Grid) -> Bool[Tensor, "q k"]:
    """Tell which of a part's keys each of its queries sees."""
    t, h, w = (
        _seen(*part, length, size, like.device)
        for part, length, size in zip(parts, like.shape[1:4], kernel, strict=True)
    )
    seen = t[:, None, None, :, None, None] & h[:, None, None, :, None] & w[:, None, None, :]
    return seen.flatten(3).flatten(0, 2)


def _seen(queries: slice, keys: slice, length: int, size: int, device: torch.device) -> Bool[Tensor, "q k"]:
    places = torch.arange(keys.start, keys.stop, device=device)
    starts = torch.tensor([_start(n, length, size) for n in range(queries.start, queries.stop)], device=device)
    ahead = places - starts[:, None]
    return (ahead >= 0) & (ahead < size)
