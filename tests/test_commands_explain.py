"""`cvbench explain`: walks between protocols and between records."""

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image

from cvbench.cli import run_program
from cvbench.core.fields import EvalProtocol
from cvbench.core.protocol import PROTOCOLS, protocol
from cvbench.core.records import RunRecord
from cvbench.core.walk import differing, possible, walk
from cvbench.engine.coding import Coded
from cvbench.engine.recons import Recons
from cvbench.tasks import explanation
from cvbench.tasks.request import Request

CPU = torch.device("cpu")
MODEL = '''
import os, pathlib, signal
import torch
class Half:
    """Codes at half the levels, and counts how often."""
    calls = 0
    params = (0, 0)
    def encode(self, videos):
        counter, stop = pathlib.Path(r"{counter}"), pathlib.Path(r"{counter}.stop")
        with counter.open("a") as file:
            file.write("x" * len(videos))
        how, _, after = (stop.read_text() if stop.exists() else "no 0").partition(" ")
        if how == "SIGKILL" and counter.stat().st_size > int(after):
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "SIGINT" and counter.stat().st_size > int(after):
            raise KeyboardInterrupt
        return (videos * 127).round()
    def decode(self, latents, frames):
        return latents / 127
def build():
    return Half()
'''


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Four clips of 12 frames kept as pictures, one of them short."""
    for number, frames in enumerate((12, 12, 12, 7)):
        folder = tmp_path / "clips" / f"clip{number}"
        folder.mkdir(parents=True)
        for k, frame in enumerate(scene(frames, 48, 64, number).transpose(1, 2, 3, 0)):
            Image.fromarray(frame).save(folder / f"{k:03}.png")
    return tmp_path / "clips"


@pytest.mark.parametrize("a", ["cvvae-2405", "vidtok-2412", "cvvae-script-2405", "seedvoken-2409"])
@pytest.mark.parametrize("b", PROTOCOLS)
def test_a_walk_goes_by_protocols_that_can_be_and_ends_at_the_other(a: str, b: str) -> None:
    steps = walk(PROTOCOLS[a], PROTOCOLS[b])
    assert all(possible(step.protocol) for step in steps)
    here = PROTOCOLS[a]
    for step in steps:
        assert set(differing(here, step.protocol)) == {change.partition("=")[0] for change in step.changes.split()}
        here = step.protocol
    assert here == PROTOCOLS[b]


A = EvalProtocol("a", 1, frames=9, stride=1, size=32)
B = EvalProtocol(
    "b", 1, frames=9, stride=1, short="skip", size=32, filter="bilinear", resizer="float", cast="bf16", dtype="bf16",
    eight="floor", through="mp4v", through_fps=24, ssim="uniform7", psnr_equal="clip", average="batches-2",
)  # fmt: skip


def measured(clips: Path, tmp_path: Path) -> tuple[list[RunRecord], int]:
    """Return the records of a walk from A to B, and how many clips the model coded on it."""
    counter, file = tmp_path / "coded", tmp_path / "half.py"
    counter.touch()
    file.write_text(MODEL.replace("{counter}", str(counter)))
    before = len(counter.read_text())
    request = Request((f"{file}:build",), (str(clips),), ("psnr", "ssim"), A, device="cpu")
    found = explanation.measure(request, [A, *(step.protocol for step in walk(A, B))])
    ((_, records),) = found.items()
    return records, len(counter.read_text()) - before


def test_a_walk_of_ten_fields_over_four_clips_takes_five_passes_at_most_and_once_done_none(
    clips: Path, tmp_path: Path
) -> None:
    assert len(differing(A, B)) >= 10
    records, coded = measured(clips, tmp_path)
    assert [record.error for record in records] == [None] * len(records)
    assert 0 < coded <= 5 * 4 + 3  # and once to see what the model makes of its input
    again, more = measured(clips, tmp_path)
    assert more <= 9  # what a user's model makes of a pattern is looked at in every process, of three clips a shape
    assert [r.scores["psnr"].value for r in again] == [r.scores["psnr"].value for r in records]


def walk_of_half(clips: Path, tmp_path: Path) -> list[str]:
    """Return the command line of a walk of two codings, and lay out its model."""
    file = tmp_path / "half.py"
    file.write_text(MODEL.replace("{counter}", str(tmp_path / "coded")))
    ends = ["cvbench-1+size=32+frames=9", "cvbench-1+size=32+frames=9+filter=bilinear+eight=floor+psnr_mean=clip"]
    return ["explain", *ends, "--models", f"{file}:build", "--data", str(clips), "--metrics", "psnr", "--format", "csv"]


def coded_of(tmp_path: Path) -> int:
    """Return how many clips the model coded so far."""
    return (tmp_path / "coded").stat().st_size


@pytest.mark.parametrize("how", ["SIGINT", pytest.param("SIGKILL", marks=pytest.mark.large)])
def test_a_walk_that_was_stopped_in_the_middle_continues(
    how: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = walk_of_half(clips, tmp_path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("CVBENCH_CACHE", str(tmp_path / "elsewhere"))
        assert run_program(words) == 0
    whole, shown = coded_of(tmp_path), capsys.readouterr().out
    (tmp_path / "coded").write_text("")
    stop = tmp_path / "coded.stop"
    stop.write_text(f"{how} {whole - 2}")
    if how == "SIGINT":
        assert run_program(words) == 130
    else:
        found = subprocess.run([sys.executable, "-m", "cvbench", *words], capture_output=True, check=False)
        assert found.returncode == -signal.SIGKILL
    stopped = coded_of(tmp_path)
    assert stopped == whole - 1
    stop.unlink()
    capsys.readouterr()
    assert run_program(words) == 0
    assert capsys.readouterr().out == shown
    looks = whole - 2 * 4  # at what the model makes of a pattern, in every process
    assert coded_of(tmp_path) - stopped <= looks + 2


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run `cvbench explain` and return its exit code and what it printed."""
    code = run_program(["explain", *words])
    return code, capsys.readouterr().out


