"""Reading and resizing. Every file is made here, of flat or numbered frames whose values follow from arithmetic."""

import re
import struct
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image, ImageOps
from torchvision.transforms import functional as vision

from cvbench.core.errors import TooShort, Unavailable, UnreadableSample, UsageError
from cvbench.core.types import Pixels, Sample, Sampling
from cvbench.data import crosscheck, video
from cvbench.data.dataset import read_named
from cvbench.data.files import MOST_BYTES, MOST_PIXELS, refusing
from cvbench.data.frames import frame_indices, prepare, read_file, read_image, read_numbered, read_video
from cvbench.data.packed import read_packed

PROTOCOL = Sampling(33, 3)
ALL = Sampling(1000, 1)


def encode(
    path: Path,
    frames: Iterable[av.VideoFrame],
    codec: str = "libx264",
    rate: int = 25,
    times: Sequence[int] | None = None,
    tags: Mapping[str, int | Fraction] | None = None,
    container: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames without loss where the codec can; `times` are time stamps in frames of `rate`."""
    frames = list(frames)
    lossless = {"libx264": {"qp": "0", "bf": "0", "g": "250"}, "libvpx-vp9": {"lossless": "1", "cpu-used": "8"}}
    with av.open(
        str(path), "w", format="mp4" if path.suffix == ".heic" else None, container_options=container or {}
    ) as out:
        stream = out.add_stream(codec, rate=rate, options=options or lossless.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = (times[index] if times else index), Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def flat(planes: Sequence[int], pixels: str = "yuv420p", width: int = 64, height: int = 48) -> av.VideoFrame:
    """A frame with one value in each plane."""
    frame = av.VideoFrame(width, height, pixels)
    deep = frame.format.components[0].bits > 8
    for plane, value in zip(frame.planes, planes, strict=True):
        row = np.full(plane.line_size // (2 if deep else 1), value, np.uint16 if deep else np.uint8)
        plane.update(np.tile(row, plane.height).tobytes())
    return frame


def numbered(n: int, pixels: str = "yuv420p") -> list[av.VideoFrame]:
    """Gray frames, number k of luma 20 + 2k."""
    return [flat((20 + 2 * k, 128, 128), pixels) for k in range(n)]


def numbers(sample: Sample) -> list[int]:
    """Which of `numbered` a sample holds: luma back from RGB."""
    gray = sample.pixels.mean(axis=(0, 2, 3))
    return [round((v * 219 / 255 + 16 - 20) / 2) for v in gray]


def textured(n: int = 3, height: int = 48, width: int = 64) -> list[av.VideoFrame]:
    """Frames in which no turn looks like another."""
    return [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(f), format="rgb24").reformat(format="yuv444p")
        for f in scene(n, height, width).transpose(1, 2, 3, 0)
    ]


def refusal(path: Path, sampling: Sampling = PROTOCOL) -> str:
    """The message with which a file is refused: it names the file and not its folder."""
    with pytest.raises(UnreadableSample) as caught:
        read_file(path, sampling)
    assert str(caught.value).startswith(f"{path.name}: ")
    assert str(path.parent) not in str(caught.value)
    return str(caught.value)


# which frames


@pytest.mark.parametrize(
    ("available", "sampling", "expected", "stride"),
    [
        (97, PROTOCOL, [*range(0, 97, 3)], 3),
        (1000, PROTOCOL, [*range(0, 97, 3)], 3),
        (96, PROTOCOL, [*range(0, 65, 2)], 2),  # 96 // 33 = 2
        (65, PROTOCOL, [*range(33)], 1),
        (33, PROTOCOL, [*range(33)], 1),
        (5, PROTOCOL, [0, 1, 2, 3, 4], 1),
        (1, PROTOCOL, [0], 1),
        (107, Sampling(33, 3, 10), [*range(10, 107, 3)], 3),
        (106, Sampling(33, 3, 10), [*range(10, 75, 2)], 2),
        (3, Sampling(1, 5, 2), [2], 5),
    ],
)
def test_a_clip_too_short_for_the_stride_gets_the_largest_that_fits(
    available: int, sampling: Sampling, expected: list[int], stride: int
) -> None:
    indices, used = frame_indices(available, sampling)
    assert (list(indices), used) == (expected, stride)


@pytest.mark.parametrize("sampling", [Sampling(33, 3, short="error"), Sampling(33, 3, start=96)])
def test_a_clip_without_the_frames_asked_for_is_refused(sampling: Sampling) -> None:
    with pytest.raises(UnreadableSample, match="has 96 frames"):
        frame_indices(96, sampling)


# clips


def test_frames_are_those_asked_for_with_their_time_stamps(tmp_path: Path) -> None:
    sample = read_video(encode(tmp_path / "long.mp4", numbered(110)), PROTOCOL)
    assert sample.pixels.shape == (3, 33, 48, 64)
    assert numbers(sample) == [*range(0, 97, 3)]
    assert sample.facts == {"stride": 3, "pts": pytest.approx([k * 3 / 25 for k in range(33)], abs=1e-5)}
    assert sample.fps == 25
    assert sample.id == "long.mp4"


def test_a_short_clip_is_decoded_again_with_the_stride_it_allows(tmp_path: Path) -> None:
    sample = read_video(encode(tmp_path / "short.mp4", numbered(80)), PROTOCOL)
    assert numbers(sample) == [*range(0, 65, 2)]
    assert (sample.facts["stride"], sample.facts["available"]) == (2, 80)


def test_only_wanted_frames_are_converted_and_none_is_decoded_after_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[float] = []
    real = video.to_rgb

    def spy(frame: av.VideoFrame, facts: dict[str, object]) -> np.ndarray:
        converted.append(frame.time)
        return real(frame, facts)

    monkeypatch.setattr(video, "to_rgb", spy)
    file = encode(tmp_path / "long.mkv", numbered(110))
    file.write_bytes(file.read_bytes()[:-2000])  # the last frames are not there; nobody asks for them
    read_video(file, Sampling(3, 10))
    assert converted == pytest.approx([0, 0.4, 0.8])


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.mkv", "ffv1"), ("a.mov", "libx264"), ("a.ts", "libx264")]
)
def test_other_containers_give_the_same_frames(tmp_path: Path, name: str, codec: str) -> None:
    sample = read_file(encode(tmp_path / name, numbered(12), codec), Sampling(4, 2, 1))
    assert numbers(sample) == [1, 3, 5, 7]


def test_one_frame_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    sample = read_file(encode(tmp_path / "one.mp4", numbered(1)), PROTOCOL)
    assert sample.is_image
    assert sample.facts["available"] == 1


def test_a_variable_rate_neither_doubles_nor_drops_frames(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 6, 9, 12, 13]
    sample = read_file(encode(tmp_path / "vfr.mp4", numbered(8), times=times), ALL)
    assert numbers(sample) == [*range(8)]
    assert sample.facts["pts"] == pytest.approx([t / 25 for t in times], abs=1e-5)


def test_pixels_that_are_not_square_are_recorded_and_left(tmp_path: Path) -> None:
    sample = read_file(encode(tmp_path / "wide.mp4", numbered(2), tags={"sample_aspect_ratio": Fraction(4, 3)}), ALL)
    assert sample.pixels.shape == (3, 2, 48, 64)
    assert sample.facts["pixel_aspect"] == "4/3"


def test_an_odd_size_keeps_its_last_row_and_column(tmp_path: Path) -> None:
    frames = textured(2, 51, 67)
    sample = read_file(encode(tmp_path / "odd.mp4", frames), ALL)
    wanted = frames[1].reformat(format="rgb24").to_ndarray()
    assert np.array_equal(sample.pixels[:, 1].transpose(1, 2, 0), wanted)


def patch_box(file: Path, box: bytes, offset: int, *values: int) -> None:
    """Overwrite big-endian 32-bit values `offset` bytes after the name of every such box of an MP4."""
    data, place = bytearray(file.read_bytes()), -1
    while (place := data.find(box, place + 1)) >= 0:
        struct.pack_into(f">{len(values)}i", data, place + offset, *values)
    file.write_bytes(data)


def hide_leading(file: Path, frames: int, of: int) -> None:
    """Rewrite the edit list of an MP4 of 25 frames a second: duration (in 1/1000 s), then media time (1/12800 s)."""
    patch_box(file, b"elst", 12, (of - frames) * 40, frames * 512)


def test_an_edit_list_hides_the_frames_a_player_hides(tmp_path: Path) -> None:
    file = encode(tmp_path / "edit.mp4", numbered(40))
    hide_leading(file, 15, 40)
    sample = read_file(file, ALL)
    assert numbers(sample) == [*range(15, 40)]
    assert sample.facts["available"] == 25


TURNS = [  # a, b, c, d: pixel (x, y) is shown at (ax + cy, bx + dy); what NumPy calls that; clockwise degrees
    ((1, 0, 0, 1), lambda f: f, None),
    ((0, 1, -1, 0), lambda f: np.rot90(f, -1), 90),
    ((-1, 0, 0, -1), lambda f: np.rot90(f, 2), 180),
    ((0, -1, 1, 0), np.rot90, 270),
    ((-1, 0, 0, 1), np.fliplr, 180),
    ((1, 0, 0, -1), np.flipud, 0),
    ((0, 1, 1, 0), lambda f: f.transpose(1, 0, 2), 90),
    ((0, -1, -1, 0), lambda f: np.rot90(f, 2).transpose(1, 0, 2), 270),
]


def turn(file: Path, a: float, b: float, c: float, d: float) -> Path:
    """Write a display matrix into an MP4's track header."""
    fixed = [round(v * 65536) for v in (a, b, 0, c, d, 0)]
    patch_box(file, b"tkhd", 44, *fixed)
    return file


@pytest.mark.parametrize(("matrix", "turned", "degrees"), TURNS)
def test_every_quarter_turn_and_mirror_of_the_display_matrix_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], turned: object, degrees: int | None
) -> None:
    file = encode(tmp_path / "turn.mp4", frames := textured(2))
    sample = read_file(turn(file, *matrix), ALL)
    stored = frames[0].reformat(format="rgb24").to_ndarray()
    assert np.array_equal(sample.pixels[:, 0].transpose(1, 2, 0), turned(stored))  # type: ignore[operator]
    assert sample.facts.get("rotated") == degrees
    assert sample.facts.get("mirrored", False) == (matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0)


