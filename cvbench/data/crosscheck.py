"""decord as a second opinion: a clip passes when decord gives the very frames that PyAV gives.

decord ignores edit lists and discarded packets, converts 10 bits in another way, conceals damage in another way and
seeks to wrong frames in open GOPs; what it returns is therefore compared, frame by frame, before it counts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvbench.core.errors import Unavailable
from cvbench.core.types import Pixels, Sample
from cvbench.data.files import refuse
from cvbench.data.video import opened

ADVICE = "; read it with reader=pyav"


def load_decord() -> Any:
    """Import decord. Raises Unavailable when it is not installed."""
    try:
        import decord
    except ImportError as error:
        raise Unavailable("reader decord is not installed: pip install cvbench[decord], or use reader=pyav") from error
    return decord


def confirm(path: Path, sample: Sample, indices: Sequence[int]) -> None:
    """Raise UnreadableSample unless decord gives the sample's frames at `indices`.

    Where the clip is short, so that its length decides which frames are taken, decord must count as many, too.
    """
    shown = count_shown(path)
    try:
        reader = load_decord().VideoReader(str(path), num_threads=1)
        counted = len(reader)
    except Unavailable:
        raise
    except Exception:
        refuse(path, f"decord cannot open it{ADVICE}")
    counts = f"decord counts {counted} frames, the container shows {shown}"
    if counted != shown and "available" in sample.facts:
        refuse(path, f"{counts}: an edit list or discarded packets{ADVICE}")
    compare(path, reader, sample.pixels, indices, f" ({counts})" if counted != shown else "")


def compare(path: Path, reader: Any, pixels: Pixels, indices: Sequence[int], hint: str) -> None:
    """Decode with decord in sequence, never seeking, and refuse at the first difference."""
    for index in range(max(indices) + 1):
        try:
            frame = reader.next().asnumpy()
        except Exception:
            refuse(path, f"decord stops at frame {index}{hint}{ADVICE}")
        if index not in indices:
            continue
        mine = pixels[:, indices.index(index)].transpose(1, 2, 0)
        if frame.shape != mine.shape:
            refuse(path, f"decord gives frames of shape {frame.shape}, PyAV {mine.shape}{ADVICE}")
        off = int(np.abs(frame.astype(np.int16) - mine).max())
        if off:
            refuse(path, f"decord's frame {index} differs from PyAV's by up to {off} levels{hint}{ADVICE}")


def count_shown(path: Path) -> int:
    """Return how many packets of a clip are to be shown, without decoding."""
    with opened(path) as (container, stream):
        if container.format.name == "mpegts":
            refuse(path, f"decord does not come to an end in MPEG transport streams{ADVICE}")
        return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