def test_steps_sum_exactly_in_every_form_and_the_set_of_clips_is_told(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ends = ("cvbench-1+size=32+frames=9", "wfvae-2411+size=32+frames=9+through=none")
    words = (*ends, "--models", "pool-8x8", "--data", str(clips), "--reverse", "--out", str(out))
    code, shown = command(capsys, *words)
    assert (code, sorted(path.name for path in out.iterdir())) == (
        0, ["explain.csv", "explain.html", "explain.json", "explain.md"],
    )  # fmt: skip
    assert "without clip3; n 4 → 3" in shown
    assert "failed" not in shown
    (walked,) = json.loads((out / "explain.json").read_text())
    for metric in ("psnr", "ssim"):
        rows = [row["by_metric"][metric] for row in walked["rows"]]
        total = rows[-1]["value"] - rows[0]["value"]
        assert sum(row["change"] for row in rows[1:]) == pytest.approx(total, abs=1e-12)
        assert sum(row["reverse"] for row in rows[1:]) == pytest.approx(total, abs=1e-12)
        same = [row["by_metric"][metric] for row in walked["rows"][1:] if not row["note"]]
        assert all(row["low"] - 1e-9 <= row["change"] <= row["high"] + 1e-9 for row in same)
    lines = list(csv.DictReader(io.StringIO((out / "explain.csv").read_text())))
    assert len(lines) == 2 * len(walked["rows"])
    page = (out / "explain.html").read_text()
    assert page.count("<svg") == 2
    assert "<script" not in page


def test_a_sample_that_fails_is_named_and_the_walk_is_not_whole(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "broken.mp4").write_bytes(b"no video")
    ends = ("cvbench-1+size=32+frames=5", "cvbench-1+size=32+frames=5+eight=none")
    for form in ("md", "csv"):
        words = ["--models", "pool-8x8", "--data", str(clips), "--metrics", "psnr", "--format", form]
        assert run_program(["explain", *ends, *words]) == 3
        said = capsys.readouterr()
        assert "failed: broken.mp4" in (said.out if form == "md" else said.err)


def test_records_differ_in_words_first(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]
    for folder, change in zip(runs, ("filter=bicubic", "filter=bilinear"), strict=True):
        words = ["--models", "pool-8x8", "--data", str(clips), "--metrics", "psnr", "--set", "size=32", "--set", change]
        assert run_program(["run", *words, "--out", str(folder)]) == 0
    capsys.readouterr()
    code, shown = command(capsys, *map(str, runs), "--data", str(clips), "--metrics", "psnr")
    assert code == 0
    assert "- protocol, filter: bicubic → bilinear" in shown
    assert "| geometry | `filter=bilinear` |" in shown
    first, second = (RunRecord.load(next((run / "records").glob("*.json"))) for run in runs)
    assert f"{first.scores['psnr'].value:.2f}" in shown
    apart = f"{second.scores['psnr'].value - first.scores['psnr'].value:+.3f}"
    assert f"PSNR: the records differ by {apart}, the walk by {apart}; the rest, +0.000" in shown
    assert "walk begins" not in shown


def test_an_own_protocol_is_read_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "wfvae-2411"\n[fields]\nframes = 9\nthrough = "h264-crf10"\n')
    made = protocol(str(file), ["size=64"])
    assert (made.name, made.frames, made.through, made.eight) == ("mine+size=64", 9, "h264-crf10", "floor")
    for text, says in (
        ("[fields]\nframse = 3\n", "framse"), ("frames = 3\n", "frames"), ('base = "nobody"\n', "nobody"),
        ("[fields]\nthrough = 3\n", "through"), ("x", "protocol"), ('faults = "one"\n', "faults"),
    ):  # fmt: skip
        file.write_text(text)
        from cvbench.core.protocol import _from_file

        _from_file.cache_clear()
        assert run_program(["explain", str(file), "cvvae-2405"]) == 2
        assert says in capsys.readouterr().err
    assert run_program(["explain", str(tmp_path / "none.toml"), "cvvae-2405"]) == 2


@pytest.mark.parametrize(("words", "says"), [
    (("cvvae-2405", "wfvae-2412"), "wfvae-2411"), (("cvvae-2405", "."), "two protocols"),
    (("cvvae-2405", "cvvae-2405+frames=0"), "frames"),
])  # fmt: skip
def test_wrong_ends_are_refused(words: tuple[str, str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["explain", *words]) == 2
    assert says in capsys.readouterr().err


def test_equal_protocols_need_no_walk(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = command(capsys, "cvvae-2405", "cvvae-2405")
    assert (code, "do not differ" in shown) == (0, True)


def test_reconstructions_are_kept_without_loss_and_bounded(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    videos = [torch.rand((3, 2, 16, 16), generator=generator) for _ in range(3)]
    videos[1] = (videos[1] * 255).round().div(255)
    videos[2] = videos[2].half().float()
    recons = Recons(tmp_path, most=1 << 20)
    for k, video in enumerate(videos):
        recons.keep(f"{k}", Coded(video, None, raw=video * 2 - 0.5 if k == 0 else None))
    for k, video in enumerate(videos):
        found = recons.find(f"{k}", CPU)
        assert found is not None
        assert torch.equal(found.recon, video)
        assert (found.raw is None) == (k != 0)
    sizes = [(tmp_path / f"{k}").stat().st_size for k in range(3)]
    assert sizes[1] < sizes[2] < sizes[0]
    (tmp_path / "1").write_bytes((tmp_path / "1").read_bytes()[:-1])
    assert recons.find("1", CPU) is None
    few = Recons(tmp_path, most=sizes[0] + sizes[2] + 100)
    few.keep("3", Coded(videos[0], None))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= few.most
    assert few.find("3", CPU) is not None


def test_the_way_of_a_value_is_the_same_from_what_was_kept(clips: Path, tmp_path: Path) -> None:
    records, _ = measured(clips, tmp_path)
    from cvbench.tasks import reconstruction

    file = tmp_path / "half.py"
    request = Request((f"{file}:build",), (str(clips),), ("psnr", "ssim"), B, device="cpu")
    from cvbench.store import MemoryStore

    (direct,) = reconstruction.run(request, store=MemoryStore())
    for name, score in records[-1].scores.items():
        assert direct.scores[name].value == score.value
    assert np.isfinite(records[-1].scores["psnr"].value)
