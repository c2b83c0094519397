"""Numbers on their way from a device to main memory: nobody waits for them until they are needed."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


def is_queued(device: torch.device) -> bool:
    """Tell whether a device works through a queue while the program goes on."""
    return device.type == "cuda"


def started(values: Tensor) -> tuple[Tensor, Any]:
    """Begin to copy numbers of such a device to pinned memory; return it, and the event that says they are there."""
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(values.device))
    return host, event


class Fetched(NamedTuple):
    """An array that is being copied; `host` holds it once `event` has happened."""

    host: Tensor
    event: Any

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.host.nbytes

    def numpy(self) -> np.ndarray:
        """Return the array, having waited for what was queued up to its copy, and for nothing after it."""
        self.event.synchronize()
        array: np.ndarray = self.host.numpy()
        return array


Row = np.ndarray | Fetched
"""Numbers that are there, or on their way."""


def fetch(values: Tensor) -> Row:
    """Return what a tensor holds: at once where the device does not work through a queue, else on its way."""
    if is_queued(values.device):
        return Fetched(*started(values.detach()))
    array: np.ndarray = values.detach().cpu().numpy()
    return array


def arrived(row: Row) -> np.ndarray:
    """Return numbers, waited for where they are on their way."""
    return row.numpy() if isinstance(row, Fetched) else row
