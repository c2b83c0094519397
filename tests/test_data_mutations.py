"""Files of every kind, mutated at random from fixed seeds: read, or refused as unreadable; nothing else happens."""

import random
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import scene
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from mutate import cut, flipped, with_a_huge_number, with_another_head

from cvbench.core.errors import UnreadableSample
from cvbench.core.types import Sampling
from cvbench.data.frames import read_file

PICTURES = ("jpg", "png", "webp", "gif", "avif", "bmp", "tif", "ppm", "jp2", "mpo")
ANIMATIONS = ("png", "gif", "webp", "avif")
CLIPS = {
    "mp4": "libx264",
    "mkv": "ffv1",
    "avi": "mjpeg",
    "mov": "mpeg4",
    "ts": "mpeg2video",
    "webm": "libvpx",
    "flv": "flv",
    "y4m": "rawvideo",
}
GIGABYTE = 1 << 20
"""In the KiB that `getrusage` counts in."""


def write(folder: Path, name: str) -> Path:
    """Write a picture, an animation or a clip of 56×40 pixels: "png", "animation.gif" or "clip.mkv"."""
    file = folder / (name if "." in name else f"picture.{name}")
    frames = [np.ascontiguousarray(f) for f in scene(4, 40, 56).transpose(1, 2, 3, 0)]
    images = [Image.fromarray(frame) for frame in frames]
    if name.startswith("animation"):
        images[0].save(file, save_all=True, append_images=images[1:], duration=40)
    elif not name.startswith("clip"):
        images[0].save(file)
    else:
        codec = CLIPS[file.suffix[1:]]
        with av.open(str(file), "w") as out:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 56, 40, "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for frame in frames:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
    return file


def with_a_part_missing_or_doubled(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(len(data))] + data[draw.randrange(len(data)) :]


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    *(flipped, with_another_head, cut, with_a_huge_number, with_a_part_missing_or_doubled),
)


@pytest.mark.parametrize(
    "name", [*PICTURES, *(f"animation.{ending}" for ending in ANIMATIONS), *(f"clip.{ending}" for ending in CLIPS)]
)
def test_a_mutated_file_is_read_or_refused_in_little_time_and_memory(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, name)
    data = file.read_bytes()
    assert read_file(file, Sampling(9, 2)).pixels.shape[2:] == (40, 56)
    start, room = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(15):
        draw = random.Random(f"{name} {seed}")
        file.write_bytes(MUTATIONS[seed % len(MUTATIONS)](bytearray(data), draw))
        with suppress(UnreadableSample):
            read_file(file, Sampling(9, 2))
    assert time.monotonic() - start < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - room < 4 * GIGABYTE
