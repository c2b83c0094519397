"""Damage that FFmpeg's log, a checksum or an index shows refuses the file; files in order, however odd, are read."""

import re
import threading
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import scene
from PIL import Image, ImageFile

from cvbench.core.errors import UnreadableSample
from cvbench.core.types import Sampling
from cvbench.data.damage import listening
from cvbench.data.frames import read_file

ALL = Sampling(1000, 1)
CODECS = {"ffv1": "yuv420p", "mjpeg": "yuvj420p", "mpeg4": "yuv420p", "libx264": "yuv420p"}


def encode(
    file: Path, codec: str, frames: int = 6, times: Sequence[int] | None = None, hold: int = 1, **options: str
) -> Path:
    """Write a moving texture of 64×48, 25 frames a second; the last frame is shown for `hold` frames."""
    with av.open(str(file), "w") as out:
        stream = out.add_stream(codec, rate=25, options={name.replace("_", "-"): v for name, v in options.items()})
        stream.width, stream.height, stream.pix_fmt = 64, 48, CODECS.get(codec, "yuv420p")
        stream.codec_context.time_base = Fraction(1, 25)
        packets = []
        for index, pixels in enumerate(scene(frames, 48, 64).transpose(1, 2, 3, 0)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = times[index] if times else index, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode()
        packets[-1].duration = int(Fraction(hold, 25) / packets[-1].time_base)
        out.mux(packets)
    return file


def flip(file: Path, place: int, bits: int = 0x10) -> Path:
    """Damage one byte."""
    data = bytearray(file.read_bytes())
    data[place] ^= bits
    file.write_bytes(data)
    return file


def refusal(file: Path, sampling: Sampling = ALL) -> str:
    with pytest.raises(UnreadableSample) as caught:
        read_file(file, sampling)
    return str(caught.value)


def outcomes(file: Path, seed: int, flips: int = 24) -> tuple[int, int]:
    """How many of single flipped bytes are refused, and how many give other pixels without a word."""
    good, data, rng = read_file(file, ALL).pixels, file.read_bytes(), np.random.default_rng(seed)
    refused = silent = 0
    for _ in range(flips):
        file.write_bytes(data)
        flip(file, int(rng.integers(len(data) // 4, len(data) * 3 // 4)), int(rng.integers(1, 256)))
        try:
            silent += not np.array_equal(read_file(file, ALL).pixels, good)
        except UnreadableSample:
            refused += 1
    return refused, silent


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("slices.avi", "ffv1", {"level": "3", "slicecrc": "1"}),
        ("clusters.mkv", "ffv1", {"level": "1"}),
        ("clusters.mkv", "mjpeg", {}),
        ("clusters.mkv", "libx264", {}),
        ("pages.ogv", "libvpx", {}),
    ],
)
def test_no_flipped_byte_passes_a_checksum(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    """A checksum of 32 bits misses one error in 4e9: FFV1's of slices, Matroska's of clusters, Ogg's of pages."""
    refused, silent = outcomes(encode(tmp_path / name, codec, **options), 1)
    assert (silent, refused >= 20) == (0, True)  # a few bytes, of padding and lengths, decide no pixel


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mjpeg"), ("a.wmv", "wmv2")])
def test_what_ffmpeg_logs_of_broken_codes_refuses_the_file(tmp_path: Path, name: str, codec: str) -> None:
    """These have no checksum: many a flip decodes to something, which nothing can tell; what FFmpeg sees counts."""
    refused, _ = outcomes(encode(tmp_path / name, codec), 3)
    assert refused >= 3


def test_a_wrong_slice_checksum_is_said_in_ffmpeg_s_words(tmp_path: Path) -> None:
    file = encode(tmp_path / "a.avi", "ffv1", level="3", slicecrc="1")
    flip(file, file.stat().st_size // 2)
    assert re.search(r"a\.avi: is damaged at frame \d or soon after \(FFmpeg: slice CRC mismatch", refusal(file))
    assert refusal(file) == refusal(file)  # a repeated message is none the less one


def test_a_cluster_after_the_last_wanted_frame_is_nobody_s_concern(tmp_path: Path) -> None:
    file = tmp_path / "a.mkv"
    with av.open(str(file), "w", options={"cluster_time_limit": "400"}) as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for pixels in scene(60, 48, 64).transpose(1, 2, 3, 0):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        out.mux(stream.encode())
    good = read_file(file, Sampling(5, 1)).pixels
    flip(file, file.stat().st_size * 3 // 4)
    assert np.array_equal(read_file(file, Sampling(5, 1)).pixels, good)
    assert re.search(r"the checksum of its bytes from [\d,]+ is wrong", refusal(file))


def test_only_messages_of_this_thread_count_and_pyav_s_level_comes_back() -> None:
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    with listening() as said:
        other = threading.Thread(target=lambda: av.logging.log(av.logging.ERROR, "other", "elsewhere"))
        with listening() as inner:
            av.logging.log(av.logging.ERROR, "here", "within")
        other.start()
        other.join()
        av.logging.log(av.logging.ERROR, "here", "after")
        av.logging.log(av.logging.ERROR, "here", "after")
    assert ([m[2] for m in inner], [m[2] for m in said]) == (["within"], ["after", "after"])
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def test_threads_judge_their_own_files(tmp_path: Path) -> None:
    good = encode(tmp_path / "good.avi", "ffv1", level="3", slicecrc="1")
    bad = flip(encode(tmp_path / "bad.avi", "ffv1", level="3", slicecrc="1"), good.stat().st_size // 2)
    seen: dict[int, bool] = {}

    def judge(index: int) -> None:
        for _ in range(8):
            try:
                read_file(bad if index % 2 else good, ALL)
                seen[index] = seen.get(index, True) and not index % 2
            except UnreadableSample:
                seen[index] = seen.get(index, True) and bool(index % 2)

    threads = [threading.Thread(target=judge, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == dict.fromkeys(range(4), True)


# files in order


def test_a_recording_that_begins_between_key_frames_shows_what_follows_the_first(tmp_path: Path) -> None:
    file = encode(tmp_path / "whole.ts", "libx264", 40, g="10", x264_params="scenecut=0:bframes=0")
    whole, data = read_file(file, ALL).pixels, file.read_bytes()
    third = (len(data) // 188 // 3) * 188
    (tmp_path / "entered.ts").write_bytes(data[third:])
    entered = read_file(tmp_path / "entered.ts", ALL).pixels
    assert entered.shape[1] in (20, 30)
    assert np.array_equal(entered, whole[:, -entered.shape[1] :])


def transport_packets(file: Path, pid: int = 0x100) -> tuple[bytes, list[int]]:
    """A transport stream, and where in it the packets of the video are that continue a picture."""
    data = file.read_bytes()
    places = [p for p in range(0, len(data), 188) if (data[p + 1] & 0x1F) << 8 | data[p + 2] == pid]
    return data, [p for p in places if not data[p + 1] & 0x40]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_every_packet_lost_from_within_a_picture_of_a_transport_stream_is_missed(tmp_path: Path, codec: str) -> None:
    """All but the last packets of pictures, whose loss looks like the place where two recordings were joined."""
    options = {"crf": "5"} if codec == "libx264" else {}
    data, places = transport_packets(encode(tmp_path / "a.ts", codec, 6, **options))
    followed = [p for p in places if p + 188 in places]
    assert len(followed) >= 8
    for place in followed[:: len(followed) // 8]:
        (tmp_path / "lost.ts").write_bytes(data[:place] + data[place + 188 :])
        assert "is damaged" in refusal(tmp_path / "lost.ts")


def test_packets_that_the_receiver_marked_as_wrong_refuse_a_recording(tmp_path: Path) -> None:
    file = encode(tmp_path / "a.ts", "mpeg2video")
    flip(file, transport_packets(file)[1][1] + 1, 0x80)
    assert "its receiver marked packets as wrong" in refusal(file)


@pytest.mark.parametrize("prefix", [b"", b"\0\0\0\0"])
def test_recordings_joined_end_to_end_are_read_through(tmp_path: Path, prefix: bytes) -> None:
    """Blu-ray's packets have four bytes before each."""
    data = encode(tmp_path / "a.ts", "mpeg2video").read_bytes()
    good = read_file(tmp_path / "a.ts", ALL).pixels
    twice = b"".join(prefix + data[p : p + 188] for p in range(0, len(data), 188)) * 2
    (tmp_path / "twice.ts").write_bytes(twice)
    assert np.array_equal(read_file(tmp_path / "twice.ts", ALL).pixels, np.concatenate([good, good], axis=1))


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.avi", "mjpeg"), ("a.mp4", "libx264")])
def test_a_last_frame_that_is_held_is_not_missing_and_a_file_cut_off_is(tmp_path: Path, name: str, codec: str) -> None:
    file = encode(tmp_path / name, codec, 8, [0, 1, 2, 3, 14, 15, 16, 17], 75)
    assert read_file(file, ALL).pixels.shape[1] == 8
    data = file.read_bytes()
    for share in (0.5, 0.8):
        file.write_bytes(data[: int(len(data) * share)])
        refusal(file)


def test_an_avi_file_that_is_cut_off_is_refused_though_the_wanted_frames_are_there(tmp_path: Path) -> None:
    file = encode(tmp_path / "a.avi", "mjpeg", 20)
    file.write_bytes(file.read_bytes()[:-3000])
    assert re.search(r"cut off: [23],\d+ bytes are missing", refusal(file, Sampling(2, 1)))


def test_a_frame_that_an_avi_file_s_index_lists_and_the_file_lacks_is_missed(tmp_path: Path) -> None:
    file = encode(tmp_path / "a.avi", "mjpeg", 8)
    data = bytearray(file.read_bytes())
    third = [match.start() for match in re.finditer(b"00dc", data)][2]
    data[third : third + 4] = b"JUNK"
    file.write_bytes(data)
    assert "its index lists 8 frames, of which 7 are there" in refusal(file)


# pictures


def png_chunks(data: bytes) -> dict[bytes, int]:
    """Where the data of each kind of chunk begins, the last of its kind."""
    found, place = {}, 8
    while place < len(data):
        size = int.from_bytes(data[place : place + 4])
        found[data[place + 4 : place + 8]] = place + 8
        assert zlib.crc32(data[place + 4 : place + 8 + size]) == int.from_bytes(data[place + 8 + size :][:4])
        place += 12 + size
    return found


def test_a_png_whose_data_do_not_have_their_checksum_is_refused(tmp_path: Path) -> None:
    """Of stored (level 0) data Pillow takes every bit for true: it stops inflating before the last checksum."""
    file = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(scene(1, 48, 64)[:, 0].transpose(1, 2, 0))).save(file, compress_level=0)
    flip(file, png_chunks(file.read_bytes())[b"IDAT"] + 500)
    assert "the checksum of its IDAT data is wrong" in refusal(file)


def test_an_animated_png_with_a_damaged_frame_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    frames = [Image.fromarray(np.ascontiguousarray(f)) for f in scene(4, 48, 64).transpose(1, 2, 3, 0)]
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=40)
    flip(file, png_chunks(file.read_bytes())[b"fdAT"] + 900)
    assert "the checksum of its fdAT data is wrong" in refusal(file)


def test_an_animation_that_pillow_refuses_is_not_read_as_a_clip(tmp_path: Path) -> None:
    """FFmpeg reads animated PNG and GIF, too, each in a way of its own."""
    for name in ("a.png", "a.gif"):
        frames = [Image.fromarray(np.ascontiguousarray(f)) for f in scene(4, 48, 64).transpose(1, 2, 3, 0)]
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40)
    flip(tmp_path / "a.png", png_chunks((tmp_path / "a.png").read_bytes())[b"acTL"] + 1)
    assert "begins as a PNG picture and is damaged" in refusal(tmp_path / "a.png")
    (tmp_path / "a.gif").write_bytes((tmp_path / "a.gif").read_bytes()[:12])
    assert "a.gif: " in refusal(tmp_path / "a.gif")


def test_a_cut_picture_is_refused_whatever_the_program_told_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending in ("jpg", "png", "gif", "webp", "tif"):
        file = tmp_path / f"a.{ending}"
        Image.fromarray(np.ascontiguousarray(scene(1, 96, 128)[:, 0].transpose(1, 2, 0))).save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
        monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
        refusal(file)
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
