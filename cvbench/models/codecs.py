"""Real codecs as models: the anchors whose bits are counted and not estimated.

All work in memory and code 8-bit 4:2:0. A clip's latents are one byte string, and its length is all the bits
there are: image codecs give the frames' files one after another (both formats tell where they end, so nothing
is added), video codecs an elementary stream without container (Annex B, or AV1's low-overhead OBUs) of which
only the encoder's own text about its settings is left out. One thread, so that equal clips give equal bytes.
"""

import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import PIL
import torch
from jaxtyping import UInt8
from PIL import Image, features
from torch import Tensor

from cvbench.core.errors import BadOutput, Unavailable, UnsuitableInput, UsageError
from cvbench.core.types import Traits
from cvbench.models.entry import Loading
from cvbench.models.floors import check_size
from cvbench.nets.tensors import Latents, Videos

Frames = UInt8[np.ndarray, "t h w 3"]

RATE = 25  # frames per second told to the encoders; x264's rate control takes it as its unit
GOP = 250  # an intra frame at least so often, as x264 and x265 have it by default
BT709 = "color_matrix=bt709"  # of the signal, in limited range; no tag is written, decode reads the same
ACCURATE = "flags=bicubic+full_chroma_int+accurate_rnd+bitexact"  # plain bicubic costs up to 4 dB in the chroma
SEI = re.compile(rb"\0?\0\0\x01\x06.*?(?=\0?\0\0\x01|\Z)", re.DOTALL)


