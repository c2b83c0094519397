"""Clips, by PyAV: from the first frame in sequence, because a seek gives other frames on edit lists and open GOPs.

What is decided here, for every clip alike:

* the container's best video stream; edit lists and discarded packets are honoured, so frames are those a player shows
* frames as stored: none is doubled or dropped to even out a variable frame rate, interlaced ones are left woven
* the display matrix is applied (quarter turns and mirrors; other angles are refused); the pixel aspect is recorded only
* 8 bits: swscale's default conversion to RGB, which decord, OpenCV, torchcodec and the ffmpeg tool share bit for bit
* more than 8 bits: accurate rounding and full chroma, within half a level of the exact conversion (the default is 1.3
  levels too dark there), and by the definition itself where swscale is further off: full range, gray and RGB
* matrix and range as tagged, BT.601 and limited when untagged, as in all of those readers, and recorded for HD
* PQ and HLG are taken as if they were SDR, without tone mapping, and recorded
* one thread a clip: with slice threads FFmpeg hides the damage that it finds
* damage that FFmpeg's log or a checksum shows refuses the file, even where FFmpeg makes a picture of it
"""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from jaxtyping import UInt8

from cvbench.core.types import Sample, Sampling
from cvbench.data.colour import MATRICES, depth_of, is_full
from cvbench.data.colour import to_rgb as to_rgb
from cvbench.data.damage import DETECT, Matroska, Transport, check_opening, check_riff, check_said, listening
from cvbench.data.files import (
    MOST_PIXELS,
    Picture,
    Reader,
    assemble,
    check_size,
    refuse,
    refusing,
)
from cvbench.data.sampling import BLACK, Plan, frame_indices, plan, span

T = TypeVar("T")
TRANSFERS = {16: "PQ taken as SDR", 18: "HLG taken as SDR"}
PROMISES = {"mp4": 1.5, "matroska": 1.5, "avi": 4.5}
"""Containers whose headers state how long a stream is (of others FFmpeg guesses it from the bit rate), and by how many
frames the pictures may fall short of that; AVI, whose index goes before this, counts frames that were dropped or held
at the end."""
TUNED_IN = frozenset(("mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu"))
"""Streams that a recording may enter between two key frames: what comes before the first is not shown."""
HD = (1280, 576)
"""From this width, or above this height, players take an untagged clip for BT.709."""
STRANGE = ("image2", "tty", "concat", "hls")
"""Demuxers that make a clip of text, of lists of other files, or of pictures that Pillow refused."""

CAREFUL = {"err_detect": DETECT, "max_pixels": str(MOST_PIXELS)}
"""Options for FFmpeg's decoders; its demuxers know the first."""
HEIF = ("heic", "heix", "heim", "heis", "mif1", "avif")


@dataclass
class Taken:
    """The wanted frames of one pass; `seen` counts all frames, `ended` says that the stream ended before the last."""

    frames: list[Picture] = field(default_factory=list)
    pts: list[float | None] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    fps: float | None = None
    seen: int = 0
    ended: bool = False

    def add(self, path: Path, frame: av.VideoFrame) -> None:
        """Convert and keep a frame."""
        if not self.frames:
            self.facts |= describe(path, frame)
        elif frame.interlaced_frame:
            self.facts["interlaced"] = True
        picture = turned(path, frame, to_rgb(frame, self.facts))
        if self.frames and picture.shape != self.frames[0].shape:
            refuse(path, f"the size changes within the clip, at frame {self.seen}; cut it there")
        self.frames.append(picture)
        check_size(path, picture.shape[1], picture.shape[0], len(self.frames))
        self.pts.append(None if frame.time is None else round(frame.time, 6))