def test_a_turn_by_another_angle_is_refused(tmp_path: Path) -> None:
    file = turn(encode(tmp_path / "slant.mp4", textured(2)), 0.8, 0.6, -0.6, 0.8)
    assert "no quarter turn" in refusal(file)


# colours: expected values by arithmetic from Y'CbCr (ITU-R BT.601, BT.709, BT.2020)


def rgb_of(y: float, cb: float, cr: float, kr: float, kb: float) -> np.ndarray:
    """R, G, B in 0 to 255 from luma in 0 to 1 and colour differences in -0.5 to 0.5."""
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return 255 * np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


MATRICES = [({}, 0.299, 0.114), ({"colorspace": 1}, 0.2126, 0.0722), ({"colorspace": 9}, 0.2627, 0.0593)]


@pytest.mark.parametrize(("tags", "kr", "kb"), MATRICES)
@pytest.mark.parametrize(("y", "cb", "cr"), [(502, 380, 700), (300, 560, 480), (64, 512, 512), (940, 512, 512)])
def test_ten_bits_become_eight_within_half_a_level(
    tmp_path: Path, tags: dict[str, int], kr: float, kb: float, y: int, cb: int, cr: int
) -> None:
    file = encode(tmp_path / "deep.mkv", [flat((y, cb, cr), "yuv420p10le")] * 2, "ffv1", tags=tags)
    sample = read_file(file, ALL)
    wanted = rgb_of((y - 64) / 876, (cb - 512) / 896, (cr - 512) / 896, kr, kb)
    assert np.abs(sample.pixels.reshape(3, -1) - wanted[:, None]).max() <= 0.51
    assert sample.facts["bit_depth"] == 10