class Codec(ABC):
    """What all codecs share: 8-bit frames in, one byte string a clip, 8-bit frames out."""

    name: ClassVar[str]
    traits: ClassVar[Traits] = Traits()
    params = (0, 0)
    computes_in = "8 bits"

    def __init__(self) -> None:
        self.version = self.codec_version()

    @classmethod
    def build(cls, loading: Loading) -> "Codec":
        """Build it as `models.build` does; options: its quality or crf."""
        return cls(**loading.options)

    @classmethod
    @abstractmethod
    def codec_version(cls) -> str:
        """Name the library, its version and the settings that are fixed here: part of a cache key."""

    def encode(self, videos: Videos) -> Latents:
        """Code clips (b, 3, t, h, w) in [0, 1], rounded to 8 bits, to one byte string each, on the CPU.

        Raises UnsuitableInput for a size that `traits` or the codec itself refuses.
        """
        check_size(videos, self.traits, self.name)
        clips = (videos.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous().cpu()
        try:
            return [self._encode(clip.numpy()) for clip in clips]
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnsuitableInput(f"{self.name} refuses clips of shape {tuple(clips.shape[1:])}: {error}") from error

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips of `frames` frames, float32 in [0, 1], on the CPU.

        Raises BadOutput for bytes that do not decode, or not to that many frames.
        """
        if isinstance(latents, Tensor):
            raise BadOutput(f"{self.name} decodes byte strings; give the list that encode returned")
        clips = torch.stack([torch.from_numpy(self._decoded(stream, frames)) for stream in latents])
        return clips.permute(0, 4, 1, 2, 3).float() / 255

    def _decoded(self, stream: bytes, frames: int) -> Frames:
        try:
            decoded = list(self._decode(stream))
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            raise BadOutput(f"{self.name}: {len(stream)} bytes do not decode: {error}") from error
        if len(decoded) != frames:
            raise BadOutput(f"{self.name}: {len(stream)} bytes hold {len(decoded)} frames, {frames} were asked for")
        return np.stack(decoded)

    @abstractmethod
    def _encode(self, clip: Frames) -> bytes: ...

    @abstractmethod
    def _decode(self, stream: bytes) -> Iterator[UInt8[np.ndarray, "h w 3"]]: ...


class ImageCodec(Codec):
    """Each frame by itself, through Pillow."""

    feature: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]]
    lowest: ClassVar[int]

    def __init__(self, quality: int = 75) -> None:
        super().__init__()
        self.quality = _in_range(quality, "quality", self.name, self.lowest, 100)

    @classmethod
    def codec_version(cls) -> str:
        """Name Pillow, the library inside it and the fixed settings."""
        return f"Pillow {PIL.__version__} {cls.feature} {features.version(cls.feature)} {dict(cls.settings)}"

    def _encode(self, clip: Frames) -> bytes:
        stream = BytesIO()
        for frame in clip:
            Image.fromarray(frame).save(stream, self.name, quality=self.quality, **self.settings)
        return stream.getvalue()

    def _decode(self, stream: bytes) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        start = 0
        while start < len(stream):
            end = self._end(stream, start)
            yield np.asarray(Image.open(BytesIO(stream[start:end])).convert("RGB"))
            start = end

    @staticmethod
    @abstractmethod
    def _end(stream: bytes, start: int) -> int:
        """Return where the file that begins at `start` ends."""


class Jpeg(ImageCodec):
    """Baseline JPEG of each frame, 4:2:0, with Huffman tables of its own; `quality` 1 to 100 as in libjpeg.

    Colours are BT.601 in full range (JFIF). Raises UsageError for another quality.
    """

    name = "jpeg"
    feature = "libjpeg_turbo"
    settings: ClassVar[Mapping[str, Any]] = {"subsampling": "4:2:0", "optimize": True}
    lowest = 1  # 0 means no quality at all to libjpeg

    @staticmethod
    def _end(stream: bytes, start: int) -> int:
        at = start + 2
        while stream[at + 1] != 0xDA:  # start of scan; after it the bytes FF D9 can only be the end of the image
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        return stream.index(b"\xff\xd9", at) + 2


class WebP(ImageCodec):
    """Lossy WebP of each frame, 4:2:0 by its nature, Pillow's default effort; `quality` 0 to 100 as in libwebp.

    Colours are BT.601 in limited range. Raises UsageError for another quality.
    """

    name = "webp"
    feature = "webp"
    settings: ClassVar[Mapping[str, Any]] = {"method": 4}
    lowest = 0

    @staticmethod
    def _end(stream: bytes, start: int) -> int:
        return start + 8 + int.from_bytes(stream[start + 4 : start + 8], "little")


class VideoCodec(Codec):
    """A clip as one stream at constant quality, through PyAV; RGB to BT.709 4:2:0 and back by libswscale."""

    encoder: ClassVar[str]
    decoder: ClassVar[str]
    settings: ClassVar[Mapping[str, str]]
    crf_range: ClassVar[tuple[int, int]]

    def __init__(self, crf: int) -> None:
        for name, mode in ((self.encoder, "w"), (self.decoder, "r")):
            _require(name, mode, self.name)
        super().__init__()
        self.crf = _in_range(crf, "crf", self.name, *self.crf_range)

    @classmethod
    def codec_version(cls) -> str:
        """Name PyAV, FFmpeg's libavcodec, the encoder and the fixed settings."""
        libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
        return f"{cls.encoder} in libavcodec {libavcodec} (PyAV {av.__version__}) {dict(cls.settings)} gop={GOP}"

    def _encode(self, clip: Frames) -> bytes:
        _, height, width, _ = clip.shape
        context = self._open(height, width)
        to_yuv = _scaler(width, height, "rgb24", "yuv420p", f"out_{BT709}:out_range=tv")
        packets = []
        for index, pixels in enumerate(clip):
            to_yuv.vpush(av.VideoFrame.from_ndarray(pixels, "rgb24"))
            frame = to_yuv.vpull()
            frame.pts, frame.time_base = index, context.time_base
            packets += context.encode(frame)
        return b"".join(bytes(packet) for packet in packets + context.encode(None))

    def _open(self, height: int, width: int) -> Any:
        context = av.CodecContext.create(self.encoder, "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
        context.gop_size, context.thread_count = GOP, 1
        context.options = {**self.settings, "crf": str(self.crf)}
        return context

    def _decode(self, stream: bytes) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        context = av.CodecContext.create(self.decoder, "r")
        context.thread_count = 1
        packets = [*context.parse(stream), *context.parse(None), None]
        to_rgb = None
        for frame in (frame for packet in packets for frame in context.decode(packet)):
            if to_rgb is None:
                to_rgb = _scaler(frame.width, frame.height, frame.format.name, "rgb24", f"in_{BT709}:in_range=tv")
            to_rgb.vpush(frame)
            yield to_rgb.vpull().to_ndarray()


class H264(VideoCodec):
    """H.264 by x264, preset medium; `crf` 0 (lossless 4:2:0) to 51. Raises UsageError for another crf.

    `cpu-independent` keeps x264 from choosing algorithms by processor; without it, small frames also make it
    read memory it never wrote, and equal clips give different bytes.
    """

    name = "h264"
    traits = Traits(multiple=2, least_side=16)
    encoder, decoder = "libx264", "h264"
    settings: ClassVar[Mapping[str, str]] = {"preset": "medium", "x264-params": "threads=1:cpu-independent=1"}
    crf_range = (0, 51)

    def __init__(self, crf: int = 23) -> None:
        super().__init__(crf)

    def _encode(self, clip: Frames) -> bytes:
        """Leave out x264's message (SEI) with its settings in words: 700 bytes that no decoder needs."""
        return SEI.sub(b"", super()._encode(clip))


class Hevc(VideoCodec):
    """HEVC by x265, preset medium; `crf` 0 to 51. Raises UsageError for another crf.

    Coding units of at most 32×32, which suits frames of 256: with units of 64 x265 reads memory it never
    wrote when a frame has just one, and equal clips give different bytes.
    """

    name = "hevc"
    traits = Traits(multiple=2, least_side=64)
    encoder, decoder = "libx265", "hevc"
    settings: ClassVar[Mapping[str, str]] = {
        "preset": "medium",
        "x265-params": "log-level=none:info=0:pools=none:frame-threads=1:ctu=32",
    }
    crf_range = (0, 51)

    def __init__(self, crf: int = 28) -> None:
        super().__init__(crf)


class Av1(VideoCodec):
    """AV1 by SVT-AV1, preset 6, read by dav1d; `crf` 1 to 63. Raises UsageError for another crf."""

    name = "av1"
    traits = Traits(multiple=2, least_side=64)
    encoder, decoder = "libsvtav1", "libdav1d"
    settings: ClassVar[Mapping[str, str]] = {"preset": "6", "svtav1-params": "lp=1"}
    crf_range = (1, 63)

    def __init__(self, crf: int = 35) -> None:
        super().__init__(crf)

    def _open(self, height: int, width: int) -> Any:
        os.environ.setdefault("SVT_LOG", "-1")  # SVT-AV1 writes to standard error itself and has no other switch
        context = super()._open(height, width)
        with _ordinary_priority():
            context.open()
        return context


THREADS = Path("/proc/self/task")


@contextlib.contextmanager
def _ordinary_priority() -> Iterator[None]:
    """Undo what SVT-AV1 does for root: real-time priority for its threads and for the one that opens it, for good.

    All that the process starts later would inherit it, and two busy loops then keep everything else from the cores.
    """
    if not THREADS.is_dir():  # not Linux
        yield
        return
    policy, parameters, known = os.sched_getscheduler(0), os.sched_getparam(0), _threads()
    try:
        yield
    finally:
        for thread in {0} | _threads() - known:  # 0: this one
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, policy, parameters)


def _threads() -> set[int]:
    return {int(task.name) for task in THREADS.iterdir()}


def _in_range(value: int, option: str, codec: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{codec}: {option} must be an integer from {low} to {high}, got {value!r}")
    return value


def _require(name: str, mode: str, codec: str) -> None:
    """Raise Unavailable unless this build of PyAV has the encoder (mode w) or decoder (r) called `name`."""
    try:
        av.Codec(name, mode)
    except ValueError as error:  # what PyAV's UnknownCodecError is
        raise Unavailable(f"{codec}: this build of PyAV has no {name}; install a wheel of av 15 or later") from error


def _scaler(width: int, height: int, source: str, target: str, matrix: str) -> Any:
    """Return a filter graph that converts frames between pixel formats: the same bits in every FFmpeg."""
    graph = av.filter.Graph()
    size = {"width": width, "height": height, "format": source, "time_base": Fraction(1, RATE)}
    graph.link_nodes(
        graph.add_buffer(**size),
        graph.add("scale", f"{matrix}:{ACCURATE}"),
        graph.add("format", target),
        graph.add("buffersink"),
    ).configure()
    return graph