def read_video(path: Path, sampling: Sampling, reader: Reader = "pyav") -> Sample:
    """Read the wanted frames of a clip, (3, t, h, w).

    With reader "decord" the frames are what decord and PyAV agree on (see `cvbench.data.crosscheck`).
    Raises UnreadableSample for what does not decode completely as far as the last frame wanted.
    """
    with refusing(path):
        sample, indices = decode(path, sampling)
    if reader == "decord":
        from cvbench.data.crosscheck import confirm

        with refusing(path):
            confirm(path, sample, indices)
    return sample


def decode(path: Path, sampling: Sampling) -> tuple[Sample, Sequence[int]]:
    """Decode as far as needed; a clip that turns out shorter is decoded a second time, with the stride it allows."""
    if not sampling.plain:
        return decode_counted(path, sampling)
    indices, stride = range(int(sampling.start), span(sampling), sampling.stride), sampling.stride
    taken = take(path, indices)
    facts: dict[str, object] = {}
    if taken.ended:
        facts["available"] = taken.seen
        indices, stride = frame_indices(taken.seen, sampling)
        if stride != sampling.stride:
            taken = take(path, indices)
    facts |= {"stride": stride, "pts": taken.pts, **taken.facts}
    return Sample(path.name, assemble(taken.frames), taken.fps, facts), indices


def decode_counted(path: Path, sampling: Sampling) -> tuple[Sample, Sequence[int]]:
    """Count a clip's frames, and decode it as far as those go that this many frames make."""
    available, fps = count(path)
    chosen = plan(available, sampling, fps, path.stem)
    taken = take(path, set(chosen.indices) - {BLACK})
    frames, times = arranged(chosen, taken.frames), arranged(chosen, taken.pts)
    check_size(path, frames[0].shape[1], frames[0].shape[0], len(frames))
    facts = {"available": available, "stride": chosen.stride, "pts": times, **chosen.facts, **taken.facts}
    pictures = [frames[0] * 0 if index == BLACK else frame for index, frame in zip(chosen.indices, frames, strict=True)]
    return Sample(path.name, assemble(pictures), fps, facts), chosen.indices


def arranged(chosen: Plan, taken: Sequence[T]) -> list[T]:
    """Return what was taken of each frame of a plan, in its order; for a black one, of the first frame."""
    place = {index: k for k, index in enumerate(sorted(set(chosen.indices) - {BLACK}))}
    return [taken[place.get(index, 0)] for index in chosen.indices]


def count(path: Path) -> tuple[int, float | None]:
    """Return how many frames a clip has, all of them decoded, and its frame rate."""
    with opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        return sum(1 for _ in frames_of(path, container, stream)), round(float(rate), 4) if rate else None


def take(path: Path, indices: Collection[int]) -> Taken:
    """Decode from the start up to the last of `indices` and keep those."""
    with opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        aspect = stream.sample_aspect_ratio
        facts: dict[str, object] = {"pixel_aspect": str(aspect)} if aspect and abs(aspect - 1) > 0.01 else {}
        taken, last = Taken(facts=facts, fps=round(float(rate), 4) if rate else None), max(indices)
        for frame in frames_of(path, container, stream):
            if taken.seen in indices:
                taken.add(path, frame)
            taken.seen += 1
            if taken.seen > last:
                return taken
        taken.ended = True
        return taken


