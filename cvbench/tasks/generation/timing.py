"""How long a row takes to decode one sample, and what memory; remembered for this machine."""

from typing import Any

import torch

from cvbench.core.digest import digest
from cvbench.engine import speed
from cvbench.engine.coding import describe
from cvbench.engine.device import device_name
from cvbench.engine.measuring import Probes
from cvbench.generators.entry import Latent
from cvbench.store import Store
from cvbench.tasks.generation.rows import Decoder


def timed(
    decoder: Decoder, sample: Latent, size: tuple[int, int], probes: Probes, store: Store
) -> tuple[dict[str, Any] | None, list[str]]:
    """Time a row on a sample's latents, of pictures of `size`; what fails is a note.

    Interpolation alone is not timed: it decodes nothing.
    """
    if decoder.row.decode == "after":
        return None, []
    latents, protocol = torch.from_numpy(sample).to(probes.device), decoder.subject.setting.protocol
    machine = [device_name(probes.device), torch.get_num_threads(), speed.VERSION]
    reusable = decoder.key((1, *size))
    key = digest(["decoding speed", reusable, list(latents.shape), protocol.of("code"), machine])
    held: dict[str, Any] | None = store.facts(key) if reusable else None
    if held is None:
        try:
            held = speed.measure_decoding(lambda: decoder.decode(latents, None, 0)[None], probes.device)
        except Exception as error:  # out of memory, say
            return None, [f"speed was not measured: {describe(error)}"]
        if reusable:
            store.remember(key, held)
    return held, []