def stored(values: Sequence[int], depth: int, full: bool, kr: float, kb: float) -> np.ndarray:
    """R, G, B in 0 to 255 of Y', Cb, Cr as they are stored (ITU-T H.273, full and limited range), clipped."""
    y, cb, cr = values
    unit = 2 ** (depth - 8)
    low, luma, chroma = (0, 2**depth - 1, 2**depth - 1) if full else (16 * unit, 219 * unit, 224 * unit)
    return rgb_of((y - low) / luma, (cb - 128 * unit) / chroma, (cr - 128 * unit) / chroma, kr, kb).clip(0, 255)


@pytest.mark.parametrize(("tags", "kr", "kb"), MATRICES)
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv444p12le"])
def test_deep_colours_of_either_range_become_eight_bits_within_half_a_level(
    tags: dict[str, int], kr: float, kb: float, full: bool, pixels: str
) -> None:
    """swscale alone is up to 1.4 levels off in full range; its limited range is within 0.51."""
    depth, rng = int(pixels[-4:-2]), np.random.default_rng(0)
    for _ in range(25):
        values = rng.integers(0, 2**depth, 3).tolist()
        if not full:
            values = np.clip(values, 64 * 2 ** (depth - 10), 940 * 2 ** (depth - 10)).tolist()
        frame = flat(values, pixels)
        frame.colorspace, frame.color_range = tags.get("colorspace", 5), 2 if full else 1
        found = video.to_rgb(frame, {})[24, 32]
        assert np.abs(found - stored(values, depth, full, kr, kb)).max() <= (0.5 + 1e-9 if full else 0.52)


@pytest.mark.parametrize("pixels", ["gbrp10le", "gbrp12le", "gbrp16le", "gray10le", "gray12le", "gbrap12le"])
def test_deep_rgb_and_gray_become_eight_bits_rounded(pixels: str) -> None:
    depth, rng = int(pixels[-4:-2]), np.random.default_rng(0)
    for _ in range(25):
        values = rng.integers(0, 2**depth, 3).tolist()
        planes = values[:1] if "gray" in pixels else [*values, 2**depth - 1][: 4 if "gbra" in pixels else 3]
        green, blue, red = values if "gbr" in pixels else values[:1] * 3
        found = video.to_rgb(flat(planes, pixels), {})[24, 32]
        assert np.abs(found - np.array([red, green, blue]) * 255 / (2**depth - 1)).max() <= 0.5 + 1e-9


def test_a_ten_bit_clip_of_full_range_keeps_its_chroma_where_it_is(tmp_path: Path) -> None:
    """The planes go to 4:4:4 as they do for other clips: the picture agrees with swscale's but for its rounding."""
    frame = textured(1)[0].reformat(format="yuv420p10le", dst_color_range=2)
    frame.color_range = 2
    whole = frame.reformat(format="rgb24", interpolation=0x2 | 0x2000 | 0x40000).to_ndarray()
    assert np.abs(video.to_rgb(frame, {}).astype(int) - whole).max() <= 2