def frames_of(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield every frame of an opened clip as it is decoded.

    Raises UnreadableSample at the first sign of damage, when there is no frame, and when the end comes before the
    end that the file promises.
    """
    listed, packets, seen, end = frames_listed(container, stream), 0, 0, Fraction(0)
    proof = proof_of(path, container, stream)
    begun = container.format.name not in TUNED_IN
    source = container.demux(stream)
    while True:
        with listening() as said:
            packet, frames = next_frames(path, source, seen)
        if proof:
            proof.reach(path.stat().st_size if packet is None else packet.pos or 0)
        if packet is None:
            break
        begun = begun or packet.is_keyframe
        if begun:
            check_said(path, said, f"at frame {seen} or soon after")
        packets += bool(packet.size)
        for frame in frames:
            if frame.is_corrupt:
                refuse(path, f"is damaged at frame {seen}; replace or remove the file")
            yield frame
            seen += 1
            end = max(end, ((frame.pts or 0) + (frame.duration or 0)) * (frame.time_base or Fraction(0)))
    if not seen:
        refuse(path, "no frame could be decoded; replace or remove the file")
    if listed is not None and packets < listed:
        refuse(path, f"its index lists {listed} frames, of which {packets} are there; replace or remove the file")
    for slack in (frames for name, frames in PROMISES.items() if name in container.format.name and listed is None):
        check_end(path, stream, end, seen, slack)


def proof_of(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> Matroska | Transport | None:
    """Return what a container holds to prove that its bytes are right."""
    if "matroska" in container.format.name:
        return Matroska(path)
    return Transport(path, stream.id) if container.format.name == "mpegts" else None


def next_frames(path: Path, source: Iterator[av.Packet], seen: int) -> tuple[av.Packet | None, list[av.VideoFrame]]:
    """Return the next packet and the frames that are complete with it; None at the end of the file."""
    try:
        packet = next(source, None)
        return packet, packet.decode() if packet is not None else []
    except av.FFmpegError as error:
        refuse(path, f"decoding breaks off after {seen} frames ({error.strerror}); replace or remove the file")


def frames_listed(container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    """Return how many frames the index of an AVI file lists; None where there is no such index."""
    entries = stream.index_entries
    return sum(entry.size > 0 for entry in entries) if "avi" in container.format.name and len(entries) else None


@contextmanager
def opened(path: Path, pictures: bool = False) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file, at its best video stream. Raises UnreadableSample for what has none or is cut off."""
    if not path.stat().st_size:
        refuse(path, "the file is empty; replace or remove it")
    name, options = raw_format(path)
    options |= CAREFUL | {"protocol_whitelist": "file"}  # a playlist must not make us read elsewhere
    with listening() as said:
        try:
            container = av.open(str(path.absolute()), format=name, options=options, metadata_errors="replace")
        except av.FFmpegError as error:
            refuse(
                path, f"is no picture that Pillow knows and no clip that FFmpeg opens ({error.strerror}); replace it"
            )
    with container:
        check_opening(path, said)
        kind = container.format.name
        if kind in STRANGE or (kind.endswith("_pipe") and not pictures):
            refuse(path, "is no picture that Pillow knows and no clip; replace or remove the file")
        if container.metadata.get("major_brand") in HEIF and not pictures:
            refuse(path, "is a HEIF picture, of which FFmpeg gives single tiles; convert it to PNG")
        stream = best_stream(path, container)
        check_index(path, container, stream)
        if kind == "avi":
            check_riff(path)
        yield container, stream


def raw_format(path: Path) -> tuple[str | None, dict[str, str]]:
    """Return how to open a .yuv file, which tells its size and rate in its name only, as in clip_1920x1080_30.yuv."""
    found = re.search(r"(\d+)x(\d+)_(\d+)", path.stem) if path.suffix.lower() == ".yuv" else None
    if found is None:
        return None, {}
    width, height, rate = map(int, found.groups())
    deep = re.search(r"10[-_]?bit", path.stem) is not None
    whole = (width * height + 2 * -(-width // 2) * -(-height // 2)) * (1 + deep)
    if path.stat().st_size % whole:
        refuse(path, f"is no whole number of {width}×{height} 4:2:0 frames of {whole} bytes; fetch it again")
    pixels = "yuv420p10le" if deep else "yuv420p"
    return "rawvideo", {"video_size": f"{width}x{height}", "framerate": str(rate), "pixel_format": pixels}


def best_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """Return the stream that a player would show."""
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = sorted({"picture" if s is stream else s.type for s in container.streams}) or ["nothing"]
        refuse(path, f"no video stream in it, only {', '.join(kinds)}; replace or remove the file")
    if stream.codec_context is None:
        refuse(path, "FFmpeg has no decoder for its video stream; convert the file")
    if not stream.codec_context.width:
        refuse(path, "its video stream does not tell the size of its pictures; cut it at a key frame")
    check_size(path, stream.codec_context.width, stream.codec_context.height)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = dict(CAREFUL)
    return stream


def check_index(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> None:
    """Refuse a file whose index (MP4, MOV) points beyond its end, even when the frames wanted lie before."""
    entries = stream.index_entries
    if "mp4" in container.format.name and len(entries):
        missing = entries[len(entries) - 1].pos + entries[len(entries) - 1].size - container.size
        if missing > 0:
            refuse(path, f"the file is cut off: its index counts on at least {missing} more bytes; fetch it again")


def check_end(path: Path, stream: av.VideoStream, end: Fraction | int, seen: int, slack: float) -> None:
    """Refuse a stream that ends without an error, but over `slack` frames before the time its header promises."""
    start = (stream.start_time or 0) * (stream.time_base or 0)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if stream.duration is not None:
        promised = start + stream.duration * (stream.time_base or 0)
    elif tag:
        promised = int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
    else:
        return
    if stream.average_rate and (promised - end) * stream.average_rate > slack:
        refuse(
            path,
            f"ends after {seen} frames, {float(end):.2f} s of {float(promised):.2f} s that its header promises;"
            " fetch it again",
        )


def describe(path: Path, frame: av.VideoFrame) -> dict[str, object]:
    """Return what is unusual about a clip's pictures and was decided for it."""
    if frame.colorspace not in MATRICES:
        refuse(path, f"colour matrix {frame.colorspace} has no exact conversion here; convert the file to BT.709")
    facts: dict[str, object] = {}
    if (depth := depth_of(frame)) > 8:
        facts["bit_depth"] = depth
    if is_full(frame) and not frame.format.name.startswith("gray"):
        facts["range"] = "full"
    if MATRICES[frame.colorspace] == "bt2020":
        facts["matrix"] = "bt2020"
    if is_guess(frame):
        facts["matrix"] = "bt601 assumed"
    if frame.color_trc in TRANSFERS:
        facts["transfer"] = TRANSFERS[frame.color_trc]
    if frame.interlaced_frame:
        facts["interlaced"] = True
    (a, b), (c, d) = matrix = display_matrix(path, frame)
    if matrix != ((1, 0), (0, 1)):
        facts["rotated"] = round(math.degrees(math.atan2(b, a))) % 360
    if a * d - b * c < 0:
        facts["mirrored"] = True
    return facts


def is_guess(frame: av.VideoFrame) -> bool:
    """Tell an HD clip without a tag of its matrix: readers built on FFmpeg take BT.601, players BT.709."""
    coded = not frame.format.is_rgb and len(frame.format.components) > 2
    return coded and MATRICES[frame.colorspace] == "untagged" and (frame.width >= HD[0] or frame.height > HD[1])


def display_matrix(path: Path, frame: av.VideoFrame) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return ((a, b), (c, d)) with a stored pixel (x, y) shown at (a x + c y, b x + d y), up to a shift."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return (1, 0), (0, 1)
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5] / 65536
    signs = tuple(int(np.sign(round(v))) for v in (a, b, c, d))
    if not np.allclose(signs, (a, b, c, d), atol=1e-3) or abs(signs[0] * signs[3] - signs[1] * signs[2]) != 1:
        refuse(path, "its display matrix is no quarter turn; rotate the clip itself")
    return (signs[0], signs[1]), (signs[2], signs[3])


def turned(path: Path, frame: av.VideoFrame, picture: Picture) -> UInt8[np.ndarray, "shown_h shown_w 3"]:
    """Return the picture as its display matrix shows it."""
    (a, b), (c, d) = display_matrix(path, frame)
    shown = picture.transpose(1, 0, 2) if b else picture  # rows become columns
    return np.ascontiguousarray(shown[:: b + d, :: a + c])
