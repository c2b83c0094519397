"""The codecs: monotone in quality, deterministic, and with no bit uncounted."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from cvbench.core.errors import BadOutput, Unavailable, UnsuitableInput, UsageError
from cvbench.models import codecs
from cvbench.models.codecs import H264, Av1, Codec, Hevc, Jpeg, VideoCodec, WebP

LEVELS: dict[type[Codec], list[int]] = {
    Jpeg: [10, 40, 75, 95],
    WebP: [10, 40, 75, 95],
    H264: [44, 35, 26, 17],
    Hevc: [44, 35, 26, 17],
    Av1: [60, 45, 30, 15],
}
CODECS = tuple(LEVELS)
VIDEO_CODECS = (H264, Hevc, Av1)
RAW_FORMAT = {H264: "h264", Hevc: "hevc", Av1: "obu"}


def moving(frames: int, height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    """A texture of several scales that pans, with a disc that moves the other way: (1, 3, t, h, w)."""
    noise = torch.Generator().manual_seed(seed)
    size = (height + 2 * frames, width + 2 * frames)
    scene = torch.full((3, *size), 0.5)
    for scale in (32, 8, 2):
        grain = torch.rand(1, 3, size[0] // scale + 2, size[1] // scale + 2, generator=noise) - 0.5
        grain = torch.nn.functional.interpolate(grain, scale_factor=scale, mode="bilinear")
        scene += 0.3 * grain[0, :, : size[0], : size[1]]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    clip = torch.stack([scene[:, i : i + height, 2 * i : 2 * i + width] for i in range(frames)], 1)
    for i in range(frames):
        clip[:, i, (rows - height / 2) ** 2 + (columns - width / 2 + 2 * i) ** 2 < 150] = 0.8
    return (clip.clamp(0, 1) * 255).round()[None] / 255


def psnr(recon: torch.Tensor, target: torch.Tensor) -> float:
    return float(-10 * (recon - target).square().mean().log10())


def streams(codec: Codec, videos: torch.Tensor) -> list[bytes]:
    latents = codec.encode(videos)
    assert isinstance(latents, list)
    return latents


def frames_of(stream: bytes, raw_format: str) -> list[av.VideoFrame]:
    """Read a stream as any player would: through FFmpeg's demuxer of raw streams."""
    with av.open(BytesIO(stream), format=raw_format) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("codec", CODECS)
def test_quality_costs_bits_and_pays_in_psnr(codec: type[Codec]) -> None:
    videos = moving(9)
    coded = [(streams(model, videos), model) for model in map(codec, LEVELS[codec])]
    bits = [8 * len(z[0]) for z, _ in coded]
    quality = [psnr(model.decode(z, 9), videos) for z, model in coded]
    assert bits == sorted(set(bits))
    assert quality == sorted(set(quality))
    assert quality[-1] > quality[0] + 5
    assert quality[-1] > 32


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(64, 64), (64, 98), (66, 64)])
def test_equal_clips_give_equal_bytes(codec: type[Codec], size: tuple[int, int]) -> None:
    """64×64 is where x264 and x265 read memory they never wrote, if they are let: the heap is stirred between runs."""
    videos = moving(9, *size)
    results = set()
    for seed in range(6):
        stirred = [torch.full((size,), float(seed)) for size in range(1, 20_000, 997)]
        results.add(streams(codec(), videos)[0])
        del stirred
    assert len(results) == 1


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("frames", range(1, 11))
def test_every_length_comes_back_in_order(codec: type[Codec], frames: int) -> None:
    """Each frame is nearest to its own source: no frame lost, repeated or out of order."""
    model, videos = codec(), moving(frames)
    recon = model.decode(model.encode(videos), frames)
    assert recon.shape == videos.shape
    assert recon.dtype == torch.float32
    assert recon.min() >= 0
    assert recon.max() <= 1
    error = (recon[0].unsqueeze(2) - videos[0].unsqueeze(1)).square().mean((0, 3, 4))
    assert error.argmin(1).tolist() == list(range(frames))


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_clip_of_two_groups_of_pictures_comes_back(codec: type[Codec]) -> None:
    videos = moving(4).repeat(1, 1, 65, 1, 1)
    recon = codec().decode(codec().encode(videos), 260)
    assert psnr(recon, videos) > 25


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_video_codec_spends_less_on_a_still_than_on_its_frames(codec: type[Codec]) -> None:
    still = moving(1)
    one, eight = streams(codec(), still), streams(codec(), still.expand(-1, -1, 8, -1, -1))
    assert len(eight[0]) < 4 * len(one[0])


