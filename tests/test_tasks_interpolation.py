"""Interpolating files: given frames come back exactly, what lies between is right by hand, no work is done twice."""

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image
from safetensors.torch import save_file
from test_nets_rife import SMALL

from cvbench.cli import run_program
from cvbench.core.errors import MissingWeights, UnknownName, UnsuitableInput, UsageError
from cvbench.core.types import Sampling
from cvbench.data.frames import read_file
from cvbench.models.interp import Linear, Repeat
from cvbench.nets.rife import LAYOUTS, RIFE, interpolate_clip
from cvbench.tasks import interpolation as interpolate
from cvbench.tasks.interpolation import MANIFEST, Interpolated, decoded, interpolate_frames, interpolate_path

CPU = torch.device("cpu")
LEVEL = 1 / 255
Array = np.ndarray[Any, Any]


def write_clip(path: Path, frames: Array, rate: Fraction = Fraction(25), codec: str = "libx264", **more: str) -> Path:
    """Write uint8 frames (t, h, w, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=more)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p" if codec == "libx264" else "bgr0"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")))
        container.mux(stream.encode(None))
    return path


def write_numbered(folder: Path, frames: Array) -> Path:
    folder.mkdir(parents=True)
    for index, pixels in enumerate(frames):
        Image.fromarray(pixels).save(folder / f"{index:05d}.png")
    return folder


def moving(t: int, h: int = 32, w: int = 48, seed: int = 0) -> Array:
    return np.ascontiguousarray(scene(t, h, w, seed).transpose(1, 2, 3, 0))


def read(path: Path) -> Array:
    return read_file(path, Sampling(frames=1000, stride=1)).pixels.transpose(1, 2, 3, 0)


def read_folder(folder: Path) -> Array:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def linear(source: Path, out: Path, factor: int = 4, **more: Any) -> list[Interpolated]:
    return interpolate_path(source, out, factor, "interp-linear", "cpu", **more)


def test_25_frames_become_97_at_four_times_the_rate_and_the_given_ones_are_exact(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "walk.mp4", moving(25), Fraction(30000, 1001))
    (result,) = linear(clip, tmp_path / "out")
    assert result == Interpolated("walk.mp4", tmp_path / "out" / "walk.mkv", (25, 97), 119.8801)
    sample = read_file(result.target, Sampling(frames=1000, stride=1))
    longer, given = sample.pixels.transpose(1, 2, 3, 0), read(clip)
    assert len(longer) == 97
    assert sample.fps == pytest.approx(119.88, abs=0.001)  # Matroska counts in nanoseconds
    assert np.array_equal(longer[::4], given)
    assert given.std() > 20


def test_what_lies_between_is_the_linear_mean_rounded(tmp_path: Path) -> None:
    given = moving(3)
    (result,) = linear(write_numbered(tmp_path / "walk", given), tmp_path / "out")
    first, last = given[1].astype(float), given[2].astype(float)
    longer = read_folder(result.target)
    for step in (1, 2, 3):
        exact = ((4 - step) * first + step * last) / 4
        assert np.abs(longer[4 + step] - exact).max() <= 0.5 + 1e-3  # of a level


def test_repeat_gives_each_frame_factor_times(tmp_path: Path) -> None:
    given = moving(4)
    clip = write_clip(tmp_path / "a.mkv", given, codec="ffv1")
    (result,) = interpolate_path(clip, tmp_path / "out", 3, "interp-repeat", "cpu")
    assert np.array_equal(read(result.target), given.repeat(3, axis=0)[:10])


def test_rife_on_files_is_rife_on_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS, "v4.26", SMALL)
    torch.manual_seed(5)
    net = RIFE(SMALL).eval()
    save_file(net.state_dict(), tmp_path / "tiny.safetensors")
    given = moving(4, 21, 35)
    clip = write_clip(tmp_path / "a.mkv", given, codec="ffv1")
    (result,) = interpolate_path(clip, tmp_path / "out", device="cpu", weights={"rife": tmp_path / "tiny.safetensors"})
    video = torch.from_numpy(given).permute(3, 0, 1, 2)[None].float() / 255
    expected = (interpolate_clip(net, video, 4)[0] * 255).permute(1, 2, 3, 0).numpy()
    longer = read(result.target)
    assert result.frames == (4, 13)
    assert np.array_equal(longer[::4], given)
    assert np.abs(longer - expected).max() <= 0.5 + 1e-3


def test_numbered_frames_become_numbered_png(tmp_path: Path) -> None:
    given = moving(3)
    (result,) = linear(write_numbered(tmp_path / "walk", given), tmp_path / "out", 2)
    assert result == Interpolated("walk", tmp_path / "out" / "walk", (3, 5))
    assert [p.name for p in sorted(result.target.iterdir())] == [f"{i:05d}.png" for i in range(5)]
    assert np.array_equal(read_folder(result.target)[::2], given)


def test_a_folder_of_clips_keeps_its_layout_and_one_bad_file_stops_no_other(tmp_path: Path) -> None:
    source = tmp_path / "clips"
    write_clip(source / "clip10.mp4", moving(3))
    write_clip(source / "deep" / "clip2.mp4", moving(2))
    write_numbered(source / "deep" / "frames", moving(2))
    (source / "clip2.mp4").write_text("no clip")
    (source / "empty.mp4").touch()
    (source / "notes.txt").write_text("no clip either")
    Image.fromarray(moving(1)[0]).save(source / "poster.png")
    results = linear(source, tmp_path / "out", 2)
    assert [r.source for r in results] == [
        "clip2.mp4",
        "clip10.mp4",
        "deep/clip2.mp4",
        "deep/frames",
        "empty.mp4",
        "poster.png",
    ]
    errors = {r.source: r.error for r in results if r.error}
    assert list(errors) == ["clip2.mp4", "empty.mp4", "poster.png"]
    assert "the file is empty" in str(errors["empty.mp4"])
    assert "poster.png: is a single picture" in str(errors["poster.png"])
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    frames = [f"deep/frames/0000{i}.png" for i in range(3)]
    assert made == ["clip10.mkv", "deep/clip2.mkv", *frames, MANIFEST]


def test_results_inside_the_source_are_not_interpolated_again(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", moving(2))
    for _ in range(2):
        assert [r.source for r in linear(tmp_path, tmp_path / "out")] == ["a.mp4"]


def test_a_poster_beside_a_film_of_its_name_is_no_clip(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "a.mp4", moving(2))
    Image.fromarray(moving(1)[0]).save(tmp_path / "clips" / "a.jpg")
    first, again = (linear(tmp_path / "clips", tmp_path / "out") for _ in range(2))
    assert [bool(r.error) for r in first] == [True, False]
    assert again[1].reused


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "clips"
    write_clip(source / "a.mp4", moving(3))
    write_numbered(source / "b", moving(2))
    first = linear(source, tmp_path / "out")

    def refuse(*_: object) -> None:
        raise AssertionError("work was done twice")

    monkeypatch.setattr(interpolate, "open_clip", refuse)
    monkeypatch.setattr(interpolate.models, "resolve", refuse)
    again = linear(source, tmp_path / "out")
    assert [r.reused for r in first] == [False, False]
    assert [r.reused for r in again] == [True, True]
    assert [(r.source, r.target, r.frames, r.fps) for r in again] == [
        (r.source, r.target, r.frames, r.fps) for r in first
    ]


@pytest.mark.parametrize("change", ["source", "factor", "model", "output", "weights"])
def test_what_would_come_out_otherwise_is_made_anew(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAYOUTS, "v4.26", SMALL)
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_file(RIFE(SMALL).state_dict(), tmp_path / f"{seed}.safetensors")
    clip, out = write_clip(tmp_path / "a.mp4", moving(3)), tmp_path / "out"

    def make(factor: int = 4, model: str = "rife", file: str = "1.safetensors") -> Interpolated:
        (result,) = interpolate_path(clip, out, factor, model, "cpu", {"rife": tmp_path / file})
        assert result.error is None
        return result

    before = make().target.read_bytes()
    if change == "source":
        write_clip(clip, moving(3, seed=1))
    if change == "output":
        (out / "a.mkv").write_bytes(before[:-1])
    result = make(
        2 if change == "factor" else 4,
        "interp-linear" if change == "model" else "rife",
        "2.safetensors" if change == "weights" else "1.safetensors",
    )
    assert not result.reused
    assert (result.target.read_bytes() == before) == (change == "output")


def test_a_killed_call_leaves_no_part_and_the_next_one_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "clips", tmp_path / "out"
    write_clip(source / "a.mp4", moving(2))
    write_numbered(source / "b", moving(4))
    write_clip(source / "c.mp4", moving(4, seed=1))
    genuine = Linear.between
    calls = []

    def killed(self: Linear, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) in (3, 8):  # within b, then within c
            raise KeyboardInterrupt
        return genuine(self, first, last)

    monkeypatch.setattr(Linear, "between", killed)
    for finished in (["a.mkv"], ["a.mkv", "b"]):
        with pytest.raises(KeyboardInterrupt):
            linear(source, out)
        assert sorted(p.name for p in out.iterdir()) == [*finished, MANIFEST]
    assert [r.reused for r in linear(source, out)] == [True, True, False]


def test_equal_calls_give_equal_files(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(3))
    first, second = (linear(clip, tmp_path / name)[0].target.read_bytes() for name in ("one", "two"))
    assert first == second


def test_a_file_that_somebody_else_made_is_not_replaced(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mkv").write_text("precious")
    (result,) = linear(clip, tmp_path / "out")
    assert "was not made here" in str(result.error)
    assert (tmp_path / "out" / "a.mkv").read_text() == "precious"


def test_frames_are_read_only_when_they_are_needed() -> None:
    taken = []

    def source() -> Any:
        for index, picture in enumerate(moving(50)):
            taken.append(index)
            yield picture

    longer = interpolate_frames(source(), Linear(4), CPU)
    for _ in range(9):  # frames 0 to 8 are the first three given ones and what lies between
        next(longer)
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("name", ["plain.mp4", "turned.mp4", "deep.mkv"])
def test_streaming_decodes_what_the_reader_decodes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width = 32, 48
        stream.pix_fmt = "yuv420p10le" if name == "deep.mkv" else "yuv420p"
        for pixels in moving(9):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if name == "turned.mp4":  # a quarter turn in the track header's display matrix
        content = path.read_bytes()
        upright = np.array([1 << 16, 0, 0, 0, 1 << 16], ">i4").tobytes()
        turned = np.array([0, 1 << 16, 0, -(1 << 16), 0], ">i4").tobytes()
        at = content.index(upright, content.index(b"tkhd"))
        path.write_bytes(content[:at] + turned + content[at + 20 :])
    expected = read(path)
    assert expected.shape == ((9, 48, 32, 3) if name == "turned.mp4" else (9, 32, 48, 3))
    assert np.array_equal(np.stack(list(decoded(path))), expected)


def test_an_animation_is_a_clip(tmp_path: Path) -> None:
    pictures = [Image.fromarray(pixels).quantize(64) for pixels in moving(3)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40, loop=0)
    (result,) = linear(tmp_path / "a.gif", tmp_path / "out", 2)
    assert result.frames == (3, 5)
    assert result.fps == 50
    assert np.array_equal(read(result.target)[::2], read(tmp_path / "a.gif"))


@pytest.mark.parametrize(
    ("frames", "rate", "factor", "words"),
    [
        (1, 25, 4, "has one frame only"),
        (3, 300, 4, "1200 frames a second are more than Matroska can time"),
    ],
)
def test_clips_that_cannot_be_interpolated_say_why(
    frames: int, rate: int, factor: int, words: str, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mkv", moving(frames), Fraction(rate), codec="ffv1")
    (result,) = linear(clip, tmp_path / "out", factor)
    assert words in str(result.error)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [MANIFEST]


def test_a_cut_off_clip_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", moving(30, 64, 64), codec="ffv1")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    (result,) = linear(clip, tmp_path / "out")
    assert str(result.error).startswith("a.mkv: ")
    assert [p.name for p in (tmp_path / "out").iterdir()] == [MANIFEST]


def test_sizes_that_change_are_refused() -> None:
    pictures = iter([moving(1)[0], moving(1, 48, 32)[0]])
    with pytest.raises(UnsuitableInput, match="the size changes at frame 1"):
        list(interpolate_frames(pictures, Repeat(4), CPU))


def test_missing_weights_are_named_before_any_clip_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("never read")
    with pytest.raises(MissingWeights, match=r"RIFEv4\.26_0921\.zip.*hzwer/RIFE.*--weights rife=PATH"):
        interpolate_path(tmp_path / "a.mp4", tmp_path / "out", device="cpu")
    with pytest.raises(MissingWeights, match=r"RIFE_train_log\.zip"):
        interpolate_path(tmp_path / "a.mp4", tmp_path / "out", model="rife-eccv2022", device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "out", "factor", "model", "error", "words"),
    [
        ("nowhere", "out", 4, "interp-linear", UsageError, "no file or folder"),
        ("empty", "out", 4, "interp-linear", UsageError, "no clips in"),
        ("clips", "clips", 4, "interp-linear", UsageError, "folder of the clips themselves"),
        ("clips", "clips/a.mkv", 4, "interp-linear", UsageError, "is a file"),
        ("clips/a.mkv", "clips", 4, "interp-linear", UsageError, "replaced by its own interpolation"),
        ("twice", "out", 4, "interp-linear", UsageError, "would both become a.mkv"),
        ("clips", "out", 1, "interp-linear", UsageError, "from 2 upwards"),
        ("clips", "out", 3, "rife-eccv2022", UsageError, "power of two"),
        ("clips", "out", 4, "rief", UnknownName, "try rife"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    source: str, out: str, factor: int, model: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("clips/a.mkv", "twice/a.mp4", "twice/a.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(error, match=words):
        interpolate_path(tmp_path / source, tmp_path / out, factor, model, "cpu")


def test_a_manifest_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text("[1, 2")
    with pytest.raises(UsageError, match="no list of interpolated clips"):
        linear(clip, tmp_path / "out")


def test_the_manifest_says_what_was_made_of_what(tmp_path: Path) -> None:
    (result,) = linear(write_clip(tmp_path / "a.mp4", moving(3)), tmp_path / "out")
    (entry,) = json.loads((tmp_path / "out" / MANIFEST).read_text()).values()
    wanted = {"source": "a.mp4", "model": "interp-linear", "factor": 4, "weights": None, "frames": [3, 9], "fps": 100.0}
    assert {name: entry[name] for name in wanted} == wanted
    assert entry["bytes"] == result.target.stat().st_size


def test_progress_counts_clips_and_the_frames_of_a_single_one(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    write_numbered(tmp_path / "clips" / "a", moving(3))
    linear(tmp_path / "clips", tmp_path / "one", progress=lambda *call: calls.append(call))
    assert calls == [("interpolated frames", i, 3) for i in (1, 2, 3)] + [("interpolated clips", 1, 1)]
    calls.clear()
    write_numbered(tmp_path / "clips" / "b", moving(2))
    linear(tmp_path / "clips", tmp_path / "two", progress=lambda *call: calls.append(call))
    assert calls == [("interpolated clips", 1, 2), ("interpolated clips", 2, 2)]


@pytest.mark.parametrize("content", ['{"a.mkv": 5}', "[]", "5", "[" * 100_000, '{"a.mkv": []}'])
def test_a_manifest_of_other_values_is_refused(content: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text(content)
    with pytest.raises(UsageError, match="no list of interpolated clips"):
        linear(clip, tmp_path / "out")


@pytest.mark.parametrize("entry", [{}, {"frames": 3}, {"frames": [3]}, {"key": "x", "frames": [1, 2]}])
def test_an_entry_of_the_manifest_that_is_not_whole_is_made_again(entry: dict[str, Any], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    (first,) = linear(clip, tmp_path / "out")
    kept = json.loads((tmp_path / "out" / MANIFEST).read_text())["a.mkv"]
    (tmp_path / "out" / MANIFEST).write_text(json.dumps({"a.mkv": {**kept, "frames": None, **entry}}))
    (again,) = linear(clip, tmp_path / "out")
    assert (again.error, again.reused, again.frames) == (None, False, first.frames)


def test_names_as_long_as_the_system_takes_are_kept(tmp_path: Path) -> None:
    long, umlauts = "x" * 251, "ü" * 125
    write_clip(tmp_path / "in" / f"{long}.mp4", moving(2))
    write_clip(tmp_path / "in" / f"{umlauts}.mp4", moving(2))
    write_numbered(tmp_path / "in" / ("y" * 255), moving(2))
    for ending in ("a.ts", "b.ts"):  # whose result would be NAME.mkv, a byte too long
        write_clip(tmp_path / "in" / f"{'z' * 251}{ending}", moving(40))
    results = linear(tmp_path / "in", tmp_path / "out")
    assert [r.error for r in results] == [None] * 5
    assert len({r.target for r in results}) == 5
    assert max(len(os.fsencode(p.name)) for p in (tmp_path / "out").iterdir()) <= 255
    assert all(r.reused for r in linear(tmp_path / "in", tmp_path / "out"))


def test_a_name_that_is_no_utf8_is_interpolated_or_named_and_the_others_go_on(tmp_path: Path) -> None:
    write_clip(tmp_path / "in" / "a.mp4", moving(2))
    odd = os.fsdecode(b"caf\xe9")
    shutil.copy(tmp_path / "in" / "a.mp4", tmp_path / "in" / f"{odd}.mp4")
    write_numbered(tmp_path / "in" / f"{odd}-frames", moving(2))
    write_clip(tmp_path / "in" / "z.mp4", moving(2, seed=1))
    results = {r.source: r for r in linear(tmp_path / "in", tmp_path / "out")}
    assert [results[name].error for name in ("a.mp4", "z.mp4", f"{odd}-frames")] == [None] * 3
    assert all(linear(tmp_path / "in", tmp_path / "out")[i].reused for i in (0, -1))
    line = ["interpolate", str(tmp_path / "in"), "--model", "interp-linear", "--out", str(tmp_path / "o")]
    assert run_program(line) in (0, 3)


@pytest.mark.parametrize("out", ["file/out", "x" * 300])
def test_an_output_that_cannot_be_written_is_named_before_anything_is_made(out: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--out"):
        linear(clip, tmp_path / out)


FULL = """
import resource, sys
from pathlib import Path
from cvbench.tasks.interpolation import interpolate_path
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
for result in interpolate_path(Path(sys.argv[1]), Path(sys.argv[2]), 4, "interp-linear", "cpu"):
    print(result.source, result.error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")
def test_a_file_that_cannot_be_finished_costs_its_own_clip_and_leaves_no_part(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    write_clip(tmp_path / "in" / "a.mp4", moving(2))
    write_clip(tmp_path / "in" / "big.mkv", noise, codec="ffv1")
    write_numbered(tmp_path / "in" / "frames", noise[:, :16].repeat(20, 1))
    write_clip(tmp_path / "in" / "z.mp4", moving(2))
    line = [sys.executable, "-c", FULL, str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    errors = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert (errors["a.mp4"], errors["z.mp4"]) == ("None", "None")
    assert "File too large" in errors["big.mkv"]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if "part" in p.name or p.name == "big.mkv") == []


def test_shares_of_clips_are_made_by_different_calls_into_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        write_clip(tmp_path / "clips" / f"{number}.mp4", moving(2 + number))
    line = ["interpolate", str(tmp_path / "clips"), "--model", "interp-linear", "--device", "cpu", "--factor", "2"]
    line += ["--out", str(tmp_path / "out")]
    for share in ("1/2", "2/2"):
        assert run_program([*line, "--shard", share]) == 0
    told = [row.split("\t")[0] for row in capsys.readouterr().out.splitlines()]
    assert sorted(told) == ["0.mp4", "1.mp4", "2.mp4"]
    assert run_program(line) == 0
    assert capsys.readouterr().out.count("already there") == 3