@pytest.mark.parametrize(
    ("width", "height", "tags", "matrix"),
    [
        (1280, 720, {}, "bt601 assumed"),
        (720, 1280, {}, "bt601 assumed"),
        (1280, 720, {"colorspace": 1}, None),
        (1280, 720, {"colorspace": 5}, None),
        (720, 576, {}, None),
    ],
)
def test_the_matrix_assumed_for_an_untagged_hd_clip_is_recorded(
    tmp_path: Path, width: int, height: int, tags: dict[str, int], matrix: str | None
) -> None:
    frames = [flat((125, 95, 175), width=width, height=height)]
    sample = read_file(encode(tmp_path / "a.mkv", frames, "ffv1", tags=tags), ALL)
    assert sample.facts.get("matrix") == matrix


@pytest.mark.parametrize(("tags", "kr", "kb"), MATRICES)
def test_eight_bits_follow_the_tagged_matrix_as_other_readers_have_it(
    tmp_path: Path, tags: dict[str, int], kr: float, kb: float
) -> None:
    """swscale's default rounds down along the way: up to 3 levels off, the same in every reader built on it."""
    sample = read_file(encode(tmp_path / "plain.mkv", [flat((125, 95, 175))], "ffv1", tags=tags), ALL)
    wanted = rgb_of((125 - 16) / 219, (95 - 128) / 224, (175 - 128) / 224, kr, kb)
    assert np.abs(sample.pixels.reshape(3, -1) - wanted[:, None]).max() <= 3


@pytest.mark.parametrize(("pixels", "tags"), [("yuvj420p", {}), ("yuv420p", {"color_range": 2})])
def test_full_range_is_not_stretched(tmp_path: Path, pixels: str, tags: dict[str, int]) -> None:
    sample = read_file(encode(tmp_path / "full.mp4", [flat((200, 128, 128), pixels)] * 2, tags=tags), ALL)
    assert np.abs(sample.pixels.astype(int) - 200).max() <= 1
    assert sample.facts["range"] == "full"


def test_a_pq_clip_is_taken_as_it_is_and_recorded(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_trc": 16, "color_primaries": 9}
    sample = read_file(encode(tmp_path / "pq.mkv", [flat((500, 512, 512), "yuv420p10le")], "ffv1", tags=tags), ALL)
    assert sample.facts["transfer"] == "PQ taken as SDR"
    assert np.abs(sample.pixels - (500 - 64) / 876 * 255).max() <= 0.51


def test_interlaced_frames_are_left_woven_and_recorded(tmp_path: Path) -> None:
    woven = textured(2)
    file = encode(tmp_path / "field.mp4", woven, options={"x264-params": "interlaced=1:qp=0"})
    sample = read_file(file, ALL)
    assert sample.facts["interlaced"] is True
    assert np.array_equal(sample.pixels[:, 1].transpose(1, 2, 0), woven[1].reformat(format="rgb24").to_ndarray())


def test_a_matrix_that_swscale_does_not_know_is_refused(tmp_path: Path) -> None:
    file = encode(tmp_path / "ycgco.mkv", [flat((125, 95, 175))], "ffv1", tags={"colorspace": 8})
    assert "colour matrix 8" in refusal(file)


def test_alpha_in_a_clip_is_composited_over_white(tmp_path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 4), (10, 20, 30, 102), np.uint8), format="bgra")
    sample = read_file(encode(tmp_path / "alpha.mkv", [frame], "ffv1"), ALL)
    wanted = 0.4 * np.array([30, 20, 10]) + 0.6 * 255
    assert np.abs(sample.pixels.reshape(3, -1) - wanted[:, None]).max() <= 1
    assert sample.facts["alpha"] == "over white"


