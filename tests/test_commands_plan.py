"""What a run would do, and how the demo ends."""

from pathlib import Path

import pytest

from cvbench.cli import run_program
from cvbench.commands.demo import is_demo
from cvbench.commands.run import PICTURES

FAST = ("--set", "frames=2", "--set", "size=48", "--device", "cpu")


def test_a_dry_run_tells_what_is_cached_and_missing_and_does_nothing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", "-m", "jpeg,low=jpeg@quality=5", "-d", str(pictures), "--metrics", "psnr", *FAST]
    line += ["--out", str(tmp_path / "out")]
    assert run_program([*line, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "pictures: 4 samples" in text
    assert "jpeg: 4 to measure, time not known; 0 cached" in text
    assert not (tmp_path / "out").exists()
    assert run_program([*line, "--limit", "3"]) == 0
    capsys.readouterr()
    assert run_program([*line, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "low: 1 to measure, 0 s in the model; 3 cached" in text
    assert "in models, measuring comes on top" in text
    assert run_program(line) == 0
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    assert run_program([*line, "--dry-run"]) == 0
    assert "low: all 4 cached" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_names_weights_that_are_not_here_and_fetches_none(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", "-m", "x=cvvae,jpeg", "-d", str(pictures), "--metrics", "psnr,lpips", *FAST, "--dry-run"]
    assert run_program([*line, "--out", str(tmp_path / "out")]) == 3
    text = capsys.readouterr().out
    for word in (
        "missing: x: weights from https://huggingface.co/AILab-CVC/CV-VAE",
        "missing: lpips-vgg",
        "jpeg: 4 to",
    ):
        assert word in text
    assert run_program([*line, "--suite", "compat"]) == 3
    assert "compat by x, jpeg" in capsys.readouterr().out


def test_the_demo_ends_with_a_report_and_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cvbench.toml").write_text('[defaults]\npictures = 1\nspeed = false\nmetrics = "psnr"\nlimit = 1\n')
    assert run_program(["run", *FAST]) == 0
    said = capsys.readouterr()
    assert "reports/recon/report.html" in said.err
    assert "–" not in [cell.strip() for cell in said.out.splitlines()[2].split("|")[5:-1]]
    assert "<title>The demo of cvbench" in Path("reports/recon/report.html").read_text(encoding="utf-8")
    assert PICTURES > 3


def test_what_was_asked_for_is_no_demo() -> None:
    asked = {"models": (), "data": ()}
    assert is_demo(asked, ("sample",), ("sample",))
    assert not is_demo({**asked, "models": ("jpeg",)}, ("sample",), ("sample",))
    assert not is_demo(asked, ("davis",), ("sample",))
