"""Suites of generators through the command line: one drawing serves all rows, and is never made twice."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from safetensors.torch import load_file, save_file

from cvbench import generators, weights
from cvbench.cli import run_program
from cvbench.commands import processes
from cvbench.core.errors import UnsuitableInput
from cvbench.core.protocol import protocol
from cvbench.core.records import read_records
from cvbench.models import MODELS
from cvbench.tasks.generation.cost import RATES
from cvbench.tasks.generation.rows import Decoder, positions

pytestmark = pytest.mark.usefixtures("textures")
FAST = ("--set", "size=32", "--set", "steps=3", "--no-speed", "--device", "cpu", "--pictures", "0")
ROWS = "gaussian-t2i,gaussian-t2i+tiny-video,gaussian-t2i+tiny-image-z16"


def told(folder: Path) -> list[Any]:
    """What records say but for times and machines."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "records").glob("*.json"))]
    return [{k: v for k, v in record.items() if k not in ("created", "environment", "speed")} for record in found]


def test_one_drawing_serves_all_rows_runs_and_batches(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["run", "--suite", "t2i", "--metrics", "psnr,ssim", "--data", str(pictures), *FAST]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run_program([*line, "--models", ROWS, "--out", str(one)]) == 3  # of z16 the latents have another shape
    records = {r.model.name: r for r in read_records([one])}
    assert "16×" in (records["gaussian-t2i+tiny-image-z16"].error or "")
    base, other = records["gaussian-t2i"].generation or {}, records["gaussian-t2i+tiny-video"].generation or {}
    assert base["latents"] == other["latents"]
    assert set(records["gaussian-t2i+tiny-video"].scores) == {"psnr", "ssim"}
    assert not records["gaussian-t2i"].scores

    def built(*_arguments: object) -> None:
        raise AssertionError("a generator was started")

    with monkeypatch.context() as patch:
        patch.setattr(generators, "build", built)
        assert run_program([*line, "--models", ROWS, "--out", str(two)]) == 3
        assert told(one) == told(two)
    with monkeypatch.context() as patch:
        patch.setenv("CVBENCH_CACHE", str(tmp_path / "cache"))
        assert run_program([*line, "--models", ROWS, "--batch", "2", "--out", str(tmp_path / "batched")]) == 3
        assert told(one) == told(tmp_path / "batched")
    monkeypatch.setattr(generators, "build", built)
    assert run_program([*line, "--models", "gaussian-t2i+tiny-video-none", "--out", str(tmp_path / "three")]) == 0


def test_a_base_that_fails_once_is_tried_again(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ["run", "--suite", "t2i", "--metrics", "psnr", "--data", str(pictures), *FAST, "--models"]
    one, two = (tmp_path / name for name in ("one", "two"))
    decode, short = Decoder.decode, iter([True])

    def failing(self: Decoder, *arguments: Any) -> Any:
        if self.is_base and next(short, False):
            raise torch.OutOfMemoryError("no memory left")
        return decode(self, *arguments)

    monkeypatch.setattr(Decoder, "decode", failing)
    assert run_program([*line, "gaussian-t2i+tiny-video", "--out", str(one)]) == 3
    (first,) = read_records([one])
    assert (first.scores["psnr"].n, [f.kind for f in first.failures]) == (3, ["UnsuitableInput"])
    assert run_program([*line, "gaussian-t2i+tiny-video", "--out", str(two)]) == 0
    (second,) = read_records([two])
    assert (second.scores["psnr"].n, second.failures) == (4, [])


def test_a_generator_that_does_not_build_names_every_sample(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fast, failing = ["--data", str(pictures), "--device", "cpu", "--set", "size=32"], ["--set", "steps=2000"]
    assert run_program(["run", "--suite", "t2i", *fast, *failing, "--no-speed", "--out", str(tmp_path / "run")]) == 3
    for record in read_records([tmp_path / "run"]):
        assert [f.id for f in record.failures] == ["image0.png", "image1.png", "image2.png", "walk"]
    capsys.readouterr()
    assert run_program(["generate", "gaussian-t2i", *fast, *failing, "--out", str(tmp_path / "drawn")]) == 3
    assert capsys.readouterr().err.count("steps can be 1 to 1000") == 4


def test_scores_against_two_bases_have_two_signatures(pictures: Path, tmp_path: Path) -> None:
    source = MODELS["tiny-image"].source
    assert source is not None
    state = load_file(weights.path_of("tiny-image", source))
    changed = {name: value * 1.001 if name.startswith("decoder") else value for name, value in state.items()}
    assert any(not torch.equal(value, state[name]) for name, value in changed.items())
    save_file(changed, tmp_path / "other.safetensors")
    line = ["run", "--suite", "t2i", "--metrics", "psnr", "--data", str(pictures), *FAST]
    line += ["--models", "gaussian-t2i+tiny-video"]
    assert run_program([*line, "--out", str(tmp_path / "one")]) == 0
    other = ["--weights", f"tiny-image={tmp_path / 'other.safetensors'}", "--out", str(tmp_path / "two")]
    assert run_program([*line, *other]) == 0
    (one,), (two,) = read_records([tmp_path / "one"]), read_records([tmp_path / "two"])
    assert (one.generation or {})["latents"] == (two.generation or {})["latents"]
    assert one.scores["psnr"].value != two.scores["psnr"].value
    assert one.scores["psnr"].signature != two.scores["psnr"].signature


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--models", "gaussian-t2v"], "suite t2v"),
        (["--models", "vae-sd21"], "no generator"),
        (["--prompts", "empty.csv"], "prompt"),
        (["--models", "gaussian-t2i", "--set", "motion=3"], "motion"),
        (["--set", "through=mp4v"], "through=none"),
        (["--set", "remap=half"], "remap=none"),
        (["--set", "window=4"], "window=0"),
        (["--set", "padding=grey"], "padding=replicate"),
        (["--set", "eight=raw"], "eight=round"),
        (["--set", "eight_nets=floor"], "eight_nets=as"),
    ],
)
def test_wrong_requests_are_one_message(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").write_text("name,prompt\n", encoding="utf-8")
    assert run_program(["run", "--suite", "t2i", *arguments, "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said


def test_rows_of_more_frames_than_the_base_s(pictures: Path, tmp_path: Path) -> None:
    line = ["run", "--suite", "i2v", "--metrics", "psnr", "--data", str(pictures), "--limit", "1", *FAST]
    assert run_program([*line, "--out", str(tmp_path)]) == 0
    records = read_records([tmp_path])
    assert {r.model.name.partition("+")[2]: (r.generation or {})["frames"] for r in records} == {
        "": 5, "tiny-video@decode=each": 5, "tiny-video": 17, "interp-linear@4x": 17, "tiny-video-none": 17,
    }  # fmt: skip
    assert all(r.scores["psnr"].n == 1 for r in records if "+" in r.model.name)


def test_frames_of_a_row_that_interpolates(pictures: Path, tmp_path: Path) -> None:
    line = ["generate", "gaussian-i2v+interp-linear@4x", "--data", str(pictures), "--limit", "1", "--frames"]
    line += ["--set", "size=32", "--set", "steps=3", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert run_program(line) == 0
    (clip,) = (tmp_path / "out").glob("*.mkv")
    with av.open(str(clip)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 17


DARKER = """
from cvbench.generators.gaussian import tiny_image

class Darker:
    cache_key = "darker"
    def __init__(self):
        self.vae = tiny_image()
        self.traits = self.vae.traits
    def encode(self, videos):
        return self.vae.encode(videos / 2)
    def decode(self, latents, frames):
        return self.vae.decode(latents, frames)
"""


def test_a_vae_may_encode_the_first_frame_too(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(DARKER)
    own = [f"gaussian-i2v+{vae}@condition=own" for vae in ("tiny-image", f"{tmp_path / 'own.py'}:Darker")]
    line = ["run", "--suite", "i2v", "--metrics", "psnr", "--data", str(pictures), "--limit", "2", *FAST]
    assert run_program([*line, "--models", ",".join(["gaussian-i2v", *own]), "--out", str(tmp_path / "out")]) == 0
    made = {r.model.name: r.generation or {} for r in read_records([tmp_path / "out"])}
    plain, same, other = (made[name] for name in ("gaussian-i2v", *own))
    assert (plain["condition"], same["condition"]) == ("generator", "own")
    assert same["latents"] == plain["latents"] != other["latents"]
    assert run_program([*line, "--models", "gaussian-t2i+tiny-video@condition=own", "--out", str(tmp_path)]) == 2


def test_costs_in_the_docs_are_those_of_their_lines() -> None:
    page = (Path(__file__).parents[1] / "docs/generation.md").read_text(encoding="utf-8")
    lines = re.findall(r"--models ([^ ,]+)[^|]*\| ([0-9,]+) \| ([0-9,]+) \| ([0-9]+) (hours|minutes) \|", page)
    assert len(lines) == 3
    for name, samples, tflop, time, unit in lines:
        entry = generators.find(name)
        cost = entry.cost(entry.settings(protocol(entry.protocol)))
        assert int(tflop.replace(",", "")) == round(cost)
        seconds = int(samples.replace(",", "")) * cost / RATES["H100"]
        assert int(time) == round(seconds / {"hours": 3600, "minutes": 60}[unit])


@pytest.mark.parametrize("change", ["start=center", "start=random", "windows=all"])
def test_first_frames_are_those_of_the_reference(
    change: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", "--suite", "i2v", "--data", str(pictures), *FAST, "--set", change, "--out", str(tmp_path / "out")]
    assert run_program(line) == 2
    assert change in capsys.readouterr().err


@pytest.mark.parametrize(("frames", "base", "step"), [(97, 25, 4), (61, 16, 4), (25, 25, 1), (17, 5, 4)])
def test_frames_at_the_base_s_positions(frames: int, base: int, step: int) -> None:
    assert positions(frames, base) == list(range(0, frames, step))
    assert len(positions(frames, base)) == base


@pytest.mark.parametrize(("frames", "base"), [(24, 25), (60, 16), (5, 1)])
def test_other_lengths_share_no_positions(frames: int, base: int) -> None:
    with pytest.raises(UnsuitableInput, match="positions"):
        positions(frames, base)


def test_a_generator_that_cannot_be_asked_does_not_keep_others_from_running(pictures: Path, tmp_path: Path) -> None:
    line = ["run", "--suite", "t2i", "--metrics", "psnr", "--data", str(pictures), *FAST, "--out", str(tmp_path)]
    assert run_program([*line, "--models", "hf:a/b,gaussian-t2i+tiny-image@decode=each"]) == 3
    failed, made = sorted(read_records([tmp_path]), key=lambda r: r.error is None)
    assert "hf download a/b" in (failed.error or "")
    assert made.scores["psnr"].n == 4


@pytest.mark.parametrize(("given", "code"), [([], 2), (["--devices", "cpu:2"], 2), (["--yes"], 0)])
def test_what_takes_over_an_hour_wants_a_yes(
    given: list[str], code: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    costly = replace(generators.GENERATORS["gaussian-t2i"], tflop=408.0)
    monkeypatch.setitem(generators.GENERATORS, "gaussian-t2i", costly)
    monkeypatch.setattr(processes, "to_launch", lambda _given: [])
    fast = [word for word in FAST if word not in ("--device", "cpu")] if "--devices" in given else [*FAST]
    line = ["run", "--suite", "t2i", "--models", "gaussian-t2i", "--data", str(pictures), *fast, *given]
    assert run_program([*line, "--metrics", "psnr", "--out", str(tmp_path / "out")]) == code
    said = capsys.readouterr().err
    assert said.count("4 samples to draw: about 1.7 hours and less than 1 MB of latents") == 1
    assert ("--yes to begin, or --limit N" in said) == (code == 2)