def test_raw_yuv_takes_size_and_rate_from_its_name(tmp_path: Path) -> None:
    planes = b"".join(bytes([20 + 2 * k]) * (64 * 48) + bytes([128]) * (64 * 48 // 2) for k in range(6))
    file = tmp_path / "videoSRC01_64x48_24.yuv"
    file.write_bytes(planes)
    sample = read_file(file, Sampling(3, 2))
    assert (numbers(sample), sample.fps) == ([0, 2, 4], 24)
    file.write_bytes(planes[:-1])
    assert "no whole number" in refusal(file)


# streams


@pytest.mark.parametrize("marked", [1, 2])
def test_the_best_video_stream_is_read_not_the_first(tmp_path: Path, marked: int) -> None:
    """Best is the one marked as default; of two such that of the higher bit rate: here the large one."""
    frames = textured(5)
    with av.open(str(tmp_path / "two.mp4"), "w") as out:
        small, large = (out.add_stream("libx264", rate=25, options={"qp": "0", "bf": "0"}) for _ in range(2))
        small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
        large.width, large.height, large.pix_fmt = 64, 48, "yuv444p"
        for stream in (large, small)[:marked]:
            stream.disposition = av.stream.Disposition.default
        for k, frame in enumerate(frames):
            other = flat((200, 128, 128), width=32, height=32)
            other.pts = frame.pts = k
            out.mux(small.encode(other))
            out.mux(large.encode(frame))
        out.mux(small.encode())
        out.mux(large.encode())
    sample = read_file(tmp_path / "two.mp4", ALL)
    assert np.array_equal(sample.pixels[:, 4].transpose(1, 2, 0), frames[4].reformat(format="rgb24").to_ndarray())


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "tone.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert "no video stream in it, only audio" in refusal(tmp_path / "tone.mp4")


def test_a_cover_picture_is_no_clip(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as out:
        cover = out.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(flat((90, 128, 128), "yuvj420p")))
        out.mux(cover.encode())
    assert "no video stream in it, only picture" in refusal(tmp_path / "song.mp4")


def test_a_heif_picture_is_not_taken_for_a_clip(tmp_path: Path) -> None:
    file = encode(tmp_path / "photo.heic", numbered(1))
    file.write_bytes(file.read_bytes().replace(b"ftypisom", b"ftypheic", 1))
    assert "HEIF" in refusal(file)


def test_a_clip_whose_size_changes_is_refused(tmp_path: Path) -> None:
    first = encode(tmp_path / "a.ts", textured(5, 48, 64)).read_bytes()
    second = encode(tmp_path / "b.ts", textured(5, 64, 96)).read_bytes()
    (tmp_path / "change.ts").write_bytes(first + second)
    assert "the size changes within the clip, at frame 5" in refusal(tmp_path / "change.ts", ALL)


# broken files


@pytest.mark.parametrize("name", ["nothing.mp4", "nothing.jpg"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "the file is empty" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["words.mp4", "words.png", "words.txt", "words"])
def test_text_under_any_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("no picture\n" * 200)
    assert "is no picture that Pillow knows and no clip" in refusal(tmp_path / name)


def test_a_playlist_does_not_lead_to_another_file(tmp_path: Path) -> None:
    encode(tmp_path / "real.mp4", numbered(5))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile real.mp4\n")
    refusal(tmp_path / "list.mp4")


def test_a_clip_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "gone.mp4")


@pytest.mark.parametrize("sampling", [PROTOCOL, Sampling(2, 1)])
def test_a_cut_mp4_is_noticed_even_when_the_wanted_frames_are_there(tmp_path: Path, sampling: Sampling) -> None:
    file = encode(tmp_path / "cut.mp4", textured(30), container={"movflags": "faststart"})
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    assert "the file is cut off" in refusal(file, sampling)


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    file = encode(tmp_path / "tail.mp4", textured(30))
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    refusal(file)


@pytest.mark.parametrize(("name", "codec"), [("cut.mkv", "libx264"), ("cut.webm", "libvpx-vp9")])
def test_a_cut_matroska_file_is_noticed_when_its_end_is_reached(tmp_path: Path, name: str, codec: str) -> None:
    file = encode(tmp_path / name, [f.reformat(format="yuv420p") for f in textured(30)], codec)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    assert re.search(r"is damaged at frame 1\d or soon after \(FFmpeg: File ended prematurely\)", refusal(file))


def test_a_stream_that_breaks_off_says_after_how_many_frames(tmp_path: Path) -> None:
    file = encode(tmp_path / "cut.flv", [f.reformat(format="yuv420p") for f in textured(30)])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert re.search(r"decoding breaks off after 1\d frames", refusal(file))
    assert read_file(file, Sampling(3, 1)).pixels.shape[1] == 3


def test_a_shortage_of_memory_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), refusing(tmp_path / "good.mp4"):
        raise MemoryError


def test_damage_is_refused_where_a_decoder_with_slice_threads_keeps_quiet(tmp_path: Path) -> None:
    frames = [f.reformat(format="yuv420p") for f in textured(20, 240, 416)]
    file = encode(tmp_path / "bad.mp4", frames, options={"crf": "28"})
    data, rng = bytearray(file.read_bytes()), np.random.default_rng(0)
    for place in rng.integers(len(data) * 4 // 10, len(data) * 6 // 10, 60):
        data[place] ^= 0x55
    file.write_bytes(data)
    assert re.search(r"is damaged at frame \d+", refusal(file, ALL))


# decord, the second opinion


@pytest.fixture
def decord() -> object:
    return pytest.importorskip("decord")


def test_decord_and_pyav_agree_on_ordinary_clips(tmp_path: Path, decord: object) -> None:
    for file in (
        encode(tmp_path / "a.mp4", [f.reformat(format="yuv420p") for f in textured(40)]),
        turn(encode(tmp_path / "b.mp4", [f.reformat(format="yuv420p") for f in textured(5, 64, 128)]), 0, 1, -1, 0),
        encode(tmp_path / "c.mp4", [flat((90, 100, 160), "yuvj420p")] * 5, tags={"colorspace": 1}),
    ):
        one, other = (read_video(file, PROTOCOL, reader) for reader in ("pyav", "decord"))
        assert np.array_equal(one.pixels, other.pixels)


def test_decord_is_refused_where_it_counts_hidden_frames(tmp_path: Path, decord: object) -> None:
    file = encode(tmp_path / "edit.mp4", numbered(40))
    hide_leading(file, 15, 40)
    with pytest.raises(UnreadableSample, match=r"edit.mp4: decord counts 40 frames, the container shows 25.*pyav"):
        read_video(file, PROTOCOL, "decord")


def test_decord_is_refused_on_ten_bits(tmp_path: Path, decord: object) -> None:
    frames = [f.reformat(format="yuv420p10le") for f in textured(4)]
    with pytest.raises(UnreadableSample, match="decord"):
        read_video(encode(tmp_path / "deep.mp4", frames), PROTOCOL, "decord")


def test_decord_is_refused_where_it_cannot_follow(tmp_path: Path, decord: object) -> None:
    (tmp_path / "raw_64x48_30.yuv").write_bytes(bytes(64 * 72))
    with pytest.raises(UnreadableSample, match="decord cannot open it; read it with reader=pyav"):
        read_video(tmp_path / "raw_64x48_30.yuv", PROTOCOL, "decord")
    turned = turn(encode(tmp_path / "turned.mp4", numbered(2)), 0, 1, -1, 0)
    with pytest.raises(UnreadableSample, match=r"shape \(64, 48, 4\), PyAV \(64, 48, 3\)"):  # a fault of decord's
        read_video(turned, PROTOCOL, "decord")


def test_decord_is_not_let_near_transport_streams(tmp_path: Path, decord: object) -> None:
    with pytest.raises(UnreadableSample, match="transport streams"):
        read_video(encode(tmp_path / "a.ts", numbered(5)), PROTOCOL, "decord")


def test_without_decord_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(Unavailable, match=r"pip install cvbench\[decord\]"):
        crosscheck.load_decord()


# pictures


def picture(seed: int = 0, height: int = 40, width: int = 56) -> np.ndarray:
    return np.ascontiguousarray(scene(1, height, width, seed)[:, 0].transpose(1, 2, 0))


def pixels_of(sample: Sample) -> np.ndarray:
    assert sample.pixels.shape[1] == 1
    return sample.pixels[:, 0].transpose(1, 2, 0)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "real.png")
    (tmp_path / "real.png").rename(tmp_path / "a blank and ümlaut.jpg")
    sample = read_file(tmp_path / "a blank and ümlaut.jpg", PROTOCOL)
    assert np.array_equal(pixels_of(sample), picture())
    encode(tmp_path / "clip.mp4", numbered(3)).rename(tmp_path / "clip.png")
    assert numbers(read_file(tmp_path / "clip.png", ALL)) == [0, 1, 2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_applies_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / "turned.jpg", exif=exif)
    sample = read_image(tmp_path / "turned.jpg")
    with Image.open(tmp_path / "turned.jpg") as image:
        assert np.array_equal(pixels_of(sample), np.array(ImageOps.exif_transpose(image)))
    assert sample.facts == ({"exif_orientation": orientation} if orientation > 1 else {})


def test_alpha_is_composited_over_white_and_said_so(tmp_path: Path) -> None:
    rgba = np.dstack([picture(), np.tile(np.linspace(0, 255, 56).astype(np.uint8), (40, 1))])
    Image.fromarray(rgba).save(tmp_path / "ramp.png")
    sample = read_image(tmp_path / "ramp.png")
    alpha = rgba[..., 3:] / 255
    assert np.abs(pixels_of(sample) - (alpha * rgba[..., :3] + (1 - alpha) * 255)).max() <= 1
    assert sample.facts == {"alpha": "over white"}
    Image.fromarray(np.dstack([picture(), np.full((40, 56), 255, np.uint8)])).save(tmp_path / "opaque.png")
    assert read_image(tmp_path / "opaque.png").facts == {}


def test_a_transparent_colour_of_a_palette_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (32, 24), 1)
    image.putpalette([255, 0, 0, 0, 128, 255])
    image.paste(0, (0, 0, 16, 24))
    image.save(tmp_path / "palette.png", transparency=0)
    found = pixels_of(read_image(tmp_path / "palette.png"))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 31].tolist() == [0, 128, 255]


