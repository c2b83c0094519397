"""What a network computes in: a dtype asked for is not always the one that runs."""

from collections.abc import Iterator

import torch
from torch import nn

NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}


def computes_in(net: nn.Module, dtype: torch.dtype) -> str:
    """Return the name of the dtype of a network's parameters, and in which modules it is another.

    `dtype` is the one that its input comes in: "fp16", or "fp16 but fp32 in encoder, norm1".
    """
    found = {parameter.dtype for parameter in net.parameters() if parameter.is_floating_point()} or {dtype}
    if len(found) == 1:
        return _name(found.pop())
    others = sorted(found - {dtype}, key=str)
    places = [f"{_name(other)} in {', '.join(sorted(set(_parts(net, other))))}" for other in others]
    return f"{_name(dtype)} but {' and '.join(places)}"


def _name(dtype: torch.dtype) -> str:
    return NAMES.get(dtype, str(dtype).removeprefix("torch."))


def _parts(module: nn.Module, dtype: torch.dtype) -> Iterator[str]:
    """Yield the own names of the largest parts whose parameters are all of a dtype; those in lists go by the list."""
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.dtype == dtype:
            yield name
    for name, part in module.named_children():
        if {p.dtype for p in part.parameters() if p.is_floating_point()} == {dtype}:
            yield name
        else:
            yield from _parts(part, dtype)
