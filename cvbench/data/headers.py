"""How long and large a file is, as its header says: enough to share work fairly, not to be believed."""

import contextlib
from pathlib import Path

import av
from PIL import Image


def look(path: Path) -> tuple[int, int, int] | None:
    """Return frames, height and width; None for what neither Pillow nor FFmpeg knows."""
    # whatever a damaged file makes a library raise: reading it will say so
    with contextlib.suppress(Exception), Image.open(path) as image:
        return getattr(image, "n_frames", 1), image.height, image.width
    with contextlib.suppress(Exception), av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        frames = stream.frames or round(float((container.duration or 0) / av.time_base * (stream.average_rate or 0)))
        return frames or 1, stream.codec_context.height, stream.codec_context.width
    return None