def test_gray_is_repeated_and_cmyk_converted(tmp_path: Path) -> None:
    Image.fromarray(picture()[..., 0]).save(tmp_path / "gray.png")
    found = read_image(tmp_path / "gray.png")
    assert np.array_equal(pixels_of(found), np.repeat(picture()[..., :1], 3, 2))
    assert found.facts == {"mode": "L"}
    Image.new("CMYK", (32, 24), (51, 102, 0, 51)).save(tmp_path / "ink.jpg", quality=100)
    wanted = [(255 - ink) * (255 - 51) / 255 for ink in (51, 102, 0)]
    assert pixels_of(read_image(tmp_path / "ink.jpg"))[9, 9].tolist() == pytest.approx(wanted, abs=2)


def save_png16(file: Path, values: np.ndarray, colour: int) -> None:
    """Write a PNG of 16 bits a channel; colour type 0 gray, 2 RGB, 4 gray and alpha, 6 RGBA."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, colour: int, channels: int) -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (20, 30, channels), np.uint16)
    if colour in (4, 6):
        deep[..., -1] = 65535
    save_png16(tmp_path / "deep.png", deep, colour)
    sample = read_image(tmp_path / "deep.png")
    rgb = np.repeat(deep[..., :1], 3, 2) if colour in (0, 4) else deep[..., :3]
    assert np.abs(pixels_of(sample) - rgb / 257).max() <= 0.5
    assert sample.facts["bit_depth"] == 16


def test_numbers_without_a_stated_white_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30), 0.5, np.float32)).save(tmp_path / "float.tiff")
    assert "no stated white" in refusal(tmp_path / "float.tiff")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_truncated_picture_is_refused(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"cut.{ending}"
    Image.fromarray(picture(0, 200, 200)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 55 // 100])
    refusal(file)


def test_pictures_and_clips_below_sixteen_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (7, 5)).save(tmp_path / "tiny.png")
    assert "7×5 pixels are too few" in refusal(tmp_path / "tiny.png")
    encode(tmp_path / "tiny.mkv", [flat((9, 128, 128), width=32, height=8)], "ffv1")
    assert "32×8 pixels are too few" in refusal(tmp_path / "tiny.mkv")


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_an_animation_is_a_clip_with_the_time_of_its_delays(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (32, 24), (40 * k, 40 * k, 40 * k)) for k in range(6)]
    delays = [100, 100, 200, 200, 300, 300]
    extra = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], duration=delays, **extra)
    sample = read_file(tmp_path / f"a.{ending}", Sampling(3, 2, 1))
    assert sample.pixels[0, :, 9, 9].tolist() == [40, 120, 200]
    assert sample.facts["pts"] == pytest.approx([0.1, 0.4, 0.9])
    assert read_file(tmp_path / f"a.{ending}", ALL).fps == pytest.approx(6 / 1.2)


@pytest.mark.parametrize("frames", [8, 1])
def test_the_cover_of_an_animated_png_is_no_frame(tmp_path: Path, frames: int) -> None:
    """A default image that stands before the first frame control is for readers that know no animation."""
    cover = Image.new("RGB", (32, 24), (250, 250, 250))
    images = [Image.new("RGB", (32, 24), (20 * k, 20 * k, 20 * k)) for k in range(frames)]
    cover.save(tmp_path / "a.png", save_all=True, default_image=True, append_images=images, duration=40)
    sample = read_file(tmp_path / "a.png", ALL)
    assert sample.pixels[0, :, 9, 9].tolist() == [20 * k for k in range(frames)]
    assert (sample.facts["available"], sample.fps) == (frames, 25)
    assert sample.facts["pts"] == pytest.approx([0.04 * k for k in range(frames)])
    assert read_file(tmp_path / "a.png", Sampling(2, 3)).pixels[0, :, 9, 9].tolist() == [0, 60][:frames]


def test_a_still_first_frame_that_is_shown_is_a_frame(tmp_path: Path) -> None:
    images = [Image.new("RGB", (32, 24), (20 * k, 20 * k, 20 * k)) for k in range(4)]
    for name in ("a.png", "a.gif", "a.webp", "a.avif"):
        extra = {"lossless": True} if name.endswith("webp") else {"quality": 100} if name.endswith("avif") else {}
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:], duration=40, **extra)
        found = read_file(tmp_path / name, ALL).pixels[0, :, 9, 9]
        assert np.abs(found - [0.0, 20, 40, 60]).max() <= 2  # AVIF is coded in Y'CbCr


def test_a_gif_of_one_frame_and_a_tiff_of_two_pages_are_pictures(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "one.gif")
    assert read_file(tmp_path / "one.gif", PROTOCOL).is_image
    pages = [Image.fromarray(picture(k)) for k in range(2)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    assert np.array_equal(pixels_of(read_file(tmp_path / "pages.tiff", PROTOCOL)), picture(0))


def test_numbered_pictures_are_one_clip_and_must_agree_in_size(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k:05}.png" for k in range(9)]
    for k, path in enumerate(paths):
        Image.new("RGB", (32, 24), (k, k, k)).save(path)
    sample = read_numbered(paths, Sampling(3, 9), 24.0)
    assert sample.pixels[0, :, 0, 0].tolist() == [0, 3, 6]
    assert (sample.fps, sample.facts["stride"], sample.facts["available"]) == (24.0, 3, 9)
    Image.new("RGB", (24, 32)).save(paths[4])
    with pytest.raises(UnreadableSample, match=r"00004.png from 00000.png"):
        read_numbered(paths, ALL)


# bounds


def test_pictures_beyond_the_bound_are_refused_in_our_words_and_unseen(tmp_path: Path) -> None:
    """A PNG head of 12,000 × 12,000 (Pillow: a warning) and of 60,000 × 60,000 (Pillow: "decompression bomb")."""
    for side in (12_000, 60_000):
        save_png16(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint16), 2)
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "a.png").write_bytes(data)
        assert re.search("more than 134,217,728.*the most that are read", refusal(tmp_path / "a.png"))


def test_what_the_program_allows_pillow_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert np.array_equal(pixels_of(read_file(tmp_path / "a.png", ALL)), picture())
    assert Image.MAX_IMAGE_PIXELS == 100


def test_frames_beyond_the_bound_are_refused_before_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{k:05}.png" for k in range(5)]
    images = [Image.new("RGB", (32, 24), (k, k, k)) for k in range(5)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    encode(tmp_path / "a.mkv", [flat((9, 128, 128), width=32, height=24)] * 5, "ffv1")
    monkeypatch.setattr("cvbench.data.files.MOST_BYTES", 4 * 32 * 24 * 3)
    for name in ("a.gif", "a.mkv"):
        assert "5 frames of 32×24 pixels take more than" in refusal(tmp_path / name, ALL)
        assert read_file(tmp_path / name, Sampling(4, 1)).pixels.shape[1] == 4
    with pytest.raises(UnreadableSample, match="5 frames of 32×24 pixels take more than"):
        read_numbered(paths, ALL)


def test_the_bounds_leave_room_for_8k_and_for_257_frames_of_4k() -> None:
    assert MOST_PIXELS >= 7680 * 4320
    assert MOST_BYTES >= 257 * 4096 * 2160 * 3


def test_texts_that_unpack_beyond_all_bounds_are_refused_in_our_words(tmp_path: Path) -> None:
    save_png16(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint16), 2)
    data = (tmp_path / "a.png").read_bytes()
    text = b"zTXt" + b"key\0\0" + zlib.compress(bytes(2 << 20))
    bomb = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    (tmp_path / "a.png").write_bytes(data[:33] + bomb + data[33:])
    assert "its texts or colour profile unpack to more than Pillow reads" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.mkv", "walk"])
def test_pixels_are_contiguous_whatever_they_are_read_from(tmp_path: Path, name: str) -> None:
    images = [Image.fromarray(picture(k)) for k in range(3)]
    (tmp_path / "walk").mkdir()
    paths = [tmp_path / "walk" / f"{k:05}.png" for k in range(3)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    images[0].save(tmp_path / "a.png")
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    encode(tmp_path / "a.mkv", textured(3), "ffv1")
    sample = read_numbered(paths, ALL) if name == "walk" else read_file(tmp_path / name, ALL)
    assert sample.pixels.flags.c_contiguous


# resize


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (33, 33), (32, 35), (20, 320), (101, 67), (96, 171)])
@pytest.mark.parametrize("size", [16, 32, 57])
@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
def test_prepare_equals_torchvision_on_pil_images_to_the_bit(shape: tuple[int, int], size: int, name: str) -> None:
    pixels = scene(2, *shape)
    mode = vision.InterpolationMode(name)
    for index, frame in enumerate(pixels.transpose(1, 2, 3, 0)):
        image = vision.resize(Image.fromarray(np.ascontiguousarray(frame)), size, mode)
        wanted = np.array(vision.center_crop(image, [size, size]))
        found = prepare(pixels, size, name, True, "center")  # type: ignore[arg-type]
        assert np.array_equal(found[:, index].transpose(1, 2, 0), wanted)


def test_prepare_equals_pillow_where_the_arithmetic_is_plain() -> None:
    pixels = scene(1, 40, 60)
    image = Image.fromarray(np.ascontiguousarray(pixels[:, 0].transpose(1, 2, 0)))
    wanted = image.resize((30, 20), Image.Resampling.LANCZOS).crop((5, 0, 25, 20))
    assert np.array_equal(prepare(pixels, 20, "lanczos")[:, 0].transpose(1, 2, 0), np.array(wanted))


@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [17, 90])
def test_without_antialias_prepare_equals_torch_interpolate(name: str, size: int) -> None:
    """Within the rounding to 8 bits: half a level and 1e-6 for the order of additions in float64."""
    pixels: Pixels = scene(2, 40, 56)
    wide = size * 56 // 40
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(pixels.transpose(1, 0, 2, 3).astype(float)), (size, wide), mode=name, align_corners=False
    )
    found = prepare(pixels, size, name, False, "none").transpose(1, 0, 2, 3)  # type: ignore[arg-type]
    assert np.abs(found - wanted.numpy().clip(0, 255)).max() <= 0.5 + 1e-6


def test_without_a_size_nothing_changes_and_without_a_crop_the_aspect_stays() -> None:
    pixels = scene(2, 40, 56)
    assert prepare(pixels, None) is pixels
    assert prepare(pixels, 20, crop="none").shape == (3, 2, 20, 28)
    assert prepare(pixels, 80).shape == (3, 2, 80, 80)


def test_resizes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="lanczos"):
        prepare(scene(1, 40, 56), 20, "lanczos", False)
    with pytest.raises(UsageError, match="at least 1"):
        prepare(scene(1, 40, 56), 0)


@pytest.mark.parametrize("kind", ["folder", "file", "packed"])
def test_a_clip_that_is_too_short_is_left_out_whatever_holds_it(kind: str, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8)
    path = tmp_path / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for k, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / f"{k}.png")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    sampling = Sampling(9, 1, 0, "skip")
    read = {
        "folder": lambda: read_numbered(sorted(tmp_path.glob("*.png")), sampling),
        "file": lambda: read_named("clip", path, "pyav", sampling),
        "packed": lambda: read_packed("shard/clip", path.read_bytes(), "clip.mp4", "pyav", sampling),
    }
    with pytest.raises(TooShort, match="has 5 frames, too few for 9"):
        read[kind]()
