"""How long a row takes to decode one sample, and what memory; remembered for this machine."""

from typing import Any

import torch

from cvbench.core.digest import digest
from cvbench.engine import speed
from cvbench.engine.coding import describe
from cvbench.engine.device import device_name
from cvbench.nets.tensors import Videos
from cvbench.store import LATENTS
from cvbench.tasks.generation.decoding import Decoding
from cvbench.tasks.generation.rows import Decoder


def timed(decoding: Decoding, decoder: Decoder) -> tuple[dict[str, Any] | None, list[str]]:
    """Time a row on the first sample; what fails is a note. Interpolation alone is not timed: it decodes nothing."""
    if not decoding.keys or decoder.row.decode == "after":
        return None, []
    rows = decoding.latents.rows(next(iter(decoding.keys.values())))
    latents = torch.from_numpy(rows[LATENTS]).to(decoding.device)
    machine = [device_name(decoding.device), torch.get_num_threads(), speed.VERSION]
    reusable = decoder.key((1, *decoding.size))
    key = digest(["decoding speed", reusable, list(latents.shape), decoding.protocol.of("code"), machine])
    held: dict[str, Any] | None = decoding.store.facts(key) if reusable else None
    if held is None:
        try:
            held = speed.measure_decoding(lambda: _made(decoder, latents), decoding.device)
        except Exception as error:  # out of memory, say
            return None, [f"speed was not measured: {describe(error)}"]
        if reusable:
            decoding.store.remember(key, held)
    return held, []


def _made(decoder: Decoder, latents: torch.Tensor) -> Videos:
    return decoder.decode(latents, None, 0)[None]