@pytest.mark.parametrize(("codec", "options"), [(Jpeg, {"subsampling": 2, "optimize": True}), (WebP, {})])
def test_image_codecs_spend_what_pillow_writes(codec: type[Codec], options: dict[str, int]) -> None:
    videos = moving(3)
    files = []
    for frame in (videos[0] * 255).byte().permute(1, 2, 3, 0).numpy():
        file = BytesIO()
        Image.fromarray(frame).save(file, codec.name, quality=75, **options)
        files.append(file)
    stream = streams(codec(), videos)[0]
    assert stream == b"".join(file.getvalue() for file in files)
    expected = torch.from_numpy(np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]))
    assert torch.equal((codec().decode([stream], 3)[0] * 255).round().byte().permute(1, 2, 3, 0), expected)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_streams_are_what_any_player_reads(codec: type[VideoCodec]) -> None:
    """The luma of the stream is that of the reconstruction, by BT.709 in limited range, ± 1 for rounding."""
    videos = (moving(5) + 1) / 3  # away from black and white, where RGB is clipped
    stream = streams(codec(20), videos)[0]
    luma = np.stack([frame.to_ndarray()[:64] for frame in frames_of(stream, RAW_FORMAT[codec])])
    red, green, blue = codec(20).decode([stream], 5)[0].numpy()
    assert np.abs(16 + 219 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) - luma).max() <= 1


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_colours_are_coded_by_bt709(codec: type[VideoCodec]) -> None:
    """Red, green, blue of 0.8, 0.3, 0.2: Y = 0.2126 R + 0.7152 G + 0.0722 B, Cb and Cr by their differences."""
    videos = torch.tensor([0.8, 0.3, 0.2]).view(1, 3, 1, 1, 1).expand(1, 3, 2, 64, 64)
    stream = streams(codec(10), videos)[0]
    luma = 0.2126 * 0.8 + 0.7152 * 0.3 + 0.0722 * 0.2
    expected = (16 + 219 * luma, 128 + 224 * (0.2 - luma) / 1.8556, 128 + 224 * (0.8 - luma) / 1.5748)
    planes = np.split(frames_of(stream, RAW_FORMAT[codec])[1].to_ndarray().ravel(), [4096, 5120])
    assert [float(plane.mean()) for plane in planes] == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "colour", [(1.0, 0.0, 0.0), (0.1, 0.7, 0.2), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)]
)
def test_flat_colours_come_back(codec: type[Codec], colour: tuple[float, ...]) -> None:
    """To 6 of 255: 8-bit chroma and the quantiser, and no matrix or channel mistaken."""
    videos = torch.tensor(colour).view(1, 3, 1, 1, 1).expand(1, 3, 2, 64, 64)
    model = codec(LEVELS[codec][-1])
    assert torch.allclose(model.decode(model.encode(videos), 2), videos, rtol=0, atol=6 / 255)


def test_h264_leaves_out_only_the_encoder_s_message() -> None:
    videos = moving(4)
    frames = (videos[0] * 255).round().byte().permute(1, 2, 3, 0).contiguous().numpy()
    model = H264()
    whole, lean = VideoCodec._encode(model, frames), streams(model, videos)[0]
    assert b"x264 - core" in whole
    assert b"x264" not in lean
    assert torch.equal(model.decode([whole], 4), model.decode([lean], 4))


def test_hevc_writes_no_message() -> None:
    assert b"x265" not in streams(Hevc(), moving(2))[0]


@pytest.mark.parametrize("codec", [Jpeg, WebP])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 21)])
def test_image_codecs_take_odd_sizes(codec: type[Codec], size: tuple[int, int]) -> None:
    model = codec()
    assert model.decode(model.encode(moving(2, *size)), 2).shape == (1, 3, 2, *size)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
