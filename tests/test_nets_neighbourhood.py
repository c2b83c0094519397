"""Neighbourhood attention against the same by one mask over all positions, in float64."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cvbench.nets.neighbourhood import neighbourhood_attention

Sizes = tuple[int, int, int]


def window(place: int, length: int, size: int) -> range:
    """Of `size` positions, centred on a place where that is possible, shifted inwards at borders."""
    start = max(0, min(place - size // 2, length - size))
    return range(start, start + size)


def whole(q: Tensor, k: Tensor, v: Tensor, kernel: Sizes) -> Tensor:
    grid = q.shape[1:4]
    places = list(product(*map(range, grid)))
    seen = [
        [all(at in window(here, n, size) for here, at, n, size in zip(a, b, grid, kernel, strict=True)) for b in places]
        for a in places
    ]
    rows = (x.flatten(1, 3).transpose(1, 2) for x in (q, k, v))
    made = F.scaled_dot_product_attention(*rows, torch.tensor(seen), scale=1.0)
    return made.transpose(1, 2).reshape(q.shape)


@pytest.mark.parametrize(
    ("grid", "kernel"),
    [((3, 4, 9), (3, 3, 5)), ((5, 9, 4), (1, 7, 4)), ((1, 3, 17), (1, 2, 3)), ((2, 8, 8), (2, 8, 8))],
)
def test_every_query_sees_its_window_shifted_inwards(grid: Sizes, kernel: Sizes) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, *grid, 2, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(neighbourhood_attention(q, k, v, kernel, 1.0), whole(q, k, v, kernel))
