"""Recorded outputs of the official code of many autoencoders, under the weights of golden/weights.py.

`golden/zoo2.npz` holds "variant/case/what", reconstructions with every s-th row and column, before any clamp;
`golden/zoo2.shapes.json.gz` the tensors of each variant, or the name of another with the same. Sources stand with each.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden.weights import clip, tensor
from torch import Tensor, nn

from cvbench import models
from cvbench.models.entry import Loading

GOLDEN = Path(__file__).parent / "golden"
ATOL = 1e-4
MARGIN = 1e-3
"""Codes whose best score is nearer to the second are decided by rounding."""


@cache
def recorded(key: str) -> Tensor:
    with np.load(GOLDEN / "zoo2.npz") as arrays:
        return torch.from_numpy(arrays[key])


@cache
def _all_shapes() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress((GOLDEN / "zoo2.shapes.json.gz").read_bytes()))
    return found


def shapes(variant: str) -> dict[str, list[int]]:
    found: Any = _all_shapes()[variant]
    return shapes(found) if isinstance(found, str) else found


def shapes_of(net: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in net.state_dict().items()}


def official(variant: str) -> dict[str, Tensor]:
    """The variant's tensors, by the names of its checkpoint."""
    return {name: torch.from_numpy(tensor(name, tuple(shape))) for name, shape in shapes(variant).items()}


def pixels(key: str, shape: tuple[int, ...], low: float = 0, high: float = 1) -> Tensor:
    """Clips (b, 3, t, h, w), or the first frames of clips for four axes."""
    if len(shape) == 5:
        return torch.from_numpy(clip(key, shape, low, high))
    return pixels(key, (*shape[:2], 1, *shape[2:]), low, high)[:, :, 0]


def close(found: Tensor, key: str, stride: int = 1, atol: float = ATOL) -> None:
    """Compare with what was recorded."""
    thinned = found[..., ::stride, ::stride] if stride > 1 else found
    torch.testing.assert_close(thinned, recorded(key), atol=atol, rtol=1e-4)


def same_codes(found: Tensor, key: str) -> None:
    """Compare indices wherever the recorded margin is wide enough; no more than a tenth may be narrow."""
    wide = recorded(f"{key}/margin") > MARGIN
    assert wide.float().mean() > 0.9
    assert torch.equal(found[wide].int(), recorded(f"{key}/indices")[wide].int())


def loaded(name: str, path: Path, **settings: Any) -> Any:
    """Build an entry of the registry with weights; `options` go over the entry's."""
    settings = {"device": torch.device("cpu"), "dtype": torch.float32, **settings}
    return models.build(models.MODELS[name], Loading(path=path, **settings))