@pytest.mark.parametrize("size", [(65, 64), (64, 67), (14, 64), (64, 8)])
def test_video_codecs_refuse_odd_and_tiny_sizes(codec: type[Codec], size: tuple[int, int]) -> None:
    with pytest.raises(UnsuitableInput, match=f"{size[0]}×{size[1]}; pad .* multiples of 2"):
        codec().encode(moving(1, *size))


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_video_codecs_take_their_least_side(codec: type[Codec]) -> None:
    side = codec.traits.least_side
    recon = codec().decode(codec().encode(moving(3, side, side)), 3)
    assert psnr(recon, moving(3, side, side)) > 22


def test_a_size_beyond_the_format_is_refused() -> None:
    with pytest.raises(UnsuitableInput, match="webp refuses clips"):
        WebP().encode(torch.zeros(1, 3, 1, 1, 16_384))


@pytest.mark.parametrize(
    ("codec", "option", "low", "high"),
    [
        (Jpeg, "quality", 1, 100),
        (WebP, "quality", 0, 100),
        (H264, "crf", 0, 51),
        (Hevc, "crf", 0, 51),
        (Av1, "crf", 1, 63),
    ],
)
def test_quality_has_a_range_and_its_ends_work(codec: type[Codec], option: str, low: int, high: int) -> None:
    videos = moving(2)
    sizes = [len(streams(codec(**{option: value}), videos)[0]) for value in (low, high)]
    assert (sizes[0] > sizes[1]) == (option == "crf")
    for value in (low - 1, high + 1, True):
        with pytest.raises(UsageError, match=f"{option} must be an integer from {low} to {high}, got {value!r}"):
            codec(**{option: value})


def test_crf_0_of_h264_loses_only_the_chroma_and_the_rounding() -> None:
    grey = moving(3).mean(1, keepdim=True).expand(-1, 3, -1, -1, -1)
    assert (H264(0).decode(H264(0).encode(grey), 3) - grey).abs().max() <= 1.5 / 255


@pytest.mark.parametrize("codec", CODECS)
def test_a_wrong_number_of_frames_is_found(codec: type[Codec]) -> None:
    latents = codec().encode(moving(3))
    with pytest.raises(BadOutput, match="hold 3 frames, 4 were asked for"):
        codec().decode(latents, 4)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("broken", [b"no stream at all", b"\0" * 200, b""])
def test_bytes_that_are_no_stream_are_found(codec: type[Codec], broken: bytes) -> None:
    with pytest.raises(BadOutput, match=f"{codec.name}: {len(broken)} bytes"):
        codec().decode([broken], 2)


@pytest.mark.parametrize("codec", CODECS)
def test_tensors_are_not_latents_of_a_codec(codec: type[Codec]) -> None:
    with pytest.raises(BadOutput, match="byte strings"):
        codec().decode(torch.zeros(1, 4), 1)


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_printed_and_no_file_written(
    codec: type[Codec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = codec()
    model.decode(model.encode(moving(3)), 3)
    with pytest.raises(BadOutput):
        model.decode([b"no stream at all"], 3)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_av1_leaves_priorities_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """For root SVT-AV1 makes itself and its caller real-time, which once stopped all else on two cores."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("not Linux")
    seen = set()
    scaler = codecs._scaler

    def look(*args: Any) -> Any:  # called once the encoder is open
        seen.update(os.sched_getscheduler(int(task.name)) for task in tasks.iterdir())
        return scaler(*args)

    monkeypatch.setattr(codecs, "_scaler", look)
    Av1().encode(moving(3))
    assert seen == {os.SCHED_OTHER}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_the_version_names_library_and_settings() -> None:
    versions = {codec: codec.codec_version() for codec in CODECS}
    assert len(set(versions.values())) == len(CODECS)
    assert str(av.library_versions["libavcodec"][1]) in versions[H264]
    assert "medium" in versions[Hevc]
    assert "4:2:0" in versions[Jpeg]
    assert all(codec().version == version for codec, version in versions.items())


def test_an_encoder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Av1, "encoder", "libnothing")
    with pytest.raises(Unavailable, match="av1: this build of PyAV has no libnothing"):
        Av1()
